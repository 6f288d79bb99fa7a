// Normalisations.
#include <cmath>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/window.h"

namespace tern::onnx {

namespace {

std::vector<int64_t> axes_from(int64_t first, int64_t rank) {
  std::vector<int64_t> axes;
  for (int64_t a = first; a < rank; ++a) axes.push_back(a);
  return axes;
}

// x * scale + shift, both per channel.
Value* scale_shift(Emit& b, Value* x, Value* scale, Value* shift) {
  int64_t rank = x->type.rank();
  Value* scaled = b.mul(x, per_channel(b, b.cast(scale, x->type.dtype), rank, 1));
  return b.add(scaled, per_channel(b, b.cast(shift, x->type.dtype), rank, 1));
}

void batch_norm_training(Op& op, Value* x, double epsilon, double momentum) {
  Emit& b = op.b;
  const DType type = x->type.dtype;
  x = b.wide(x);
  std::vector<int64_t> axes = {0};
  for (int64_t a = 2; a < x->type.rank(); ++a) axes.push_back(a);
  Value* mean = b.mean(x, axes, false);
  Value* centred = b.sub(x, per_channel(b, mean, x->type.rank(), 1));
  Value* variance = b.mean(b.mul(centred, centred), axes, false);
  Value* deviation = b.unary(ScalarOp::kSqrt, b.add(variance, epsilon));
  Value* normal = b.div(centred, per_channel(b, deviation, x->type.rank(), 1));
  op.output(0, b.cast(scale_shift(b, normal, op.tensor(1), op.tensor(2)), type));
  auto running = [&](Value* old, Value* now) {
    Value* mixed =
        b.add(b.mul(b.wide(old), momentum), b.mul(b.cast(now, b.wide(old)->type.dtype), 1 - momentum));
    return b.cast(mixed, old->type.dtype);
  };
  op.output(1, running(op.tensor(3), mean));
  op.output(2, running(op.tensor(4), variance));
}

void import_batch_norm(Op& op) {
  op.ignore({"spatial", "is_test", "consumed_inputs"});
  Emit& b = op.b;
  Value* x = op.tensor(0);
  if (x->type.rank() < 1) fail("The operand ({}) has no channels.", x->type.text());
  // A list has one channel.
  const Shape shape = x->type.shape;
  if (x->type.rank() == 1) x = b.unsqueeze(x, {1});
  double epsilon = op.f("epsilon", 1e-5), momentum = op.f("momentum", 0.9);
  if (op.i("training_mode", 0) != 0) {
    if (shape.size() == 1) fail("The operand ({}) of training has no channels.", op.tensor(0)->type.text());
    return batch_norm_training(op, x, epsilon, momentum);
  }
  // y = x * a + c with a = scale / sqrt(variance + epsilon), c = shift - mean * a: constants, as a rule.
  Value* variance = op.tensor(4);
  Value* scale = b.cast(op.tensor(1), variance->type.dtype);
  Value* a = b.div(scale, b.unary(ScalarOp::kSqrt, b.add(variance, epsilon)));
  Value* c =
      b.sub(b.cast(op.tensor(2), variance->type.dtype), b.mul(b.cast(op.tensor(3), variance->type.dtype), a));
  Value* y = scale_shift(b, x, a, c);
  op.output(0, shape.size() == 1 ? b.reshape(y, shape) : y);
}

void import_instance_norm(Op& op) {
  Emit& b = op.b;
  op.ignore({"consumed_inputs"});
  Value* x = op.tensor(0);
  if (x->type.rank() < 2) fail("The operand ({}) has no channels.", x->type.text());
  Normalised n = normalise(b, x, axes_from(2, x->type.rank()), op.f("epsilon", 1e-5), true);
  op.output(0, scale_shift(b, n.value, op.tensor(1), op.tensor(2)));
}

void import_layer_norm(Op& op) {
  Emit& b = op.b;
  op.ignore({"stash_type"});
  Value* x = op.tensor(0);
  int64_t axis = op.axis_attr(-1, x->type.rank());
  Normalised n = normalise(b, x, axes_from(axis, x->type.rank()), op.f("epsilon", 1e-5), true);
  // ONNX Runtime's optimiser leaves 16-bit operands beside gains of f32, whose type the result has.
  Value* gain = op.tensor(1);
  Value* y = b.mul(b.cast(n.value, gain->type.dtype), gain);
  if (op.has(2)) y = b.add(y, op.tensor(2));
  op.output(0, y);
  op.output(1, n.mean);
  op.output(2, n.inverse_deviation);
}

void import_rms_norm(Op& op) {
  Emit& b = op.b;
  op.ignore({"stash_type"});
  Value* x = op.tensor(0);
  int64_t axis = op.axis_attr(-1, x->type.rank());
  Normalised n = normalise(b, x, axes_from(axis, x->type.rank()), op.f("epsilon", 1e-5), false);
  op.output(0, b.mul(n.value, b.cast(op.tensor(1), n.value->type.dtype)));
}

// Until opset 20 scale and shift are per group, since then per channel; exporters wrote the latter before,
// too.
void import_group_norm(Op& op) {
  Emit& b = op.b;
  op.ignore({"stash_type"});
  Value* x = op.tensor(0);
  int64_t groups = op.i("num_groups", 0), rank = x->type.rank();
  if (rank < 2 || groups < 1) fail("{} groups of {} are not supported.", groups, x->type.text());
  const Shape shape = x->type.shape;
  Dim per_group = floordiv(shape[1], Dim(groups));
  Shape split = {shape[0], Dim(groups), per_group};
  split.append(shape.part(2));
  Normalised n = normalise(b, b.reshape(x, split), axes_from(2, rank + 1), op.f("epsilon", 1e-5), true);
  const Dim gains = product(op.tensor(1)->type.shape);
  if (op.version < 21 && (gains.is_const(groups) || gains != shape[1])) {
    Value* y = scale_shift(b, n.value, op.tensor(1), op.tensor(2));
    return op.output(0, b.reshape(y, shape));
  }
  op.output(0, scale_shift(b, b.reshape(n.value, shape), op.tensor(1), op.tensor(2)));
}

void import_lp_norm(Op& op) {
  Emit& b = op.b;
  Value* given = op.tensor(0);
  Value* x = b.wide(given);
  int64_t axis = op.axis_attr(-1, x->type.rank()), p = op.i("p", 2);
  if (p != 1 && p != 2) fail("Attribute 'p' ({}) must be 1 or 2.", p);
  Value* size = p == 1 ? b.reduce(ScalarOp::kAdd, b.unary(ScalarOp::kAbs, x), {axis}, true)
                       : b.unary(ScalarOp::kSqrt, b.reduce(ScalarOp::kAdd, b.mul(x, x), {axis}, true));
  // 0 / 0 is 0 here.
  Value* nothing = b.compare(ScalarOp::kEq, size, 0.0);
  op.output(0, b.cast(b.div(x, b.select(nothing, b.like(size, 1), size)), given->type.dtype));
}

// Before version 9 attributes say which axes, and whether there is a division at all.
void import_mean_variance_norm(Op& op) {
  Emit& b = op.b;
  Value* given = op.tensor(0);
  Value* x = b.wide(given);
  std::vector<int64_t> axes = {0, 2, 3};
  if (op.version >= 9) axes = op.ints("axes", axes);
  if (op.version < 9 && op.i("across_channels", 0) != 0) axes = {0, 1, 2, 3};
  axes = op.axes(axes, x->type.rank());
  Value* centred = b.sub(x, b.mean(x, axes, true));
  if (op.version < 9 && op.i("normalize_variance", 1) == 0)
    return op.output(0, b.cast(centred, given->type.dtype));
  Value* deviation = b.unary(ScalarOp::kSqrt, b.mean(b.mul(centred, centred), axes, true));
  op.output(0, b.cast(b.div(centred, b.add(deviation, 1e-9)), given->type.dtype));
}

void import_lrn(Op& op) {
  Emit& b = op.b;
  Value* given = op.tensor(0);
  Value* x = b.wide(given);
  auto rank = static_cast<size_t>(x->type.rank());
  int64_t size = op.i("size", 0);
  if (rank < 2 || size < 1 || size > 65536)
    fail("A window of {} channels over {} is not supported.", size, x->type.text());
  std::vector<int64_t> ones(rank, 1), low(rank, 0), high(rank, 0), window = ones;
  window[1] = size;
  low[1] = (size - 1) / 2;
  high[1] = size - 1 - low[1];
  Value* sum = b.emit(OpKind::kReduceWindow, {b.mul(x, x)},
                      {{"op", ScalarOp::kAdd},
                       {"window", window},
                       {"strides", ones},
                       {"low", low},
                       {"high", high},
                       {"dilations", ones}});
  double alpha = op.f("alpha", 1e-4), beta = op.f("beta", 0.75), bias = op.f("bias", 1.0);
  Value* base = b.add(b.mul(sum, alpha / static_cast<double>(size)), bias);
  op.output(0, b.cast(b.div(x, b.map(ScalarOp::kPow, {base, b.like(base, beta)})), given->type.dtype));
}

constexpr OpRow kRows[] = {
    {kOnnx, "BatchNormalization", 1, kLatest, import_batch_norm},
    {kOnnx, "InstanceNormalization", 1, kLatest, import_instance_norm},
    {kOnnx, "LayerNormalization", 1, kLatest, import_layer_norm},
    {kOnnx, "RMSNormalization", 23, kLatest, import_rms_norm},
    {kOnnx, "GroupNormalization", 18, kLatest, import_group_norm},
    {kOnnx, "LpNormalization", 1, kLatest, import_lp_norm},
    {kOnnx, "MeanVarianceNormalization", 1, kLatest, import_mean_variance_norm},
    {kOnnx, "LRN", 1, kLatest, import_lrn},
};

}  // namespace

std::span<const OpRow> norm_rows() {
  return kRows;
}

}  // namespace tern::onnx
