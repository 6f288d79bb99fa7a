// Replaces a loop with a small constant trip count and an always-true condition by copies of its body, when
// trip count times body size is small: recurrent cells on one step, mostly.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool unroll_loops(Graph& graph);

}  // namespace tern::graph
