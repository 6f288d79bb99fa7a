// Attention and its kin: scores, masks, softmax and weighted sums as core ops.
#include "compiler/onnx/attention.h"

#include <cmath>
#include <limits>
#include <utility>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/recurrent_attention.h"

namespace tern::onnx {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

int64_t heads_of(Op& op, const char* name) {
  int64_t heads = op.i(name, 0);
  if (heads < 1) fail("Attribute '{}' is missing; operands of three dimensions need it.", name);
  return heads;
}

Value* split_heads(Emit& b, Value* x, int64_t heads) {
  if (x->type.rank() != 3) fail("The operand ({}) does not have three dimensions.", x->type.text());
  const Shape& s = x->type.shape;
  return b.transpose(b.reshape(x, {s[0], s[1], Dim(heads), floordiv(s[2], Dim(heads))}), {0, 2, 1, 3});
}

Value* join_heads(Emit& b, Value* x) {
  const Shape s = x->type.shape;
  return b.reshape(b.transpose(x, {0, 2, 1, 3}), {s[0], s[2], s[1] * s[3]});
}

// x [B, Hq, M, K] times y [B, Hkv, K, N] where each of y's heads serves Hq / Hkv of x's.
Value* grouped_dot(Emit& b, Value* x, Value* y) {
  const Shape &xs = x->type.shape, &ys = y->type.shape;
  if (xs[1] == ys[1]) return b.dot(x, y);
  Dim group = divide_products({xs[1]}, {ys[1]});
  Value* wide = b.reshape(x, {xs[0], ys[1], group, xs[2], xs[3]});
  Value* result = b.dot(wide, b.reshape(y, {ys[0], ys[1], Dim(1), ys[2], ys[3]}));
  return b.reshape(result, {xs[0], xs[1], xs[2], ys[3]});
}

double head_scale(const Dim& size) {
  if (!size.is_const() || size.value() < 1)
    fail("The size of a head ({}) must be known while compiling, and positive.", size.text());
  return 1 / std::sqrt(static_cast<double>(size.value()));
}

Value* scaled_scores(Emit& b, Value* q, Value* k, double scale) {
  double root = std::sqrt(scale);
  return grouped_dot(b, b.mul(q, root), b.transpose(b.mul(k, root), {0, 1, 3, 2}));
}

namespace {

Value* up_to_now(Emit& b, Value* scores, const Dim& past) {
  const Shape plane = dimensions(scores, -2);
  Value* last = b.add(b.iota(plane, 0, DType::kI64), b.dim(past));
  return b.compare(ScalarOp::kLe, b.iota(plane, 1, DType::kI64), last);
}

}  // namespace

Value* causal_mask(Emit& b, Value* scores, const Dim& past) {
  return b.select(up_to_now(b, scores, past), scores, b.like(scores, kMinusInfinity));
}

namespace {

double attention_scale(Op& op, Value* q) {
  if (op.has_attr("scale")) {
    double scale = op.f("scale", 1);
    if (!(scale > 0)) fail("Attribute 'scale' ({}) must be positive.", scale);
    return scale;
  }
  return head_scale(dimension(q, 3));
}

// The mask, padded at its end to all keys: false or -inf there.
Value* whole_mask(Emit& b, Value* mask, const Dim& keys) {
  if (mask->type.rank() == 0) return mask;
  const Dim have = last_dimension(mask);
  if (have == keys || have.is_const(1)) return mask;
  Shape low(mask->type.shape.size(), Dim(0)), high = low;
  high.back() = keys - have;
  if (!high.back().is_const()) return mask;
  Value* fill = mask->type.dtype == DType::kBool ? b.integer(DType::kBool, 0) : b.like(mask, kMinusInfinity);
  return b.pad(mask, low, high, fill);
}

Value* masked(Op& op, Value* scores, const Dim& past) {
  Emit& b = op.b;
  const Dim keys = dimension(scores, 3);
  if (op.has(3)) {
    Value* mask = whole_mask(b, op.tensor(3), keys);
    if (mask->type.dtype == DType::kBool) {
      scores = b.select(mask, scores, b.like(scores, kMinusInfinity));
    } else {
      scores = b.add(scores, b.cast(mask, scores->type.dtype));
    }
  }
  if (op.i("is_causal", 0) != 0) scores = causal_mask(b, scores, past);
  if (op.has(6)) {
    Value* lengths =
        b.reshape(b.cast(op.tensor(6), DType::kI64), {dimension(scores, 0), Dim(1), Dim(1), Dim(1)});
    Value* position = b.reshape(b.iota({keys}, 0, DType::kI64), {Dim(1), Dim(1), Dim(1), keys});
    scores = b.select(b.compare(ScalarOp::kLt, position, lengths), scores, b.like(scores, kMinusInfinity));
  }
  return scores;
}

// Rows of which a mask hides all keys are 0, as ONNX Runtime and PyTorch have them (padding in front: what
// follows would make every row NaN).
Value* hidden_rows_are_zero(Op& op, Value* result, Value* scores, const Dim& past) {
  Emit& b = op.b;
  if (!op.has(3) || op.tensor(3)->type.rank() == 0) return result;
  Value* mask = whole_mask(b, op.tensor(3), dimension(scores, 3));
  Value* visible = mask->type.dtype == DType::kBool ? mask : b.compare(ScalarOp::kGt, mask, kMinusInfinity);
  if (op.i("is_causal", 0) != 0) visible = b.map(ScalarOp::kAnd, {visible, up_to_now(b, scores, past)});
  Value* some = b.reduce(ScalarOp::kOr, visible, {visible->type.rank() - 1}, true);
  return b.select(some, result, b.like(result, 0));
}

void import_attention(Op& op) {
  Emit& b = op.b;
  Value *q = op.tensor(0), *k = op.tensor(1), *v = op.tensor(2);
  bool packed = q->type.rank() == 3;
  op.ignore({"q_num_heads", "kv_num_heads"});
  if (packed) {
    q = split_heads(b, q, heads_of(op, "q_num_heads"));
    k = split_heads(b, k, heads_of(op, "kv_num_heads"));
    v = split_heads(b, v, heads_of(op, "kv_num_heads"));
  }
  for (Value* x : {q, k, v})
    if (x->type.rank() != 4) fail("An operand ({}) has neither three nor four dimensions.", x->type.text());
  double scale = attention_scale(op, q);
  Dim past(0);
  for (int i : {4, 5}) {
    if (op.has(i) && op.tensor(i)->type.rank() != 4)
      fail("The cache {} ({}) has not four dimensions.", i, op.tensor(i)->type.text());
  }
  if (op.has(4)) {
    past = dimension(op.tensor(4), 2);
    k = b.concat({op.tensor(4), k}, 2);
  }
  if (op.has(5)) v = b.concat({op.tensor(5), v}, 2);
  Value* scores = scaled_scores(b, q, k, scale);
  Value* raw = scores;
  if (double cap = op.f("softcap", 0); cap > 0)
    scores = b.mul(b.unary(ScalarOp::kTanh, b.div(scores, cap)), cap);
  Value* capped = scores;
  scores = masked(op, scores, past);
  int64_t mode = op.i("qk_matmul_output_mode", 0);
  DType type = scores->type.dtype;
  DType precision = op.dtype_attr("softmax_precision").value_or(type);
  Value* weights = b.cast(b.softmax(b.cast(scores, precision), {3}), type);
  Value* result = hidden_rows_are_zero(op, grouped_dot(b, weights, b.cast(v, type)), scores, past);
  op.output(0, packed ? join_heads(b, result) : result);
  op.output(1, k);
  op.output(2, v);
  op.output(3, mode == 0 ? raw : mode == 1 ? capped : mode == 2 ? scores : weights);
}

void import_flex_attention(Op& op) {
  Emit& b = op.b;
  Value *q = op.tensor(0), *k = op.tensor(1), *v = op.tensor(2);
  for (Value* x : {q, k, v})
    if (x->type.rank() != 4) fail("An operand ({}) does not have four dimensions.", x->type.text());
  DType type = q->type.dtype;
  DType precision = op.dtype_attr("softmax_precision").value_or(dtype_bits(type) < 32 ? DType::kF32 : type);
  auto modify = [&](const char* name, Value* x) {
    if (!op.has_attr(name)) return x;
    auto outputs = op.importer.import_into(op.scope, b, *op.graph_attr(name), {x});
    if (outputs.size() != 1) fail("The subgraph '{}' has {} outputs instead of one.", name, outputs.size());
    return outputs[0];
  };
  Value* scores = modify("score_mod", b.cast(scaled_scores(b, q, k, attention_scale(op, q)), precision));
  Value* weights = modify("prob_mod", b.softmax(scores, {3}));
  op.output(0, b.cast(grouped_dot(b, weights, b.cast(v, weights->type.dtype)), v->type.dtype));
}

}  // namespace

// x [B, S, N, H] rotated by caches [B, S, 1, R/2].
Value* rotate(Emit& b, Value* x, Value* cosine, Value* sine, const Dim& width, bool interleaved) {
  Dim half = floordiv(width, Dim(2)), whole = dimension(x, 3);
  Value* part = b.slice_axis(x, 3, Dim(0), width);
  Value* first = interleaved ? b.slice_axis(part, 3, Dim(0), half, 2) : b.slice_axis(part, 3, Dim(0), half);
  Value* second = interleaved ? b.slice_axis(part, 3, Dim(1), half, 2) : b.slice_axis(part, 3, half, half);
  Value* real = b.sub(b.mul(cosine, first), b.mul(sine, second));
  Value* imaginary = b.add(b.mul(sine, first), b.mul(cosine, second));
  Value* turned;
  if (interleaved) {
    turned = b.reshape(b.concat({b.unsqueeze(real, {4}), b.unsqueeze(imaginary, {4})}, 4), part->type.shape);
  } else {
    turned = b.concat({real, imaginary}, 3);
  }
  if (width == whole) return turned;
  return b.concat({turned, b.slice_axis(x, 3, width, whole - width)}, 3);
}

Value* put_rows(Emit& b, Value* cache, Value* rows, Value* first, int64_t axis) {
  Shape shape = cache->type.shape, positions(shape.size(), Dim(1)), column = positions;
  const auto a = static_cast<size_t>(axis);
  shape[a] = positions[a] = dimension(rows, a);
  if (first->type.rank() > 0) column[0] = shape[0];
  rows = b.adapt(rows, shape);
  Value* at = b.add(b.reshape(b.iota({shape[a]}, 0, DType::kI64), positions), b.reshape(first, column));
  return b.emit(OpKind::kScatterElements, {cache, b.broadcast(at, shape), rows},
                {{"axis", axis}, {"reduction", std::string("none")}});
}

void check_position_cache(const Value* cache) {
  if (cache->type.rank() != 2) fail("A cache ({}) does not have two dimensions.", cache->type.text());
}

Value* at_positions(Emit& b, Value* cache, Value* positions) {
  check_position_cache(cache);
  if (positions->type.rank() < 1 || positions->type.rank() > 2)
    fail("The positions ({}) have neither one nor two dimensions.", positions->type.text());
  if (positions->type.rank() == 1) positions = b.unsqueeze(positions, {0});
  return b.unsqueeze(b.gather(cache, positions, 0), {2});
}

namespace {

void import_rotary(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *cosine = op.tensor(1), *sine = op.tensor(2);
  bool packed = x->type.rank() == 3, interleaved = op.i("interleaved", 0) != 0;
  Shape original = x->type.shape;
  op.ignore({"num_heads"});
  if (packed) {
    int64_t heads = heads_of(op, "num_heads");
    x = b.reshape(x, {original[0], original[1], Dim(heads), floordiv(original[2], Dim(heads))});
  } else if (x->type.rank() == 4) {
    x = b.transpose(x, {0, 2, 1, 3});
  } else {
    fail("The operand ({}) has neither three nor four dimensions.", x->type.text());
  }
  if (op.has(3)) {
    Value* positions = b.cast(op.tensor(3), DType::kI64);
    cosine = b.gather(cosine, positions, 0);
    sine = b.gather(sine, positions, 0);
  }
  if (cosine->type.rank() != 3 || sine->type.rank() != 3)
    fail("The caches ({}, {}) do not have three dimensions.", cosine->type.text(), sine->type.text());
  int64_t width = op.i("rotary_embedding_dim", 0);
  Value* y = rotate(b, x, b.unsqueeze(cosine, {2}), b.unsqueeze(sine, {2}),
                    width > 0 ? Dim(width) : dimension(x, 3), interleaved);
  op.output(0, packed ? b.reshape(y, original) : b.transpose(y, {0, 2, 1, 3}));
}

constexpr OpRow kRows[] = {
    {kOnnx, "Attention", 23, kLatest, import_attention},
    {"ai.onnx.preview", "FlexAttention", 1, kLatest, import_flex_attention},
    {kOnnx, "RotaryEmbedding", 23, kLatest, import_rotary},
    {kOnnx, "LinearAttention", 27, kLatest, import_linear_attention},
    {kMicrosoft, "LinearAttention", 1, kLatest, import_linear_attention},
    {kMicrosoft, "LinearAttentionGate", 1, kLatest, import_linear_attention_gate},
    {kMicrosoft, "GatedDeltaNet", 1, kLatest, import_gated_delta_net},
    {kOnnx, "CausalConvWithState", 27, kLatest, import_causal_conv},
    {kMicrosoft, "CausalConvWithState", 1, kLatest, import_causal_conv},
};

}  // namespace

std::span<const OpRow> attention_rows() {
  return kRows;
}

}  // namespace tern::onnx
