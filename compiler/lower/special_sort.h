// Sorting of positions by the elements at them, for kernels that choose elements. Stable; NaN counts as
// greatest.
//
//   PositionSort sort(w, dtype, largest, keys, work, base, at);
//   sort.put(i, p);                        // candidate i, 0 <= i < count, is position p
//   const Expr sorted = sort.run(count);   // or run(count, most) where count is known
//   sort.position(sorted, j);              // who has rank j
//
// `work` (i64) has room for 2 * count entries from `base` on. With `keys` (CPU kernels, elements of at most
// 32 bits) an entry is an order-preserving key above its position: nothing is looked up while sorting, and
// many entries are sorted by digits, in a time that does not depend on their order.
#pragma once

#include <functional>

#include "compiler/lower/loop_writer.h"

namespace tern::lower {

class PositionSort {
 public:
  using Expr = kernel::Expr;
  PositionSort(LoopWriter& w, DType dtype, bool largest, bool keys, kernel::Buffer work, Expr base,
               std::function<Expr(Expr)> at);

  void put(const Expr& i, const Expr& position);
  void put_all(const Expr& count);
  // The index in `work` at which the sorted entries begin. `count`: a constant chooses the way at compile
  // time.
  Expr run(const Expr& count);
  Expr position(const Expr& sorted, const Expr& rank);

 private:
  Expr entry(const Expr& position);
  Expr precedes(const Expr& right, const Expr& left);
  void merge(const Expr& count, const kernel::Var& from, const kernel::Var& to);
  void by_digits(const Expr& count, const kernel::Var& from, const kernel::Var& to);

  LoopWriter& w_;
  const DType dtype_;
  const bool largest_, keys_;
  const kernel::Buffer work_;
  const Expr base_;
  const std::function<Expr(Expr)> at_;
};

}  // namespace tern::lower
