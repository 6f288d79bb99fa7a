// Loops as while-loops of TensorFlow come: carried values that the body passes on as they are become outer
// values, counters become functions of the iteration's number, and a condition that then depends on nothing
// else becomes the number of iterations after which it ends the loop.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool settle_loops(Graph& graph);

}  // namespace tern::graph
