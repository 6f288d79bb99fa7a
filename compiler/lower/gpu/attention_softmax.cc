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

Expr lane_of(const Expr& vector, int lane) {
  return kernel::shuffle(vector, nullptr, {lane});
}

}  // namespace

std::vector<Expr> AttentionBuilder::scores_of(LoopWriter& w, const Buffer& scores, const Expr& n0, int half,
                                              const Expr& row, const Expr& column) {
  std::vector<Expr> values;
  const bool whole =
      shape_.keys.is_const() && shape_.keys.value() > 0 && shape_.keys.value() % keys_at_once_ == 0;
  Expr m;
  if (!scale_.linear)
    m = w.let("m", kernel::min(kernel::add(row, int_const(half * 8)), kernel::sub(queries_, int_const(1))));
  for (int j = 0; j < key_tiles_; ++j) {
    for (int e = 0; e < 2; ++e) {
      Expr score = lane_of(kernel::load(scores, int_const(j), 4), half * 2 + e);
      if (scale_.linear && whole) {
        values.push_back(w.let("score", score));
        continue;
      }
      const Expr n = w.let("n", kernel::add(kernel::add(n0, column), int_const(j * 8 + e)));
      if (!scale_.linear) score = o_.score(m, n, score);
      if (!whole) score = kernel::select(less(n, keys_), score, float_const(-INFINITY));
      if (!scale_.linear) score = score_in_log2(w.let("score", score));
      values.push_back(w.let("score", score));
    }
  }
  return values;
}

void AttentionBuilder::softmax(LoopWriter& w, const Buffer& scores, const Expr& n0) {
  const Expr row = w.let("row", kernel::add(kernel::add(m0_, kernel::mul(warp_m_, int_const(16))),
                                            kernel::index_div(lane_, int_const(4))));
  const Expr column = w.let("column", kernel::mul(kernel::index_rem(lane_, int_const(4)), int_const(2)));
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
    const OnlineMaximum maximum(w, scale_, w.get(top_[half]), w.let("seen", top));
    shrink_[half] = maximum.shrink;
    w.set(top_[half], maximum.top);
    for (Expr& x : v) x = w.let("weight", exp2(maximum.exponent(x)));
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
