// A depthwise convolution in front of a product along its channels (MobileNet's inverted residual, separable
// convolutions), which nothing else reads: such pairs may become one dispatch, which computes the rows of its
// blocks and multiplies them while they are at hand. CPUs: contraction.cc; GPUs: gpu/depthwise_rows.h.
#pragma once

#include "compiler/lower/regions.h"

namespace tern::lower {

// Moves such pairs of regions into the item of the second (BlockItem::chain).
void chain_depthwise(BlockPlan& plan, const graph::UseMap& uses);

}  // namespace tern::lower
