#include "compiler/lower/gpu/scatter_lowering.h"

#include <algorithm>

#include "compiler/lower/gpu/scatter.h"
#include "compiler/lower/gpu/sort_steps.h"
#include "compiler/lower/gpu/sorted_scatter.h"
#include "compiler/lower/nest_axes.h"

namespace tern::lower::gpu {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using kernel::Access;

ScatterProblem problem_of(const Node& node) {
  const bool elements = node.kind == OpKind::kScatterElements;
  return {node.result()->type.dtype,
          node.operand(1)->type.dtype,
          node.result()->type.shape,
          node.operand(1)->type.shape,
          elements ? static_cast<int>(node.int_attr("axis")) : -1,
          node.str("reduction")};
}

ScatterSize size_of(const ScatterProblem& problem, const LoweringContext& context) {
  // Of an axis of unknown length, threads for a long one: too few cost more than too many.
  constexpr int64_t kLong = 4096;
  const auto likely = [&](const Dim& d) {
    return d.is_const() ? d.value() : std::max(context.hint(d), kLong);
  };
  kernel::ParamTable params;
  const ScatterLines lines(problem, params);
  const Dim targets =
      lines.one_target ? range_product(problem.data, 0, static_cast<size_t>(problem.indices.back().value()))
                       : problem.data[static_cast<size_t>(problem.axis)];
  return {context.hint(lines.outer * lines.inner), likely(targets), likely(lines.updates)};
}

void lower_sorted(Node& node, const ScatterProblem& problem, BlockLowering& block) {
  LoweringContext& context = block.context();
  kernel::ParamTable unused;
  const ScatterLines shape(problem, unused);
  const Dim rows = shape.one_target ? Dim(1) : shape.outer * shape.inner, all = rows * shape.updates;
  const int keys = context.add_temporary("scatter targets", DType::kI32, all),
            order = context.add_temporary("scatter order", DType::kI32, all);
  SortSteps steps(block, node, {rows, shape.updates, shape.updates});
  const auto bind_result = [&](SpecialDispatch& d) {
    d.bind(keys, Access::kWrite);
    d.bind(order, Access::kWrite);
  };
  steps.run(
      "scatter", [&](SpecialDispatch& d) { d.bind_input(node.operand(1)); },
      [&](kernel::ParamTable& params) { return scatter_source(problem, params); }, bind_result,
      [&](kernel::ParamTable& params) { return scatter_order(problem, params); });
  SpecialDispatch d(block, node);
  d.bind_output(node.result(), Access::kReadWrite);
  d.bind(keys, Access::kRead);
  d.bind(order, Access::kRead);
  d.bind_input(node.operand(2));
  d.finish("scatter_apply", [&](const SpecialMachine& machine) {
    return sorted_scatter_kernel(problem, machine, d.params());
  });
}

}  // namespace

void lower_scatter(Node& node, BlockLowering& block) {
  const ScatterProblem problem = problem_of(node);
  const GpuModel& model = gpu_model(variant_levels(block.context().target()).front());
  const ScatterSize size = size_of(problem, block.context());
  const bool one_target = problem.axis < 0;
  const ScatterSchedule schedule = default_scatter_schedule(size, one_target, model);
  if (sorting_pays(size, schedule, one_target, model)) return lower_sorted(node, problem, block);
  SpecialDispatch d(block, node);
  d.bind_output(node.result(), Access::kReadWrite);
  d.bind_input(node.operand(1));
  d.bind_input(node.operand(2));
  d.finish(one_target ? "scatter_nd" : "scatter_elements", [&](const SpecialMachine& machine) {
    return scatter_kernel(problem, schedule, machine, d.params());
  });
}

}  // namespace tern::lower::gpu
