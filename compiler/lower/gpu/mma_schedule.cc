#include "compiler/lower/gpu/mma_schedule.h"

#include <fmt/format.h>

#include <algorithm>

namespace tern::lower::gpu {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Nanoseconds, from measurements on an H100: a round of workgroups pays for its start and the first bytes,
// then for the bytes that it brings from L2, or for its multiplications; workgroups that share a processor
// share both.
constexpr double kStart = 1400, kBytesPerNs = 50, kLatency = 800;
// Workgroups of a cluster meet twice and read each other's sums.
constexpr double kMeeting = 900, kPeerBytesPerNs = 40;

// Multiplications and additions a nanosecond of one processor, as far as its warps keep it busy.
double rate(const MmaSchedule& s, int64_t resident) {
  // One stage on its way is not enough to hide the wait for it.
  if (s.group)
    return (s.block_n >= 256 ? 4700 : s.block_n >= 128 ? 3900 : 2600) * (s.stages < 4 ? 0.85 : 1.0);
  // Two warps a scheduler keep the matrix units fed.
  const auto warps = static_cast<double>(s.warps_m * s.warps_n * s.warps_k * resident);
  return 2700 / std::max(1.0, 8.0 / warps);
}

double cost(const MmaShape& shape, const MmaSchedule& s, const MmaMachine& machine) {
  const int64_t blocks = shape.batch * ceil_div(shape.m, s.block_m) * ceil_div(shape.n, s.block_n) * s.split;
  const int64_t depth = ceil_div(ceil_div(shape.k, s.block_depth), s.split) * s.block_depth;
  // Workgroups of the busiest processor; how many of them it has at once.
  const int64_t most = ceil_div(blocks, machine.processors);
  const int64_t memory = std::max(s.stage_bytes(), s.partial_bytes());
  const int64_t resident =
      std::clamp<int64_t>(machine.workgroup_memory / memory, 1, std::min<int64_t>(most, 8));
  // Many rounds even out.
  const double share =
      most > 8 ? static_cast<double>(blocks) / machine.processors : static_cast<double>(most);
  const double rounds = std::max(1.0, share / static_cast<double>(resident));
  const double stage = 2.0 * (s.block_m + s.block_n) * s.block_depth;
  const double bytes =
      2.0 * static_cast<double>(depth) * (s.block_m + s.block_n) + 2.0 * s.block_m * s.block_n;
  const double flops = 2.0 * static_cast<double>(depth) * s.block_m * s.block_n;
  // Bytes on their way hide latency.
  const double in_flight = static_cast<double>(resident) * (s.stages - (s.group ? 2 : 1)) * stage;
  const double meeting =
      s.split == 1 ? 0 : kMeeting + 4.0 * s.block_m * s.block_n * s.warps_k / kPeerBytesPerNs;
  return rounds * (kStart + meeting) +
         share * std::max({bytes / kBytesPerNs, flops / rate(s, resident), kLatency * bytes / in_flight});
}

// The best number of stages, or nothing where they do not fit.
void try_stages(const MmaShape& shape, const MmaMachine& machine, MmaSchedule s, MmaSchedule* best,
                double* best_cost) {
  const int64_t steps = std::min<int64_t>(ceil_div(ceil_div(shape.k, s.block_depth), s.split), 8);
  for (int stages : {2, 3, 4, 5, 6, 8}) {
    if (s.group && stages < 3) continue;  // one is read, one may still be read, one is filled
    s.stages = stages;
    if (stages > std::max<int64_t>(s.group ? 3 : 2, steps + 1)) continue;
    if (std::max(s.stage_bytes(), s.partial_bytes()) > machine.workgroup_memory_limit) continue;
    const double c = cost(shape, s, machine);
    if (*best_cost == 0 || c < *best_cost * 0.999) {
      *best_cost = c;
      *best = s;
    }
  }
}

}  // namespace

MmaSchedule default_mma_schedule(const MmaShape& shape, const MmaMachine& machine, bool group) {
  // Rows are measured good shapes; the rest follows from memory.
  static constexpr MmaSchedule kTiles[] = {
      {32, 32, 128, 1, 1, 4},          {32, 64, 128, 1, 2, 4},           {64, 32, 128, 2, 1, 4},
      {64, 64, 64, 2, 2, 1},           {64, 64, 128, 2, 2, 2},           {128, 64, 64, 2, 2, 1},
      {128, 128, 64, 2, 2, 1},         {64, 64, 64, 4, 1, 1, 4, true},   {64, 128, 64, 4, 1, 1, 4, true},
      {128, 64, 64, 8, 1, 1, 4, true}, {128, 128, 64, 8, 1, 1, 4, true}, {128, 256, 64, 8, 1, 1, 4, true},
  };
  MmaSchedule best;
  double best_cost = 0;
  for (MmaSchedule s : kTiles) {
    if (s.group && !group) continue;
    for (int split : {1, 2, 3, 4, 6, 8}) {
      if (split > 1 && (!group || s.warps_k > 1 || ceil_div(shape.k, s.block_depth) < split)) continue;
      s.split = split;
      try_stages(shape, machine, s, &best, &best_cost);
    }
  }
  return best;
}

std::string MmaSchedule::text() const {
  const std::string parts = split > 1 ? fmt::format(", k split by {}", split) : "";
  if (group)
    return fmt::format("group mma {}x{}x{}, {} stages{}", block_m, block_n, block_depth, stages, parts);
  return fmt::format("mma {}x{}x{}, warps {}x{}x{}, {} stages{}", block_m, block_n, block_depth, warps_m,
                     warps_n, warps_k, stages, parts);
}

}  // namespace tern::lower::gpu
