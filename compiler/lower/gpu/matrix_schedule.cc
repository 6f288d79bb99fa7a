#include "compiler/lower/gpu/matrix_schedule.h"

#include <fmt/format.h>

#include <algorithm>

namespace tern::lower::gpu {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Nanoseconds, fitted to 13 schedules over seven shapes on an H100 (to about 10 % where one workgroup has a
// processor to itself): a workgroup's start and end; a stage pays for latency, its bytes, its barriers and
// the threads that meet there. More than four subgroups never helped a small block. Other workgroups of the
// processor hide at most half.
constexpr double kStart = 1400, kFlopsPerNs = 1300, kHidden = 0.5;
constexpr double kLatency = 350, kKiBTime = 31, kBarrier = 250, kSubgroup = 20;

double stage_time(const MatrixSchedule& s) {
  const double kib = (s.block_m + s.block_n) * s.block_depth / 512.0;
  return kLatency + kKiBTime * kib + kBarrier * (s.stages == 1 ? 2 : 1) +
         kSubgroup * std::max(s.threads() / 32 - 4, 0);
}

double cost(const MmaShape& shape, const MatrixSchedule& s, const MmaMachine& machine) {
  const int64_t blocks = shape.batch * ceil_div(shape.m, s.block_m) * ceil_div(shape.n, s.block_n);
  const int64_t steps = ceil_div(shape.k, s.block_depth);
  const int64_t most = ceil_div(blocks, machine.processors);
  const int64_t memory = std::max(s.stage_bytes(), s.partial_bytes());
  const int64_t resident = std::clamp<int64_t>(
      std::min<int64_t>(machine.workgroup_memory / memory, 512 / s.threads()), 1, std::min<int64_t>(most, 8));
  const double share =
      most > 8 ? static_cast<double>(blocks) / machine.processors : static_cast<double>(most);
  const double rounds = std::max(1.0, share / static_cast<double>(resident));
  const double flops = 2.0 * static_cast<double>(steps * s.block_depth) * s.block_m * s.block_n;
  const double waits =
      stage_time(s) * static_cast<double>(steps) * std::max(1.0 / static_cast<double>(resident), kHidden);
  return rounds * kStart + share * std::max(flops / kFlopsPerNs, waits);
}

}  // namespace

MatrixSchedule default_matrix_schedule(const MmaShape& shape, const MmaMachine& machine, bool b_columns) {
  static constexpr MatrixSchedule kRows[] = {
      {32, 32, 64, 1, 1, 4, 1},  {32, 32, 128, 1, 1, 4, 1}, {32, 32, 128, 1, 1, 4, 2},
      {32, 32, 256, 1, 1, 4, 1}, {32, 64, 128, 1, 2, 2, 1}, {64, 32, 128, 2, 1, 2, 1},
      {64, 64, 64, 2, 2, 1, 2},  {128, 64, 64, 4, 2, 1, 1}, {128, 128, 32, 2, 2, 1, 2},
  };
  MatrixSchedule best = kRows[0];
  double best_cost = 0;
  for (MatrixSchedule s : kRows) {
    s.b_columns = b_columns;
    if (std::max(s.stage_bytes(), s.partial_bytes()) > machine.workgroup_memory_limit) continue;
    const double c = cost(shape, s, machine);
    if (best_cost != 0 && c >= best_cost * 0.999) continue;
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
  return fmt::format("matrix {}x{}x{}, warps {}x{}x{}, {} stage{}{}", block_m, block_n, block_depth, warps_m,
                     warps_n, warps_k, stages, stages == 1 ? "" : "s", own ? " of each" : "");
}

}  // namespace tern::lower::gpu
