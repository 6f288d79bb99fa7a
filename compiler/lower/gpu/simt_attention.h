// Attention without matrix units, one kernel in f32: as attention_kernel.h, on register tiles as
// simt_kernel.cc has them, scores through workgroup memory (attention_rows.h). Operands are read element by
// element, whatever their layout and type. Runs on Vulkan's floor: 128 threads, 16 KB.
//
//   grid       batch (heads), blocks of `rows` queries
//   threads    kAcross neighbours share thread_rows rows; of a block of kKeys keys each has four, of the
//              outputs every kAcross-th four columns
//   steps      `depth` steps of either product at a time, in workgroup memory
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

struct SimtAttentionOperands {
  // f32, everything in range.
  std::function<kernel::Expr(const kernel::Expr& m, const kernel::Expr& d)> q;
  std::function<kernel::Expr(const kernel::Expr& n, const kernel::Expr& d)> k, v;
  bool q_across = false, k_across = false;  // neighbours in memory are rows, not columns
};

SimtAttentionSchedule default_simt_attention_schedule(int64_t batch, int64_t queries, int64_t value_depth,
                                                      const GpuModel& model);

// Of `operands` only the functions score and finish are used; depths are any constants.
AttentionKernel build_simt_attention(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                     const SimtAttentionSchedule& schedule, const kernel::Var& thread,
                                     const SimtAttentionOperands& elements, const AttentionOperands& operands,
                                     kernel::ParamTable& params);

}  // namespace tern::lower::gpu
