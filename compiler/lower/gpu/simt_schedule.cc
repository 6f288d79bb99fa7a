#include "compiler/lower/gpu/simt_schedule.h"

#include <algorithm>

#include "compiler/support/result.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

struct Candidate {
  int rows, columns, depth, thread_rows, thread_columns;
  double efficiency;  // part of the peak that a multiprocessor full of such workgroups reaches, a guess
};
constexpr Candidate kCandidates[] = {
    {128, 128, 8, 8, 8, 0.80}, {128, 64, 8, 8, 4, 0.68}, {64, 128, 8, 8, 8, 0.70},
    {64, 64, 16, 4, 4, 0.50},  {32, 64, 16, 4, 4, 0.45}, {32, 32, 16, 4, 4, 0.40},
    {16, 64, 16, 2, 4, 0.28},  {16, 32, 16, 2, 4, 0.25}, {8, 64, 16, 2, 4, 0.24},
};
constexpr int64_t kGemvRows = 8;  // most rows of a gemv
constexpr int64_t kLongSum =
    2048;  // of a gemv: more slices (ResNet-50's classifier 8.3 to 6.7 us on an H100, Vulkan, f16)
constexpr int kGemvColumns = 16;  // a panel
constexpr int kVector = 4;

// Time in units of a multiprocessor's cycles at peak.
double cost(const SimtShape& s, const SimtSchedule& c, double efficiency, const GpuModel& model) {
  const int64_t tiles = s.batch * ceil_div(s.m, c.rows) * ceil_div(s.n, c.columns);
  const double flops = static_cast<double>(c.rows) * c.columns * static_cast<double>(s.k);
  // A multiprocessor with few threads waits for memory and for its own pipelines.
  const int64_t at_once = std::min<int64_t>(ceil_div(tiles, model.cores), std::max(1, 1024 / c.threads()));
  const double busy = std::min(1.0, static_cast<double>(at_once * c.threads()) / 512.0);
  const double waves = static_cast<double>(ceil_div(tiles, int64_t{model.cores}));
  return waves * flops / (efficiency * busy) + waves * 4000.0;
}

}  // namespace

int64_t SimtSchedule::workgroup_bytes() const {
  if (gemv) return int64_t{slices} * rows * columns * 4;
  const int64_t stage = int64_t{depth} * slices * (rows + kTilePadding + columns) * buffers;
  const int64_t partial = int64_t{slices - 1} * rows * columns;
  return std::max(stage, partial) * 4;
}

std::string SimtSchedule::text() const {
  if (gemv) return fmt::format("gemv {} rows, {} slices of k", rows, slices);
  return fmt::format("simt tile {}x{}x{}, thread {}x{}, {} slices of k{}", rows, columns, depth, thread_rows,
                     thread_columns, slices, buffers > 1 ? ", two stages" : "");
}

SimtSchedule default_simt_schedule(const SimtShape& shape, const GpuModel& model) {
  SimtSchedule best;
  if (shape.b_panels && shape.m_static && shape.m <= kGemvRows) {
    best.gemv = true;
    best.rows = static_cast<int>(std::max<int64_t>(shape.m, 1));
    best.columns = kGemvColumns;
    best.depth = 1;
    best.thread_rows = best.rows;
    best.thread_columns = kVector;
    best.slices = std::min(shape.k >= kLongSum ? 128 : 64, model.max_threads / (kGemvColumns / kVector));
    while (best.slices > 8 && (best.slices * 2 > shape.k || best.workgroup_bytes() > model.workgroup_memory))
      best.slices /= 2;
    // A slice has whole words of steps.
    if (shape.exact_steps == 0 || shape.k <= (shape.exact_steps - kVector) * best.slices) return best;
    best = {};
  }
  double best_cost = 0;
  bool found = false;
  for (const Candidate& c : kCandidates) {
    // A long epilogue is written once a row of registers.
    if (shape.finish_is_long && c.thread_rows * c.thread_columns > 16) continue;
    for (int slices = 1; slices <= 8; slices *= 2) {
      const SimtSchedule s{false, c.rows, c.columns, c.depth, c.thread_rows, c.thread_columns, slices};
      if (s.threads() > std::min(model.max_threads, 512) || s.threads() < 32) continue;
      if (s.workgroup_bytes() > std::min<int64_t>(model.workgroup_memory, 48 * 1024)) continue;
      if (c.thread_rows * c.thread_columns > model.registers / 3) continue;
      if (slices > 1 && shape.k < int64_t{4} * c.depth * slices) continue;
      // Slices share a stage's barriers and add a fold.
      const double time = cost(shape, s, c.efficiency, model) * (1.0 + 0.02 * (slices - 1));
      if (found && time >= best_cost) continue;
      found = true;
      best_cost = time;
      best = s;
    }
  }
  // On an H100: 4096 cubed 3.62 to 3.18 ms, but ResNet-50 and BERT at batch 1 1.15 to 1.48 and 2.6 to 3.0.
  const int64_t tiles = shape.batch * ceil_div(shape.m, best.rows) * ceil_div(shape.n, best.columns);
  if (model.arch == Arch::kCuda && !shape.windows && best.slices == 1 &&
      best.thread_rows * best.thread_columns >= 64 && tiles >= 4 * model.cores)
    best.buffers = 2;
  return best;
}

}  // namespace tern::lower::gpu
