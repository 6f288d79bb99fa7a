// simplify: index expressions to affine normal form (with division and remainder resolved from the known
// ranges of loop, grid and parameter variables), constant conditions, loops of extent 0 and 1, copies and
// dead lets, and, per statement, common subexpressions into lets (loads too, where nothing comes between;
// never out of a select's arm). Runs at any stage before rendering. See simplify_test.cc.
#pragma once

#include "compiler/kernel/ir.h"

namespace tern::kernel {

void simplify(Kernel& kernel);

// The body as threads first <= thread < end see it, simplified, with names of its own.
std::vector<Stmt> body_of_threads(const Kernel& kernel, int first, int end);

}  // namespace tern::kernel
