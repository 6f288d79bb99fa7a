// A convolution of a single pixel to several (a generator's first layer, 1 x 1 to 4 x 4) as a product: each
// output meets one tap, and a window over padding would multiply all the others by zeros.
//
//   x [N, C, 1, ...], weights [O, C, k, ...]  ->  [N, C] by [C, places * O], brought to [N, O, places...]
//
// Where the product's constant is no larger than the weights. See pixel_products_test.cc.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::lower {

void pixel_products(graph::Graph& graph);

}  // namespace tern::lower
