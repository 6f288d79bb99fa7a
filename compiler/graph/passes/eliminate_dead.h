// Removes nodes whose results nobody uses and that have no effect, what loops carry or stack for nobody, and
// symbols that no type or attribute mentions.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool eliminate_dead(Graph& graph);

}  // namespace tern::graph
