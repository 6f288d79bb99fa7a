// com.microsoft: products, convolutions and pools with what ONNX Runtime's optimiser joined to them (an
// activation, an addition, another layout), and its other names for operators of ai.onnx.
#include <cmath>
#include <optional>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/quant.h"
#include "compiler/onnx/window.h"

namespace tern::onnx {

namespace {

// Runs the importer of an operator of ai.onnx, which this one is by another name.
void as_onnx(Op& op, const char* name, int64_t version) {
  Op other(op.importer, op.scope, op.node, version);
  find_row(kOnnx, name, version)->import(other);
  op.take_asked(other);
  for (const std::string& unused : other.unused_attributes())
    fail("Attribute '{}' is not one that tern knows for this operator.", unused);
  for (const auto& a : op.node.attribute()) op.ignore({a.name().c_str()});
}

using Numbers = std::vector<std::optional<double>>;

// The activation that an attribute names, with its numbers in the order of the operator's own attributes.
Value* activated(Emit& b, Value* x, const std::string& name, const Numbers& p) {
  const auto number = [&](size_t i, double otherwise) {
    return i < p.size() && p[i] ? *p[i] : static_cast<double>(static_cast<float>(otherwise));
  };
  if (name.empty()) return x;
  if (name == "Relu") return b.max(x, b.like(x, 0));
  if (name == "Sigmoid") return sigmoid(b, x);
  if (name == "Tanh") return b.unary(ScalarOp::kTanh, x);
  if (name == "LeakyRelu") return leaky_relu(b, x, number(0, 0.01));
  if (name == "Clip") return b.min(b.max(x, b.like(x, number(0, -HUGE_VAL))), b.like(x, number(1, HUGE_VAL)));
  if (name == "HardSigmoid") return hard_sigmoid(b, x, number(0, 0.2), number(1, 0.5));
  if (name == "HardSwish") return b.mul(x, hard_sigmoid(b, x, 1.0 / 6, 0.5));
  if (name == "Elu") return elu(b, x, number(0, 1));
  if (name == "Softplus") return softplus(b, x);
  if (name == "Softsign") return softsign(b, x);
  if (name == "ThresholdedRelu") return thresholded_relu(b, x, number(0, 1));
  fail("The activation '{}' is not supported.", name);
}

Value* with_channels(Op& op, int i) {
  Value* x = op.tensor(i);
  if (x->type.rank() < 3) fail("The operand ({}) has no channels and spatial dimensions.", x->type.text());
  return x;
}

template <bool kLast>
void import_fused_conv(Op& op) {
  Emit& b = op.b;
  Value* x = with_channels(op, 0);
  Value* y = convolution(op, kLast ? channels_first(b, x) : x, op.tensor(1));
  if (op.has(3)) y = b.add(y, kLast ? channels_first(b, op.tensor(3)) : op.tensor(3));
  const std::vector<double> numbers = op.floats("activation_params");
  y = activated(b, y, op.s("activation", ""), {numbers.begin(), numbers.end()});
  op.output(0, kLast ? channels_last(b, y) : y);
}

// The schema says [M, C/group, kH, kW]; what writes the operator (ONNX Runtime's optimiser of diffusion
// models) and what runs it have the weights' channels last, too.
void import_nhwc_conv(Op& op) {
  Emit& b = op.b;
  Value *x = with_channels(op, 0), *weights = op.tensor(1);
  const Dim groups(op.i("group", 1)), channels = last_dimension(x);
  const Shape& shape = weights->type.shape;
  const bool as_schema =
      shape.size() > 2 && shape.back() * groups != channels && shape[1] * groups == channels;
  if (shape.size() > 2 && !as_schema) weights = channels_first(b, weights);
  op.output(0, channels_last(b, convolution(op, channels_first(b, x), weights)));
}

// By name: one that is not given leaves its place to the operator's default.
Numbers activation_numbers(Op& op) {
  Numbers numbers;
  for (const char* name : {"activation_alpha", "activation_beta", "activation_gamma"})
    numbers.push_back(op.has_attr(name) ? std::optional(op.f(name, 0)) : std::nullopt);
  return numbers;
}

void import_fused_gemm(Op& op) {
  op.output(0, activated(op.b, gemm(op), op.s("activation", ""), activation_numbers(op)));
}

// The last two dimensions exchanged; `batch`: the first one behind those between, before that.
Value* turned(Emit& b, Value* v, bool batch, bool last) {
  const int64_t rank = v->type.rank();
  if (rank < 2) return v;
  std::vector<int64_t> perm;
  for (int64_t a = 0; a < rank; ++a) perm.push_back(a);
  if (batch) {
    perm.erase(perm.begin());
    perm.insert(perm.end() - 1, 0);
  }
  if (last) std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return b.transpose(v, perm);
}

Value* fused_product(Op& op) {
  Emit& b = op.b;
  Value* x = turned(b, op.tensor(0), op.i("transBatchA", 0) != 0, op.i("transA", 0) != 0);
  Value* y = turned(b, op.tensor(1), op.i("transBatchB", 0) != 0, op.i("transB", 0) != 0);
  const double alpha = op.f("alpha", 1);
  Value* result = matmul(b, x, y);
  return alpha == 1 ? result : b.mul(result, alpha);
}

void import_fused_matmul(Op& op) {
  op.output(0, fused_product(op));
}

void import_fused_matmul_activation(Op& op) {
  const Numbers numbers = activation_numbers(op);
  op.ignore({"activation_axis"});
  if (op.s("activation", "") == "Softmax") {
    Value* y = fused_product(op);
    return op.output(0, op.b.softmax(y, {op.axis(op.i("activation_axis", -1), y->type.rank())}));
  }
  op.output(0, activated(op.b, fused_product(op), op.s("activation", ""), numbers));
}

void import_gemm_fast_gelu(Op& op) {
  Value* y = matmul(op.b, op.tensor(0), op.tensor(1));
  op.output(0, gelu_tanh(op.b, op.has(2) ? op.b.add(y, op.tensor(2)) : y));
}

void import_nhwc_max_pool(Op& op) {
  op.output(0, channels_last(op.b, max_pool(op, channels_first(op.b, with_channels(op, 0)))));
}

// Normalised over groups of channels, [N, .., C] unless channels_last is 0.
void group_norm(Op& op, Value* x) {
  Emit& b = op.b;
  const bool last = op.i("channels_last", 1) != 0;
  const int64_t groups = op.i("groups", 0), rank = x->type.rank();
  if (rank < 3 || groups < 1) fail("{} groups of {} are not supported.", groups, x->type.text());
  Value* image = b.cast(last ? channels_first(b, x) : x, DType::kF32);
  const Shape shape = image->type.shape;
  Shape split = {shape[0], Dim(groups), divide_products({shape[1]}, {Dim(groups)})};
  split.append(shape.part(2));
  std::vector<int64_t> axes;
  for (int64_t a = 2; a <= rank; ++a) axes.push_back(a);
  Normalised n = normalise(b, b.reshape(image, split), axes, op.f("epsilon", 1e-5), true);
  const auto parameter = [&](int i) { return per_channel(b, as_f32(b, op.tensor(i)), rank, 1); };
  Value* y = b.add(b.mul(b.reshape(n.value, shape), parameter(1)), parameter(2));
  const int64_t activation = op.i("activation", 0);
  if (activation != 0 && activation != 1) fail("Attribute 'activation' ({}) must be 0 or 1.", activation);
  if (activation == 1) y = b.mul(y, sigmoid(b, y));
  y = b.cast(y, x->type.dtype);
  op.output(0, last ? channels_last(b, y) : y);
}

void import_group_norm(Op& op) {
  group_norm(op, op.tensor(0));
}

void import_skip_group_norm(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *skip = op.tensor(3);
  const bool last = op.i("channels_last", 1) != 0;
  const int64_t rank = x->type.rank();
  if (skip->type.rank() == 2 && rank == 4)
    skip = b.unsqueeze(skip, last ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{2, 3});
  Value* sum = b.add(x, skip);
  if (op.has(4)) sum = b.add(sum, per_channel(b, op.tensor(4), rank, last ? rank - 1 : 1));
  group_norm(op, sum);
  op.output(1, sum);
}

void import_bias_split_gelu(Op& op) {
  Emit& b = op.b;
  Value* x = b.add(op.tensor(0), op.tensor(1));
  const Dim half = divide_products({last_dimension(x)}, {Dim(2)});
  const int64_t last = x->type.rank() - 1;
  op.output(0, b.mul(b.slice_axis(x, last, Dim(0), half), gelu(b, b.slice_axis(x, last, half, half))));
}

void import_bias_add(Op& op) {
  op.output(0, op.b.add(op.b.add(op.tensor(0), op.tensor(1)), op.tensor(2)));
}

// The bias lacks or has as 1 the dimensions that it is spread over.
void import_bias_softmax(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *bias = op.tensor(1);
  const int64_t rank = x->type.rank(), axis = op.axis_attr(1, rank);
  const bool inner = op.i("is_inner_broadcast", 0) != 0;
  if (inner && bias->type.rank() != rank)
    fail("A bias ({}) of another rank than the operand's ({}) is not supported with 'is_inner_broadcast'.",
         bias->type.text(), x->type.text());
  std::vector<int64_t> axes;
  for (int64_t a = axis; a < rank; ++a) axes.push_back(a);
  op.output(0, b.softmax(b.add(x, bias), axes));
}

void import_expand_dims(Op& op) {
  Value* x = op.tensor(0);
  const auto axis = static_cast<int64_t>(op.constant_number(1, "axis"));
  op.output(0, op.b.unsqueeze(x, {op.axis(axis, x->type.rank() + 1)}));
}

// In the order of their first appearance; then where each element's value is among them, and how many there
// are.
void import_unique(Op& op) {
  Emit& b = op.b;
  graph::Node* node = b.emit_node(OpKind::kUnique, {op.tensor(0)}, {{"sorted", false}});
  op.output(0, node->result(0));
  op.output(1, node->result(2));
  op.output(2, node->result(3));
}

void import_distances(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *y = op.tensor(1);
  const std::string metric = op.s("metric", "sqeuclidean");
  if (metric != "euclidean" && metric != "sqeuclidean")
    fail("Attribute 'metric' ('{}') must be euclidean or sqeuclidean.", metric);
  if (x->type.rank() != 2 || y->type.rank() != 2)
    fail("The operands ({}, {}) are no matrices.", x->type.text(), y->type.text());
  Value* apart = b.sub(b.unsqueeze(x, {1}), b.unsqueeze(y, {0}));
  Value* sum = b.reduce(ScalarOp::kAdd, b.mul(apart, apart), {2});
  op.output(0, metric == "euclidean" ? b.unary(ScalarOp::kSqrt, sum) : sum);
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "FusedConv", 1, kLatest, import_fused_conv<false>},
    {kMicrosoft, "NhwcConv", 1, kLatest, import_nhwc_conv},
    {kMicrosoft, "NhwcFusedConv", 1, kLatest, import_fused_conv<true>},
    {kMicrosoft, "NhwcMaxPool", 1, kLatest, import_nhwc_max_pool},
    {kMicrosoft, "FusedGemm", 1, kLatest, import_fused_gemm},
    {kMicrosoft, "FusedMatMul", 1, kLatest, import_fused_matmul},
    {kMicrosoft, "TransposeMatMul", 1, kLatest, import_fused_matmul},
    {kMicrosoft, "FusedMatMulActivation", 1, kLatest, import_fused_matmul_activation},
    {kMicrosoft, "GemmFastGelu", 1, kLatest, import_gemm_fast_gelu},
    {kMicrosoft, "GroupNorm", 1, kLatest, import_group_norm},
    {kMicrosoft, "SkipGroupNorm", 1, kLatest, import_skip_group_norm},
    {kMicrosoft, "BiasSplitGelu", 1, kLatest, import_bias_split_gelu},
    {kMicrosoft, "BiasAdd", 1, kLatest, import_bias_add},
    {kMicrosoft, "BiasSoftmax", 1, kLatest, import_bias_softmax},
    {kMicrosoft, "ExpandDims", 1, kLatest, import_expand_dims},
    {kMicrosoft, "Range", 1, kLatest, [](Op& op) { as_onnx(op, "Range", 11); }},
    {kMicrosoft, "Unique", 1, kLatest, import_unique},
    {kMicrosoft, "CDist", 1, kLatest, import_distances},
    {kMicrosoft, "Trilu", 1, kLatest, [](Op& op) { as_onnx(op, "Trilu", 14); }},
    {kMicrosoft, "GridSample", 1, kLatest, [](Op& op) { as_onnx(op, "GridSample", 16); }},
    {kMicrosoft, "GatherND", 1, kLatest, [](Op& op) { as_onnx(op, "GatherND", 12); }},
    {kMicrosoft, "Pad", 1, kLatest, [](Op& op) { as_onnx(op, "Pad", 13); }},
};

}  // namespace

std::span<const OpRow> contrib_fused_rows() {
  return kRows;
}

}  // namespace tern::onnx
