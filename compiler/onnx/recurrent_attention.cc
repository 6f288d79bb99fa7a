#include "compiler/onnx/recurrent_attention.h"

#include <utility>

#include "compiler/onnx/attention.h"
#include "compiler/onnx/common.h"
#include "compiler/onnx/window.h"

namespace tern::onnx {

namespace {

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

// All steps: results [B, T, H, Dv] and the last state, or as many of the last ones as `window` says, zeros
// where there are fewer steps. `sequences`: queries, keys, values, decays and rates of correction,
// [B, H, T, D] each.
std::pair<Value*, Value*> attend_linearly(Op& op, const LinearStep& step,
                                          const std::vector<Value*>& sequences, Value* state,
                                          int64_t window = 0) {
  Emit& b = op.b;
  std::vector<Value*> carried = {state};
  if (window > 0) {
    Shape kept = state->type.shape;
    kept.insert(kept.begin(), Dim(window));
    carried.push_back(b.full(kept, b.scalar(DType::kF32, 0)));
  }
  auto results =
      build_loop(op, b.dim(dimension(sequences[0], 2)), b.integer(DType::kBool, 1), carried,
                 [&](Importer::Region& region, Value* number, Value*, const std::vector<Value*>& inside) {
                   Emit& l = *region.emit;
                   LoopResult result = linear_attention_step(l, step, number, inside[0], sequences);
                   if (window > 0) {
                     Value* before = l.slice_axis(inside[1], 0, Dim(1), Dim(window - 1));
                     result.carried.push_back(l.concat({before, l.unsqueeze(result.carried[0], {0})}, 0));
                   }
                   return result;
                 });
  return {b.transpose(results.back(), {1, 0, 2, 3}), results[window > 0 ? 1 : 0]};
}

// How many of the last states operand and result hold, in front of the other dimensions (0: one, and no such
// dimension), so that a decoder can go back by some tokens.
int64_t state_window(Op& op) {
  const int64_t window = op.i("state_window", 0);
  if (window < 0 || window > 8) fail("Attribute 'state_window' ({}) must be between 0 and 8.", window);
  return window;
}

// The last of the states that operand `i` holds.
Value* last_state(Op& op, int i, int64_t window) {
  Emit& b = op.b;
  Value* states = op.tensor(i);
  if (window == 0) return states;
  states = b.adapt(states, 0, Dim(window));
  return b.squeeze(b.slice_axis(states, 0, Dim(window - 1), Dim(1)), {0});
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

}  // namespace

// As ai.onnx, where queries have as many heads as values or a multiple; ONNX Runtime's also takes queries and
// keys with fewer, as Qwen3.5's (it knows the keys' by their width, which is the queries').
void import_linear_attention(Op& op) {
  Emit& b = op.b;
  const int64_t window = state_window(op);
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
      op.has(3) ? b.cast(last_state(op, 3, window), DType::kF32)
                : b.full({dimension(q, 0), Dim(kv_heads), width, dimension(v, 3)}, b.scalar(DType::kF32, 0));
  const auto [y, last] = attend_linearly(op, step, sequences, state, window);
  const Shape s = y->type.shape;
  op.output(0, b.cast(b.reshape(y, {s[0], s[1], s[2] * s[3]}), type));
  op.output(1, b.cast(last, state_type));
}

namespace {

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

}  // namespace

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

namespace {

// The states [window, B, C, carry] after the last positions of a signal whose past lies before it, oldest
// first; zeros for those before the signal.
Value* last_windows(Emit& b, Value* joined, const Dim& carry, int64_t window) {
  const Dim length = dimension(joined, 2) - carry;
  Value* zero = b.like(joined, 0);
  Value* wide =
      b.concat({b.full({dimension(joined, 0), dimension(joined, 1), Dim(window)}, zero), joined}, 2);
  std::vector<Value*> states;
  for (int64_t j = 0; j < window; ++j) {
    Value* state = b.slice_axis(wide, 2, length + Dim(j + 1), carry);
    Value* there = b.compare(ScalarOp::kGe, b.dim(length), b.i64(window - j));
    states.push_back(b.unsqueeze(b.select(there, state, zero), {0}));
  }
  return b.concat(std::move(states), 0);
}

}  // namespace

void import_causal_conv(Op& op) {
  Emit& b = op.b;
  Value *x = op.tensor(0), *weights = op.tensor(1);
  std::string activation = op.s("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish")
    fail("Attribute 'activation' ('{}') must be none, silu or swish.", activation);
  require_plain(op, {{"ndim", 1},
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
  const int64_t window = state_window(op);
  Value* past = op.has(3) ? moved(last_state(op, 3, window))
                          : b.full({dimension(x, 0), dimension(x, 1), carry}, b.like(x, 0));
  Value* joined = b.concat({past, x}, 2);
  Window w{{taps}, {1}, {dilation}, {0}, {0}, {0}, {0}};
  Value* y = convolve(b, joined, weights, w, dimension(weights, 0).value(), DType::kNone);
  if (op.has(2)) y = b.add(y, per_channel(b, op.tensor(2), 3, 1));
  if (activation != "none") {
    Value* wide = b.cast(y, DType::kF32);
    y = b.cast(b.mul(wide, sigmoid(b, wide)), x->type.dtype);
  }
  op.output(0, moved(y));
  if (window == 0) {
    op.output(1, moved(b.slice_axis(joined, 2, dimension(joined, 2) - carry, carry)));
    return;
  }
  Value* states = last_windows(b, joined, carry, window);
  op.output(1, last ? b.transpose(states, {0, 1, 3, 2}) : states);
}

}  // namespace tern::onnx
