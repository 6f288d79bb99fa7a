#include "compiler/lower/conv_rewrite.h"

#include <utility>

#include "compiler/graph/passes/eliminate_dead.h"
#include "compiler/graph/passes/fold_constants.h"
#include "compiler/graph/passes/simplify.h"

namespace tern::lower {

void rewrite_convolutions(graph::Graph& graph, graph::Rewriter::Rule rule) {
  if (!graph::Rewriter(graph, std::move(rule)).run()) return;
  graph::fold_constants(graph);
  graph::simplify(graph);
  graph::eliminate_dead(graph);
}

}  // namespace tern::lower
