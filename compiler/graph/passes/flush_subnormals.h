// Weights and biases of products (dot, conv) that are subnormal become 0. Training with weight decay leaves
// thousands of them where channels have died, and Intel's processors take a microcode assist of 100 cycles
// and more for each multiplication by one: the squeeze of PP-OCR's recogniser took 18 times as long.
//
// A sum changes by less than the least normal number (2^-126 in f32) times an input, a term: nothing beside
// the roundings of a result that is not itself subnormal, or of inputs that are not near the largest number.
// Constants that anything else reads stay, as do those of f16, which are normal numbers where kernels
// compute.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool flush_subnormals(Graph& graph);

}  // namespace tern::graph
