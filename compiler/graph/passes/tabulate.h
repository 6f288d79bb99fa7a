// Elementwise work that begins at one 8-bit value and ends with another: a quantised activation, dequantise to
// quantise, is a function of 256 arguments. It becomes one `lookup`, whose table the evaluator computes here,
// so results stay what they were, bit for bit.
//
// Only where that is faster on every level: the chain must cost some two dozen operations, so it has an
// exponential or the like (hard-swish is slower by tables on AVX2). A chain grows over 8-bit values on
// its way that nobody else reads (x * sigmoid(x) with a quantisation behind each operation is one table).
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool tabulate(Graph& graph);

}  // namespace tern::graph
