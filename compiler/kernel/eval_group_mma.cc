// Products of 128 threads: recorded where they stand, computed at the wait that covers them, so that a
// missing wait and memory that is written too early are seen.
#include <algorithm>

#include "compiler/kernel/eval_intrinsics.h"
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/evaluator.h"

namespace tern::kernel {

namespace {

constexpr int kGroup = 128, kRows = 64;

// Elements of one product's 32 bytes of depth, and of a row's 128.
int64_t depth_of(DType dtype) {
  return 256 / dtype_bits(dtype);
}
int64_t pitch_of(DType dtype) {
  return 1024 / dtype_bits(dtype);
}
int64_t swizzled(int64_t index, DType dtype) {
  const int64_t pitch = pitch_of(dtype);
  return index ^ (index / pitch % 8 * (pitch / 8));
}

}  // namespace

void Evaluator::group_mma(const Stmt& s, const EvalMask& mask) {
  ValueRef a = expr(s->value->args[0], mask), b = expr(s->begin->args[0], mask);
  for (int group = 0; group * kGroup < threads_ && !failed_; ++group) {
    int active = 0;
    for (int t = group * kGroup; t < std::min((group + 1) * kGroup, threads_); ++t)
      active += mask.on(t, 0) ? 1 : 0;
    if (active == 0) continue;
    if (active != kGroup) return fault("group_mma is reached by {} of {} threads.", active, kGroup);
    PendingProduct product{s, group, a->of(group * kGroup)[0].i, b->of(group * kGroup)[0].i, {}};
    for (int t = group * kGroup; t < (group + 1) * kGroup; ++t) {
      if (a->of(t)[0].i != product.a || b->of(t)[0].i != product.b)
        return fault("The threads of a group name different operands of group_mma.");
    }
    find_operands(product);
    group_mma_groups_.back().push_back(std::move(product));
  }
}

// They must be there already.
void Evaluator::find_operands(PendingProduct& product) {
  const Stmt& s = product.stmt;
  if (s->value->buffer->scope == Scope::kRegister) {
    product.registers = registers_of(s->value, product.a, product.group);
  } else {
    const int64_t pitch = pitch_of(s->value->type.dtype);
    for (int64_t r = 0; r < kRows && !failed_; ++r)
      group_mma_element(s->value, product.a + r * pitch, product.group);
  }
  for (int64_t n = 0; n < s->buffer->size * 8 && !failed_; ++n)
    group_mma_element(s->begin, b_index(product, n, 0), product.group);
}

std::vector<scalar::ScalarValue> Evaluator::registers_of(const Expr& operand, int64_t element, int group) {
  std::vector<scalar::ScalarValue> out;
  EvalMemory* memory = memory_of(operand->buffer, "read");
  for (int t = group * kGroup; t < (group + 1) * kGroup && memory != nullptr; ++t) {
    for (int64_t k = 0; k < 4; ++k)
      out.push_back(memory->registers[static_cast<size_t>((t * memory->elements + element) * 4 + k)]);
  }
  return out;
}

int64_t Evaluator::b_index(const PendingProduct& product, int64_t n, int64_t k) const {
  const int64_t panel = product.stmt->code, pitch = pitch_of(product.stmt->begin->type.dtype);
  return product.b + (panel == 0 ? n * pitch + k : n / pitch * panel + k * pitch + n % pitch);
}

double Evaluator::group_mma_element(const Expr& operand, int64_t index, int group) {
  EvalMemory* memory = memory_of(operand->buffer, "read");
  if (memory == nullptr) return 0;
  const DType dtype = operand->buffer->type.dtype;
  const int64_t at = swizzled(index, dtype);
  if (!in_bounds(operand->buffer, at, *memory, "load")) return 0;
  touch(operand->buffer, *memory, at, false, group * kGroup);
  const scalar::ScalarValue value = read_element(dtype, bytes_of(*memory, group * kGroup), at);
  return is_float(dtype) ? product_operand(dtype, value.f) : static_cast<double>(value.i);
}

void Evaluator::multiply(const PendingProduct& product) {
  const Stmt& s = product.stmt;
  EvalMemory* sums = memory_of(s->buffer, "written");
  if (sums == nullptr) return;
  const DType dtype = s->begin->type.dtype;
  const int64_t columns = s->buffer->size * 8, depth = depth_of(dtype), word = 32 / dtype_bits(dtype);
  std::vector<double> a(static_cast<size_t>(kRows * depth)), b;
  if (!product.registers.empty()) {
    const std::vector<scalar::ScalarValue> now = registers_of(s->value, product.a, product.group);
    for (int64_t i = 0; i < kGroup * 4 * word; ++i) {
      const int64_t at = i / word, t = at / 4, part = at % 4, low = i % word;  // of a register
      const auto& held = product.registers[static_cast<size_t>(at)];
      if (held.i != now[static_cast<size_t>(at)].i)
        return fault("Registers of '{}' are written while a product reads them.", s->value->buffer->name);
      const int64_t row = t / 32 * 16 + t % 32 / 4 + part % 2 * 8, k = (t % 4 + part / 2 * 4) * word + low;
      a[static_cast<size_t>(row * depth + k)] = packed_element({&held, 1}, dtype, static_cast<int>(low));
    }
  } else {
    const int64_t pitch = pitch_of(dtype);
    for (int64_t i = 0; i < kRows * depth; ++i)
      a[static_cast<size_t>(i)] =
          group_mma_element(s->value, product.a + i / depth * pitch + i % depth, product.group);
  }
  for (int64_t n = 0; n < columns; ++n) {
    for (int64_t k = 0; k < depth; ++k)
      b.push_back(group_mma_element(s->begin, b_index(product, n, k), product.group));
  }
  for (int64_t t = 0; t < kGroup && !failed_; ++t) {
    for (int64_t j = 0; j < s->buffer->size; ++j) {
      for (int64_t e = 0; e < 4; ++e) {
        const int64_t row = t / 32 * 16 + t % 32 / 4 + e / 2 * 8, column = 8 * j + t % 4 * 2 + e % 2;
        auto& sum = sums->registers[static_cast<size_t>(
            ((product.group * kGroup + t) * s->buffer->size + j) * 4 + e)];
        double value = 0;
        for (int64_t k = 0; k < depth; ++k)
          value += a[static_cast<size_t>(row * depth + k)] * b[static_cast<size_t>(column * depth + k)];
        sum = added_product(s->buffer->type.dtype, s->fresh ? nullptr : &sum, value);
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
