// Checks whose conditions follow from sizes alone hold an expression instead of an operand: the runtime
// computes it itself, without a dispatch and without waiting for one. Example:
// tests/filetests/graph/checks_of_sizes.tg.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool checks_of_sizes(Graph& graph);

}  // namespace tern::graph
