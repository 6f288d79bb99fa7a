// Attention on cooperative matrices (kernel/ir.h: tiles), one kernel: as attention_kernel.h, but a tile's
// layout is opaque. Scores stay tiles all the same: what is computed of each element alone needs no layout, a
// row's maximum is taken over one tile of maxima, which passes through workgroup memory, and a row's value
// comes back to all elements of the row as a tile whose columns are one (a pitch of 0). Weights pass through
// memory of their warp to become operands.
//
//   grid     batch (heads), blocks of tiles_m * warps_m tiles of queries
//   warps    warps_n parts of each step's keys, merged at the end; warps_m warps of different queries share a
//            part. A part of one warp waits for nobody until the end.
//   keys     block_keys of each part a step; the values of a step, then the keys of the next one, are on
//   their
//            way in registers while the step before them is multiplied, and lie in the same workgroup memory
#pragma once

#include <optional>

#include "compiler/lower/gpu/attention_kernel.h"

namespace tern::lower::gpu {

struct TileAttentionSchedule {
  int warps_m = 1, warps_n = 4, tiles_m = 1;
  int block_keys = 32;         // a multiple of tiles' columns and depth
  kernel::TileUnit unit = {};  // with runs
  int rows() const { return unit.shape.m * tiles_m * warps_m; }
  int warps() const { return warps_m * warps_n; }
  int threads() const { return unit.subgroup * warps(); }
  std::string text() const;
};

// For f16 operands with depths that are multiples of tiles; nothing elsewhere, and where matrix_attention.h's
// kernel is faster: few queries, whose networks wait for a kernel's code as long as for its work, and this
// one's is longer.
std::optional<TileAttentionSchedule> tile_attention_schedule(int64_t batch, int64_t queries,
                                                             const AttentionShape& shape,
                                                             const kernel::TileUnit& unit, int processors,
                                                             int64_t workgroup_memory);

AttentionKernel build_tile_attention(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                     const TileAttentionSchedule& schedule, const kernel::Var& thread,
                                     const AttentionOperands& operands, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
