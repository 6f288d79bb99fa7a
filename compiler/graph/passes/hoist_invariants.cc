#include "compiler/graph/passes/hoist_invariants.h"

#include <algorithm>
#include <unordered_set>

namespace tern::graph {
namespace {

bool may_fail(OpKind kind) {
  switch (kind) {
    case OpKind::kMap:
    case OpKind::kCast:
    case OpKind::kBitcast:
    case OpKind::kLookup:
    case OpKind::kIota:
    case OpKind::kFromDims:
    case OpKind::kReshape:
    case OpKind::kBroadcast:
    case OpKind::kTranspose:
    case OpKind::kSlice:
    case OpKind::kPad:
    case OpKind::kConcat:
    case OpKind::kReduce:
    case OpKind::kScan:
    case OpKind::kDot:
    case OpKind::kConv:
    case OpKind::kReduceWindow:
      return false;
    default:
      return true;
  }
}

class Hoister {
 public:
  explicit Hoister(Graph& graph) : graph_(graph) {}

  bool run() {
    block(graph_.body);
    return changed_;
  }

 private:
  // Sizes that only inputs decide are known in front of the loop.
  bool is_outer(const Dim& d) {
    std::vector<std::string> symbols;
    d.collect_symbols(symbols);
    return std::all_of(symbols.begin(), symbols.end(), [&](const std::string& name) {
      const SymbolInfo* s = graph_.find_symbol(name);
      return s && s->origin == SymbolInfo::Origin::kInput;
    });
  }
  bool sizes_are_outer(const Node& n) {
    const auto outer = [&](const Dim& d) { return is_outer(d); };
    for (const Value* v : n.results)
      if (!std::all_of(v->type.shape.begin(), v->type.shape.end(), outer)) return false;
    for (const auto& [key, attr] : n.attrs)
      if (const auto* dims = std::get_if<std::vector<Dim>>(&attr))
        if (!std::all_of(dims->begin(), dims->end(), outer)) return false;
    return true;
  }

  void block(Block& b) {
    std::vector<std::unique_ptr<Node>> out;
    for (auto& n : b.nodes) {
      for (const auto& region : n->regions) block(*region);
      if (n->kind == OpKind::kLoop) hoist(*n->regions[0], out);
      out.push_back(std::move(n));
    }
    b.nodes = std::move(out);
  }

  void hoist(Block& body, std::vector<std::unique_ptr<Node>>& before) {
    std::unordered_set<const Value*> inside(body.args.begin(), body.args.end());
    std::unordered_set<const Node*> wanted;
    const auto is_constant = [](const Value* v) { return v->def && v->def->kind == OpKind::kConstant; };
    for (const auto& n : body.nodes) {
      if (n->kind == OpKind::kCheck) break;  // what follows may rely on it
      const bool free = std::all_of(n->operands.begin(), n->operands.end(),
                                    [&](const Value* v) { return !inside.count(v) || is_constant(v); });
      if (n->kind != OpKind::kConstant && free && !may_fail(n->kind) && sizes_are_outer(*n)) {
        wanted.insert(n.get());
        for (const Value* v : n->operands)
          if (inside.count(v)) wanted.insert(v->def);  // its constants come along
      } else {
        inside.insert(n->results.begin(), n->results.end());
      }
    }
    if (wanted.empty()) return;
    changed_ = true;
    std::vector<std::unique_ptr<Node>> kept;
    for (auto& n : body.nodes) (wanted.count(n.get()) ? before : kept).push_back(std::move(n));
    body.nodes = std::move(kept);
  }

  Graph& graph_;
  bool changed_ = false;
};

}  // namespace

bool hoist_invariants(Graph& graph) {
  return Hoister(graph).run();
}

}  // namespace tern::graph
