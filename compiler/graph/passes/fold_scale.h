// Folds per-channel multiplications and additions behind a convolution or dot with constant weights into the
// weights and one bias: conv(x, w) * s + b becomes conv(x, w * s) + b (inference batch norm, and layer
// scale). Scales are multiplied in double and rounded once, so results differ from the unfolded ones by
// rounding.
//
// In a product of two computed values, a number that scales one of them goes behind it: dot(x * s, y) becomes dot(x, y) * s, through
// transposes and reshapes (attention whose queries and keys are scaled): the operand needs no memory of its own.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool fold_scale(Graph& graph);

}  // namespace tern::graph
