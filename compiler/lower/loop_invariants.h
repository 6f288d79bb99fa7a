// What a loop's body does alike in each round: C compilers leave it there, since to them a store may change
// what is loaded.
#pragma once

#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::lower {

// Takes out of the body of a loop over `along`, which has a round or more, what is to stand in front of the
// loop: loads of read bindings that every round does, and checks that depend on nothing else (a gather's).
std::vector<kernel::Stmt> take_invariants(std::vector<kernel::Stmt>& body, const kernel::Var& along);

}  // namespace tern::lower
