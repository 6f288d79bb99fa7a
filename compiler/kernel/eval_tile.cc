// Tiles: 16 x 16 matrices over the registers of a subgroup, element e in thread e / 8, lane e % 8. That
// layout is the evaluator's own.
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/evaluator.h"
#include "compiler/kernel/text.h"

namespace tern::kernel {

namespace {

constexpr int kSide = 16, kLanes = 8, kSubgroup = 32;

}  // namespace

// Where tile buffer[index] begins.
scalar::ScalarValue* Evaluator::tile_elements(const Expr& index, const Buffer& buffer, int first_thread,
                                              const EvalMask& mask) {
  EvalMemory* memory = memory_of(buffer, "used");
  if (memory == nullptr) return nullptr;
  const int64_t slot = std::as_const(*expr(index, mask)).of(first_thread)[0].i;
  if (!in_bounds(buffer, slot, *memory, "tile")) return nullptr;
  return &memory->registers[static_cast<size_t>((first_thread * memory->elements + slot) * kLanes)];
}

void Evaluator::tile_memory(const Stmt& s, scalar::ScalarValue* elements, int first_thread,
                            const EvalMask& mask) {
  const Buffer& buffer = s->value->buffer;
  EvalMemory* memory = memory_of(buffer, "used");
  if (memory == nullptr) return;
  const ValueRef at = expr(s->value->args[0], mask), pitches = expr(s->count, mask);
  const int64_t first = std::as_const(*at).of(first_thread)[0].i,
                pitch = std::as_const(*pitches).of(first_thread)[0].i;
  for (int t = first_thread + 1; t < first_thread + kSubgroup; ++t) {
    if (std::as_const(*at).of(t)[0].i != first)
      return fault("The threads of a subgroup name different tiles of '{}'.", buffer->name);
  }
  const DType dtype = buffer->type.dtype;
  if (first * dtype_bits(dtype) % 128 != 0 || pitch * dtype_bits(dtype) % 128 != 0)
    return fault("A tile of '{}' begins at element {} with a pitch of {}: no multiples of 16 bytes.",
                 buffer->name, first, pitch);
  const int64_t step =
      memory_.at(s->buffer.get()).elements * kLanes;  // from a thread's registers to the next one's
  for (int64_t row = 0; row < kSide; ++row) {
    for (int64_t column = 0; column < kSide && !failed_; ++column) {
      const int64_t e = row * kSide + column;
      scalar::ScalarValue& element = elements[e / kLanes * step + e % kLanes];
      const int64_t i =
          first + (s->tile == TileOp::kLoadColumns ? column * pitch + row : row * pitch + column);
      if (!in_bounds(buffer, i, *memory, "tile")) return;
      touch(buffer, *memory, i, s->tile == TileOp::kStore, first_thread);
      if (s->tile == TileOp::kStore) {
        write_element(dtype, memory->data, i, element);
      } else {
        element = read_element(dtype, memory->data, i);
      }
    }
  }
}

void Evaluator::tile(const Stmt& s, const EvalMask& mask) {
  for (int first = 0; first < threads_ && !failed_; first += kSubgroup) {
    int active = 0;
    for (int t = first; t < first + kSubgroup; ++t) active += mask.on(t, 0) ? 1 : 0;
    if (active == 0) continue;
    if (active != kSubgroup)
      return fault("{} is reached by {} of the {} threads of subgroup {}.", tile_op_name(s->tile), active,
                   kSubgroup, first / kSubgroup);
    scalar::ScalarValue* out = tile_elements(s->index, s->buffer, first, mask);
    if (out == nullptr) return;
    const auto element = [&](scalar::ScalarValue* tile, const Buffer& buffer,
                             int64_t e) -> scalar::ScalarValue& {
      return tile[e / kLanes * memory_.at(buffer.get()).elements * kLanes + e % kLanes];
    };
    if (s->tile == TileOp::kFill) {
      const ValueRef value = expr(s->value, mask);
      const bool same = s->value->type.lanes == 1;
      for (int e = 0; e < kSide * kSide; ++e)
        element(out, s->buffer, e) =
            std::as_const(*value).of(same ? first : first + e / kLanes)[same ? 0 : e % kLanes];
      continue;
    }
    if (s->tile != TileOp::kMultiply) {
      tile_memory(s, out, first, mask);
      continue;
    }
    scalar::ScalarValue* a = tile_elements(s->value->args[0], s->value->buffer, first, mask);
    scalar::ScalarValue* b = tile_elements(s->begin->args[0], s->begin->buffer, first, mask);
    if (a == nullptr || b == nullptr) return;
    for (int64_t e = 0; e < kSide * kSide; ++e) {
      double sum = element(out, s->buffer, e).f;
      for (int64_t k = 0; k < kSide; ++k)
        sum += element(a, s->value->buffer, e / kSide * kSide + k).f *
               element(b, s->begin->buffer, k * kSide + e % kSide).f;
      element(out, s->buffer, e) = scalar::scalar_from_double(DType::kF32, sum);
    }
  }
}

}  // namespace tern::kernel
