// Scatters on a GPU: by classes of targets (scatter.h) or by sorted targets (sorted_scatter.h), whichever is
// likely to be faster.
#pragma once

#include "compiler/lower/special_dispatch.h"

namespace tern::lower::gpu {

// The result has its place, and the data is there.
void lower_scatter(graph::Node& node, BlockLowering& block);

}  // namespace tern::lower::gpu
