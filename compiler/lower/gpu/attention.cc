#include "compiler/lower/gpu/attention.h"

#include <algorithm>

#include "compiler/lower/attention_chain.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/attention_kernel.h"
#include "compiler/lower/gpu/mma_contraction.h"

namespace tern::lower::gpu {

using kernel::Expr;
using kernel::int_const;

namespace {

// A score of a 16-bit model, over the product `x`, without rounding between its ops: f32 all through.
Expr widened(const Expr& e, const kernel::Var& x) {
  const DType f32 = DType::kF32;
  if (e->kind == kernel::ExprKind::kVar && e->var == x) return e;
  if (!is_float(e->type.dtype)) return e;
  if (e->kind == kernel::ExprKind::kConst) return kernel::float_const(e->f, f32);
  if (e->kind == kernel::ExprKind::kCast && is_float(e->args[0]->type.dtype)) return widened(e->args[0], x);
  if (e->kind != kernel::ExprKind::kOp) return kernel::cast(e, f32);
  std::vector<Expr> args;
  for (const Expr& arg : e->args) args.push_back(widened(arg, x));
  return kernel::op(e->op, std::move(args));
}

}  // namespace

bool lower_attention(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context) {
  const AttentionChain attention(chain);
  const graph::Node &scores = attention.scores, &product = attention.product;
  graph::Value *q = attention.q, *k = attention.k, *v = attention.v;
  const auto rank = static_cast<size_t>(q->type.rank());
  const Dim depth = q->type.shape[rank - 1], width = v->type.shape[rank - 1];
  const auto suits = [](const Dim& d) {
    return d.is_const() && d.value() % 16 == 0 && d.value() <= 128 && d.value() > 0;
  };
  if (!suits(depth) || !suits(width)) return false;
  const DType dtype = context.stored_type(q);
  if (dtype != DType::kF16 && dtype != DType::kBF16) return false;
  if (!chunks_of(q, rank - 1, depth.value(), dtype, context) ||
      !chunks_of(k, rank - 2, depth.value(), dtype, context) ||
      !chunks_of(v, rank - 1, width.value(), dtype, context))
    return false;
  for (const Level level : context.target().levels) {
    if (!gpu_model(level).has_mma) return false;
  }

  DispatchBuilder dispatch(context, attention.region);
  dispatch.set_label("attention");
  kernel::ParamTable& params = dispatch.params();
  const ContractionProblem first = dot_problem(scores, params, false),
                           last = dot_problem(product, params, false);
  AttentionShape shape;
  shape.batch = last.batch;
  shape.queries = last.m;
  shape.keys = last.k;
  shape.depth = depth.value();
  shape.value_depth = width.value();
  dispatch.set_flops(shape.batch * shape.queries * shape.keys * Dim(2 * (shape.depth + shape.value_depth)));
  ElementEmitter emitter(dispatch);
  kernel::GridAxis batch;
  Expr b = int_const(0);
  if (!last.batch.is_const(1)) {
    const kernel::Var at = kernel::make_var("batch");
    b = kernel::var_expr(at);
    batch = {at, last.batch, params.expr(last.batch)};
  }
  AttentionOperands o;
  o.dtype = dtype;
  o.q = dispatch.buffer_of(q);
  o.k = dispatch.buffer_of(k);
  o.v = dispatch.buffer_of(v);
  o.q_row = [&](const Expr& row) { return emitter.address(q, first.a_index(b, row, int_const(0))); };
  o.k_row = [&](const Expr& row) { return emitter.address(k, first.b_index(b, int_const(0), row)); };
  o.v_row = [&](const Expr& row) { return emitter.address(v, last.b_index(b, row, int_const(0))); };
  const kernel::Var sum = kernel::make_var("sum", {DType::kF32, 1});
  o.score = [&](const Expr& m, const Expr& n, const Expr& value) {
    emitter.bind(scores.result(), kernel::cast(kernel::var_expr(sum), scores.result()->type.dtype));
    const Expr score = widened(emitter.element(attention.softmax_operand, last.a_index(b, m, n)), sum);
    emitter.unbind(scores.result());
    TERN_CHECK(emitter.take_checks().empty(), "scores have data-dependent indices");
    return kernel::substitute(score, {{sum.get(), value}});
  };
  o.finish = [&](const Expr& m, const Expr& d, const Expr& value, int lanes) {
    const DType type = product.result()->type.dtype;
    return store_epilogue(
        emitter, [&](const Expr& at) { return last.out_index(b, m, at); }, d,
        type == DType::kF32 ? value : kernel::cast(value, type), lanes, nullptr);
  };
  std::string before;
  for (const Level level : context.target().levels) {
    const GpuModel& model = gpu_model(level);
    const bool group = model.has_group_mma && shape.depth % 64 == 0 && shape.value_depth % 64 == 0;
    const AttentionSchedule schedule = default_attention_schedule(
        context.hint(shape.batch), context.hint(shape.queries), context.hint(shape.keys),
        std::max(shape.depth, shape.value_depth), model.cores, group);
    if (schedule.text() == before) continue;  // the level gains nothing
    before = schedule.text();
    const kernel::Var thread = kernel::make_var("t");
    AttentionKernel made = build_attention_kernel(shape, batch, schedule, thread, o, params);
    dispatch.add_variant(level, std::move(made.grid), std::move(made.body), schedule.text(),
                         {schedule.threads(), thread, 32}, {.matrix_units = true});
  }
  dispatch.finish();
  return true;
}

}  // namespace tern::lower::gpu
