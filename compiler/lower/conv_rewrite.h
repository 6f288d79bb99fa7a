// The frame of steps that replace convolutions by other graph nodes before layouts are known.
#pragma once

#include "compiler/graph/passes/rewrite.h"

namespace tern::lower {

// Applies the rule to every node. Where it replaced any, constants that it made of weights are evaluated,
// views meet what was there, and what is left over goes.
void rewrite_convolutions(graph::Graph& graph, graph::Rewriter::Rule rule);

}  // namespace tern::lower
