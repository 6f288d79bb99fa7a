// Scatters on a GPU. An update meets only others of its own *line*: those with its coordinates along every
// axis that is not indexed. Threads share a line by classes of targets, each going through all updates in
// their order, so that no two threads write one element and results are those of the serial order, whatever
// the reduction.
#pragma once

#include <string>

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
SpecialKernel scatter_elements_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                      const Shape& update_shape, int axis, const std::string& reduction,
                                      const ScatterSchedule& schedule, kernel::ParamTable& params);
SpecialKernel scatter_nd_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                const Shape& index_shape, const std::string& reduction,
                                const ScatterSchedule& schedule, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
