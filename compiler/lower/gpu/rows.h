// Row regions on a GPU: several threads share a row (a thread, a part of a subgroup, or a whole workgroup),
// fold their parts in registers, then across threads: shuffles inside a subgroup, a tree in workgroup memory
// otherwise. The order of folding follows from the schedule, so results do not vary.
#pragma once

#include <string>

#include "compiler/lower/context.h"

namespace tern::lower::gpu {

struct RowSchedule {
  int lanes = 1;         // threads that share a row: a power of two
  int rows = 1;          // rows of a workgroup
  bool columns = false;  // neighbouring threads have neighbouring rows; else neighbouring elements of one row
  int threads() const { return lanes * rows; }
  std::string text() const;
};
// `rows`, `length`: likely figures. `columns`: the innermost memory axis is kept.
RowSchedule default_row_schedule(int64_t rows, int64_t length, bool columns, const GpuModel& model);

void lower_rows(const Region& region, LoweringContext& context);

}  // namespace tern::lower::gpu
