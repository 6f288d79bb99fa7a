// Online softmax over blocks of scores in workgroup memory, for kernels whose products' layout in registers
// is not known or not the threads' own: a row belongs to `lanes` neighbouring threads, which keep its running
// maximum and each a part of its sum in registers. What the outputs so far are to be multiplied by lies in
// workgroup memory, for whoever holds them.
#pragma once

#include <functional>

#include "compiler/lower/gpu/online_softmax.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

struct RowSoftmaxPlace {
  int rows = 16, threads = 128;  // threads a multiple of rows
  int block_keys = 64;           // a multiple of 4 * lanes()
  int pitch = 68;                // from a row of scores to the next one
  int subgroup = 0;              // width that may be relied on, at least lanes(); 0: none
  int lanes() const { return threads / rows; }
};

class RowSoftmax {
 public:
  using Expr = kernel::Expr;
  // m0: the first row's query.
  RowSoftmax(const RowSoftmaxPlace& place, const AttentionShape& shape, const AttentionOperands& operands,
             kernel::ParamTable& params, const Expr& thread, const Expr& m0);

  void begin(LoopWriter& w);
  // The scores of keys n0.. become weights of `weights`, rows weights_pitch apart (f32: may be the scores
  // themselves). Behind a barrier and in front of one; without a subgroup it has one of its own.
  void block(LoopWriter& w, const kernel::Buffer& scores, const kernel::Buffer& weights, int weights_pitch,
             const Expr& n0);
  // After the last block, in front of a barrier: scale() is the reciprocal of the sums from then on.
  void end(LoopWriter& w);
  // Instead, where the keys were a part of all: each row's sum, and what its exponents are relative to in
  // log2
  // (-inf: the row sees none), by one of its threads.
  void end_part(LoopWriter& w,
                const std::function<void(const Expr& row, const Expr& sum, const Expr& base)>& store);
  // What row `row`'s outputs are to be multiplied by: 1 where the maximum was kept.
  Expr scale(const Expr& row) const { return kernel::load(scale_, row); }

 private:
  Expr folded_over_row(LoopWriter& w, const Expr& value, Expr (*fold)(Expr, Expr));
  std::vector<Expr> scores_of(LoopWriter& w, const kernel::Buffer& scores, const Expr& n0);
  Expr column(int64_t vector) const;  // of the thread's vector-th four

  const RowSoftmaxPlace& p_;
  const AttentionShape& shape_;
  const AttentionOperands& o_;
  const Expr keys_, queries_, t_, m0_;
  Expr row_, lane_;
  ScoreScale factor_;
  kernel::Buffer scale_, parts_;
  kernel::Var top_, sum_;
};

}  // namespace tern::lower::gpu
