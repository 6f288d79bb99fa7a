#include "compiler/graph/passes/fold_scale.h"

#include <algorithm>
#include <cmath>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

// A conv or dot with constant floating-point weights, and its channel axes.
struct Root {
  Node* node = nullptr;
  int channel_axis = 0;  // of the result
  int weight_axis = 0;   // of operand 1
  int64_t channels = 0;
};

std::optional<Root> root_of(Value* v) {
  Node* n = v->def;
  if (!n || (n->kind != OpKind::kConv && n->kind != OpKind::kDot)) return std::nullopt;
  const TensorDataPtr w = constant_data(n->operand(1));
  if (!w || !is_float(w->dtype()) || n->find("accumulate")) return std::nullopt;
  Root r;
  r.node = n;
  r.channel_axis = n->kind == OpKind::kConv ? 1 : v->type.rank() - 1;
  r.weight_axis = n->kind == OpKind::kConv ? 0 : n->operand(1)->type.rank() - 1;
  r.channels = w->shape()[static_cast<size_t>(r.weight_axis)];
  return r;
}

// c's value for each channel when it is constant and varies along the channel axis only.
std::optional<std::vector<double>> per_channel(const Value* c, const Root& root) {
  // Spread over a big shape as a broadcast of something small; elements repeat along the broadcast axes.
  const Value* small = c;
  if (const Node* n = def_of(c, OpKind::kBroadcast)) small = n->operand();
  const TensorDataPtr t = evaluate_constant(small, 1 << 22);
  if (!t) return std::nullopt;
  const size_t rank = c->type.shape.size(), shift = rank - t->shape().size();
  for (size_t i = 0; i < t->shape().size(); ++i)
    if (static_cast<int>(i + shift) != root.channel_axis && t->shape()[i] != 1) return std::nullopt;
  std::vector<double> out(static_cast<size_t>(root.channels));
  if (t->count() != 1 && t->count() != root.channels) return std::nullopt;
  for (int64_t i = 0; i < root.channels; ++i)
    out[static_cast<size_t>(i)] = t->float_at(t->count() == 1 ? 0 : i);
  return out;
}

// y = x * scale + shift, per channel.
struct Affine {
  Root root;
  std::vector<double> scale, shift;
  bool scaled = false;
  int shifts = 0;
};

class ScaleFolder {
 public:
  explicit ScaleFolder(Graph& graph) : uses_(compute_uses(graph)) { find_homes(graph.body); }

  std::optional<std::vector<Value*>> fold(Node& n, Builder& b) {
    if (n.kind == OpKind::kDot) return move_behind(n, b);
    // Only the last operation of a chain is rewritten: the whole chain goes at once.
    if (!is_affine_op(n) || continues(n)) return std::nullopt;
    std::optional<Affine> chain = trace(n.result());
    // A conv in front of a loop stays there.
    if (!chain || !in_one_block(n, *chain->root.node) || !(chain->scaled || chain->shifts > 1))
      return std::nullopt;
    Value* out = chain->root.node->result();
    if (chain->scaled) out = scaled_root(*chain, b);
    const bool has_shift =
        std::any_of(chain->shift.begin(), chain->shift.end(), [](double s) { return s != 0; });
    b.set_source(n.source);
    if (has_shift) out = b.add(out, bias(*chain, out, b));
    return replace_with(out);
  }

 private:
  // dot(x * s, y * t) as dot(x, y) * (s * t), when x and y are computed and nothing else reads what goes.
  std::optional<std::vector<Value*>> move_behind(Node& n, Builder& b) {
    if (!is_float(n.result()->type.dtype) || n.find("accumulate") || constant_data(n.operand(0)) ||
        constant_data(n.operand(1)))
      return std::nullopt;
    double scale = 1;
    bool moved = false;
    std::vector<Value*> operands;
    for (Value* v : n.operands) {
      operands.push_back(v);
      if (const auto inner = unscaled(v, scale, b)) {
        operands.back() = *inner;
        moved = true;
      }
    }
    if (!moved || !std::isfinite(scale)) return std::nullopt;
    b.set_source(n.source);
    Value* product = b.node(n.kind, operands, n.attrs)->result();
    Value* factor = b.scalar_constant(product->type.dtype, scale);
    return replace_with(b.mul(product, b.broadcast(factor, product->type.shape)));
  }

  // x where v is x * s behind transposes and reshapes, each read once; s goes into `scale`.
  std::optional<Value*> unscaled(Value* v, double& scale, Builder& b) const {
    std::vector<Node*> views;
    while (v->def && (v->def->kind == OpKind::kTranspose || v->def->kind == OpKind::kReshape) &&
           use_count(v) == 1) {
      views.push_back(v->def);
      v = v->def->operand();
    }
    if (!v->def || !is_affine_op(*v->def) || use_count(v) != 1) return std::nullopt;
    const std::optional<Step> step = trace_step(*v->def);
    if (!step || (step->op != ScalarOp::kMul && step->op != ScalarOp::kDiv)) return std::nullopt;
    const Node* spread = def_of(step->constant, OpKind::kBroadcast);
    constexpr int64_t kMost = 1 << 16;  // a broadcast of few elements is a constant by now
    const TensorDataPtr number = evaluate_constant(spread ? spread->operand() : step->constant, kMost);
    if (!number || number->count() < 1) return std::nullopt;
    for (int64_t i = 1; i < number->count(); ++i) {
      if (number->float_at(i) != number->float_at(0)) return std::nullopt;
    }
    scale = step->op == ScalarOp::kMul ? scale * number->float_at(0) : scale / number->float_at(0);
    Value* out = step->inner;
    for (auto view = views.rbegin(); view != views.rend(); ++view)
      out = b.node((*view)->kind, {out}, (*view)->attrs)->result();
    return out;
  }

  static bool is_affine_op(const Node& n) {
    if (n.kind != OpKind::kMap || !is_float(n.result()->type.dtype)) return false;
    const ScalarOp op = n.scalar_op();
    return op == ScalarOp::kAdd || op == ScalarOp::kSub || op == ScalarOp::kMul || op == ScalarOp::kDiv;
  }

  size_t use_count(const Value* v) const {
    const auto it = uses_.find(v);
    return it == uses_.end() ? 2 : it->second.size();  // a value made by this walk: unknown
  }

  // Whether n's only user would carry the chain on.
  bool continues(const Node& n) const {
    const auto it = uses_.find(n.result());
    if (it == uses_.end() || it->second.size() != 1 || !it->second[0].node) return false;
    const Node& user = *it->second[0].node;
    return is_affine_op(user) && trace_step(user).has_value();
  }

  struct Step {
    ScalarOp op;
    Value* inner;
    Value* constant;
    bool constant_first;
  };
  static bool is_constant_like(const Value* v) {
    const Node* n = def_of(v, OpKind::kBroadcast);
    const Value* small = n ? n->operand() : v;
    return evaluate_constant(small, 1 << 22) != nullptr;
  }
  static std::optional<Step> trace_step(const Node& n) {
    Value *x = n.operand(0), *y = n.operand(1);
    if (is_constant_like(y)) return Step{n.scalar_op(), x, y, false};
    if (is_constant_like(x) && n.scalar_op() != ScalarOp::kDiv) return Step{n.scalar_op(), y, x, true};
    return std::nullopt;
  }

  std::optional<Affine> trace(Value* v) const {
    std::vector<Step> steps;
    while (v->def && is_affine_op(*v->def)) {
      const std::optional<Step> step = trace_step(*v->def);
      if (!step) return std::nullopt;
      steps.push_back(*step);
      v = step->inner;
      if (use_count(v) != 1) return std::nullopt;
    }
    const std::optional<Root> root = root_of(v);
    if (!root || root->channels == 0) return std::nullopt;
    Affine a;
    a.root = *root;
    a.scale.assign(static_cast<size_t>(root->channels), 1);
    a.shift.assign(static_cast<size_t>(root->channels), 0);
    for (auto s = steps.rbegin(); s != steps.rend(); ++s)
      if (!apply(*s, a)) return std::nullopt;
    const auto finite = [](double v) { return std::isfinite(v); };
    if (!std::all_of(a.scale.begin(), a.scale.end(), finite) ||
        !std::all_of(a.shift.begin(), a.shift.end(), finite))
      return std::nullopt;
    return a;
  }

  static bool apply(const Step& step, Affine& a) {
    const auto c = per_channel(step.constant, a.root);
    if (!c) return false;
    const bool additive = step.op == ScalarOp::kAdd || step.op == ScalarOp::kSub;
    a.scaled |= !additive || (step.op == ScalarOp::kSub && step.constant_first);
    a.shifts += additive;
    for (size_t i = 0; i < c->size(); ++i) {
      const double k = (*c)[i];
      double &scale = a.scale[i], &shift = a.shift[i];
      switch (step.op) {
        case ScalarOp::kAdd:
          shift += k;
          break;
        case ScalarOp::kSub:
          if (step.constant_first) scale = -scale, shift = -shift;
          shift += step.constant_first ? k : -k;
          break;
        case ScalarOp::kMul:
          scale *= k, shift *= k;
          break;
        default:
          scale /= k, shift /= k;
          break;
      }
    }
    return true;
  }

  // The conv or dot with scaled weights.
  static Value* scaled_root(const Affine& a, Builder& b) {
    const TensorDataPtr w = constant_data(a.root.node->operand(1));
    auto scaled = TensorData::make(w->dtype(), w->shape());
    int64_t inner = 1;
    for (size_t i = static_cast<size_t>(a.root.weight_axis) + 1; i < w->shape().size(); ++i)
      inner *= w->shape()[i];
    if (w->dtype() == DType::kF32) {
      const float* from = w->as<float>();
      float* to = scaled->mutable_as<float>();
      for (int64_t i = 0; i < w->count(); ++i)
        to[i] = static_cast<float>(from[i] * a.scale[static_cast<size_t>(i / inner % a.root.channels)]);
    } else {
      for (int64_t i = 0; i < w->count(); ++i)
        scaled->set_float(i, w->float_at(i) * a.scale[static_cast<size_t>(i / inner % a.root.channels)]);
    }
    Value* weights = b.constant(std::move(scaled));
    weights->name = a.root.node->operand(1)->name;
    b.set_source(a.root.node->source);
    Value* out = b.node(a.root.node->kind, {a.root.node->operand(0), weights}, a.root.node->attrs)->result();
    out->name = a.root.node->result()->name;
    return out;
  }

  static Value* bias(const Affine& a, const Value* like, Builder& b) {
    std::vector<int64_t> shape(like->type.shape.size(), 1);
    shape[static_cast<size_t>(a.root.channel_axis)] = a.root.channels;
    auto data = TensorData::make(like->type.dtype, shape);
    for (int64_t i = 0; i < a.root.channels; ++i) data->set_float(i, a.shift[static_cast<size_t>(i)]);
    return b.constant(std::move(data));
  }

  void find_homes(const Block& b) {
    for (const auto& n : b.nodes) {
      home_[n.get()] = &b;
      for (const auto& region : n->regions) find_homes(*region);
    }
  }
  bool in_one_block(const Node& a, const Node& b) const {
    const auto x = home_.find(&a), y = home_.find(&b);
    return x != home_.end() && y != home_.end() && x->second == y->second;
  }

  UseMap uses_;
  std::unordered_map<const Node*, const Block*> home_;
};

}  // namespace

bool fold_scale(Graph& graph) {
  ScaleFolder folder(graph);
  return Rewriter(graph, [&](Node& n, Builder& b) { return folder.fold(n, b); }).run();
}

}  // namespace tern::graph
