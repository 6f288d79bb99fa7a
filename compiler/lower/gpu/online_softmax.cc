#include "compiler/lower/gpu/online_softmax.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "compiler/kernel/expr_util.h"

namespace tern::lower::gpu {

using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Var;
using kernel::var_expr;

namespace {

constexpr double kSlack = 8;  // of the exponents' maximum, in log2: far within 16-bit floats

// What x is multiplied by in e, which may be more than one constant (PyTorch scales queries and keys by the
// root each); 0: e is not that.
double factor_of(const Expr& e, const Var& x) {
  if (e->kind == kernel::ExprKind::kVar) return e->var == x ? 1 : 0;
  if (e->kind != kernel::ExprKind::kOp || (e->op != ScalarOp::kMul && e->op != ScalarOp::kDiv)) return 0;
  const auto by = [&](const Expr& value, const Expr& constant) {
    if (constant->kind != kernel::ExprKind::kConst || !(constant->f > 0)) return 0.0;
    const double inner = factor_of(value, x);
    return e->op == ScalarOp::kMul ? inner * constant->f : inner / constant->f;
  };
  const double factor = by(e->args[0], e->args[1]);
  return factor > 0 || e->op == ScalarOp::kDiv ? factor : by(e->args[1], e->args[0]);
}

}  // namespace

Expr folded(const std::vector<Expr>& values, Expr (*fold)(Expr, Expr)) {
  Expr chains[4];
  for (size_t k = 0; k < values.size(); ++k)
    chains[k % 4] = chains[k % 4] ? fold(chains[k % 4], values[k]) : values[k];
  return fold(fold(chains[0], chains[1]), fold(chains[2], chains[3]));
}

Expr quad(LoopWriter& w, const Expr& a, const Expr& b, const Expr& c, const Expr& d) {
  const Expr low = kernel::shuffle(a, b, {0, 1}), high = kernel::shuffle(c, d, {0, 1});
  return w.let("quad", kernel::shuffle(low, high, {0, 1, 2, 3}));
}

Expr score_in_log2(const Expr& score) {
  const Expr scaled = kernel::mul(score, float_const(std::numbers::log2e));
  const double lowest = -std::numeric_limits<float>::max();
  return kernel::select(kernel::compare(ScalarOp::kEq, score, float_const(-INFINITY)), score,
                        kernel::max(scaled, float_const(lowest)));
}

Expr reciprocal_of_sum(const AttentionShape& shape, const Expr& keys, const Expr& sum) {
  const Expr inverse = kernel::op(ScalarOp::kDiv, {float_const(1.0), sum});
  if (shape.keys.is_const()) return shape.keys.is_const(0) ? float_const(0.0) : inverse;
  return kernel::select(kernel::compare(ScalarOp::kEq, keys, int_const(0)), float_const(0.0), inverse);
}

ScoreScale score_scale(const AttentionOperands& o, const Expr& m) {
  ScoreScale scale;
  const Var x = kernel::make_var("x", {DType::kF32, 1});
  const double factor = factor_of(o.score(m, int_const(0), var_expr(x)), x);
  scale.linear = factor > 0;
  scale.factor = scale.linear ? factor * std::numbers::log2e : 1;
  return scale;
}

KeyedScore keyed_score(const AttentionOperands& o) {
  const Var m = kernel::make_var("m"), n = kernel::make_var("n"), x = kernel::make_var("x", {DType::kF32, 1});
  const Expr e = o.score(var_expr(m), var_expr(n), var_expr(x));
  if (e->kind != kernel::ExprKind::kOp || e->op != ScalarOp::kAdd || kernel::uses_var(e, m.get())) return {};
  for (const size_t side : {0, 1}) {
    const double factor = factor_of(e->args[side], x);
    const Expr bias = e->args[1 - side];
    if (!(factor > 0) || kernel::uses_var(bias, x.get())) continue;
    return {factor, [n, bias](const Expr& at) { return kernel::substitute(bias, {{n.get(), at}}); }};
  }
  return {};
}

OnlineMaximum::OnlineMaximum(LoopWriter& w, const ScoreScale& scale, const Expr& old, const Expr& seen)
    : scale_(scale) {
  const Expr factor = float_const(scale.factor);
  // A maximum that grows little is not taken over: weights are then at most 2^kSlack, and nothing that
  // was summed need be scaled.
  const Expr growth = scale.linear ? kernel::mul(kernel::sub(seen, old), factor) : kernel::sub(seen, old);
  const Expr grown = kernel::compare(ScalarOp::kGt, growth, float_const(kSlack));
  top = w.let("top", kernel::select(grown, seen, old));
  // While all is masked the maximum is -inf: nothing is subtracted then.
  base_ = w.let("base", kernel::select(kernel::compare(ScalarOp::kEq, top, float_const(-INFINITY)),
                                       float_const(0.0), scale.linear ? kernel::mul(top, factor) : top));
  shrink = w.let("shrink", exp2(exponent(old)));
}

Expr OnlineMaximum::exponent(const Expr& x) const {
  if (!scale_.linear) return kernel::sub(x, base_);
  return kernel::op(ScalarOp::kFma, {x, float_const(scale_.factor), kernel::op(ScalarOp::kNeg, {base_})});
}

}  // namespace tern::lower::gpu
