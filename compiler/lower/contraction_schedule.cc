#include "compiler/lower/contraction_schedule.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <cmath>
#include <numeric>

#include "compiler/lower/byte_chains.h"
#include "compiler/lower/cache_sets.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

// So many blocks; a few, and some more: a power of two, since three blocks keep two processors busy for as
// long as four of the same work.
int64_t even_blocks(double wanted) {
  constexpr double kMany = 8;
  if (wanted > kMany) return static_cast<int64_t>(wanted);
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::ceil(wanted))));
}

// x86-64 up to AVX2.
bool has_few_registers(const MachineModel& machine) {
  return machine.arch == Arch::kX86_64 && machine.vector_registers <= 16;
}

// NEON multiplies by elements of vectors: of floats, four steps of a row of A are one load.
int elements_of_a(const ContractionShape& shape, const MachineModel& machine) {
  return machine.arch == Arch::kAArch64 && !shape.bytes && shape.element_bytes == 4 ? 4 : 1;
}

// Vectors of 64 bits are multiplied by halves: two products of two parts each, where there is no instruction
// for the whole (two_sum_loop).
bool takes_two_sums(const ContractionShape& shape, const MachineModel& machine) {
  return shape.wide_integers && has_few_registers(machine);
}

// Cycles that one k step of a register tile takes at least: two fused multiply-adds and two loads a cycle,
// and the latency of a dependent fused multiply-add (4 cycles) when there are too few accumulators to hide
// it. Where A's elements are loaded by instructions of their own: three instructions a cycle.
double step_cycles(int rows, int vectors, const ContractionSchedule& s, const MachineModel& machine) {
  const int a_elements = s.a_elements;
  // Two products and two sums, of which a core fetches four a cycle with what loads the rest.
  if (s.two_sums) return (4 * rows * vectors + rows + 2 * vectors + 2) / 4.0;
  const double fma = rows * vectors / 2.0;
  const double loads = (rows + vectors) / 2.0;
  double issue = 0;
  if (machine.arch == Arch::kAArch64)
    issue = (rows * vectors + static_cast<double>(rows) / a_elements + vectors / 2.0 + 1.5) / 3.0;
  // A broadcast serves one product in tiles of one vector: two instructions each, of which a core whose other
  // thread is busy fetches three a cycle (Zen 3: 24 columns take 1.2 to 1.6 times as long by 14 x 1 as by
  // 6 x 2 and 6 x 1).
  if (machine.arch == Arch::kX86_64 && machine.vector_bits == 256 && vectors == 1)
    issue = (2 * rows + 2) / 3.0;
  return std::max({fma, loads, issue, 4.0});
}

// Registers: the accumulators, one row of B and what multiplies it must fit: one broadcast, or elements of A
// (clang spills without two to spare).
bool fits(int rows, int vectors, const ContractionSchedule& s, const MachineModel& machine) {
  const int a_elements = s.a_elements;
  if (s.two_sums) return 2 * rows * vectors + 2 * vectors + 2 <= machine.vector_registers;
  const int a = machine.arch != Arch::kAArch64 ? 1 : a_elements > 1 ? rows + 2 : 6;
  return rows * vectors + vectors + a <= machine.vector_registers;
}

// More lines in a set than ways would evict each other at every step. Two ways are left to B and the rest.
bool rows_stay_in_l1(int rows, int64_t row_bytes, const MachineModel& machine) {
  return row_bytes == 0 || lines_of_set(rows, row_bytes) <= l1_ways(machine) - 2;
}

// A single row does not share the widening of B's bytes with others (Zen 3, 256 x 1024: 7.5 to 5.5 us).
bool takes_halves(const ContractionShape& shape, const MachineModel& machine) {
  return shape.words && shape.m == 1 && shape.m_static && has_few_registers(machine);
}

// Panels of B that a register tile reads side by side. Weights of few rows come from memory, which feeds up
// to four streams best (Zen 5, GB/s on one core with 1 to 8 streams: 45, 44, 45, 45, 43, 42, 40, 38).
int most_panels(const ContractionShape& shape, const MachineModel& machine) {
  constexpr int kStreams = 4, kFewRows = 4;
  if (shape.integers && shape.m == 1) {
    // From memory one panel is prefetched in its order (two: 0.9 times as fast); in L2 two share what they
    // load of the row, where there are registers.
    const bool in_cache = shape.n_static && shape.k * shape.n / 2 <= machine.l2_bytes;
    return in_cache && machine.vector_registers > 16 && machine.vector_bits >= 512 ? 2 : 1;
  }
  const bool from_memory = shape.b_lines && shape.m_static && shape.m <= kFewRows && shape.k_static &&
                           shape.n_static && shape.k * shape.n * 4 > machine.l2_bytes;
  return from_memory ? kStreams : INT_MAX;
}

// Cycles that a k step of covering m rows and n columns with such tiles costs; partial tiles cost what they
// are.
double cover_cost(int rows, int vectors, const ContractionSchedule& s, int64_t m, int64_t n,
                  const MachineModel& machine) {
  const int lanes = s.lanes;
  const int64_t groups = n / (vectors * lanes);
  const int64_t rest_vectors = ceil_div(n % (vectors * lanes), lanes);
  const int64_t tiles = ceil_div(m, rows);
  const int64_t big = ceil_div(m, tiles);  // rows are spread evenly over the tiles
  double cost = 0;
  for (int64_t t = 0; t < 2; ++t) {
    const int64_t count = t == 0 ? m - (big - 1) * tiles : tiles - (m - (big - 1) * tiles);
    const int r = static_cast<int>(big - t);
    if (count <= 0 || r <= 0) continue;
    cost += static_cast<double>(count) * static_cast<double>(groups) * step_cycles(r, vectors, s, machine);
    if (rest_vectors > 0)
      cost += static_cast<double>(count) * step_cycles(r, static_cast<int>(rest_vectors), s, machine);
  }
  return cost;
}

}  // namespace

double cover_cycles(const ContractionSchedule& s, int64_t m, int64_t n, const MachineModel& machine) {
  return cover_cost(s.rows, s.vectors, s, m, n, machine);
}

double contraction_cycles(const ContractionShape& shape, const ContractionSchedule& s,
                          const MachineModel& machine) {
  constexpr double kGather = 1.5;          // one vector of A, into scratch
  constexpr double kMultiplyShare = 0.93;  // of the peak, in the inner loops
  const auto m = static_cast<double>(shape.m), k = static_cast<double>(shape.k);
  const double multiply = cover_cycles(s, shape.m, shape.n, machine) * k / kMultiplyShare;
  if (!shape.packs_a) return static_cast<double>(shape.batch) * multiply;
  // Windows are gathered tap by tap.
  const int64_t run = shape.depth_granule > 1 ? shape.depth_granule : shape.k;
  const double taps = k / static_cast<double>(run);
  const double gather = m * taps * static_cast<double>(ceil_div(run, s.lanes)) * kGather;
  const auto column_blocks = static_cast<double>(ceil_div(shape.n, s.block_columns));
  return static_cast<double>(shape.batch) * (multiply + gather * column_blocks);
}

void choose_register_tile(const ContractionShape& shape, const MachineModel& machine,
                          ContractionSchedule& s) {
  s.lanes = machine.vector_bits / (8 * shape.element_bytes);
  s.a_elements = elements_of_a(shape, machine);
  s.two_sums = takes_two_sums(shape, machine);
  s.byte_halves = takes_halves(shape, machine);
  const int most_vectors = s.byte_halves ? machine.vector_registers / 4 : 8;  // with three sums each
  const int panel_vectors = std::max(1, kPanelColumns / s.lanes);
  const int panels = most_panels(shape, machine);
  double best = 0;
  for (int vectors = 1; vectors <= most_vectors; ++vectors) {
    if (vectors > 1 && (vectors - 1) * s.lanes >= shape.n) break;
    // Whole panels, or a part of one: groups of vectors must not straddle panels unevenly.
    if (vectors % panel_vectors != 0 && panel_vectors % vectors != 0) continue;
    if (vectors / panel_vectors > panels) break;
    for (int rows = 1; rows <= 24 && fits(rows, vectors, s, machine); ++rows) {
      if (rows > 1 && (rows > shape.m || !rows_stay_in_l1(rows, shape.a_row_bytes, machine))) break;
      double cost = cover_cost(rows, vectors, s, std::min<int64_t>(shape.m, 4096), shape.n, machine);
      cost *= 1.0 + 0.002 * vectors;  // on ties, fewer streams of B
      cost *= 1.0 - 0.0005 * rows;    // and fewer, larger tiles
      if (best == 0 || cost < best) {
        best = cost;
        s.rows = rows;
        s.vectors = vectors;
      }
    }
  }
}

// Each block of rows reads all of B again: from memory, or from the last cache if its share of that is no
// larger than a core can count on. Into how many blocks the rows may be split before that takes longer than
// the multiply-adds, beside another core that does the same.
int64_t most_row_blocks(const ContractionShape& shape, const ContractionSchedule& s,
                        const MachineModel& machine) {
  const int64_t bytes = shape.k * shape.n * shape.element_bytes;
  const double cycles = cover_cycles(s, shape.m, shape.n, machine) * static_cast<double>(shape.k);
  const double first = static_cast<double>(bytes) / (machine.memory_bytes_a_cycle / 2);
  const double again =
      bytes <= machine.l3_share_bytes ? static_cast<double>(bytes) / machine.l3_bytes_a_cycle : first;
  return std::max<int64_t>(1, static_cast<int64_t>((cycles - first) / again) + 1);
}

// A block of one row tile reads its slice of B for these rows alone, from L2 or beyond. Where so many
// operations a block would leave it no more, narrower blocks have some row tiles that find B in L1: how many
// columns, or 0 to leave them. Where A waits in scratch, it would be gathered for each of them.
int64_t columns_for_more_rows(const ContractionShape& shape, const ContractionSchedule& s, double per_tile,
                              const MachineModel& machine) {
  constexpr int kTiles = 4;
  if (!has_few_registers(machine) || shape.packs_a || shape.packs_b || shape.bytes || shape.integers ||
      !shape.m_static || !shape.n_static || !shape.k_static || shape.m < kTiles * s.rows)
    return 0;
  const double per_column = 2.0 * static_cast<double>(shape.k) * s.rows;
  if (per_tile >= 2 * per_column * static_cast<double>(std::min(s.block_columns, shape.n))) return 0;
  const int64_t group = int64_t{s.vectors} * s.lanes;
  const auto fitting = static_cast<int64_t>(per_tile / (per_column * kTiles));
  const int64_t blocks = ceil_div(shape.n, std::max(fitting, group));
  return std::min(s.block_columns, round_up(ceil_div(shape.n, blocks), group));
}

ContractionSchedule default_contraction_schedule(const ContractionShape& hinted,
                                                 const MachineModel& machine) {
  constexpr int64_t kUnknownRows = 48;
  ContractionSchedule s;
  s.columns_outside = !hinted.m_static && hinted.n_static && hinted.k_static &&
                      hinted.k * hinted.n * hinted.element_bytes > machine.l2_bytes;
  // A symbolic extent may turn out larger than its hint: tiles that also suit more rows and columns cost a
  // small one little (reading B bounds it), tiles for one row would cost a large one most of its speed.
  ContractionShape shape = hinted;
  if (!shape.m_static) shape.m = std::max<int64_t>(shape.m, 8);
  if (!shape.n_static) shape.n = std::max<int64_t>(shape.n, 64);
  choose_register_tile(shape, machine, s);
  // Few register tiles: make them even (49 rows as 4 x 10 + 9, not 4 x 12 + 1).
  if (shape.m_static && shape.m <= 16 * int64_t{s.rows}) {
    s.rows = static_cast<int>(ceil_div(shape.m, ceil_div(shape.m, s.rows)));
  }

  // Depth: a group's slice of B stays in three quarters of L1 while the rows pass by.
  const int64_t group_columns = int64_t{s.vectors} * s.lanes;
  int64_t depth = std::max<int64_t>(64, machine.l1_bytes * 3 / 4 / (group_columns * shape.element_bytes));
  // Deep ones come from L2 as fast, and partial sums are saved: of bytes (Zen 5, 2304 and 4608 bytes), and of
  // what takes six cycles a line of B (Zen 3, 1024 cubed: 352 steps 22.8, 1024 steps 22.1 ms). But what is
  // copied once a block of rows is read from L1 first (weights of f16, 128 x 3072 x 768: 6.39 and 6.63 ms).
  const bool lies_in_memory = !shape.widens_b && !shape.packs_b;
  if (shape.bytes || (has_few_registers(machine) && lies_in_memory)) depth = std::max<int64_t>(depth, 1024);
  if (shape.m <= 2 * s.rows) depth = 4096;  // B is read once anyway
  if (shape.whole_depth && shape.k_static) {
    s.block_depth = shape.k;
  } else if (!shape.k_static) {
    s.block_depth = std::min<int64_t>(depth, 512);
  } else if (shape.k <= depth + depth / 2) {
    s.block_depth = shape.k;
  } else {
    const int64_t blocks = ceil_div(shape.k, depth);
    s.block_depth = ceil_div(shape.k, blocks);
    const int64_t granule = shape.depth_granule;
    if (granule > 1) {
      if (granule <= s.block_depth) {
        s.block_depth = round_up(s.block_depth, granule);
      } else {  // part of one tap: an even divisor of the channels, or all of them
        int64_t parts = ceil_div(granule, s.block_depth);
        while (parts < granule && granule % parts != 0) ++parts;
        s.block_depth = granule / parts >= 64 ? granule / parts : granule;
      }
    } else {
      s.block_depth = std::min<int64_t>(round_up(s.block_depth, 16), shape.k);
    }
  }

  // Columns: all of them while partial sums and A's block fit L2, so that A is gathered once.
  const int64_t padded_n = shape.n_static ? round_up(shape.n, s.lanes) : group_columns * 8;
  s.block_columns = std::min<int64_t>(round_up(padded_n, group_columns), round_up(1024, group_columns));
  // Weights larger than L2: a column block's slice of them stays in half of it while all rows pass by (the
  // grid's order below), so they come from memory once.
  const int64_t b_bytes = shape.widens_b ? 2 : shape.element_bytes;
  if ((!shape.packs_a || shape.widens_a) && shape.k_static && shape.n_static && shape.batch == 1 &&
      shape.m > s.rows && shape.k * shape.n * b_bytes > machine.l2_bytes) {
    const int64_t fitting = machine.l2_bytes / 2 / (shape.k * b_bytes) / group_columns * group_columns;
    s.block_columns = std::min(s.block_columns, std::max(group_columns, fitting));
  }

  // Rows: A's block in half of L2; and enough tiles to share: about 32 when the work is there, none below ~1
  // MFLOP (5 us; sharing a dispatch between two workers costs some 0.5 us).
  int64_t rows = machine.l2_bytes / 2 / (std::min(s.block_depth, shape.k) * shape.element_bytes);
  if (shape.k > s.block_depth)
    rows = std::min(rows, machine.l2_bytes / 4 / (s.block_columns * shape.element_bytes));
  // Bytes that are widened: a step is four products in four instructions, and sums are made bytes again.
  const double per_sum =
      shape.words ? 3 * (2.0 * static_cast<double>(shape.k) + 10) : 2.0 * static_cast<double>(shape.k);
  const double total = per_sum * static_cast<double>(shape.batch) * static_cast<double>(shape.m) *
                       static_cast<double>(shape.n);
  const bool widens = (shape.widens_a || shape.widens_b) && shape.m > 2 * s.rows;
  // Each block widens all of B: little work becomes two of them.
  const double least_work = shape.words ? std::clamp(total / 2, 1e6, 3e6) : 1e6;
  const double per_tile = std::max(total / (widens ? 16.0 : 32.0), least_work);
  // Where all rows are one block, B alone is brought into scratch, and once: as many columns as leave blocks
  // to share.
  constexpr int64_t kFewBlocksOfColumns = 8;
  bool all_rows = false;
  if ((shape.widens_b || shape.packs_b) && !shape.packs_a && !shape.words && !shape.bytes && shape.m_static &&
      shape.n_static && shape.k_static && shape.m > 2 * s.rows && shape.m <= rows) {
    const auto fitting = static_cast<int64_t>(per_tile / (2.0 * static_cast<double>(shape.k * shape.m)));
    const int64_t columns = std::max(group_columns, fitting / group_columns * group_columns);
    all_rows = ceil_div(shape.n, columns) * shape.batch >= kFewBlocksOfColumns;
    if (all_rows) s.block_columns = std::min(s.block_columns, columns);
  }
  if (widens && !all_rows) {
    // A is widened once a column block, B once a row block: square tiles do both least often.
    const double side = std::sqrt(per_tile / (2.0 * static_cast<double>(shape.k)));
    const int64_t least = shape.packs_a && !shape.widens_a ? 128 : 2 * group_columns;
    s.block_columns =
        std::min(s.block_columns, round_up(std::max(static_cast<int64_t>(side), least), group_columns));
  }
  if (const int64_t columns = columns_for_more_rows(shape, s, per_tile, machine); columns > 0)
    s.block_columns = columns;
  const double per_row = per_sum * static_cast<double>(std::min(s.block_columns, shape.n));
  rows = all_rows ? shape.m
                  : std::min(rows, std::max<int64_t>(s.rows, static_cast<int64_t>(per_tile / per_row)));
  if (widens && shape.widens_b) rows = std::max(rows, 4 * int64_t{s.rows});
  // Unknown rows may be many: each block reads all of B then, and there are enough of them to share.
  if (!shape.m_static) rows = std::max(rows, round_up(kUnknownRows, s.rows));
  // Widening a vector of B costs as much as multiplying two rows with it.
  if (shape.words) rows = std::max(rows, 6 * int64_t{s.rows});
  // Turning it, too: once a block of rows.
  if (shape.packs_b) rows = std::max(rows, 6 * int64_t{s.rows});
  if (shape.packs_a && !shape.bytes && !widens && shape.m_static && shape.n_static && shape.k_static &&
      shape.k * shape.n * shape.element_bytes > machine.l2_bytes)
    rows = std::max(rows, round_up(ceil_div(shape.m, most_row_blocks(shape, s, machine)), s.rows));
  if (!all_rows) rows = std::max<int64_t>(s.rows, rows / s.rows * s.rows);
  if (shape.m_static) {
    rows = std::min(rows, shape.m);
    int64_t blocks = ceil_div(shape.m, rows);
    if (shape.words && shape.batch == 1 && s.block_columns >= shape.n) {
      const int64_t even = even_blocks(static_cast<double>(blocks));
      if (shape.m >= even * 6 * s.rows) blocks = even;
    }
    rows = std::min(shape.m,
                    round_up(ceil_div(shape.m, blocks), ceil_div(shape.m, blocks) > s.rows ? s.rows : 1));
  }
  s.block_rows = std::max<int64_t>(rows, 1);

  // Few rows and much work: split the columns too. Gathering A is repeated for each part, so parts stay wide
  // then.
  const int64_t row_blocks = ceil_div(shape.m, s.block_rows) * shape.batch;
  // With few rows, reading B is the work: a byte of it takes as long as this many operations.
  constexpr double kOperationsPerByte = 6;
  const double reading = kOperationsPerByte * 4 * static_cast<double>(shape.batch * shape.k * shape.n);
  const double work = std::max(total, reading);
  // A is widened for each part: little work becomes two of them.
  const bool by_words = shape.words && total > reading;
  const int64_t shares = by_words && total < 16e6 ? 2 : 16;
  if (row_blocks < shares && work > 4e6 && shape.n_static) {
    constexpr int64_t kRowIsPrepared = 256;  // which takes as long as some 16 columns
    // What is gathered costs some 3 / columns of the multiply-adds.
    const int64_t wide = row_blocks * ceil_div(shape.n, 128) < 8 ? 64 : 128;
    const int64_t least = shape.packs_a || shape.words     ? wide
                          : shape.integers && shape.m == 1 ? round_up(kRowIsPrepared, group_columns)
                                                           : group_columns;
    const double each = static_cast<double>(row_blocks) * (by_words ? 3e6 : 1e6);
    const int64_t wanted =
        std::min<int64_t>(ceil_div(shares, row_blocks), static_cast<int64_t>(work / each) + 1);
    const int64_t columns = std::max(least, round_up(ceil_div(padded_n, wanted), group_columns));
    s.block_columns = std::min(s.block_columns, round_up(columns, group_columns));
  }
  // Whole lines, where enough blocks are left to share.
  if (shape.row_granule > 1 && shape.m_static && s.block_rows < shape.m) {
    constexpr int64_t kFewBlocks = 4;
    const int64_t lines = std::lcm(int64_t{s.rows}, shape.row_granule);
    const int64_t blocks = ceil_div(shape.m, std::max(lines, s.block_rows / lines * lines));
    if (blocks >= kFewBlocks && lines * std::min(s.block_depth, shape.k) * 4 <= machine.l2_bytes / 2)
      s.block_rows = round_up(ceil_div(shape.m, blocks), lines);
  }
  if (shape.single_row) {
    ContractionShape one = shape;
    one.m = 1;
    one.m_static = true;
    ContractionSchedule row;
    choose_register_tile(one, machine, row);
    s.row_vectors = shape.integers ? row.vectors : round_up(row.vectors, s.vectors);
    s.block_columns = round_up(s.block_columns, std::lcm(group_columns, int64_t{s.row_vectors} * s.lanes));
  }
  // Weights that a run brings in from beyond L2: only the first row tile of a group would wait for them, but
  // for it memory is slower than the multiply-adds.
  s.prefetch = !shape.packs_b && shape.element_bytes == 4 && shape.k_static && shape.n_static &&
               shape.m > s.rows && shape.k * shape.n * 4 >= machine.l2_bytes / 8;
  return s;
}

double tile_cycles(const ContractionShape& shape, const ContractionSchedule& s) {
  // A product of tiles with its share of loads, as Sapphire Rapids takes for it beside what it takes for dot
  // products of vectors (27 ns; 72 for the 256 of them), whose cycles are counted as two at a time; a vector
  // of sums on its way through scratch; a vector of A that is gathered.
  constexpr double kProduct = 48, kVector = 1, kGather = 1.5;
  const int64_t row_tiles = ceil_div(shape.m, kernel::kCpuTileRows),
                columns = ceil_div(shape.n, kPanelColumns);
  const double products =
      static_cast<double>(row_tiles * columns * ceil_div(shape.k, kPanelColumns)) * kProduct;
  const double sums = static_cast<double>(shape.m * columns) * kVector;
  const double gather = shape.packs_a ? static_cast<double>(shape.m * ceil_div(shape.k, kPanelColumns) *
                                                            ceil_div(shape.n, s.block_columns)) *
                                            kGather
                                      : 0;
  return static_cast<double>(shape.batch) * (products + sums + gather);
}

namespace {

// Rows of a block, about so many: whole tiles, and no last block of fewer rows than one has.
int64_t tile_block_rows(int64_t m, int64_t wanted, int64_t tile_rows) {
  const int64_t blocks = std::max<int64_t>(1, m / std::max(wanted, tile_rows));
  int64_t rows = std::min(m, round_up(ceil_div(m, blocks), tile_rows));
  while (rows < m && m % rows != 0 && m % rows < kernel::kCpuTileRows) rows += tile_rows;
  return std::min(rows, m);
}

}  // namespace

std::optional<ContractionSchedule> tile_schedule(const ContractionShape& shape, const MachineModel& machine) {
  constexpr int64_t kLeastSteps = 8, kTileRows = kernel::kCpuTileRows;
  if (!shape.k_static || shape.k < kLeastSteps || shape.m < kTileRows) return std::nullopt;
  ContractionShape whole = shape;
  whole.whole_depth = true;
  ContractionSchedule s = default_contraction_schedule(whole, machine);
  const double by_vectors = contraction_cycles(whole, s, machine);
  s.block_depth = shape.k;
  s.vectors = 2;
  s.rows = std::min(s.rows, 8);  // of those tiles of vectors that a few rows take
  s.row_vectors = round_up(s.row_vectors, s.vectors);
  s.tile_rows = static_cast<int>(shape.m_static && shape.m < 2 * kTileRows ? kTileRows : 2 * kTileRows);

  // A block of A, and of B, in half of L2. The longer side is cut first: into some 32 blocks, each of a few
  // microseconds.
  constexpr double kLeastWork = 4e6;
  const int64_t group = int64_t{s.vectors} * s.lanes, in_l2 = machine.l2_bytes / 2 / (shape.k * kByteGroup);
  const double per_step = 2.0 * kByteGroup * static_cast<double>(shape.k);
  const double total = per_step * static_cast<double>(shape.batch * shape.m * shape.n);
  const double each = std::max(total / 32, kLeastWork) / per_step;  // sums of a block
  const int64_t all = round_up(shape.n, group), least = shape.packs_a ? std::min<int64_t>(all, 128) : group;
  const auto bounded = [](double wanted, int64_t low, int64_t high) {
    return static_cast<int64_t>(
        std::clamp(wanted, static_cast<double>(low), static_cast<double>(std::max(low, high))));
  };
  int64_t rows = shape.m, columns = all;
  if (shape.m <= shape.n) {
    rows = std::min(shape.m, std::max<int64_t>(s.tile_rows, in_l2));
    columns = round_up(bounded(each / static_cast<double>(rows), least, all), group);
    columns = round_up(ceil_div(all, ceil_div(all, columns)), group);
  } else {
    columns = std::min(all, std::max(least, in_l2 / group * group));
    rows = bounded(each / static_cast<double>(columns), s.tile_rows, std::max<int64_t>(s.tile_rows, in_l2));
  }
  s.block_columns = columns;
  if (shape.m_static) {
    s.block_rows = tile_block_rows(shape.m, rows, s.tile_rows);
  } else {
    s.block_rows = round_up(std::max<int64_t>(rows, 64), std::lcm(int64_t{s.tile_rows}, int64_t{s.rows}));
    s.block_columns = round_up(s.block_columns, std::lcm(group, int64_t{s.row_vectors} * s.lanes));
  }
  s.prefetch = !shape.packs_b && shape.n_static && shape.k * shape.n * kByteGroup >= machine.l2_bytes / 8;
  constexpr double kClearly = 1.25;
  if (tile_cycles(shape, s) * kClearly > by_vectors) return std::nullopt;
  return s;
}

ContractionSchedule chain_schedule(const ContractionShape& shape, const MachineModel& machine) {
  constexpr int64_t kVectors = 8;  // of sums, beside three of weights and what is on the way
  ContractionSchedule s;
  if (!shape.m_static) {  // there may be few rows: those are widened
    ContractionShape few = shape;
    few.whole_depth = true;
    s = default_contraction_schedule(few, machine);
  }
  s.lanes = machine.vector_bits / 32;
  s.block_depth = shape.k;
  const int64_t vectors = ceil_div(shape.m, s.lanes);
  s.chain_vectors =
      static_cast<int>(shape.m_static ? ceil_div(vectors, ceil_div(vectors, kVectors)) : kVectors);
  const int64_t side = int64_t{s.chain_vectors} * s.lanes, tiles = ceil_div(shape.m, side) * shape.batch;
  const double total = 2.0 * kByteGroup * static_cast<double>(shape.batch * shape.m) *
                       static_cast<double>(shape.n) * static_cast<double>(shape.k);
  // Some 25 us each on a Zen 3; what takes half as long is shared by two. Rows are turned for each block of
  // columns, which takes as long as two columns.
  const int64_t wanted = even_blocks(std::clamp(total / 4e6, total > 2e6 ? 2.0 : 1.0, 32.0));
  const int64_t least = tiles * ceil_div(shape.n, int64_t{128}) < 2 ? 64 : 128;
  const int64_t wide = std::max(least, ceil_div(shape.n, ceil_div(wanted, tiles)));
  const int64_t columns = ceil_div(shape.n, ceil_div(shape.n, wide));  // 160 are 96 and 64, not 128 and 32
  s.block_columns = round_up(std::min(columns, round_up(shape.n, kPanelColumns)),
                             std::lcm(chain_sorted_columns(shape.k), int64_t{s.vectors} * s.lanes));
  const int64_t parts = ceil_div(shape.n, s.block_columns),
                together = std::max<int64_t>(1, tiles * parts / wanted);
  s.block_rows = side * std::min(together, ceil_div(shape.m, side));
  if (shape.m_static) s.block_rows = std::min(s.block_rows, shape.m);
  s.prefetch = shape.k * shape.n * kByteGroup >= machine.l2_bytes / 8;
  return s;
}

double chain_cycles(const ContractionShape& shape, const ContractionSchedule& s, double cycles_a_step) {
  // Of a column: finding its list and the ends of three loops; of a vector: what brings its sum to memory and
  // back.
  constexpr double kColumn = 12, kVector = 2;
  // A vector of a step: turning the rows.
  constexpr double kTurn = 2;
  const auto vectors = static_cast<double>(ceil_div(shape.m, s.lanes)), k = static_cast<double>(shape.k);
  const double column = vectors * (k * cycles_a_step + kVector) + vectors / s.chain_vectors * kColumn;
  const double turns = vectors * k * kTurn * static_cast<double>(ceil_div(shape.n, s.block_columns));
  return static_cast<double>(shape.batch) * (static_cast<double>(shape.n) * column + turns);
}

std::string ContractionSchedule::text() const {
  if (chain_vectors > 0)
    return fmt::format("chains, tile {}x{} rows, block {}x{}x{}", chain_vectors, lanes, block_rows,
                       block_columns, block_depth);
  if (tile_rows > 0)
    return fmt::format("tiles {}x{}, block {}x{}x{}", tile_rows, vectors * lanes, block_rows, block_columns,
                       block_depth);
  return fmt::format("{}tile {}x{}x{}, block {}x{}x{}", byte_halves ? "a row of halves, " : "", rows, vectors,
                     lanes, block_rows, block_columns, block_depth);
}

}  // namespace tern::lower
