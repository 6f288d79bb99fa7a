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
    for (int64_t r = 0; r < kRows && !failed_; ++r)
      group_mma_element(s->value, product.a + r * kPitch, product.group);
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
  const int64_t panel = product.stmt->code;
  return product.b + (panel == 0 ? n * kPitch + k : n / kPitch * panel + k * kPitch + n % kPitch);
}

double Evaluator::group_mma_element(const Expr& operand, int64_t index, int group) {
  EvalMemory* memory = memory_of(operand->buffer, "read");
  if (memory == nullptr) return 0;
  const int64_t at = swizzled(index);
  if (!in_bounds(operand->buffer, at, *memory, "load")) return 0;
  touch(operand->buffer, *memory, at, false, group * kGroup);
  return read_element(operand->buffer->type.dtype, bytes_of(*memory, group * kGroup), at).f;
}

void Evaluator::multiply(const PendingProduct& product) {
  const Stmt& s = product.stmt;
  EvalMemory* sums = memory_of(s->buffer, "written");
  if (sums == nullptr) return;
  const int64_t columns = s->buffer->size * 8;
  std::vector<double> a(kRows * kDepth), b;
  if (!product.registers.empty()) {
    const std::vector<scalar::ScalarValue> now = registers_of(s->value, product.a, product.group);
    const DType half = s->begin->type.dtype;
    for (int64_t i = 0; i < kGroup * 8; ++i) {
      const int64_t t = i / 8, part = i % 8 / 2, low = i % 2;  // the register and its half
      const auto& word = product.registers[static_cast<size_t>(t * 4 + part)];
      if (word.i != now[static_cast<size_t>(t * 4 + part)].i)
        return fault("Registers of '{}' are written while a product reads them.", s->value->buffer->name);
      const int64_t row = t / 32 * 16 + t % 32 / 4 + part % 2 * 8, k = t % 4 * 2 + part / 2 * 8 + low;
      const auto bits = static_cast<uint16_t>(static_cast<uint64_t>(word.i) >> (16 * low));
      a[static_cast<size_t>(row * kDepth + k)] =
          read_element(half, reinterpret_cast<const uint8_t*>(&bits), 0).f;
    }
  } else {
    for (int64_t i = 0; i < kRows * kDepth; ++i)
      a[static_cast<size_t>(i)] =
          group_mma_element(s->value, product.a + i / kDepth * kPitch + i % kDepth, product.group);
  }
  for (int64_t n = 0; n < columns; ++n) {
    for (int64_t k = 0; k < kDepth; ++k)
      b.push_back(group_mma_element(s->begin, b_index(product, n, k), product.group));
  }
  for (int64_t t = 0; t < kGroup && !failed_; ++t) {
    for (int64_t j = 0; j < s->buffer->size; ++j) {
      for (int64_t e = 0; e < 4; ++e) {
        const int64_t row = t / 32 * 16 + t % 32 / 4 + e / 2 * 8, column = 8 * j + t % 4 * 2 + e % 2;
        auto& sum = sums->registers[static_cast<size_t>(
            ((product.group * kGroup + t) * s->buffer->size + j) * 4 + e)];
        double value = s->fresh ? 0 : sum.f;
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
