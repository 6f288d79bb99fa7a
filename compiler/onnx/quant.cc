// Quantised operators: maps and casts around integer products that accumulate in i32.
#include "compiler/onnx/quant.h"

#include <algorithm>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/window.h"

namespace tern::onnx {

Value* spread_parameter(Op& op, Value* parameter, const Shape& shape, int64_t axis, int64_t block) {
  Emit& b = op.b;
  auto rank = static_cast<int64_t>(shape.size());
  if (product(parameter->type.shape).is_const(1) && parameter->type.rank() <= 1)
    return b.reshape(parameter, {});
  if (block == 0) {
    if (parameter->type.rank() != 1)
      fail("The scale or zero point ({}) is neither one value nor a list.", parameter->type.text());
    return per_channel(b, parameter, rank, op.axis(axis, rank));
  }
  // Blocks: each entry holds for `block` elements along the axis.
  auto at = static_cast<size_t>(op.axis(axis, rank));
  if (parameter->type.rank() != rank)
    fail("The scales ({}) of blocks do not match the operand's rank ({}).", parameter->type.text(), rank);
  Shape split = parameter->type.shape, wide, joined = parameter->type.shape;
  split.insert(split.begin() + static_cast<int64_t>(at) + 1, Dim(1));
  wide = split;
  wide[at + 1] = Dim(block);
  joined[at] = joined[at] * Dim(block);
  Value* repeated = b.reshape(b.broadcast(b.reshape(parameter, split), wide), joined);
  return b.slice_axis(repeated, static_cast<int64_t>(at), Dim(0), shape[at]);
}

namespace {

struct QuantRange {
  double low, high;
};

QuantRange range_of(DType type) {
  int bits = dtype_bits(type);
  if (!is_int(type) || bits > 16) fail("Quantising to {} is not supported.", dtype_name(type));
  double span = static_cast<double>(int64_t{1} << bits);
  return is_signed_int(type) ? QuantRange{-span / 2, span / 2 - 1} : QuantRange{0, span - 1};
}

}  // namespace

Value* quantize(Emit& b, Value* x, Value* scale, Value* zero, DType to, bool saturate) {
  Value* scaled = b.div(x, scale);
  if (is_float(to))
    return b.cast(zero ? b.add(scaled, b.cast(zero, scaled->type.dtype)) : scaled, to, saturate);
  Value* rounded = b.cast(b.unary(ScalarOp::kRoundEven, scaled), DType::kF32);
  if (zero) rounded = b.add(rounded, b.cast(zero, DType::kF32));
  QuantRange range = range_of(to);
  return b.cast(b.max(b.min(rounded, b.like(rounded, range.high)), b.like(rounded, range.low)), to);
}

namespace {

void import_quantize_linear(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *scale = op.tensor(1);
  int64_t axis = op.i("axis", 1), block = op.i("block_size", 0);
  bool saturate = op.i("saturate", 1) != 0;
  DType to = op.has(2) ? op.tensor(2)->type.dtype : op.dtype_attr("output_dtype").value_or(DType::kU8);
  op.ignore({"output_dtype"});
  DType precision = op.dtype_attr("precision").value_or(DType::kNone);
  if (precision == DType::kNone)
    precision =
        is_float(scale->type.dtype) && dtype_bits(scale->type.dtype) >= 16 ? scale->type.dtype : DType::kF32;
  Value* s = spread_parameter(op, b.cast(scale, precision), x->type.shape, axis, block);
  Value* zero = op.has(2) ? spread_parameter(op, op.tensor(2), x->type.shape, axis, block) : nullptr;
  op.output(0, quantize(b, b.cast(x, precision), s, zero, to, saturate));
}

void import_dequantize_linear(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *scale = op.tensor(1);
  int64_t axis = op.i("axis", 1), block = op.i("block_size", 0);
  DType to = op.dtype_attr("output_dtype").value_or(scale->type.dtype);
  Value* s = spread_parameter(op, b.cast(scale, to), x->type.shape, axis, block);
  bool integer = is_int(x->type.dtype);
  DType wide = integer ? DType::kI32 : to;
  Value* value = b.cast(x, wide);
  if (op.has(2)) {
    Value* zero = op.tensor(2);
    value = b.sub(value, b.cast(spread_parameter(op, zero, x->type.shape, axis, block), wide));
  }
  op.output(0, b.mul(b.cast(value, to), s));
}

}  // namespace

DynamicQuantized dynamic_quantize(Emit& b, Value* x) {
  std::vector<int64_t> axes;
  for (int64_t a = 0; a < x->type.rank(); ++a) axes.push_back(a);
  Value* high = b.max(b.reduce(ScalarOp::kMax, x, axes), b.like(x, 0));
  Value* low = b.min(b.reduce(ScalarOp::kMin, x, axes), b.like(x, 0));
  Value* scale = b.div(b.sub(high, low), 255.0);
  // An all-zero operand has no scale.
  scale = b.select(b.compare(ScalarOp::kEq, scale, 0.0), b.like(scale, 1), scale);
  Value* zero = b.unary(ScalarOp::kRoundEven, b.div(b.unary(ScalarOp::kNeg, low), scale));
  zero = b.cast(b.max(b.min(zero, b.like(zero, 255)), b.like(zero, 0)), DType::kU8);
  return {quantize(b, x, scale, zero, DType::kU8), scale, zero};
}

namespace {

void import_dynamic_quantize(Op& op) {
  const DynamicQuantized q = dynamic_quantize(op.b, op.tensor(0));
  op.output(0, q.value);
  op.output(1, q.scale);
  op.output(2, q.zero);
}

// x - zero as i32, or x itself when there is no zero point.
Value* centred(Emit& b, Value* x, Value* zero) {
  if (!zero) return x;
  if (auto known = b.known_ints(zero);
      known && std::all_of(known->begin(), known->end(), [](int64_t v) { return v == 0; }))
    return x;
  return b.sub(b.cast(x, DType::kI32), b.cast(zero, DType::kI32));
}

}  // namespace

Value* row_parameter(Emit& b, Value* v, bool rows) {
  if (!v || v->type.rank() == 0) return v;
  if (v->type.rank() > 1) return v;
  if (dimension(v, 0).is_const(1)) return b.reshape(v, {});
  return rows ? b.unsqueeze(v, {1}) : v;
}

Value* integer_matmul(Emit& b, Value* x, Value* y, Value* x_zero, Value* y_zero) {
  Value* left = centred(b, x, row_parameter(b, x_zero, true));
  Value* right = centred(b, y, row_parameter(b, y_zero, false));
  if (left->type.dtype != right->type.dtype) {
    left = b.cast(left, DType::kI32);
    right = b.cast(right, DType::kI32);
  }
  return matmul(b, left, right, DType::kI32);
}

namespace {

void import_matmul_integer(Op& op) {
  op.output(0, integer_matmul(op.b, op.tensor(0), op.tensor(1), op.optional_input(2), op.optional_input(3)));
}

}  // namespace

Value* requantize(Emit& b, Value* sums, Value* factor, Value* zero) {
  Value* scaled = b.mul(b.cast(sums, DType::kF32), factor);
  return quantize(b, scaled, b.like(scaled, 1), zero, zero->type.dtype);
}

Value* as_f32(Emit& b, Value* v) {
  return b.cast(v, DType::kF32);
}

namespace {

void import_qlinear_matmul(Op& op) {
  Emit& b = op.b;
  Value* sums = integer_matmul(b, op.tensor(0), op.tensor(3), op.tensor(2), op.tensor(5));
  Value* x_scale = row_parameter(b, as_f32(b, op.tensor(1)), true);
  Value* y_scale = row_parameter(b, as_f32(b, op.tensor(4)), false);
  Value* factor = b.div(b.mul(x_scale, y_scale), row_parameter(b, as_f32(b, op.tensor(6)), true));
  op.output(0, requantize(b, sums, factor, row_parameter(b, op.tensor(7), true)));
}

}  // namespace

Value* integer_conv(Op& op, Value* x, Value* weights, Value* x_zero, Value* w_zero) {
  Emit& b = op.b;
  int64_t groups = op.i("group", 1);
  if (weights->type.rank() != x->type.rank())
    fail("The weights ({}) do not match the operand ({}).", weights->type.text(), x->type.text());
  // Padding is the zero point, which becomes 0 when it is subtracted first.
  Value* left = centred(b, x, x_zero ? b.reshape(x_zero, {}) : nullptr);
  Value* right = weights;
  if (w_zero)
    right = centred(b, weights,
                    w_zero->type.rank() == 1 && !dimension(w_zero, 0).is_const(1)
                        ? per_channel(b, w_zero, weights->type.rank(), 0)
                        : b.reshape(w_zero, {}));
  if (left->type.dtype != right->type.dtype) {
    left = b.cast(left, DType::kI32);
    right = b.cast(right, DType::kI32);
  }
  Window w = read_window(op, left, static_kernel(weights), 0);
  return convolve(b, left, right, w, groups, DType::kI32);
}

Value* quantised_conv(Op& op, Value* x) {
  Emit& b = op.b;
  Value* sums = integer_conv(op, x, op.tensor(3), op.tensor(2), op.tensor(5));
  int64_t rank = sums->type.rank();
  if (op.has(8)) sums = b.add(sums, per_channel(b, op.tensor(8), rank, 1));
  Value* w_scale = as_f32(b, op.tensor(4));
  w_scale =
      product(w_scale->type.shape).is_const(1) ? b.reshape(w_scale, {}) : per_channel(b, w_scale, rank, 1);
  Value* factor =
      b.div(b.mul(b.reshape(as_f32(b, op.tensor(1)), {}), w_scale), b.reshape(as_f32(b, op.tensor(6)), {}));
  return requantize(b, sums, factor, b.reshape(op.tensor(7), {}));
}

namespace {

void import_conv_integer(Op& op) {
  op.output(0, integer_conv(op, op.tensor(0), op.tensor(1), op.optional_input(2), op.optional_input(3)));
}

void import_qlinear_conv(Op& op) {
  op.output(0, quantised_conv(op, op.tensor(0)));
}

constexpr OpRow kRows[] = {
    {kOnnx, "QuantizeLinear", 10, kLatest, import_quantize_linear},
    {kOnnx, "DequantizeLinear", 10, kLatest, import_dequantize_linear},
    {kOnnx, "DynamicQuantizeLinear", 11, kLatest, import_dynamic_quantize},
    {kMicrosoft, "QuantizeLinear", 1, kLatest, import_quantize_linear},
    {kMicrosoft, "DequantizeLinear", 1, kLatest, import_dequantize_linear},
    {kOnnx, "MatMulInteger", 10, kLatest, import_matmul_integer},
    {kOnnx, "QLinearMatMul", 10, kLatest, import_qlinear_matmul},
    {kOnnx, "ConvInteger", 10, kLatest, import_conv_integer},
    {kOnnx, "QLinearConv", 10, kLatest, import_qlinear_conv},
};

}  // namespace

std::span<const OpRow> quant_rows() {
  return kRows;
}

}  // namespace tern::onnx
