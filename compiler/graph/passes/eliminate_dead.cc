#include "compiler/graph/passes/eliminate_dead.h"

#include <algorithm>
#include <unordered_set>

#include "compiler/graph/passes/constants.h"

namespace tern::graph {
namespace {

bool has_effect(const Block& block) {
  return std::any_of(block.nodes.begin(), block.nodes.end(), [](const auto& n) {
    return n->kind == OpKind::kCheck ||
           std::any_of(n->regions.begin(), n->regions.end(), [](const auto& r) { return has_effect(*r); });
  });
}

class Eliminator {
 public:
  explicit Eliminator(Graph& graph) : graph_(graph) {}

  bool run() {
    mark_results(graph_.body);
    // Backwards over the nodes until no symbol brings in more: a symbol's value is defined before its uses,
    // but maybe in another block.
    size_t before;
    do {
      before = live_.size() + symbols_.size();
      mark_block(graph_.body);
      mark_symbols();
    } while (live_.size() + symbols_.size() != before);
    sweep(graph_.body);
    const size_t symbols = graph_.symbols.size();
    std::erase_if(graph_.symbols, [&](const SymbolInfo& s) {
      return s.origin != SymbolInfo::Origin::kInput && !symbols_.count(s.name);
    });
    return changed_ || symbols != graph_.symbols.size();
  }

 private:
  void mark(const Value* v) {
    if (!live_.insert(v).second) return;
    use_symbols(v->type);
  }
  void use_symbols(const Type& type) {
    for (const Dim& d : type.shape) use_symbols(d);
    if (type.element) use_symbols(*type.element);
  }
  void use_symbols(const Dim& d) {
    if (d.is_const()) return;
    std::vector<std::string> names;
    d.collect_symbols(names);
    symbols_.insert(names.begin(), names.end());
  }
  void mark_results(const Block& b) {
    for (const Value* v : b.results) mark(v);
    for (const Value* v : b.args) use_symbols(v->type);
  }
  bool is_live(const Node& n) const {
    if (n.kind == OpKind::kCheck) {
      const auto known = splat_of(n.operand());
      return !known || known->i == 0;
    }
    if (std::any_of(n.regions.begin(), n.regions.end(), [](const auto& r) { return has_effect(*r); }))
      return true;
    return std::any_of(n.results.begin(), n.results.end(),
                       [&](const Value* v) { return live_.count(v) != 0; });
  }
  void mark_block(const Block& b) {
    for (auto it = b.nodes.rbegin(); it != b.nodes.rend(); ++it) {
      const Node& n = **it;
      if (!is_live(n)) continue;
      live_nodes_.insert(&n);
      for (const Value* v : n.operands) mark(v);
      for (const Value* v : n.results) use_symbols(v->type);
      for (const auto& [key, attr] : n.attrs)
        if (const auto* dims = std::get_if<std::vector<Dim>>(&attr))
          for (const Dim& d : *dims) use_symbols(d);
      for (const auto& region : n.regions) {
        mark_results(*region);
        mark_block(*region);
      }
    }
  }
  void mark_symbols() {
    for (const SymbolInfo& s : graph_.symbols) {
      if (s.value && symbols_.count(s.name)) mark(s.value);
      if (s.upper && symbols_.count(s.name)) use_symbols(*s.upper);
    }
  }
  void sweep(Block& b) {
    std::erase_if(b.nodes, [&](const std::unique_ptr<Node>& n) {
      if (live_nodes_.count(n.get())) {
        for (const auto& region : n->regions) sweep(*region);
        return false;
      }
      for (Value* v : n->results) v->def = nullptr;
      changed_ = true;
      return true;
    });
  }

  Graph& graph_;
  std::unordered_set<const Value*> live_;
  std::unordered_set<const Node*> live_nodes_;
  std::unordered_set<std::string> symbols_;
  bool changed_ = false;
};

}  // namespace

bool eliminate_dead(Graph& graph) {
  return Eliminator(graph).run();
}

}  // namespace tern::graph
