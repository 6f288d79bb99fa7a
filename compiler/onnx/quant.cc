// Quantised operators: maps and casts around integer products that accumulate in i32.
#include <algorithm>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/window.h"

namespace tern::onnx {

namespace {

// A scale or zero point for x: per tensor, per axis, or per block along the axis.
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

struct QuantRange {
  double low, high;
};

QuantRange range_of(DType type) {
  int bits = dtype_bits(type);
  if (!is_int(type) || bits > 16) fail("Quantising to {} is not supported.", dtype_name(type));
  double span = static_cast<double>(int64_t{1} << bits);
  return is_signed_int(type) ? QuantRange{-span / 2, span / 2 - 1} : QuantRange{0, span - 1};
}

// round(x / scale) + zero, saturated.
Value* quantize(Emit& b, Value* x, Value* scale, Value* zero, DType to, bool saturate = true) {
  Value* scaled = b.div(x, scale);
  if (is_float(to))
    return b.cast(zero ? b.add(scaled, b.cast(zero, scaled->type.dtype)) : scaled, to, saturate);
  Value* rounded = b.cast(b.unary(ScalarOp::kRoundEven, scaled), DType::kF32);
  if (zero) rounded = b.add(rounded, b.cast(zero, DType::kF32));
  QuantRange range = range_of(to);
  return b.cast(b.max(b.min(rounded, b.like(rounded, range.high)), b.like(rounded, range.low)), to);
}

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

void import_dynamic_quantize(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  std::vector<int64_t> axes;
  for (int64_t a = 0; a < x->type.rank(); ++a) axes.push_back(a);
  Value* high = b.max(b.reduce(ScalarOp::kMax, x, axes), b.like(x, 0));
  Value* low = b.min(b.reduce(ScalarOp::kMin, x, axes), b.like(x, 0));
  Value* scale = b.div(b.sub(high, low), 255.0);
  // An all-zero operand has no scale.
  scale = b.select(b.compare(ScalarOp::kEq, scale, 0.0), b.like(scale, 1), scale);
  Value* zero = b.unary(ScalarOp::kRoundEven, b.div(b.unary(ScalarOp::kNeg, low), scale));
  zero = b.cast(b.max(b.min(zero, b.like(zero, 255)), b.like(zero, 0)), DType::kU8);
  op.output(0, quantize(b, x, scale, zero, DType::kU8));
  op.output(1, scale);
  op.output(2, zero);
}

// x - zero as i32, or x itself when there is no zero point.
Value* centred(Emit& b, Value* x, Value* zero) {
  if (!zero) return x;
  if (auto known = b.known_ints(zero);
      known && std::all_of(known->begin(), known->end(), [](int64_t v) { return v == 0; }))
    return x;
  return b.sub(b.cast(x, DType::kI32), b.cast(zero, DType::kI32));
}

// A zero point per row of the left, or per column of the right operand.
Value* row_parameter(Emit& b, Value* v, bool rows) {
  if (!v || v->type.rank() == 0) return v;
  if (v->type.rank() > 1) return v;
  if (v->type.shape[0].is_const(1)) return b.reshape(v, {});
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

void import_matmul_integer(Op& op) {
  op.output(0, integer_matmul(op.b, op.tensor(0), op.tensor(1), op.optional_input(2), op.optional_input(3)));
}

// i32 sums to the quantised result: * scale_x * scale_y / scale, rounded, + zero, saturated.
Value* requantize(Emit& b, Value* sums, Value* factor, Value* zero) {
  Value* scaled = b.mul(b.cast(sums, DType::kF32), factor);
  return quantize(b, scaled, b.like(scaled, 1), zero, zero->type.dtype);
}

Value* as_f32(Emit& b, Value* v) {
  return b.cast(v, DType::kF32);
}

void import_qlinear_matmul(Op& op) {
  Emit& b = op.b;
  Value* sums = integer_matmul(b, op.tensor(0), op.tensor(3), op.tensor(2), op.tensor(5));
  Value* x_scale = row_parameter(b, as_f32(b, op.tensor(1)), true);
  Value* y_scale = row_parameter(b, as_f32(b, op.tensor(4)), false);
  Value* factor = b.div(b.mul(x_scale, y_scale), row_parameter(b, as_f32(b, op.tensor(6)), true));
  op.output(0, requantize(b, sums, factor, row_parameter(b, op.tensor(7), true)));
}

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
                    w_zero->type.rank() == 1 && !w_zero->type.shape[0].is_const(1)
                        ? per_channel(b, w_zero, weights->type.rank(), 0)
                        : b.reshape(w_zero, {}));
  if (left->type.dtype != right->type.dtype) {
    left = b.cast(left, DType::kI32);
    right = b.cast(right, DType::kI32);
  }
  Window w = read_window(op, left, static_kernel(weights), 0);
  return convolve(b, left, right, w, groups, DType::kI32);
}

void import_conv_integer(Op& op) {
  op.output(0, integer_conv(op, op.tensor(0), op.tensor(1), op.optional_input(2), op.optional_input(3)));
}

void import_qlinear_conv(Op& op) {
  Emit& b = op.b;
  Value* sums = integer_conv(op, op.tensor(0), op.tensor(3), op.tensor(2), op.tensor(5));
  int64_t rank = sums->type.rank();
  if (op.has(8)) sums = b.add(sums, per_channel(b, op.tensor(8), rank, 1));
  Value* w_scale = as_f32(b, op.tensor(4));
  w_scale =
      product(w_scale->type.shape).is_const(1) ? b.reshape(w_scale, {}) : per_channel(b, w_scale, rank, 1);
  Value* factor =
      b.div(b.mul(b.reshape(as_f32(b, op.tensor(1)), {}), w_scale), b.reshape(as_f32(b, op.tensor(6)), {}));
  op.output(0, requantize(b, sums, factor, b.reshape(op.tensor(7), {})));
}

// ---- com.microsoft: what ONNX Runtime's quantizer writes beside the standard operators

// (x - zero) * scale of inputs i, i + 1, i + 2, per tensor (or along `axis`).
Value* dequantized(Op& op, int i, int64_t axis = 0) {
  Emit& b = op.b;
  Value* x = op.tensor(i);
  Value* value = b.cast(x, DType::kI32);
  if (Value* zero = op.optional_input(i + 2))
    value = b.sub(value, b.cast(spread_parameter(op, zero, x->type.shape, axis, 0), DType::kI32));
  return b.mul(as_f32(b, value), spread_parameter(op, as_f32(b, op.tensor(i + 1)), x->type.shape, axis, 0));
}

// The result with the scale and zero point of inputs i and i + 1.
void output_quantized(Op& op, Value* value, int i) {
  Emit& b = op.b;
  Value* zero = op.has(i + 1) ? b.reshape(op.tensor(i + 1), {}) : nullptr;
  const DType to = zero ? zero->type.dtype : op.tensor(0)->type.dtype;
  op.output(0, quantize(b, value, b.reshape(as_f32(b, op.tensor(i)), {}), zero, to));
}

template <ScalarOp kOp>
void import_qlinear_binary(Op& op) {
  output_quantized(op, op.b.map(kOp, {dequantized(op, 0), dequantized(op, 3)}), 6);
}

void import_qlinear_sigmoid(Op& op) {
  output_quantized(op, sigmoid(op.b, dequantized(op, 0)), 3);
}

void import_qlinear_leaky_relu(Op& op) {
  Emit& b = op.b;
  Value* x = dequantized(op, 0);
  const double alpha = op.f("alpha", 0.01);
  output_quantized(op, b.select(b.compare(ScalarOp::kLt, x, 0.0), b.mul(x, alpha), x), 3);
}

void import_qlinear_global_average_pool(Op& op) {
  Emit& b = op.b;
  if (op.i("channels_last", 0) != 0) fail("Attribute 'channels_last' is not supported.");
  Value* x = dequantized(op, 0);
  std::vector<int64_t> axes;
  for (int64_t a = 2; a < x->type.rank(); ++a) axes.push_back(a);
  Dim count = 1;
  for (const int64_t a : axes) count = count * x->type.shape[static_cast<size_t>(a)];
  Value* sum = b.reduce(ScalarOp::kAdd, x, axes, true);
  Value* number = b.reshape(b.from_dims({count}, {Dim(1)}, DType::kI64), {});
  output_quantized(op, b.div(sum, as_f32(b, number)), 3);
}

void import_qlinear_concat(Op& op) {
  Emit& b = op.b;
  std::vector<Value*> parts;
  for (int i = 2; i + 1 < op.input_count(); i += 3) parts.push_back(dequantized(op, i));
  if (parts.empty()) fail("There is nothing to concatenate.");
  const int64_t axis = op.axis_attr(1, parts[0]->type.rank());
  Value* zero = op.has(1) ? b.reshape(op.tensor(1), {}) : nullptr;
  const DType to = zero ? zero->type.dtype : op.tensor(2)->type.dtype;
  op.output(0, quantize(b, b.concat(parts, static_cast<int>(axis)), b.reshape(as_f32(b, op.tensor(0)), {}),
                        zero, to));
}

void import_qgemm(Op& op) {
  Emit& b = op.b;
  const bool turned = op.i("transB", 0) != 0;
  Value *x = dequantized(op, 0), *y = dequantized(op, 3, turned ? 0 : 1);
  if (x->type.rank() != 2 || y->type.rank() != 2)
    fail("The operands ({}, {}) are no matrices.", x->type.text(), y->type.text());
  if (op.i("transA", 0) != 0) x = b.transpose(x, {1, 0});
  if (turned) y = b.transpose(y, {1, 0});
  Value* sums = b.dot(x, y);
  if (op.has(6)) {  // i32, in the scale of the products
    Value* scale =
        b.mul(b.reshape(as_f32(b, op.tensor(1)), {}), row_parameter(b, as_f32(b, op.tensor(4)), false));
    sums = b.add(sums, b.mul(as_f32(b, op.tensor(6)), scale));
  }
  const double alpha = op.f("alpha", 1);
  if (alpha != 1) sums = b.mul(sums, alpha);
  if (!op.has(7)) return op.output(0, sums);
  output_quantized(op, sums, 7);
}

void import_matmul_integer_to_float(Op& op) {
  Emit& b = op.b;
  Value* sums = integer_matmul(b, op.tensor(0), op.tensor(1), op.optional_input(4), op.optional_input(5));
  Value* result = b.mul(as_f32(b, sums), row_parameter(b, op.tensor(2), true));
  result = b.mul(result, row_parameter(b, op.tensor(3), false));
  op.output(0, op.has(6) ? b.add(result, op.tensor(6)) : result);
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "QLinearAdd", 1, kLatest, import_qlinear_binary<ScalarOp::kAdd>},
    {kMicrosoft, "QLinearMul", 1, kLatest, import_qlinear_binary<ScalarOp::kMul>},
    {kMicrosoft, "QLinearSigmoid", 1, kLatest, import_qlinear_sigmoid},
    {kMicrosoft, "QLinearLeakyRelu", 1, kLatest, import_qlinear_leaky_relu},
    {kMicrosoft, "QLinearGlobalAveragePool", 1, kLatest, import_qlinear_global_average_pool},
    {kMicrosoft, "QLinearConcat", 1, kLatest, import_qlinear_concat},
    {kMicrosoft, "QGemm", 1, kLatest, import_qgemm},
    {kMicrosoft, "MatMulIntegerToFloat", 1, kLatest, import_matmul_integer_to_float},
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
