// Common subexpressions of one statement's expressions, as lets before it. Part of simplify.
#pragma once

#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

// Replaces expressions that occur more than once in `roots` by variables whose lets are appended to `lets`.
// Loads that only happen inside a select's arm stay there.
void extract_common(std::vector<Expr*> roots, std::vector<Stmt>& lets);

}  // namespace tern::kernel
