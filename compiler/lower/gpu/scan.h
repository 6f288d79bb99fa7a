// Running folds (cumulative sums) along long axes on a GPU: a workgroup folds a chunk of a row at a time,
// each thread some neighbouring elements, then all threads together (block_scan.h). Rows of many chunks are
// cut into segments: a dispatch folds each of them, and the one that writes begins with the fold of those
// before. The order of operations follows from the lengths alone.
#pragma once

#include "compiler/lower/nest_axes.h"

namespace tern::lower::gpu {

struct RunningFold {
  kernel::ScalarOp op = kernel::ScalarOp::kAdd;
  DType type = DType::kNone;  // that it is done in
  Dim length = {};
  bool exclusive = false;
  // The element at a position of the row that has these coordinates, in `type`, after the checks it needs.
  std::function<kernel::Expr(const std::vector<kernel::Expr>& row, const kernel::Expr& position,
                             std::vector<kernel::Stmt>& checks)>
      element;
  // Stores what follows from the fold up to a position.
  std::function<std::vector<kernel::Stmt>(const std::vector<kernel::Expr>& row, const kernel::Expr& position,
                                          const kernel::Expr& value)>
      finish;
};
using MakeRunningFold = std::function<RunningFold(DispatchBuilder&)>;

// Whether that is faster than a thread a row; likely figures.
bool folds_together(int64_t rows, int64_t length, DType type);
// `axes`: all but the row's. The dispatches of a region.
void lower_running_fold(const Region& region, LoweringContext& context, const std::vector<NestAxis>& axes,
                        DType type, const Dim& length, const MakeRunningFold& make);

}  // namespace tern::lower::gpu
