// What nothing but slices of one box reads is computed for that box alone: slice(f(x)) becomes f(slice(x)),
// through elementwise ops, views, reductions along other axes, and rows, columns and batches of products. A
// classifier that reads one token of a transformer's last layer computes the others' keys and values there
// and nothing more of them.
//
// Only where every reader, however far behind, wants the same box: then nothing is computed twice, and
// nothing that is left reads what is gone. Results are equal but for the order of a product's sums.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool raise_slices(Graph& graph);

}  // namespace tern::graph
