#include "compiler/lower/byte_words.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/byte_product.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using Stmts = std::vector<Stmt>;

constexpr int64_t kFewSteps = 4;  // fewer are done one by one

Stmt for_each(const char* name, const Expr& first, const Expr& count,
              const std::function<Stmts(const Expr&)>& body) {
  const Var v = kernel::make_var(name);
  return kernel::loop(v, int_const(0), count, kernel::LoopKind::kSerial,
                      body(kernel::add(first, var_expr(v))));
}

// Both halves of each byte, as bytes.
std::vector<Expr> halves_of(const Expr& bytes, int count, Stmts& out) {
  const Expr words = named("a_all", kernel::bitcast(bytes, {DType::kU16, 2 * count}), out);
  const auto lower = [&](const Expr& e) {
    const Expr mask = kernel::broadcast(int_const(0x0f0f, DType::kU16), 2 * count);
    return kernel::bitcast(kernel::op(kernel::ScalarOp::kAnd, {e, mask}), {DType::kI16, 2 * count});
  };
  const Expr four = kernel::broadcast(int_const(4, DType::kU16), 2 * count);
  return {lower(kernel::op(kernel::ScalarOp::kShr, {words, four})), lower(words)};
}

}  // namespace

Stmts WordRows::fill(const Expr& rows, const Expr& depth, int lanes,
                     const std::function<Expr(const Expr& row, const Expr& step, int count)>& bytes) const {
  const auto some = [&](const Expr& row, const Expr& step, int count) {
    const ByteProduct product(ByteProducts::kPairs, count);
    Stmts out;
    const Expr all = bytes(row, step, count);
    const std::vector<Expr> parts = halves ? halves_of(all, count, out) : product.left_lanes(all, out).parts;
    const Expr to = kernel::add(kernel::mul(row, int_const(row_stride())), kernel::mul(step, int_const(2)));
    for (int part = 0; part < kPairParts; ++part)
      out.push_back(
          kernel::store(words, kernel::add(to, int_const(part * plane())), parts[static_cast<size_t>(part)]));
    return out;
  };
  const Expr zero = int_const(0);
  return {for_each("i", zero, rows, [&](const Expr& row) -> Stmts {
    const auto vectors = [&](const Expr& count, int each) {
      return for_each("v", zero, count,
                      [&, each](const Expr& v) { return some(row, kernel::mul(v, int_const(each)), each); });
    };
    const auto steps = kernel::int_value(depth);
    if (steps && *steps >= kFewSteps) {
      // The last vector ends with the last step: where it overlaps the one before, both write the same.
      int each = lanes;
      while (each > *steps) each /= 2;
      Stmts out{vectors(int_const(*steps / each), each)};
      if (*steps % each == 0) return out;
      for (Stmt& s : some(row, int_const(*steps - each), each)) out.push_back(std::move(s));
      return out;
    }
    const Expr rest = kernel::index_rem(depth, int_const(lanes));
    return {vectors(kernel::index_div(depth, int_const(lanes)), lanes),
            for_each("step", kernel::sub(depth, rest), rest,
                     [&](const Expr& step) { return some(row, step, 1); })};
  })};
}

Expr WordRows::row(const Expr& r) const {
  const Expr from = kernel::mul(r, int_const(row_stride()));
  return first ? kernel::add(first, from) : from;
}

Expr WordRows::pair(const Expr& row_base, int part, const Expr& step, int lanes) const {
  const Expr at =
      kernel::add(kernel::add(row_base, kernel::mul(step, int_const(2))), int_const(part * plane()));
  const Expr word = kernel::bitcast(kernel::load(words, at, 2), {DType::kI32, 1});
  return kernel::bitcast(kernel::broadcast(word, lanes), {DType::kI16, 2 * lanes});
}

Stmts WordPanel::fill(const Expr& depth, const std::function<Expr(const Expr& step, int vector)>& bytes,
                      int count) const {
  const ByteProduct product(ByteProducts::kPairs, lanes);
  return {for_each("step", int_const(0), depth, [&](const Expr& step) {
    Stmts out;
    for (int j = 0; j < count; ++j) {
      const ByteProduct::Operand wide = product.right(bytes(step, j), out);
      for (int part = 0; part < kPairParts; ++part)
        out.push_back(kernel::store(words, at(step, j, part), wide.parts[static_cast<size_t>(part)]));
    }
    return out;
  })};
}

Expr WordPanel::at(const Expr& step, int vector, int part) const {
  const Expr vectors_before = kernel::add(kernel::mul(step, int_const(vectors)), int_const(vector));
  const Expr inside = kernel::add(kernel::mul(vectors_before, int_const(kPairParts * 2 * lanes)),
                                  int_const(part * 2 * lanes));
  return first ? kernel::add(first, inside) : inside;
}

Expr WordPanel::pairs(const Expr& step, int vector, int part) const {
  return kernel::load(words, at(step, vector, part), 2 * lanes);
}

}  // namespace tern::lower
