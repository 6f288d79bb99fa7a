// The kernel of a recurrence.
//
//   once    weights to where they live; zeros behind the rows that products read; initial values
//   a step  what the next step takes from sequences is asked for
//           a stage: rows are exchanged where the step has computed them; sums of the products; what follows
//           carried values are stored for the next step, and exchanged
#pragma once

#include "compiler/lower/gpu/recurrent_schedule.h"
#include "compiler/lower/recurrence.h"

namespace tern::lower::gpu {

// `weights`: buffers of the products' weights, packed as quads.
void add_recurrent_variant(DispatchBuilder& dispatch, const Recurrence& recurrence,
                           const RecurrentSchedule& schedule, Level level, const std::vector<int>& weights);

}  // namespace tern::lower::gpu
