#include "compiler/lower/gpu/mma_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

// Nanoseconds, fitted to the times of 991 kernels (24 shapes of ResNet-50, BERT, ViT and square products) in
// chains on an H100: what is chosen of them takes 8 % longer than the best in the geometric mean. A round of
// workgroups pays for its start, for the meetings of its cluster and for its epilogue; then for the bytes
// that it brings from L2, or for its multiplications, or for waiting; workgroups of a processor share these.
struct Fit {
  double start;                  // of a round
  double bytes_per_ns, latency;  // of a processor
  double meeting, member;        // workgroups of a cluster meet twice and read each other's sums
  double fragment = 0;           // of an element that a warp reads of a stage
};
constexpr Fit kFit = {1130, 110, 755, 1620, 168};
// f32 products by three of TF32: fitted to the times of some 650 kernels of 15 shapes (the same networks') in
// chains on an H100; what is chosen of them takes 2 % longer than the best.
constexpr Fit kTf32x3Fit = {810, 53, 1300, 530, 52, 0.012};
constexpr double kEpilogueBytesPerNs = 50, kPeerBytesPerNs = 19;  // the epilogue's of 256 threads and more
constexpr int kMostThreads = 2048;                                // of a processor
// Boxes of tensors leave warps more time for products, and cost more to begin with (kernels of 4096, 2048 and
// 1024 cubed on an H200: 198 us for 211, 31.2 for 32.8, 8.1 for 7.2).
constexpr double kBoxes = 1000;

// Processors on which clusters of so many workgroups run at once, one on each: a cluster lies inside of one
// group of processors, and what is left of a group has none (an H100's occupancy calculator: 117, 120, 102
// and 120 of 132). One cluster more is a round more: 32 clusters of four took 34 us where 17 were expected.
int64_t processors_for(int split, int64_t processors) {
  switch (split) {
    case 1:
    case 2:
      return processors;
    case 3:
      return processors * 117 / 132;
    case 6:
      return processors * 102 / 132;
    default:
      return processors * 120 / 132;
  }
}

// Multiplications and additions a nanosecond of one processor, as far as its warps keep it busy: of operands
// of 16 bits; of others in proportion to their bytes.
double rate(const MmaSchedule& s, int64_t resident) {
  if (s.group) return (s.block_n < 64 ? 2500 : s.tensors ? 5500 : 5000) * 2.0 / s.element_bytes;
  // A warp a scheduler has enough to do.
  if (s.tf32x3) return 530 / std::max(1.0, 4.0 / static_cast<double>(s.warps() * resident));
  // Two warps a scheduler keep the matrix units fed, or fewer with more products each.
  const int products = std::max(1, s.block_m * s.block_n / (s.warps_m * s.warps_n * 32 * 32));
  const auto warps = static_cast<double>(s.warps_m * s.warps_n * s.warps_k * resident * products);
  return 1690 / std::max(1.0, 8.0 / warps) * 2.0 / s.element_bytes;
}

double cost(const MmaShape& shape, const MmaSchedule& s, const MmaMachine& machine) {
  const Fit& fit = s.tf32x3 ? kTf32x3Fit : kFit;
  const int64_t blocks = shape.batch * ceil_div(shape.m, s.block_m) * ceil_div(shape.n, s.block_n) * s.split;
  const int64_t depth = ceil_div(ceil_div(shape.k, s.block_depth), s.split) * s.block_depth;
  // Workgroups of the busiest processor; how many of them it has at once.
  const int64_t processors = processors_for(s.split, machine.processors);
  const int64_t most = ceil_div(blocks, processors);
  const int64_t memory = std::max(s.stage_bytes(), s.partial_bytes()) + 1024;
  const int64_t room = std::min<int64_t>(machine.workgroup_memory / memory, kMostThreads / s.threads());
  const int64_t resident = std::clamp<int64_t>(room, 1, std::min<int64_t>(most, 8));
  // Many rounds even out.
  const double share =
      most > 8 ? static_cast<double>(blocks) / static_cast<double>(processors) : static_cast<double>(most);
  const double rounds = std::max(1.0, share / static_cast<double>(resident));
  const double element = s.element_bytes;
  const double stage = element * (s.block_m + s.block_n) * s.block_depth;
  const double bytes = element * static_cast<double>(depth) * (s.block_m + s.block_n) +
                       element * s.block_m * s.block_n / s.split;
  const double flops = 2.0 * static_cast<double>(depth) * s.block_m * s.block_n;
  // Bytes on their way hide latency.
  const double in_flight = static_cast<double>(resident) * (s.stages - (s.group ? 2 : 1)) * stage;
  const double sums = 4.0 * s.block_m * s.block_n * s.warps_k;
  const double meeting = s.split == 1 ? 0 : fit.meeting + fit.member * s.split + sums / kPeerBytesPerNs;
  const double fragments =
      fit.fragment * static_cast<double>(depth) * (s.block_m * s.warps_n + s.block_n * s.warps_m);
  const double work = share * std::max({bytes / fit.bytes_per_ns, flops / rate(s, resident) + fragments,
                                        fit.latency * bytes / in_flight});
  const double epilogue = sums / (kEpilogueBytesPerNs * std::min(1.0, s.threads() / 256.0));
  return rounds * (fit.start + (s.tensors ? kBoxes : 0) + meeting + epilogue) +
         std::max(work, bytes * static_cast<double>(blocks) / machine.l2_bytes_per_ns);
}

// The best number of stages, if they fit: of equals the most, since they are filled before the wait for what
// comes before.
void try_stages(const MmaShape& shape, const MmaMachine& machine, MmaSchedule s, MmaSchedule* best,
                double* best_cost) {
  const int64_t steps = ceil_div(ceil_div(shape.k, s.block_depth), s.split);
  for (int stages : {6, 4, 3, 2}) {
    // Groups: one is read, one may still be read, one is filled.
    if (s.group ? stages < 3 : stages > 4) continue;
    s.stages = stages;
    if (stages > std::max<int64_t>(s.group ? 3 : 2, steps + (s.group ? 2 : 1))) continue;
    if (std::max(s.stage_bytes(), s.partial_bytes()) > machine.workgroup_memory_limit) continue;
    const double c = cost(shape, s, machine);
    if (*best_cost == 0 || c < *best_cost * 0.999) {
      *best_cost = c;
      *best = s;
    }
    // Fewer leave room for more workgroups, where there are that many.
    if (shape.batch * ceil_div(shape.m, s.block_m) * ceil_div(shape.n, s.block_n) <= 2 * machine.processors)
      return;
  }
}

// Widths that the fit did not see are for shapes that fill the device with such blocks (a latent diffusion
// network's 8192 rows of 320 and 640 columns); where blocks are few its figures were not compared.
bool suits_width(const MmaShape& shape, const MmaSchedule& s, const MmaMachine& machine) {
  const bool fitted = !s.group || (s.block_n & (s.block_n - 1)) == 0;
  const int64_t blocks = shape.batch * ceil_div(shape.m, s.block_m) * ceil_div(shape.n, s.block_n);
  return fitted || (s.split == 1 && 8 * blocks >= int64_t{7} * machine.processors);
}

}  // namespace

MmaSchedule default_mma_schedule(const MmaShape& shape, const MmaMachine& machine, bool group,
                                 MmaSchedule::Order b_order) {
  const bool clusters = group && (shape.tf32x3 || b_order == MmaSchedule::Order::kPacked);
  group = group && b_order == MmaSchedule::Order::kPacked;
  // Rows are measured good shapes of 16-bit operands; the rest follows from memory. Other operands take
  // depths of as many bytes.
  static constexpr MmaSchedule kTiles[] = {
      {16, 32, 128, 1, 1, 8},
      {16, 64, 128, 1, 2, 4},
      {32, 32, 64, 1, 1, 4},
      {32, 32, 128, 1, 1, 4},
      {32, 64, 128, 1, 2, 4},
      {64, 32, 128, 2, 1, 4},
      {64, 64, 64, 2, 2, 1},
      {64, 64, 128, 2, 2, 2},
      {128, 64, 64, 2, 2, 1},
      {128, 128, 64, 2, 2, 1},
      {64, 32, 64, 4, 1, 1, 4, true},
      {64, 64, 64, 4, 1, 1, 4, true},
      {64, 128, 64, 4, 1, 1, 4, true},
      {128, 32, 64, 8, 1, 1, 4, true},
      {128, 64, 64, 8, 1, 1, 4, true},
      {128, 96, 64, 8, 1, 1, 4, true},
      {128, 128, 64, 8, 1, 1, 4, true},
      {128, 160, 64, 8, 1, 1, 4, true},
      {128, 192, 64, 8, 1, 1, 4, true},
      {128, 256, 64, 8, 1, 1, 4, true},
  };
  // At most 64 sums a thread, each of which has two registers.
  static constexpr MmaSchedule kTf32x3Tiles[] = {
      {16, 32, 128, 1, 1, 8}, {32, 32, 128, 1, 1, 4}, {32, 64, 128, 1, 2, 2}, {64, 32, 128, 2, 1, 2},
      {64, 64, 64, 2, 2, 1},  {64, 64, 128, 2, 2, 1}, {128, 64, 64, 2, 2, 1}, {128, 128, 64, 4, 2, 1},
  };
  const std::span<const MmaSchedule> tiles =
      shape.tf32x3 ? std::span<const MmaSchedule>(kTf32x3Tiles) : std::span<const MmaSchedule>(kTiles);
  MmaSchedule best;
  double best_cost = 0;
  for (MmaSchedule s : tiles) {
    if (s.group && !group) continue;
    s.tf32x3 = shape.tf32x3;
    s.element_bytes = shape.element_bytes;
    s.b_order = b_order;
    s.block_depth = s.block_depth * 2 / s.element_bytes;
    for (int split : {1, 2, 3, 4, 6, 8}) {
      if (split > 1 && (!clusters || s.warps_k > (s.tf32x3 ? 2 : 1))) continue;
      const int64_t steps = ceil_div(shape.k, s.block_depth);
      if ((split - 1) * ceil_div(steps, split) >= steps && split > 1)
        continue;  // the last would have nothing
      s.split = split;
      if (!suits_width(shape, s, machine)) continue;
      for (const bool tensors : {false, true}) {
        if (tensors && !(shape.tensors && s.group && split == 1 && s.element_bytes == 2)) continue;
        s.tensors = tensors;
        try_stages(shape, machine, s, &best, &best_cost);
      }
    }
  }
  return best;
}

namespace {

// Integers that a processor's threads widen a nanosecond, two operations of four instructions a pair:
// counted, not fitted.
constexpr double kWidened = 60;
// 32-bit registers that a thread needs beside its sums.
constexpr int kOtherRegisters = 88, kRegisters = 65536;

double integer_cost(const MmaShape& shape, const MmaSchedule& s, const MmaMachine& machine) {
  const int64_t blocks = shape.batch * ceil_div(shape.m, s.block_m) * ceil_div(shape.n, s.block_n) * s.split;
  const int64_t depth = ceil_div(ceil_div(shape.k, s.block_depth), s.split) * s.block_depth;
  const int64_t most = ceil_div(blocks, machine.processors);
  const int64_t memory = std::max(s.stage_bytes(), s.partial_bytes()) + 1024;
  const int sums = s.block_m * s.block_n / s.threads();
  const int64_t fit = std::min({machine.workgroup_memory / memory, int64_t{kMostThreads / s.threads()},
                                int64_t{kRegisters / (s.threads() * (sums + kOtherRegisters))}});
  const int64_t resident = std::clamp<int64_t>(fit, 1, std::min<int64_t>(most, 8));
  const double share =
      most > 8 ? static_cast<double>(blocks) / machine.processors : static_cast<double>(most);
  const double rounds = std::max(1.0, share / static_cast<double>(resident));
  const auto steps = static_cast<double>(depth);
  const double stage = static_cast<double>(s.stage_bytes()) / s.stages;
  const double bytes = stage * steps / s.block_depth;
  const double flops = 2.0 * steps * s.block_m * s.block_n, widened = steps * s.block_n / kWidened;
  const double in_flight = static_cast<double>(resident) * (s.stages - (s.group ? 2 : 1)) * stage;
  const double parts = 4.0 * s.block_m * s.block_n;
  const double meeting = s.split == 1 ? 0 : kFit.meeting + kFit.member * s.split + parts / kPeerBytesPerNs;
  const double work = share * std::max({bytes / kFit.bytes_per_ns, flops / rate(s, resident), widened,
                                        kFit.latency * bytes / in_flight});
  const double epilogue = parts / (kEpilogueBytesPerNs * std::min(1.0, s.threads() / 256.0));
  return rounds * (kFit.start + meeting + epilogue) +
         std::max(work, bytes * static_cast<double>(blocks) / machine.l2_bytes_per_ns);
}

}  // namespace

MmaSchedule default_integer_schedule(const MmaShape& shape, int bits, int64_t block,
                                     const MmaMachine& machine, bool group) {
  MmaSchedule best;
  double best_cost = 0;
  for (int block_m : {16, 32, 64, 96, 128, 192, 256}) {
    if (!group && block_m > 64) continue;
    for (int block_n : {64, 128, 256}) {
      if (int64_t{block_m} * block_n > 256 * 128) continue;  // registers
      MmaSchedule s{block_m, block_n, 64, 1, block_n / 16, 1, 4, group};
      s.weight_bits = bits;
      s.weight_blocks = static_cast<int>(64 / std::gcd(block, int64_t{64}));
      for (int split : {1, 2, 3, 4, 6, 8}) {
        if (split > 1 && !group) continue;
        const int64_t steps = ceil_div(shape.k, s.block_depth);
        if ((split - 1) * ceil_div(steps, split) >= steps && split > 1) continue;
        s.split = split;
        for (int stages : {6, 5, 4, 3, 2}) {
          if (group && stages < 3) continue;
          s.stages = stages;
          if (stages > std::max<int64_t>(group ? 3 : 2, ceil_div(steps, split) + (group ? 2 : 1))) continue;
          if (std::max(s.stage_bytes(), s.partial_bytes()) > machine.workgroup_memory_limit) continue;
          const double c = integer_cost(shape, s, machine);
          if (best_cost != 0 && c >= best_cost * 0.999) continue;
          best_cost = c;
          best = s;
        }
      }
    }
  }
  return best;
}

std::string MmaSchedule::text() const {
  std::string parts = split > 1 ? fmt::format(", k split by {}", split) : "";
  if (b_order != Order::kPacked) parts += b_order == Order::kDepth ? ", B along k" : ", B along columns";
  if (weight_bits > 0) parts += fmt::format(", weights of {} bits", weight_bits);
  if (tf32x3) parts += ", 3xTF32";
  if (group)
    return fmt::format("group mma {}x{}x{}, {} stages{}{}", block_m, block_n, block_depth, stages, parts,
                       tensors ? ", boxes" : "");
  return fmt::format("mma {}x{}x{}, warps {}x{}x{}, {} stages{}", block_m, block_n, block_depth, warps_m,
                     warps_n, warps_k, stages, parts);
}

}  // namespace tern::lower::gpu
