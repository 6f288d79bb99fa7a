// RNN, GRU and LSTM: the input's projection for all time steps is one matrix product outside of a loop over
// time; a single time step needs no loop.
#include <algorithm>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/quant.h"

namespace tern::onnx {

namespace {

struct Activation {
  std::string name;
  double alpha = 0, beta = 0;
};

Value* activate(Emit& b, const Activation& a, Value* x) {
  if (a.name == "sigmoid") return sigmoid(b, x);
  if (a.name == "tanh") return b.unary(ScalarOp::kTanh, x);
  if (a.name == "relu") return b.max(x, b.like(x, 0));
  if (a.name == "affine") return b.add(b.mul(x, a.alpha), a.beta);
  if (a.name == "leakyrelu") return leaky_relu(b, x, a.alpha);
  if (a.name == "thresholdedrelu") return thresholded_relu(b, x, a.alpha);
  if (a.name == "scaledtanh") return b.mul(b.unary(ScalarOp::kTanh, b.mul(x, a.beta)), a.alpha);
  if (a.name == "hardsigmoid") return hard_sigmoid(b, x, a.alpha, a.beta);
  if (a.name == "elu") return elu(b, x, a.alpha);
  if (a.name == "softsign") return softsign(b, x);
  if (a.name == "softplus") return softplus(b, x);
  fail("The activation '{}' is not known.", a.name);
}

// What the three operators share. `gates` is how many H-wide parts W and R have.
struct Recurrence {
  int64_t hidden = 0, gates = 0;
  bool linear_before_reset = false, input_forget = false, eight_bits = false;
  double clip = 0;
  std::vector<Activation> activations;  // of one direction
};

// Weights of 8 bits, (weights - zero) * scale, or, without a scale, weights as they are; [K, gates * H].
struct Weights {
  Value *values, *scale = nullptr, *zero = nullptr;
};

// 8-bit weights take rows that are quantised on the way, as ONNX Runtime does.
Value* product(Emit& b, Value* rows, const Weights& w) {
  if (!w.scale) return b.dot(rows, w.values);
  const DynamicQuantized q = dynamic_quantize(b, rows);
  Value* sums = integer_matmul(b, q.value, w.values, q.zero, w.zero);
  return b.mul(b.cast(sums, DType::kF32), b.mul(q.scale, w.scale));
}

// One direction's operands, batch-major rows.
struct Cell {
  const Recurrence* r;
  Weights recurrent;      // [H, gates * H]
  Value* recurrent_bias;  // [gates * H] for GRU with linear_before_reset, else null (part of the projection)
  Value* peephole;        // [3 * H] or null
};

Value* clipped(Emit& b, const Recurrence& r, Value* x) {
  return r.clip > 0 ? b.max(b.min(x, b.like(x, r.clip)), b.like(x, -r.clip)) : x;
}

Value* part(Emit& b, Value* v, int64_t index, int64_t hidden) {
  return b.slice_axis(v, v->type.rank() - 1, Dim(index * hidden), Dim(hidden));
}

std::vector<Value*> lstm_step(Emit& b, const Cell& cell, Value* projected, const std::vector<Value*>& state) {
  const Recurrence& r = *cell.r;
  int64_t h = r.hidden;
  Value* gates = b.add(projected, product(b, state[0], cell.recurrent));
  auto gate = [&](int64_t index) { return part(b, gates, index, h); };
  auto peep = [&](Value* x, int64_t index, Value* c) {
    return cell.peephole ? b.add(x, b.mul(part(b, cell.peephole, index, h), c)) : x;
  };
  Value* old = state[1];
  Value* input = activate(b, r.activations[0], clipped(b, r, peep(gate(0), 0, old)));
  Value* forget = r.input_forget ? b.sub(b.like(input, 1), input)
                                 : activate(b, r.activations[0], clipped(b, r, peep(gate(2), 2, old)));
  Value* candidate = activate(b, r.activations[1], clipped(b, r, gate(3)));
  Value* c = b.add(b.mul(forget, old), b.mul(input, candidate));
  Value* output = activate(b, r.activations[0], clipped(b, r, peep(gate(1), 1, c)));
  return {b.mul(output, activate(b, r.activations[2], c)), c};
}

std::vector<Value*> gru_step(Emit& b, const Cell& cell, Value* projected, const std::vector<Value*>& state) {
  const Recurrence& r = *cell.r;
  int64_t h = r.hidden;
  Value* old = state[0];
  Value* update_reset = b.slice_axis(cell.recurrent.values, 1, Dim(0), Dim(2 * h));
  Value* hidden_weights = b.slice_axis(cell.recurrent.values, 1, Dim(2 * h), Dim(h));
  Value* both = b.add(b.slice_axis(projected, 1, Dim(0), Dim(2 * h)), b.dot(old, update_reset));
  if (cell.recurrent_bias) both = b.add(both, b.slice_axis(cell.recurrent_bias, 0, Dim(0), Dim(2 * h)));
  Value* update = activate(b, r.activations[0], clipped(b, r, part(b, both, 0, h)));
  Value* reset = activate(b, r.activations[0], clipped(b, r, part(b, both, 1, h)));
  Value* fresh = part(b, projected, 2, h);
  if (r.linear_before_reset) {
    Value* recurrent = b.dot(old, hidden_weights);
    if (cell.recurrent_bias) recurrent = b.add(recurrent, part(b, cell.recurrent_bias, 2, h));
    fresh = b.add(fresh, b.mul(reset, recurrent));
  } else {
    fresh = b.add(fresh, b.dot(b.mul(reset, old), hidden_weights));
    if (cell.recurrent_bias) fresh = b.add(fresh, part(b, cell.recurrent_bias, 2, h));
  }
  fresh = activate(b, r.activations[1], clipped(b, r, fresh));
  // (1 - z) * fresh + z * old
  return {b.add(b.mul(b.sub(b.like(update, 1), update), fresh), b.mul(update, old))};
}

std::vector<Value*> rnn_step(Emit& b, const Cell& cell, Value* projected, const std::vector<Value*>& state) {
  Value* sum = b.add(projected, product(b, state[0], cell.recurrent));
  return {activate(b, cell.r->activations[0], clipped(b, *cell.r, sum))};
}

using Step = std::vector<Value*> (*)(Emit&, const Cell&, Value*, const std::vector<Value*>&);

struct Operands {
  Value *x, *w, *r, *bias, *lengths;  // x [T, B, I]
  std::vector<Value*> initial;        // [D, B, H], or null
  Value* peephole;
  Value *w_scale = nullptr, *w_zero = nullptr, *r_scale = nullptr, *r_zero = nullptr;  // of 8-bit weights
};

Value* direction_of(Emit& b, Value* v, int64_t d) {
  return v ? b.squeeze(b.slice_axis(v, 0, Dim(d), Dim(1)), {0}) : nullptr;
}

// x with each batch element's first `length` steps reversed, or all steps without lengths. x is [T, B, ..].
Value* reversed_in_time(Emit& b, Value* x, Value* lengths) {
  const Dim steps = dimension(x, 0);
  if (!lengths) return b.slice_axis(x, 0, steps - Dim(1), steps, -1);
  Shape grid = {steps, dimension(x, 1)};
  Value* step = b.iota(grid, 0, DType::kI64);
  Value* length = b.broadcast(b.reshape(lengths, {Dim(1), grid[1]}), grid);
  Value* index = b.select(b.compare(ScalarOp::kLt, step, length), b.sub(b.sub(length, step), 1.0), step);
  Shape padded = {grid[0], grid[1]};
  padded.resize(x->type.shape.size(), Dim(1));
  return b.emit(OpKind::kGatherElements, {x, b.broadcast(b.reshape(index, padded), x->type.shape)},
                {{"axis", int64_t{0}}});
}

struct DirectionResult {
  Value* sequence;            // [T, B, H]
  std::vector<Value*> state;  // [B, H] each
};

DirectionResult run_direction(Op& op, const Recurrence& r, const Operands& o, int64_t d, bool reverse,
                              Step step) {
  Emit& b = op.b;
  const Dim steps = dimension(o.x, 0), batch = dimension(o.x, 1), width = dimension(o.x, 2);
  DType type = o.x->type.dtype;
  int64_t rows = r.gates * r.hidden;
  const auto weights = [&](Value* values, Value* scale, Value* zero) {
    return Weights{b.transpose(direction_of(b, values, d), {1, 0}), direction_of(b, scale, d),
                   direction_of(b, zero, d)};
  };
  Cell cell{&r, weights(o.r, o.r_scale, o.r_zero), nullptr, direction_of(b, o.peephole, d)};
  Value* x = reverse ? reversed_in_time(b, o.x, o.lengths) : o.x;
  if (o.w_scale && o.lengths) {  // steps that no sequence has do not widen the range that is quantised
    Value* number = b.reshape(b.iota({steps}, 0, DType::kI64), {steps, Dim(1), Dim(1)});
    Value* most = b.reduce(ScalarOp::kMax, o.lengths, {0});
    x = b.select(b.compare(ScalarOp::kLt, number, most), x, b.like(x, 0));
  }
  Value* projected = product(b, b.reshape(x, {steps * batch, width}), weights(o.w, o.w_scale, o.w_zero));
  if (Value* bias = direction_of(b, o.bias, d)) {
    Value* input_bias = b.slice_axis(bias, 0, Dim(0), Dim(rows));
    Value* recurrent_bias = b.slice_axis(bias, 0, Dim(rows), Dim(rows));
    if (r.linear_before_reset) {
      cell.recurrent_bias = recurrent_bias;
    } else {
      input_bias = b.add(input_bias, recurrent_bias);
    }
    projected = b.add(projected, input_bias);
  }
  projected = b.reshape(projected, {steps, batch, Dim(rows)});
  std::vector<Value*> state;
  for (Value* initial : o.initial) {
    state.push_back(initial ? direction_of(b, initial, d)
                            : b.full({batch, Dim(r.hidden)}, b.scalar(type, 0)));
  }
  auto one_step = [&](Emit& e, Value* number, Value* at, const std::vector<Value*>& old) {
    std::vector<Value*> next = step(e, cell, at, old);
    if (!o.lengths) return next;
    Value* active = e.compare(ScalarOp::kLt, number, o.lengths);
    active = e.reshape(active, {batch, Dim(1)});
    for (size_t i = 0; i < next.size(); ++i) next[i] = e.select(active, next[i], old[i]);
    return next;
  };
  auto shown = [&](Emit& e, Value* number, Value* h) {
    if (!o.lengths) return h;
    Value* active = e.reshape(e.compare(ScalarOp::kLt, number, o.lengths), {batch, Dim(1)});
    return e.select(active, h, e.like(h, 0));
  };
  DirectionResult result;
  if (steps.is_const(1)) {
    Value* first = b.i64(0);
    result.state = one_step(b, first, b.reshape(projected, {batch, Dim(rows)}), state);
    result.sequence = b.unsqueeze(shown(b, first, result.state[0]), {0});
  } else {
    auto values =
        build_loop(op, b.dim(steps), b.integer(DType::kBool, 1), state,
                   [&](Importer::Region& region, Value* number, Value*, const std::vector<Value*>& inside) {
                     Emit& e = *region.emit;
                     LoopResult body;
                     body.condition = e.integer(DType::kBool, 1);
                     body.carried = one_step(e, number, e.gather(projected, number, 0), inside);
                     body.scans = {shown(e, number, body.carried[0])};
                     return body;
                   });
    result.state.assign(values.begin(), values.end() - 1);
    result.sequence = values.back();
  }
  if (reverse) result.sequence = reversed_in_time(b, result.sequence, o.lengths);
  return result;
}

std::string lower_case(std::string s) {
  std::transform(s.begin(), s.end(), s.begin(),
                 [](unsigned char c) { return static_cast<char>(tolower(c)); });
  return s;
}

// Defaults of alpha and beta are those of the operators of the same names.
Activation make_activation(const std::string& name, std::vector<double>& alphas, std::vector<double>& betas) {
  Activation a{lower_case(name)};
  auto take = [](std::vector<double>& from, double otherwise) {
    if (from.empty()) return otherwise;
    double v = from.front();
    from.erase(from.begin());
    return v;
  };
  if (a.name == "leakyrelu") a.alpha = take(alphas, 0.01);
  if (a.name == "thresholdedrelu" || a.name == "elu") a.alpha = take(alphas, 1.0);
  if (a.name == "hardsigmoid") a.alpha = take(alphas, 0.2), a.beta = take(betas, 0.5);
  if (a.name == "affine" || a.name == "scaledtanh") a.alpha = take(alphas, 1.0), a.beta = take(betas, 1.0);
  return a;
}

// The operands with the shapes that they need to have.
void fit_operands(Emit& b, Operands& o, const Recurrence& r, int64_t directions) {
  auto expect = [&](Value*& v, const char* what, const Shape& shape) {
    if (v) v = fitted(b, v, what, shape);
  };
  if (o.x->type.rank() != 3) fail("The input ({}) does not have three dimensions.", o.x->type.text());
  if (o.w->type.rank() == 3 && dimension(o.w, 2).is_const()) o.x = b.adapt(o.x, 2, dimension(o.w, 2));
  Dim d(directions), h(r.hidden), rows(r.gates * r.hidden);
  expect(o.w, "weights", {d, rows, dimension(o.x, 2)});
  expect(o.r, "recurrent weights", {d, rows, h});
  expect(o.bias, "bias", {d, Dim(2 * r.gates * r.hidden)});
  expect(o.peephole, "peephole weights", {d, Dim(3 * r.hidden)});
  for (Value*& v : o.initial) expect(v, "initial state", {d, dimension(o.x, 1), h});
  expect(o.lengths, "sequence lengths", {dimension(o.x, 1)});
}

void import_recurrent(Op& op, Recurrence r, std::vector<std::string> defaults, size_t states, Step step) {
  Emit& b = op.b;
  op.ignore({"output_sequence"});
  std::string direction = op.s("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
    fail("Attribute 'direction' ('{}') is not known.", direction);
  int64_t directions = direction == "bidirectional" ? 2 : 1;
  bool batch_first = op.i("layout", 0) != 0;
  Operands o{op.tensor(0), op.tensor(1), op.tensor(2), nullptr, nullptr, {}, nullptr};
  if (r.eight_bits) {  // [D, K, gates * H] there
    for (Value** v : {&o.w, &o.r}) {
      if ((*v)->type.rank() != 3) fail("The weights ({}) do not have three dimensions.", (*v)->type.text());
      *v = b.transpose(*v, {0, 2, 1});
    }
    o.w_scale = op.tensor(8);
    o.w_zero = op.optional_input(9);
    o.r_scale = op.tensor(10);
    o.r_zero = op.optional_input(11);
  }
  if (o.r->type.rank() != 3 || (!dimension(o.r, 2).is_const() && !op.has_attr("hidden_size")))
    fail("The recurrent weights ({}) have no known size.", o.r->type.text());
  r.hidden = op.i("hidden_size", dimension(o.r, 2).is_const() ? dimension(o.r, 2).value() : 0);
  if (r.hidden < 1 || r.hidden > (1 << 24)) fail("Attribute 'hidden_size' ({}) is out of range.", r.hidden);
  r.clip = op.f("clip", 0);
  o.bias = op.has(3) ? op.tensor(3) : nullptr;
  o.lengths = op.has(4) ? b.cast(op.tensor(4), DType::kI64) : nullptr;
  for (size_t i = 0; i < states; ++i) {
    int at = 5 + static_cast<int>(i);
    Value* initial = op.has(at) ? op.tensor(at) : nullptr;
    if (initial && batch_first && initial->type.rank() == 3) initial = b.transpose(initial, {1, 0, 2});
    o.initial.push_back(initial);
  }
  if (states == 2 && op.has(7)) o.peephole = op.tensor(7);
  if (batch_first && o.x->type.rank() == 3) o.x = b.transpose(o.x, {1, 0, 2});
  fit_operands(b, o, r, directions);
  std::vector<std::string> names = op.strings("activations");
  std::vector<double> alphas = op.floats("activation_alpha"), betas = op.floats("activation_beta");
  while (names.size() < defaults.size() * static_cast<size_t>(directions)) {
    if (names.size() % defaults.size() != 0) fail("Attribute 'activations' has {} elements.", names.size());
    names.insert(names.end(), defaults.begin(), defaults.end());
  }
  std::vector<Value*> sequences;
  std::vector<std::vector<Value*>> finals(states);
  for (int64_t d = 0; d < directions; ++d) {
    r.activations.clear();
    for (size_t i = 0; i < defaults.size(); ++i)
      r.activations.push_back(
          make_activation(names[static_cast<size_t>(d) * defaults.size() + i], alphas, betas));
    DirectionResult result = run_direction(op, r, o, d, direction == "reverse" || d == 1, step);
    sequences.push_back(b.unsqueeze(result.sequence, {1}));
    for (size_t i = 0; i < states; ++i) finals[i].push_back(b.unsqueeze(result.state[i], {0}));
  }
  Value* sequence = b.concat(sequences, 1);
  op.output(0, batch_first ? b.transpose(sequence, {2, 0, 1, 3}) : sequence);
  for (size_t i = 0; i < states; ++i) {
    Value* last = b.concat(finals[i], 0);
    op.output(1 + static_cast<int>(i), batch_first ? b.transpose(last, {1, 0, 2}) : last);
  }
}

template <bool kEightBits>
void import_lstm(Op& op) {
  Recurrence r;
  r.eight_bits = kEightBits;
  r.gates = 4;
  r.input_forget = op.i("input_forget", 0) != 0;
  import_recurrent(op, r, {"Sigmoid", "Tanh", "Tanh"}, 2, lstm_step);
}

void import_gru(Op& op) {
  Recurrence r;
  r.gates = 3;
  r.linear_before_reset = op.i("linear_before_reset", 0) != 0;
  import_recurrent(op, r, {"Sigmoid", "Tanh"}, 1, gru_step);
}

void import_rnn(Op& op) {
  Recurrence r;
  r.gates = 1;
  import_recurrent(op, r, {"Tanh"}, 1, rnn_step);
}

constexpr OpRow kRows[] = {
    {kOnnx, "LSTM", 1, kLatest, import_lstm<false>},
    {kMicrosoft, "DynamicQuantizeLSTM", 1, kLatest, import_lstm<true>},
    {kOnnx, "GRU", 1, kLatest, import_gru},
    {kOnnx, "RNN", 1, kLatest, import_rnn},
};

}  // namespace

std::span<const OpRow> rnn_rows() {
  return kRows;
}

}  // namespace tern::onnx
