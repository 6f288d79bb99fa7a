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

  // What the value is a reshape of, once or several times.
  Value* behind_reshapes(Value* v) const {
    for (v = now(v); v->def && v->def->kind == OpKind::kReshape;) v = now(v->def->operand());
    return v;
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
    if (Value* behind = behind_reshapes(v); is_scores(behind)) base = behind;
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

  // Computed from constants alone, as weights in integers are.
  bool is_constant(const Value* v) const {
    if (!v->def) return false;
    if (const auto known = constant_.find(v); known != constant_.end()) return known->second;
    const auto& from = v->def->operands;
    const bool all = v->def->regions.empty() && graph::info(v->def->kind).pure &&
                     std::all_of(from.begin(), from.end(), [&](const Value* o) { return is_constant(o); });
    return constant_[v] = all;
  }

  // A product of two computed matrices, or elementwise work on one: the scores of attention, whose softmax
  // takes their shape.
  bool is_scores(const Value* v, int depth = 0) const {
    if (!v->def || depth > 16) return false;
    if (v->def->kind == OpKind::kDot) return !is_constant(v->def->operand(1));
    if (v->def->kind != OpKind::kMap && v->def->kind != OpKind::kCast) return false;
    return std::any_of(v->def->operands.begin(), v->def->operands.end(), [&](const Value* o) {
      return o->type.shape == v->type.shape && is_scores(o, depth + 1);
    });
  }

  // `v` repeats the fold of each of its rows, which was sunk into the product's shape: the same there.
  Value* fold_in_rows(graph::Builder& b, Value* v, const Shape& shape, bool try_only) const {
    Value* fold = behind_reshapes(v->def->operand());
    const Shape rows(shape.begin(), shape.end() - 1);
    if (!folds_.contains(fold) || fold->type.shape != rows || v->type.shape.back() != shape.back() ||
        !v->def->operand()->type.shape.back().is_const(1) || product(v->type.shape) != product(shape))
      return nullptr;
    if (try_only) return v;
    Shape column = rows;
    column.emplace_back(1);
    return b.broadcast(b.reshape(fold, column), shape);
  }

  // `v` repeats something that has only the last dimensions, as many of them as both shapes have in common: a
  // mask of positions. Of scores only, whose readers want it in registers anyway.
  Value* mask_in_rows(graph::Builder& b, Value* v, const Shape& shape, bool try_only) const {
    const Value* from = v->def->operand();
    const Shape &have = from->type.shape, &to = v->type.shape;
    size_t common = 0;
    while (common < std::min(to.size(), shape.size()) &&
           to[to.size() - 1 - common] == shape[shape.size() - 1 - common])
      ++common;
    size_t kept = have.size();
    while (kept > 0 && have[have.size() - kept].is_const(1)) --kept;
    if (kept > common || is_fold(from)) return nullptr;
    if (try_only) return v;
    const Shape last(have.end() - static_cast<std::ptrdiff_t>(kept), have.end());
    return b.broadcast(b.reshape(v->def->operand(), last), shape);
  }

  static bool same_but_ones(const Shape& a, const Shape& b) {
    const auto real = [](Shape s) {
      std::erase_if(s, [](const Dim& d) { return d.is_const(1); });
      return s;
    };
    return real(a) == real(b);
  }

  // `v` in the product's shape, or null when that would cost a copy.
  Value* reshaped(graph::Builder& b, Value* v, const Shape& shape, bool try_only, bool scores) const {
    v = now(v);
    if (Value* base = product_below(v); base && base->type.shape == shape) return base;
    if (v->def && v->def->kind == OpKind::kBroadcast) {
      if (Value* same = fold_in_rows(b, v, shape, try_only)) return same;
      if (scores) {
        if (Value* same = mask_in_rows(b, v, shape, try_only)) return same;
      }
      if (!is_row_broadcast(v)) {
        if (is_fold(v->def->operand()) || !same_but_ones(v->type.shape, shape)) return nullptr;
        return try_only ? v : b.reshape(v, shape);
      }
      if (try_only) return v;
      Value* row = v->def->operand();
      const Shape flat = row->type.shape.empty() ? Shape{} : Shape{row->type.shape.back()};
      return b.broadcast(b.reshape(row, flat), shape);
    }
    return try_only ? v : b.reshape(v, shape);
  }

  // A reduction of each row of reshaped scores is one of the scores' own rows.
  void sink_fold(graph::Block& block, size_t& i) {
    Node& node = *block.nodes[i];
    Value* base = product_below(node.operand());
    const std::vector<int64_t> axes = node.ints("axes");
    if (!base || !is_scores(base) || axes.size() != 1 || axes[0] + 1 != node.operand()->type.rank()) return;
    graph::Builder b(graph_, block, i);
    b.set_source(node.source);
    auto attrs = node.attrs;
    for (auto& [name, value] : attrs) {
      if (name == "axes") value = std::vector<int64_t>{base->type.rank() - 1};
    }
    Value* fold = b.node(OpKind::kReduce, {base}, std::move(attrs))->result();
    folds_.insert(fold);
    replaced_[node.result()] = b.reshape(fold, node.result()->type.shape);
    i = b.position();
  }

  // An operand that is a reshape of a sunk value to that value's own shape is that value.
  void cancel(Node& node) {
    for (Value*& v : node.operands) {
      Value* base = behind_reshapes(v);
      if (base != v && sunk_.contains(base) && base->type == now(v)->type) v = base;
    }
  }

  // A reshape back to the shape of what was sunk is that itself.
  void undo(const Node& reshape) {
    const Value* v = now(reshape.operand());
    if (v == reshape.operand() || !v->def || v->def->kind != OpKind::kReshape) return;
    Value* base = v->def->operand();
    if (base->type.shape == reshape.result()->type.shape) replaced_[reshape.result()] = base;
  }

  void sink(graph::Block& block) {
    for (size_t i = 0; i < block.nodes.size(); ++i) {
      Node& node = *block.nodes[i];
      for (const auto& region : node.regions) sink(*region);
      if (node.kind == OpKind::kReduce) sink_fold(block, i);
      if (node.kind == OpKind::kReshape || node.kind == OpKind::kDot) cancel(node);
      if (node.kind == OpKind::kReshape) undo(node);
      if (node.kind != OpKind::kMap && node.kind != OpKind::kCast) continue;
      Value* base = nullptr;
      for (Value* v : node.operands) {
        if (!base) base = product_below(v);
      }
      if (!base) continue;
      const Shape& shape = base->type.shape;
      const bool scores = is_scores(base);
      graph::Builder b(graph_, block, i);
      b.set_source(node.source);
      const bool all = std::all_of(node.operands.begin(), node.operands.end(),
                                   [&](Value* v) { return reshaped(b, v, shape, true, scores) != nullptr; });
      if (!all) continue;
      std::vector<Value*> operands;
      for (Value* v : node.operands) operands.push_back(reshaped(b, v, shape, false, scores));
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
  std::unordered_set<const Value*> sunk_, folds_;
  mutable std::unordered_map<const Value*, bool> constant_;
};

}  // namespace

void sink_reshapes(graph::Graph& graph) {
  Sinker(graph).run();
}

}  // namespace tern::lower
