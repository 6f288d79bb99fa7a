#include "compiler/lower/gpu/matrix_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

// Microseconds: what a dispatch costs; one block's time, a stage of which pays for latency, its bytes and the
// tiles that are read of it, and its end for its size and its threads; other blocks of the processor hide a
// part of it; memory and multiplication for all of them.
struct CostRow {
  double start, rate, bytes, latency, flops;  // KiB and flops a microsecond
  double sums, threads, block;                // of a block: 1024 of them, 128 of them, itself
  double hidden;                              // of a further block on the processor, how much is left
  int threads_of_processor;
  double parts, tiles;  // what twice the warps_k, twice the tiles at a time, add to the rate
  double read;          // KiB a microsecond of tiles from workgroup memory; 0: not looked at
  double single = 0;    // of a stage that is the only one in memory: its second barrier
  double passes = 0;    // of each time that a part of the sums passes through workgroup memory
  // Of a thread beside its sums and what it copies: what a processor has for its threads bounds the
  // workgroups on it, and threads_of_processor is not looked at. 0: the other way round.
  double registers = 0;
  double plane = 0;  // of each further part of the depth
};
constexpr MatrixSchedule kProductRows[] = {
    {32, 32, 64, 1, 1, 4, 1, false, true},       {32, 32, 64, 1, 1, 2, 1, false, true},
    {16, 32, 64, 1, 1, 6, 1, false, true},       {32, 16, 64, 1, 1, 6, 1, false, true},
    {16, 16, 64, 1, 1, 8, 1, false, true},       {32, 64, 32, 1, 1, 4, 1, false, true},
    {64, 32, 64, 2, 1, 2, 2, false, false, 2},   {64, 64, 64, 2, 2, 1, 2, false, false, 2},
    {128, 128, 32, 2, 4, 1, 2, false, false, 2}, {128, 128, 32, 2, 4, 2, 2, false, false, 2},
    {64, 64, 64, 2, 2, 2, 2, false, false, 2},   {64, 48, 64, 4, 1, 2, 2, false, false, 2},
    {64, 96, 64, 2, 2, 2, 2, false, false, 2},   {48, 96, 64, 1, 3, 2, 2, false, false, 2},
    {80, 64, 64, 1, 2, 4, 2, false, false, 2},   {96, 64, 64, 2, 1, 4, 2, false, false, 2},
    {96, 64, 64, 2, 2, 2, 2, false, false, 2},   {96, 96, 64, 2, 2, 2, 1, false, false, 2},
    {96, 96, 32, 2, 2, 2, 2, false, false, 2},   {128, 64, 64, 4, 2, 1, 1, false, false, 2},
    {128, 64, 32, 2, 2, 2, 2, false, false, 2},  {128, 96, 64, 4, 2, 1, 1, false, false, 2},
    {64, 128, 32, 2, 2, 2, 2, false, false, 2},  {32, 96, 64, 2, 2, 2, 2, false, false, 2},
    {64, 32, 64, 4, 1, 2, 2, false, false, 2},   {96, 32, 64, 2, 1, 4, 2, false, false, 2},
    {32, 32, 128, 1, 1, 8, 2, false, false, 4},
};
constexpr MatrixSchedule kConvolutionRows[] = {
    {32, 32, 32, 1, 1, 8, 1, false, true},
    {16, 32, 32, 1, 1, 8, 1, false, true},
    {16, 16, 32, 1, 1, 16, 1, false, true},
    {16, 16, 32, 1, 1, 8, 1, false, true},
    {32, 32, 128, 2, 2, 2, 2},
    {64, 32, 64, 4, 2, 1, 2},
    {64, 64, 64, 2, 2, 2, 2},
    {128, 128, 32, 2, 4, 1, 2},
    {128, 128, 32, 2, 4, 2, 2},
};

// For large shapes beside these, and in front of them.
constexpr MatrixSchedule kLargeProductRows[] = {
    {128, 128, 64, 2, 2, 1, 1},
    {128, 128, 64, 2, 4, 1, 1},
    {128, 128, 32, 2, 2, 1, 2},
    {128, 64, 64, 2, 2, 1, 1},
    {128, 80, 32, 4, 1, 1, 2, false, false, 1, 2},
    {128, 96, 32, 2, 2, 1, 2, false, false, 1, 2},
    {64, 64, 64, 2, 2, 1, 2, false, false, 1, 2},
};
constexpr MatrixSchedule kLargeConvolutionRows[] = {
    {128, 128, 64, 2, 4, 1, 1},
    {128, 128, 32, 2, 2, 1, 2},
    {128, 128, 64, 2, 2, 1, 1},
    {128, 64, 64, 2, 2, 1, 1},
    {64, 96, 64, 2, 2, 2, 2},
    {64, 64, 64, 2, 2, 1, 2, false, false, 1, 2},
    {64, 64, 64, 1, 1, 4, 2, false, false, 1, 2},
    {128, 80, 32, 4, 1, 1, 2, false, false, 1, 2},
    {128, 96, 32, 2, 2, 1, 2, false, false, 1, 2},
};

// Of those that multiplication bounds alike the first one is taken. Products and convolutions have those that
// won inside networks.
constexpr MatrixSchedule kBf16x6ProductRows[] = {
    {64, 64, 32, 1, 2, 2, 1},
    {128, 64, 32, 2, 2, 1, 1},
    {64, 32, 64, 1, 1, 4, 1},
    {32, 64, 64, 1, 1, 4, 1},
    {32, 32, 64, 1, 1, 4, 1},
    {16, 32, 128, 1, 1, 8, 1},
    {32, 64, 16, 1, 1, 8, 1, false, true},
    {32, 32, 32, 1, 1, 8, 1, false, true},
    {16, 32, 32, 1, 1, 8, 1, false, true},
    {16, 16, 32, 1, 1, 16, 1, false, true},
};
constexpr MatrixSchedule kBf16x6ConvolutionRows[] = {
    {64, 64, 32, 1, 2, 2, 1},
    {128, 64, 32, 2, 2, 1, 1},
    {64, 32, 32, 2, 1, 2, 1},
    {32, 32, 64, 1, 1, 4, 1},
    {16, 32, 128, 1, 1, 8, 1},
    {32, 32, 32, 1, 1, 8, 1, false, true},
    {16, 32, 32, 1, 1, 8, 1, false, true},
    {16, 16, 32, 1, 1, 16, 1, false, true},
};
constexpr MatrixSchedule kLargeBf16x6ProductRows[] = {
    {128, 64, 32, 2, 2, 1, 1}, {64, 64, 32, 2, 2, 1, 1}, {64, 64, 32, 1, 2, 2, 1},
    {64, 96, 32, 2, 2, 1, 1},  {64, 32, 32, 2, 1, 2, 1},
};
constexpr MatrixSchedule kLargeBf16x6ConvolutionRows[] = {
    {128, 64, 32, 2, 2, 1, 1}, {64, 64, 32, 2, 2, 1, 1}, {64, 64, 32, 1, 2, 2, 1},
    {64, 32, 32, 2, 1, 2, 1},  {64, 32, 64, 1, 1, 4, 1},
};

using Rows = std::span<const MatrixSchedule>;
struct Costs {
  CostRow own, common;
};
struct Fit {
  Rows rows;
  Costs costs;
  double large_from = 0;  // multiplications of a shape from which on large_rows come first, whose times and
  Rows large_rows = {};   // those of `rows` large_costs tells; 0: none
  Costs large_costs = {};
};
// Stages of each subgroup: to 493 times of 40 schedules over 28 shapes on an H100 (to 14 %; the chosen
// schedule is 4 % slower than the best one on average). Of all: to 90 times of 21 schedules over 12 products
// of 128 to 384 rows on an H100, inside their networks (to 5 %; the chosen ones take as long as the best).
// Large: to 290 times of 16 schedules over 9 products of 1e9 multiplications and more on an H200 (the chosen
// ones take 2 % more than the best).
constexpr CostRow kOwnProducts = {1.67, 51.8, 20700, 0.098, 0.73e6, 1.04, 0.384, 0.007, 0.8, 2048, 0, 0, 0};
constexpr Fit kProducts = {
    kProductRows,
    {kOwnProducts,
     {1.85, 67.8, 4041, 0.1238, 1.773e6, 0.2224, 0.034, 0, 0.778, 1176, 0, 0, 1035, 0.0838, 0.138}},
    1.5e9,
    kLargeProductRows,
    {kOwnProducts,
     {2.559, 19.69, 4900, 0.09879, 1.863e6, 0.205, 0.01981, 0, 0.4528, 0, 0.3996, 0.4249, 1764, 0.009578,
      0.05816, 79.63}}};
// To 1,200 times of 24 schedules over ResNet-50's convolutions on an H200, in their network, where weights
// and code come from memory (to 13 %; the chosen schedules take 4 % more than the best ones together).
// Large: to 300 times of 16 schedules over 18 of 3e8 multiplications and more on an H200 (4 % more than the
// best; what was fitted to small ones took 12 %).
constexpr CostRow kOwnConvolutions = {1.73,  45.6, 11170, 0.105, 0.506e6, 0.911, 0.158,
                                      0.002, 0.59, 1141,  0,     0,       0};
constexpr Fit kConvolutions = {
    kConvolutionRows,
    {kOwnConvolutions, {1.1, 24.2, 3185, 0.205, 5.8e6, 0.324, 0.1, 0.5, 0.373, 1881, 0.13, 0.13, 0}},
    3e8,
    kLargeConvolutionRows,
    {kOwnConvolutions,
     {2.558, 22.06, 1.803e4, 0.1302, 1.989e6, 0.2872, 0, 0, 0.3433, 0, 0.3488, 0.2685, 2238, 0, 0.02901,
      76.2}}};

// Six products of bf16: to 500 times of 40 schedules over 20 shapes in chains on an H100 (over 31 shapes the
// chosen ones take 4 % more than the best; what was fitted to all of those chose worse inside networks), and
// to 580 of 11 over ResNet-50's convolutions in their network (0.5 %). Large: to 500 times of 17 schedules
// over 23 products and 31 convolutions in eight networks on an H200 (to 14 and 18 %; the chosen ones take 1.6
// and 1.7 % more than the best, by the fits for all shapes 11 and 13 %).
constexpr Fit kBf16x6Products = {
    kBf16x6ProductRows,
    {{4.68, 55.1, 2882, 0.27, 0.294e6, 0.563, 0.113, 0.593, 0.471, 2048, -0.0806, 0.0363, 497, 0, 0},
     {4.31, 42.2, 3657, 0.267, 0.282e6, 0.289, 0.229, 0.593, 0.145, 840, 0.00444, 0.138, 400, 0, 0.363}},
    5e7,
    kLargeBf16x6ProductRows,
    {{5.053, 93.62, 2882, 0.8353, 0.294e6, 0.6725, 0.5101, 0.05803, 1, 2048, -0.0806, 0.0363, 1290, 0, 0, 0,
      0.3863},
     {1.126, 9.452, 6000, 0, 0.45e6, 1.285, 0, 0, 0.3147, 0, 0.7841, 1.17, 93.09, 0, 0.5023, 140.8, 0.3863}}};
constexpr Fit kBf16x6Convolutions = {
    kBf16x6ConvolutionRows,
    {{5.82, 59.6, 3305, 0.143, 0.192e6, 1.72, 0.19, 0, 0.723, 523, -0.1, 0.0363, 100, 0, 0},
     {6, 38.6, 3724, 0.421, 0.217e6, 0.00911, 0.284, 0.408, 0.199, 602, 0.235, -0.1, 1227, 0, 0.463}},
    5.5e7,
    kLargeBf16x6ConvolutionRows,
    {{0.02218, 37.65, 3305, 0.02268, 0.192e6, 5.818, 0.01379, 0.1137, 0.5723, 523, -0.1, 0.0363, 16.82, 0, 0},
     {5.702, 12.83, 6000, 0, 0.45e6, 1.081, 0.2928, 0, 0.4244, 0, 0.2188, 0.08856, 0, 0, 0, 58.38}}};

// Rows that a workgroup computes itself: each thread's turn at a few of them, and what a dispatch of their
// own costs (H200).
constexpr double kRowsTurn = 1.9, kRowsDispatch = 3.6;

const Fit& fit_of(const MmaShape& shape) {
  if (shape.bf16x6) return shape.pixels ? kBf16x6Convolutions : kBf16x6Products;
  return shape.pixels ? kConvolutions : kProducts;
}
bool is_large(const MmaShape& shape) {
  const double from = fit_of(shape).large_from;
  return from > 0 && shape.element_bytes == 2 &&
         static_cast<double>(shape.batch * shape.m * shape.n) * static_cast<double>(shape.k) >= from;
}

double cost(const MmaShape& shape, const MatrixSchedule& s, const MmaMachine& machine) {
  const Costs& costs = is_large(shape) ? fit_of(shape).large_costs : fit_of(shape).costs;
  const CostRow& row = s.own ? costs.own : costs.common;
  const auto blocks = static_cast<double>(s.split * shape.batch * ceil_div(shape.m, s.block_m) *
                                          ceil_div(shape.n, s.block_n));
  const int64_t steps = ceil_div(shape.k / s.split, s.block_depth);
  const int64_t together = s.own ? std::min<int64_t>(s.warps_k, steps) : 1;  // stages that come at a time
  const int copied = (s.resident_depth ? 0 : s.block_m) + s.block_n;
  const double kib = copied * s.block_depth * s.element_bytes() * (shape.bf16x6 ? 2 : 1) / 1024.0,
               sums = s.block_m * s.block_n;
  const double even = blocks / machine.processors;
  const double share = std::ceil(even) <= 4 ? std::ceil(even) : std::max(4.0, even);
  const int64_t memory = std::max(s.stage_bytes(), s.partial_bytes()) + 1024;
  constexpr int kRegisters = 65536;  // of a processor
  const double thread = std::min<double>(machine.registers, s.sums() + s.copied() + row.registers);
  const int64_t threads =
      row.registers > 0 ? static_cast<int64_t>(kRegisters / thread) : row.threads_of_processor;
  const int64_t fit = std::min<int64_t>(machine.workgroup_memory / memory, threads / s.threads());
  const double resident = std::min(static_cast<double>(std::max<int64_t>(fit, 1)), share);
  const double rate =
      row.rate * (1 + row.parts * std::log2(s.warps_k) + row.tiles * std::log2(s.warps_m * s.warps_n));
  const int64_t turns = ceil_div(int64_t{s.block_m} * s.resident_depth, s.threads() * kResidentPiece);
  const double read = row.read == 0 ? 0 : static_cast<double>(s.tile_bytes()) / 1024 / row.read;
  const double latency = row.latency + (s.stages == 1 && !s.own ? row.single : 0);
  const double one = static_cast<double>(ceil_div(steps, together)) *
                         (latency + static_cast<double>(together) * kib / rate + read) +
                     sums / 1024 * row.sums + s.threads() / 128.0 * row.threads + row.block +
                     static_cast<double>(s.tiles_m() / s.partial_rows()) * row.passes +
                     static_cast<double>(turns) * kRowsTurn;
  const double serial = one * (1 + row.hidden * (resident - 1)) * share / resident;
  const double depth = static_cast<double>(steps * s.block_depth * s.element_bytes()) / 2;
  return row.start + row.plane * (s.split - 1) +
         std::max({serial, blocks * static_cast<double>(steps) * kib / row.bytes,
                   share * 2 * depth * sums / row.flops});
}

// Chains of dispatches in one kernel have workgroups of at most so many threads, and one a processor: of
// products' schedules that are as good one that suits them.
double unusual(const MmaShape& shape, const MatrixSchedule& s, const MmaMachine& machine) {
  constexpr int kChainThreads = 256;
  constexpr double kUnusual = 0.15;  // microseconds
  const int64_t blocks = s.split * shape.batch * ceil_div(shape.m, s.block_m) * ceil_div(shape.n, s.block_n);
  const bool suits = s.threads() <= kChainThreads && blocks <= machine.processors;
  return suits || shape.pixels ? 0 : kUnusual;
}

// The best row and what it costs; nothing: no row can have the split, or the machine's tiles.
std::optional<std::pair<MatrixSchedule, double>> best_row(const MmaShape& shape, const MmaMachine& machine,
                                                          bool b_columns, int split) {
  const Fit& fit = fit_of(shape);
  std::optional<std::pair<MatrixSchedule, double>> best;
  const auto consider = [&](MatrixSchedule s) {
    s.b_columns = b_columns;
    s.split = split;
    s.bf16x6 = shape.bf16x6;
    s.int8 = shape.int8;
    s.unit = machine.unit;
    if (!s.suits_unit() || s.threads() > machine.threads || s.sums() > (machine.registers + 1) / 2) return;
    if (s.ahead > 1 && b_columns) return;
    // Of each warp's part of the depth.
    if (shape.element_bytes == 1 && !s.int8 &&
        ceil_div(shape.k, s.warps_k) + s.block_depth > MatrixSchedule::kExactSteps)
      s.bytes_planes = 2;
    if (split > 1 && shape.k % (int64_t{split} * s.block_depth) != 0) return;
    if (std::max(s.stage_bytes(), s.partial_bytes()) > machine.workgroup_memory_limit) return;
    const double c = cost(shape, s, machine) + unusual(shape, s, machine);
    if (!best || c < best->second) best = {s, c};
  };
  if (is_large(shape)) std::for_each(fit.large_rows.begin(), fit.large_rows.end(), consider);
  for (MatrixSchedule s : fit.rows) {
    consider(s);
    s.block_depth *= 2;  // the same bytes
    if (shape.int8) consider(s);
  }
  return best;
}

}  // namespace

std::optional<MatrixSchedule> default_matrix_schedule(const MmaShape& shape, const MmaMachine& machine,
                                                      bool b_columns, int split) {
  const auto best = best_row(shape, machine, b_columns, split);
  return best ? std::optional(best->first) : std::nullopt;
}

int matrix_split(const MmaShape& shape, const MmaMachine& machine) {
  // What planes cost their readers, most often two: 0.2 to 0.3 us a plane of 384 x 768 each (H100, in
  // networks).
  constexpr double kReaders = 0.1, kBytes = 4e6;  // microseconds; bytes a microsecond
  int best = 1;
  const auto whole = best_row(shape, machine, false, 1);
  if (!whole) return 1;
  double least = whole->second;
  for (const int split : {2, 3, 4, 6, 8}) {
    const auto parts = best_row(shape, machine, false, split);
    if (!parts) continue;
    const double c = parts->second;
    const double planes = static_cast<double>(split - 1) * static_cast<double>(shape.m * shape.n) * 4 * 2;
    if (c + kReaders + planes / kBytes >= least) continue;
    least = c + kReaders + planes / kBytes;
    best = split;
  }
  return best;
}

std::optional<MatrixSchedule> resident_matrix_schedule(const MmaShape& shape, const MmaMachine& machine) {
  static constexpr MatrixSchedule kRows[] = {
      {64, 16, 32, 4, 1, 1, 1},
      {16, 32, 32, 1, 1, 8, 1, false, true},
      {16, 16, 32, 1, 1, 8, 1, false, true},
      {16, 16, 32, 1, 1, 16, 1, false, true},
  };
  const auto apart = best_row(shape, machine, false, 1);
  if (!apart) return std::nullopt;
  std::optional<MatrixSchedule> best;
  double best_cost = cost(shape, apart->first, machine) + kRowsDispatch;
  for (MatrixSchedule s : kRows) {
    s.resident_depth = static_cast<int>(round_up(shape.k, s.block_depth));
    s.unit = machine.unit;
    if (!s.suits_unit() || s.threads() > machine.threads) continue;
    if (std::max(s.stage_bytes(), s.partial_bytes()) > machine.workgroup_memory_limit) continue;
    const double c = cost(shape, s, machine);
    if (c >= best_cost) continue;
    best_cost = c;
    best = s;
  }
  return best;
}

bool MatrixSchedule::suits_unit() const {
  const bool whole = block_m % (warps_m * tile_rows()) == 0 && block_n % (warps_n * tile_columns()) == 0 &&
                     block_depth % (tile_depth() * (own ? 1 : warps_k)) == 0;
  return whole && (resident_depth > 0 || copiers() % (block_depth / chunk()) == 0);
}

int MatrixSchedule::partial_rows() const {
  int rows = tiles_m();
  while (rows > 1 && (tiles_m() % rows != 0 || rows * partial_row_bytes() > stage_bytes())) --rows;
  return rows;
}

std::string unit_text(const kernel::TileUnit& unit) {
  const auto& [m, n, k] = unit.shape;
  const bool usual = m == 16 && n == 16 && (k == 16 || k == 32) && unit.subgroup == 32;
  return usual ? "" : fmt::format(", tiles {}x{}x{} of {}", m, n, k, unit.subgroup);
}

std::string MatrixSchedule::text() const {
  return fmt::format("matrix {}x{}x{}, warps {}x{}x{}, {} stage{}{}{}{}", block_m, block_n, block_depth,
                     warps_m, warps_n, warps_k, stages, stages == 1 ? "" : "s", own ? " of each" : "",
                     resident_depth ? ", A resident" : "",
                     groups == 1 ? "" : fmt::format(", {} groups copy", groups)) +
         (ahead == 1 ? "" : fmt::format(", {} on their way", ahead)) +
         (split == 1 ? "" : fmt::format(", depth in {} parts", split)) + (bf16x6 ? ", 6xBF16" : "") +
         (int8 ? ", bytes" : "") + (bytes_planes > 1 ? ", carried" : "") + unit_text(unit);
}

}  // namespace tern::lower::gpu
