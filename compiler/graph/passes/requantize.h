// Quantisation behind integer sums and 8-bit values: the scales between them become one multiplication.
//
//   add(mul(cast(i), c), b)               mul(cast(add(i, b / c)), c)         when b is whole multiples of c
//   (a bias in the sum's scale) round(div(f(x), s))                   round(f'(x)) scales of f's
//   multiplications, additions, bounds divided by s max(min(round(max(x, a)) + z, h), l)  max(min(round(x) +
//   z, h), l)        bounds that quantisation's own bounds imply quantise(dequantise(q))               q with
//   one scale and zero point
//
// A quantisation behind a concatenation that nobody else reads is done part by part.
//
// x / s becomes x * (1 / s): a value that lies within a float's rounding of the middle between two steps may
// take the other one.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool requantize(Graph& graph);

}  // namespace tern::graph
