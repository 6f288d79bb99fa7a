#include "compiler/lower/sink_reshapes.h"

#include <algorithm>
#include <unordered_set>

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

class Sinker {
 public:
  explicit Sinker(graph::Graph& graph) : graph_(graph) {}

  void run() {
    sink(graph_.body);
    if (replaced_.empty()) return;
    graph::replace_uses(graph_, replaced_);
    remove_dead();
  }

 private:
  Value* now(Value* v) const {
    auto it = replaced_.find(v);
    return it == replaced_.end() ? v : it->second;
  }

  // A product, or elementwise work on one that has its shape already.
  bool is_product(const Value* v, int depth = 0) const {
    if (!v->def || depth > 16) return false;
    if (v->def->kind == OpKind::kDot) return true;
    if (v->def->kind != OpKind::kMap && v->def->kind != OpKind::kCast) return false;
    return std::any_of(v->def->operands.begin(), v->def->operands.end(), [&](const Value* o) {
      return o->type.shape == v->type.shape && is_product(o, depth + 1);
    });
  }

  // The product (or elementwise work on one) that `v` is a reshape of; null when it is none.
  Value* product_below(Value* v) const {
    v = now(v);
    if (!v->def || v->def->kind != OpKind::kReshape) return nullptr;
    Value* base = v->def->operand();
    if (!(sunk_.contains(base) || is_product(base)) || base->type.rank() < 2 || v->type.rank() < 1)
      return nullptr;
    return base->type.shape.back() == v->type.shape.back() ? base : nullptr;
  }

  // Computed from one element of a reduction for all: a mean, a maximum.
  static bool is_fold(const Value* v, int depth = 0) {
    if (!v->def || depth > 16) return false;
    if (v->def->kind == OpKind::kReduce) return true;
    if (v->def->kind != OpKind::kMap && v->def->kind != OpKind::kCast && v->def->kind != OpKind::kReshape)
      return false;
    return std::any_of(v->def->operands.begin(), v->def->operands.end(),
                       [&](const Value* o) { return is_fold(o, depth + 1); });
  }

  // Whether only the last dimension of a broadcast's operand is not 1. The mean of a single row looks the
  // same, but what is computed with it stays beside its reduction.
  static bool is_row_broadcast(const Value* v) {
    if (!v->def || v->def->kind != OpKind::kBroadcast || is_fold(v->def->operand())) return false;
    const Shape& from = v->def->operand()->type.shape;
    return std::all_of(from.begin(), from.end() - (from.empty() ? 0 : 1),
                       [](const Dim& d) { return d.is_const(1); });
  }

  // `v` in the product's shape, or null when that would cost a copy.
  Value* reshaped(graph::Builder& b, Value* v, const Shape& shape, bool try_only) const {
    v = now(v);
    if (Value* base = product_below(v); base && base->type.shape == shape) return base;
    if (v->def && v->def->kind == OpKind::kBroadcast) {
      if (!is_row_broadcast(v)) return nullptr;
      if (try_only) return v;
      Value* row = v->def->operand();
      const Shape flat = row->type.shape.empty() ? Shape{} : Shape{row->type.shape.back()};
      return b.broadcast(b.reshape(row, flat), shape);
    }
    return try_only ? v : b.reshape(v, shape);
  }

  void sink(graph::Block& block) {
    for (size_t i = 0; i < block.nodes.size(); ++i) {
      Node& node = *block.nodes[i];
      for (const auto& region : node.regions) sink(*region);
      if (node.kind != OpKind::kMap && node.kind != OpKind::kCast) continue;
      Value* base = nullptr;
      for (Value* v : node.operands) {
        if (!base) base = product_below(v);
      }
      if (!base) continue;
      const Shape& shape = base->type.shape;
      graph::Builder b(graph_, block, i);
      b.set_source(node.source);
      const bool all = std::all_of(node.operands.begin(), node.operands.end(),
                                   [&](Value* v) { return reshaped(b, v, shape, true) != nullptr; });
      if (!all) continue;
      std::vector<Value*> operands;
      for (Value* v : node.operands) operands.push_back(reshaped(b, v, shape, false));
      Value* result = b.node(node.kind, std::move(operands), node.attrs)->result();
      result->name = node.result()->name;
      sunk_.insert(result);
      replaced_[node.result()] = b.reshape(result, node.result()->type.shape);
      i = b.position();
    }
  }

  // Pure nodes without users, from the last to the first.
  void remove_dead() {
    std::unordered_map<const Value*, int> uses;
    for (const auto& [value, list] : graph::compute_uses(graph_)) uses[value] = static_cast<int>(list.size());
    auto& nodes = graph_.body.nodes;
    for (size_t i = nodes.size(); i-- > 0;) {
      const Node& n = *nodes[i];
      const bool dead = graph::info(n.kind).pure && n.regions.empty() &&
                        std::all_of(n.results.begin(), n.results.end(),
                                    [&](const Value* v) { return uses[v] == 0 && !is_symbol_source(v); });
      if (!dead) continue;
      for (const Value* v : n.operands) --uses[v];
      nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  bool is_symbol_source(const Value* v) const {
    return std::any_of(graph_.symbols.begin(), graph_.symbols.end(),
                       [v](const graph::SymbolInfo& s) { return s.value == v; });
  }

  graph::Graph& graph_;
  std::unordered_map<const Value*, Value*> replaced_;
  std::unordered_set<const Value*> sunk_;
};

}  // namespace

void sink_reshapes(graph::Graph& graph) {
  Sinker(graph).run();
}

}  // namespace tern::lower
