// unroll: expands every kUnroll loop of constant extent. Each copy has its own variables and local buffers;
// register indices that depended on the loop variables become constants. Loops of other extents become
// serial. See unroll_test.cc.
#pragma once

#include "compiler/kernel/ir.h"

namespace tern::kernel {

void unroll(Kernel& kernel);
std::vector<Stmt> unroll(const std::vector<Stmt>& body);

// Statements of a body with its loops unrolled. A loop of unknown extent counts as very long.
int64_t unrolled_size(const std::vector<Stmt>& body);

}  // namespace tern::kernel
