// Sums of f32 that were made of parts of their terms, and what they are where that is no number.
#pragma once

#include <functional>

#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {

// `sum`, lanes of which are columns, or, where one of them is no finite number, the same by plain
// multiply-adds over `depth` steps: what is no number, or rounds to infinity, has parts that are NaN, and so
// have the sums that it is in. `a`: the row's element of a step, by lets that it may append; `b`: that of a
// step and column.
kernel::Expr plain_unless_finite(
    LoopWriter& w, const kernel::Expr& sum, int64_t depth,
    const std::function<kernel::Expr(const kernel::Expr& k, std::vector<kernel::Stmt>& lets)>& a,
    const std::function<kernel::Expr(const kernel::Expr& k, int column)>& b);

}  // namespace tern::lower::gpu
