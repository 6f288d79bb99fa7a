// Products of a few rows with constant weights: what decoding a language model consists of. Weights cross
// memory once and go from there straight into the registers of matrix units, whose eight columns are the rows
// of A; A lies in workgroup memory, in the order in which they want it.
//
//   grid      n blocks                        one workgroup: all rows, 16 * warps_n columns
//   warps     warps_n x warps_k               a warp: 16 columns, and every warps_k-th `steps` of the depth
//   ahead     such steps that a warp asks for before it multiplies the first: in registers, so that the first
//             ones come while the kernel waits for the dispatches before it
//
// Weights are 16-bit floats (packing.h: pack_matrix) or integers of 8 or 4 bits (quantised_weights.h). An
// integer q is multiplied as the f16 whose bits it is, q * 2^-24, exactly; zero points as another product of
// minus the zero with A; scales are applied to sums of a block, in f32.
#pragma once

#include <optional>

#include "compiler/lower/gpu/mma_kernel.h"
#include "compiler/lower/quantised_weights.h"

namespace tern::lower::gpu {

struct FewRowsSchedule {
  int bits = 16;  // of a weight
  int warps_n = 1, warps_k = 8;
  int steps = 64;  // of k, a multiple of unit()
  int ahead = 2;

  static constexpr int kColumns = 16;  // of a warp
  static constexpr int kMostRows = 8;
  int unit() const {
    return bits == 16 ? 64 : bits == 4 ? 32 : 16;
  }  // steps that a warp's loads have at least
  // Words of A in workgroup memory: from a unit to the next one (integers: four more, against bank conflicts
  // of what scatters them), and of a row.
  int unit_pitch() const { return unit() / 2 + (bits == 16 ? 0 : 4); }
  int64_t words_of_row(int64_t k) const { return (k + unit() - 1) / unit() * unit_pitch(); }
  int block_n() const { return kColumns * warps_n; }
  int threads() const { return 32 * warps_n * warps_k; }
  // Workgroup memory: A, and the warps' sums.
  int64_t bytes(int64_t rows, int64_t k) const;
  std::string text() const;  // "rows of 4 bits, 16 columns, warps 1x8, 2 x 128 steps ahead"
};

// `block`: steps with a common scale (integers). Nothing where no schedule fits.
std::optional<FewRowsSchedule> default_few_rows_schedule(int64_t rows, int64_t n, int64_t k, int bits,
                                                         int64_t block, int processors,
                                                         int64_t workgroup_memory);

// 1 where rows are at most `most`, else 0: a factor of the grids of two dispatches, one of which has the
// work.
Dim has_at_most(const Dim& rows, int64_t most);
// The grid of a kernel whose work another dispatch may have: empty where `factor` is 0.
void limit_grid(std::vector<kernel::GridAxis>& grid, const Dim& factor, kernel::ParamTable& params);

// n and k are constants, rows at most `most`, and that at most kMostRows; where rows are a symbol, the grid
// is empty if they are more. Of `operands`: A (a_chunk of whole chunks, or a_element), b_buffer and b_first
// of floats, finish. `panels`: of integers (pack_fragment_words), else null.
MmaKernel build_few_rows_kernel(const Dim& rows, int64_t most, int64_t n, int64_t k,
                                const FewRowsSchedule& schedule, const kernel::Var& thread,
                                const MmaOperands& operands, const QuantisedPanels* panels,
                                kernel::ParamTable& params);

}  // namespace tern::lower::gpu
