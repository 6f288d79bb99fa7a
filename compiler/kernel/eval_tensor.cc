// Copies of boxes of tensors: recorded where they stand, performed at the wait for the phase that counts
// them, so that a missing wait is seen; what they touch counts from where they stand on.
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/evaluator.h"

namespace tern::kernel {

void Evaluator::tensor_copy(const Stmt& s, const EvalMask& mask) {
  ValueRef index = expr(s->index, mask), counter_index = expr(s->value->args[0], mask);
  std::vector<ValueRef> at;
  for (const Expr& e : s->at) at.push_back(expr(e, mask));
  const EvalMemory *to = memory_of(s->buffer, "written"), *from = memory_of(s->tensor->buffer, "read");
  const int width = kernel_.subgroup;
  for (int first = 0; first < threads_ && !failed_; first += width) {
    int active = 0;
    bool same = true;
    for (int t = first; t < first + width; ++t) {
      if (!mask.on(t, 0)) continue;
      ++active;
      same &= index->of(t)[0].i == index->of(first)[0].i &&
              counter_index->of(t)[0].i == counter_index->of(first)[0].i;
      for (const ValueRef& e : at) same &= e->of(t)[0].i == e->of(first)[0].i;
    }
    if (active == 0) continue;
    if (active != width || !same)
      return fault("A copy of tensor '{}' is reached by {} of {} threads of a subgroup, {} operands.",
                   s->tensor->name, active, width, same ? "with the same" : "with different");
    const auto counter = counters_.find({s->value->buffer.get(), counter_index->of(first)[0].i});
    if (counter == counters_.end())
      return fault("Arrivals at '{}[{}]', which count a copy, have not started.", s->value->buffer->name,
                   counter_index->of(first)[0].i);
    PendingBox box{s, index->of(first)[0].i, {}};
    for (const ValueRef& e : at) box.at.push_back(e->of(first)[0].i);
    const int64_t aligned = s->tensor->swizzled ? 512 : 128 / (dtype_bits(s->buffer->type.dtype) / 8);
    if (box.index % aligned != 0)
      return fault("A box of tensor '{}' is copied to element {} of '{}', which is no multiple of {}.",
                   s->tensor->name, box.index, s->buffer->name, aligned);
    const int id = counter->second.id;
    visit_box(box, [&](int64_t target, int64_t source) {
      if (failed_ || !in_bounds(s->buffer, target, *to, "store")) return;
      touch(s->buffer, *to, target, true, first, id);
      if (source < 0 || !in_bounds(s->tensor->buffer, source, *from, "load")) return;
      touch(s->tensor->buffer, *from, source, false, first, id);
    });
    counter->second.boxes[first / width].push_back(std::move(box));
  }
}

void Evaluator::visit_box(const PendingBox& box, const std::function<void(int64_t, int64_t)>& f) {
  const TensorNode& t = *box.stmt->tensor;
  const EvalMask all{1, threads_, std::vector<uint8_t>(static_cast<size_t>(threads_), 1)};
  std::vector<int64_t> sizes, strides;
  for (const TensorAxis& axis : t.axes) {
    sizes.push_back(expr(axis.size, all)->of(0)[0].i);
    strides.push_back(expr(axis.stride, all)->of(0)[0].i);
  }
  for (int64_t i = 0; i < t.box_elements(); ++i) {
    int64_t rest = i, from = t.offset;
    bool inside = true;
    for (size_t d = t.axes.size(); d-- > 0; rest /= t.axes[d].box) {
      const int64_t at = box.at[d] + rest % t.axes[d].box;
      inside &= at >= 0 && at < sizes[d];
      from += at * strides[d];
    }
    f(box.index + (t.swizzled ? i ^ (i / 64 % 8 * 8) : i), inside ? from : -1);
  }
}

void Evaluator::copy_box(const PendingBox& box) {
  const Stmt& s = box.stmt;
  const DType dtype = s->buffer->type.dtype;
  const EvalMemory *to = memory_of(s->buffer, "written"), *from = memory_of(s->tensor->buffer, "read");
  if (to == nullptr || from == nullptr) return;
  visit_box(box, [&](int64_t target, int64_t source) {
    const scalar::ScalarValue value = source < 0 ? zero_of(dtype) : read_element(dtype, from->data, source);
    write_element(dtype, to->data, target, value);
  });
}

}  // namespace tern::kernel
