// Attention without matrix units, one kernel in f32: as attention_kernel.h, on register tiles as
// simt_kernel.cc has them, scores through workgroup memory (attention_rows.h). Operands are read element by
// element, whatever their layout and type. Runs on Vulkan's floor: 128 threads, 16 KB.
//
//   grid       batch (heads), blocks of `rows` queries
//   threads    kAcross neighbours share thread_rows rows; of a block of kKeys keys each has four, of the
//              outputs every kAcross-th four columns
//   steps      `depth` steps of scores, then `value_steps` keys of outputs at a time, in workgroup memory;
//              the next ones are on their way in registers while these are multiplied
//   queries    come again with each block's keys
#pragma once

#include "compiler/lower/gpu/attention_kernel.h"
#include "compiler/lower/target.h"

namespace tern::lower::gpu {

struct SimtAttentionSchedule {
  static constexpr int kAcross = 16, kKeys = 64;
  int rows = 32, thread_rows = 4;
  int depth = 16, value_steps = 16;
  int subgroup = 0;  // as RowSoftmaxPlace's
  int threads() const { return rows / thread_rows * kAcross; }
  int64_t workgroup_bytes(int64_t value_depth) const;
  std::string text() const;
};

// A matrix of rows (queries, keys), f32.
struct SimtAttentionMatrix {
  using At = std::function<kernel::Expr(const kernel::Expr& row, const kernel::Expr& column)>;
  At element;           // in range
  At four;              // of a column that is a multiple of four, in one access; null: they lie otherwise
  bool across = false;  // neighbours in memory are rows, not columns
};
struct SimtAttentionOperands {
  SimtAttentionMatrix q, k, v;
};

// Keys in parts, which few queries behind many keys (decoding) are shared out over: each part's workgroups
// leave sums that another kernel puts together (Dao et al., "Flash-Decoding", 2023).
struct AttentionParts {
  int count = 1;
  Dim queries;           // at most so many
  kernel::Buffer outs;   // f32 [count, batch, queries, value_depth], not divided by their sums
  kernel::Buffer state;  // f32 [count, batch, queries, 2]: sum, and what exponents are relative to in log2
  kernel::Expr batch;    // which one
};

SimtAttentionSchedule default_simt_attention_schedule(int64_t batch, int64_t queries, int64_t depth,
                                                      int64_t value_depth, const GpuModel& model);

// Of `operands` only the functions score and finish are used; depths are any constants.
AttentionKernel build_simt_attention(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                     const SimtAttentionSchedule& schedule, const kernel::Var& thread,
                                     const SimtAttentionOperands& elements, const AttentionOperands& operands,
                                     kernel::ParamTable& params, const AttentionParts* parts = nullptr);
// What the parts' sums give; `threads` a workgroup.
AttentionKernel build_attention_merge(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                      const AttentionParts& parts, const kernel::Var& thread, int threads,
                                      const AttentionOperands& operands, kernel::ParamTable& params);

}  // namespace tern::lower::gpu
