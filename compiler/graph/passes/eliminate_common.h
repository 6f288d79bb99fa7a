// Common subexpressions: of two pure nodes with the same op, operands and attributes, the later one becomes
// the earlier. Constants with the same bytes become one.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool eliminate_common(Graph& graph);

}  // namespace tern::graph
