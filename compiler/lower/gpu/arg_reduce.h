// The position of a row's greatest or least element on a GPU: threads share the row as in rows.h, each finds
// its part's, and a tree in workgroup memory compares those.
#pragma once

#include "compiler/lower/nest_axes.h"

namespace tern::lower::gpu {

struct ArgReduce {
  DType dtype = DType::kNone;
  Dim length;
  bool largest = true, last = false;  // last: of equal elements the last one counts
  bool columns = false;               // the innermost memory axis is not the row
  // The element at a position of the row that has these coordinates, after the checks it needs.
  std::function<kernel::Expr(const std::vector<kernel::Expr>& row, const kernel::Expr& position,
                             std::vector<kernel::Stmt>& checks)>
      element;
  // Stores what follows from the position (i64).
  std::function<std::vector<kernel::Stmt>(const std::vector<kernel::Expr>& row, const kernel::Expr& position)>
      finish;
};

// `axes`: all but the row's.
void add_arg_reduce_variant(DispatchBuilder& dispatch, Level level, const std::vector<NestAxis>& axes,
                            const ArgReduce& what);

}  // namespace tern::lower::gpu
