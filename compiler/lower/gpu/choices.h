// Ops that choose elements, by all threads of a GPU: their dispatches. Each function answers false where one
// thread has to do it (elements that share bytes).
#pragma once

#include "compiler/lower/special_dispatch.h"

namespace tern::lower::gpu {

bool lower_top_k(graph::Node& node, BlockLowering& block);
bool lower_nms(graph::Node& node, BlockLowering& block);
bool lower_nonzero(graph::Node& node, BlockLowering& block);
bool lower_unique(graph::Node& node, BlockLowering& block);

}  // namespace tern::lower::gpu
