// A loop that takes a slice of a sequence in each iteration and multiplies it by constant weights, as layers
// of recurrent cells do, slices the product of the whole sequence instead, which is made in front of it: one
// large product for many small ones. Where the slice is multiplied together with what the loop carries (one
// matrix behind a concatenation of both), the product is split for that. Only of sequences that are as long
// as the loop has iterations.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool hoist_products(Graph& graph);

}  // namespace tern::graph
