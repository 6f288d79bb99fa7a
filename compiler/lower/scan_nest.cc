// scan (running folds) and arg_reduce: serial along one axis, vector lanes along the innermost other axis.
#include <algorithm>
#include <optional>

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/arg_reduce.h"
#include "compiler/lower/gpu/flat_nest.h"
#include "compiler/lower/gpu/scan.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/nests.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;

// Loops over all axes of the space but `axis`; body writes the loop along it.
void serial_axis_kernel(const Region& region, LoweringContext& context, const Value* space_value, size_t axis,
                        const std::vector<int>& order, const std::vector<AccessStrides>& accesses,
                        const std::vector<bool>& pinned,
                        const std::function<std::vector<Stmt>(ElementEmitter&, const Index&)>& body,
                        std::string_view what) {
  const Shape& shape = space_value->type.shape;
  std::vector<int> others;
  for (const int d : order) {
    if (d != static_cast<int>(axis)) others.push_back(d);
  }
  const std::vector<NestAxis> axes = merge_axes(shape, others, accesses, pinned);
  DispatchBuilder dispatch(context, region);
  dispatch.set_flops(product(shape));
  if (!shape[axis].is_const()) dispatch.check_loops();
  for (const Level level : variant_levels(context.target())) {
    ElementEmitter emitter(dispatch);
    if (is_gpu(level_arch(level))) {
      gpu::add_flat_variant(
          dispatch, level, axes, 4 * context.hint(shape[axis]),
          [&](const std::vector<Expr>& coordinates) {
            return body(emitter, axis_index(axes, shape.size(), coordinates));
          },
          std::string(what));
      continue;
    }
    const Tiling tiling = choose_tiling(context, axes, 4 * context.hint(shape[axis]));
    const size_t body_axes = axes.empty() ? 0 : axes.size() - 1;
    NestParts parts = build_nest(
        dispatch, axes, tiling, body_axes,
        [&](std::vector<Expr> coordinates, const std::vector<AxisRange>& ranges) -> std::vector<Stmt> {
          if (axes.empty()) return body(emitter, axis_index(axes, shape.size(), coordinates));
          const kernel::Var v = kernel::make_var("i");
          coordinates.back() = kernel::var_expr(v);
          const Stmt loop =
              kernel::loop(v, ranges.back().begin, ranges.back().extent, kernel::LoopKind::kSerial,
                           body(emitter, axis_index(axes, shape.size(), coordinates)));
          // Lanes across rows that are far apart gather; only a contiguous axis gains from them.
          const bool contiguous = order.back() != static_cast<int>(axis);
          return contiguous ? vector_loop(loop, nest_lanes(region, level)) : std::vector<Stmt>{loop};
        });
    dispatch.add_variant(level, std::move(parts.grid), std::move(parts.body), std::string(what));
  }
  dispatch.finish();
}

void arg_reduce_on_gpu(const Region& region, LoweringContext& context, const std::vector<int>& order,
                       const std::vector<AccessStrides>& accesses, const std::vector<bool>& pinned) {
  const Node& root = *region.root;
  const Value* in = root.operand();
  const Shape& shape = in->type.shape;
  const auto axis = static_cast<size_t>(root.int_attr("axis"));
  std::vector<int> others;
  for (const int d : order) {
    if (d != static_cast<int>(axis)) others.push_back(d);
  }
  const std::vector<NestAxis> axes = merge_axes(shape, others, accesses, pinned);
  DispatchBuilder dispatch(context, region);
  dispatch.set_flops(product(shape));
  std::optional<ElementEmitter> emitter;
  gpu::ArgReduce what;
  what.dtype = in->type.dtype;
  what.length = shape[axis];
  what.largest = root.bool_attr("largest");
  what.last = root.bool_attr("last");
  what.columns = order.back() != static_cast<int>(axis) && !axes.empty();
  what.element = [&](const std::vector<Expr>& row, const Expr& position, std::vector<Stmt>& checks) {
    Index index = axis_index(axes, shape.size(), row);
    index[axis] = position;
    const Expr value = emitter->element(in, index);
    for (Stmt& s : emitter->take_checks()) checks.push_back(std::move(s));
    return value;
  };
  what.finish = [&](const std::vector<Expr>& row, const Expr& position) {
    Index index = axis_index(axes, shape.size(), row);
    index.erase(index.begin() + static_cast<std::ptrdiff_t>(axis));
    emitter->bind(root.result(), kernel::cast(position, root.result()->type.dtype));
    std::vector<Stmt> stores = store_outputs(*emitter, index);
    emitter->unbind(root.result());
    return stores;
  };
  for (const Level level : variant_levels(context.target())) {
    emitter.emplace(dispatch);
    gpu::add_arg_reduce_variant(dispatch, level, axes, what);
  }
  dispatch.finish();
}

// Whether threads share the rows of a scan on a GPU; lowers it then.
bool scan_together(const Region& region, LoweringContext& context, const std::vector<int>& order,
                   const std::vector<AccessStrides>& accesses, const std::vector<bool>& pinned) {
  const Node& root = *region.root;
  const Value* in = root.operand();
  const Shape& shape = in->type.shape;
  const auto axis = static_cast<size_t>(root.int_attr("axis"));
  const DType dtype = root.result()->type.dtype, wide = accumulator_type(dtype);
  std::vector<int> others;
  for (const int d : order) {
    if (d != static_cast<int>(axis)) others.push_back(d);
  }
  const std::vector<NestAxis> axes = merge_axes(shape, others, accesses, pinned);
  if (!gpu::folds_together(context.hint(gpu::point_count(axes)), context.hint(shape[axis]), wide))
    return false;
  for (const Value* v : region.outputs)
    if (dtype_bits(v->type.dtype) < 8) return false;
  gpu::lower_running_fold(region, context, axes, wide, shape[axis], [&](DispatchBuilder& dispatch) {
    const auto emitter = std::make_shared<ElementEmitter>(dispatch);
    gpu::RunningFold what;
    what.op = root.scalar_op();
    what.type = wide;
    what.length = shape[axis];
    what.exclusive = root.bool_attr("exclusive");
    const auto index_at = [&, last = kernel::sub(dispatch.expr(shape[axis]), int_const(1))](
                              const std::vector<Expr>& row, const Expr& position) {
      Index index = axis_index(axes, shape.size(), row);
      index[axis] = root.bool_attr("reverse") ? kernel::sub(last, position) : position;
      return index;
    };
    what.element = [=](const std::vector<Expr>& row, const Expr& position, std::vector<Stmt>& checks) {
      const Expr value = kernel::cast(emitter->element(in, index_at(row, position)), wide);
      for (Stmt& s : emitter->take_checks()) checks.push_back(std::move(s));
      return value;
    };
    what.finish = [=, &root](const std::vector<Expr>& row, const Expr& position, const Expr& value) {
      emitter->bind(root.result(), kernel::cast(value, dtype));
      std::vector<Stmt> stores = store_outputs(*emitter, index_at(row, position));
      emitter->unbind(root.result());
      return stores;
    };
    return what;
  });
  return true;
}

}  // namespace

void lower_scan(const Region& region, LoweringContext& context) {
  const Node& root = *region.root;
  const Value* out = region.outputs[0];
  const auto axis = static_cast<size_t>(root.int_attr("axis"));
  const bool exclusive = root.bool_attr("exclusive"), reverse = root.bool_attr("reverse");
  const ScalarOp op = root.scalar_op();
  const DType dtype = root.result()->type.dtype, wide = accumulator_type(dtype);
  RegionAccesses in = collect_accesses(region, context, root.operand());
  const RegionAccesses epilogue = collect_accesses(region, context, out, {root.result()});
  std::vector<AccessStrides> accesses = in.loads;
  accesses.insert(accesses.end(), epilogue.loads.begin(), epilogue.loads.end());
  for (const Value* v : region.outputs) accesses.push_back({v, context.place(v).strides, true});
  std::vector<bool> pinned = in.pinned;
  for (size_t d = 0; d < pinned.size(); ++d) pinned[d] = pinned[d] || epilogue.pinned[d];
  const auto body = [&](ElementEmitter& emitter, Index index) -> std::vector<Stmt> {
    const kernel::Var acc = kernel::make_var("acc", {wide, 1}), step = kernel::make_var("step");
    const Expr n = emitter.dispatch().expr(root.operand()->type.shape[axis]);
    const Expr s = kernel::var_expr(step);
    index[axis] = reverse ? kernel::sub(kernel::sub(n, int_const(1)), s) : s;
    const Expr x = kernel::cast(emitter.element(root.operand(), index), wide);
    std::vector<Stmt> inner = emitter.take_checks();
    const kernel::Var next = kernel::make_var("next", {wide, 1});
    inner.push_back(kernel::let(next, kernel::op(op, {kernel::var_expr(acc), x})));
    emitter.bind(root.result(), kernel::cast(kernel::var_expr(exclusive ? acc : next), dtype));
    for (Stmt& stmt : store_outputs(emitter, index)) inner.push_back(std::move(stmt));
    emitter.unbind(root.result());
    inner.push_back(kernel::assign(acc, kernel::var_expr(next)));
    return {kernel::declare(acc, kernel::scalar_const(kernel::reduction_identity(op, wide))),
            kernel::loop(step, int_const(0), n, kernel::LoopKind::kSerial, std::move(inner))};
  };
  const std::vector<int>& order = context.place(out).layout.order;
  if (is_gpu(context.target().arch) && scan_together(region, context, order, accesses, pinned)) return;
  serial_axis_kernel(region, context, out, axis, order, accesses, pinned, body, "scan");
}

void lower_arg_reduce(const Region& region, LoweringContext& context) {
  const Node& root = *region.root;
  const Value* in = root.operand();
  const auto axis = static_cast<size_t>(root.int_attr("axis"));
  const bool largest = root.bool_attr("largest"), last = root.bool_attr("last");
  RegionAccesses reads = collect_accesses(region, context, in);
  std::vector<AccessStrides> accesses = reads.loads;
  for (const Value* v : region.outputs) {
    AccessStrides a{v, context.place(v).strides, false};
    a.strides.insert(a.strides.begin() + static_cast<std::ptrdiff_t>(axis), Dim(0));
    accesses.push_back(std::move(a));
  }
  std::vector<int> order = Layout::dense(in->type.rank()).order;
  for (const AccessStrides& a : reads.loads) {
    if (!a.identity) continue;
    order = context.place(a.value).layout.order;
    break;
  }
  if (is_gpu(context.target().arch)) return arg_reduce_on_gpu(region, context, order, accesses, reads.pinned);
  const auto body = [&](ElementEmitter& emitter, Index index) -> std::vector<Stmt> {
    const DType dtype = in->type.dtype;
    const kernel::Var best = kernel::make_var("best", {dtype, 1}), where = kernel::make_var("where"),
                      step = kernel::make_var("step"), x = kernel::make_var("x", {dtype, 1});
    const Expr n = emitter.dispatch().expr(in->type.shape[axis]);
    const Expr s = kernel::var_expr(step), xe = kernel::var_expr(x), be = kernel::var_expr(best);
    std::vector<Stmt> out;
    index[axis] = s;
    const Expr value = emitter.element(in, index);
    std::vector<Stmt> inner = emitter.take_checks();
    inner.push_back(kernel::let(x, value));
    const ScalarOp test =
        largest ? (last ? ScalarOp::kGe : ScalarOp::kGt) : (last ? ScalarOp::kLe : ScalarOp::kLt);
    Expr better = kernel::op(
        ScalarOp::kOr, {kernel::compare(test, xe, be), kernel::compare(ScalarOp::kEq, s, int_const(0))});
    inner.push_back(kernel::if_then(better, {kernel::assign(best, xe), kernel::assign(where, s)}));
    out.push_back(kernel::declare(
        best, kernel::scalar_const(largest ? scalar::lowest(dtype) : scalar::highest(dtype))));
    out.push_back(kernel::declare(where, int_const(0)));
    out.push_back(kernel::loop(step, int_const(0), n, kernel::LoopKind::kSerial, std::move(inner)));
    index.erase(index.begin() + static_cast<std::ptrdiff_t>(axis));
    emitter.bind(root.result(), kernel::cast(kernel::var_expr(where), root.result()->type.dtype));
    for (Stmt& stmt : store_outputs(emitter, index)) out.push_back(std::move(stmt));
    emitter.unbind(root.result());
    return out;
  };
  serial_axis_kernel(region, context, in, axis, order, accesses, reads.pinned, body, "arg_reduce");
}

}  // namespace tern::lower
