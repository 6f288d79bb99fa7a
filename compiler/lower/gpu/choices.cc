#include "compiler/lower/gpu/choices.h"

#include <algorithm>

#include "compiler/lower/gpu/compact.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/gpu/nms.h"
#include "compiler/lower/gpu/sort_steps.h"

namespace tern::lower::gpu {
namespace {

using graph::Node;
using graph::Value;
using kernel::Access;
using kernel::Buffer;
using kernel::Expr;

Buffer global(const char* name, DType dtype, Access access) {
  return kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kGlobal, access);
}

}  // namespace

bool lower_top_k(Node& node, BlockLowering& block) {
  Value* in = node.operand();
  const DType dtype = in->type.dtype;
  if (dtype_bits(dtype) < 8 || is_complex(dtype)) return false;
  const auto axis = static_cast<size_t>(node.int_attr("axis"));
  const Shape& shape = in->type.shape;
  const Dim n = shape[axis], inner = range_product(shape, axis + 1, shape.size()),
            k = node.result(0)->type.shape[axis];
  place_dense(block, node.result(0));
  place_dense(block, node.result(1));
  SortSteps steps(block, node, {range_product(shape, 0, axis) * inner, n, k, order_key_type(dtype)});
  const Buffer input = global("input", dtype, Access::kRead);
  // Element `at` of a row of `length`.
  const auto place = [inner](kernel::ParamTable& params, const Expr& row, const Dim& length, const Expr& at) {
    if (inner.is_const(1)) return plus(kernel::mul(row, params.expr(length)), at);
    const Expr width = params.expr(inner);
    const Expr line = plus(kernel::mul(kernel::index_div(row, width), params.expr(length)), at);
    return plus(kernel::mul(line, width), kernel::index_rem(row, width));
  };
  const auto source = [&](kernel::ParamTable& params) {
    SortSource s;
    s.bindings = {input};
    s.element = [&, place](LoopWriter& w, const Expr& row, const Expr& p) -> SortSource::Element {
      return {order_key(w, w.load(input, place(params, row, n, p)), node.bool_attr("largest")), nullptr,
              nullptr};
    };
    return s;
  };
  const auto result = [&](kernel::ParamTable& params) {
    SortResult r;
    const Buffer values = global("values", dtype, Access::kWrite),
                 indices = global("indices", DType::kI64, Access::kWrite),
                 again = global("elements", dtype, Access::kRead);
    r.bindings = {again, values, indices};
    r.take = [=, &params](LoopWriter& w, const Expr& row, const Expr& rank, const Expr&, const Expr& p) {
      const Expr to = w.let("to", place(params, row, k, rank));
      w.store(indices, to, p);
      w.store(values, to, w.load(again, place(params, row, n, p)));
    };
    return r;
  };
  steps.run(
      "top_k", [&](SpecialDispatch& d) { d.bind_input(in); }, source,
      [&](SpecialDispatch& d) {
        d.bind_input(in);
        d.bind_output(node.result(0));
        d.bind_output(node.result(1));
      },
      result);
  return true;
}

bool lower_nms(Node& node, BlockLowering& block) {
  LoweringContext& context = block.context();
  const Shape& shape = node.operand(1)->type.shape;
  const Dim rows = shape[0] * shape[1], n = shape[2];
  // Both thresholds side by side.
  const int thresholds = context.add_temporary("nms thresholds", DType::kF32, 2);
  for (int i = 0; i < 2; ++i) {
    Place place = dense_place(thresholds, Layout::dense(0), {});
    place.offset = i;
    block.copy_to(node.operand(3 + i), place, FusionReason::kCopyTarget);
  }
  const int order = context.add_temporary("nms order", DType::kI32, rows * n),
            candidates = context.add_temporary("nms candidates", DType::kI32, rows),
            kept = context.add_temporary("nms kept", DType::kI32, rows * n),
            numbers = context.add_temporary("nms numbers", DType::kI32, rows);
  SortSteps steps(block, node, {rows, n, n, DType::kI32, true});
  const auto source = [&](kernel::ParamTable& params) {
    SortSource s;
    const Buffer scores = global("scores", DType::kF32, Access::kRead),
                 limits = global("thresholds", DType::kF32, Access::kRead);
    s.bindings = {scores, limits};
    s.element = [=, &params](LoopWriter& w, const Expr& row, const Expr& p) -> SortSource::Element {
      const Expr score = w.let("score", w.load(scores, plus(kernel::mul(row, params.expr(n)), p)));
      return {order_key(w, score, true), w.lt(w.load(limits, w.i(1)), score), nullptr};
    };
    return s;
  };
  const auto result = [&](kernel::ParamTable& params) {
    SortResult r;
    const Buffer to = global("order", DType::kI32, Access::kWrite),
                 counts = global("candidates", DType::kI32, Access::kWrite);
    r.bindings = {to, counts};
    r.take = [=, &params](LoopWriter& w, const Expr& row, const Expr& rank, const Expr&, const Expr& p) {
      w.store(to, plus(kernel::mul(row, params.expr(n)), rank), kernel::cast(p, DType::kI32));
    };
    r.take_count = [=](LoopWriter& w, const Expr& row, const Expr& count) {
      w.store(counts, row, kernel::cast(count, DType::kI32));
    };
    return r;
  };
  steps.run(
      "nms",
      [&](SpecialDispatch& d) {
        d.bind_input(node.operand(1));
        d.bind(thresholds, Access::kRead);
      },
      source,
      [&](SpecialDispatch& d) {
        d.bind(order, Access::kWrite);
        d.bind(candidates, Access::kWrite);
      },
      result);
  {
    SpecialDispatch d(block, node);
    d.bind_input(node.operand(0));
    d.bind(order, Access::kRead);
    d.bind(candidates, Access::kRead);
    d.bind_input(node.operand(2));
    d.bind(thresholds, Access::kRead);
    d.bind(kept, Access::kReadWrite);
    d.bind(numbers, Access::kWrite);
    d.finish("nms_select", [&](const SpecialMachine& machine) {
      return nms_select_kernel(shape[0], shape[1], n, node.bool_attr("center_point_box"), machine,
                               d.params());
    });
  }
  if (!context.has_place(node.result(0)))
    context.set_place(node.result(0), bounded_place(block, node.result(0), product(shape) * 3));
  place_dense(block, node.result(1));
  SpecialDispatch d(block, node);
  d.bind(kept, Access::kRead);
  d.bind(numbers, Access::kRead);
  d.bind_output(node.result(0));
  d.bind_output(node.result(1));
  d.finish(
      "nms_list",
      [&](const SpecialMachine& machine) {
        return nms_list_kernel(shape[0], shape[1], n, machine, d.params());
      },
      true);
  return true;
}

bool lower_nonzero(Node& node, BlockLowering& block) {
  Value* in = node.operand();
  const DType dtype = in->type.dtype;
  if (dtype_bits(dtype) < 8 || is_complex(dtype)) return false;
  LoweringContext& context = block.context();
  const Shape& shape = in->type.shape;
  const int starts =
      context.add_temporary("nonzero starts", DType::kI32, max(compact_blocks(product(shape)), 1));
  const int counts =
      context.add_temporary("nonzero counts", DType::kI32, max(compact_blocks(product(shape)), 1));
  place_dense(block, node.result(1));
  {
    SpecialDispatch d(block, node);
    d.bind_input(in);
    d.bind(counts, Access::kWrite);
    d.finish(
        "nonzero_counts",
        [&](const SpecialMachine& m) { return nonzero_counts_kernel(dtype, shape, m, d.params()); }, true);
  }
  {
    SpecialDispatch d(block, node);
    d.bind(counts, Access::kRead);
    d.bind(starts, Access::kWrite);
    d.bind_output(node.result(1));
    d.finish(
        "nonzero_starts",
        [&](const SpecialMachine& m) { return starts_kernel(compact_blocks(product(shape)), m, d.params()); },
        true);
  }
  read_count(node, 1, block);
  place_dense(block, node.result(0));
  SpecialDispatch d(block, node);
  d.bind_input(in);
  d.bind(starts, Access::kRead);
  d.bind_output(node.result(0));
  const Dim count = node.result(0)->type.shape[1];
  d.finish(
      "nonzero",
      [&](const SpecialMachine& m) { return nonzero_places_kernel(dtype, shape, count, m, d.params()); },
      true);
  return true;
}

}  // namespace tern::lower::gpu
