// B of a contraction of bytes, or of pairs of bf16, when it is no constant: its columns gathered into a panel
// of worker scratch, the group of k that is a step innermost (the order that contraction_kernel.h and
// packing.h describe), zero where k or a column does not exist.
#pragma once

#include <functional>

#include "compiler/kernel/ir.h"

namespace tern::lower {

struct GroupedColumns {
  enum class Runs : uint8_t { kDown, kAcross, kNone };  // neighbours in memory: along k, along n
  int group = 4;                                        // elements of a step
  DType type = DType::kI8;                              // of the panel and of what the functions give
  Runs runs = Runs::kNone;
  kernel::Expr k, n;     // extents
  bool k_whole = false;  // k is a multiple of the group
  std::function<kernel::Expr(const kernel::Expr& k, const kernel::Expr& n)> element;
  // `lanes` elements from (k, n) on, along k or along n; `count` (may be null) limits them, the others are 0.
  using Vector = std::function<kernel::Expr(const kernel::Expr& k, const kernel::Expr& n, int lanes,
                                            const kernel::Expr& count)>;
  Vector down, across;
};

// panel[((k - k0) * columns + n - n0) * group + i] for n0 <= n < n0 + columns and k0 <= k < k0 + depth, k
// counting groups.
std::vector<kernel::Stmt> gather_columns(const GroupedColumns& b, const kernel::Buffer& panel,
                                         const kernel::Expr& n0, int64_t columns, const kernel::Expr& k0,
                                         const kernel::Expr& depth);

}  // namespace tern::lower
