#include "compiler/kernel/jam.h"

#include "compiler/kernel/expr_util.h"

namespace tern::kernel {
namespace {

using Bodies = std::vector<std::vector<Stmt>>;

// Copies of one list of statements.
std::vector<Stmt> merged(const Bodies& copies) {
  std::vector<Stmt> out;
  for (size_t k = 0; k < copies[0].size(); ++k) {
    const Stmt& first = copies[0][k];
    bool alike = first->kind == StmtKind::kBlock || first->kind == StmtKind::kFor;
    for (const std::vector<Stmt>& copy : copies) {
      if (first->kind == StmtKind::kFor)
        alike &= equal(copy[k]->begin, first->begin) && equal(copy[k]->extent, first->extent);
    }
    if (!alike) {
      for (const std::vector<Stmt>& copy : copies) out.push_back(copy[k]);
      continue;
    }
    Bodies inner{first->body};
    for (size_t c = 1; c < copies.size(); ++c) {
      const Stmt& s = copies[c][k];
      inner.push_back(first->kind == StmtKind::kBlock
                          ? s->body
                          : clone_fresh(s->body, {{s->var.get(), var_expr(first->var)}}));
    }
    if (first->kind == StmtKind::kBlock) {
      out.push_back(block(merged(inner)));
    } else {
      out.push_back(loop(first->var, first->begin, first->extent, first->loop, merged(inner)));
    }
  }
  return out;
}

}  // namespace

std::vector<Stmt> jam(const Stmt& l, int ways, Jam which) {
  TERN_CHECK(l->kind == StmtKind::kFor && ways > 1, "{} iterations at once", ways);
  std::vector<Stmt> out;
  const Expr rounds = index_div(l->extent, int_const(ways)), together = mul(rounds, int_const(ways));
  if (!is_int(rounds, 0)) {
    const Var round = make_var(l->var->name);
    Bodies copies;
    for (int w = 0; w < ways; ++w) {
      const Expr offset = which == Jam::kApart ? add(var_expr(round), mul(rounds, int_const(w)))
                                               : add(mul(var_expr(round), int_const(ways)), int_const(w));
      const Expr at = add(l->begin, offset);
      copies.push_back(clone_fresh(l->body, {{l->var.get(), at}}));
    }
    out.push_back(loop(round, int_const(0), rounds, LoopKind::kSerial, merged(copies)));
  }
  const Expr rest = sub(l->extent, together);
  if (is_int(rest, 0)) return out;
  const Var last = make_var(l->var->name);
  out.push_back(loop(last, add(l->begin, together), rest, LoopKind::kSerial,
                     clone_fresh(l->body, {{l->var.get(), var_expr(last)}})));
  return out;
}

}  // namespace tern::kernel
