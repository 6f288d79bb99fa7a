// patch_products: a convolution over few channels whose windows lie side by side (a vision transformer's
// patches: the step is as wide as the window, nothing overlaps, nothing is padded) becomes a product on GPUs
// that multiply 16-bit floats on matrix units: one elementwise copy lays each window in a row of memory,
// which such a convolution needs anyway for whole chunks, and the sums are no longer than the window. What is
// added per channel follows the product.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::lower {

void patch_products(graph::Graph& graph);

}  // namespace tern::lower
