// Attention on matrix units: softmax(score(Q K^T)) V in one pass over the keys, so that the score matrix
// never exists in memory (Dao, "FlashAttention-2", 2023; the running maximum is Milakov and Gimelshein,
// "Online normalizer calculation for softmax", 2018). 16-bit operands, f32 sums.
//
//   grid     batch (heads), blocks of 16 * warps_m queries
//   split    workgroups of a cluster that each take a part of the keys, merged through each other's memory:
//   few
//            queries behind many keys (decoding) would keep one processor a head busy
//   warps    warps_m tiles of 16 queries; warps_k parts of each block of keys, merged at the end
//   keys     blocks of block_keys a part, K and V copied asynchronously one block ahead
//   group    products of 128 threads out of workgroup memory: the scores of the next block are multiplied
//   while
//            this block's weights are, and what the softmax computes hides behind both (Shah et al.,
//            "FlashAttention-3", 2024)
//
// Rows in workgroup memory are as wide as the products want them (`padded`), zeros behind the elements.
//
// A warp keeps its running maxima and sums and its 16 x value_depth outputs in registers, and without `group`
// its queries too.
#pragma once

#include <functional>

#include "compiler/kernel/ir.h"
#include "compiler/lower/gpu/tensor_rows.h"

namespace tern::lower::gpu {

struct AttentionSchedule {
  int warps_m = 4, warps_k = 1;
  int block_keys = 64;    // of one part; a multiple of 16
  bool group = false;     // warps_m a multiple of 4, warps_k 1
  bool arrivals = false;  // of a group: stages change hands by arrivals, not by barriers
  bool tensors = false;   // of arrivals: one more warp asks for boxes of q, k and v
  int split = 1;          // not of a group
  int copiers() const { return tensors ? 128 : 0; }  // threads
  int threads() const { return 32 * warps_m * warps_k + copiers(); }
  // How wide rows of so many elements are in workgroup memory.
  int64_t padded(int64_t depth) const {
    const int64_t unit = group ? 64 : 16;
    return (depth + unit - 1) / unit * unit;
  }
  std::string text() const;
};

struct AttentionShape {
  Dim batch = 1, queries, keys;
  int64_t depth = 64, value_depth = 64;  // multiples of 8 (attention_kernel.cc); of 16 for other kernels
  std::optional<Dim> reach = {};         // query q sees the keys up to q + reach (causal.h)
};
// Blocks of `at_once` keys that the queries first, .., first + rows - 1 see.
kernel::Expr blocks_of_keys(const AttentionShape& shape, const kernel::Expr& first, int64_t rows,
                            int64_t at_once, kernel::ParamTable& params);

struct AttentionOperands {
  DType dtype = DType::kF16;  // kF16 or kBF16
  // Rows of `depth` (V: `value_depth`) consecutive elements; the functions give the index of a row's first
  // one, a multiple of 8.
  kernel::Buffer q, k, v;
  std::function<kernel::Expr(const kernel::Expr& row)> q_row, k_row, v_row;
  std::optional<TensorRows> q_rows, k_rows, v_rows;  // where they are tensors
  // What softmax sees for query m and key n, both in range: `product` scaled, masked.
  std::function<kernel::Expr(const kernel::Expr& m, const kernel::Expr& n, const kernel::Expr& product)>
      score;
  // Stores `lanes` outputs from column d of query m on.
  std::function<std::vector<kernel::Stmt>(const kernel::Expr& m, const kernel::Expr& d,
                                          const kernel::Expr& value, int lanes)>
      finish;
};

struct AttentionKernel {
  std::vector<kernel::GridAxis> grid;
  std::vector<kernel::Stmt> body;
  std::vector<kernel::Tensor> tensors = {};
};

// From shapes alone: few queries and heads leave processors idle, so that the keys are shared out too.
// `group`: the device has products of 128 threads, and the depths suit them; `depth`: the larger one, padded;
// `clusters`: the device has them; `by_boxes`: boxes can be copied, and other copies would be slow.
AttentionSchedule default_attention_schedule(int64_t batch, int64_t queries, int64_t keys, int64_t depth,
                                             int processors, bool group, bool clusters = false,
                                             bool by_boxes = false);

// batch_axis: a grid axis that the operand functions refer to, or one with a null variable.
AttentionKernel build_attention_kernel(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                       const AttentionSchedule& schedule, const kernel::Var& thread,
                                       const AttentionOperands& operands, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
