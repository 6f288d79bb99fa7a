// Attention chains (attention_chain.h) as one dispatch on matrix units.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower::gpu {

// False, with nothing added, when the operands do not suit: 16-bit rows in memory, whose length is a multiple
// of 16 up to 128. The chain's inputs and its last region's outputs have places.
bool lower_attention(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context);

}  // namespace tern::lower::gpu
