// Bytes of a contraction widened to 16 bits in worker scratch (ByteProducts::kPairs), so that the register
// tile has nothing to do but load, multiply and add: A once a block, for all columns; B once a group of
// columns, for all row tiles of the block. Pairs hold bytes 0 and 2 (part 0), 1 and 3 (part 1) of a step,
// which is what a mask and a shift give. A single row may have the halves of its bytes instead (`halves`):
// sums of some steps of products with four bits fit 16 bits, so that B need not be widened.
#pragma once

#include <functional>
#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::lower {

inline constexpr int kPairParts = 2;

// A: words[row * row_stride() + part * plane() + 2 * step], i16, for steps below the block's depth.
struct WordRows {
  static constexpr int kHalfSteps = 8;  // whose products with halves fit 16 bits: 8 * 2 * 15 * 128
  kernel::Buffer words;
  int64_t block_depth = 1;       // in steps
  kernel::Expr first = nullptr;  // where row 0 begins; null: 0
  bool halves = false;           // part 0: the upper four bits of a step's bytes, part 1: the lower ones
  static int64_t elements(int64_t rows, int64_t block_depth) { return rows * block_depth * 4; }
  int64_t row_stride() const { return block_depth * 4; }
  int64_t plane() const { return block_depth * 2; }
  kernel::Expr row(const kernel::Expr& r) const;  // where it begins

  // Fills `rows` rows of `depth` steps. `bytes(row, step, count)`: u8 x 4 * count of the block's row.
  std::vector<kernel::Stmt> fill(
      const kernel::Expr& rows, const kernel::Expr& depth, int lanes,
      const std::function<kernel::Expr(const kernel::Expr& row, const kernel::Expr& step, int count)>& bytes)
      const;
  // The pair of a row that begins at `row_base`, in every lane: i16 x 2 * lanes.
  kernel::Expr pair(const kernel::Expr& row_base, int part, const kernel::Expr& step, int lanes) const;
};

// B: words[((step * vectors + vector) * kPairParts + part) * 2 * lanes], i16 x 2 * lanes each.
struct WordPanel {
  kernel::Buffer words;
  int vectors = 1, lanes = 4;
  kernel::Expr first = nullptr;  // where step 0 begins; null: 0
  static int64_t elements(int64_t block_depth, int64_t columns) { return block_depth * columns * 4; }

  // `bytes(step, vector)`: i8 x 4 * lanes.
  std::vector<kernel::Stmt> fill(
      const kernel::Expr& depth,
      const std::function<kernel::Expr(const kernel::Expr& step, int vector)>& bytes, int count) const;
  kernel::Expr at(const kernel::Expr& step, int vector, int part) const;
  kernel::Expr pairs(const kernel::Expr& step, int vector, int part) const;
};

}  // namespace tern::lower
