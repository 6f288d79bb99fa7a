// Row regions on a GPU: several threads share a row (a thread, a part of a subgroup, or a whole workgroup),
// fold their parts in registers, then across threads: shuffles inside a subgroup, a tree in workgroup memory
// otherwise. The order of folding follows from the schedule, so results do not vary.
#pragma once

#include <string>

#include "compiler/lower/gpu/flat_nest.h"
#include "compiler/lower/gpu/thread_fold.h"

namespace tern::lower::gpu {

struct RowSchedule {
  int lanes = 1;  // threads that share a row
  int rows = 1;   // rows of a workgroup
  int run = 0;  // neighbouring threads that have elements of one row, before those of the next; 0: all lanes
  int run_length() const { return run == 0 ? lanes : run; }
  int threads() const { return lanes * rows; }
  std::string text() const;
};
// `rows`, `length`: likely figures. `columns`: the innermost memory axis is kept.
RowSchedule default_row_schedule(int64_t rows, int64_t length, bool columns, const GpuModel& model);

// Which row and which place in it a thread of a workgroup has.
class RowThreads {
 public:
  // `axes`: the kept ones; their points are the rows.
  RowThreads(DispatchBuilder& dispatch, const std::vector<NestAxis>& axes, const RowSchedule& schedule);

  const RowSchedule& schedule() const { return schedule_; }
  const kernel::Var& thread() const { return thread_; }
  FoldLayout fold_layout(int subgroup) const;  // subgroup: the level's
  const std::vector<kernel::GridAxis>& grid() const { return grid_; }
  // The lets that the expressions below need: first in the body.
  std::vector<kernel::Stmt> prologue() const { return prologue_; }
  const kernel::Expr& lane() const { return lane_; }
  const kernel::Expr& own() const { return own_; }               // the row's number in the workgroup
  const std::vector<kernel::Expr>& row() const { return row_; }  // its coordinates
  // Threads past the last row have that one's coordinates, since barriers need them, and store nothing.
  std::vector<kernel::Stmt> valid(std::vector<kernel::Stmt> stores) const;
  std::vector<kernel::Stmt> once(std::vector<kernel::Stmt> stores) const;  // by one thread of the row
  // A place in workgroup memory for a lane of the own row.
  kernel::Expr slot(const kernel::Expr& lane) const;

 private:
  const RowSchedule schedule_;
  const kernel::Var thread_;
  std::vector<kernel::GridAxis> grid_;
  std::vector<kernel::Stmt> prologue_;
  kernel::Expr lane_, own_, valid_;  // valid_: null when every thread has a row
  std::vector<kernel::Expr> row_;
};

void lower_rows(const Region& region, LoweringContext& context);

}  // namespace tern::lower::gpu
