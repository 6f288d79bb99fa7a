// com.microsoft: what ONNX Runtime's quantizer writes beside the standard operators.
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/quant.h"
#include "compiler/onnx/window.h"

namespace tern::onnx {

Value* dequantized(Op& op, Value* x, int scale, int zero, int64_t axis) {
  Emit& b = op.b;
  Value* value = b.cast(x, DType::kI32);
  if (Value* points = op.optional_input(zero))
    value = b.sub(value, b.cast(spread_parameter(op, points, x->type.shape, axis, 0), DType::kI32));
  return b.mul(as_f32(b, value), spread_parameter(op, as_f32(b, op.tensor(scale)), x->type.shape, axis, 0));
}

namespace {

// Input i by inputs i + 1 and i + 2.
Value* dequantized(Op& op, int i, int64_t axis = 0) {
  return dequantized(op, op.tensor(i), i + 1, i + 2, axis);
}

// Input i, a scale of a whole tensor.
Value* whole_scale(Op& op, int i) {
  return op.b.reshape(as_f32(op.b, op.tensor(i)), {});
}

// The result by a scale, with the zero point of input i, or, without one, of the type of input `like`.
void output_with_zero(Op& op, Value* value, Value* scale, int i, int like = 0) {
  Value* zero = op.has(i) ? op.b.reshape(op.tensor(i), {}) : nullptr;
  const DType to = zero ? zero->type.dtype : op.tensor(like)->type.dtype;
  op.output(0, quantize(op.b, value, scale, zero, to));
}

// The result with the scale and zero point of inputs i and i + 1.
void output_quantized(Op& op, Value* value, int i) {
  output_with_zero(op, value, whole_scale(op, i), i + 1);
}

// The integers are scaled by parts of the result's scale: an operand as large as floats are (a mask of BERT)
// would be infinite on the way.
template <ScalarOp kOp>
void import_qlinear_binary(Op& op) {
  Emit& b = op.b;
  const auto centred = [&](int i) {
    Value* value = b.cast(op.tensor(i), DType::kI32);
    if (Value* zero = op.optional_input(i + 2))
      value = b.sub(value, b.cast(b.reshape(zero, {}), DType::kI32));
    return as_f32(b, value);
  };
  const auto scale = [&](int i) { return whole_scale(op, i); };
  Value *x = centred(0), *y = centred(3), *out = scale(6), *sum = nullptr;
  if (kOp == ScalarOp::kMul) {
    sum = b.mul(b.mul(x, y), b.div(b.mul(scale(1), scale(4)), out));
  } else {
    sum = b.add(b.mul(x, b.div(scale(1), out)), b.mul(y, b.div(scale(4), out)));
  }
  output_with_zero(op, sum, b.like(sum, 1), 7);
}

void import_qlinear_sigmoid(Op& op) {
  output_quantized(op, sigmoid(op.b, dequantized(op, 0)), 3);
}

void import_qlinear_leaky_relu(Op& op) {
  Value* x = dequantized(op, 0);
  output_quantized(op, leaky_relu(op.b, x, op.f("alpha", 0.01)), 3);
}

// An operand as [N, C, ..] where its channels come last, and a result back.
Value* channels_moved(Op& op, Value* x, bool first) {
  if (op.i("channels_last", 0) == 0) return x;
  if (x->type.rank() < 3) fail("The operand ({}) has no spatial dimensions.", x->type.text());
  return first ? channels_first(op.b, x) : channels_last(op.b, x);
}

void import_qlinear_conv(Op& op) {
  op.output(0, channels_moved(op, quantised_conv(op, channels_moved(op, op.tensor(0), true)), false));
}

void import_qlinear_average_pool(Op& op) {
  Value* x = channels_moved(op, dequantized(op, 0), true);
  output_quantized(op, channels_moved(op, average_pool(op, x), false), 3);
}

void import_qlinear_global_average_pool(Op& op) {
  Value* x = channels_moved(op, dequantized(op, 0), true);
  std::vector<int64_t> axes;
  for (int64_t a = 2; a < x->type.rank(); ++a) axes.push_back(a);
  output_quantized(op, channels_moved(op, op.b.mean(x, axes, true), false), 3);
}

void import_qlinear_reduce_mean(Op& op) {
  Value* x = dequantized(op, 0);
  std::vector<int64_t> axes = op.axes(op.ints("axes"), x->type.rank());
  if (axes.empty())
    for (int64_t a = 0; a < x->type.rank(); ++a) axes.push_back(a);
  output_quantized(op, op.b.mean(x, axes, op.i("keepdims", 1) != 0), 3);
}

// As Softmax of the opset that an attribute names: until 12 all axes from `axis` on are one.
void import_qlinear_softmax(Op& op) {
  Value* x = dequantized(op, 0);
  const int64_t rank = x->type.rank(), opset = op.i("opset", 13);
  std::vector<int64_t> axes = {op.axis(op.i("axis", opset < 13 ? 1 : -1), rank)};
  if (opset < 13)
    for (int64_t a = axes[0] + 1; a < rank; ++a) axes.push_back(a);
  output_quantized(op, op.b.softmax(x, axes), 3);
}

void import_qlinear_where(Op& op) {
  output_quantized(op, op.b.select(op.tensor(0), dequantized(op, 1), dequantized(op, 4)), 7);
}

// The operand quantised over its own range, as DynamicQuantizeLinear does.
void import_dynamic_quantize_matmul(Op& op) {
  Emit& b = op.b;
  const DynamicQuantized x = dynamic_quantize(b, op.tensor(0));
  Value* sums = integer_matmul(b, x.value, op.tensor(1), x.zero, op.optional_input(3));
  Value* y = b.mul(as_f32(b, sums), b.mul(x.scale, row_parameter(b, op.tensor(2), false)));
  op.output(0, op.has(4) ? b.add(y, op.tensor(4)) : y);
}

void import_qlinear_concat(Op& op) {
  Emit& b = op.b;
  std::vector<Value*> parts;
  for (int i = 2; i + 1 < op.input_count(); i += 3) parts.push_back(dequantized(op, i));
  if (parts.empty()) fail("There is nothing to concatenate.");
  const int64_t axis = op.axis_attr(1, parts[0]->type.rank());
  output_with_zero(op, b.concat(parts, static_cast<int>(axis)), whole_scale(op, 0), 1, 2);
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
    Value* scale = b.mul(whole_scale(op, 1), row_parameter(b, as_f32(b, op.tensor(4)), false));
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
    {kMicrosoft, "QLinearConv", 1, kLatest, import_qlinear_conv},
    {kMicrosoft, "QLinearAveragePool", 1, kLatest, import_qlinear_average_pool},
    {kMicrosoft, "QLinearReduceMean", 1, kLatest, import_qlinear_reduce_mean},
    {kMicrosoft, "QLinearSoftmax", 1, kLatest, import_qlinear_softmax},
    {kMicrosoft, "QLinearWhere", 1, kLatest, import_qlinear_where},
    {kMicrosoft, "DynamicQuantizeMatMul", 1, kLatest, import_dynamic_quantize_matmul},
    {kMicrosoft, "QLinearAdd", 1, kLatest, import_qlinear_binary<ScalarOp::kAdd>},
    {kMicrosoft, "QLinearMul", 1, kLatest, import_qlinear_binary<ScalarOp::kMul>},
    {kMicrosoft, "QLinearSigmoid", 1, kLatest, import_qlinear_sigmoid},
    {kMicrosoft, "QLinearLeakyRelu", 1, kLatest, import_qlinear_leaky_relu},
    {kMicrosoft, "QLinearGlobalAveragePool", 1, kLatest, import_qlinear_global_average_pool},
    {kMicrosoft, "QLinearConcat", 1, kLatest, import_qlinear_concat},
    {kMicrosoft, "QGemm", 1, kLatest, import_qgemm},
    {kMicrosoft, "MatMulIntegerToFloat", 1, kLatest, import_matmul_integer_to_float},
};

}  // namespace

std::span<const OpRow> contrib_quant_rows() {
  return kRows;
}

}  // namespace tern::onnx
