// The body of a contraction on matrix units from its schedule: asynchronous copies of A and B into stages of
// workgroup memory, ldmatrix and mma on them, partial sums added through workgroup memory, the region's
// epilogue over eight columns at a time. What the operands are (a convolution's windows, weights in fragment
// order) is behind functions.
#pragma once

#include <functional>

#include "compiler/kernel/ir.h"
#include "compiler/lower/gpu/mma_schedule.h"
#include "compiler/lower/gpu/tensor_rows.h"
#include "compiler/lower/quantised_weights.h"

namespace tern::lower::gpu {

// A chunk: 16 bytes of elements (or a piece of one: MmaOperands::a_piece) that follow each other in A's
// memory, at a multiple of as many.
struct MmaChunk {
  kernel::Expr index;
  kernel::Expr
      exists;  // bool; null: always. Where false, the elements are a_padding and memory is not touched.
  int64_t count = 0;  // elements that are read, the others are zero; 0: all

  int64_t read_of(int64_t all) const { return count > 0 && count < all ? count : all; }
};

struct MmaOperands {
  // Of both operands' elements: kF16, kBF16, kF32 (rounded to TF32, unless MmaSchedule::tf32x3); or kI8 of
  // B's, A's being kU8, sums i32.
  DType dtype = DType::kF16;
  bool a_is_rounded = false;  // kF32: A's elements in memory are numbers of TF32

  DType a_type() const { return dtype == DType::kI8 ? DType::kU8 : dtype; }
  DType sum_type() const { return dtype == DType::kI8 ? DType::kI32 : DType::kF32; }

  // A's elements of a chunk from (m, k) on, k a multiple of their number. What a row and what a depth have in
  // common is computed once, by lets that the functions append; m may lie past the last row.
  using State = std::vector<kernel::Expr>;
  std::function<State(const kernel::Expr& m, std::vector<kernel::Stmt>& lets)> a_row;
  std::function<State(const kernel::Expr& k, std::vector<kernel::Stmt>& lets)> a_depth;
  // Either: where they lie, for asynchronous copies out of a_buffer.
  kernel::Buffer a_buffer;
  std::function<MmaChunk(const State& row, const State& depth)> a_chunk;
  int a_piece = 0;        // elements of one copy: of 4, 8 or 16 bytes; 0: a whole chunk
  int64_t a_padding = 0;  // kI8: what lies around a convolution's input
  // Or: one element, as a scalar of a_type() that is 0 past the ends.
  std::function<kernel::Expr(const State& row, const kernel::Expr& k)> a_element;
  std::optional<TensorRows> a_rows;  // where they are a tensor (MmaSchedule::tensors)
  // A's element (m, k) by itself, both in range (MmaSchedule::tf32x3).
  std::function<kernel::Expr(const kernel::Expr& m, const kernel::Expr& k, std::vector<kernel::Stmt>& lets)>
      a_plain;

  // Or (cooperative matrices): the workgroup computes its rows itself, from row m0 on and all steps of them,
  // zeros behind the last one, into workgroup memory. `pitch`: elements from a row to the next one.
  std::function<std::vector<kernel::Stmt>(const kernel::Buffer& rows, int pitch, const kernel::Expr& m0)>
      compute_rows;

  // B as packing.h's pack_matrix has it, and where its first element
  // lies.
  kernel::Buffer b_buffer;
  kernel::Expr b_first;
  int64_t b_batches = 1;  // in all of b_buffer
  // 128 times what the steps of columns n, n + 1, … add up to, as i32 (MatrixSchedule::int8).
  std::function<kernel::Expr(const kernel::Expr& n, int lanes)> b_sums;
  // Or rows of memory: where element (k, n) lies. Chunks of elements along n, or along k where the schedule
  // says so (MmaSchedule::b_order, MatrixSchedule::b_columns), follow each other from multiples of their size
  // on.
  std::function<kernel::Expr(const kernel::Expr& k, const kernel::Expr& n)> b_element;

  // Or integers (MmaSchedule::weight_bits): words as pack_fragment_words has them, scales of f16.
  const QuantisedPanels* panels = nullptr;

  // Which part of the depth the workgroup has (MatrixSchedule::split): a grid axis' variable, or null.
  kernel::Var part;

  // Stores columns n..n+7 of row m, both in range for the first lane; `count` (null: all eight) limits the
  // lanes.
  std::function<std::vector<kernel::Stmt>(const kernel::Expr& m, const kernel::Expr& n,
                                          const kernel::Expr& value, int lanes, const kernel::Expr& count)>
      finish;
  // Whether no dispatch writes what `finish` reads there (may be null): it is brought into L2 early then.
  std::function<bool(const kernel::Buffer&)> is_constant;
};

struct MmaKernel {
  std::vector<kernel::GridAxis> grid;  // the last one is the cluster's, if schedule.split > 1
  std::vector<kernel::Stmt> body;
  std::vector<kernel::Tensor> tensors = {};
};

// k and n are constants. `thread`: the kernel's thread variable; the workgroup has schedule.threads() of
// them, in subgroups of 32. batch_axis: a grid axis that the operand functions refer to, or one with a null
// variable.
MmaKernel build_mma_kernel(const Dim& m, int64_t n, int64_t k, const kernel::GridAxis& batch_axis,
                           const MmaSchedule& schedule, const kernel::Var& thread,
                           const MmaOperands& operands, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
