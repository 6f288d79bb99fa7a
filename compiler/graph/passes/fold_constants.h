// Evaluates nodes whose operands are constants. Broadcasts and iotas of constants are looked through but not
// folded themselves, and no result larger than its inputs (or 64 KiB) is made, so that a scalar spread over a
// large shape stays small; filters of transposed convolutions may become floats of 8 times their size, since
// kernels want them as constants. Data-dependent sizes (nonzero of a constant) become numbers.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool fold_constants(Graph& graph);

}  // namespace tern::graph
