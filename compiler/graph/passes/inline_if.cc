#include "compiler/graph/passes/inline_if.h"

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {

bool inline_if(Graph& graph) {
  Rewriter* current = nullptr;
  Rewriter rewriter(graph, [&](Node& n, Builder& b) -> std::optional<std::vector<Value*>> {
    if (n.kind != OpKind::kIf) return std::nullopt;
    const auto condition = splat_of(n.operand());
    if (!condition) return std::nullopt;
    Block& taken = *n.regions[condition->i ? 0 : 1];
    // Sizes that depended on the branch are the branch's.
    for (const bool check : {true, false}) {
      for (size_t i = 0; i < n.results.size(); ++i) {
        const Shape &outer = n.results[i]->type.shape, &inner = taken.results[i]->type.shape;
        for (size_t axis = 0; axis < outer.size(); ++axis) {
          if (outer[axis] == inner[axis]) continue;
          if (check && outer[axis].op() != Dim::Op::kSymbol) return std::nullopt;
          if (!check) current->substitute(outer[axis].symbol_name(), inner[axis]);
        }
      }
    }
    for (auto& node : taken.nodes) b.append(std::move(node));
    taken.nodes.clear();
    return taken.results;
  });
  current = &rewriter;
  return rewriter.run();
}

}  // namespace tern::graph
