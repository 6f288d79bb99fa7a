#include "compiler/lower/gpu/attention_rows.h"

#include <cmath>
#include <numbers>

#include "compiler/lower/gpu/chunks.h"

namespace tern::lower::gpu {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::var_expr;

namespace {

constexpr int kVector = 4;

Buffer floats(const char* name, int64_t size) {
  return kernel::make_buffer(name, {DType::kF32, 1}, kernel::Scope::kWorkgroup, kernel::Access::kReadWrite,
                             size);
}

}  // namespace

RowSoftmax::RowSoftmax(const RowSoftmaxPlace& place, const AttentionShape& shape, const AttentionOperands& o,
                       kernel::ParamTable& params, const Expr& thread, const Expr& m0)
    : p_(place),
      shape_(shape),
      o_(o),
      keys_(params.expr(shape.keys)),
      queries_(params.expr(shape.queries)),
      t_(thread),
      m0_(m0),
      factor_(score_scale(o, m0)) {
  TERN_CHECK(p_.threads % p_.rows == 0 && p_.block_keys % (kVector * p_.lanes()) == 0,
             "softmax of {} rows of {} keys by {} threads", p_.rows, p_.block_keys, p_.threads);
}

void RowSoftmax::begin(LoopWriter& w) {
  row_ = w.let("softmax_row", kernel::index_div(t_, int_const(p_.lanes())));
  lane_ = w.let("softmax_lane", kernel::index_rem(t_, int_const(p_.lanes())));
  scale_ = floats("row_scales", p_.rows);
  w.emit(kernel::alloc(scale_));
  if (p_.subgroup == 0) {
    parts_ = floats("row_parts", p_.threads);
    w.emit(kernel::alloc(parts_));
  }
  top_ = w.declare("top", float_const(-INFINITY));
  sum_ = w.declare("sum", float_const(0.0));
}

Expr RowSoftmax::folded_over_row(LoopWriter& w, const Expr& value, Expr (*fold)(Expr, Expr)) {
  Expr out = value;
  if (p_.subgroup > 0) {
    for (int mask = 1; mask < p_.lanes(); mask *= 2) {
      const Expr own = w.let("own", out);
      out = fold(
          own, kernel::intrinsic(kernel::Intrinsic::kSubgroupShuffleXor, {own, int_const(mask)}, own->type));
    }
    return w.let("folded", out);
  }
  w.store(parts_, t_, value);
  w.emit(kernel::barrier());
  const Expr first = kernel::mul(row_, int_const(p_.lanes()));
  out = kernel::load(parts_, first);
  for (int lane = 1; lane < p_.lanes(); ++lane)
    out = fold(out, kernel::load(parts_, kernel::add(first, int_const(lane))));
  return w.let("folded", out);
}

Expr RowSoftmax::column(int64_t vector) const {
  return kernel::add(kernel::mul(lane_, int_const(kVector)), int_const(vector * kVector * p_.lanes()));
}

std::vector<Expr> RowSoftmax::scores_of(LoopWriter& w, const Buffer& scores, const Expr& n0) {
  const bool whole = shape_.keys.is_const() && shape_.keys.value() % p_.block_keys == 0;
  Expr m;
  if (!factor_.linear)
    m = w.let("m", kernel::min(kernel::add(m0_, row_), kernel::sub(queries_, int_const(1))));
  std::vector<Expr> out;
  for (int v = 0; v < p_.block_keys / kVector / p_.lanes(); ++v) {
    const Expr at = kernel::add(kernel::mul(row_, int_const(p_.pitch)), column(v));
    const Expr four = w.let("scores", kernel::load(scores, at, kVector));
    for (int e = 0; e < kVector; ++e) {
      Expr score = kernel::shuffle(four, nullptr, {e});
      if (!factor_.linear || !whole) {
        const Expr n = w.let("n", kernel::add(n0, kernel::add(column(v), int_const(e))));
        if (!factor_.linear) score = o_.score(m, n, score);
        if (!whole) score = kernel::select(less(n, keys_), score, float_const(-INFINITY));
        if (!factor_.linear) score = score_in_log2(w.let("score", score));
      }
      out.push_back(w.let("score", score));
    }
  }
  return out;
}

void RowSoftmax::block(LoopWriter& w, const Buffer& scores, const Buffer& weights, int weights_pitch,
                       const Expr& n0) {
  std::vector<Expr> v = scores_of(w, scores, n0);
  const OnlineMaximum maximum(w, factor_, var_expr(top_),
                              folded_over_row(w, w.let("own_top", folded(v, kernel::max)), kernel::max));
  w.when(kernel::compare(ScalarOp::kEq, lane_, int_const(0)), [&] { w.store(scale_, row_, maximum.shrink); });
  w.set(top_, maximum.top);
  for (Expr& x : v) x = w.let("weight", exp2(maximum.exponent(x)));
  w.set(sum_, kernel::add(kernel::mul(var_expr(sum_), maximum.shrink), folded(v, kernel::add)));
  for (size_t i = 0; i < v.size(); i += kVector) {
    const Expr at =
        kernel::add(kernel::mul(row_, int_const(weights_pitch)), column(static_cast<int64_t>(i) / kVector));
    const Expr four = quad(w, v[i], v[i + 1], v[i + 2], v[i + 3]);
    w.store(weights, at, kernel::cast(four, weights->type.dtype));
  }
}

void RowSoftmax::end(LoopWriter& w) {
  const Expr inverse = reciprocal_of_sum(shape_, keys_, folded_over_row(w, var_expr(sum_), kernel::add));
  w.when(kernel::compare(ScalarOp::kEq, lane_, int_const(0)), [&] { w.store(scale_, row_, inverse); });
}

void RowSoftmax::end_part(
    LoopWriter& w, const std::function<void(const Expr& row, const Expr& sum, const Expr& base)>& store) {
  const Expr sum = folded_over_row(w, var_expr(sum_), kernel::add);
  const Expr top = var_expr(top_);
  const Expr base = w.let("part_base", factor_.linear ? kernel::mul(top, float_const(factor_.factor)) : top);
  w.when(kernel::compare(ScalarOp::kEq, lane_, int_const(0)), [&] { store(row_, sum, base); });
}

}  // namespace tern::lower::gpu
