// Replaces an `if` with a constant condition by its taken region.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool inline_if(Graph& graph);

}  // namespace tern::graph
