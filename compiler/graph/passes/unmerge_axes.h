// Group norms: exporters write [N, C, H, W] as [N, G, C/G * H * W], normalise along the last axis, and write
// it as [N, C, H, W] again. No strides say that for pictures whose channels lie last, so each of the two
// reshapes is a copy there. Where a reshape splits an axis and merges a part of it with its neighbours, and a
// reduction follows, the axes stay apart: the reshape splits only ([N, G, C/G, H, W]), the reduction is over
// all that were merged, elementwise work on the result takes these axes too, also behind the reshape that
// leads back, and what leaves it is merged only. Nothing is rounded in another way, but reductions may add up
// in another order.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool unmerge_axes(Graph& graph);

}  // namespace tern::graph
