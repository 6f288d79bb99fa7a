// Attention and its kin: scores, masks, softmax and weighted sums as core ops; the recurrences as loops.
#include "compiler/onnx/attention.h"

#include <cmath>
#include <limits>
#include <utility>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/window.h"

namespace tern::onnx {

namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

int64_t heads_of(Op& op, const char* name) {
  int64_t heads = op.i(name, 0);
  if (heads < 1) fail("Attribute '{}' is missing; operands of three dimensions need it.", name);
  return heads;
}

}  // namespace

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

// One step of linear attention: the state [B, H, Dk, Dv] decays, is corrected, takes k v^T, and is read by q.
struct LinearStep {
  bool gated, delta;
  double scale;
};

LoopResult linear_attention_step(Emit& b, const LinearStep& step, Value* number, Value* state,
                                 const std::vector<Value*>& sequences) {
  auto now = [&](size_t i) { return b.gather(sequences[i], number, 2); };  // [B, H, D]
  Value *q = now(0), *k = now(1), *v = now(2);
  if (step.gated) state = b.mul(state, b.unsqueeze(b.unary(ScalarOp::kExp, now(3)), {3}));
  if (step.delta) {
    Value* found = b.squeeze(b.dot(b.unsqueeze(k, {2}), state), {2});
    v = b.mul(now(4), b.sub(v, found));
  }
  state = b.add(state, b.mul(b.unsqueeze(k, {3}), b.unsqueeze(v, {2})));
  Value* read = b.mul(grouped_dot(b, b.unsqueeze(q, {2}), state), step.scale);
  return {b.integer(DType::kBool, 1), {state}, {b.squeeze(read, {2})}};
}

// All steps: results [B, T, H, Dv] and the last state. `sequences`: queries, keys, values, decays and rates
// of correction, [B, H, T, D] each.
std::pair<Value*, Value*> attend_linearly(Op& op, const LinearStep& step,
                                          const std::vector<Value*>& sequences, Value* state) {
  Emit& b = op.b;
  auto results =
      build_loop(op, b.dim(dimension(sequences[0], 2)), b.integer(DType::kBool, 1), {state},
                 [&](Importer::Region& region, Value* number, Value*, const std::vector<Value*>& inside) {
                   return linear_attention_step(*region.emit, step, number, inside[0], sequences);
                 });
  return {b.transpose(results[1], {1, 0, 2, 3}), results[0]};
}

// The rule that attribute 'update_rule' names; `width`: of a head.
LinearStep linear_step(Op& op, const Dim& width) {
  const std::string rule = op.s("update_rule", "gated_delta");
  LinearStep step{rule == "gated" || rule == "gated_delta", rule == "delta" || rule == "gated_delta",
                  op.f("scale", 0)};
  if (!step.gated && !step.delta && rule != "linear")
    fail("Attribute 'update_rule' ('{}') is not known.", rule);
  if (step.scale == 0) step.scale = head_scale(width);
  return step;
}

// Attributes of the com.microsoft operators that only kernels for GPUs have in another form.
void require_plain(Op& op, std::initializer_list<std::pair<const char*, int64_t>> plain) {
  for (const auto& [name, value] : plain)
    if (const int64_t v = op.i(name, value); v != value)
      fail("Attribute '{}' ({}) must be {}.", name, v, value);
}

// Heads [B, H, T, D], each as often as makes `heads` of them.
Value* repeat_heads(Emit& b, Value* x, int64_t heads) {
  Shape shape = x->type.shape;
  if (shape[1].is_const(heads)) return x;
  if (!shape[1].is_const() || shape[1].is_const(0) || heads % shape[1].value() != 0)
    fail("The heads of an operand ({}) do not divide those of the values ({}).", shape[1].text(), heads);
  shape.insert(shape.begin() + 2, Dim(heads / shape[1].value()));
  Value* wide = b.broadcast(b.unsqueeze(x, {2}), shape);
  return b.reshape(wide, {shape[0], Dim(heads), shape[3], shape[4]});
}

// As ai.onnx, where queries have as many heads as values or a multiple; ONNX Runtime's also takes queries and
// keys with fewer, as Qwen3.5's (it knows the keys' by their width, which is the queries').
void import_linear_attention(Op& op) {
  Emit& b = op.b;
  require_plain(op, {{"state_window", 0}});
  op.ignore({"chunk_size"});
  int64_t q_heads = heads_of(op, "q_num_heads"), kv_heads = heads_of(op, "kv_num_heads");
  Value* query = op.tensor(0);
  DType type = query->type.dtype;
  auto wide = [&](int i) { return b.cast(op.tensor(i), DType::kF32); };
  Value *q = split_heads(b, wide(0), q_heads), *k = wide(1), *v = split_heads(b, wide(2), kv_heads);
  const Dim width = dimension(q, 3), key_columns = dimension(k, k->type.rank() - 1);
  const bool known = width.is_const() && width.value() > 0 && key_columns.is_const();
  const int64_t k_heads = known ? key_columns.value() / width.value() : kv_heads;
  k = split_heads(b, k, k_heads > 0 && k_heads < kv_heads ? k_heads : kv_heads);
  k = repeat_heads(b, k, kv_heads);
  if (q_heads < kv_heads) q = repeat_heads(b, q, kv_heads);
  const LinearStep step = linear_step(op, width);
  std::vector<Value*> sequences = {q, k, v, nullptr, nullptr};
  if (step.gated) sequences[3] = split_heads(b, wide(4), kv_heads);
  if (step.delta) {
    Value* beta = wide(5);
    int64_t heads = beta->type.rank() == 3 && dimension(beta, 2).is_const(1) ? 1 : kv_heads;
    sequences[4] = split_heads(b, beta, heads);
  }
  DType state_type = op.has(3) ? op.tensor(3)->type.dtype : type;
  Value* state =
      op.has(3) ? wide(3)
                : b.full({dimension(q, 0), Dim(kv_heads), width, dimension(v, 3)}, b.scalar(DType::kF32, 0));
  const auto [y, last] = attend_linearly(op, step, sequences, state);
  const Shape s = y->type.shape;
  op.output(0, b.cast(b.reshape(y, {s[0], s[1], s[2] * s[3]}), type));
  op.output(1, b.cast(last, state_type));
}

// What GatedDeltaNet's gates are of, [B, S, heads, columns of keys or 1].
Value* delta_gate(Op& op, Value* decay, int64_t heads) {
  Emit& b = op.b;
  const std::string how = op.s("gate_activation", "none");
  const double least = op.f("gate_lower_bound", -5);
  if (how == "none") return decay;
  Value* bias = b.cast(op.tensor(8), DType::kF32);
  bias = b.reshape(bias, {Dim(heads), divide_products(bias->type.shape, {Dim(heads)})});
  Value* biased = b.add(decay, bias);
  Value* rate = b.reshape(b.unary(ScalarOp::kExp, b.cast(op.tensor(7), DType::kF32)), {Dim(heads), Dim(1)});
  if (how == "softplus" || how == "qwen") return b.unary(ScalarOp::kNeg, b.mul(rate, softplus(b, biased)));
  if (how == "sigmoid" || how == "kda") return b.mul(sigmoid(b, b.mul(rate, biased)), least);
  fail("Attribute 'gate_activation' ('{}') is not known.", how);
}

Value* l2_normal(Emit& b, Value* x) {
  Value* sum = b.reduce(ScalarOp::kAdd, b.mul(x, x), {x->type.rank() - 1}, true);
  return b.div(x, b.unary(ScalarOp::kSqrt, b.add(sum, 1e-6)));
}

// The same recurrence over tokens [B * S, heads, D] or [B, S, heads, D], whose state lies values first, with
// its gates' activations. Queries and keys may have fewer heads than values.
void import_gated_delta_net(Op& op) {
  Emit& b = op.b;
  require_plain(op, {{"state_update_capacity", 0}});
  op.ignore({"chunk_size"});
  if (op.has(3))
    fail("Input 3 (cu_seqlens, sequences of several lengths one behind the other) is not supported.");
  if (!op.has(1) || !op.has(2)) fail("Queries, keys and values in one operand are not supported.");
  if (!op.has(6)) fail("Input 6 (initial_state) is missing.");
  op.has(10);  // of an output that is refused
  Value *query = op.tensor(0), *state = b.transpose(b.cast(op.tensor(6), DType::kF32), {0, 1, 3, 2});
  const Dim batch = dimension(state, 0);
  const bool packed = query->type.rank() == 3;
  if (!packed && query->type.rank() != 4)
    fail("The query ({}) has neither three nor four dimensions.", query->type.text());
  // An operand as [B, S, heads, D] of f32; the batch may be one dimension with the sequence.
  const auto rows = [&](int i, bool columns) {
    Value* v = b.cast(op.tensor(i), DType::kF32);
    Shape shape = v->type.shape;
    if (packed) {
      if (shape.empty()) fail("Operand {} ({}) has no dimensions.", i, op.tensor(i)->type.text());
      shape.insert(shape.begin() + 1, divide_products({shape[0]}, {batch}));
      shape[0] = batch;
    }
    if (!columns && shape.size() == 3) shape.push_back(Dim(1));
    if (shape.size() != 4)
      fail("Operand {} ({}) has another number of dimensions than the query.", i, op.tensor(i)->type.text());
    return b.reshape(v, shape);
  };
  Value *q = rows(0, true), *k = rows(1, true), *v = rows(2, true);
  const Dim width = dimension(q, 3), kept = dimension(v, 2);
  if (!kept.is_const() || !dimension(q, 2).is_const() || dimension(q, 2) != dimension(k, 2) ||
      dimension(q, 2).is_const(0) || kept.value() % dimension(q, 2).value() != 0)
    fail("The heads of queries ({}), keys ({}) and values ({}) do not divide one another.",
         dimension(q, 2).text(), dimension(k, 2).text(), kept.text());
  const int64_t heads = kept.value();
  if (op.i("qk_l2_norm", 0) != 0) {
    q = l2_normal(b, q);
    k = l2_normal(b, k);
  }
  const auto by_heads = [&](Value* x) { return b.transpose(x, {0, 2, 1, 3}); };
  const LinearStep step = linear_step(op, width);
  std::vector<Value*> sequences = {repeat_heads(b, by_heads(q), heads), repeat_heads(b, by_heads(k), heads),
                                   by_heads(v), nullptr, nullptr};
  if (step.gated) sequences[3] = by_heads(delta_gate(op, rows(4, false), heads));
  if (step.delta) {
    Value* beta = rows(5, false);
    const std::string how = op.s("beta_activation", "none");
    if (how != "none" && how != "sigmoid") fail("Attribute 'beta_activation' ('{}') is not known.", how);
    sequences[4] = by_heads(how == "sigmoid" ? sigmoid(b, beta) : beta);
  }
  op.ignore({"gate_activation", "gate_lower_bound", "beta_activation"});
  const auto [y, last] = attend_linearly(op, step, sequences, state);
  Value* result = b.cast(y, query->type.dtype);
  if (packed) {
    const Shape s = result->type.shape;
    result = b.reshape(result, {dimension(query, 0), s[2], s[3]});
  }
  op.output(0, result);
  op.output(1, b.transpose(last, {0, 1, 3, 2}));
}

// The gates of LinearAttention: decays from their projection, and rates of correction.
void import_linear_attention_gate(Op& op) {
  Emit& b = op.b;
  Value* a = op.tensor(0);
  Value* wide = softplus(b, b.add(b.cast(a, DType::kF32), b.cast(op.tensor(1), DType::kF32)));
  op.output(0, b.cast(b.mul(wide, b.cast(op.tensor(2), DType::kF32)), a->type.dtype));
  if (op.has(3)) op.output(1, b.cast(sigmoid(b, b.cast(op.tensor(3), DType::kF32)), a->type.dtype));
}

void import_causal_conv(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *weights = op.tensor(1);
  std::string activation = op.s("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish")
    fail("Attribute 'activation' ('{}') must be none, silu or swish.", activation);
  require_plain(op, {{"ndim", 1},
                     {"state_window", 0},
                     {"state_update_capacity", 0},
                     {"state_channels_last", -1},
                     {"state_length", 0},
                     {"input_channel_offset", 0},
                     {"input_channels", 0}});
  const int64_t dilation = op.i("dilation", 1);
  const bool last = op.i("channels_last", 0) != 0;  // of operand, result and both states
  if (x->type.rank() != 3 || weights->type.rank() != 3 || !dimension(weights, 0).is_const() ||
      !dimension(weights, 2).is_const() || dilation < 1)
    fail("The operand ({}) and the weights ({}) need three dimensions, and 'dilation' ({}) must be positive.",
         x->type.text(), weights->type.text(), dilation);
  const auto moved = [&](Value* v) { return last ? b.transpose(v, {0, 2, 1}) : v; };
  x = moved(x);
  const int64_t taps = dimension(weights, 2).value();
  const Dim carry((taps - 1) * dilation);
  Value* past =
      op.has(3) ? moved(op.tensor(3)) : b.full({dimension(x, 0), dimension(x, 1), carry}, b.like(x, 0));
  Value* joined = b.concat({past, x}, 2);
  Window w{{taps}, {1}, {dilation}, {0}, {0}, {0}, {0}};
  Value* y = convolve(b, joined, weights, w, dimension(weights, 0).value(), DType::kNone);
  if (op.has(2)) y = b.add(y, per_channel(b, op.tensor(2), 3, 1));
  if (activation != "none") {
    Value* wide = b.cast(y, DType::kF32);
    y = b.cast(b.mul(wide, sigmoid(b, wide)), x->type.dtype);
  }
  op.output(0, moved(y));
  op.output(1, moved(b.slice_axis(joined, 2, dimension(joined, 2) - carry, carry)));
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
