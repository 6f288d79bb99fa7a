// Decides min and max in dimensions by the bounds that symbols have: with `sequence <= 512`, min(512,sequence) is
// sequence. Bounds of inputs are enforced when the function is called, so what follows from them holds.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool apply_bounds(Graph& graph);

}  // namespace tern::graph
