// Contractions on a GPU: dot and conv regions to dispatches.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower::gpu {

// False, with nothing added, when the region is none it knows: the caller falls back to the generic nest.
bool lower_contraction(const Region& region, LoweringContext& context);

}  // namespace tern::lower::gpu
