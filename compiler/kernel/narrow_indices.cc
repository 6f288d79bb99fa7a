#include "compiler/kernel/narrow_indices.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"

namespace tern::kernel {

namespace {

constexpr VType kIndex{DType::kI64, 1};

bool defines(const Stmt& s) {
  return s->kind == StmtKind::kLet || s->kind == StmtKind::kDeclare || s->kind == StmtKind::kAssign;
}

// Ops whose result fits the bits that their operands fit.
bool never_grows(const Expr& e) {
  switch (e->op) {
    case ScalarOp::kAnd:
    case ScalarOp::kOr:
    case ScalarOp::kXor:
    case ScalarOp::kMin:
    case ScalarOp::kMax:
    case ScalarOp::kSelect:
    case ScalarOp::kDiv:
    case ScalarOp::kRem:
      return true;
    default:
      return false;
  }
}

bool is_ring_op(ScalarOp op) {
  return op == ScalarOp::kAdd || op == ScalarOp::kSub || op == ScalarOp::kMul || op == ScalarOp::kNeg;
}

bool is_compare(const Expr& e) {
  return e->kind == ExprKind::kOp && scalar::info(e->op).rule == scalar::TypeRule::kCompare;
}

// Calls f for each i64 scalar inside e that is data: the source of a conversion that wants its value. In a
// comparison lanes are indices, as scalars are.
class DataVisitor {
 public:
  explicit DataVisitor(const std::function<void(const Expr&)>& f) : f_(f) {}

  void visit(const Expr& e, bool compared = false) {
    if (e->args.empty() || !seen_[compared].insert(e.get()).second) return;
    const bool converts =
        e->kind == ExprKind::kBitcast || (e->kind == ExprKind::kBroadcast && !compared) ||
        (e->kind == ExprKind::kCast && !(is_int(e->type.dtype) && dtype_bits(e->type.dtype) <= 32));
    if (converts && e->args[0]->type == kIndex) f_(e->args[0]);
    const bool ring = compared && e->kind == ExprKind::kOp && is_ring_op(e->op);
    for (const Expr& arg : e->args) visit(arg, is_compare(e) || ring);
  }

 private:
  const std::function<void(const Expr&)>& f_;
  std::unordered_set<const ExprNode*> seen_[2];
};

}  // namespace

bool NarrowIndices::computable(const Expr& e, const Vars& vars, bool exactly) {
  if (e->type != kIndex) return false;
  auto all = [&](size_t from) {
    for (size_t k = from; k < e->args.size(); ++k) {
      if (!computable(e->args[k], vars, exactly)) return false;
    }
    return true;
  };
  switch (e->kind) {
    case ExprKind::kConst:
      return e->i >= INT32_MIN && e->i <= INT32_MAX;
    case ExprKind::kVar:
      return vars.contains(e->var.get());
    case ExprKind::kCast: {
      DType from = e->args[0]->type.dtype;
      return from == DType::kBool || (is_int(from) && (dtype_bits(from) < 32 || from == DType::kI32));
    }
    case ExprKind::kOp:
      if (e->op == ScalarOp::kSelect) return all(1);
      return (never_grows(e) || (!exactly && is_ring_op(e->op))) && all(0);
    case ExprKind::kIntrinsic:
      return is_collective(e) && computable(e->args[0], vars, exactly);
    default:
      return false;
  }
}

bool NarrowIndices::narrow_lanes(const Expr& e) const {
  if (e->type.dtype != DType::kI64 || e->type.lanes == 1) return false;
  if (e->kind == ExprKind::kRamp) return narrow(e->args[0]) && e->i >= INT32_MIN && e->i <= INT32_MAX;
  if (e->kind == ExprKind::kBroadcast) return narrow(e->args[0]);
  return e->kind == ExprKind::kOp && is_ring_op(e->op) &&
         std::all_of(e->args.begin(), e->args.end(), [&](const Expr& arg) { return narrow_lanes(arg); });
}

// Takes out the variables that get a value which is not computable, until all that are left do.
void NarrowIndices::settle(const Kernel& kernel, Vars& vars, bool exactly) {
  for (bool changed = true; changed;) {
    changed = false;
    visit(kernel.body, [&](const Stmt& s) {
      if (s->var == nullptr || !vars.contains(s->var.get())) return;
      bool good = defines(s) ? computable(s->value, vars, exactly)
                             : computable(s->begin, vars, false) && computable(s->extent, vars, false);
      if (good) return;
      vars.erase(s->var.get());
      changed = true;
    });
  }
}

// Variables that data is computed from keep 64 bits, unless they fit for certain.
void NarrowIndices::widen_data(const Kernel& kernel) {
  std::unordered_map<const VarNode*, std::vector<Expr>> values;
  visit(kernel.body, [&](const Stmt& s) {
    if (defines(s) && s->var->type == kIndex) values[s->var.get()].push_back(s->value);
  });
  std::function<void(const Expr&)> widen = [&](const Expr& data) {
    if (fits(data)) return;
    visit(data, [&](const Expr& n) {
      if (n->kind != ExprKind::kVar || !values.contains(n->var.get()) || fitting_.contains(n->var.get()))
        return;
      if (narrow_.erase(n->var.get()) == 0) return;
      for (const Expr& value : values[n->var.get()]) widen(value);
    });
  };
  visit(kernel.body, [&](const Stmt& s) {
    if (s->kind == StmtKind::kStore && s->value->type == kIndex) widen(s->value);
    visit_exprs(s, [&](const Expr& e) { DataVisitor(widen).visit(e); });
  });
}

NarrowIndices::NarrowIndices(const Kernel& kernel) {
  for (const Param& p : kernel.params) narrow_.insert(p.var.get());
  for (const GridAxis& g : kernel.grid) narrow_.insert(g.var.get());
  if (kernel.thread != nullptr) narrow_.insert(kernel.thread.get());
  visit(kernel.body, [&](const Stmt& s) {
    if (s->var != nullptr && s->var->type == kIndex) narrow_.insert(s->var.get());
  });
  fitting_ = narrow_;
  settle(kernel, fitting_, true);
  settle(kernel, narrow_, false);
  widen_data(kernel);
  settle(kernel, narrow_, false);
  // What is declared with 64 bits is no 32-bit operand, whatever its value.
  std::erase_if(fitting_, [&](const VarNode* v) { return !narrow_.contains(v); });
}

}  // namespace tern::kernel
