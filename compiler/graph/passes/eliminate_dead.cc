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
    if (n.kind == OpKind::kCheck && n.operands.empty())
      return !n.dims("holds")[0].is_const() || n.dims("holds")[0].is_const(0);
    if (n.kind == OpKind::kCheck) {
      const auto known = splat_of(n.operand());
      return !known || known->i == 0;
    }
    if (std::any_of(n.regions.begin(), n.regions.end(), [](const auto& r) { return has_effect(*r); }))
      return true;
    // Of a loop or an if, somebody may read no more than a result's size.
    for (size_t i = 0; i < n.results.size(); ++i) {
      if (n.kind == OpKind::kLoop ? loop_needs(n, i) : live_.count(n.results[i]) != 0) return true;
      if (n.kind == OpKind::kIf && binds_used(n.results[i]->type)) return true;
    }
    return false;
  }
  // A size that control flow binds when it has made the value.
  bool binds_used(const Type& type) const {
    return std::any_of(type.shape.begin(), type.shape.end(), [&](const Dim& d) {
      if (d.op() != Dim::Op::kSymbol || !symbols_.count(d.symbol_name())) return false;
      const SymbolInfo* s = graph_.find_symbol(d.symbol_name());
      return s && s->origin == SymbolInfo::Origin::kControl;
    });
  }
  void mark_block(const Block& b) {
    for (auto it = b.nodes.rbegin(); it != b.nodes.rend(); ++it) {
      const Node& n = **it;
      if (!is_live(n)) continue;
      live_nodes_.insert(&n);
      if (n.kind == OpKind::kLoop) {
        mark_loop(n);
        continue;
      }
      if (n.kind == OpKind::kIf) {
        mark_if(n);
        continue;
      }
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
  // What a loop carries is needed if somebody reads it behind the loop or inside; what it stacks, behind.
  void mark_loop(const Node& n) {
    const Block& body = *n.regions[0];
    for (size_t i = 0; i < 2; ++i) mark(n.operands[i]), use_symbols(body.args[i]->type);
    mark(body.results[0]);
    const size_t carried = n.operands.size() - 2;
    for (size_t i = 0; i < n.results.size(); ++i) {
      if (!loop_needs(n, i)) continue;
      use_symbols(n.results[i]->type);
      mark(body.results[i + 1]);
      if (i >= carried) continue;
      mark(n.operands[i + 2]);
      mark(body.args[i + 2]);
    }
    mark_block(body);
  }
  void mark_if(const Node& n) {
    mark(n.operand());
    for (size_t i = 0; i < n.results.size(); ++i) {
      if (!if_needs(n, i)) continue;
      use_symbols(n.results[i]->type);
      for (const auto& region : n.regions) mark(region->results[i]);
    }
    for (const auto& region : n.regions) mark_block(*region);
  }
  bool if_needs(const Node& n, size_t result) const {
    return live_.count(n.results[result]) != 0 || binds_used(n.results[result]->type);
  }
  void trim_if(Node& n) {
    for (size_t i = n.results.size(); i-- > 0;) {
      if (if_needs(n, i)) continue;
      const auto at = static_cast<std::ptrdiff_t>(i);
      n.results[i]->def = nullptr;
      n.results.erase(n.results.begin() + at);
      for (auto& region : n.regions) region->results.erase(region->results.begin() + at);
      changed_ = true;
    }
    for (size_t i = 0; i < n.results.size(); ++i) n.results[i]->index = static_cast<int>(i);
  }
  bool loop_needs(const Node& n, size_t result) const {
    const Value* v = n.results[result];
    if (live_.count(v)) return true;
    const size_t carried = n.operands.size() - 2;
    // A size that changes, or the number of iterations, which others may mention.
    if (result >= carried) return binds_used(v->type);
    const Value* arg = n.regions[0]->args[result + 2];
    return live_.count(arg) || binds_used(arg->type);
  }
  void trim_loop(Node& n) {
    Block& body = *n.regions[0];
    const size_t carried = n.operands.size() - 2;
    int64_t scans = n.int_attr("scans");
    for (size_t i = n.results.size(); i-- > 0;) {
      if (loop_needs(n, i)) continue;
      const auto at = static_cast<std::ptrdiff_t>(i);
      n.results[i]->def = nullptr;
      n.results.erase(n.results.begin() + at);
      body.results.erase(body.results.begin() + at + 1);
      if (i < carried) {
        n.operands.erase(n.operands.begin() + at + 2);
        body.args.erase(body.args.begin() + at + 2);
      } else {
        --scans;
      }
      changed_ = true;
    }
    n.set("scans", scans);
    for (size_t i = 0; i < n.results.size(); ++i) n.results[i]->index = static_cast<int>(i);
    for (size_t i = 0; i < body.args.size(); ++i) body.args[i]->index = static_cast<int>(i);
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
        if (n->kind == OpKind::kLoop) trim_loop(*n);
        if (n->kind == OpKind::kIf) trim_if(*n);
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
