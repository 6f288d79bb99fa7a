// Activations, softmax and its kin, composed from scalar ops and reductions.
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

void import_relu(Op& op) {
  op.ignore({"consumed_inputs"});
  Value* x = op.tensor(0);
  op.output(0, op.b.max(x, op.b.like(x, 0)));
}

void import_leaky_relu(Op& op) {
  op.output(0, leaky_relu(op.b, op.tensor(0), op.f("alpha", 0.01)));
}

void import_prelu(Op& op) {
  Value* x = op.tensor(0);
  Value* slope = op.b.mul(x, op.tensor(1));
  op.output(0, op.b.select(op.b.compare(ScalarOp::kLt, x, 0.0), slope, x));
}

void import_elu(Op& op) {
  op.output(0, elu(op.b, op.tensor(0), op.f("alpha", 1.0)));
}

void import_selu(Op& op) {
  Value* x = op.tensor(0);
  double alpha = op.f("alpha", 1.67326319217681884765625), gamma = op.f("gamma", 1.05070102214813232421875);
  Value* low = op.b.mul(op.b.unary(ScalarOp::kExpm1, x), alpha);
  op.output(0, op.b.mul(op.b.select(op.b.compare(ScalarOp::kLe, x, 0.0), low, x), gamma));
}

void import_celu(Op& op) {
  Value* x = op.tensor(0);
  double alpha = op.f("alpha", 1.0);
  Value* low = op.b.mul(op.b.unary(ScalarOp::kExpm1, op.b.div(x, alpha)), alpha);
  op.output(0, op.b.add(op.b.max(x, op.b.like(x, 0)), op.b.min(low, op.b.like(x, 0))));
}

void import_sigmoid(Op& op) {
  op.output(0, sigmoid(op.b, op.tensor(0)));
}

void import_hard_sigmoid(Op& op) {
  op.output(0, hard_sigmoid(op.b, op.tensor(0), op.f("alpha", 0.2), op.f("beta", 0.5)));
}

void import_hard_swish(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, op.b.mul(x, hard_sigmoid(op.b, x, 1.0 / 6, 0.5)));
}

void import_softplus(Op& op) {
  op.output(0, softplus(op.b, op.tensor(0)));
}

void import_softsign(Op& op) {
  op.output(0, softsign(op.b, op.tensor(0)));
}

void import_thresholded_relu(Op& op) {
  op.output(0, thresholded_relu(op.b, op.tensor(0), op.f("alpha", 1.0)));
}

void import_gelu(Op& op) {
  std::string approximate = op.s("approximate", "none");
  if (approximate != "none" && approximate != "tanh")
    fail("Attribute 'approximate' ('{}') must be none or tanh.", approximate);
  op.output(0, approximate == "tanh" ? gelu_tanh(op.b, op.tensor(0)) : gelu(op.b, op.tensor(0)));
}

void import_mish(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, op.b.mul(x, op.b.unary(ScalarOp::kTanh, softplus(op.b, x))));
}

void import_swish(Op& op) {
  Value* x = op.tensor(0);
  double alpha = op.f("alpha", 1.0);
  op.output(0, op.b.mul(x, sigmoid(op.b, alpha == 1.0 ? x : op.b.mul(x, alpha))));
}

void import_shrink(Op& op) {
  Value* x = op.tensor(0);
  double bias = op.f("bias", 0.0), lambda = op.f("lambd", 0.5);
  Value* high = op.b.select(op.b.compare(ScalarOp::kGt, x, lambda), op.b.sub(x, bias), op.b.like(x, 0));
  op.output(0, op.b.select(op.b.compare(ScalarOp::kLt, x, -lambda), op.b.add(x, bias), high));
}

// Until opset 12 all axes from `axis` on are one; from 13 on it is the axis alone.
std::vector<int64_t> softmax_axes(Op& op, Value* x) {
  int64_t rank = x->type.rank();
  if (op.version >= 13) return {op.axis_attr(-1, rank)};
  int64_t first = op.i("axis", 1);
  if (first < 0) first += rank;
  if (first < 0 || first > rank) fail("Axis {} lies outside [{}, {}].", op.i("axis", 1), -rank, rank);
  std::vector<int64_t> axes;
  for (int64_t a = first; a < rank; ++a) axes.push_back(a);
  return axes;
}

void import_softmax(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, op.b.softmax(x, softmax_axes(op, x)));
}

void import_log_softmax(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, log_softmax(op.b, x, softmax_axes(op, x)));
}

void import_hardmax(Op& op) {
  Value* x = op.tensor(0);
  std::vector<int64_t> axes = softmax_axes(op, x);
  Shape shape = x->type.shape;
  // Several axes are one: a view with them joined.
  Shape joined = shape.part(0, x->type.rank() - static_cast<int64_t>(axes.size() > 1 ? axes.size() : 0));
  Value* flat = x;
  int64_t axis = axes.empty() ? -1 : axes[0];
  if (axes.empty()) return op.output(0, op.b.full(shape, op.b.like(x, 1)));
  if (axes.size() > 1) {
    joined.push_back(product(shape.part(axis)));
    flat = op.b.reshape(x, joined);
  }
  Value* best = op.b.emit(OpKind::kArgReduce, {flat},
                          {{"largest", true}, {"axis", axis}, {"last", false}, {"dtype", DType::kI64}});
  Value* position = op.b.iota(flat->type.shape, static_cast<int>(axis), DType::kI64);
  Value* hit = op.b.compare(ScalarOp::kEq, position, op.b.unsqueeze(best, {axis}));
  op.output(0, op.b.reshape(op.b.cast(hit, x->type.dtype), shape));
}

constexpr OpRow kRows[] = {
    {kOnnx, "Relu", 1, kLatest, import_relu},
    {kOnnx, "LeakyRelu", 1, kLatest, import_leaky_relu},
    {kOnnx, "PRelu", 1, kLatest, import_prelu},
    {kOnnx, "Elu", 1, kLatest, import_elu},
    {kOnnx, "Selu", 1, kLatest, import_selu},
    {kOnnx, "Celu", 12, kLatest, import_celu},
    {kOnnx, "Sigmoid", 1, kLatest, import_sigmoid},
    {kOnnx, "HardSigmoid", 1, kLatest, import_hard_sigmoid},
    {kOnnx, "HardSwish", 14, kLatest, import_hard_swish},
    {kOnnx, "Softplus", 1, kLatest, import_softplus},
    {kOnnx, "Softsign", 1, kLatest, import_softsign},
    {kOnnx, "ThresholdedRelu", 1, kLatest, import_thresholded_relu},
    {kOnnx, "Gelu", 20, kLatest, import_gelu},
    {kOnnx, "Mish", 18, kLatest, import_mish},
    {kOnnx, "Swish", 24, kLatest, import_swish},
    {kOnnx, "Shrink", 9, kLatest, import_shrink},
    {kOnnx, "Softmax", 1, kLatest, import_softmax},
    {kOnnx, "LogSoftmax", 1, kLatest, import_log_softmax},
    {kOnnx, "Hardmax", 1, kLatest, import_hardmax},
};

}  // namespace

std::span<const OpRow> activation_rows() {
  return kRows;
}

}  // namespace tern::onnx
