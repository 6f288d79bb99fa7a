// dot, conv.
#include <algorithm>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/simplify_rules.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

// The shape of v without a spread over batch dims: they become 1, which a dot spreads by itself.
Shape unspread_shape(const Value* v) {
  const Node* spread = def_of(v, OpKind::kBroadcast);
  if (!spread) return v->type.shape;
  const Shape &small = spread->operand()->type.shape, &full = v->type.shape;
  if (small.size() < 2) return full;
  for (size_t i = 1; i <= 2; ++i)
    if (small[small.size() - i] != full[full.size() - i]) return full;
  Shape shape(full.size() - small.size(), Dim(1));
  shape.insert(shape.end(), small.begin(), small.end());
  return shape;
}

Value* with_shape(Value* v, const Shape& shape, Builder& b) {
  return v->type.shape == shape ? v : b.reshape(v->def->operand(), shape);
}

// Whether operands of these shapes give the result's batch dims.
bool same_batch(const Shape& x, const Shape& y, const Shape& result) {
  for (size_t i = 0; i + 2 < result.size(); ++i)
    if ((x[i] == Dim(1) ? y[i] : x[i]) != result[i]) return false;
  return true;
}

Dim batch_of(const Value* v) {
  Dim out(1);
  for (size_t i = 0; i + 2 < v->type.shape.size(); ++i) out = out * v->type.shape[i];
  return out;
}

Value* make_dot(const Node& n, Value* x, Value* y, Builder& b) {
  return b.node(OpKind::kDot, {x, y}, n.attrs)->result();
}

// Rows by one column: sums along rows, which need no panels of columns.
Value* sums_of_rows(Node& n, Builder& b) {
  Value *x = n.operand(0), *y = n.operand(1);
  const Shape& result = n.result()->type.shape;
  const size_t rank = result.size();
  if (!result[rank - 1].is_const(1) || n.find("accumulate") || n.find("weight_bits")) return nullptr;
  const DType type = n.result()->type.dtype;
  if (type != DType::kF32 && type != DType::kF64) return nullptr;
  constexpr int64_t kShort = 8;  // panels of one column are faster then
  const Dim& depth = x->type.shape[rank - 1];
  const bool one_row = result[rank - 2].is_const(1);
  if (!one_row && depth.is_const() && depth.value() < kShort) return nullptr;
  if (one_row && batch_of(n.result()) == Dim(1)) return nullptr;
  Shape column = y->type.shape, rows = result;
  std::swap(column[rank - 1], column[rank - 2]);
  rows[rank - 1] = depth;
  const auto spread = [&](Value* v) { return v->type.shape == rows ? v : b.broadcast(v, rows); };
  Value* products = b.mul(spread(x), spread(b.reshape(y, column)));
  return b.reshape(b.reduce(ScalarOp::kAdd, products, {static_cast<int64_t>(rank) - 1}), result);
}

// Taps of a window that meet nothing but zero padding, at either end of an axis (dilated windows that are
// wider than a small image), are cut off.
Value* cut_idle_taps(Node& n, Builder& b) {
  const Shape &x = n.operand(0)->type.shape, &w = n.operand(1)->type.shape, &out = n.result()->type.shape;
  if (n.find("pad_value")) return nullptr;
  const auto &strides = n.ints("strides"), &dilations = n.ints("dilations");
  std::vector<int64_t> low = n.ints("low"), high = n.ints("high");
  std::vector<Dim> starts(w.size(), Dim(0)), sizes(w.begin(), w.end());
  bool cuts = false;
  for (size_t i = 0; i < low.size(); ++i) {
    const Dim &extent = x[i + 2], &outputs = out[i + 2], &window = w[i + 2];
    if (!extent.is_const() || !outputs.is_const() || !window.is_const() || n.ints("lhs_dilations")[i] != 1)
      continue;
    const int64_t step = dilations[i], last = (outputs.value() - 1) * strides[i];
    int64_t first = 0, end = window.value();
    while (first + 1 < end && first * step - low[i] + last < 0 && low[i] - (first + 1) * step >= 0) ++first;
    while (end - 1 > first && (end - 1) * step - low[i] >= extent.value() &&
           high[i] - (window.value() - end + 1) * step >= 0)
      --end;
    cuts |= end - first < window.value();
    low[i] -= first * step;
    high[i] -= (window.value() - end) * step;
    starts[i + 2] = first;
    sizes[i + 2] = end - first;
  }
  if (!cuts) return nullptr;
  auto attrs = n.attrs;
  for (auto& [key, value] : attrs) {
    if (key == "low") value = low;
    if (key == "high") value = high;
  }
  Value* weights = b.slice(n.operand(1), starts, sizes, std::vector<int64_t>(w.size(), 1));
  return b.node(OpKind::kConv, {n.operand(0), weights}, std::move(attrs))->result();
}

}  // namespace

Value* simplify_dot(Node& n, Builder& b) {
  if (Value* sums = sums_of_rows(n, b)) return sums;
  Value *x = n.operand(0), *y = n.operand(1);
  const Shape &result = n.result()->type.shape, shape_x = unspread_shape(x), shape_y = unspread_shape(y);
  for (const bool both : {true, false}) {
    const Shape& left = both ? shape_x : x->type.shape;
    if ((left == x->type.shape && shape_y == y->type.shape) || !same_batch(left, shape_y, result)) continue;
    return make_dot(n, with_shape(x, left, b), with_shape(y, shape_y, b), b);
  }
  // A right operand without batch serves all rows: the left one's batch becomes rows.
  const size_t rank = x->type.shape.size();
  if (rank == 2 || batch_of(y) != Dim(1)) return nullptr;
  if (def_of(x, OpKind::kTranspose) && batch_of(x) != Dim(1))
    return nullptr;  // rows would have to be copied together
  const Dim k = x->type.shape[rank - 1], columns = y->type.shape[rank - 1];
  Value* rows = b.reshape(x, {batch_of(x) * x->type.shape[rank - 2], k});
  Value* out = make_dot(n, rows, b.reshape(y, {k, columns}), b);
  return b.reshape(out, n.result()->type.shape);
}

// Zero padding before a convolution becomes the convolution's.
Value* simplify_conv(Node& n, Builder& b) {
  if (Value* cut = cut_idle_taps(n, b)) return cut;
  if (Value* conv = narrow_transposed_conv(n, b)) return conv;
  const Node* pad = def_of(n.operand(0), OpKind::kPad);
  if (!pad || pad->str("mode") != "constant") return nullptr;
  const auto fill = splat_of(pad->operand(1));
  if (!fill || fill->f != 0 || fill->i != 0 || n.find("pad_value")) return nullptr;
  std::vector<int64_t> low = n.ints("low"), high = n.ints("high");
  for (size_t i = 0; i < low.size() + 2; ++i) {
    const Dim &l = pad->dims("low")[i], &h = pad->dims("high")[i];
    if (!l.is_const() || !h.is_const()) return nullptr;
    if (i < 2) {
      if (l.value() != 0 || h.value() != 0) return nullptr;
      continue;
    }
    // Cropping or spreading between the two paddings does not commute with them.
    if (l.value() < 0 || h.value() < 0 || low[i - 2] < 0 || high[i - 2] < 0) return nullptr;
    if ((l.value() || h.value()) && n.ints("lhs_dilations")[i - 2] != 1) return nullptr;
    low[i - 2] += l.value();
    high[i - 2] += h.value();
  }
  auto attrs = n.attrs;
  for (auto& [key, value] : attrs) {
    if (key == "low") value = low;
    if (key == "high") value = high;
  }
  return b.node(OpKind::kConv, {pad->operand(0), n.operand(1)}, std::move(attrs))->result();
}

}  // namespace tern::graph
