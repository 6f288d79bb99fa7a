// com.microsoft: mixtures of experts (MoE, QMoE). Each token goes through the k experts that its router likes
// best, and through no other: pairs of token and expert are sorted by expert, each expert takes the rows
// between two positions that are read at run time (none where nobody chose it), and rows go back to their
// tokens.
#include <algorithm>
#include <limits>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/quant.h"

namespace tern::onnx {

namespace {

struct Mixture {
  Dim tokens;
  int64_t experts, chosen;  // of each token
};

// What belongs to an expert, its first axis removed.
Value* part_of(Emit& b, Value* v, int64_t expert) {
  if (v->type.rank() < 2 || !dimension(v, 0).is_const())
    fail("A parameter of the experts ({}) does not have a known number of them.", v->type.text());
  const TensorDataPtr data = b.constant_data(v);
  const int64_t experts = dimension(v, 0).value();
  if (!data || data->bytes().size() % static_cast<size_t>(experts) != 0)
    return b.squeeze(b.slice_axis(v, 0, Dim(expert), Dim(1)), {0});
  const size_t bytes = data->bytes().size() / static_cast<size_t>(experts);
  const std::vector<int64_t> shape(data->shape().begin() + 1, data->shape().end());
  return b.constant(TensorData::borrow(
      data->dtype(), shape, data->bytes().subspan(bytes * static_cast<size_t>(expert), bytes), data));
}

// The weights [N, K] of a layer of one expert, and how a layer is found among the inputs.
struct Layer {
  int weights, bias, scales = -1, zeros = -1;
  int64_t bits = 0, block = 0;
};

Value* dequantised_part(Op& op, const Layer& l, int64_t expert, DType type) {
  Emit& b = op.b;
  Value* bytes = part_of(b, op.tensor(l.weights), expert);
  Value* scales = b.cast(part_of(b, op.tensor(l.scales), expert), type);
  if (bytes->type.rank() != 2 || !is_static(bytes->type.shape))
    fail("The weights of the experts ({}) do not have three known dimensions.",
         op.tensor(l.weights)->type.text());
  const int64_t n = dimension(bytes, 0).value(), k = dimension(bytes, 1).value() * 8 / l.bits;
  const int64_t block = l.block > 0 ? l.block : k, blocks = k / std::max<int64_t>(block, 1);
  if (block < 1 || k % block != 0) fail("Rows of {} integers are no whole number of blocks of {}.", k, block);
  const auto spread = [&](Value* v) { return b.reshape(v, {Dim(n), Dim(blocks), Dim(1)}); };
  Value* q = b.reshape(unpacked(b, bytes, n, l.bits, k, "weights"), {Dim(n), Dim(blocks), Dim(block)});
  Value* zero = b.scalar(type, static_cast<double>(int64_t{1} << (l.bits - 1)));
  if (op.has(l.zeros)) {
    Value* points = part_of(b, op.tensor(l.zeros), expert);
    // In blocks every row begins at a byte; without them the rows' points lie side by side.
    points = l.block > 0 ? unpacked(b, points, n, l.bits, blocks, "zero points")
                         : unpacked(b, points, 1, l.bits, n, "zero points");
    zero = spread(b.cast(points, type));
  }
  return b.reshape(b.mul(b.sub(b.cast(q, type), zero), spread(scales)), {Dim(n), Dim(k)});
}

Value* layer(Op& op, const Layer& l, int64_t expert, Value* x) {
  Emit& b = op.b;
  Value* w =
      l.bits > 0 ? dequantised_part(op, l, expert, x->type.dtype) : part_of(b, op.tensor(l.weights), expert);
  Value* y = b.dot(x, b.transpose(w, {1, 0}));
  return op.has(l.bias) ? b.add(y, part_of(b, op.tensor(l.bias), expert)) : y;
}

// gate * sigmoid(alpha * gate) * (up + beta), both clamped.
Value* swiglu(Op& op, Value* gate, Value* up) {
  Emit& b = op.b;
  if (op.has_attr("swiglu_limit")) {
    const double limit = op.f("swiglu_limit", 0);
    gate = b.min(gate, b.like(gate, limit));
    up = b.max(b.min(up, b.like(up, limit)), b.like(up, -limit));
  }
  Value* open = b.mul(gate, sigmoid(b, b.mul(gate, op.f("activation_alpha", 1))));
  const double beta = op.f("activation_beta", 0);
  return b.mul(open, beta != 0 ? b.add(up, beta) : up);
}

Value* activated(Op& op, const std::string& kind, Value* x) {
  Emit& b = op.b;
  if (kind == "relu") return b.max(x, b.like(x, 0));
  if (kind == "relu2") return b.mul(b.max(x, b.like(x, 0)), b.max(x, b.like(x, 0)));
  if (kind == "gelu") return gelu_tanh(b, x);
  if (kind == "silu") return b.mul(x, sigmoid(b, x));
  if (kind != "identity")
    fail("Attribute 'activation_type' ('{}') must be relu, relu2, gelu, silu, swiglu, geglu or identity.",
         kind);
  return x;
}

// The rows of one expert through its layers.
Value* expert_rows(Op& op, const Layer (&layers)[3], int64_t expert, Value* x) {
  Emit& b = op.b;
  const std::string kind = op.s("activation_type", "relu");
  const int64_t fusion = op.i("swiglu_fusion", 0);
  const bool gated = kind == "swiglu" || kind == "geglu", third = op.has(layers[2].weights);
  Value *hidden = layer(op, layers[0], expert, x), *up = nullptr;
  if (third) {
    up = layer(op, layers[2], expert, x);
  } else if (gated) {
    const Dim half = floordiv(dimension(hidden, 1), Dim(2));
    if (fusion != 1 && fusion != 2)
      fail("Attribute 'swiglu_fusion' ({}) must be 1 or 2 where there are no weights fc3.", fusion);
    const auto part = [&](int64_t i) {
      return fusion == 1 ? b.slice_axis(hidden, 1, Dim(i), half, 2)
                         : b.slice_axis(hidden, 1, half * Dim(i), half);
    };
    up = part(1);
    hidden = part(0);
  }
  if (kind == "swiglu") {
    hidden = swiglu(op, hidden, up);
  } else {
    hidden = kind == "geglu" ? gelu_tanh(b, hidden) : activated(op, kind, hidden);
    if (up) hidden = b.mul(hidden, up);
  }
  return layer(op, layers[1], expert, hidden);
}

// The experts of each token, i64 [tokens, chosen], and what each of them counts.
struct Routes {
  Value *expert, *weight;
};

// The k largest of each row of the last axis (of two equal ones the first), and where they are.
struct Best {
  Value *values, *places;
};

Best best_of(Emit& b, Value* rows, int64_t k) {
  graph::Node* node = b.emit_node(OpKind::kTopK, {rows},
                                  {{"axis", int64_t{rows->type.rank() - 1}},
                                   {"k", std::vector<Dim>{Dim(k)}},
                                   {"largest", true},
                                   {"sorted", true}});
  return {node->result(0), node->result(1)};
}

Routes routes(Op& op, const Mixture& m, Value* router, Value* mixing, bool over_chosen) {
  Emit& b = op.b;
  const Best top = best_of(b, router, m.chosen);
  Value* chosen = top.places;
  const auto at = [&](Value* v) {
    return b.emit(OpKind::kGatherElements, {v, chosen}, {{"axis", int64_t{1}}});
  };
  if (mixing) {
    Value* weight = at(mixing);
    if (over_chosen) weight = b.div(weight, b.reduce(ScalarOp::kAdd, weight, {1}, true));
    return {chosen, weight};
  }
  return {chosen, over_chosen ? b.softmax(top.values, {1}) : at(b.softmax(router, {1}))};
}

// Where the rows of each expert begin when pairs are sorted by expert, and where the last ones end.
Shape first_rows(Emit& b, const Mixture& m, Value* expert, const Dim& pairs) {
  Shape first = {Dim(0)};
  if (m.experts > 1) {
    std::vector<int64_t> numbers;
    for (int64_t e = 1; e < m.experts; ++e) numbers.push_back(e);
    Value* smaller = b.compare(ScalarOp::kLt, b.unsqueeze(expert, {0}), b.unsqueeze(b.i64s(numbers), {1}));
    Value* count = b.reduce(ScalarOp::kAdd, b.cast(smaller, DType::kI64), {1});
    for (const Dim& d : b.dims(count)) {
      if (d.op() == Dim::Op::kSymbol)
        if (graph::SymbolInfo* info = b.graph().find_symbol(d.symbol_name()); !info->upper)
          info->upper = pairs;
      first.push_back(d);
    }
  }
  first.push_back(pairs);
  return first;
}

// x [tokens, width] through its experts.
Value* mixed(Op& op, const Mixture& m, const Layer (&layers)[3], Value* x, const Routes& r) {
  Emit& b = op.b;
  const Dim pairs = m.tokens * Dim(m.chosen), width = dimension(x, 1);
  Value* expert = b.reshape(r.expert, {pairs});
  Value* order =
      b.emit_node(
           OpKind::kTopK, {expert},
           {{"axis", int64_t{0}}, {"k", std::vector<Dim>{pairs}}, {"largest", false}, {"sorted", true}})
          ->result(1);
  Value* rows = b.gather(x, b.div(order, b.i64(m.chosen)), 0);
  const Shape first = first_rows(b, m, expert, pairs);
  std::vector<Value*> results;
  for (int64_t e = 0; e < m.experts; ++e) {
    const Dim &from = first[static_cast<size_t>(e)], &to = first[static_cast<size_t>(e) + 1];
    results.push_back(expert_rows(op, layers, e, b.slice_axis(rows, 0, from, to - from)));
  }
  Value* sorted = b.concat(results, 0);
  Value* numbers = b.iota({pairs}, 0, DType::kI64);
  Value* place = b.emit(OpKind::kScatterElements, {numbers, order, numbers},
                        {{"axis", int64_t{0}}, {"reduction", std::string("none")}});
  Value* back = b.reshape(b.gather(sorted, place, 0), {m.tokens, Dim(m.chosen), width});
  return b.reduce(ScalarOp::kAdd, b.mul(back, b.unsqueeze(r.weight, {2})), {1});
}

void import_mixture(Op& op, const Layer (&layers)[3], int mixing, bool over_chosen) {
  Emit& b = op.b;
  if (op.i("use_sparse_mixer", 0) != 0) fail("Attribute 'use_sparse_mixer' is not supported.");
  if (op.i("swiglu_limit_after_activation", 0) != 0)
    fail("Attribute 'swiglu_limit_after_activation' is not supported.");
  op.ignore({"activation_alpha", "activation_beta", "swiglu_fusion", "swiglu_limit", "accuracy_level",
             "normalize_routing_weights"});
  Value *x = op.tensor(0), *router = op.tensor(1);
  if (x->type.rank() != 2 && x->type.rank() != 3)
    fail("The operand ({}) has neither two nor three dimensions.", x->type.text());
  if (router->type.rank() != 2 || !dimension(router, 1).is_const())
    fail("The router's numbers ({}) are not those of a known number of experts for each token.",
         router->type.text());
  const Shape original = x->type.shape;
  x = flatten(b, x, static_cast<int64_t>(original.size()) - 1);
  const Mixture m{dimension(x, 0), dimension(router, 1).value(), op.i("k", 1)};
  if (m.chosen < 1 || m.chosen > m.experts)
    fail("Attribute 'k' ({}) must be from 1 to the number of experts ({}).", m.chosen, m.experts);
  router = b.cast(b.adapt(router, 0, m.tokens), DType::kF32);
  Value* given =
      mixing >= 0 && op.has(mixing) ? b.cast(b.adapt(op.tensor(mixing), 0, m.tokens), DType::kF32) : nullptr;
  Routes r = routes(op, m, router, given, over_chosen);
  r.weight = b.cast(r.weight, x->type.dtype);
  op.output(0, b.reshape(mixed(op, m, layers, x, r), original));
}

void import_moe(Op& op) {
  const Layer layers[] = {{2, 3}, {4, 5}, {6, 7}};
  import_mixture(op, layers, -1, op.i("normalize_routing_weights", 0) != 0);
}

void import_quantised_moe(Op& op) {
  if (const std::string type = op.s("quant_type", "int"); type != "int")
    fail("Attribute 'quant_type' ('{}') is not supported: weights are integers.", type);
  if (const int64_t layout = op.i("weights_prepacked", 0); layout != 0)
    fail(
        "Attribute 'weights_prepacked' ({}) is not supported: the weights lie as one device's kernel wants "
        "them.",
        layout);
  const int64_t common = op.i("expert_weight_bits", 4), block = op.i("block_size", 0);
  const auto bits = [&](const char* name) {
    const int64_t n = op.i(name, common);
    if (n != 2 && n != 3 && n != 4 && n != 8) fail("Weights of {} bits are not supported: 2, 3, 4 or 8.", n);
    return n;
  };
  const Layer layers[] = {{2, 4, 3, 11, bits("fc1_expert_weight_bits"), block},
                          {5, 7, 6, 12, bits("fc2_expert_weight_bits"), block},
                          {8, 10, 9, 13, bits("fc3_expert_weight_bits"), block}};
  // As ONNX Runtime does on CPUs, whatever normalize_routing_weights says.
  const bool over_chosen = !op.has(14) || op.i("normalize_routing_weights", 0) != 0;
  import_mixture(op, layers, 14, over_chosen);
}

// rows with `values` at these places of the last axis.
Value* put_at(Emit& b, Value* rows, Value* places, Value* values) {
  return b.emit(OpKind::kScatterElements, {rows, places, values},
                {{"axis", int64_t{rows->type.rank() - 1}}, {"reduction", std::string("none")}});
}

// DeepSeek-V3's router: experts by the sigmoids of their logits, of the groups whose best ones have the
// largest sum.
void import_group_router(Op& op) {
  Emit& b = op.b;
  if (op.has(2)) fail("Input 2 (projection_weight) is not supported.");
  Value* logits = op.tensor(0);
  const Dim experts_dim = last_dimension(logits);
  const int64_t groups = op.i("n_group", 1), active = op.i("topk_group", 1), of_group = op.i("group_topk", 2),
                chosen = op.i("top_k", 0);
  const double sentinel = op.f("router_sentinel", -10000);
  if (!experts_dim.is_const() || groups < 1 || experts_dim.value() % groups != 0 || active < 1 ||
      active > groups || chosen < 1 || chosen > experts_dim.value() || of_group < 1)
    fail("{} experts in {} groups, of which {} are active and {} experts are chosen, are not supported.",
         experts_dim.text(), groups, active, chosen);
  const int64_t experts = experts_dim.value(), size = experts / groups;
  const Dim tokens = divide_products(logits->type.shape, {experts_dim});
  Value* open = sigmoid(b, b.cast(b.reshape(logits, {tokens, experts_dim}), DType::kF32));
  Value* scores = b.add(open, b.cast(op.tensor(1), DType::kF32));
  op.output(1, scores);
  op.output(2, open);
  if (!op.wants(0)) return;
  Value* hidden = b.scalar(DType::kF32, -std::numeric_limits<double>::infinity());
  if (active < groups) {
    Value* grouped = b.reshape(scores, {tokens, Dim(groups), Dim(size)});
    Value* sums = b.reduce(ScalarOp::kAdd, best_of(b, grouped, std::min(of_group, size)).values, {2});
    Value* places = best_of(b, sums, active).places;
    Value* seen = put_at(b, b.full({tokens, Dim(groups)}, b.integer(DType::kI32, 0)), places,
                         b.full({tokens, Dim(active)}, b.integer(DType::kI32, 1)));
    Value* is = b.unsqueeze(b.compare(ScalarOp::kGt, seen, b.integer(DType::kI32, 0)), {2});
    scores = b.reshape(b.select(is, grouped, hidden), {tokens, experts_dim});
  }
  Value* places = best_of(b, scores, chosen).places;
  Value* logs = b.unary(ScalarOp::kLog, b.max(open, b.like(open, 1e-20)));
  Value* picked = b.emit(OpKind::kGatherElements, {logs, places}, {{"axis", int64_t{1}}});
  Value* routed = put_at(b, b.full({tokens, experts_dim}, b.scalar(DType::kF32, sentinel)), places, picked);
  op.output(0, b.cast(routed, logits->type.dtype));
}

constexpr OpRow kRows[] = {
    {kMicrosoft, "MoEGroupRouter", 1, kLatest, import_group_router},
    {kMicrosoft, "MoE", 1, kLatest, import_moe},
    {kMicrosoft, "QMoE", 1, kLatest, import_quantised_moe},
};

}  // namespace

std::span<const OpRow> experts_rows() {
  return kRows;
}

}  // namespace tern::onnx
