// How a workgroup, or a cluster of them, computes all steps of a recurrence (recurrence.h).
//
//   units    of a workgroup, which its threads keep: carried values stay in their registers
//   parts    neighbouring threads of a unit: each multiplies every `parts`-th quad of the depth, for all
//            columns of the unit and all rows of the workgroup; then they add up and take rows of their own
//   rows     of a workgroup; the others are other clusters'
//   cluster  workgroups that share the units, and read each other's rows before each stage
//
// A quad is four weights of a column that lie along the depth. As many of a thread's stay in its registers as
// fit, the next ones in workgroup memory, and what is left is read from the caches in each step.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compiler/lower/target.h"

namespace tern::lower::gpu {

struct RecurrentShape {
  int64_t width = 0, rows = 1, steps = 1;  // likely figures of the latter two
  struct Stage {
    int64_t columns = 0;  // of a unit, in all products
    int exchanged = 1;
  };
  std::vector<Stage> stages;
  int inputs = 0;        // and carried values: registers of a thread, a row each
  int weight_bits = 32;  // as they are stored
};

struct RecurrentSchedule {
  int cluster = 1, units = 1, parts = 1, rows = 1;
  bool wide = true;  // weights in registers are f32, else as they are stored
  // Of each stage: rounds of `parts` quads of the depth.
  struct Homes {
    int64_t registers = 0, memory = 0, caches = 0;
    int64_t rounds() const { return registers + memory + caches; }
  };
  std::vector<Homes> homes;
  double cycles = 0;  // of a step, predicted
  double seconds() const;

  int threads() const { return units * parts; }
  int64_t pitch(int64_t width) const;  // of a row in workgroup memory
  std::string text() const;
};

std::optional<RecurrentSchedule> default_recurrent_schedule(const RecurrentShape& shape,
                                                            const GpuModel& model);

}  // namespace tern::lower::gpu
