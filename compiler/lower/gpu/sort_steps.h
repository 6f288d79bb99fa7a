// The dispatches of a sort of rows (row_sort.h), and the memory between them.
#pragma once

#include "compiler/lower/gpu/row_sort.h"
#include "compiler/lower/special_dispatch.h"

namespace tern::lower::gpu {

class SortSteps {
 public:
  using Bind = std::function<void(SpecialDispatch&)>;
  SortSteps(BlockLowering& block, const graph::Node& node, const SortProblem& problem);

  // Bindings of source and result in the order of their SortSource and SortResult.
  void run(const std::string& label, const Bind& bind_source,
           const std::function<SortSource(kernel::ParamTable&)>& source, const Bind& bind_result,
           const std::function<SortResult(kernel::ParamTable&)>& result);

 private:
  struct Lists {
    int keys = -1, positions = -1, counts = -1;
  };
  Lists lists(int round);
  void bind(SpecialDispatch& d, const Lists& lists, kernel::Access access) const;

  BlockLowering& block_;
  const graph::Node& node_;
  const SortProblem p_;
  const RowSort sort_;
};

}  // namespace tern::lower::gpu
