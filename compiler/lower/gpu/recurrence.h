// All steps of a recurrence in one dispatch (recurrence.h, recurrent_schedule.h).
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower::gpu {

// Whether the loop of so many steps is a recurrence that is predicted to be faster in one dispatch than step
// by step. Without `steps`: one whose number is known early.
bool makes_one_dispatch(const graph::Node& loop, const Dim& steps, LoweringContext& context);
bool makes_one_dispatch(const graph::Node& loop, LoweringContext& context);
// The dispatch of such a loop, whose results have places, as has what its body reads from outside.
void lower_recurrence(const graph::Node& loop, const Dim& steps, LoweringContext& context);

}  // namespace tern::lower::gpu
