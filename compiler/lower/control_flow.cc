// if and loop as steps. Results whose sizes both branches (or all iterations) share are computed in place in
// the result's buffer; the others are copied there when their size is known, and their symbols bound.
#include <algorithm>

#include "compiler/lower/block_lowering.h"
#include "compiler/lower/gpu/recurrence.h"
#include "compiler/lower/recurrence.h"
#include "compiler/lower/step_access.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::SymbolInfo;
using graph::Value;

template <typename T>
void push(LoweringContext& context, Step::Kind kind, std::shared_ptr<T> Step::* member, T value) {
  Step step;
  step.kind = kind;
  step.*member = std::make_shared<T>(std::move(value));
  context.push(std::move(step));
}

void push_bind(LoweringContext& context, const std::string& symbol, const Dim& value) {
  if (value == Dim::symbol(symbol)) return;
  push(context, Step::Kind::kBind, &Step::bind, BindStep{symbol, value});
}

void push_swap(LoweringContext& context, int a, int b) {
  push(context, Step::Kind::kSwap, &Step::swap, SwapStep{a, b});
}

// The symbol that a dimension is, when control flow binds it.
const SymbolInfo* control_symbol(LoweringContext& context, const Dim& d) {
  if (d.op() != Dim::Op::kSymbol) return nullptr;
  const SymbolInfo* info = context.graph().find_symbol(d.symbol_name());
  return info && info->origin == SymbolInfo::Origin::kControl ? info : nullptr;
}

bool has_control_symbol(LoweringContext& context, const Shape& shape) {
  return std::any_of(shape.begin(), shape.end(),
                     [&](const Dim& d) { return control_symbol(context, d) != nullptr; });
}

// Binds the control symbols of `shape` to the sizes of `actual`: all at once, for they may depend on each
// other's old values.
void bind_sizes(LoweringContext& context, const std::vector<std::pair<Shape, Shape>>& pairs) {
  std::vector<std::pair<std::string, Dim>> bindings;
  for (const auto& [shape, actual] : pairs) {
    for (size_t d = 0; d < shape.size(); ++d) {
      if (!control_symbol(context, shape[d]) || shape[d] == actual[d]) continue;
      bindings.emplace_back(shape[d].symbol_name(), actual[d]);
    }
  }
  if (bindings.size() > 1) {
    for (auto& [symbol, value] : bindings) {
      SymbolInfo info;
      info.origin = SymbolInfo::Origin::kControl;
      if (const SymbolInfo* known = context.graph().find_symbol(symbol)) info.upper = known->upper;
      const std::string next = context.graph().new_symbol("next", info).name;
      push_bind(context, next, value);
      value = Dim::symbol(next);
    }
  }
  for (const auto& [symbol, value] : bindings) push_bind(context, symbol, value);
}

// Memory for a value whose size control flow decides: a bound's worth, or allocated by allocate_now.
int control_buffer(LoweringContext& context, const Value* v) {
  const Dim elements = product(v->type.shape);
  if (context.upper_bound(elements)) return context.add_temporary(v->name, v->type.dtype, elements);
  BufferDef def;
  def.kind = BufferKind::kDynamic;
  def.name = v->name;
  def.dtype = v->type.dtype;
  def.bytes = ceildiv(elements * Dim(dtype_bits(v->type.dtype)), 8);
  return context.add_buffer(std::move(def));
}

void allocate_now(LoweringContext& context, int buffer, const Shape& shape) {
  const BufferDef& def = context.program().buffers[static_cast<size_t>(buffer)];
  if (def.kind != BufferKind::kDynamic) return;
  const Dim bytes = ceildiv(product(shape) * Dim(dtype_bits(def.dtype)), 8);
  push(context, Step::Kind::kAllocate, &Step::allocate, AllocateStep{buffer, bytes});
}

Place dense_at(int buffer, const Shape& shape) {
  return dense_place(buffer, Layout::dense(static_cast<int>(shape.size())), shape);
}

const Place kNowhere{};

}  // namespace

// ---- Small services

int BlockLowering::condition_buffer(Value* value) {
  Value* dense = ensure_dense(value);
  if (context_.place(dense).offset.is_const(0)) return context_.place(dense).buffer;
  const int buffer = context_.add_temporary("condition", DType::kBool, 1);
  copy_to(dense, dense_at(buffer, {}), FusionReason::kCopyCarried);
  return buffer;
}

void BlockLowering::ensure_captured(const Node& node) {
  for (const auto& region : node.regions) {
    std::unordered_set<const Value*> inside(region->args.begin(), region->args.end());
    const auto see = [&](Value* v) {
      if (inside.contains(v) || LoweringContext::constant_data(v) || !v->type.is_tensor()) return;
      // Values of enclosing blocks; views that they look at come first.
      ensure_place(v);
    };
    graph::walk(*region, [&](Node& n) {
      for (const Value* r : n.results) inside.insert(r);
      for (const auto& nested : n.regions) inside.insert(nested->args.begin(), nested->args.end());
      for (Value* v : n.operands) see(v);
    });
    graph::walk(*region, [&](Node& n) {
      for (const auto& nested : n.regions) {
        for (Value* v : nested->results) see(v);
      }
    });
    for (Value* v : region->results) see(v);
  }
}

void name_iterations(graph::Graph& graph, LoweringContext& context) {
  std::unordered_map<const Value*, Value*> replacements;
  std::vector<Node*> loops;
  graph::walk(graph.body, [&](Node& n) {
    if (n.kind == graph::OpKind::kLoop) loops.push_back(&n);
  });
  for (Node* n : loops) {
    SymbolInfo info;
    info.origin = SymbolInfo::Origin::kControl;
    const std::string symbol = graph.new_symbol("iteration", info).name;
    context.iterations()[n] = symbol;
    graph::Block& body = *n->regions[0];
    graph::Builder b(graph, body, 0);
    replacements[body.args[0]] = b.from_dims({Dim::symbol(symbol)}, {});
  }
  if (!replacements.empty()) graph::replace_uses(graph, replacements);
}

void lower_check(Node& node, BlockLowering& block) {
  LoweringContext& context = block.context();
  if (!block.check_types(node) || !context.diagnostics().ok()) return;
  if (node.operands.empty()) {
    // In front of the commands that came last: they make no symbol, and stay one list.
    Step step;
    step.kind = Step::Kind::kCheck;
    step.check = std::make_shared<CheckStep>(CheckStep{-1, node.dims("holds")[0], node.str("message")});
    std::vector<Step>& steps = *context.steps();
    auto at = steps.end();
    while (at != steps.begin() && is_command(*std::prev(at))) --at;
    steps.insert(at, std::move(step));
    return;
  }
  const int condition = block.condition_buffer(node.operand());
  push(context, Step::Kind::kCheck, &Step::check, CheckStep{condition, Dim(), node.str("message")});
}

// ---- if

void lower_if(Node& node, BlockLowering& block) {
  LoweringContext& context = block.context();
  if (!block.check_types(node)) return;
  const bool good = context.diagnostics().ok();
  int condition = -1;
  std::vector<Place> places;
  if (good) {
    condition = block.condition_buffer(node.operand());
    block.ensure_captured(node);
    for (const Value* v : node.results) {
      const bool sized = !has_control_symbol(context, v->type.shape);
      const int buffer = sized ? context.add_temporary(v->name, v->type.dtype, product(v->type.shape))
                               : control_buffer(context, v);
      places.push_back(dense_at(buffer, v->type.shape));
    }
  }
  IfStep branch{condition, {}, {}};
  for (size_t side = 0; side < 2; ++side) {
    std::vector<Step>* outer = context.set_steps(side == 0 ? &branch.then_steps : &branch.else_steps);
    graph::Block& region = *node.regions[side];
    std::vector<Place> targets(region.results.size(), kNowhere);
    for (size_t r = 0; good && r < targets.size(); ++r) {
      if (!has_control_symbol(context, node.results[r]->type.shape)) targets[r] = places[r];
    }
    BlockLowering inner(context, block.uses(), block.layouts());
    inner.run(region, targets);
    if (context.diagnostics().ok()) {
      std::vector<std::pair<Shape, Shape>> sizes;
      for (size_t r = 0; r < targets.size(); ++r)
        sizes.emplace_back(node.results[r]->type.shape, region.results[r]->type.shape);
      bind_sizes(context, sizes);
      for (size_t r = 0; r < targets.size(); ++r) {
        if (targets[r].buffer >= 0) continue;
        const Shape& shape = region.results[r]->type.shape;
        allocate_now(context, places[r].buffer, shape);
        inner.copy_to(region.results[r], dense_at(places[r].buffer, shape), FusionReason::kCopyCarried);
      }
    }
    context.set_steps(outer);
  }
  if (!context.diagnostics().ok()) return;
  push(context, Step::Kind::kIf, &Step::branch, std::move(branch));
  for (size_t r = 0; r < places.size(); ++r) context.set_place(node.results[r], places[r]);
}

// ---- loop

namespace {

class LoopLowering {
 public:
  LoopLowering(Node& node, BlockLowering& block)
      : node_(node),
        block_(block),
        context_(block.context()),
        body_(*node.regions[0]),
        carried_(node.operands.size() - 2),
        scans_(static_cast<size_t>(node.int_attr("scans"))),
        iteration_(context_.iterations().at(&node)) {}

  void run() {
    const bool good = context_.diagnostics().ok();
    std::vector<Place> targets(body_.results.size(), kNowhere);
    if (good) {
      block_.ensure_captured(node_);
      trip_count();
      if (one_dispatch()) return;
      conditions();
      carried();
      if (!scans()) return;
      targets = result_targets();
    }
    std::vector<Step>* outer = context_.set_steps(&loop_.body);
    BlockLowering inner(context_, block_.uses(), block_.layouts());
    inner.run(body_, targets);
    if (context_.diagnostics().ok()) end_iteration(inner);
    context_.set_steps(outer);
    if (!context_.diagnostics().ok()) return;
    loop_.iteration_symbol = iteration_;
    push(context_, Step::Kind::kLoop, &Step::loop, std::move(loop_));
    for (size_t i = 0; i < carried_; ++i)
      context_.set_place(node_.results[i], dense_at(current_[i], node_.results[i]->type.shape));
  }

 private:
  void trip_count() {
    Value* trip = node_.operand(0);
    if (const auto known = known_trips(node_)) {
      loop_.trip_count = *known;
      return;
    }
    SymbolInfo info;
    info.origin = SymbolInfo::Origin::kControl;
    const std::string symbol = context_.graph().new_symbol("trips", info).name;
    block_.ensure_place(trip);
    const Place& place = context_.place(trip);
    push(context_, Step::Kind::kRead, &Step::read,
         ReadStep{symbol, place.buffer, place.offset * 8, DType::kI64, INT64_MIN, INT64_MAX});
    loop_.trip_count = Dim::symbol(symbol);
  }

  // On GPUs recurrences are one kernel.
  bool one_dispatch() {
    if (!gpu::makes_one_dispatch(node_, loop_.trip_count, context_)) return false;
    for (size_t i = 0; i < carried_; ++i) {
      Value *result = node_.results[i], *start = node_.operand(static_cast<int>(i) + 2);
      const bool passes = body_.results[i + 1] == body_.args[i + 2];
      if (passes || !LoweringContext::splat(start)) block_.ensure_place(start);
      if (passes) {
        context_.set_place(result, context_.place(start));
      } else if (!context_.has_place(result)) {
        const int buffer =
            context_.add_temporary(result->name, result->type.dtype, product(result->type.shape));
        context_.set_place(result, dense_at(buffer, result->type.shape));
      }
    }
    if (!scans()) return false;
    if (!loop_.count_symbol.empty()) push_bind(context_, loop_.count_symbol, max(loop_.trip_count, 0));
    gpu::lower_recurrence(node_, loop_.trip_count, context_);
    return true;
  }

  // No condition when it starts true and stays so; else a current and a next one, exchanged.
  void conditions() {
    const bool stays = runs_to_its_end(node_);
    const int now = context_.add_temporary("condition", DType::kBool, 1);
    block_.copy_to(node_.operand(1), dense_at(now, {}), FusionReason::kCopyCarried);
    context_.set_place(body_.args[1], dense_at(now, {}));
    if (stays) return;
    loop_.condition = now;
    next_condition_ = context_.add_temporary("next condition", DType::kBool, 1);
  }

  void carried() {
    std::vector<std::pair<Shape, Shape>> sizes;
    for (size_t i = 0; i < carried_; ++i)
      sizes.emplace_back(body_.args[i + 2]->type.shape, node_.operand(static_cast<int>(i) + 2)->type.shape);
    bind_sizes(context_, sizes);
    for (size_t i = 0; i < carried_; ++i) {
      const Value* arg = body_.args[i + 2];
      current_.push_back(control_buffer(context_, arg));
      next_.push_back(body_.results[i + 1] == arg ? -1 : control_buffer(context_, arg));
      Value* start = node_.operand(static_cast<int>(i) + 2);
      allocate_now(context_, current_[i], start->type.shape);
      if (next_[i] >= 0 && !has_control_symbol(context_, arg->type.shape))
        allocate_now(context_, next_[i], arg->type.shape);
      block_.copy_to(start, dense_at(current_[i], start->type.shape), FusionReason::kCopyCarried);
      context_.set_place(arg, dense_at(current_[i], arg->type.shape));
    }
  }

  // Room for every iteration's slice.
  bool scans() {
    for (size_t s = 0; s < scans_; ++s) {
      const Value* v = node_.results[carried_ + s];
      const Value* slice = body_.results[1 + carried_ + s];
      const Dim elements = product(slice->type.shape);
      const Dim& count = v->type.shape[0];
      const bool unlimited = loop_.trip_count.is_const(INT64_MAX);
      if (unlimited && !context_.upper_bound(count)) {
        context_.fail(node_, error("The loop stacks results without a limit on its trip count, which CPU "
                                   "programs do not support."));
        return false;
      }
      const Dim room = (unlimited ? *context_.upper_bound(count) : max(loop_.trip_count, 0)) * elements;
      if (!context_.has_place(v)) {
        const int buffer = context_.add_temporary(v->name, v->type.dtype, room);
        scan_buffers_.push_back(buffer);
        context_.set_place(v, dense_at(buffer, v->type.shape));
      }
      if (control_symbol(context_, count)) loop_.count_symbol = count.symbol_name();
    }
    return true;
  }

  std::vector<Place> result_targets() {
    std::vector<Place> targets(body_.results.size(), kNowhere);
    if (next_condition_ >= 0) targets[0] = dense_at(next_condition_, {});
    for (size_t i = 0; i < carried_; ++i) {
      const Shape& shape = body_.args[i + 2]->type.shape;
      if (next_[i] >= 0 && !has_control_symbol(context_, shape)) targets[i + 1] = dense_at(next_[i], shape);
    }
    for (size_t s = 0; s < scans_; ++s) {
      const Shape& shape = body_.results[1 + carried_ + s]->type.shape;
      Place place = dense_at(scan_buffers_[s], shape);
      place.offset = Dim::symbol(iteration_) * product(shape);
      targets[1 + carried_ + s] = place;
    }
    return targets;
  }

  void end_iteration(BlockLowering& inner) {
    std::vector<std::pair<Shape, Shape>> sizes;
    for (size_t i = 0; i < carried_; ++i) {
      Value* result = body_.results[i + 1];
      const Shape& shape = body_.args[i + 2]->type.shape;
      if (next_[i] < 0 || !has_control_symbol(context_, shape)) continue;
      allocate_now(context_, next_[i], result->type.shape);
      inner.copy_to(result, dense_at(next_[i], result->type.shape), FusionReason::kCopyCarried);
      sizes.emplace_back(shape, result->type.shape);
    }
    bind_sizes(context_, sizes);
    for (size_t i = 0; i < carried_; ++i) {
      if (next_[i] >= 0) push_swap(context_, current_[i], next_[i]);
    }
    if (next_condition_ >= 0) push_swap(context_, loop_.condition, next_condition_);
  }

  Node& node_;
  BlockLowering& block_;
  LoweringContext& context_;
  graph::Block& body_;
  const size_t carried_, scans_;
  const std::string iteration_;
  LoopStep loop_;
  std::vector<int> current_, next_, scan_buffers_;
  int next_condition_ = -1;
};

}  // namespace

void lower_loop(Node& node, BlockLowering& block) {
  if (!block.check_types(node)) return;
  LoopLowering(node, block).run();
}

}  // namespace tern::lower
