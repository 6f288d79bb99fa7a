#include "compiler/kernel/hoist_constants.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"

namespace tern::kernel {

namespace {

class Hoister {
 public:
  Hoister(const Kernel& kernel, const std::unordered_set<const BufferNode*>& constants)
      : constants_(constants) {
    for (const GridAxis& axis : kernel.grid) known_[axis.var.get()] = var_expr(axis.var);
    for (const Param& p : kernel.params) known_[p.var.get()] = var_expr(p.var);
    known_[kernel.thread.get()] = var_expr(kernel.thread);
  }

  std::vector<Stmt> body(const std::vector<Stmt>& statements) {
    std::vector<Stmt> out;
    for (const Stmt& s : statements) {
      StmtNode node = *s;
      if (s->kind == StmtKind::kBlock) {
        node.body = body(s->body);
      } else if (s->kind != StmtKind::kFor && s->kind != StmtKind::kWhile) {
        for (Expr* e : {&node.value, &node.index, &node.count}) {
          if (*e != nullptr) *e = expr(*e);
        }
        if (s->kind == StmtKind::kLet && is_known(node.value) && !contains_load(node.value))
          known_[s->var.get()] = substitute(node.value, known_);
      }
      out.push_back(std::make_shared<const StmtNode>(std::move(node)));
    }
    return out;
  }

  std::vector<Stmt> take() { return std::move(hoisted_); }

 private:
  bool is_known(const Expr& e) const {
    bool known = true;
    visit(e, [&](const Expr& n) {
      known &=
          !(n->kind == ExprKind::kVar && !known_.contains(n->var.get())) && n->kind != ExprKind::kIntrinsic;
    });
    return known;
  }

  // The arms of selects stay: what is not chosen is not read.
  Expr expr(const Expr& e) {
    if (e->kind == ExprKind::kOp && e->op == ScalarOp::kSelect) return e;
    if (e->kind == ExprKind::kLoad && e->args.size() == 1 && constants_.contains(e->buffer.get()) &&
        is_known(e->args[0]) && !contains_load(e->args[0]))
      return hoisted(e);
    std::vector<Expr> args;
    bool changed = false;
    for (const Expr& a : e->args) {
      args.push_back(expr(a));
      changed |= args.back() != a;
    }
    return changed ? with_args(e, std::move(args)) : e;
  }

  Expr hoisted(const Expr& e) {
    const Expr at_entry = substitute(e, known_);
    for (const Stmt& s : hoisted_) {
      if (equal(s->value, at_entry)) return var_expr(s->var);
    }
    if (hoisted_.size() == kMostHoisted) return e;
    const Var v = make_var(e->buffer->name + "_early", e->type);
    hoisted_.push_back(let(v, at_entry));
    return var_expr(v);
  }

  const std::unordered_set<const BufferNode*>& constants_;
  std::unordered_map<const VarNode*, Expr> known_;
  std::vector<Stmt> hoisted_;
};

}  // namespace

void hoist_constants(Kernel& kernel, const std::unordered_set<const BufferNode*>& constants) {
  bool waits = kernel.threads == 0 || constants.empty();
  visit(kernel.body, [&](const Stmt& s) { waits |= s->kind == StmtKind::kGridWait; });
  if (waits) return;
  Hoister hoister(kernel, constants);
  std::vector<Stmt> body = hoister.body(kernel.body);
  std::vector<Stmt> front = hoister.take();
  if (front.empty()) return;
  front.push_back(grid_wait());
  front.insert(front.end(), body.begin(), body.end());
  kernel.body = std::move(front);
}

}  // namespace tern::kernel
