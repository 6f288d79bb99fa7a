// Folds per-channel multiplications and additions behind a convolution or dot with constant weights into the
// weights and one bias: conv(x, w) * s + b becomes conv(x, w * s) + b (inference batch norm, and layer
// scale). Scales are multiplied in double and rounded once, so results differ from the unfolded ones by
// rounding.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool fold_scale(Graph& graph);

}  // namespace tern::graph
