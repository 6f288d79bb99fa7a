// Kernels of matrix tiles, in short words: tiles in registers, their moves and products, and rows of a global
// matrix that come through registers into workgroup memory.
#pragma once

#include <functional>
#include <string>

#include "compiler/lower/gpu/chunks.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

inline constexpr kernel::VType kChunkWords{DType::kU32, 4};  // a chunk as it is copied

// Lanes of `a`, then those of `b`.
inline kernel::Expr joined(const kernel::Expr& a, const kernel::Expr& b) {
  std::vector<int> lanes;
  for (int i = 0; i < a->type.lanes + b->type.lanes; ++i) lanes.push_back(i);
  return kernel::shuffle(a, b, lanes);
}

inline kernel::Buffer registers(const std::string& name, kernel::VType type, int64_t size) {
  return kernel::make_buffer(name, type, kernel::Scope::kRegister, kernel::Access::kReadWrite, size);
}
inline kernel::Buffer tiles(const char* name, DType dtype, const kernel::TileUnit& unit,
                            kernel::TilePart part, int64_t count) {
  return registers(name, {dtype, unit.lanes(part)}, count);
}
inline kernel::Buffer workgroup(const char* name, DType dtype, int64_t size) {
  return kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kWorkgroup, kernel::Access::kReadWrite, size);
}
inline void clear(LoopWriter& w, const kernel::Buffer& sums) {
  const DType dtype = sums->type.dtype;
  const kernel::Expr zero = is_float(dtype) ? kernel::float_const(0.0, dtype) : kernel::int_const(0, dtype);
  for (int64_t i = 0; i < sums->size; ++i)
    w.emit(kernel::tile(kernel::TileOp::kFill, sums, kernel::int_const(i), zero));
}
inline void move(LoopWriter& w, kernel::TileOp op, const kernel::Buffer& tile, int64_t slot,
                 const kernel::Buffer& memory, const kernel::Expr& first, int64_t pitch) {
  w.emit(
      kernel::tile(op, tile, kernel::int_const(slot), kernel::load(memory, first), kernel::int_const(pitch)));
}
inline void multiply(LoopWriter& w, const kernel::Buffer& sums, int64_t slot, const kernel::Buffer& a,
                     int64_t a_slot, const kernel::Buffer& b, int64_t b_slot) {
  w.emit(kernel::tile(kernel::TileOp::kMultiply, sums, kernel::int_const(slot),
                      kernel::load(a, kernel::int_const(a_slot), a->type.lanes),
                      kernel::load(b, kernel::int_const(b_slot), b->type.lanes)));
}

// Rows of a matrix in chunks, shared out over `threads` threads.
struct RowCopy {
  RowCopy(const char* name, const kernel::Buffer& matrix,
          std::function<kernel::Expr(const kernel::Expr&)> place, int64_t row_count, int64_t row_width,
          int64_t padded_width, int64_t row_pitch, int thread_count, kernel::Expr own_thread)
      : next(registers(name, kChunkWords,
                       (row_count * padded_width / kChunk + thread_count - 1) / thread_count)),
        from(matrix),
        row_of(std::move(place)),
        rows(row_count),
        width(row_width),
        padded(padded_width),
        pitch(row_pitch),
        threads(thread_count),
        thread(std::move(own_thread)) {}

  // act(i, row, chunk) for the thread's i-th chunk.
  template <typename Act>
  void each_chunk(LoopWriter& w, const Act& act) const {
    const int64_t chunks = padded / kChunk, total = rows * chunks;
    for (int64_t i = 0; i < next->size; ++i) {
      const kernel::Expr q = plus(thread, kernel::int_const(i * threads));
      const auto one = [&] { act(i, div(q, chunks), rem(q, chunks)); };
      if ((i + 1) * threads > total) {
        w.when(less(q, kernel::int_const(total)), one);
      } else {
        one();
      }
    }
  }
  // Whether a chunk of a row is one of the matrix; zeros follow. Null: all are.
  kernel::Expr has(const kernel::Expr& chunk) const {
    return width == padded ? nullptr : less(chunk, kernel::int_const(width / kChunk));
  }
  // The chunk that holds element `at` of the matrix.
  kernel::Expr words(const kernel::Expr& at) const {
    return kernel::bitcast(kernel::load(from, times(div(at, kChunk), kChunk), kChunk), kChunkWords);
  }
  // The i-th chunk goes on its way: the one that holds element `at`, or, so that no load waits for a branch,
  // the first one where there is none (`exists`; null: there is). put() looks at it, nothing before that
  // does: it would wait for the load.
  void fetch(LoopWriter& w, int64_t i, const kernel::Expr& at, const kernel::Expr& exists) const {
    w.store(next, kernel::int_const(i),
            words(exists ? kernel::select(exists, at, kernel::int_const(0)) : at));
  }
  // What was fetched, to `to` from `base` on (null: 0); zeros where exists(row, chunk) is given and false.
  template <typename Exists>
  void put(LoopWriter& w, const kernel::Buffer& to, const kernel::Expr& base, const Exists& exists) const {
    each_chunk(w, [&](int64_t i, const kernel::Expr& row, const kernel::Expr& chunk) {
      kernel::Expr words = kernel::load(next, kernel::int_const(i), 4);
      if (const kernel::Expr given = exists(row, chunk))
        words = kernel::select(w.let("exists", given), w.let("words", words),
                               kernel::broadcast(kernel::int_const(0, DType::kU32), 4));
      const kernel::Expr place = plus(times(row, pitch), times(chunk, kChunk));
      w.store(to, base ? plus(base, place) : place, kernel::bitcast(words, {to->type.dtype, kChunk}));
    });
  }

  kernel::Buffer next, from;  // `next`: the thread's chunks in registers
  std::function<kernel::Expr(const kernel::Expr&)> row_of;
  int64_t rows, width, padded, pitch;
  int threads;
  kernel::Expr thread;
};

}  // namespace tern::lower::gpu
