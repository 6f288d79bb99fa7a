// Which memory a command touches, and whether two commands may run side by side.
#pragma once

#include <vector>

#include "compiler/lower/program_ir.h"

namespace tern::lower {

// Where a buffer's bytes are: `offset` bytes into the root, a buffer with memory of its own.
struct Resolved {
  int root = -1;
  Dim offset;
};
// Follows alias_of to the roots; one entry a buffer.
std::vector<Resolved> resolve_aliases(const LoweredProgram& program);

// A range of bytes in a space (a root buffer, or a slot of the binding table).
struct MemoryAccess {
  int space = -1;
  Dim offset, length;
  bool write = false;
  int root = -1;  // the buffer, for what knows its lifetime
};

// False only if the two ranges of one space can be shown to be disjoint for every value of the symbols.
bool ranges_may_meet(const Dim& offset_a, const Dim& length_a, const Dim& offset_b, const Dim& length_b);

// The bindings of a dispatch, copy or fill step; empty for other steps.
std::vector<const Binding*> step_bindings(const Step& step);
bool is_command(const Step& step);

// What a command touches, by roots.
std::vector<MemoryAccess> step_accesses(const Step& step, const std::vector<Resolved>& resolved);

}  // namespace tern::lower
