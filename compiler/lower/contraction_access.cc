#include "compiler/lower/contraction_access.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"

namespace tern::lower {

using kernel::Expr;
using kernel::int_const;
using kernel::Var;
using kernel::var_expr;
using Index = std::vector<Expr>;

bool is_contraction_float(DType d) {
  return d == DType::kF32 || d == DType::kF16 || d == DType::kBF16;
}

bool is_contraction_integer(DType d) {
  return d == DType::kI32 || d == DType::kU32 || d == DType::kI64 || d == DType::kU64;
}

bool is_byte_contraction(const graph::Node& root) {
  return root.operand(0)->type.dtype == DType::kU8 && root.operand(1)->type.dtype == DType::kI8 &&
         root.result()->type.dtype == DType::kI32;
}

Expr load_behind(const Expr& e) {
  const bool widens = e->kind == kernel::ExprKind::kCast && e->type.dtype == DType::kF32 &&
                      is_contraction_float(e->args[0]->type.dtype);
  return widens ? e->args[0] : e;
}

ContractionAccess::ContractionAccess(const ContractionRequest& request, StepKind step)
    : r_(request), step_(is_byte_contraction(*request.root) ? StepKind::kBytes : step) {}

DType ContractionAccess::type(int operand) const {
  if (step_ == StepKind::kBytes) return r_.root->operand(operand)->type.dtype;
  if (step_ == StepKind::kOwn) return r_.root->result()->type.dtype;
  return step_ == StepKind::kBf16Pairs ? DType::kU16 : DType::kF32;
}

Expr ContractionAccess::scalar(int operand, const Index& index) const {
  const Expr e = r_.element(operand, index);
  if (step_ != StepKind::kBf16Pairs) return kernel::cast(e, type(operand));
  return kernel::bitcast(kernel::cast(load_behind(e), DType::kBF16), {DType::kU16, 1});
}

Expr ContractionAccess::along(const Expr& e, const Var& lane, int lanes, const Expr& count) {
  const Expr wide = lanes > 1 ? kernel::vectorize(e, lane, lanes, {}, count) : e;  // lane l: e at lane + l
  const Expr from_0 = kernel::substitute(wide, {{lane.get(), int_const(0)}});
  return from_0->type.lanes == lanes ? from_0 : kernel::broadcast(from_0, lanes);
}

Expr ContractionAccess::vector(int operand, const Index& index, const Var& lane, int lanes,
                               const Expr& count) const {
  return along(scalar(operand, index), lane, lanes, count);
}

ContractionAccess::Begin ContractionAccess::begin(
    const std::function<Index(const Expr& row, const Expr& n)>& index_at) const {
  if (!r_.bias || step_ != StepKind::kBytes) return nullptr;
  const Var row = kernel::make_var("row");
  if (kernel::uses_var(r_.bias(index_at(var_expr(row), int_const(0))), row.get())) return nullptr;
  *r_.has_bias = true;
  return [=, this](const Expr& n, int lanes, const Expr& count) {
    const Var lane = kernel::make_var("lane");
    return along(r_.bias(index_at(int_const(0), kernel::add(n, var_expr(lane)))), lane, lanes, count);
  };
}

Expr ContractionAccess::contiguous(int operand, const Index& index, const Var& lane, bool any_float) const {
  const bool bytes = step_ == StepKind::kBytes;
  const Expr e = bytes ? r_.element(operand, index) : load_behind(r_.element(operand, index));
  if (e->kind != kernel::ExprKind::kLoad || e->args.size() != 1) return nullptr;
  const DType wanted = step_ == StepKind::kBf16Pairs ? DType::kBF16 : type(operand);
  if (e->type.dtype != wanted && !(any_float && is_contraction_float(e->type.dtype))) return nullptr;
  const Expr v = kernel::vectorize(e, lane, 4);
  if (v->kind != kernel::ExprKind::kLoad || v->args[0]->type.lanes != 1) return nullptr;
  return e;
}

std::vector<kernel::Stmt> ContractionAccess::finish(const std::function<Index(const Expr&)>& index_at,
                                                    const Expr& n, const Expr& value, int lanes,
                                                    const Expr& count) const {
  return r_.finish(index_at, n, kernel::cast(value, r_.root->result()->type.dtype), lanes, count);
}

}  // namespace tern::lower
