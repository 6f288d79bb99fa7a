// Kernels of ops that are no tensor expressions: selection, sorting, compaction, scattering, suppression.
// Plain loops over dense row-major buffers, made for given shapes and types. Bindings are in the order of
// each function's comment; all are element-indexed.
//
// Every data-dependent index is checked: a bad one ends the kernel with TERN_KERNEL_INDEX_OUT_OF_RANGE.
#pragma once

#include "compiler/kernel/ir.h"

namespace tern::lower {

struct SpecialKernel {
  std::vector<kernel::Buffer> bindings;
  std::vector<kernel::GridAxis> grid;
  std::vector<kernel::Stmt> body;
  int threads = 0;  // of a GPU's workgroup; 0: one thread, or a CPU kernel
  kernel::Var thread;
  int subgroup = 0;  // where the kernel relies on it
  std::string schedule = "special";
};

// What becomes of an element that an update meets: none, add, mul, min, max.
kernel::Expr scatter_combine(const std::string& reduction, const kernel::Expr& old,
                             const kernel::Expr& update);

// What a kernel may use: on CPUs vectors of so many 32-bit elements, and keys (special_sort.h); on GPUs so
// many threads, and subgroups of this width.
struct SpecialMachine {
  int lanes = 1;
  bool keys = false;
  int threads = 1, subgroup = 0;
};

// input [outer, n, inner] -> values, indices (i64) [outer, k, inner], workspace (i64) [outer * inner, 2 * n].
// Stable: equal elements by lower index; NaN counts as greatest. One tile a (outer, inner) pair.
SpecialKernel top_k_kernel(DType dtype, Dim outer, Dim n, Dim inner, Dim k, bool largest,
                           const SpecialMachine& machine, kernel::ParamTable& params);

// input [shape] -> indices (i64) [rank, count] written with a row stride of `stride` elements, count (i64,
// one element). Two passes when stride is the count itself: `count_only` makes the first (binds input,
// count); the second binds input, indices.
SpecialKernel nonzero_count_kernel(DType dtype, const Shape& shape, kernel::ParamTable& params);
SpecialKernel nonzero_kernel(DType dtype, const Shape& shape, Dim stride, kernel::ParamTable& params);

// ONNX ScatterElements in place: data (read-write) [data_shape], indices (i32 or i64) and updates
// [update_shape]. Updates that meet are applied in row-major order; tiles share the lines along the axis.
SpecialKernel scatter_elements_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                      const Shape& update_shape, int axis, const std::string& reduction,
                                      kernel::ParamTable& params);

// ONNX ScatterND in place: data (read-write), indices [.., depth], updates. Slices in row-major order of
// indices; tiles share their elements.
SpecialKernel scatter_nd_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                const Shape& index_shape, const std::string& reduction,
                                const SpecialMachine& machine, kernel::ParamTable& params);

// input [n] -> values [n], first indices, inverse, counts (i64) [n], number (i64, one element), workspace
// (i64) [2 * n]. NaN are one value, the last one.
SpecialKernel unique_kernel(DType dtype, Dim n, bool sorted, const SpecialMachine& machine,
                            kernel::ParamTable& params);

// ONNX NonMaxSuppression: boxes f32 [batches, n, 4], scores f32 [batches, classes, n], limits i64 [1]
// (max_output, per class), thresholds f32 [2] (overlap, least score) -> selected i64 [bound, 3], count (i64),
// workspace (i64) [2 * n], kept boxes f32 [5 * n]. Sorts only what is above the least score, or everything
// where there is none; a candidate meets vectors of kept boxes.
struct NmsForm {
  bool center_point_box = false, has_least_score = true;
};
SpecialKernel nms_kernel(Dim batches, Dim classes, Dim n, const NmsForm& form, const SpecialMachine& machine,
                         kernel::ParamTable& params);

// Turns a SpecialKernel into a named kernel.
kernel::Kernel finish_special(std::string name, SpecialKernel special, const kernel::ParamTable& params);

}  // namespace tern::lower
