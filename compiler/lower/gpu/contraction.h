// Contractions on a GPU: dot and conv regions to dispatches.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower::gpu {

// False, with nothing added, when the region is none it knows: the caller falls back to the generic nest.
bool lower_contraction(const Region& region, LoweringContext& context);

// A chain of a depthwise convolution and a product (depthwise_rows.h). False, with nothing added, where two
// dispatches are faster.
bool lower_depthwise_product(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context);

}  // namespace tern::lower::gpu
