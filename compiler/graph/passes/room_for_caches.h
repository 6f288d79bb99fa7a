// Caches of keys and values that grow by concatenation (an output is an input with new rows behind it) become
// buffers with room to spare, which an application allocates once and may pass as past and present alike:
// input and output have `room` positions, and how many of them count is an input of its own, an i64 scalar
// with the name of the dimension that they had. Before other passes; not one of the rounds, since it changes
// what the function takes. tests/e2e/caches.py shows it.
#pragma once

#include "compiler/graph/ir.h"
#include "compiler/support/result.h"

namespace tern::graph {

// `room`: name, bounds and usual value of the symbol that it is; a number where its bounds are one. Returns
// how many caches there are; none is an error.
Result<int> room_for_caches(Graph& graph, const SymbolInfo& room);

}  // namespace tern::graph
