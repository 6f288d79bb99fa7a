// Products of 128 threads: recorded where they stand, computed at the wait that covers them, so that a
// missing wait and memory that is written too early are seen.
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/evaluator.h"

namespace tern::kernel {

namespace {

constexpr int kGroup = 128, kRows = 64, kDepth = 16, kPitch = 64;

int64_t swizzled(int64_t index) {
  return index ^ (index / kPitch % 8 * 8);
}

}  // namespace

void Evaluator::group_mma(const Stmt& s, const EvalMask& mask) {
  ValueRef a = expr(s->value->args[0], mask), b = expr(s->begin->args[0], mask);
  for (int group = 0; group < threads_ / kGroup && !failed_; ++group) {
    int active = 0;
    for (int t = group * kGroup; t < (group + 1) * kGroup; ++t) active += mask.on(t, 0) ? 1 : 0;
    if (active == 0) continue;
    if (active != kGroup) return fault("group_mma is reached by {} of {} threads.", active, kGroup);
    PendingProduct product{s, group, a->of(group * kGroup)[0].i, b->of(group * kGroup)[0].i};
    for (int t = group * kGroup; t < (group + 1) * kGroup; ++t) {
      if (a->of(t)[0].i != product.a || b->of(t)[0].i != product.b)
        return fault("The threads of a group name different operands of group_mma.");
    }
    // The operands must be there already.
    for (int64_t r = 0; r < kRows && !failed_; ++r)
      group_mma_element(s->value, product.a + r * kPitch, group);
    for (int64_t n = 0; n < s->buffer->size * 8 && !failed_; ++n)
      group_mma_element(s->begin, product.b + n * kPitch, group);
    group_mma_groups_.back().push_back(std::move(product));
  }
}

double Evaluator::group_mma_element(const Expr& operand, int64_t index, int group) {
  EvalMemory* memory = memory_of(operand->buffer, "read");
  if (memory == nullptr) return 0;
  const int64_t at = swizzled(index);
  if (!in_bounds(operand->buffer, at, *memory, "load")) return 0;
  touch(operand->buffer, *memory, at, false, group * kGroup);
  return read_element(operand->buffer->type.dtype, memory->data, at).f;
}

void Evaluator::multiply(const PendingProduct& product) {
  const Stmt& s = product.stmt;
  EvalMemory* sums = memory_of(s->buffer, "written");
  if (sums == nullptr) return;
  const int64_t columns = s->buffer->size * 8;
  std::vector<double> a, b;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t k = 0; k < kDepth; ++k)
      a.push_back(group_mma_element(s->value, product.a + r * kPitch + k, product.group));
  }
  for (int64_t n = 0; n < columns; ++n) {
    for (int64_t k = 0; k < kDepth; ++k)
      b.push_back(group_mma_element(s->begin, product.b + n * kPitch + k, product.group));
  }
  for (int64_t t = 0; t < kGroup && !failed_; ++t) {
    for (int64_t j = 0; j < s->buffer->size; ++j) {
      for (int64_t e = 0; e < 4; ++e) {
        const int64_t row = t / 32 * 16 + t % 32 / 4 + e / 2 * 8, column = 8 * j + t % 4 * 2 + e % 2;
        auto& sum = sums->registers[static_cast<size_t>(
            ((product.group * kGroup + t) * s->buffer->size + j) * 4 + e)];
        double value = sum.f;
        for (int64_t k = 0; k < kDepth; ++k)
          value += a[static_cast<size_t>(row * kDepth + k)] * b[static_cast<size_t>(column * kDepth + k)];
        sum = scalar::scalar_from_double(DType::kF32, value);
      }
    }
  }
}

void Evaluator::group_mma_wait(int64_t groups_left) {
  while (static_cast<int64_t>(group_mma_groups_.size()) - 1 > groups_left) {
    for (const PendingProduct& product : group_mma_groups_.front()) {
      if (failed_) return;
      multiply(product);
    }
    group_mma_groups_.pop_front();
  }
}

}  // namespace tern::kernel
