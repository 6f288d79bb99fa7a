// The body of a contraction on cooperative matrices from its schedule: chunks of A and B through registers
// into workgroup memory, tiles of a subgroup on them, sums back through workgroup memory, the region's
// epilogue over four columns at a time.
#pragma once

#include "compiler/lower/gpu/matrix_schedule.h"
#include "compiler/lower/gpu/mma_kernel.h"

namespace tern::lower::gpu {

// As build_mma_kernel, but operands.b_buffer has B in panels (packing.h: pack_panels), and finish gets four
// lanes.
MmaKernel build_matrix_kernel(const Dim& m, int64_t n, int64_t k, const kernel::GridAxis& batch_axis,
                              const MatrixSchedule& schedule, const kernel::Var& thread,
                              const MmaOperands& operands, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
