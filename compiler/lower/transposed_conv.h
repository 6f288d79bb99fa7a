// A transposed convolution (lhs_dilation s) as s interleaved ordinary ones: output positions of one phase
// (position mod s) read the same window taps of the undilated input. Each phase is a dense convolution with a
// part of the taps, written with stride s into the output.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower {

// Adds one dispatch a phase. False, and nothing added, when the region is no such convolution: constant
// weights, unit strides and dilations, an epilogue of plain elementwise nodes, every phase with a tap.
bool lower_transposed_conv(const Region& region, LoweringContext& context);

}  // namespace tern::lower
