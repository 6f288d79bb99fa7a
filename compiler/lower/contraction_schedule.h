// The schedule of a contraction on a CPU level, as plain data, and the cost model that chooses it from shapes
// alone.
//
// A contraction is out[b, m, n] = sum over k of A[b, m, k] * B[b, k, n]; a convolution is one with m = output
// pixels and k = window taps times input channels (implicit GEMM). The kernel's loops, outermost first:
//
//   grid    batch, row blocks, column blocks       one tile: block_rows x block_columns of the output
//   depth   blocks of block_depth                  partial sums wait in worker scratch when there are several
//   columns groups of `vectors` vectors
//   rows    register tiles of `rows` x `vectors`   the accumulators; A is broadcast, B is read as vectors
//   (large weights: while a group's rows pass, prefetches bring the next group's part of B into L2)
//   k       one step: vectors loads of B, rows broadcasts of A, rows*vectors fused multiply-adds
//
// (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", TOMS 2008, with B packed
// offline.) Everything follows from shapes and the machine model, never from the number of threads, so
// results do not depend on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "compiler/lower/target.h"
#include "compiler/support/dim.h"

namespace tern::lower {

// Sizes for the cost model; symbolic ones count with their symbols' hints.
struct ContractionShape {
  int64_t batch = 1, m = 1, n = 1, k = 1;
  bool m_static = true, n_static = true, k_static = true;
  int element_bytes = 4;    // of A, B and sums; 8: f64
  bool bytes = false;       // k counts steps of four bytes
  bool packs_a = false;     // A is gathered into worker scratch (convolution windows, inlined producers)
  int64_t a_row_bytes = 0;  // from row to row of an A that is read in place; 0: not known
  bool packs_b =
      false;  // B is transposed into worker scratch (an activation whose columns are not contiguous)
  bool b_lines = false;  // B is packed panels, whose step is a line of 64 bytes
  bool words = false;  // of bytes: both are widened in scratch, A for all columns, B for all rows of a block
  // A is gathered only to widen it, row by row; B is widened a panel at a time, for each block of rows again.
  bool widens_a = false, widens_b = false;
  bool wide_integers = false;  // A, B and sums are integers of 64 bits
  bool integers = false;       // B is words of integers (quantised_weights.h), a panel of them one stream
  bool single_row = false;     // a single row of a symbolic m is done by tiles of its own
  int64_t depth_granule =
      1;  // block_depth must be a multiple of this, or a divisor of it (input channels of a convolution)
  bool whole_depth = false;  // block_depth must be k
  int64_t row_granule = 1;   // blocks of whole multiples of so many rows are cheaper (lines of a picture)
};

struct ContractionSchedule {
  int lanes = 4;              // f32 (f64) lanes of a vector
  int rows = 1, vectors = 1;  // register tile
  int64_t block_rows = 1, block_columns = 1, block_depth = 1;
  // Of unknown rows: tiles of all rows follow each other before the next columns, since B is larger than L2.
  bool columns_outside = false;
  bool prefetch = false;     // the next group's part of B is asked for while this group's is used
  int row_vectors = 1;       // of the tiles of a single row (ContractionShape::single_row)
  int a_elements = 1;        // steps of A that are loaded at once, as a vector whose elements multiply
  bool byte_halves = false;  // one row of bytes is multiplied by halves (byte_words.h)
  bool two_sums = false;     // of 64 bits: what the lower halves make, and the upper half of the rest
  int chain_vectors = 0;     // of rows, in a tile along chains (byte_chains.h); 0: no chains
  int tile_rows = 0;         // of sums by the machine's tiles, 32 or 16; 0: no tiles
  std::string text() const;  // "tile 12x2x16, block 192x64x256"
};

// Width of a packed panel of B in columns, the same for every level, so that they share the constants.
inline constexpr int kPanelColumns = 16;
// Products that one step along k adds where the operands are bytes; such a step moves as much memory as one
// of floats, so schedules count steps and need not know.
inline constexpr int kByteGroup = 4;

// Sets lanes, rows, vectors and a_elements: the register tile that covers m x n in the fewest cycles.
void choose_register_tile(const ContractionShape& shape, const MachineModel& machine, ContractionSchedule& s);
// The least number of cycles that one step of k takes over m rows and n columns.
double cover_cycles(const ContractionSchedule& s, int64_t m, int64_t n, const MachineModel& machine);

// Cycles that the whole contraction takes on one core with its operands at hand: the multiply-adds, and
// gathering A once a column block where that is done.
double contraction_cycles(const ContractionShape& shape, const ContractionSchedule& s,
                          const MachineModel& machine);

// Of bytes by the machine's tiles; nothing where vectors take about as long.
std::optional<ContractionSchedule> tile_schedule(const ContractionShape& shape, const MachineModel& machine);
double tile_cycles(const ContractionShape& shape, const ContractionSchedule& s);
ContractionSchedule default_contraction_schedule(const ContractionShape& shape, const MachineModel& machine);
// Of bytes along chains, whose steps take so many cycles each.
ContractionSchedule chain_schedule(const ContractionShape& shape, const MachineModel& machine);
double chain_cycles(const ContractionShape& shape, const ContractionSchedule& s, double cycles_a_step);

}  // namespace tern::lower
