// A list (sequence) that is an output becomes its elements, if the graph tells how many it has: 'p' of three
// is 'p.0', 'p.1' and 'p.2', outputs of their own types in its place. A list without elements, or one whose
// number is known at run time only, stays, and lowering refuses it. Example:
// tests/filetests/graph/list_outputs.tg.
#pragma once

#include <string>
#include <vector>

#include "compiler/graph/ir.h"

namespace tern::graph {

bool list_outputs(Graph& graph);
// The same, and a sentence for each list.
std::vector<std::string> name_listed_outputs(Graph& graph);

}  // namespace tern::graph
