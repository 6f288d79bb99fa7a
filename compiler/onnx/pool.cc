// Pooling.
#include <algorithm>
#include <cmath>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/window.h"

namespace tern::onnx {

namespace {

// The spatial attributes extended to the operand's rank.
std::vector<std::pair<std::string, Attr>> window_attrs(const Window& w) {
  auto full = [](const std::vector<int64_t>& v, int64_t front) {
    std::vector<int64_t> out = {front, front};
    out.insert(out.end(), v.begin(), v.end());
    return out;
  };
  return {{"window", full(w.kernel, 1)},
          {"strides", full(w.strides, 1)},
          {"low", full(w.low, 0)},
          {"high", full(w.high, 0)},
          {"dilations", full(w.dilations, 1)}};
}

// Sums of narrow floats are f32.
Value* fold_windows(Emit& b, ScalarOp op, Value* x, const Window& w) {
  auto attrs = window_attrs(w);
  attrs.emplace_back("op", op);
  const DType type = x->type.dtype;
  if (op == ScalarOp::kAdd && is_float(type) && dtype_bits(type) < 32)
    attrs.emplace_back("accumulate", DType::kF32);
  return b.emit(OpKind::kReduceWindow, {x}, std::move(attrs));
}

// Row-major positions in `padded`, as those in `shape` of what w moved, column-major ones in the spatial
// dimensions if `columns`.
Value* positions(Emit& b, Value* flat, const Shape& padded, const Shape& shape, const Window& w,
                 bool columns) {
  Dim plane = product(padded.part(2));
  Value* rest = b.map(ScalarOp::kFloorMod, {flat, b.dim(plane)});
  Value* base = b.mul(b.div(flat, b.dim(plane)), b.dim(product(shape.part(2))));
  std::vector<Value*> position(shape.size());
  for (size_t i = shape.size(); i-- > 2;) {
    position[i] = b.map(ScalarOp::kFloorMod, {rest, b.dim(padded[i])});
    rest = b.div(rest, b.dim(padded[i]));
    if (padded[i] == shape[i]) continue;
    // A window of nothing but least values may have found one that was added.
    position[i] = b.map(ScalarOp::kMax, {b.sub(position[i], b.dim(w.moved_low[i - 2])), b.i64(0)});
    position[i] = b.map(ScalarOp::kMin, {position[i], b.dim(shape[i] - Dim(1))});
  }
  Dim stride(1);
  for (size_t k = 2; k < shape.size(); ++k) {
    const size_t i = columns ? k : shape.size() + 1 - k;
    base = b.add(base, b.mul(position[i], b.dim(stride)));
    stride = stride * shape[i];
  }
  return base;
}

}  // namespace

Value* max_pool(Op& op, Value* x) {
  Window w = read_window(op, x, {}, -HUGE_VAL);
  op.ignore({"storage_order"});
  return fold_windows(op.b, ScalarOp::kMax, x, w);
}

namespace {

void import_max_pool(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  Shape original = x->type.shape;
  Window w = read_window(op, x, {}, -HUGE_VAL);
  bool columns = op.i("storage_order", 0) != 0;
  op.output(0, fold_windows(b, ScalarOp::kMax, x, w));
  if (!op.wants(1)) return;
  Value* indices = b.emit(OpKind::kArgReduceWindow, {x}, window_attrs(w));
  if (columns || x->type.shape != original)
    indices = positions(b, indices, x->type.shape, original, w, columns);
  op.output(1, indices);
}

// How many taps of each window along one axis lie inside: of the operand, or of the operand with its
// asked-for padding.
Value* axis_counts(Emit& b, const Window& w, size_t i, const Dim& extent, bool with_padding, DType type,
                   const Dim& out) {
  int64_t low = w.low[i];
  int64_t asked_low = with_padding ? w.asked_low[i] : 0, asked_high = with_padding ? w.asked_high[i] : 0;
  if (extent.is_const() && out.is_const() && out.value() <= (1 << 20)) {
    std::vector<double> counts;
    for (int64_t o = 0; o < out.value(); ++o) {
      double count = 0;
      for (int64_t k = 0; k < w.kernel[i]; ++k) {
        int64_t at = o * w.strides[i] - low + k * w.dilations[i];
        count += at >= -asked_low && at < extent.value() + asked_high;
      }
      counts.push_back(count);
    }
    bool even = std::all_of(counts.begin(), counts.end(), [&](double c) { return c == counts[0]; });
    if (even && !counts.empty()) return b.scalar(type, counts[0]);
    return b.floats(type, counts);
  }
  Value* ones = b.full({Dim(1), Dim(1), extent + Dim(asked_low + asked_high)}, b.scalar(type, 1));
  Window axis{
      {w.kernel[i]}, {w.strides[i]}, {w.dilations[i]}, {low - asked_low}, {w.high[i] - asked_high}, {}, {}};
  return b.reshape(fold_windows(b, ScalarOp::kAdd, ones, axis), {out});
}

Shape plane_of(Shape shape) {
  shape[0] = shape[1] = Dim(1);
  return shape;
}

// The same for all axes at once where padding depends on sizes: pools a plane of ones that is padded
// likewise, by ones where padding counts.
Value* plane_counts(Emit& b, Window w, const Shape& shape, bool with_padding, DType type) {
  size_t rank = shape.size();
  Shape one_low(rank, Dim(0)), one_high = one_low, low = one_low, high = one_low;
  for (size_t i = 0; i + 2 < rank; ++i) {
    low[i + 2] = w.moved_low[i] + Dim(w.low[i]);
    high[i + 2] = w.moved_high[i] + Dim(w.high[i]);
    if (!with_padding) continue;
    one_low[i + 2] = w.automatic ? low[i + 2] : Dim(w.asked_low[i]);
    one_high[i + 2] = w.automatic ? high[i + 2] : Dim(w.asked_high[i]);
    low[i + 2] = low[i + 2] - one_low[i + 2];
    high[i + 2] = high[i + 2] - one_high[i + 2];
  }
  Value* one = b.scalar(type, 1);
  Value* ones = b.pad(b.full(plane_of(shape), one), one_low, one_high, one);
  w.low.assign(w.low.size(), 0);
  w.high = w.low;
  return fold_windows(b, ScalarOp::kAdd, b.pad(ones, low, high, b.scalar(type, 0)), w);
}

}  // namespace

Value* average_pool(Op& op, Value* x) {
  Emit& b = op.b;
  Value* original = x;
  bool with_padding = op.i("count_include_pad", 0) != 0;
  Window w = read_window(op, x, {}, 0);
  Value* sum = fold_windows(b, ScalarOp::kAdd, x, w);
  const DType type = sum->type.dtype;
  Value* count = nullptr;
  size_t spatial = w.kernel.size();
  if (x != original) {
    count = plane_counts(b, w, original->type.shape, with_padding, type);
    return b.cast(b.div(sum, b.reshape(count, plane_of(sum->type.shape))), x->type.dtype);
  }
  for (size_t i = 0; i < spatial; ++i) {
    Value* counts = axis_counts(b, w, i, dimension(x, i + 2), with_padding, type, dimension(sum, i + 2));
    if (counts->type.rank() == 1) {
      Shape shape(spatial, Dim(1));
      shape[i] = dimension(counts, 0);
      counts = b.reshape(counts, shape);
    }
    count = count ? b.mul(count, counts) : counts;
  }
  return b.cast(b.div(sum, count), x->type.dtype);
}

namespace {

void import_average_pool(Op& op) {
  op.output(0, average_pool(op, op.tensor(0)));
}

Value* power_norm(Emit& b, Value* sum, double p) {
  if (p == 1) return sum;
  if (p == 2) return b.unary(ScalarOp::kSqrt, sum);
  return b.map(ScalarOp::kPow, {sum, b.like(sum, 1 / p)});
}

Value* powered(Emit& b, Value* x, double p) {
  if (p == 2) return b.mul(x, x);
  Value* size = b.unary(ScalarOp::kAbs, x);
  return p == 1 ? size : b.map(ScalarOp::kPow, {size, b.like(x, p)});
}

void import_lp_pool(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  auto p = static_cast<double>(op.i("p", 2));
  Value* powers = powered(b, b.wide(x), p);
  Window w = read_window(op, powers, {}, 0);
  op.output(0, b.cast(power_norm(b, fold_windows(b, ScalarOp::kAdd, powers, w), p), x->type.dtype));
}

std::vector<int64_t> spatial_axes(Value* x) {
  if (x->type.rank() < 2) fail("The operand ({}) has no channels.", x->type.text());
  std::vector<int64_t> axes;
  for (int64_t a = 2; a < x->type.rank(); ++a) axes.push_back(a);
  return axes;
}

void import_global_average_pool(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, op.b.mean(x, spatial_axes(x), true));
}

void import_global_max_pool(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, op.b.reduce(ScalarOp::kMax, x, spatial_axes(x), true));
}

void import_global_lp_pool(Op& op) {
  Value* x = op.tensor(0);
  auto p = static_cast<double>(op.i("p", 2));
  Emit& b = op.b;
  Value* sum = b.reduce(ScalarOp::kAdd, powered(b, b.wide(x), p), spatial_axes(x), true);
  op.output(0, b.cast(power_norm(b, sum, p), x->type.dtype));
}

// Row-major positions in `plane` along each of its axes.
std::vector<Value*> axis_positions(Emit& b, Value* flat, const Shape& plane) {
  std::vector<Value*> position(plane.size());
  for (size_t i = plane.size(); i-- > 0;) {
    position[i] = i == 0 ? flat : b.map(ScalarOp::kFloorMod, {flat, b.dim(plane[i])});
    if (i > 0) flat = b.div(flat, b.dim(plane[i]));
  }
  return position;
}

// Whether every index, as a position in a tensor whose axes are these, lies in the window that it is for.
Value* all_in_windows(Emit& b, const std::vector<Value*>& position, const std::vector<int64_t>& kernel,
                      const std::vector<int64_t>& strides, const std::vector<int64_t>& pads) {
  Value* inside = nullptr;
  for (size_t i = 0; i < position.size(); ++i) {
    Value* own = b.iota(position[i]->type.shape, static_cast<int>(i), DType::kI64);
    int64_t taps = 1;
    if (i >= 2) {
      own = b.sub(b.mul(own, b.i64(strides[i - 2])), b.i64(pads[i - 2]));
      taps = kernel[i - 2];
    }
    Value* tap = b.sub(position[i], own);
    Value* here = b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kGe, tap, 0.0),
                                         b.compare(ScalarOp::kLt, tap, static_cast<double>(taps))});
    inside = inside ? b.map(ScalarOp::kAnd, {inside, here}) : here;
  }
  std::vector<int64_t> axes;
  for (size_t i = 0; i < position.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  return b.reduce(ScalarOp::kAnd, inside, axes);
}

// Values back to the positions that MaxPool's indices give; zero elsewhere.
//
// Where a shape of the result is given that is not the one which the attributes imply, the indices count in
// the given shape: so they come from a MaxPool of such an operand, and PyTorch and ONNX Runtime have it so.
// ONNX's test (test_maxunpool_export_with_output_shape, and its reference evaluator up to 1.22) has indices
// that count in the implied shape. Both are MaxPool's: each lies in its window in one of the two shapes.
void import_max_unpool(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *indices = b.cast(op.tensor(1), DType::kI64);
  size_t spatial = x->type.shape.size() - 2;
  if (x->type.rank() < 3) fail("The operand ({}) has no spatial dimension.", x->type.text());
  indices = b.adapt(indices, x->type.shape);
  std::vector<int64_t> kernel = window_ints(op, "kernel_shape", spatial, 1, 1);
  std::vector<int64_t> strides = window_ints(op, "strides", spatial, 1, 1);
  std::vector<int64_t> pads = window_ints(op, "pads", 2 * spatial, 0, 0);
  Shape implied = x->type.shape;
  for (size_t i = 0; i < spatial; ++i)
    implied[i + 2] =
        (implied[i + 2] - Dim(1)) * Dim(strides[i]) + Dim(kernel[i] - pads[i] - pads[i + spatial]);
  Shape target = op.has(2) ? op.sizes(op.tensor(2), 0) : implied;
  if (target.size() != implied.size())
    fail("The output shape has {} elements instead of {}.", target.size(), implied.size());
  if (target != implied) {
    std::vector<Value*> position = axis_positions(b, indices, implied);
    Value* moved = position[0];
    for (size_t i = 1; i < target.size(); ++i) moved = b.add(b.mul(moved, b.dim(target[i])), position[i]);
    Value* in_target = all_in_windows(b, axis_positions(b, indices, target), kernel, strides, pads);
    Value* in_implied = all_in_windows(b, position, kernel, strides, pads);
    indices =
        b.select(b.compare(ScalarOp::kLt, b.cast(in_target, DType::kI64), b.cast(in_implied, DType::kI64)),
                 moved, indices);
  }
  Value* empty = b.full({product(target)}, b.like(x, 0));
  Dim count = product(x->type.shape);
  Value* filled =
      b.emit(OpKind::kScatterElements, {empty, b.reshape(indices, {count}), b.reshape(x, {count})},
             {{"axis", int64_t{0}}, {"reduction", std::string("none")}});
  op.output(0, b.reshape(filled, target));
}

constexpr OpRow kRows[] = {
    {kOnnx, "MaxPool", 1, kLatest, import_max_pool},
    {kOnnx, "AveragePool", 1, kLatest, import_average_pool},
    {kOnnx, "LpPool", 2, kLatest, import_lp_pool},
    {kOnnx, "GlobalAveragePool", 1, kLatest, import_global_average_pool},
    {kOnnx, "GlobalMaxPool", 1, kLatest, import_global_max_pool},
    {kOnnx, "GlobalLpPool", 2, kLatest, import_global_lp_pool},
    {kOnnx, "MaxUnpool", 9, kLatest, import_max_unpool},
};

}  // namespace

std::span<const OpRow> pool_rows() {
  return kRows;
}

}  // namespace tern::onnx
