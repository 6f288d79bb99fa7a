#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/ir.h"

namespace tern::kernel {

namespace {

struct ExprRewriter {
  const std::function<Expr(const Expr&)>& f;
  std::unordered_map<const ExprNode*, Expr> done;

  Expr run(const Expr& e) {
    if (e->args.empty()) {
      Expr replaced = f(e);
      return replaced != nullptr ? replaced : e;
    }
    if (auto it = done.find(e.get()); it != done.end()) return it->second;
    std::vector<Expr> args;
    bool changed = false;
    args.reserve(e->args.size());
    for (const Expr& a : e->args) {
      args.push_back(run(a));
      changed |= args.back() != a;
    }
    Expr result = changed ? with_args(e, std::move(args)) : e;
    if (Expr replaced = f(result)) result = replaced;
    done.emplace(e.get(), result);
    return result;
  }
};

}  // namespace

Expr rewrite(const Expr& e, const std::function<Expr(const Expr&)>& f) {
  return ExprRewriter{f, {}}.run(e);
}

std::vector<Stmt> rewrite(const std::vector<Stmt>& body, const std::function<Expr(const Expr&)>& on_expr,
                          const std::function<std::vector<Stmt>(const Stmt&)>& on_stmt) {
  std::vector<Stmt> out;
  out.reserve(body.size());
  for (const Stmt& s : body) {
    StmtNode node = *s;
    bool changed = false;
    for (Expr* e : {&node.begin, &node.extent, &node.value, &node.index, &node.count}) {
      if (*e == nullptr || !on_expr) continue;
      Expr replaced = rewrite(*e, on_expr);
      changed |= replaced != *e;
      *e = std::move(replaced);
    }
    for (Expr& e : node.at) {
      if (!on_expr) continue;
      Expr replaced = rewrite(e, on_expr);
      changed |= replaced != e;
      e = std::move(replaced);
    }
    for (std::vector<Stmt>* inner : {&node.body, &node.else_body}) {
      if (inner->empty()) continue;
      std::vector<Stmt> replaced = rewrite(*inner, on_expr, on_stmt);
      changed |= replaced != *inner;
      *inner = std::move(replaced);
    }
    Stmt result = changed ? std::make_shared<const StmtNode>(std::move(node)) : s;
    if (!on_stmt) {
      out.push_back(std::move(result));
      continue;
    }
    for (Stmt& r : on_stmt(result)) out.push_back(std::move(r));
  }
  return out;
}

Expr substitute(const Expr& e, const std::unordered_map<const VarNode*, Expr>& values) {
  if (values.empty()) return e;
  return rewrite(e, [&](const Expr& n) -> Expr {
    if (n->kind != ExprKind::kVar) return nullptr;
    auto it = values.find(n->var.get());
    return it == values.end() ? nullptr : it->second;
  });
}

}  // namespace tern::kernel
