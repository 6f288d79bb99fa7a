#include <cmath>

#include "compiler/onnx/common.h"
#include "compiler/onnx/resize.h"

namespace tern::onnx {

Value* along(Emit& b, Value* vector, int64_t rank, int64_t axis) {
  Shape shape(static_cast<size_t>(rank), Dim(1));
  shape[static_cast<size_t>(axis)] = dimension(vector, 0);
  return b.reshape(vector, shape);
}

namespace {

Value* f32(Emit& b, double v) {
  return b.scalar(DType::kF32, v);
}

// Where each output position lies in the source.
Value* positions(Emit& b, const ResizeMode& mode, const ResizeAxis& a) {
  Value* i = b.iota({a.out}, 0, DType::kF32);
  Value *in = b.cast(b.dim(a.in), DType::kF32), *out = b.cast(b.dim(a.out), DType::kF32);
  Value* half = b.div(b.add(i, 0.5), a.scale_value);
  Value* many = b.compare(ScalarOp::kGt, out, f32(b, 1));
  if (mode.coordinates == "half_pixel") return b.sub(half, 0.5);
  if (mode.coordinates == "pytorch_half_pixel") return b.select(many, b.sub(half, 0.5), f32(b, 0));
  if (mode.coordinates == "asymmetric") return b.div(i, a.scale_value);
  if (mode.coordinates == "tf_half_pixel_for_nn") return half;
  if (mode.coordinates == "align_corners") {
    Value* last = b.sub(a.by_scale ? b.mul(in, a.scale_value) : out, 1.0);
    Value* step = b.div(b.sub(in, 1.0), b.select(b.compare(ScalarOp::kEq, last, 0.0), f32(b, 1), last));
    return b.select(b.compare(ScalarOp::kEq, last, 0.0), f32(b, 0), b.mul(i, step));
  }
  if (mode.coordinates == "half_pixel_symmetric") {
    Value* adjustment = b.div(out, b.mul(a.scale_value, in));
    Value* offset = b.mul(b.mul(in, 0.5), b.sub(f32(b, 1), adjustment));
    return b.sub(b.add(offset, half), 0.5);
  }
  // tf_crop_and_resize
  Value *start = a.roi_start_value, *end = a.roi_end_value, *last = b.sub(in, 1.0);
  Value* step = b.div(b.mul(b.sub(end, start), last), b.max(b.sub(out, 1.0), f32(b, 1)));
  Value* spread = b.add(b.mul(start, last), b.mul(i, step));
  return b.select(many, spread, b.mul(b.mul(b.add(start, end), 0.5), last));
}

Value* rounded(Emit& b, const std::string& rule, Value* position) {
  if (rule == "floor") return b.unary(ScalarOp::kFloor, position);
  if (rule == "ceil") return b.unary(ScalarOp::kCeil, position);
  Value* low = b.unary(ScalarOp::kFloor, position);
  Value* part = b.sub(position, low);
  Value* up = rule == "round_prefer_floor" ? b.compare(ScalarOp::kGt, part, kAboveHalf)
                                           : b.compare(ScalarOp::kGe, part, kBelowHalf);
  return b.add(low, b.cast(up, DType::kF32));
}

Value* tap_weight(Emit& b, const ResizeMode& mode, Value* distance) {
  Value* d = b.unary(ScalarOp::kAbs, distance);
  if (mode.mode != "cubic") return b.max(b.sub(f32(b, 1), d), f32(b, 0));
  double c = mode.cubic_a;
  Value* inner = b.add(b.mul(b.mul(d, d), b.sub(b.mul(d, c + 2), c + 3)), 1.0);
  Value* outer = b.mul(b.sub(b.mul(b.add(b.mul(b.sub(d, 5.0), d), 8.0), d), 4.0), c);
  Value* far = b.select(b.compare(ScalarOp::kLt, d, 2.0), outer, f32(b, 0));
  return b.select(b.compare(ScalarOp::kLe, d, 1.0), inner, far);
}

// How many source elements can have weight: antialiasing widens the kernel by the factor of reduction, which
// the sizes bound; 0 where they are not known.
int tap_count(const ResizeMode& mode, const ResizeAxis& a) {
  double support = mode.mode == "cubic" ? 2 : 1;
  if (!mode.antialias) return static_cast<int>(2 * support);
  if (!a.in.is_const() || !a.out.is_const() || a.out.value() < 1) return 0;
  double ratio = static_cast<double>(a.out.value()) / static_cast<double>(a.in.value());
  if (ratio >= 1) return static_cast<int>(2 * support);
  // The scale may be smaller than out / in by less than one element.
  double least = static_cast<double>(a.out.value()) / static_cast<double>(a.in.value() + 1);
  int taps = 2 * static_cast<int>(std::ceil(support / least)) + 2;
  return taps <= 256 ? taps : 0;
}

// Any number of taps, along an axis of their own: [out, taps]. What has no weight is not multiplied, since it
// may be infinite.
Value* resize_by_sums(Emit& b, Value* x, const ResizeMode& mode, const ResizeAxis& a, Value* position) {
  const Dim support(mode.mode == "cubic" ? 2 : 1), one(1);
  const Dim reach = floordiv(support * a.in, b.max_dim(a.out, one)) + support + one;
  const Dim taps = reach + reach + one;
  Value* last = b.cast(b.dim(a.in - one), DType::kF32);
  Value* first = b.sub(b.unary(ScalarOp::kFloor, position), b.cast(b.dim(reach), DType::kF32));
  Value* at = b.add(b.unsqueeze(first, {1}), b.iota({one, taps}, 1, DType::kF32));
  Value* distance = b.sub(at, b.unsqueeze(position, {1}));
  Value* weight = tap_weight(b, mode, b.mul(distance, b.min(a.scale_value, f32(b, 1))));
  if (mode.exclude_outside) {
    Value* inside =
        b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kGe, at, f32(b, 0)), b.compare(ScalarOp::kLe, at, last)});
    weight = b.select(inside, weight, f32(b, 0));
  }
  weight = b.div(weight, b.reduce(ScalarOp::kAdd, weight, {1}, true));
  Value* tap = b.wide(b.gather(x, b.cast(b.max(b.min(at, last), f32(b, 0)), DType::kI64), a.axis));
  Shape shape(static_cast<size_t>(tap->type.rank()), one);
  shape[static_cast<size_t>(a.axis)] = a.out;
  shape[static_cast<size_t>(a.axis) + 1] = taps;
  weight = b.reshape(b.cast(weight, tap->type.dtype), shape);
  Value* part = b.select(b.compare(ScalarOp::kEq, weight, 0.0), b.like(tap, 0), b.mul(tap, weight));
  return b.cast(b.reduce(ScalarOp::kAdd, part, {a.axis + 1}), x->type.dtype);
}

}  // namespace

Value* resize_symbolic(Emit& b, Value* x, const ResizeMode& mode, const ResizeAxis& a) {
  Value* position = positions(b, mode, a);
  Value* last = b.cast(b.dim(a.in - Dim(1)), DType::kF32);
  Value* zero = f32(b, 0);
  auto pick = [&](Value* at) {
    return b.gather(x, b.cast(b.max(b.min(at, last), zero), DType::kI64), a.axis);
  };
  Value* sum = nullptr;
  if (mode.mode == "nearest") {
    sum = pick(rounded(b, mode.nearest, position));
  } else if (const int taps = tap_count(mode, a); taps == 0) {
    sum = resize_by_sums(b, x, mode, a, position);
  } else {
    Value* shrink = mode.antialias ? b.min(a.scale_value, f32(b, 1)) : nullptr;
    Value* first = b.unary(ScalarOp::kFloor, position);
    std::vector<Value*> at, weights;
    Value* total = nullptr;
    for (int k = 0; k < taps; ++k) {
      at.push_back(b.add(first, static_cast<double>(k - taps / 2 + 1)));
      Value* distance = b.sub(at.back(), position);
      Value* weight = tap_weight(b, mode, shrink ? b.mul(distance, shrink) : distance);
      if (mode.exclude_outside) {
        Value* inside = b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kGe, at.back(), zero),
                                               b.compare(ScalarOp::kLe, at.back(), last)});
        weight = b.select(inside, weight, zero);
      }
      weights.push_back(weight);
      total = total ? b.add(total, weight) : weight;
    }
    bool normal = mode.exclude_outside || mode.antialias;
    for (int k = 0; k < taps; ++k) {
      auto n = static_cast<size_t>(k);
      Value* weight = normal ? b.div(weights[n], total) : weights[n];
      Value* part = b.mul(pick(at[n]), along(b, b.cast(weight, x->type.dtype), x->type.rank(), a.axis));
      sum = sum ? b.add(sum, part) : part;
    }
  }
  if (mode.coordinates != "tf_crop_and_resize") return sum;
  Value* outside = b.map(
      ScalarOp::kOr, {b.compare(ScalarOp::kLt, position, zero), b.compare(ScalarOp::kGt, position, last)});
  return b.select(along(b, outside, x->type.rank(), a.axis), b.like(sum, mode.extrapolation), sum);
}

}  // namespace tern::onnx
