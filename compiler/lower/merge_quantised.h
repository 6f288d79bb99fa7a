// Products of one value with weights that stay integers (quantised_weights.h) become one product, as
// graph/passes/merge_products.h does with other constants: fewer dispatches, and more workgroups in the one that
// is left. For GPUs; behind absorb_quantised_weights.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::lower {

void merge_quantised_products(graph::Graph& graph);

}  // namespace tern::lower
