// Scatters by sorted targets: the updates of each line (scatter_lines.h) are sorted by their targets, stably,
// so that those of one element stand together in their order; whoever stands first (or, without a reduction,
// last) among them applies them one after the other. So the results are those of the serial order.
#pragma once

#include "compiler/lower/gpu/row_sort.h"
#include "compiler/lower/gpu/scatter.h"

namespace tern::lower::gpu {

// Whether that is likely to take less time than scatter.h.
bool sorting_pays(const ScatterSize& size, const ScatterSchedule& schedule, bool one_target,
                  const GpuModel& model);

// Rows are lines, or all lines together where they have the same targets. Binding: the indices.
SortSource scatter_source(const ScatterProblem& problem, kernel::ParamTable& params);
// Bindings: targets and numbers of updates (i32) [rows, updates].
SortResult scatter_order(const ScatterProblem& problem, kernel::ParamTable& params);
// data (read-write), targets, numbers, updates.
SpecialKernel sorted_scatter_kernel(const ScatterProblem& problem, const SpecialMachine& machine,
                                    kernel::ParamTable& params);

}  // namespace tern::lower::gpu
