// Scatters on a GPU. Threads share a line (scatter_lines.h) by classes of targets, each going through all
// updates in their order, so that no two threads write one element and results are those of the serial
// order, whatever the reduction. Where that is much to look at, sorted_scatter.h is faster.
#pragma once

#include "compiler/lower/gpu/scatter_lines.h"
#include "compiler/lower/special_kernels.h"
#include "compiler/lower/target.h"

namespace tern::lower::gpu {

struct ScatterSize {
  int64_t lines = 1, targets = 1, updates = 1;  // likely figures; targets and updates are of one line
};
struct ScatterSchedule {
  int classes = 1;  // of a line's targets, a thread each; a power of two
  int columns = 1;  // neighbouring lines that share the look at an update's target, where it is the same one
};
ScatterSchedule default_scatter_schedule(const ScatterSize& size, bool one_target, const GpuModel& model);

// Bindings as scatter_elements_kernel and scatter_nd_kernel have them.
SpecialKernel scatter_kernel(const ScatterProblem& problem, const ScatterSchedule& schedule,
                             const SpecialMachine& machine, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
