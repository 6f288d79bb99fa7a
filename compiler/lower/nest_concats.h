// nest_concats: a concatenation that begins with all the parts of an earlier one takes that one as its first
// part instead, so that each part has one place: inside the earlier whole, which lies inside the later one. In a
// DenseNet, where every layer reads all layers before it, nothing is copied then.
// Test: nest_concats_test.cc.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::lower {

void nest_concats(graph::Graph& graph);

}  // namespace tern::lower
