// Algebra: identities (x*1, reshape to the same shape, …), chains (transpose of transpose, cast of cast,
// slice of concat), constant indices to slices, padding into convolutions, batch dimensions of a shared
// operand into rows. Rules stand in simplify_*.cc by the op that they start from. Results are equal bit for
// bit, except: x+0 may turn -0 to x, reductions may be merged (order), products of one row or column are sums
// in an order of their own, and pow with exponents 0.5, 2 and 3 becomes sqrt and products.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool simplify(Graph& graph);

}  // namespace tern::graph
