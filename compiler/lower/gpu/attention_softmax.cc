// Scores become weights: masks, the running maximum, exponentials, sums.
#include <cmath>
#include <numbers>

#include "compiler/lower/gpu/attention_builder.h"
#include "compiler/lower/gpu/chunks.h"

namespace tern::lower::gpu {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::Intrinsic;
using kernel::ScalarOp;
using kernel::Var;
using kernel::var_expr;

namespace {

constexpr double kSlack = 8;  // of the exponents' maximum, in log2: far within 16-bit floats

Expr lane_of(const Expr& vector, int lane) {
  return kernel::shuffle(vector, nullptr, {lane});
}

// Four chains side by side.
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

}  // namespace

void AttentionBuilder::find_factor() {
  const Var x = kernel::make_var("x", {DType::kF32, 1});
  const Expr e = o_.score(m0_, int_const(0), var_expr(x));
  if (e->kind == kernel::ExprKind::kVar && e->var == x) factor_ = 1;
  if (e->kind == kernel::ExprKind::kOp && e->op == ScalarOp::kMul) {
    for (size_t k : {size_t{0}, size_t{1}}) {
      const Expr &a = e->args[k], &c = e->args[1 - k];
      if (a->kind == kernel::ExprKind::kVar && a->var == x && c->kind == kernel::ExprKind::kConst && c->f > 0)
        factor_ = c->f;
    }
  }
  linear_ = factor_ > 0;
  factor_ = linear_ ? factor_ * std::numbers::log2e : 1;
}

std::vector<Expr> AttentionBuilder::scores_of(LoopWriter& w, const Buffer& scores, const Expr& n0, int half,
                                              const Expr& row, const Expr& column) {
  std::vector<Expr> values;
  const bool whole = shape_.keys.is_const() && shape_.keys.value() % keys_at_once_ == 0;
  Expr m;
  if (!linear_)
    m = w.let("m", kernel::min(kernel::add(row, int_const(half * 8)), kernel::sub(queries_, int_const(1))));
  for (int j = 0; j < key_tiles_; ++j) {
    for (int e = 0; e < 2; ++e) {
      Expr score = lane_of(kernel::load(scores, int_const(j), 4), half * 2 + e);
      if (linear_ && whole) {
        values.push_back(w.let("score", score));
        continue;
      }
      const Expr n = w.let("n", kernel::add(kernel::add(n0, column), int_const(j * 8 + e)));
      if (!linear_) score = kernel::mul(o_.score(m, n, score), float_const(std::numbers::log2e));
      if (!whole) score = kernel::select(less(n, keys_), score, float_const(-INFINITY));
      values.push_back(w.let("score", score));
    }
  }
  return values;
}

void AttentionBuilder::softmax(LoopWriter& w, const Buffer& scores, const Expr& n0) {
  const Expr row = w.let("row", kernel::add(kernel::add(m0_, kernel::mul(warp_m_, int_const(16))),
                                            kernel::index_div(lane_, int_const(4))));
  const Expr column = w.let("column", kernel::mul(kernel::index_rem(lane_, int_const(4)), int_const(2)));
  const Expr factor = float_const(factor_);
  std::vector<Expr> values[2];
  for (int half = 0; half < 2; ++half) {
    std::vector<Expr>& v = values[half];
    v = scores_of(w, scores, n0, half, row, column);
    Expr top = kernel::max(w.get(top_[half]), folded(v, kernel::max));
    for (int mask : {1, 2}) {
      const Expr own = w.let("top", top);
      top = kernel::max(own,
                        kernel::intrinsic(Intrinsic::kSubgroupShuffleXor, {own, int_const(mask)}, own->type));
    }
    // A maximum that grows little is not taken over: weights are then at most 2^kSlack, and nothing that
    // was summed need be scaled.
    const Expr seen = w.let("seen", top), old = w.get(top_[half]);
    const Expr growth = linear_ ? kernel::mul(kernel::sub(seen, old), factor) : kernel::sub(seen, old);
    const Expr grown = kernel::compare(ScalarOp::kGt, growth, float_const(kSlack));
    top = w.let("top", kernel::select(grown, seen, old));
    // While all is masked the maximum is -inf: nothing is subtracted then.
    const Expr base =
        w.let("base", kernel::select(kernel::compare(ScalarOp::kEq, top, float_const(-INFINITY)),
                                     float_const(0.0), linear_ ? kernel::mul(top, factor) : top));
    const auto exponent = [&](const Expr& x) {
      return linear_ ? kernel::op(ScalarOp::kFma, {x, factor, kernel::op(ScalarOp::kNeg, {base})})
                     : kernel::sub(x, base);
    };
    shrink_[half] = w.let("shrink", exp2(exponent(w.get(top_[half]))));
    w.set(top_[half], top);
    for (Expr& x : v) x = w.let("weight", exp2(exponent(x)));
    w.set(sum_[half], kernel::add(kernel::mul(w.get(sum_[half]), shrink_[half]), folded(v, kernel::add)));
  }
  for (int j = 0; j < key_tiles_; ++j) {
    const auto k = static_cast<size_t>(j) * 2;
    w.emit(kernel::store(scores, int_const(j),
                         quad(w, values[0][k], values[0][k + 1], values[1][k], values[1][k + 1])));
  }
}

void AttentionBuilder::rescale(LoopWriter& w) {
  const auto shrinks = [&](int half) {
    return kernel::compare(ScalarOp::kLt, shrink_[half], float_const(1.0));
  };
  w.when(kernel::op(ScalarOp::kOr, {shrinks(0), shrinks(1)}), [&] {
    const Expr scale = quad(w, shrink_[0], shrink_[0], shrink_[1], shrink_[1]);
    for (int i = 0; i < value_tiles_; ++i)
      w.emit(kernel::store(out_, int_const(i), kernel::mul(kernel::load(out_, int_const(i), 4), scale)));
  });
}

Expr AttentionBuilder::packed(const Buffer& scores, int step) const {
  const auto half = [&](int j) {
    return kernel::bitcast(kernel::cast(kernel::load(scores, int_const(j), 4), o_.dtype), {DType::kU32, 2});
  };
  return kernel::shuffle(half(2 * step), half(2 * step + 1), {0, 1, 2, 3});
}

}  // namespace tern::lower::gpu
