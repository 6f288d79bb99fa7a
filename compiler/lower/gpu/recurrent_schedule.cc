#include "compiler/lower/gpu/recurrent_schedule.h"

#include <fmt/format.h>

#include <algorithm>

#include "compiler/kernel/ir.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

constexpr int64_t kRegistersOfProcessor = 65536;
constexpr int64_t kOtherRegisters = 56;  // addresses, activations, what is asked for ahead
constexpr double kCyclesASecond = 1.5e9;
constexpr double kBarrier = 40, kExchange = 1000;  // cycles: of a workgroup, of a cluster with its reads
constexpr double kFoldStep = 30, kActivations = 200;
constexpr double kCacheBytesACycle = 40, kMemoryBytesACycle = 128;  // of a processor
constexpr int kSubgroups = 4;                                       // of a processor that issue at once

// Fills in where weights live, and the time; false where they cannot.
bool complete(RecurrentSchedule& s, const RecurrentShape& shape, const GpuModel& model) {
  const int64_t threads = s.threads();
  int64_t most_columns = 0, exchanges = 0;
  for (const auto& stage : shape.stages) {
    most_columns = std::max(most_columns, stage.columns);
    exchanges += stage.exchanged;
  }
  const int64_t each = std::min<int64_t>(model.registers, kRegistersOfProcessor / threads);
  // Vulkan says nothing of registers: there they hold weights only where there are plenty.
  const int64_t left = each - kOtherRegisters - shape.inputs - most_columns * s.rows;
  const int64_t registers = model.arch == Arch::kVulkan ? std::max<int64_t>(left, 0) : left;
  const bool shuffles = model.subgroup != 0;
  int64_t memory = model.workgroup_memory;
  // Rows twice, or once and the cluster's parts twice; sums where subgroups cannot be relied on.
  memory -= exchanges * s.rows * 4 * (s.pitch(shape.width) * (s.cluster > 1 ? 1 : 2) + s.units * 2);
  if (!shuffles) memory -= most_columns * s.rows * threads * 4;
  if (memory < 0 || registers < 0) return false;

  int64_t quads = 0;
  const int64_t rounds = ceil_div(ceil_div(shape.width, int64_t{4}), int64_t{s.parts});
  for (const auto& stage : shape.stages) quads += rounds * stage.columns;
  s.wide = shape.weight_bits == 32 || quads * 4 <= registers;
  const int64_t stored = int64_t{4} * shape.weight_bits / 8;  // bytes of a quad
  int64_t register_quads = registers / (s.wide ? 4 : 2), memory_quads = memory / (stored * threads);

  double issued = 0, from_memory = 0, from_caches = 0, waits = kActivations;
  const double subgroups = static_cast<double>(ceil_div(threads, int64_t{32}));
  for (const auto& stage : shape.stages) {
    RecurrentSchedule::Homes homes;
    homes.registers = std::min(rounds, register_quads / stage.columns);
    register_quads -= homes.registers * stage.columns;
    homes.memory = std::min(rounds - homes.registers, memory_quads / stage.columns);
    memory_quads -= homes.memory * stage.columns;
    homes.caches = rounds - homes.registers - homes.memory;
    s.homes.push_back(homes);
    const auto columns = static_cast<double>(stage.columns), all = static_cast<double>(rounds);
    issued += all * columns * 4 * s.rows * subgroups / kSubgroups;
    if (!s.wide || homes.registers < rounds)
      issued +=
          static_cast<double>(shape.weight_bits == 16 ? rounds : 0) * columns * 4 * subgroups / kSubgroups;
    const double quad_bytes = static_cast<double>(stored * threads) * columns;
    from_memory += static_cast<double>(homes.memory) * quad_bytes / kMemoryBytesACycle;
    from_memory += all * s.rows * subgroups * 4;
    from_caches += static_cast<double>(homes.caches) * quad_bytes / kCacheBytesACycle;
    int steps = 0;
    for (int p = s.parts; p > 1; p /= 2) ++steps;
    waits += (s.cluster > 1 ? kExchange + 40 * s.cluster : kBarrier) + kFoldStep * steps + kBarrier;
    if (!shuffles) waits += kBarrier * 2 + kFoldStep * s.parts;
  }
  const double turns =
      static_cast<double>(ceil_div(ceil_div(shape.rows, int64_t{s.rows}) * s.cluster, int64_t{model.cores}));
  s.cycles = (std::max(issued, from_memory) + from_caches + waits) * turns;
  return true;
}

}  // namespace

double RecurrentSchedule::seconds() const {
  return cycles / kCyclesASecond;
}

int64_t RecurrentSchedule::pitch(int64_t width) const {
  return round_up(std::max(round_up(width, int64_t{4} * parts), int64_t{cluster} * units), 4);
}

std::string RecurrentSchedule::text() const {
  std::string out = fmt::format("{} units x {} parts", units, parts);
  if (rows > 1) out += fmt::format(", {} rows", rows);
  if (cluster > 1) out += fmt::format(", cluster of {}", cluster);
  int64_t registers = 0, memory = 0, caches = 0;
  for (const Homes& h : homes) {
    registers += h.registers;
    memory += h.memory;
    caches += h.caches;
  }
  const int64_t all = std::max<int64_t>(registers + memory + caches, 1);
  return out + fmt::format(", weights {} % in {}registers, {} % in workgroup memory", registers * 100 / all,
                           wide ? "" : "narrow ", memory * 100 / all);
}

std::optional<RecurrentSchedule> default_recurrent_schedule(const RecurrentShape& shape,
                                                            const GpuModel& model) {
  std::optional<RecurrentSchedule> best;
  const bool clusters = model.has_group_mma;  // sm_90 has both
  for (int cluster = 1; cluster <= (clusters ? kernel::kMostCluster : 1); cluster *= 2) {
    for (int parts = 1; parts <= 32; parts *= 2) {
      const int least = std::max(cluster > 1 ? 4 : 1, 32 / parts);
      const int64_t units = round_up(ceil_div(shape.width, int64_t{cluster}), int64_t{least});
      if (units * parts > model.max_threads) continue;
      for (int rows = 1; rows <= std::min(parts, 8); rows *= 2) {
        if (rows > 1 && rows / 2 >= shape.rows) continue;
        RecurrentSchedule s{cluster, static_cast<int>(units), parts, rows, true, {}, 0};
        if (complete(s, shape, model) && (!best || s.cycles < best->cycles)) best = std::move(s);
      }
    }
  }
  return best;
}

}  // namespace tern::lower::gpu
