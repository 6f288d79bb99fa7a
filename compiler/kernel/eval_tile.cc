// Tiles: matrices over the registers of a subgroup, row by row, each thread's share after the other's. That
// layout is the evaluator's own.
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/evaluator.h"
#include "compiler/kernel/text.h"

namespace tern::kernel {

// Where tile buffer[index] begins.
scalar::ScalarValue* Evaluator::tile_elements(const Expr& index, const Buffer& buffer, int first_thread,
                                              const EvalMask& mask) {
  EvalMemory* memory = memory_of(buffer, "used");
  if (memory == nullptr) return nullptr;
  const int64_t slot = std::as_const(*expr(index, mask)).of(first_thread)[0].i;
  if (!in_bounds(buffer, slot, *memory, "tile")) return nullptr;
  return &memory
              ->registers[static_cast<size_t>((first_thread * memory->elements + slot) * buffer->type.lanes)];
}

void Evaluator::tile_memory(const Stmt& s, scalar::ScalarValue* elements, int first_thread,
                            const EvalMask& mask) {
  const Buffer& buffer = s->value->buffer;
  EvalMemory* memory = memory_of(buffer, "used");
  if (memory == nullptr) return;
  const ValueRef at = expr(s->value->args[0], mask), pitches = expr(s->count, mask);
  const int64_t first = std::as_const(*at).of(first_thread)[0].i,
                pitch = std::as_const(*pitches).of(first_thread)[0].i;
  for (int t = first_thread + 1; t < first_thread + width(); ++t) {
    if (std::as_const(*at).of(t)[0].i != first)
      return fault("The threads of a subgroup name different tiles of '{}'.", buffer->name);
  }
  const DType dtype = buffer->type.dtype;
  const bool aligned = first * dtype_bits(dtype) % 128 == 0 && pitch * dtype_bits(dtype) % 128 == 0;
  if (kernel_.threads > 0 && !aligned)
    return fault("A tile of '{}' begins at element {} with a pitch of {}: no multiples of 16 bytes.",
                 buffer->name, first, pitch);
  const TilePart part = tile_parts_.of(s->buffer.get());
  const int64_t lanes = s->buffer->type.lanes, columns = kernel_.tiles.columns(part),
                step = memory_.at(s->buffer.get()).elements *
                       lanes;  // from a thread's registers to the next one's
  // Memory of words has several of the tile's elements in each.
  const DType own = s->buffer->type.dtype;
  const int64_t a_word = dtype_bits(dtype) / dtype_bits(own),
                group = s->tile == TileOp::kLoadGroups ? kCpuGroupBytes * 8 / dtype_bits(own) : 1;
  const bool turned = s->tile == TileOp::kLoadColumns;
  for (int64_t row = 0; row < kernel_.tiles.rows(part); ++row) {
    for (int64_t column = 0; column < columns && !failed_; ++column) {
      const int64_t e = row * columns + column;
      scalar::ScalarValue& element = elements[e / lanes * step + e % lanes];
      const int64_t i =
          first * a_word + (turned ? column * pitch * a_word + row
                                   : row / group * pitch * a_word + column * group + row % group);
      if (!in_bounds(buffer, i / a_word, *memory, "tile")) return;
      touch(buffer, *memory, i / a_word, s->tile == TileOp::kStore, first_thread);
      if (s->tile == TileOp::kStore) {
        write_element(own, memory->data, i, element);
      } else {
        element = read_element(own, memory->data, i);
      }
    }
  }
}

void Evaluator::tile(const Stmt& s, const EvalMask& mask) {
  for (int first = 0; first < threads_ && !failed_; first += width()) {
    int active = 0;
    for (int t = first; t < first + width(); ++t) active += mask.on(t, 0) ? 1 : 0;
    if (active == 0) continue;
    if (active != width())
      return fault("{} is reached by {} of the {} threads of subgroup {}.", tile_op_name(s->tile), active,
                   width(), first / width());
    scalar::ScalarValue* out = tile_elements(s->index, s->buffer, first, mask);
    if (out == nullptr) return;
    const auto element = [&](scalar::ScalarValue* tile, const Buffer& buffer,
                             int64_t e) -> scalar::ScalarValue& {
      const int64_t lanes = buffer->type.lanes;
      return tile[e / lanes * memory_.at(buffer.get()).elements * lanes + e % lanes];
    };
    if (s->tile == TileOp::kFill) {
      const ValueRef value = expr(s->value, mask);
      const bool same = s->value->type.lanes == 1;
      const int lanes = s->buffer->type.lanes;
      for (int e = 0; e < lanes * width(); ++e)
        element(out, s->buffer, e) =
            std::as_const(*value).of(same ? first : first + e / lanes)[same ? 0 : e % lanes];
      continue;
    }
    if (s->tile != TileOp::kMultiply) {
      tile_memory(s, out, first, mask);
      continue;
    }
    scalar::ScalarValue* a = tile_elements(s->value->args[0], s->value->buffer, first, mask);
    scalar::ScalarValue* b = tile_elements(s->begin->args[0], s->begin->buffer, first, mask);
    if (a == nullptr || b == nullptr) return;
    const Buffer &a_tiles = s->value->buffer, &b_tiles = s->begin->buffer;
    const auto& [rows, columns, steps] = kernel_.tiles;
    // Each operand's elements are found once, not for each product.
    const auto gather = [&](scalar::ScalarValue* tile, const Buffer& buffer, int64_t count) {
      std::vector<const scalar::ScalarValue*> found;
      for (int64_t e = 0; e < count; ++e) found.push_back(&element(tile, buffer, e));
      return found;
    };
    const auto left = gather(a, a_tiles, int64_t{rows} * steps),
               right = gather(b, b_tiles, int64_t{steps} * columns);
    for (int64_t e = 0; e < int64_t{rows} * columns; ++e) {
      scalar::ScalarValue& sum = element(out, s->buffer, e);
      const scalar::ScalarValue *const *x = &left[static_cast<size_t>(e / columns * steps)],
                                       *const *y = &right[static_cast<size_t>(e % columns)];
      if (b_tiles->type.dtype == DType::kI8) {
        int64_t exact = sum.i;
        for (int64_t k = 0; k < steps; ++k) exact += x[k]->i * y[k * columns]->i;
        sum = scalar::scalar_from_int(DType::kI32, exact);
        continue;
      }
      double exact = sum.f;
      for (int64_t k = 0; k < steps; ++k) exact += x[k]->f * y[k * columns]->f;
      sum = scalar::scalar_from_double(DType::kF32, exact);
    }
  }
}

}  // namespace tern::kernel
