// com.microsoft: operators that ONNX Runtime's optimiser and exporters put into models.
#include <cmath>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/quant.h"

namespace tern::onnx {

namespace {

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
  // Without a mean in the schema's formula, what ONNX Runtime leaves empty: who names it does not read it.
  if (op.wants(1))
    op.output(1, n.mean ? n.mean : b.mean(b.cast(sum, DType::kF32), {sum->type.rank() - 1}, true));
  op.output(2, n.inverse_deviation);
  op.output(3, sum);
}

// Rows of a table, (x - zero) * scale where it is quantised.
Value* embedded(Op& op, int table, Value* ids, int scale, int zero) {
  Emit& b = op.b;
  Value* rows = b.gather(op.tensor(table), b.cast(ids, DType::kI64), 0);
  return scale < 0 ? rows : dequantized(op, rows, scale, zero);
}

// BERT's embeddings: rows of three tables added and normalised. `quantised`: the tables, gamma and beta have
// scales and zero points.
void embed_norm(Op& op, bool quantised) {
  Emit& b = op.b;
  const auto parameter = [&](int i, int scale, int zero) {
    return quantised ? dequantized(op, op.tensor(i), scale, zero) : op.tensor(i);
  };
  Value* ids = op.tensor(0);
  if (ids->type.rank() != 2) fail("The words ({}) do not have two dimensions.", ids->type.text());
  Value* positions = !quantised && op.has(8) ? op.tensor(8) : b.iota({dimension(ids, 1)}, 0, DType::kI64);
  Value* sum =
      b.add(embedded(op, 2, ids, quantised ? 8 : -1, 13), embedded(op, 3, positions, quantised ? 9 : -1, 14));
  if (op.has(1) && op.has(4)) sum = b.add(sum, embedded(op, 4, op.tensor(1), quantised ? 10 : -1, 15));
  Normalised n = normalise(b, sum, {2}, op.f("epsilon", 1e-12), true);
  op.ignore({"mask_index_type"});
  op.output(0, b.add(b.mul(n.value, parameter(5, 11, 16)), parameter(6, 12, 17)));
  if (op.wants(1)) {  // how many words the mask shows
    const Dim batch = dimension(ids, 0);
    Value* count = b.full({batch}, b.integer(DType::kI32, 0));
    if (op.has(7)) {
      Value* one = b.compare(ScalarOp::kEq, op.tensor(7), b.integer(op.tensor(7)->type.dtype, 1));
      count = b.reduce(ScalarOp::kAdd, b.cast(one, DType::kI32), {1});
    }
    op.output(1, count);
  }
  op.output(2, sum);
}

void import_embed_norm(Op& op) {
  embed_norm(op, false);
}

void import_quantised_embed_norm(Op& op) {
  embed_norm(op, true);
}

void import_scaled_tanh(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  op.output(0, b.mul(b.unary(ScalarOp::kTanh, b.mul(x, op.f("beta", 1))), op.f("alpha", 1)));
}

void import_affine(Op& op) {
  op.output(0, op.b.add(op.b.mul(op.tensor(0), op.f("alpha", 1)), op.f("beta", 0)));
}

void import_parametric_softplus(Op& op) {
  Emit& b = op.b;
  op.output(0, b.mul(softplus(b, b.mul(op.tensor(0), op.f("beta", 1))), op.f("alpha", 1)));
}

// ONNX had these before its opset 10; ONNX Runtime still has them for what WinMLTools and others made.
void import_scale(Op& op) {
  op.output(0, op.b.mul(op.tensor(0), op.f("scale", 1)));
}

Value* image(Op& op) {
  Value* x = op.tensor(0);
  if (x->type.rank() != 4) fail("The picture ({}) does not have four dimensions.", x->type.text());
  return x;
}

void import_image_scaler(Op& op) {
  Emit& b = op.b;
  Value* x = image(op);
  const std::vector<double> bias = op.floats("bias");
  Value* offsets = b.floats(x->type.dtype, bias, {1, static_cast<int64_t>(bias.size()), 1, 1});
  x = b.adapt(x, 1, dimension(offsets, 1));
  op.output(0, b.add(b.mul(x, op.f("scale", 1)), offsets));
}

// Lines and columns are cut off at the left, the top, the right and the bottom; with `scale`, so many are
// left behind those at the top and the left.
void import_crop(Op& op) {
  Emit& b = op.b;
  Value* x = image(op);
  const std::vector<int64_t> border = op.ints("border"), scale = op.ints("scale");
  if (border.size() != 4 || (!scale.empty() && scale.size() != 2))
    fail("Attributes 'border' and 'scale' have {} and {} numbers instead of 4 and 2.", border.size(),
         scale.size());
  for (const auto* numbers : {&border, &scale})
    for (const int64_t n : *numbers)
      if (n < 0 || n > (int64_t{1} << 31)) fail("The picture is cut by {} lines.", n);
  for (size_t side = 0; side < 2; ++side) {  // lines, columns
    const auto axis = static_cast<int64_t>(2 + side);
    const Dim first(border[1 - side]), have = dimension(x, axis);
    const Dim last = scale.empty() ? have - Dim(border[3 - side]) : first + Dim(scale[side]);
    b.require(ScalarOp::kLe, scale.empty() ? first : last, scale.empty() ? last : have,
              fmt::format("Dimension {} ({}) of the picture is smaller than what is cut off it.", axis,
                          have.text()));
    x = b.slice_axis(x, axis, first, last - first);
  }
  op.output(0, x);
}

constexpr OpRow kRows[] = {
    {kOnnx, "Scale", 1, kLatest, import_scale},
    {kOnnx, "ImageScaler", 1, kLatest, import_image_scaler},
    {kOnnx, "Crop", 1, kLatest, import_crop},
    {kMicrosoft, "EmbedLayerNormalization", 1, kLatest, import_embed_norm},
    {kMicrosoft, "QEmbedLayerNormalization", 1, kLatest, import_quantised_embed_norm},
    {kOnnx, "ScaledTanh", 1, kLatest, import_scaled_tanh},
    {kOnnx, "Affine", 1, kLatest, import_affine},
    {kOnnx, "ParametricSoftplus", 1, kLatest, import_parametric_softplus},
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
