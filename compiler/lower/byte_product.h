// Sums of products of bytes as each level does them: acc[l] += sum over i < 4 of a[i] * b[4 * l + i], a in
// u8, b in i8, exact in i32.
//
// kDot4: one instruction. kPairs: both sides widened to 16 bits, even and odd bytes apart, so that no lane
// crosses. kDot4Signed: a less 128, and 128 times the sum of b added at the end (`offset`).
#pragma once

#include <vector>

#include "compiler/kernel/ir.h"
#include "compiler/lower/target.h"

namespace tern::lower {

class ByteProduct {
 public:
  // One side as the products want it.
  struct Operand {
    std::vector<kernel::Expr> parts;
  };

  ByteProduct(ByteProducts how, int lanes) : how_(how), lanes_(lanes) {}

  // `four`: u8 x 4, the same for every lane. `row` names the variables. What has to be computed once is added
  // to `out`.
  Operand left(const kernel::Expr& four, int row, std::vector<kernel::Stmt>& out) const;
  // a: u8 x 4 * lanes, other bytes for each lane.
  Operand left_lanes(const kernel::Expr& a, std::vector<kernel::Stmt>& out) const;
  // One part of that, for kPairs.
  kernel::Expr left_part(const kernel::Expr& a, int part, std::vector<kernel::Stmt>& out) const;
  // b: i8 x 4 * lanes.
  Operand right(const kernel::Expr& b, std::vector<kernel::Stmt>& out) const;
  kernel::Expr add(const kernel::Expr& acc, const Operand& a, const Operand& b) const;

  bool has_offset() const { return how_ == ByteProducts::kDot4Signed; }
  // A part of what the products with b lack, added to `sum`; whole_offset: all of it, from the finished sum.
  kernel::Expr offset(const kernel::Expr& sum, const Operand& b) const;
  kernel::Expr whole_offset(const kernel::Expr& sum) const;

 private:
  const ByteProducts how_;
  const int lanes_;
};

}  // namespace tern::lower
