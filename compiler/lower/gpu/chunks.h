// Chunks of 16 bytes (eight 16-bit elements, unless said otherwise), as asynchronous copies bring them into
// workgroup memory and matrix units read them.
#pragma once

#include <algorithm>

#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

inline constexpr int kChunk = 8;  // elements
// Elements of a row of 128 bytes: what group_mma reads a row at a time, and what a box is wide.
inline constexpr int64_t kPanel = 64;

inline int chunk_of(DType dtype) {
  return 128 / dtype_bits(dtype);
}

// Where chunk `chunk` of row `row` lies among rows of `width` elements (whole chunks): at chunk xor row % 8,
// or a smaller power of two that divides the chunks of a row, so that ldmatrix reads eight rows without bank
// conflicts.
inline kernel::Expr swizzled(const kernel::Expr& row, const kernel::Expr& chunk, int64_t width,
                             int64_t elements = kChunk) {
  const int64_t chunks = width / elements, mask = std::min<int64_t>(8, chunks & -chunks);
  const kernel::Expr mixed =
      kernel::op(kernel::ScalarOp::kXor, {chunk, kernel::index_rem(row, kernel::int_const(mask))});
  return kernel::add(kernel::mul(row, kernel::int_const(width)),
                     kernel::mul(mixed, kernel::int_const(elements)));
}

inline kernel::Expr less(const kernel::Expr& a, const kernel::Expr& b) {
  return kernel::compare(kernel::ScalarOp::kLt, a, b);
}

// `copies` asynchronous copies shared out over `threads` threads: copy(q) is number q's, of which each thread
// has every threads-th; the last round is a part of one where they do not divide.
template <typename Copy>
void share_copies(LoopWriter& w, const kernel::Expr& thread, int threads, int64_t copies, const Copy& copy) {
  for (int64_t i = 0; i * threads < copies; ++i) {
    const kernel::Expr q = kernel::add(thread, kernel::int_const(i * threads));
    const kernel::Stmt statement = copy(q);
    if ((i + 1) * threads > copies) {
      w.when(less(q, kernel::int_const(copies)), [&] { w.emit(statement); });
    } else {
      w.emit(statement);
    }
  }
}

}  // namespace tern::lower::gpu
