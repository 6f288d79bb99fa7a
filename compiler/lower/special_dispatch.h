// One dispatch of a kernel of special_kernels.h, or of gpu/: its bindings, a variant for each level of the
// target that has a kernel of its own, and the step.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compiler/lower/block_lowering.h"
#include "compiler/lower/special_kernels.h"

namespace tern::lower {

class SpecialDispatch {
 public:
  SpecialDispatch(BlockLowering& block, const graph::Node& node) : block_(block), node_(node) {}

  kernel::ParamTable& params() { return params_; }

  void bind(int buffer, kernel::Access access, const Dim& offset_bytes = 0);
  // The value in dense memory.
  void bind_input(graph::Value* value);
  void bind_output(const graph::Value* value, kernel::Access access = kernel::Access::kWrite);

  // `folds`: the kernel has a better form where subgroups may be relied on.
  void finish(const std::string& label, const std::function<SpecialKernel(const SpecialMachine&)>& make,
              bool folds = false);

 private:
  std::pair<std::shared_ptr<kernel::Kernel>, Dim> kernel_of(const std::string& label, SpecialKernel special,
                                                            DispatchStep& dispatch);
  void measure_work(DispatchStep& dispatch);

  BlockLowering& block_;
  const graph::Node& node_;
  kernel::ParamTable params_;
  std::vector<Binding> bindings_;
};

// Results of special ops are dense.
void place_dense(BlockLowering& block, const graph::Value* v);
// A temporary of `elements` in which a kernel leaves a result whose size only it finds out.
Place bounded_place(BlockLowering& block, const graph::Value* v, const Dim& elements);
// Binds now the symbols that result `r` gives: later results' sizes depend on them.
void read_count(graph::Node& node, int r, BlockLowering& block);
// nms's thresholds side by side in memory: overlap and, if the node has one, the least score.
int nms_thresholds(const graph::Node& node, BlockLowering& block);
Dim range_product(const Shape& shape, size_t begin, size_t end);

}  // namespace tern::lower
