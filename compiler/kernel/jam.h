// Iterations of a loop that do not depend on each other, several at once: inner loops of equal bounds become
// one loop whose body has each iteration's statements one after the other, so that chains of dependent
// operations (sums of rows) run side by side. What is left over runs alone. The iterations may be computed in
// any order and share no variable or local buffer that one of them writes (buffers are allocated in the
// body), or each statement only adds to it. kApart: not neighbours, but the same one of equal parts of the
// loop, so that memory is read in several streams.
#pragma once

#include "compiler/kernel/ir.h"

namespace tern::kernel {

enum class Jam : uint8_t { kNeighbours, kApart };
std::vector<Stmt> jam(const Stmt& loop, int ways, Jam which = Jam::kNeighbours);

}  // namespace tern::kernel
