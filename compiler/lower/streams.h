// Loops over what comes from memory that go through several places at once. Memory answers some processors
// faster so: one stream of reads waits for the pages' own order, four beside each other overlap (Zen 3: sums
// of rows 10.6 to 13.4 GB/s). MachineModel says how many a level wants.
#pragma once

#include "compiler/kernel/ir.h"
#include "compiler/lower/context.h"

namespace tern::lower {

// How many values from memory the region reads, at least 1: what is repeated or small is none.
int large_inputs(const Region& region, LoweringContext& context, Level level);
// In how many places a loop that only reads should read each of the region's large values.
int read_streams(const Region& region, LoweringContext& context, Level level);
// `most` streams of a loop whose `iterations` read `bytes` each; 1 where they would be too short.
int streams_of(int most, int64_t iterations, int64_t bytes);
// The first loop of `body` in so many parts side by side.
std::vector<kernel::Stmt> in_streams(std::vector<kernel::Stmt> body, int streams);

}  // namespace tern::lower
