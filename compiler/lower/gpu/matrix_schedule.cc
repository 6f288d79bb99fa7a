#include "compiler/lower/gpu/matrix_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tern::lower::gpu {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Microseconds, fitted to 188 times of 35 schedules over ten shapes on an H100 (to 10 %; the rows below were
// the best): what a dispatch costs; one block's time, a stage of which pays for latency and its bytes, and
// its end for its size and its threads; other blocks of the processor wait for it. A processor reads some 60
// bytes a nanosecond, all together kBytes, so that large blocks and many subgroups pay where there are enough
// of them.
struct CostRow {
  double start, rate, bytes, latency, flops, block,
      threads;  // KiB and flops a microsecond; of 1024 sums; of 128
};
constexpr CostRow kOwn = {2.6, 214, 10200, 0.45, 0.72e6, 0.65, 0.163};
constexpr CostRow kCommon = {1.5, 55, 3750, 0.2, 1.55e6, 0.43, 0.077};

double cost(const MmaShape& shape, const MatrixSchedule& s, const MmaMachine& machine) {
  const CostRow& row = s.own ? kOwn : kCommon;
  const auto blocks =
      static_cast<double>(shape.batch * ceil_div(shape.m, s.block_m) * ceil_div(shape.n, s.block_n));
  const int64_t steps = ceil_div(shape.k, s.block_depth);
  const double kib = (s.block_m + s.block_n) * s.block_depth / 512.0, sums = s.block_m * s.block_n;
  const double most = std::ceil(blocks / machine.processors);
  const double share = most > 8 ? blocks / machine.processors : most;
  const int64_t memory = std::max(s.stage_bytes(), s.partial_bytes());
  const int64_t fit =
      std::min<int64_t>(machine.workgroup_memory / memory, (s.own ? 2048 : 1024) / s.threads());
  const double resident = std::clamp<double>(static_cast<double>(fit), 1, most);
  const double one =
      (s.own ? static_cast<double>(ceil_div(steps, s.warps_k)) *
                   (row.latency + static_cast<double>(std::min<int64_t>(s.warps_k, steps)) * kib / row.rate)
             : static_cast<double>(steps) * (row.latency + kib / row.rate)) +
      sums / 1024 * row.block + s.threads() / 128.0 * row.threads;
  const double serial = one * std::max(1.0, std::min(share, resident)) * std::max(1.0, share / resident);
  const double depth = static_cast<double>(steps * s.block_depth);
  return row.start + std::max({serial, share * static_cast<double>(steps) * kib / (2 * row.rate),
                               blocks * static_cast<double>(steps) * kib / row.bytes,
                               share * 2 * depth * sums / row.flops});
}

}  // namespace

MatrixSchedule default_matrix_schedule(const MmaShape& shape, const MmaMachine& machine, bool b_columns) {
  static constexpr MatrixSchedule kRows[] = {
      {32, 32, 64, 1, 1, 4, 1, false, true},
      {16, 32, 64, 1, 1, 6, 1, false, true},
      {32, 16, 64, 1, 1, 6, 1, false, true},
      {16, 16, 64, 1, 1, 8, 1, false, true},
      {64, 32, 32, 1, 1, 4, 1, false, true},
      {32, 64, 32, 1, 1, 4, 1, false, true},
      {64, 32, 64, 2, 1, 2, 2},
      {32, 64, 64, 1, 2, 2, 2},
      {64, 64, 64, 2, 2, 1, 2},
      {128, 64, 32, 2, 2, 1, 2},
      {128, 128, 32, 2, 4, 1, 2},
  };
  MatrixSchedule best = kRows[0];
  double best_cost = 0;
  for (MatrixSchedule s : kRows) {
    s.b_columns = b_columns;
    if (std::max(s.stage_bytes(), s.partial_bytes()) > machine.workgroup_memory_limit) continue;
    const double c = cost(shape, s, machine);
    if (best_cost != 0 && c >= best_cost) continue;
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
                     ahead == 1 ? "" : fmt::format(", {} ahead", ahead));
}

}  // namespace tern::lower::gpu
