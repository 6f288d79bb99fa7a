#include <algorithm>

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/rows_nest.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;

void append_checks(ElementEmitter& emitter, std::vector<Stmt>& body) {
  append(body, emitter.take_checks());
}

// Of minimum and maximum the last operand is the one that waits (render/basic_helpers.cc).
Expr folded_into(const Expr& sum, ScalarOp op, const Expr& x) {
  if (op == ScalarOp::kMin || op == ScalarOp::kMax) return kernel::op(op, {x, sum});
  return kernel::op(op, {sum, x});
}

}  // namespace

void RowsNest::prepare() {
  collect();
  if (quick_softmax()) find_softmaxes();
}

void RowsNest::run() {
  prepare();
  DispatchBuilder dispatch(context_, region_);
  dispatch.set_flops(product(space_.shape) * Dim(element_flops_));
  for (const Level level : variant_levels(context_.target(), Covers::kFolds)) variant(dispatch, level);
  dispatch.finish();
}

void RowsNest::collect() {
  const size_t rank = space_.shape.size();
  std::vector<bool> pinned(rank, false);
  std::vector<AccessStrides> accesses;
  const auto take = [&](const Value* v) {
    const RegionAccesses a = collect_accesses(region_, context_, v, plan_.results);
    accesses.insert(accesses.end(), a.loads.begin(), a.loads.end());
    for (size_t d = 0; d < rank; ++d) pinned[d] = pinned[d] || a.pinned[d];
    element_flops_ += a.ops + 10 * a.expensive_ops;
    element_cost_ += 1 + static_cast<int64_t>(a.loads.size()) + a.ops + 8 * a.expensive_ops;
  };
  for (const Node* r : plan_.reductions) {
    take(r->operand());
    ++element_flops_;
  }
  const Value* main_output = nullptr;
  for (const Value* v : region_.outputs) {
    if (v->type.shape == space_.shape && !plan_.is_row_value(v)) {
      take(v);
      main_output = v;
      accesses.push_back({v, context_.place(v).strides, true});
    }
  }
  order_ = Layout::dense(static_cast<int>(rank)).order;
  if (main_output) {
    order_ = context_.place(main_output).layout.order;
  } else {
    for (const AccessStrides& a : accesses) {
      if (!a.identity) continue;
      order_ = context_.place(a.value).layout.order;
      break;
    }
  }
  limit_merging(accesses, pinned);
  std::vector<int> kept, reduced;
  for (const int d : order_) (space_.reduced[static_cast<size_t>(d)] ? reduced : kept).push_back(d);
  kept_ = merge_axes(space_.shape, kept, accesses, pinned);
  reduced_ = merge_axes(space_.shape, reduced, accesses, pinned);
  std::vector<int> inside_first;  // dimensions of more than one element
  for (size_t p = order_.size(); p-- > 0;) {
    if (!space_.shape[static_cast<size_t>(order_[p])].is_const(1)) inside_first.push_back(order_[p]);
  }
  const auto is_kept = [&](int d) { return !space_.reduced[static_cast<size_t>(d)]; };
  lanes_are_rows_ = !kept_.empty() && !inside_first.empty() && is_kept(inside_first[0]);
  rows_are_runs_ = false;
  if (kept_.empty() || reduced_.size() < 2 || lanes_are_rows_) return;
  const size_t inner = reduced_.back().dims.size();
  rows_are_runs_ = inner < inside_first.size() &&
                   std::none_of(inside_first.begin(),
                                inside_first.begin() + static_cast<std::ptrdiff_t>(inner), is_kept) &&
                   is_kept(inside_first[inner]);
}

// Row outputs limit merging of the kept dimensions.
void RowsNest::limit_merging(std::vector<AccessStrides>& accesses, std::vector<bool>& pinned) {
  const size_t rank = space_.shape.size();
  for (const Value* v : region_.outputs) {
    if (!plan_.is_row_value(v)) continue;
    AccessStrides a{v, std::vector<Dim>(rank, Dim(0)), false};
    const std::vector<int> dims = row_dims(space_, v->type.shape);
    for (size_t d = 0; d < dims.size(); ++d) {
      if (dims[d] >= 0) a.strides[static_cast<size_t>(dims[d])] = context_.place(v).strides[d];
    }
    const RegionAccesses behind = collect_accesses(region_, context_, v, plan_.results);
    for (size_t d = 0; d < dims.size(); ++d) {
      if (dims[d] >= 0 && behind.pinned[d]) pinned[static_cast<size_t>(dims[d])] = true;
    }
    for (const AccessStrides& load : behind.loads) {
      AccessStrides moved{load.value, std::vector<Dim>(rank, Dim(0)), false};
      for (size_t d = 0; d < dims.size(); ++d) {
        if (dims[d] >= 0) moved.strides[static_cast<size_t>(dims[d])] = load.strides[d];
      }
      accesses.push_back(std::move(moved));
    }
    accesses.push_back(std::move(a));
  }
}

Dim RowsNest::row_length() const {
  Dim n = 1;
  for (const NestAxis& a : reduced_) n = n * a.extent;
  return n;
}

Index RowsNest::space_index(const std::vector<Expr>& kept, const std::vector<Expr>& reduced) const {
  Index out(space_.shape.size(), int_const(0));
  for (size_t a = 0; a < kept_.size(); ++a) out[static_cast<size_t>(kept_[a].dims.back())] = kept[a];
  for (size_t a = 0; a < reduced.size(); ++a) out[static_cast<size_t>(reduced_[a].dims.back())] = reduced[a];
  return out;
}

Index RowsNest::row_index(const Value* v, const Index& space) const {
  Index out;
  for (const int d : row_dims(space_, v->type.shape))
    out.push_back(d < 0 ? int_const(0) : space[static_cast<size_t>(d)]);
  return out;
}

DType RowsNest::sum_type(size_t stage) const {
  return accumulator_type(plan_.reductions[stage]->result()->type.dtype);
}

Expr RowsNest::sum_start(size_t stage) const {
  return kernel::scalar_const(
      kernel::reduction_identity(plan_.reductions[stage]->scalar_op(), sum_type(stage)));
}

Expr RowsNest::with_element(ElementEmitter& emitter, size_t stage, const Index& at, const Expr& sum,
                            Stmts& body) {
  const Node& node = *plan_.reductions[stage];
  const Expr x = folded_operand(node, kernel::cast(emitter.element(node.operand(), at), sum_type(stage)));
  append_checks(emitter, body);
  return folded_into(sum, node.scalar_op(), x);
}

void RowsNest::bind_total(ElementEmitter& emitter, size_t stage, const std::vector<Expr>& kept,
                          const Expr& total, Stmts& out) {
  const Node& node = *plan_.reductions[stage];
  emitter.bind(node.result(), kernel::cast(total, node.result()->type.dtype));
  append(out, softmax_factors(emitter, node, total));
  append(out, row_scalars(emitter, stage, kept));
}

RowsNest::Stmts RowsNest::finished(ElementEmitter& emitter, const std::vector<Expr>& kept,
                                   const Expr& total) {
  Stmts out;
  bind_total(emitter, 0, kept, total, out);
  append(out, outputs(emitter, kept));
  unbind_rows(emitter);
  return out;
}

void RowsNest::unbind_rows(ElementEmitter& emitter) {
  for (const Value* v : plan_.results) emitter.unbind(v);
  for (const Value* v : plan_.again) emitter.unbind(v);
  for (const Value* v : plan_.row_values) emitter.unbind(v);
}

RowsNest::Stmts RowsNest::row(ElementEmitter& emitter, const std::vector<Expr>& kept) {
  Stmts out;
  for (const Softmax& s : softmaxes_) {
    emitter.bind(s.exponential->result(), [&emitter, n = s.difference](const Index& at) {
      return kernel::intrinsic(kernel::Intrinsic::kExpBelow, {emitter.element(n->result(), at)},
                               {DType::kF32, 1});
    });
  }
  for (size_t stage = 0; stage < plan_.reductions.size(); ++stage) {
    const kernel::Var acc = kernel::make_var(fmt::format("acc{}", stage), {sum_type(stage), 1});
    out.push_back(kernel::declare(acc, sum_start(stage)));
    append(out, fold_loop(emitter, kept, plan_.reductions[stage]->scalar_op(), acc,
                          [&](const kernel::Var& sum, const Index& at, const Expr& position) {
                            Stmts body;
                            compute_stored(emitter, stage, at, position, body);
                            const Expr next = with_element(emitter, stage, at, kernel::var_expr(sum), body);
                            body.push_back(kernel::assign(sum, next));
                            return body;
                          }));
    load_stored_from_now(emitter, stage);
    bind_total(emitter, stage, kept, fold(acc, plan_.reductions[stage]->scalar_op(), out), out);
  }
  append(out, outputs(emitter, kept));
  for (const Softmax& s : softmaxes_) {
    emitter.unbind(s.exponential->result());
    if (s.quotient) emitter.unbind(s.quotient->result());
  }
  unbind_rows(emitter);
  return out;
}

void RowsNest::find_softmaxes() {
  for (const Node* n : region_.nodes) {
    const std::optional<Softmax> s = softmax_of(*n);
    if (!s || n->result()->type.dtype != DType::kF32 || n->result()->type.shape != space_.shape) continue;
    const auto inside = [&](const Node* part) { return region_.contains(part); };
    if (inside(s->sum) && inside(s->exponential) && inside(s->difference) && inside(s->maximum))
      softmaxes_.push_back(*s);
  }
  // Exponentials that are only added up.
  for (const Node* sum : plan_.reductions) {
    const std::optional<Softmax> s = exponentials_of(*sum);
    if (!s || s->exponential->result()->type.dtype != DType::kF32 || !region_.contains(s->exponential) ||
        !region_.contains(s->difference) || !region_.contains(s->maximum))
      continue;
    const Value* powers = s->exponential->result();
    const auto others = [&](const Node* n) {
      return n != sum && std::ranges::find(n->operands, powers) != n->operands.end();
    };
    if (std::ranges::none_of(region_.nodes, others) &&
        std::ranges::find(region_.outputs, powers) == region_.outputs.end())
      softmaxes_.push_back(*s);
  }
}

// Whether nothing but the softmax reads its maximum.
bool RowsNest::only_subtracted(const Softmax& s) const {
  std::vector<const Value*> maxima{s.maximum->result()};
  const auto is_maximum = [&](const Value* v) { return std::ranges::find(maxima, v) != maxima.end(); };
  for (const Node* n : region_.nodes) {
    if (std::ranges::none_of(n->operands, is_maximum)) continue;
    if (n->kind == graph::OpKind::kBroadcast || n->kind == graph::OpKind::kReshape) {
      maxima.push_back(n->result());
    } else if (n != s.difference) {
      return false;
    }
  }
  return std::ranges::none_of(region_.outputs, is_maximum);
}

Expr RowsNest::folded_operand(const Node& reduction, const Expr& x) const {
  for (const Softmax& s : softmaxes_) {
    if (s.maximum == &reduction && only_subtracted(s))
      return kernel::intrinsic(kernel::Intrinsic::kNumber, {x}, x->type);
  }
  return x;
}

// Elements divided by the sum of a softmax: one division a row.
RowsNest::Stmts RowsNest::softmax_factors(ElementEmitter& emitter, const Node& sum, const Expr& value) {
  Stmts out;
  Expr factor;
  for (const Softmax& s : softmaxes_) {
    if (s.sum != &sum || !s.quotient) continue;
    if (!factor) factor = named("factor", kernel::op(ScalarOp::kDiv, {kernel::float_const(1.0), value}), out);
    emitter.bind(s.quotient->result(), [&emitter, n = s.quotient, factor](const Index& at) {
      return kernel::mul(emitter.element(n->operand(0), at), factor);
    });
  }
  return out;
}

// Values that this stage is the first to need and later ones need again: computed once and kept.
void RowsNest::compute_stored(ElementEmitter& emitter, size_t stage, const Index& at, const Expr& position,
                              Stmts& body) {
  for (const Value* v : plan_.again) {
    if (plan_.first_stage.at(v) != stage || !stored_.contains(v)) continue;
    const kernel::Var x = kernel::make_var("x", {v->type.dtype, 1});
    const Expr value = emitter.element(v, at);
    append_checks(emitter, body);
    body.push_back(kernel::let(x, value));
    body.push_back(keep(v, position, kernel::var_expr(x)));
    emitter.bind(v, kernel::var_expr(x));
  }
}

void RowsNest::load_stored_from_now(ElementEmitter& emitter, size_t stage) {
  for (const Value* v : plan_.again) {
    if (plan_.first_stage.at(v) != stage || !stored_.contains(v)) continue;
    emitter.bind(v, [this, v, &emitter](const Index& at) {
      Expr position = int_const(0);
      for (size_t a = 0; a < reduced_.size(); ++a) {
        const Expr& c = at[static_cast<size_t>(reduced_[a].dims.back())];
        position =
            a == 0 ? c : kernel::add(kernel::mul(position, emitter.dispatch().expr(reduced_[a].extent)), c);
      }
      return kept_element(v, position);
    });
  }
}

// The row's scalars that can be computed after this stage, each once.
RowsNest::Stmts RowsNest::row_scalars(ElementEmitter& emitter, size_t stage, const std::vector<Expr>& kept) {
  Stmts out;
  for (const Value* v : plan_.row_values) {
    if (plan_.ready_after.at(v) != stage) continue;
    const Expr value = emitter.element(v, row_index(v, space_index(kept, {})));
    append_checks(emitter, out);
    const kernel::Var scalar = kernel::make_var("s", {v->type.dtype, 1});
    out.push_back(kernel::let(scalar, value));
    emitter.bind(v, kernel::var_expr(scalar));
  }
  return out;
}

RowsNest::Stmts RowsNest::outputs(ElementEmitter& emitter, const std::vector<Expr>& kept) {
  Stmts out, row_outputs;
  std::vector<const Value*> full;
  for (const Value* v : region_.outputs) {
    if (!plan_.is_row_value(v)) {
      full.push_back(v);
      continue;
    }
    const Index at = row_index(v, space_index(kept, {}));
    const Expr value = emitter.element(v, at);
    append_checks(emitter, row_outputs);
    row_outputs.push_back(emitter.store(v, at, value));
  }
  if (!row_outputs.empty()) append(out, row_stores(std::move(row_outputs)));
  if (full.empty()) return out;
  append(out, row_loop(emitter, kept, [&](const Index& at, const Expr&) {
           Stmts body, stores;
           for (const Value* v : full) stores.push_back(emitter.store(v, at, emitter.element(v, at)));
           append_checks(emitter, body);
           append(body, std::move(stores));
           return element_stores(std::move(body));
         }));
  return out;
}

}  // namespace tern::lower
