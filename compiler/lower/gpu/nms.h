// Non-maximum suppression by all threads of a workgroup for each row (a class of an image) of candidates that
// are sorted by score. A block of candidates at a time meets the boxes kept so far, then itself: who overlaps
// whom in the block is bits, through which one thread walks. The results are those of the serial order.
#pragma once

#include "compiler/lower/special_kernels.h"

namespace tern::lower::gpu {

// boxes f32 [batches, n, 4], order (i32) [rows, n], candidates (i32) [rows], limits i64 [1], thresholds f32
// [2] (iou, score) -> kept (i32, read-write) [rows, n], numbers (i32) [rows]; rows = batches * classes.
SpecialKernel nms_select_kernel(const Dim& batches, const Dim& classes, const Dim& n, bool center_point_box,
                                const SpecialMachine& machine, kernel::ParamTable& params);

// kept, numbers -> selected (i64) [.., 3], count (i64, one element).
SpecialKernel nms_list_kernel(const Dim& batches, const Dim& classes, const Dim& n,
                              const SpecialMachine& machine, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
