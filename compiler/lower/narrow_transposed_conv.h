// A transposed convolution of few output channels as an ordinary one. Outputs at one distance from a multiple
// of the step read the same inputs whatever the distance, so each distance and output channel is a channel of
// a convolution of steps 1 over the inputs; side by side they are the outputs:
//
//   steps [s, ...], weights [O, C, k, ...]  ->  conv with weights [s*...*O, C, ceil(k / s), ...], their
//   places brought in order, cut to the result's extents
//
// Vectors run along channels: one channel of sound takes as long as sixteen. Phase by phase
// (transposed_conv.h) fewer taps are multiplied, which is faster where a phase has channels enough. Not those
// that take planes as they lie (plane_conv.h).
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower {

void narrow_transposed_convs(graph::Graph& graph, const LoweringContext& context);

}  // namespace tern::lower
