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

// Whether something is computed over what v becomes by maps and views: a softmax's maximum, as a rule.
bool feeds_reduction(const Value* v, const SimplifyContext& context, int depth = 4) {
  const auto uses = context.uses.find(v);
  if (uses == context.uses.end() || depth == 0) return false;
  return std::any_of(uses->second.begin(), uses->second.end(), [&](const Use& use) {
    return use.node &&
           (use.node->kind == OpKind::kReduce ||
            (use.node->results.size() == 1 && feeds_reduction(use.node->result(), context, depth - 1)));
  });
}

// Whether maps and views make v of sums: a softmax's weights.
bool comes_of_reduction(const Value* v, int depth = 4) {
  const Node* n = v->def;
  if (!n || depth == 0) return false;
  return n->kind == OpKind::kReduce ||
         std::any_of(n->operands.begin(), n->operands.end(),
                     [&](const Value* o) { return comes_of_reduction(o, depth - 1); });
}

// Whether v is computed from constants alone (weights that are unpacked where they are used).
bool is_of_constants(const Value* v, int depth = 16) {
  const Node* n = v->def;
  if (!n) return false;
  return depth == 0 || std::all_of(n->operands.begin(), n->operands.end(),
                                   [&](const Value* o) { return is_of_constants(o, depth - 1); });
}

// One row by a matrix that is no constant, which would be packed: sums down its columns, or along rows where
// its depth lies innermost. Either reads it once, in long runs. (Attention's products stay products.)
Value* sums_of_one_row(Node& n, Builder& b, const SimplifyContext& context) {
  Value *x = n.operand(0), *y = n.operand(1);
  const Shape& result = n.result()->type.shape;
  const size_t rank = result.size();
  const DType type = n.result()->type.dtype;
  if (product(result) != result[rank - 1] || n.find("accumulate") || n.find("weight_bits") ||
      (type != DType::kF32 && type != DType::kF64) || is_of_constants(y) || comes_of_reduction(x) ||
      feeds_reduction(n.result(), context))
    return nullptr;
  const Dim &depth = x->type.shape[rank - 1], &columns = result[rank - 1];
  const Node* turned = def_of(y, OpKind::kTranspose);
  const bool along = turned && turned->operand()->type.shape[rank - 1] == depth &&
                     turned->operand()->type.shape[rank - 2] == columns;
  if (turned && !along) return nullptr;
  const Shape matrix = along ? Shape{columns, depth} : Shape{depth, columns};
  Value* row = b.reshape(x, along ? Shape{depth} : Shape{depth, Dim(1)});
  Value* products = b.mul(b.reshape(along ? turned->operand() : y, matrix), b.broadcast(row, matrix));
  return b.reshape(b.reduce(ScalarOp::kAdd, products, {along ? 1 : 0}), result);
}

// v once, if it is the same along a dimension of more than one element because a broadcast spread it there.
Value* once_along(Value* v, size_t dim, Builder& b) {
  const Node* spread = def_of(v, OpKind::kBroadcast);
  const Shape& full = v->type.shape;
  if (!spread || full[dim].is_const(1)) return nullptr;
  const Shape& small = spread->operand()->type.shape;
  const size_t added = full.size() - small.size();
  if (dim >= added && !small[dim - added].is_const(1)) return nullptr;
  Shape shape = full;
  shape[dim] = Dim(1);
  return b.broadcast(spread->operand(), std::move(shape));
}

// Weights that are a broadcast of constants are constants, to be packed, while they are small. (Larger ones
// stay broadcasts: the file would have to hold them.)
Value* small_weights(const Value* v, Builder& b) {
  constexpr int64_t kMostBytes = 1 << 20;
  if (!def_of(v, OpKind::kBroadcast)) return nullptr;
  const TensorDataPtr data = evaluate_constant(v, kMostBytes);
  return data ? b.constant(data) : nullptr;
}

// Equal columns of a product, or rows, are computed once: models whose weights were replaced by one number.
Value* dot_once(Node& n, Builder& b) {
  Value *x = n.operand(0), *y = n.operand(1);
  const Shape& result = n.result()->type.shape;
  const size_t rank = result.size();
  if (Value* column = once_along(y, rank - 1, b)) return b.broadcast(make_dot(n, x, column, b), result);
  if (Value* row = once_along(x, rank - 2, b)) return b.broadcast(make_dot(n, row, y, b), result);
  Value* weights = small_weights(y, b);
  return weights ? make_dot(n, x, weights, b) : nullptr;
}

// Equal filters of a convolution, those of each group, likewise.
Value* conv_once(Node& n, Builder& b) {
  Value* w = n.operand(1);
  const Shape& result = n.result()->type.shape;
  const int64_t groups = n.int_attr("groups");
  const bool several = w->type.shape[0].is_const() && w->type.shape[0].value() != groups;
  Value* filter = several ? once_along(w, 0, b) : nullptr;
  if (!filter) {
    Value* weights = small_weights(w, b);
    return weights ? b.node(OpKind::kConv, {n.operand(0), weights}, n.attrs)->result() : nullptr;
  }
  Shape shape = filter->type.shape;
  shape[0] = Dim(groups);
  Value* sums = b.node(OpKind::kConv, {n.operand(0), b.broadcast(filter, shape)}, n.attrs)->result();
  if (groups == 1) return b.broadcast(sums, result);
  Shape apart = result, spread = result;
  apart[1] = Dim(groups);
  apart.insert(apart.begin() + 2, Dim(1));
  spread[1] = Dim(groups);
  spread.insert(spread.begin() + 2, Dim(result[1].value() / groups));
  return b.reshape(b.broadcast(b.reshape(sums, std::move(apart)), std::move(spread)), result);
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

Value* simplify_dot(Node& n, Builder& b, const SimplifyContext& context) {
  if (Value* once = dot_once(n, b)) return once;
  if (Value* sums = sums_of_rows(n, b)) return sums;
  if (Value* sums = sums_of_one_row(n, b, context)) return sums;
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
  if (Value* once = conv_once(n, b)) return once;
  if (Value* cut = cut_idle_taps(n, b)) return cut;
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
