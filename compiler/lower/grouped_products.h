// grouped_products: products whose right operand repeats its matrices for a group of left ones (keys and
// values that several heads of a language model share) read each matrix once.
//
//   dot(x, reshape(broadcast(y)))      the repetition goes: x gets an axis for its group, and y one of 1
//   one row a matrix, a group a batch  the group's rows are rows of one product
//
// Results have their old shape behind a reshape, which sink_reshapes moves behind the softmax.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::lower {

void group_products(graph::Graph& graph);

}  // namespace tern::lower
