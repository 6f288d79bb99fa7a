// Losses: negative log likelihood and softmax cross entropy.
#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

// scores [N, C, d..] hold log probabilities, target [N, d..] classes. Gives the loss, of narrow floats in
// f32.
Value* likelihood_loss(Op& op, Value* scores, Value* target, Value* weights) {
  Emit& b = op.b;
  std::string reduction = op.s("reduction", "mean");
  if (reduction != "mean" && reduction != "sum" && reduction != "none")
    fail("Attribute 'reduction' ('{}') must be mean, sum or none.", reduction);
  if (scores->type.rank() < 2 || target->type.rank() != scores->type.rank() - 1)
    fail("The scores ({}) and the target ({}) do not match.", scores->type.text(), target->type.text());
  Shape rows = scores->type.shape;
  rows.erase(rows.begin() + 1);
  target = fitted(b, target, "target", rows);
  if (weights) weights = fitted(b, weights, "weights", {dimension(scores, 1)});
  target = b.cast(target, DType::kI64);
  Value* ignored = nullptr;
  Value* index = target;
  if (op.has_attr("ignore_index")) {
    ignored = b.compare(ScalarOp::kEq, target, b.i64(op.i("ignore_index", 0)));
    index = b.select(ignored, b.i64(0), target);
  }
  Value* chosen = b.squeeze(
      b.emit(OpKind::kGatherElements, {scores, b.unsqueeze(index, {1})}, {{"axis", int64_t{1}}}), {1});
  Value* loss = b.unary(ScalarOp::kNeg, b.wide(chosen));
  const DType type = loss->type.dtype;
  Value* weight = weights ? b.wide(b.gather(weights, index, 0)) : nullptr;
  if (ignored) weight = b.select(ignored, b.scalar(type, 0), weight ? weight : b.scalar(type, 1));
  if (weight) loss = b.mul(loss, weight);
  if (reduction == "none") return loss;
  std::vector<int64_t> axes;
  for (int64_t a = 0; a < loss->type.rank(); ++a) axes.push_back(a);
  Value* sum = b.reduce(ScalarOp::kAdd, loss, axes);
  if (reduction == "sum") return sum;
  Value* count = weight ? b.reduce(ScalarOp::kAdd, b.expand_to(weight, loss->type.shape), axes)
                        : b.cast(b.dim(product(loss->type.shape)), type);
  return b.div(sum, count);
}

void import_nll_loss(Op& op) {
  Value* scores = op.tensor(0);
  Value* loss = likelihood_loss(op, scores, op.tensor(1), op.optional_input(2));
  op.output(0, op.b.cast(loss, scores->type.dtype));
}

void import_softmax_loss(Op& op) {
  Value* scores = op.tensor(0);
  if (scores->type.rank() < 2) fail("The scores ({}) have no classes.", scores->type.text());
  Value* logs = log_softmax(op.b, op.b.wide(scores), {1});
  Value* loss = likelihood_loss(op, logs, op.tensor(1), op.optional_input(2));
  op.output(0, op.b.cast(loss, scores->type.dtype));
  op.output(1, op.b.cast(logs, scores->type.dtype));
}

constexpr OpRow kRows[] = {
    {kOnnx, "NegativeLogLikelihoodLoss", 12, kLatest, import_nll_loss},
    {kOnnx, "SoftmaxCrossEntropyLoss", 12, kLatest, import_softmax_loss},
};

}  // namespace

std::span<const OpRow> loss_rows() {
  return kRows;
}

}  // namespace tern::onnx
