#include "compiler/lower/loop_invariants.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::ExprKind;
using kernel::Stmt;
using kernel::StmtKind;

constexpr size_t kMost = 8;  // of which each takes a register

bool uses(const Stmt& statement, const kernel::VarNode* var) {
  bool found = false;
  kernel::visit({statement}, [&](const Stmt& s) {
    kernel::visit_exprs(s, [&](const Expr& e) { found |= kernel::uses_var(e, var); });
  });
  return found;
}

// Loads that are done whenever e is computed and that know nothing of `along`; what an index is loaded from
// first.
void find_loads(const Expr& e, const kernel::VarNode* along, std::vector<Expr>& out) {
  const bool chosen = e->kind == ExprKind::kOp && e->op == kernel::ScalarOp::kSelect;
  for (size_t k = 0; k < e->args.size(); ++k) {
    if (!chosen || k == 0) find_loads(e->args[k], along, out);
  }
  if (e->kind != ExprKind::kLoad || e->type.lanes > 1 || e->args.size() > 1 ||
      dtype_bits(e->type.dtype) < 8 || e->buffer->scope != kernel::Scope::kGlobal ||
      e->buffer->access != kernel::Access::kRead || kernel::uses_var(e, along))
    return;
  for (const Expr& other : out) {
    if (kernel::equal(other, e)) return;
  }
  out.push_back(e);
}

}  // namespace

std::vector<Stmt> take_invariants(std::vector<Stmt>& body, const kernel::Var& along) {
  std::vector<Stmt> front;
  std::vector<std::pair<Expr, Expr>> known;
  const auto replaced = [&](const Expr& e) -> Expr {
    if (e->kind != ExprKind::kLoad) return nullptr;
    for (const auto& [load, name] : known) {
      if (kernel::equal(load, e)) return name;
    }
    return nullptr;
  };
  for (size_t k = 0; k < body.size();) {
    // One load at a time, since an index of the next one may be it.
    for (bool more = true; more && known.size() < kMost;) {
      std::vector<Expr> loads;
      kernel::visit_exprs(body[k], [&](const Expr& e) { find_loads(e, along.get(), loads); });
      more = !loads.empty();
      if (!more) break;
      known.emplace_back(loads[0], named("same", loads[0], front));
      body = kernel::rewrite(body, replaced, nullptr);
    }
    const StmtKind kind = body[k]->kind;
    if ((kind == StmtKind::kLet || kind == StmtKind::kIf) && !uses(body[k], along.get())) {
      front.push_back(body[k]);
      body.erase(body.begin() + static_cast<std::ptrdiff_t>(k));
    } else if (kind == StmtKind::kStore || kind == StmtKind::kPrefetch || kind == StmtKind::kLet) {
      ++k;
    } else {
      break;  // what follows may rest on it
    }
  }
  return front;
}

}  // namespace tern::lower
