// ai.onnx.ml: what classical pipelines put around a network.
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

constexpr const char* kMl = "ai.onnx.ml";

void import_binarizer(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, op.b.cast(op.b.compare(ScalarOp::kGt, x, op.f("threshold", 0)), x->type.dtype));
}

// The entries of the last axis that the indices name.
void import_array_feature_extractor(Op& op) {
  Value* x = op.tensor(0);
  if (x->type.rank() == 0) fail("The operand ({}) has no dimensions.", x->type.text());
  if (x->type.rank() == 1) x = op.b.unsqueeze(x, {0});
  Value* indices = op.b.cast(op.tensor(1), DType::kI64);
  indices = op.b.reshape(indices, {product(indices->type.shape)});
  op.output(0, op.b.gather(x, indices, x->type.rank() - 1));
}

// (x - offset) * scale, each one number or one per feature.
void import_scaler(Op& op) {
  Value* x = op.b.cast(op.tensor(0), DType::kF32);
  std::vector<double> offset = op.floats("offset"), scale = op.floats("scale");
  if (!offset.empty()) x = op.b.sub(x, op.b.floats(DType::kF32, offset));
  if (!scale.empty()) x = op.b.mul(x, op.b.floats(DType::kF32, scale));
  op.output(0, x);
}

constexpr OpRow kRows[] = {
    {kMl, "Binarizer", 1, kLatest, import_binarizer},
    {kMl, "ArrayFeatureExtractor", 1, kLatest, import_array_feature_extractor},
    {kMl, "Scaler", 1, kLatest, import_scaler},
};

}  // namespace

std::span<const OpRow> ml_rows() {
  return kRows;
}

}  // namespace tern::onnx
