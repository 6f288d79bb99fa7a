// Sorting of positions by the elements at them, for kernels that choose elements. Stable; NaN counts as
// greatest.
//
//   PositionSort sort(w, dtype, largest, keys, work, base, at);
//   sort.put(i, p);                        // candidate i, 0 <= i < count, is position p
//   const Expr sorted = sort.run(count);   // or run(count, most) where count is known
//   sort.position(sorted, j);              // who has rank j
//   sort.run_first(count, most, ...)       // or the first few of all positions, without sorting the others
//
// `work` (i64) has room for 2 * count entries from `base` on. With `keys` (CPU kernels, elements of at most
// 32 bits, in run_first also i64 that do not lie further apart) an entry is an order-preserving key above its
// position: nothing is looked up while sorting, and many entries are sorted by digits, in a time that does
// not depend on their order.
#pragma once

#include <functional>

#include "compiler/lower/loop_writer.h"

namespace tern::lower {

class PositionSort {
 public:
  using Expr = kernel::Expr;
  // Elements from a position on, `lanes` at once, of which some vectors are compared before any is looked at;
  // without `load` one by one.
  struct VectorAt {
    static constexpr int kVectors = 4;
    int lanes = 1;
    std::function<Expr(const Expr&)> load = nullptr;  // of f32
    int64_t width() const { return load ? int64_t{kVectors} * lanes : 1; }
  };
  PositionSort(LoopWriter& w, DType dtype, bool largest, bool keys, kernel::Buffer work, Expr base,
               std::function<Expr(Expr)> at);

  void put(const Expr& i, const Expr& position);
  void put_all(const Expr& count);
  // The index in `work` at which the sorted entries begin. `count`: a constant chooses the way at compile
  // time. `lanes`: of vectors that few entries may be compared by.
  Expr run(const Expr& count, int lanes = 1);
  // The same for the first `most` of all `count` positions, which need not be put before: most candidates are
  // only compared with the last of the best that were seen so far, and of the others the best are selected
  // before they are sorted.
  Expr run_first(const Expr& count, const Expr& most, const VectorAt& vector);
  Expr position(const Expr& sorted, const Expr& rank);
  // The entries of the first `most` of all positions, kept in variables: no work memory, and nothing but
  // loops that lanes can share. Where there are as many, with keys.
  std::vector<Expr> pass_through(const Expr& count, int64_t most);
  Expr position_of(const Expr& entry) const;
  bool has_keys() const { return keys_; }

 private:
  Expr entry(const Expr& position);
  Expr run_first_by_keys(const Expr& count, const Expr& most, const VectorAt& vector);
  void put_vectors(const Expr& count, const VectorAt& vector);
  void select_first(const Expr& most, const VectorAt& vector);
  void scan(const Expr& count, const VectorAt& vector, const std::function<Expr()>& room,
            const std::function<void(Expr entry)>& take);
  void set_threshold(const Expr& entry, const VectorAt& vector);
  Expr insert_first(const Expr& count, int64_t most, const VectorAt& vector);
  Expr precedes(const Expr& right, const Expr& left);
  void merge(const Expr& count, const kernel::Var& from, const kernel::Var& to);
  void by_ranks(const Expr& count, int lanes, const kernel::Var& from, const kernel::Var& to);
  void by_digits(const Expr& count, const kernel::Var& from, const kernel::Var& to);

  LoopWriter& w_;
  const DType dtype_;
  const bool largest_;
  bool keys_;
  const bool from_least_;  // keys of i64 count from the least element, where they fit
  const kernel::Buffer work_;
  const Expr base_;
  const std::function<Expr(Expr)> at_;
  // Of run_first: the next position, entries held, and what a candidate must be less than (once known).
  kernel::Var next_, held_, threshold_, known_, bound_;
  kernel::Var least_;
};

}  // namespace tern::lower
