// sink_reshapes: elementwise work on a reshaped matrix product happens on the product itself, and is reshaped
// afterwards: map(reshape(dot), y) becomes reshape(map(dot, reshape(y))). Exporters flatten the leading
// dimensions around MatMul; without this, bias, activation and residual could not join the product's region.
// So do the rows of a softmax, of scores: attention over grouped heads is one chain (attention_chain.h)
// whatever shape its heads had between the products.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::lower {

void sink_reshapes(graph::Graph& graph);

}  // namespace tern::lower
