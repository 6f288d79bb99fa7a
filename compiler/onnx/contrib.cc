// com.microsoft: operators that ONNX Runtime's optimiser and exporters put into models.
#include <cmath>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

void import_fused_matmul(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *y = op.tensor(1);
  if (op.i("transBatchA", 0) != 0 || op.i("transBatchB", 0) != 0)
    fail("Attributes 'transBatchA' and 'transBatchB' are not supported.");
  auto swapped = [&](Value* v) {
    if (v->type.rank() < 2) return v;
    std::vector<int64_t> perm;
    for (int64_t a = 0; a < v->type.rank(); ++a) perm.push_back(a);
    std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
    return b.transpose(v, perm);
  };
  if (op.i("transA", 0) != 0) x = swapped(x);
  if (op.i("transB", 0) != 0) y = swapped(y);
  double alpha = op.f("alpha", 1);
  Value* result = matmul(b, x, y);
  op.output(0, alpha == 1 ? result : b.mul(result, alpha));
}

void import_gelu(Op& op) {
  op.output(0, gelu(op.b, op.tensor(0)));
}

void import_bias_gelu(Op& op) {
  op.output(0, gelu(op.b, op.b.add(op.tensor(0), op.tensor(1))));
}

void import_fast_gelu(Op& op) {
  Value* x = op.tensor(0);
  if (op.has(1)) x = op.b.add(x, op.tensor(1));
  op.output(0, gelu_tanh(op.b, x));
}

void import_quick_gelu(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, op.b.mul(x, sigmoid(op.b, op.b.mul(x, op.f("alpha", 1.702)))));
}

// SimplifiedLayerNormalization (ai.onnx in exported models): RMS normalisation.
void import_simplified_norm(Op& op) {
  op.ignore({"stash_type"});
  Emit& b = op.b;
  Value* x = op.tensor(0);
  int64_t rank = x->type.rank();
  std::vector<int64_t> axes;
  for (int64_t a = op.axis_attr(-1, rank); a < rank; ++a) axes.push_back(a);
  Normalised n = normalise(b, x, axes, op.f("epsilon", 1e-5), false);
  op.output(0, b.mul(n.value, b.cast(op.tensor(1), x->type.dtype)));
  op.output(1, n.inverse_deviation);
}

// Normalises x + skip (+ bias); output 3 is that sum.
template <bool kCentre>
void import_skip_norm(Op& op) {
  Emit& b = op.b;
  Value* sum = b.add(op.tensor(0), op.tensor(1));
  int bias = kCentre ? 4 : 3;
  if (op.has(bias)) sum = b.add(sum, op.tensor(bias));
  if (sum->type.rank() < 1) fail("The operand ({}) has no dimensions.", sum->type.text());
  Normalised n = normalise(b, sum, {sum->type.rank() - 1}, op.f("epsilon", 1e-12), kCentre);
  Value* y = b.mul(n.value, op.tensor(2));
  if (kCentre && op.has(3)) y = b.add(y, op.tensor(3));
  op.output(0, y);
  if (n.mean) op.output(1, n.mean);
  op.output(2, n.inverse_deviation);
  op.output(3, sum);
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "FusedMatMul", 1, kLatest, import_fused_matmul},
    {kMicrosoft, "Gelu", 1, kLatest, import_gelu},
    {kMicrosoft, "BiasGelu", 1, kLatest, import_bias_gelu},
    {kMicrosoft, "FastGelu", 1, kLatest, import_fast_gelu},
    {kMicrosoft, "QuickGelu", 1, kLatest, import_quick_gelu},
    {kOnnx, "SimplifiedLayerNormalization", 1, kLatest, import_simplified_norm},
    {kMicrosoft, "SimplifiedLayerNormalization", 1, kLatest, import_simplified_norm},
    {kMicrosoft, "SkipLayerNormalization", 1, kLatest, import_skip_norm<true>},
    {kMicrosoft, "SkipSimplifiedLayerNormalization", 1, kLatest, import_skip_norm<false>},
};

}  // namespace

std::span<const OpRow> contrib_rows() {
  return kRows;
}

}  // namespace tern::onnx
