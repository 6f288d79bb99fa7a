#include "compiler/lower/gpu/matrix_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

// Microseconds: what a dispatch costs; one block's time, a stage of which pays for latency and its bytes, and
// its end for its size and its threads; other blocks of the processor hide a part of it; memory and
// multiplication for all of them.
struct CostRow {
  double start, rate, bytes, latency, flops;  // KiB and flops a microsecond
  double sums, threads, block;                // of a block: 1024 of them, 128 of them, itself
  double hidden;                              // of a further block on the processor, how much is left
  int threads_of_processor;
  double parts, tiles;  // what twice the warps_k, twice the tiles at a time, add to the rate
};
struct Fit {
  CostRow own, common;
};
// To 493 times of 40 schedules over 28 shapes on an H100 (to 14 %; the chosen schedule is 4 % slower than the
// best one on average).
constexpr Fit kProducts = {{1.67, 51.8, 20700, 0.098, 0.73e6, 1.04, 0.384, 0.007, 0.8, 2048, 0, 0},
                           {0.875, 36.5, 3617, 0.095, 1.657e6, 0.245, 0.1, 1.1, 0.61, 1024, 0.12, 0}};
// To 1,200 times of 24 schedules over ResNet-50's convolutions on an H200, in their network, where weights
// and code come from memory (to 13 %; the chosen schedules take 4 % more than the best ones together).
constexpr Fit kConvolutions = {{1.73, 45.6, 11170, 0.105, 0.506e6, 0.911, 0.158, 0.002, 0.59, 1141, 0, 0},
                               {1.1, 24.2, 3185, 0.205, 5.8e6, 0.324, 0.1, 0.5, 0.373, 1881, 0.13, 0.13}};

// Rows that a workgroup computes itself: each thread's turn at a few of them, and what a dispatch of their
// own costs (H200).
constexpr double kRowsTurn = 1.9, kRowsDispatch = 3.6;

double cost(const MmaShape& shape, const MatrixSchedule& s, const MmaMachine& machine) {
  const Fit& fit_of = shape.pixels ? kConvolutions : kProducts;
  const CostRow& row = s.own ? fit_of.own : fit_of.common;
  const auto blocks =
      static_cast<double>(shape.batch * ceil_div(shape.m, s.block_m) * ceil_div(shape.n, s.block_n));
  const int64_t steps = ceil_div(shape.k, s.block_depth);
  const int64_t together = s.own ? std::min<int64_t>(s.warps_k, steps) : 1;  // stages that come at a time
  const int copied = (s.resident_depth ? 0 : s.block_m) + s.block_n;
  const double kib = copied * s.block_depth / 512.0, sums = s.block_m * s.block_n;
  const double even = blocks / machine.processors;
  const double share = std::ceil(even) <= 4 ? std::ceil(even) : std::max(4.0, even);
  const int64_t memory = std::max(s.stage_bytes(), s.partial_bytes()) + 1024;
  const int64_t fit =
      std::min<int64_t>(machine.workgroup_memory / memory, row.threads_of_processor / s.threads());
  const double resident = std::min(static_cast<double>(std::max<int64_t>(fit, 1)), share);
  const double rate =
      row.rate * (1 + row.parts * std::log2(s.warps_k) + row.tiles * std::log2(s.warps_m * s.warps_n));
  const int64_t turns = ceil_div(int64_t{s.block_m} * s.resident_depth, s.threads() * kResidentPiece);
  const double one = static_cast<double>(ceil_div(steps, together)) *
                         (row.latency + static_cast<double>(together) * kib / rate) +
                     sums / 1024 * row.sums + s.threads() / 128.0 * row.threads + row.block +
                     static_cast<double>(turns) * kRowsTurn;
  const double serial = one * (1 + row.hidden * (resident - 1)) * share / resident;
  const double depth = static_cast<double>(steps * s.block_depth);
  return row.start + std::max({serial, blocks * static_cast<double>(steps) * kib / row.bytes,
                               share * 2 * depth * sums / row.flops});
}

}  // namespace

MatrixSchedule default_matrix_schedule(const MmaShape& shape, const MmaMachine& machine, bool b_columns) {
  static constexpr MatrixSchedule kProductRows[] = {
      {32, 32, 64, 1, 1, 4, 1, false, true},
      {32, 32, 64, 1, 1, 2, 1, false, true},
      {16, 32, 64, 1, 1, 6, 1, false, true},
      {32, 16, 64, 1, 1, 6, 1, false, true},
      {16, 16, 64, 1, 1, 8, 1, false, true},
      {32, 64, 32, 1, 1, 4, 1, false, true},
      {64, 32, 64, 2, 1, 2, 2},
      {64, 64, 64, 2, 2, 1, 2},
      {64, 64, 32, 2, 2, 1, 2},
      {64, 64, 64, 2, 2, 4, 2},
      {128, 128, 32, 2, 4, 1, 2},
      {128, 128, 32, 2, 4, 2, 2},
  };
  static constexpr MatrixSchedule kConvolutionRows[] = {
      {32, 32, 32, 1, 1, 8, 1, false, true},
      {16, 32, 32, 1, 1, 8, 1, false, true},
      {16, 16, 32, 1, 1, 16, 1, false, true},
      {32, 32, 128, 2, 2, 2, 2},
      {64, 32, 64, 4, 2, 1, 2},
      {64, 64, 64, 2, 2, 2, 2},
      {128, 128, 32, 2, 4, 1, 2},
      {128, 128, 32, 2, 4, 2, 2},
  };
  const std::span<const MatrixSchedule> rows =
      shape.pixels ? std::span<const MatrixSchedule>(kConvolutionRows) : kProductRows;
  MatrixSchedule best = rows[0];
  double best_cost = 0;
  for (MatrixSchedule s : rows) {
    s.b_columns = b_columns;
    if (std::max(s.stage_bytes(), s.partial_bytes()) > machine.workgroup_memory_limit) continue;
    const double c = cost(shape, s, machine);
    if (best_cost != 0 && c >= best_cost) continue;
    best_cost = c;
    best = s;
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
  std::optional<MatrixSchedule> best;
  double best_cost = cost(shape, default_matrix_schedule(shape, machine), machine) + kRowsDispatch;
  for (MatrixSchedule s : kRows) {
    s.resident_depth = static_cast<int>(round_up(shape.k, s.block_depth));
    if (std::max(s.stage_bytes(), s.partial_bytes()) > machine.workgroup_memory_limit) continue;
    const double c = cost(shape, s, machine);
    if (c >= best_cost) continue;
    best_cost = c;
    best = s;
  }
  return best;
}

int MatrixSchedule::partial_rows() const {
  int rows = tiles_m();
  while (rows > 1 && (tiles_m() % rows != 0 || rows * partial_row_bytes() > stage_bytes())) --rows;
  return rows;
}

std::string MatrixSchedule::text() const {
  return fmt::format("matrix {}x{}x{}, warps {}x{}x{}, {} stage{}{}{}", block_m, block_n, block_depth,
                     warps_m, warps_n, warps_k, stages, stages == 1 ? "" : "s", own ? " of each" : "",
                     resident_depth ? ", A resident" : "");
}

}  // namespace tern::lower::gpu
