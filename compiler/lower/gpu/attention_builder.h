// One kernel of attention in the making (attention_kernel.h): what its parts, a file each, share.
//
//   attention_kernel.cc     the frame: places, registers, the order of the parts
//   attention_subgroups.cc  keys by products of subgroups
//   attention_groups.cc     keys by products of 128 threads, their stages handed over by barriers
//   attention_arrivals.cc   the same by counts of arrivals
//   attention_softmax.cc    scores into weights
//   attention_results.cc    merging, output
#pragma once

#include "compiler/lower/gpu/attention_kernel.h"
#include "compiler/lower/gpu/online_softmax.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

inline constexpr kernel::VType kQuad{DType::kU32, 4}, kSums{DType::kF32, 4};

class AttentionBuilder {
 public:
  AttentionBuilder(const AttentionShape& shape, const AttentionSchedule& s, const kernel::Var& thread,
                   const AttentionOperands& o, kernel::ParamTable& params);
  AttentionKernel build(const kernel::GridAxis& batch);

 private:
  using Buffer = kernel::Buffer;
  using Expr = kernel::Expr;
  using Stmts = std::vector<kernel::Stmt>;
  using RowOf = std::function<Expr(const Expr&)>;

  static Buffer registers(const char* name, int64_t elements);
  Buffer rows_buffer(const char* name, int64_t rows, int64_t width) const;

  // ---- Subgroups
  // Rows first.. of a global matrix, `width` elements each, into `to` from row `at` on, zero past `extent`
  // and behind the elements.
  void copy_rows(LoopWriter& w, const Buffer& to, const Expr& at, const Buffer& from, const RowOf& row_of,
                 const Expr& first, int64_t rows, int64_t width, const Expr& extent);
  // Elements that a copy of a chunk brings, null: always a whole one.
  Expr chunk_count(const Expr& row, const Expr& extent, bool whole, const Expr& chunk, int64_t width) const;
  void load_queries(LoopWriter& w);
  Stmts all_keys();
  void block_of_keys(LoopWriter& w, const Expr& block, const std::function<void()>& wait_for_values);
  // scores = Q K^T: 16 queries x block_keys.
  void products_with_keys(LoopWriter& w, const Buffer& scores, const Expr& at);
  // out += weights * V
  void products_with_values(LoopWriter& w, const Buffer& scores, const Expr& at);
  void multiply(LoopWriter& w, const Buffer& sums, int slot, const Expr& a, const Expr& b) const;

  // ---- Products of 128 threads
  // Rows of `width` elements as panels of 64 columns, `rows` rows each; `to_panels` is where the first
  // begins.
  void copy_panels(LoopWriter& w, const Buffer& to, const Expr& to_panels, const Buffer& from,
                   const RowOf& row_of, const Expr& first, int64_t rows, int64_t width, const Expr& extent,
                   bool whole);
  // Queries, K or V: where their rows are and where blocks of them lie in workgroup memory.
  struct Staged {
    Buffer stage, from;
    RowOf row_of;
    int64_t rows = 0, width = 0;  // of a block; elements of a row in memory
    Expr extent;                  // all rows
    bool whole = false;           // in whole blocks
    const TensorRows* boxes = nullptr;
    kernel::Tensor tensor = nullptr;
  };
  static constexpr int kStages = 2;  // blocks of K and of V in workgroup memory
  // Makes them; the register buffer of scores.
  Buffer prepare_groups(LoopWriter& w);
  // Asks for rows first... `counter`: what counts boxes.
  void fetch(LoopWriter& w, const Staged& m, const Expr& first, const Expr& at,
             const Expr& counter = nullptr);
  void fetch_block(LoopWriter& w, const Staged& m, const Expr& block, const Expr& counter = nullptr);
  Expr stage_of(const Staged& m, const Expr& block) const;
  Expr blocks_of_keys() const;
  // Block j's scores are there when its turn comes: they were multiplied together with the weights of block j
  // - 1 and its values. K is one block ahead of V.
  class BlockStages;
  Stmts all_keys_by_barriers();
  Stmts all_keys_by_arrivals();
  // What threads do that multiply: all but those that only ask for copies.
  void when_multiplies(LoopWriter& w, const std::function<void()>& body) const;
  // The weights of block `next`, whose scores are on their way with the products before; scored(): they are
  // there; weighed(): so are those products.
  void weigh_next(LoopWriter& w, const Buffer& scores, const Expr& next, const std::function<void()>& scored,
                  const std::function<void()>& weighed);
  void group_scores(LoopWriter& w, const Buffer& scores, const Expr& block);
  void group_values(LoopWriter& w, const Expr& block);
  void pack_weights(LoopWriter& w, const Buffer& scores);

  // ---- Softmax
  // Elements 2 j and 2 j + 1 of row `half` of 8 columns j.
  std::vector<Expr> scores_of(LoopWriter& w, const Buffer& scores, const Expr& n0, int half, const Expr& row,
                              const Expr& column);
  // Scores become weights exp(score - maximum); shrink_ is what sums and outputs so far are to be scaled by.
  void softmax(LoopWriter& w, const Buffer& scores, const Expr& n0);
  void rescale(LoopWriter& w);
  // The weights' registers of 16 keys are those of an A operand already.
  Expr packed(const Buffer& scores, int step) const;

  // ---- Results
  Expr row_sum(LoopWriter& w, int half) const;
  // Of the workgroup's queries, and of eight columns: what the thread holds first.
  Expr lane_row() const;
  Expr lane_column() const;
  // A warp has seen all keys of its queries: its threads write what they hold.
  Stmts own_results();
  // The parts of the keys are merged through workgroup memory, then every thread writes eight columns at a
  // time.
  Stmts merged_results();
  // The same where the parts are of all workgroups of a cluster: each merges its own, then all of them a
  // share of the outputs.
  Stmts split_results();
  // Where a workgroup's parts lie: outs [warps_k, rows, pitch], tops and sums [warps_k, rows].
  struct Parts {
    Buffer outs, tops, sums;
    int64_t rows = 0, pitch = 0;
  };
  Parts store_parts(LoopWriter& w);
  // What several parts are together, before the division by their sum.
  struct Merged {
    Expr top, sum, value;
  };
  Merged merged(LoopWriter& w, int parts, const std::function<Merged(int part)>& part_of) const;
  // body(row of the workgroup's, column) once for each existing row and `width` columns of it, shared out
  // over the threads: of those from `first` on, `share` of them.
  void each_output(LoopWriter& w, int64_t width, const Expr& first, int64_t share,
                   const std::function<void(const Expr& row, const Expr& column)>& body) const;

  const AttentionShape& shape_;
  const AttentionSchedule& s_;
  const AttentionOperands& o_;
  kernel::ParamTable& params_;
  const Expr t_;
  int64_t keys_at_once_;
  int64_t depth_, value_depth_;                // padded
  int key_tiles_, depth_steps_, value_tiles_;  // tiles of 8, steps of 16
  kernel::Intrinsic mma_;
  Expr queries_, keys_, m0_, lane_, warp_m_, warp_k_, rank_;
  Buffer q_, out_, q_stage_, k_stage_, v_stage_, weights_;
  Staged q_staged_, k_staged_, v_staged_;
  kernel::Var top_[2], sum_[2];
  Expr shrink_[2];
  ScoreScale scale_;
};

}  // namespace tern::lower::gpu
