// Sorting rows of elements by all threads of a GPU: dispatches of tiles (each sorted in workgroup memory by a
// bitonic network), then rounds of merges, in which each entry finds its rank among `ways` sorted lists by
// searches that go side by side. Stable: equal keys by position. Only the first `most` of a row are kept
// between rounds.
//
//   RowSort sort(problem, machine_of_all_variants);
//   sort.tiles(...), then sort.merge(0, ...) to sort.merge(rounds - 1, ...), the last one with a result.
//
// Between dispatches entries lie in keys [rows, n] and positions (i32) [rows, n], and, where not every
// element is wanted, counts (i32) [rows, lists].
#pragma once

#include <functional>

#include "compiler/lower/loop_writer.h"
#include "compiler/lower/special_kernels.h"

namespace tern::lower::gpu {

// A key in whose order elements come: i32, or i64 for elements of 64 bits. NaN is greatest, zeros are equal.
DType order_key_type(DType dtype);
kernel::Expr order_key(LoopWriter& w, const kernel::Expr& element, bool largest);

struct SortProblem {
  Dim rows, n, most;
  DType key = DType::kI32;
  bool filtered = false;  // not every element is wanted
};

// Where keys come from.
struct SortSource {
  struct Element {
    kernel::Expr key;
    kernel::Expr wanted;  // null: yes
    kernel::Expr wrong;   // null: no; else the kernel fails with an index out of range
  };
  std::vector<kernel::Buffer> bindings;
  std::function<Element(LoopWriter& w, const kernel::Expr& row, const kernel::Expr& position)> element;
};

// Where the last dispatch puts what it finds.
struct SortResult {
  std::vector<kernel::Buffer> bindings;
  std::function<void(LoopWriter& w, const kernel::Expr& row, const kernel::Expr& rank,
                     const kernel::Expr& key, const kernel::Expr& position)>
      take;
  // Of filtered sorts: how many elements of a row are wanted.
  std::function<void(LoopWriter& w, const kernel::Expr& row, const kernel::Expr& count)> take_count;
};

class RowSort {
 public:
  // `most_n`: what n never exceeds. `tile`: the longest tile, a power of two.
  RowSort(SortProblem problem, int64_t most_n, int64_t tile);

  int rounds() const { return rounds_; }
  // Counts that round `round` (or with 0 the first one) reads.
  Dim lists(int round) const;
  // Bindings: the source's; then the result's, or keys, positions and (filtered) counts.
  SpecialKernel tiles(const SpecialMachine& machine, const SortSource& source, const SortResult* result,
                      kernel::ParamTable& params) const;
  // Bindings: keys, positions, (filtered) counts; then the result's, or those of the next round.
  SpecialKernel merge(const SpecialMachine& machine, int round, const SortResult* result,
                      kernel::ParamTable& params) const;

 private:
  int64_t capacity(int round) const;  // of a list
  SortResult to_memory(int round, kernel::ParamTable& params) const;

  const SortProblem p_;
  const int64_t tile_;
  int ways_ = 2, rounds_ = 0;
  bool checks_length_ = false;  // rows may be longer than all rounds reach
};

}  // namespace tern::lower::gpu
