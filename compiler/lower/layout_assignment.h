// Layout assignment: the memory order that each value of a block should be stored in. Convolutions read and
// write channels-last; other ops follow their operands, so that orders change only where an explicit copy is
// worth it. Inputs, constants and what nothing decides are dense.
#pragma once

#include <unordered_map>

#include "compiler/lower/context.h"

namespace tern::lower {

using LayoutMap = std::unordered_map<const graph::Value*, Layout>;

// Adds the layouts of the block's values to `layouts` (which holds those of enclosing blocks).
void assign_layouts(const graph::Block& block, LoweringContext& context, LayoutMap& layouts);

}  // namespace tern::lower
