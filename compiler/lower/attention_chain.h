// softmax(score(Q K^T)) V in a plan of regions: a product, a softmax over its rows, a product with it, that
// nothing else reads between. Such regions become a chain, which each target may lower as one dispatch
// (attention.h, gpu/attention.h) or one after the other.
#pragma once

#include "compiler/lower/context.h"
#include "compiler/lower/regions.h"

namespace tern::lower {

// Moves such regions into the item of the last of them (BlockItem::chain).
void chain_attention(BlockPlan& plan, const graph::UseMap& uses);

// What a chain computes.
struct AttentionChain {
  explicit AttentionChain(const std::vector<std::unique_ptr<Region>>& chain);

  const graph::Node &scores, &product;  // Q K^T, and the product with V
  graph::Value *q, *k, *v;
  graph::Value* softmax_operand;  // computed from the scores element by element
  Region region;                  // all of it: what passes between the parts is computed inside
};

}  // namespace tern::lower
