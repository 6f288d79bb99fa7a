// Convolutions and matrix products of quantised values on integers: operands that are (q - zero) * scale,
// with q of 8 bits, as one contraction of u8 with i8 in i32; zero points become a constant per output channel
// (integer_products: or sums over rows and columns, where both operands are known at run time only), padding
// holds the left zero point, scales multiply the result. Also moves maximum pooling in front of its operand's
// scale, and makes quantisation to i8 a quantisation to u8 (quantised.h).
//
// QDQ, QOperator and dynamically quantised models all take this form. Weights must still be 8-bit constants:
// the pass stands before constant folding. Float results differ from those of the float contraction by its
// rounding only: the integer sum is exact.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool integer_contractions(Graph& graph);
// The same of matrix products that are computed on both sides: for targets with fast kernels of those.
bool integer_products(Graph& graph);

}  // namespace tern::graph
