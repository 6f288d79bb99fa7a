// Schedules of f32 contractions on a GPU without matrix units, as plain data, and the cost model that chooses
// from shapes and the machine's figures alone.
//
//   grid       batch, row tiles, column tiles      a workgroup computes rows x columns of the output
//   steps      `depth` steps of k at a time, staged in workgroup memory (`buffers` times), the next ones on
//              their way in registers
//   threads    slices x (rows / thread_rows) x (columns / thread_columns); a slice takes its part of each
//              stage's steps
//   registers  thread_rows x thread_columns sums a thread, one fused multiply-add each a step
//
// Few rows (gemv): no staging. A thread has four columns and every slices-th step; slices are folded at the
// end.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <utility>

#include "compiler/lower/target.h"

namespace tern::lower::gpu {

struct SimtShape {
  int64_t batch = 1, m = 1, n = 1, k = 1;  // likely sizes
  bool m_static = true;
  bool b_panels = false;
  bool finish_is_long = false;
  bool windows = false;     // of a convolution: many steps to each element's address
  int64_t exact_steps = 0;  // of whole numbers (TileOperands)
};

struct SimtSchedule {
  bool gemv = false;
  int rows = 64, columns = 64, depth = 16;
  int thread_rows = 4, thread_columns = 4;
  int slices = 1;
  int buffers = 1;  // stages in workgroup memory: with two, one is filled while the other is read
  int threads() const { return rows / thread_rows * (columns / thread_columns) * slices; }
  int64_t workgroup_bytes() const;
  std::string text() const;
};

// Room between the columns of A in workgroup memory, which keeps vectors aligned and banks apart.
inline constexpr int kTilePadding = 4;

// Of a dispatch's levels, asked in their order: whether one would have the kernel of the level before, and so
// gains nothing.
class LevelsBefore {
 public:
  bool repeats(const std::string& schedule, const GpuModel& model) {
    std::string code = fmt::format("{}; {} {}", schedule, model.subgroup, model.narrow_storage);
    return std::exchange(code_, code) == code;
  }

 private:
  std::string code_;  // what the kernel follows from beside its shape
};

SimtSchedule default_simt_schedule(const SimtShape& shape, const GpuModel& model);

}  // namespace tern::lower::gpu
