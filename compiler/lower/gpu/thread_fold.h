// Folds a value across the threads of a workgroup that share a row: afterwards each of them has the same
// result, whose order of operations is fixed. All threads of the workgroup must reach the statements
// together.
#pragma once

#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::lower::gpu {

// Thread t is lane `lane` of group `row`. `run` lanes of a row are neighbours, then those of the next row, …:
// all lanes (t = row * lanes + lane), one (t = lane * rows + row), or a divisor between them.
struct FoldLayout {
  int lanes = 1, rows = 1, run = 1;
  int subgroup = 0;  // of the level
  kernel::Expr lane, row, thread;

  // Whether shuffles do a part of the folding, so that the kernel relies on the subgroup's width: on whole
  // subgroups.
  bool uses_subgroup() const {
    return subgroup > 0 && run == lanes && lanes > 1 && (lanes & (lanes - 1)) == 0 &&
           lanes * rows % subgroup == 0;
  }
};

// The fold of `acc` over the lanes of each row; `op` is associative and commutative.
kernel::Expr fold_threads(const kernel::Var& acc, kernel::ScalarOp op, const FoldLayout& layout,
                          std::vector<kernel::Stmt>& out);

}  // namespace tern::lower::gpu
