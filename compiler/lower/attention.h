// Attention chains (attention_chain.h) as one dispatch on CPUs (attention_tiles.h).
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower {

// False, with nothing added, when the operands do not suit: f32 products of rows whose lengths are known, V's
// rows and K's rows or columns consecutive in memory. The chain's inputs and its last region's outputs have
// places.
bool lower_attention(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context);

}  // namespace tern::lower
