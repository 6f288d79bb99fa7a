// Layout assignment: the memory order that each value of a block should be stored in. Convolutions read and
// write channels-last; other ops follow their operands, so that orders change only where an explicit copy is
// worth it. Inputs, constants and what nothing decides are dense.
#pragma once

#include <unordered_map>
#include <unordered_set>

#include "compiler/lower/context.h"

namespace tern::lower {

using LayoutMap = std::unordered_map<const graph::Value*, Layout>;

// Convolutions of a block whose operand has channels outside, since no convolution is before them that has
// them innermost; of these, what takes planes as they lie (plane_conv.h), each with whether its operand comes
// from another one of them; values that the others will read, directly or through elementwise work: channels
// innermost.
struct ConvolutionOrders {
  std::unordered_set<const graph::Node*> outside;
  std::unordered_map<const graph::Node*, bool> by_planes;
  std::unordered_set<const graph::Value*> wanted;
};
ConvolutionOrders convolution_orders(const graph::Block& block, const Target& target);

// Adds the layouts of the block's values to `layouts` (which holds those of enclosing blocks).
void assign_layouts(const graph::Block& block, LoweringContext& context, LayoutMap& layouts);

// Convolutions of either kind in a block, and in blocks inside of it.
struct OuterConvolutions {
  std::unordered_set<const graph::Node*> outside, by_planes;
};
void find_outer_convolutions(const graph::Block& block, const Target& target, OuterConvolutions& found);

}  // namespace tern::lower
