#include "compiler/lower/cost_model.h"

#include <algorithm>

#include "compiler/lower/arithmetic_cost.h"

namespace tern::lower {
namespace {

// The smallest ones take 45 ns (Zen 3): threads are woken once a chain of dispatches, not for each.
constexpr double kDispatchCycles = 200;
// GPUs: large products reach this much, everything that streams too.
constexpr double kGpuShare = 0.7;
constexpr double kGpuCyclesASecond = 1.5e9;

double cpu_cycles(const MachineModel& m, const DispatchCost& cost) {
  const double arithmetic = cost.schedule.cycles > 0
                                ? cost.schedule.cycles
                                : plain_cycles(m, static_cast<double>(cost.work.usual_flops), cost.products);
  const int64_t passing = cost.work.usual_read - cost.usual_constants + cost.work.usual_written;
  return cpu_dispatch_cycles(m, arithmetic,
                             {static_cast<double>(passing), static_cast<double>(cost.usual_constants),
                              static_cast<double>(passing)});
}

double gpu_seconds(const GpuModel& m, const DispatchCost& cost) {
  if (cost.schedule.cycles > 0) return cost.schedule.cycles / kGpuCyclesASecond + m.launch_seconds;
  const double peak = cost.schedule.matrix_units ? m.matrix_flops : m.flops;
  // Fewer workgroups than processors leave some idle.
  const double busy = std::min(1.0, static_cast<double>(cost.tiles) / m.cores);
  const double bytes = static_cast<double>(cost.work.usual_read + cost.work.usual_written);
  const double arithmetic = static_cast<double>(cost.work.usual_flops) / (peak * kGpuShare * busy);
  return std::max(arithmetic, bytes / (m.bandwidth * kGpuShare * busy)) + m.launch_seconds;
}

}  // namespace

double cpu_dispatch_cycles(const MachineModel& m, double arithmetic, const Traffic& traffic) {
  const double footprint = traffic.footprint;
  double rate = m.memory_bytes_a_cycle;
  if (footprint <= static_cast<double>(m.l2_bytes)) {
    rate = m.l2_bytes_a_cycle;
  } else if (footprint <= static_cast<double>(m.l3_share_bytes)) {
    rate = m.l3_bytes_a_cycle;
  } else if (footprint <= static_cast<double>(m.last_cache_bytes) / 2) {
    rate = m.l3_bytes_a_cycle * 0.75;  // Zen 3: 58 to 64 GB/s of 3 to 10 MB
  }
  const double moved = traffic.values / rate + traffic.constants / m.memory_bytes_a_cycle;
  return std::max(arithmetic, moved) + kDispatchCycles;
}

bool outgrows_caches(Level level, int64_t written) {
  return !is_gpu(level_arch(level)) && written > machine(level).last_cache_bytes / 2;
}

double predict_seconds(Level level, const DispatchCost& cost) {
  if (is_gpu(level_arch(level))) return gpu_seconds(gpu_model(level), cost);
  const MachineModel& m = machine(level);
  return cpu_cycles(m, cost) / m.cycles_a_second;
}

}  // namespace tern::lower
