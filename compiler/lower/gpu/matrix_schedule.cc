#include "compiler/lower/gpu/matrix_schedule.h"

#include <fmt/format.h>

#include <algorithm>

namespace tern::lower::gpu {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Nanoseconds, fitted to an H100 (BERT-base's and ResNet-50's layers on Vulkan, 32 x 32 x 256 with four
// subgroups: 1.9 us a stage): a workgroup's start; a stage pays for latency, for each chunk of 16 bytes that
// a thread moves, and for each tile that a subgroup loads, unless other workgroups of the processor work
// meanwhile.
constexpr double kStart = 1400, kBytesPerNs = 50, kFlopsPerNs = 1000;
constexpr double kLatency = 600, kChunkTime = 60, kTileTime = 20;

double stage_time(const MatrixSchedule& s) {
  const double chunks = static_cast<double>((s.block_m + s.block_n) * s.block_depth) / (8.0 * s.threads());
  const double tiles = static_cast<double>(s.block_depth / 16 / s.warps_k) * (s.tiles_m() + s.tiles_n());
  return kLatency + kChunkTime * chunks + kTileTime * tiles;
}

double cost(const MmaShape& shape, const MatrixSchedule& s, const MmaMachine& machine) {
  const int64_t blocks = shape.batch * ceil_div(shape.m, s.block_m) * ceil_div(shape.n, s.block_n);
  const int64_t steps = ceil_div(shape.k, s.block_depth);
  const int64_t most = ceil_div(blocks, machine.processors);
  const int64_t memory = std::max(s.stage_bytes(), s.partial_bytes());
  const int64_t resident =
      std::clamp<int64_t>(std::min<int64_t>(machine.workgroup_memory / memory, 1024 / s.threads()), 1,
                          std::min<int64_t>(most, 8));
  const double share =
      most > 8 ? static_cast<double>(blocks) / machine.processors : static_cast<double>(most);
  const double rounds = std::max(1.0, share / static_cast<double>(resident));
  const auto depth = static_cast<double>(steps * s.block_depth);
  const double bytes = 2.0 * depth * (s.block_m + s.block_n) + 2.0 * s.block_m * s.block_n;
  const double flops = 2.0 * depth * s.block_m * s.block_n;
  const double waits = stage_time(s) * static_cast<double>(steps) / static_cast<double>(resident);
  return rounds * kStart + share * std::max({bytes / kBytesPerNs, flops / kFlopsPerNs, waits});
}

}  // namespace

MatrixSchedule default_matrix_schedule(const MmaShape& shape, const MmaMachine& machine, bool b_columns) {
  static constexpr MatrixSchedule kRows[] = {
      {32, 32, 64, 1, 1, 4, 1},   {32, 32, 128, 1, 1, 8, 1},  {32, 32, 256, 1, 1, 8, 1},
      {32, 32, 256, 1, 1, 16, 1}, {32, 64, 128, 1, 2, 4, 1},  {64, 32, 128, 2, 1, 4, 1},
      {64, 64, 64, 2, 2, 2, 1},   {64, 64, 128, 2, 2, 4, 1},  {128, 64, 64, 4, 2, 2, 1},
      {128, 128, 32, 2, 4, 1, 2}, {128, 128, 64, 4, 4, 1, 1},
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

std::string MatrixSchedule::text() const {
  return fmt::format("matrix {}x{}x{}, warps {}x{}x{}, {} stage{}", block_m, block_n, block_depth, warps_m,
                     warps_n, warps_k, stages, stages == 1 ? "" : "s");
}

}  // namespace tern::lower::gpu
