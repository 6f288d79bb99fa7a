// Attention on cooperative matrices (kernel/ir.h: tiles), one kernel: as attention_kernel.h, but a tile's
// layout is opaque, so that the scores of a block of keys pass through workgroup memory, where threads make
// weights of them (attention_rows.h). They never exist in global memory.
//
//   grid     batch (heads), blocks of tiles_m * warps_m tiles of queries
//   warps    of a row of warps each has every warps_n-th tile of keys, then every warps_n-th tile of outputs
//   keys     blocks of block_keys; the values of a block, then the keys of the next one, are on their way in
//            registers while the block before them is multiplied, and lie in the same workgroup memory
//
// Outputs stay in tiles. Where a maximum grew by much (seldom after the first block) they pass through
// workgroup memory too, to be scaled.
#pragma once

#include <optional>

#include "compiler/lower/gpu/attention_kernel.h"

namespace tern::lower::gpu {

struct MatrixAttentionSchedule {
  int warps_m = 1, warps_n = 4, tiles_m = 1;
  int block_keys = 64;  // a multiple of warps_n tiles' columns
  kernel::TileUnit unit = {};
  int rows() const { return unit.shape.m * tiles_m * warps_m; }
  int threads() const { return unit.subgroup * warps_m * warps_n; }
  std::string text() const;
};

// f16 operands; nothing where depths are no multiples of tiles.
std::optional<MatrixAttentionSchedule> default_matrix_attention_schedule(
    int64_t batch, int64_t queries, int64_t keys, const AttentionShape& shape, const kernel::TileUnit& unit,
    int processors, int64_t workgroup_memory);

AttentionKernel build_matrix_attention(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                       const MatrixAttentionSchedule& schedule, const kernel::Var& thread,
                                       const AttentionOperands& operands, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
