// Moves pure nodes of a loop's body that use nothing of the loop in front of it, so that they run once. Nodes that can
// fail (indices out of range) stay, and what stands behind a check: the loop might not run at all. Constants stay, too: they cost nothing where they are.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool hoist_invariants(Graph& graph);

}  // namespace tern::graph
