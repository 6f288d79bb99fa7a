// ai.onnx.preview.training: optimiser steps. Inputs are the rate, the step count, then all tensors, all
// gradients and all states; outputs are the new tensors and states, in the same order.
#include <functional>

#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

constexpr const char* kTraining = "ai.onnx.preview.training";

// Calls step(tensors of one parameter) for each; `width` values go in (after rate and count), `width - 1`
// come out.
void for_each_parameter(Op& op, int width,
                        const std::function<std::vector<Value*>(const std::vector<Value*>&)>& step) {
  int count = (op.input_count() - 2) / width;
  if (count < 1 || op.input_count() != 2 + count * width)
    fail("{} inputs are given; they must be 2 + {} for each tensor.", op.input_count(), width);
  for (int p = 0; p < count; ++p) {
    std::vector<Value*> in;
    for (int k = 0; k < width; ++k) in.push_back(op.tensor(2 + k * count + p));
    std::vector<Value*> out = step(in);
    for (size_t k = 0; k < out.size(); ++k) op.output(static_cast<int>(k) * count + p, out[k]);
  }
}

void import_momentum(Op& op) {
  Emit& b = op.b;
  double alpha = op.f("alpha", 0), beta = op.f("beta", 0), decay = op.f("norm_coefficient", 0);
  std::string mode = op.s("mode", "standard");
  if (mode != "standard" && mode != "nesterov")
    fail("Attribute 'mode' ('{}') must be standard or nesterov.", mode);
  Value *rate = op.tensor(0), *count = op.tensor(1);
  for_each_parameter(op, 3, [&](const std::vector<Value*>& in) {
    Value* gradient = b.add(b.mul(in[0], decay), in[1]);
    // The first step takes the whole gradient.
    Value* first = b.compare(ScalarOp::kEq, count, 0.0);
    Value* weight = b.select(first, b.like(gradient, 1), b.like(gradient, beta));
    Value* velocity = b.add(b.mul(in[2], alpha), b.mul(gradient, weight));
    Value* direction = mode == "standard" ? velocity : b.add(gradient, b.mul(velocity, alpha));
    return std::vector<Value*>{b.sub(in[0], b.mul(rate, direction)), velocity};
  });
}

void import_adagrad(Op& op) {
  Emit& b = op.b;
  double epsilon = op.f("epsilon", 1e-6), decay_factor = op.f("decay_factor", 0),
         decay = op.f("norm_coefficient", 0);
  Value *rate = op.tensor(0), *count = b.cast(op.tensor(1), op.tensor(0)->type.dtype);
  rate = b.div(rate, b.add(b.mul(count, decay_factor), 1.0));
  for_each_parameter(op, 3, [&](const std::vector<Value*>& in) {
    Value* gradient = b.add(b.mul(in[0], decay), in[1]);
    Value* squares = b.add(in[2], b.mul(gradient, gradient));
    Value* step = b.div(b.mul(rate, gradient), b.add(b.unary(ScalarOp::kSqrt, squares), epsilon));
    return std::vector<Value*>{b.sub(in[0], step), squares};
  });
}

void import_adam(Op& op) {
  Emit& b = op.b;
  double alpha = op.f("alpha", 0.9), beta = op.f("beta", 0.999), epsilon = op.f("epsilon", 1e-6);
  double before = op.f("norm_coefficient", 0), after = op.f("norm_coefficient_post", 0);
  Value *rate = op.tensor(0), *count = b.cast(op.tensor(1), op.tensor(0)->type.dtype);
  // The step count corrects the averages' start at zero; step 0 is not corrected.
  auto correction = [&](double factor) {
    return b.sub(b.like(count, 1), b.map(ScalarOp::kPow, {b.like(count, factor), count}));
  };
  Value* corrected = b.div(b.mul(rate, b.unary(ScalarOp::kSqrt, correction(beta))), correction(alpha));
  rate = b.select(b.compare(ScalarOp::kGt, count, 0.0), corrected, rate);
  for_each_parameter(op, 4, [&](const std::vector<Value*>& in) {
    Value* gradient = b.add(b.mul(in[0], before), in[1]);
    Value* mean = b.add(b.mul(in[2], alpha), b.mul(gradient, 1 - alpha));
    Value* squares = b.add(b.mul(in[3], beta), b.mul(b.mul(gradient, gradient), 1 - beta));
    Value* step = b.div(b.mul(rate, mean), b.add(b.unary(ScalarOp::kSqrt, squares), epsilon));
    Value* moved = b.sub(in[0], step);
    return std::vector<Value*>{b.mul(moved, 1 - after), mean, squares};
  });
}

constexpr OpRow kRows[] = {
    {kTraining, "Momentum", 1, kLatest, import_momentum},
    {kTraining, "Adagrad", 1, kLatest, import_adagrad},
    {kTraining, "Adam", 1, kLatest, import_adam},
};

}  // namespace

std::span<const OpRow> training_rows() {
  return kRows;
}

}  // namespace tern::onnx
