#include "compiler/lower/byte_product.h"

#include "compiler/lower/loop_writer.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::Intrinsic;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;

Expr splat(int64_t value, DType type, int lanes) {
  return kernel::broadcast(int_const(value, type), lanes);
}

}  // namespace

ByteProduct::Operand ByteProduct::left(const Expr& four, int row, std::vector<Stmt>& out) const {
  const Expr word = named(fmt::format("x{}", row), kernel::bitcast(four, {DType::kI32, 1}), out);
  return left_lanes(kernel::bitcast(kernel::broadcast(word, lanes_), {DType::kU8, 4 * lanes_}), out);
}

ByteProduct::Operand ByteProduct::left_lanes(const Expr& a, std::vector<Stmt>& out) const {
  switch (how_) {
    case ByteProducts::kDot4:
      return {{named("a_bytes", a, out)}};
    case ByteProducts::kDot4Signed: {
      const Expr flipped = kernel::op(ScalarOp::kXor, {a, splat(128, DType::kU8, 4 * lanes_)});
      return {{named("a_bytes", kernel::bitcast(flipped, {DType::kI8, 4 * lanes_}), out)}};
    }
    case ByteProducts::kPairs: {
      const Expr bytes = named("a_all", a, out);
      return {{left_part(bytes, 0, out), left_part(bytes, 1, out)}};
    }
  }
  TERN_UNREACHABLE();
}

Expr ByteProduct::left_part(const Expr& a, int part, std::vector<Stmt>& out) const {
  const Expr words = kernel::bitcast(a, {DType::kU16, 2 * lanes_});
  const Expr one = part == 0 ? kernel::op(ScalarOp::kAnd, {words, splat(255, DType::kU16, 2 * lanes_)})
                             : kernel::op(ScalarOp::kShr, {words, splat(8, DType::kU16, 2 * lanes_)});
  return named(part == 0 ? "a_even" : "a_odd", kernel::bitcast(one, {DType::kI16, 2 * lanes_}), out);
}

ByteProduct::Operand ByteProduct::right(const Expr& b, std::vector<Stmt>& out) const {
  if (how_ != ByteProducts::kPairs) return {{b}};
  const Expr words = named("b_words", kernel::bitcast(b, {DType::kI16, 2 * lanes_}), out);
  const Expr eight = splat(8, DType::kI16, 2 * lanes_);
  const Expr even = kernel::op(ScalarOp::kShr, {kernel::op(ScalarOp::kShl, {words, eight}), eight});
  return {{named("b_even", even, out), named("b_odd", kernel::op(ScalarOp::kShr, {words, eight}), out)}};
}

Expr ByteProduct::add(const Expr& acc, const Operand& a, const Operand& b) const {
  const kernel::VType type{DType::kI32, lanes_};
  if (how_ == ByteProducts::kPairs) {
    const Expr even = kernel::intrinsic(Intrinsic::kDot2I16, {acc, a.parts[0], b.parts[0]}, type);
    return kernel::intrinsic(Intrinsic::kDot2I16, {even, a.parts[1], b.parts[1]}, type);
  }
  const bool signs = how_ == ByteProducts::kDot4Signed;
  return kernel::intrinsic(signs ? Intrinsic::kDot4I8I8 : Intrinsic::kDot4U8I8, {acc, a.parts[0], b.parts[0]},
                           type);
}

Expr ByteProduct::offset(const Expr& sum, const Operand& b) const {
  return kernel::intrinsic(Intrinsic::kDot4I8I8, {sum, splat(64, DType::kI8, 4 * lanes_), b.parts[0]},
                           {DType::kI32, lanes_});
}

Expr ByteProduct::whole_offset(const Expr& sum) const {
  return kernel::add(sum, sum);
}

}  // namespace tern::lower
