// Compaction: which elements are wanted is counted block by block, the counts are added up by one workgroup,
// and each block then writes from its start on.
#pragma once

#include "compiler/lower/special_kernels.h"

namespace tern::lower::gpu {

// Blocks of `elements`.
Dim compact_blocks(const Dim& elements);

// input -> counts (i32) [blocks].
SpecialKernel nonzero_counts_kernel(DType dtype, const Shape& shape, const SpecialMachine& machine,
                                    kernel::ParamTable& params);
// counts (i32) [blocks] -> starts (i32) [blocks], total (i64, one element).
SpecialKernel starts_kernel(const Dim& blocks, const SpecialMachine& machine, kernel::ParamTable& params);
// input, starts -> indices (i64) [rank, stride].
SpecialKernel nonzero_places_kernel(DType dtype, const Shape& shape, const Dim& stride,
                                    const SpecialMachine& machine, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
