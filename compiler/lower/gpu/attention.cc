#include "compiler/lower/gpu/attention.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/attention_kernel.h"
#include "compiler/lower/gpu/mma_contraction.h"

namespace tern::lower::gpu {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using scalar::ScalarOp;

const Node* map_of(const Value* value, ScalarOp op) {
  const Node* node = value->def;
  return node && node->kind == OpKind::kMap && node->scalar_op() == op ? node : nullptr;
}

// The reduction behind broadcasts and reshapes of its result.
const Node* reduction_behind(const Value* value, ScalarOp op) {
  while (value->def && (value->def->kind == OpKind::kBroadcast || value->def->kind == OpKind::kReshape))
    value = value->def->operand();
  const Node* node = value->def;
  return node && node->kind == OpKind::kReduce && node->scalar_op() == op ? node : nullptr;
}

bool over_last_axis(const Node& reduce) {
  const std::vector<int64_t> axes = reduce.ints("axes");
  return axes.size() == 1 && axes[0] == reduce.operand()->type.rank() - 1;
}

// The x of exp(x - max x) / sum exp(x - max x), when that is what the value is.
Value* softmax_operand(const Value* value) {
  const Node* quotient = map_of(value, ScalarOp::kDiv);
  if (!quotient) return nullptr;
  const Node* exp = map_of(quotient->operand(0), ScalarOp::kExp);
  const Node* sum = reduction_behind(quotient->operand(1), ScalarOp::kAdd);
  if (!exp || !sum || sum->operand() != exp->result() || !over_last_axis(*sum)) return nullptr;
  const Node* difference = map_of(exp->operand(), ScalarOp::kSub);
  if (!difference) return nullptr;
  const Node* top = reduction_behind(difference->operand(1), ScalarOp::kMax);
  if (!top || top->operand() != difference->operand(0) || !over_last_axis(*top)) return nullptr;
  return difference->operand(0);
}

bool is_product(const Region* region) {
  return region && region->kind == RootKind::kContraction && region->root->kind == OpKind::kDot &&
         region->outputs.size() == 1 && !LoweringContext::constant_data(region->root->operand(1));
}

// All that three regions compute, as one: what passes between them is computed inside.
Region joined(const std::vector<std::unique_ptr<Region>>& chain) {
  Region out;
  out.kind = RootKind::kContraction;
  out.root = chain.back()->root;
  out.outputs = chain.back()->outputs;
  for (const auto& part : chain) {
    out.nodes.insert(out.nodes.end(), part->nodes.begin(), part->nodes.end());
    out.members.insert(part->members.begin(), part->members.end());
  }
  for (const auto& part : chain) {
    for (Value* v : part->inputs) {
      const bool inside = v == chain[0]->outputs[0] || v == chain[1]->outputs[0];
      if (!inside && std::find(out.inputs.begin(), out.inputs.end(), v) == out.inputs.end())
        out.inputs.push_back(v);
    }
  }
  return out;
}

}  // namespace

void chain_attention(BlockPlan& plan, const graph::UseMap& uses) {
  std::unordered_map<const Value*, size_t> made_by;
  for (size_t i = 0; i < plan.items.size(); ++i) {
    if (!plan.items[i].region) continue;
    for (const Value* v : plan.items[i].region->outputs) made_by[v] = i;
  }
  const auto maker = [&](const Value* v) -> BlockItem* {
    auto it = made_by.find(v);
    return it == made_by.end() ? nullptr : &plan.items[it->second];
  };
  const auto read_by = [&](const Value* v, const Region& region) {
    auto it = uses.find(v);
    if (it == uses.end()) return false;
    return std::all_of(it->second.begin(), it->second.end(),
                       [&](const graph::Use& use) { return use.node && region.contains(use.node); });
  };
  for (BlockItem& last : plan.items) {
    if (!is_product(last.region.get())) continue;
    Value* weights = last.region->root->operand(0);
    BlockItem* middle = maker(weights);
    if (!middle || !middle->region || middle->region->kind != RootKind::kRows ||
        middle->region->outputs.size() != 1 || !read_by(weights, *last.region) ||
        last.region->root->operand(1) == weights)
      continue;
    const Value* operand = softmax_operand(weights);
    if (!operand) continue;
    for (Value* scores : middle->region->inputs) {
      BlockItem* first = maker(scores);
      if (!first || !is_product(first->region.get()) || !read_by(scores, *middle->region)) continue;
      // The product's elements are the scores' own: nothing but elementwise work between.
      if (scores->type.shape != operand->type.shape ||
          first->region->root->result()->type.shape != operand->type.shape)
        continue;
      last.chain.push_back(std::move(first->region));
      last.chain.push_back(std::move(middle->region));
      last.chain.push_back(std::move(last.region));
      break;
    }
  }
  std::erase_if(plan.items,
                [](const BlockItem& item) { return !item.region && !item.node && item.chain.empty(); });
}

bool lower_attention(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context) {
  const Node &scores = *chain[0]->root, &product = *chain[2]->root;
  Value *q = scores.operand(0), *k = scores.operand(1), *v = product.operand(1);
  const Value* operand = softmax_operand(chain[1]->outputs[0]);
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
  const Level level = context.target().levels.front();
  const GpuModel& model = gpu_model(level);
  if (!model.has_mma) return false;

  const Region region = joined(chain);
  DispatchBuilder dispatch(context, region);
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
    emitter.bind(scores.result(), kernel::var_expr(sum));
    const Expr score = emitter.element(operand, last.a_index(b, m, n));
    emitter.unbind(scores.result());
    TERN_CHECK(emitter.take_checks().empty(), "scores have data-dependent indices");
    return kernel::substitute(score, {{sum.get(), value}});
  };
  o.finish = [&](const Expr& m, const Expr& d, const Expr& value, int lanes) {
    return store_epilogue(
        emitter, [&](const Expr& at) { return last.out_index(b, m, at); }, d, value, lanes, nullptr);
  };
  const AttentionSchedule schedule = default_attention_schedule(
      context.hint(shape.batch), context.hint(shape.queries), context.hint(shape.keys),
      std::max(shape.depth, shape.value_depth), model.cores);
  const kernel::Var thread = kernel::make_var("t");
  AttentionKernel made = build_attention_kernel(shape, batch, schedule, thread, o, params);
  dispatch.add_variant(level, std::move(made.grid), std::move(made.body), schedule.text(),
                       {schedule.threads(), thread, 32});
  dispatch.finish();
  return true;
}

}  // namespace tern::lower::gpu
