// Reductions of a region with nothing else in its rows, on CPUs, where the ordinary nest (rows_nest.cc) gives
// few cores work or jumps through memory:
//
// - The kept elements are few: the reduced axes are cut into parts, whose sums lie in a temporary until a
//   second dispatch adds them up, in order. How many follows from sizes alone, so results do not depend on
//   the number of threads.
// - Neighbouring elements are kept and come from memory: rows are read from end to end, one after the other,
//   and added to a row of sums in L1 (or in registers, where it is short), because memory gives pieces of
//   many rows more slowly than whole ones.
// Test: split_rows_test.cc.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower {

// False: the ordinary nest is as good, and nothing was emitted.
bool lower_split_rows(const Region& region, LoweringContext& context);

}  // namespace tern::lower
