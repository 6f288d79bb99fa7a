// Liveness of a lowered program's buffers: when each one's memory must hold its value.
//
// Time is counted in *ticks*. Commands that nothing forces apart share a tick, since they may run side by
// side; a control step (if, loop, read, bind, …) is a tick of its own. What must hold: two buffers whose tick
// ranges do not meet can share memory without any barrier that the data flow does not need anyway. A buffer
// that lives into a loop, or out of it, or from one iteration to the next, lives through the whole loop.
#pragma once

#include <vector>

#include "compiler/lower/program_ir.h"
#include "compiler/lower/step_access.h"

namespace tern::program {

using lower::resolve_aliases;
using lower::Resolved;

struct LiveRange {
  int begin = -1, end = -1;  // first and last tick, both inclusive; -1: never used
  bool used() const { return begin >= 0; }
  bool meets(const LiveRange& other) const { return begin <= other.end && other.begin <= end; }
};

// An output that may be computed in the memory of an input that dies there.
struct InPlace {
  int input = -1, output = -1;  // roots
};

struct Liveness {
  std::vector<LiveRange> ranges;  // one a buffer; only roots are set
  std::vector<InPlace> in_place;  // in program order; each output at most once
  std::vector<bool> swapped;      // roots that a swap step names
  int ticks = 0;
};

// side_by_side: as above. Else every step is a tick of its own: shorter ranges, more barriers.
Liveness compute_liveness(const lower::LoweredProgram& program, const std::vector<Resolved>& resolved,
                          bool side_by_side);

}  // namespace tern::program
