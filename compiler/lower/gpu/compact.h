// Compaction: which elements are wanted is counted block by block, the counts are added up by one workgroup,
// and each block then knows how many wanted ones come before each of its elements.
#pragma once

#include <functional>

#include "compiler/lower/loop_writer.h"
#include "compiler/lower/special_kernels.h"

namespace tern::lower::gpu {

// Blocks of `elements`.
Dim compact_blocks(const Dim& elements);

// Which are wanted; `at` is an element.
struct CompactSource {
  std::vector<kernel::Buffer> bindings;
  std::function<kernel::Expr(LoopWriter& w, const kernel::Expr& at)> wanted;
};
// What becomes of each element: `rank` wanted ones (i64) come before it.
struct CompactResult {
  std::vector<kernel::Buffer> bindings;
  std::function<void(LoopWriter& w, const kernel::Expr& at, const kernel::Expr& wanted,
                     const kernel::Expr& rank)>
      take;
};

// The source's; counts (i32) [blocks].
SpecialKernel compact_counts_kernel(const Dim& elements, const CompactSource& source,
                                    const SpecialMachine& machine, kernel::ParamTable& params);
// counts (i32) [blocks] -> starts (i32) [blocks], total (i64, one element).
SpecialKernel starts_kernel(const Dim& blocks, const SpecialMachine& machine, kernel::ParamTable& params);
// The source's; starts; the result's.
SpecialKernel compact_kernel(const Dim& elements, const CompactSource& source, const CompactResult& result,
                             const SpecialMachine& machine, kernel::ParamTable& params);

// Elements other than zero, their coordinates (i64) [rank, stride].
CompactSource nonzero_source(DType dtype);
CompactResult coordinates_result(const Shape& shape, const Dim& stride, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
