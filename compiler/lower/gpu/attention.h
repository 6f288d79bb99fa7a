// softmax(score(Q K^T)) V as one dispatch: three regions of a plan (a product, a softmax over its rows, a
// product with it) that nothing else reads between become a chain, which matrix units compute in one pass
// where the operands suit.
#pragma once

#include "compiler/lower/context.h"
#include "compiler/lower/regions.h"

namespace tern::lower::gpu {

// Moves such regions into the item of the last of them (BlockItem::chain).
void chain_attention(BlockPlan& plan, const graph::UseMap& uses);

// False, with nothing added, when the operands do not suit: 16-bit rows in memory, whose length is a multiple
// of 16 up to 128. The chain's inputs and its last region's outputs have places.
bool lower_attention(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context);

}  // namespace tern::lower::gpu
