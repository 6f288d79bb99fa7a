// Weights of 4 or 8 bits in a contraction on matrix units (MmaSchedule::weight_bits): stages of workgroup
// memory bring words, scales and zero points as they lie (quantised_weights.h: pack_fragment_words), and each
// warp widens what it multiplies in registers, (q - zero) * scale in f16, which is rounded as it would be in
// memory.
#pragma once

#include "compiler/lower/gpu/mma_schedule.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/quantised_weights.h"

namespace tern::lower::gpu {

class IntegerStages {
 public:
  IntegerStages(const MmaSchedule& schedule, const QuantisedPanels& panels, int64_t n, int64_t k)
      : s_(schedule), panels_(panels), n_(n), k_(k) {}

  void prepare(LoopWriter& w, const kernel::Expr& thread, const kernel::Expr& warp_n);
  // Asks for step `step` of the depth; `depth`: steps that all workgroups ask for together.
  void copy(LoopWriter& w, const kernel::Expr& n0, const kernel::Expr& step, const kernel::Expr& stage,
            int64_t depth) const;
  // Products of one stage, of 128 threads or of a subgroup. `turn`: which half of the registers has the
  // widened integers.
  void multiply_groups(LoopWriter& w, const kernel::Buffer& a_stage, const kernel::Buffer& sums,
                       const kernel::Expr& stage, int turn) const;
  void multiply(LoopWriter& w, const kernel::Buffer& a_stage, const kernel::Buffer& sums,
                const kernel::Expr& stage) const;
  // Sums to their rows of `partial`, `pitch` elements apart.
  void store_sums(LoopWriter& w, const kernel::Buffer& sums, const kernel::Buffer& partial, int pitch) const;

 private:
  int64_t words_of_stage() const { return int64_t{s_.block_depth} * s_.weight_bits / 32; }  // of a column
  int64_t columns() const { return s_.block_n; }
  int tiles_n() const { return s_.block_n / s_.warps_n / 16; }
  kernel::Expr panel_of(int tile) const;
  // Quads of 16 steps, all of a stage, of the warp's `tile`-th 16 columns.
  std::vector<kernel::Expr> widened(LoopWriter& w, const kernel::Expr& stage, int tile) const;

  const MmaSchedule& s_;
  const QuantisedPanels& panels_;
  const int64_t n_, k_;
  kernel::Expr t_, lane_, group_, member_, warp_n_;
  kernel::Buffer words_, scales_, zeros_, widened_;
};

}  // namespace tern::lower::gpu
