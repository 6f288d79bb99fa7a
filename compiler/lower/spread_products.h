// Transposed convolutions whose operand has channels outside (plane_conv.h), as products where that is
// counted to be faster: few output channels of long windows (decoders of sound: 512 channels to 1 by 20 taps,
// 10 apart).
//
//   [O, C, k...] by steps [s...]  ->  a product of [taps * O, C] and [C, inputs], whose rows are what each
//   tap adds to the outputs; rows of taps a step apart are added up, one input further each, and places are
//   brought in order
//
// A register tile of the product loads a weight for two vectors of inputs, which a tile of planes with the
// phases of a line side by side has no registers for, and nothing is copied.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower {

void spread_products(graph::Graph& graph, const LoweringContext& context);

}  // namespace tern::lower
