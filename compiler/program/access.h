// Which memory a command touches, and whether two commands may run side by side.
#pragma once

#include <vector>

#include "compiler/lower/program_ir.h"

namespace tern::program {

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
std::vector<const lower::Binding*> step_bindings(const lower::Step& step);
bool is_command(const lower::Step& step);

}  // namespace tern::program
