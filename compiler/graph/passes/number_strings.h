// Strings become numbers where a graph only moves and compares them (labels of classifiers, categories of
// tables): each different string of the graph's constants is its number in the order in which they come,
// everywhere alike, and what was a tensor of strings is one of i64. Inputs and outputs too: the application
// looks names up in a table, which sentences state, one for each such input and output. A string that the
// graph does not have is a number of its own there.
//
// A graph that does something else with strings stays as it is, and lowering refuses it. Example:
// tests/filetests/graph/number_strings.tg.
#pragma once

#include <string>
#include <vector>

#include "compiler/graph/ir.h"

namespace tern::graph {

bool number_strings(Graph& graph);
// The same, and the sentences.
std::vector<std::string> name_strings(Graph& graph);

}  // namespace tern::graph
