// The results of unique, from the sorted elements and their groups (choices.cc).
#pragma once

#include "compiler/lower/special_kernels.h"

namespace tern::lower::gpu {

// input, order (i32) [n]: positions by rank, begins (i32): first ranks of groups, groups (i32) [n]: of
// positions, unless `sorted` numbers (i32): of groups in the results -> values, first indices, inverse,
// counts (i64) [n]; number (i64, one element) is read.
SpecialKernel unique_results_kernel(DType dtype, const Dim& n, bool sorted, const SpecialMachine& machine,
                                    kernel::ParamTable& params);

}  // namespace tern::lower::gpu
