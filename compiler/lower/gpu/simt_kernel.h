// The kernels of simt_schedule.h: f32 contractions by fused multiply-adds of each thread.
#pragma once

#include "compiler/lower/gpu/simt_schedule.h"
#include "compiler/lower/gpu/tile_operands.h"

namespace tern::lower::gpu {

TileKernel build_simt_kernel(const TileOperands& operands, const SimtSchedule& schedule,
                             kernel::ParamTable& params);
TileKernel build_gemv_kernel(const TileOperands& operands, const SimtSchedule& schedule,
                             kernel::ParamTable& params);

}  // namespace tern::lower::gpu
