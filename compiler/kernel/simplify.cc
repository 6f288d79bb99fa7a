#include "compiler/kernel/simplify.h"

#include "compiler/kernel/common_subexpressions.h"
#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/index_form.h"

namespace tern::kernel {

namespace {

bool dim_is_natural(const Dim& d) {
  if (d.is_const()) return d.value() >= 0;
  if (d.op() == Dim::Op::kSymbol) return true;  // dimensions are
  for (const Dim& a : d.args()) {
    if (!dim_is_natural(a)) return false;
  }
  return true;
}

bool is_one(const Expr& e) {
  const Expr& c = e->kind == ExprKind::kBroadcast ? e->args[0] : e;
  return is_const(c) && is_float(c->type.dtype) && c->f == 1.0;
}

// Exact rules on other types than i64.
Expr simplify_value(const Expr& e) {
  if (e->kind != ExprKind::kOp) return nullptr;
  switch (e->op) {
    case ScalarOp::kMul:
      if (is_one(e->args[1])) return e->args[0];
      if (is_one(e->args[0])) return e->args[1];
      return nullptr;
    case ScalarOp::kDiv:
      return is_one(e->args[1]) ? e->args[0] : nullptr;
    case ScalarOp::kSelect:
      if (!equal(e->args[1], e->args[2])) return nullptr;
      return e->args[1];
    case ScalarOp::kNot:
      if (e->args[0]->kind == ExprKind::kOp && e->args[0]->op == ScalarOp::kNot) return e->args[0]->args[0];
      return nullptr;
    case ScalarOp::kMin:
    case ScalarOp::kMax:
      return equal(e->args[0], e->args[1]) ? e->args[0] : nullptr;
    default:
      return nullptr;
  }
}

class Simplifier {
 public:
  explicit Simplifier(Kernel& kernel) : Simplifier(kernel, 0, kernel.threads) {}
  Simplifier(Kernel& kernel, int first_thread, int end_thread)
      : kernel_(kernel), first_thread_(first_thread), threads_(end_thread - first_thread) {}
  void run();

 private:
  Expr expr(const Expr& e);
  bool uses_mutable(const Expr& e) { return uses_any(e, mutable_); }
  std::vector<Stmt> body(const std::vector<Stmt>& in);
  void stmt(const Stmt& s, std::vector<Stmt>& out);
  void loop_stmt(const Stmt& s, std::vector<Stmt>& out);
  void append(std::vector<Stmt> in, std::vector<Stmt>& out) {
    for (Stmt& s : in) out.push_back(std::move(s));
  }

  Kernel& kernel_;
  const int first_thread_, threads_;  // that are looked at
  IndexForms forms_;
  std::unordered_map<const VarNode*, Expr> copies_;  // lets that are constants or other names
  std::unordered_set<const VarNode*> mutable_;
  // Facts are kept by a variable's address: the variables of clones live as long as the facts do.
  std::vector<std::vector<Stmt>> clones_;
};

Expr Simplifier::expr(const Expr& e) {
  if (e == nullptr) return e;
  return rewrite(e, [&](const Expr& n) -> Expr {
    if (n->kind == ExprKind::kVar) {
      auto it = copies_.find(n->var.get());
      if (it != copies_.end()) return it->second;
    }
    if (n->kind == ExprKind::kConst) return nullptr;
    if (Expr better = forms_.simplify(n)) return better;
    return simplify_value(n);
  });
}

std::vector<Stmt> Simplifier::body(const std::vector<Stmt>& in) {
  std::vector<Stmt> out;
  size_t mark = forms_.mark();
  for (const Stmt& s : in) stmt(s, out);
  forms_.leave(mark);
  return out;
}

void Simplifier::loop_stmt(const Stmt& s, std::vector<Stmt>& out) {
  Expr begin = expr(s->begin), extent = expr(s->extent);
  Range trips = forms_.range(extent);
  if (trips.high <= 0 && trips.high != INT64_MIN) return;
  bool stays = s->loop == LoopKind::kThread;
  if (is_int(extent, 1) && !stays) {
    // Its own copy, so that the names in it stay unique.
    clones_.push_back(clone_fresh(s->body, {{s->var.get(), begin}}));
    std::vector<Stmt> once = body(std::vector<Stmt>(clones_.back()));
    if (!once.empty()) out.push_back(block(std::move(once)));
    return;
  }
  forms_.define_loop_var(s->var, begin, extent);
  std::vector<Stmt> inner = body(s->body);
  if (!inner.empty()) out.push_back(loop(s->var, begin, extent, s->loop, std::move(inner)));
}

void Simplifier::stmt(const Stmt& s, std::vector<Stmt>& out) {
  switch (s->kind) {
    case StmtKind::kBlock: {
      std::vector<Stmt> inner = body(s->body);
      if (!inner.empty()) out.push_back(block(std::move(inner)));
      return;
    }
    case StmtKind::kFor:
      return loop_stmt(s, out);
    case StmtKind::kLet: {
      Expr value = expr(s->value);
      bool copy = value->kind == ExprKind::kConst ||
                  (value->kind == ExprKind::kVar && !mutable_.contains(value->var.get())) ||
                  (value->kind == ExprKind::kBroadcast && is_const(value->args[0]));
      if (copy) {
        copies_[s->var.get()] = value;
        return;
      }
      if (value->type == VType{DType::kI64, 1} && !contains_load(value) && !uses_mutable(value)) {
        forms_.define_let(s->var, value);
      }
      extract_common({&value}, out);
      out.push_back(let(s->var, value));
      return;
    }
    case StmtKind::kDeclare:
    case StmtKind::kAssign: {
      Expr value = expr(s->value);
      extract_common({&value}, out);
      out.push_back(s->kind == StmtKind::kDeclare ? declare(s->var, value) : assign(s->var, value));
      return;
    }
    case StmtKind::kStore: {
      Expr index = expr(s->index), value = expr(s->value), count = expr(s->count);
      std::vector<Expr*> roots = {&index, &value};
      if (count != nullptr) {
        if (is_int(count, 0)) return;
        if (int_value(count) == value->type.lanes && count->type.lanes == 1) {
          count = nullptr;
        } else {
          roots.push_back(&count);
        }
      }
      extract_common(roots, out);
      out.push_back(store(s->buffer, index, value, count, s->streaming));
      return;
    }
    case StmtKind::kPrefetch: {
      Expr index = expr(s->index);
      extract_common({&index}, out);
      out.push_back(prefetch(s->buffer, index, s->code == 1));
      return;
    }
    case StmtKind::kAsyncCopy: {
      Expr index = expr(s->index), value = expr(s->value);
      std::vector<Expr> parts = value->args;
      std::vector<Expr*> roots = {&index};
      for (Expr& part : parts) roots.push_back(&part);
      extract_common(roots, out);
      out.push_back(async_copy(s->buffer, index, with_args(value, parts)));
      return;
    }
    case StmtKind::kIf: {
      Expr condition = expr(s->value);
      if (auto constant = int_value(condition)) {
        std::vector<Stmt> inner = body(*constant != 0 ? s->body : s->else_body);
        if (!inner.empty()) out.push_back(block(std::move(inner)));
        return;
      }
      std::vector<Stmt> yes = body(s->body), no = body(s->else_body);
      if (yes.empty() && no.empty()) return;
      if (yes.empty()) {
        condition = op(ScalarOp::kNot, {condition});
        std::swap(yes, no);
      }
      extract_common({&condition}, out);
      out.push_back(if_then(condition, std::move(yes), std::move(no)));
      return;
    }
    case StmtKind::kWhile:
      out.push_back(while_loop(expr(s->value), body(s->body)));
      return;
    case StmtKind::kGroupMma:
      out.push_back(group_mma(s->buffer, expr(s->value), expr(s->begin), {s->code, s->fresh}));
      return;
    case StmtKind::kArrival:
      out.push_back(arrival(s->arrival, s->buffer, expr(s->index), s->value ? expr(s->value) : nullptr));
      return;
    case StmtKind::kTensorCopy: {
      Expr index = expr(s->index), counter = expr(s->value->args[0]);
      std::vector<Expr> at;
      for (const Expr& e : s->at) at.push_back(expr(e));
      std::vector<Expr*> roots = {&index, &counter};
      for (Expr& e : at) roots.push_back(&e);
      extract_common(roots, out);
      out.push_back(tensor_copy(s->buffer, index, s->tensor, std::move(at), with_args(s->value, {counter})));
      return;
    }
    case StmtKind::kTile: {
      Expr value = expr(s->value), index = expr(s->index);
      if (s->tile == TileOp::kFill) {  // no part of a tile has a name
        out.push_back(tile(s->tile, s->buffer, index, value));
        return;
      }
      std::vector<Expr> parts = value->args;
      std::vector<Expr*> roots;
      for (Expr& part : parts) roots.push_back(&part);
      extract_common(roots, out);
      if (!parts.empty()) value = with_args(value, parts);
      out.push_back(tile(s->tile, s->buffer, index, value, expr(s->begin ? s->begin : s->count)));
      return;
    }
    case StmtKind::kGroupMmaWait:
      out.push_back(group_mma_wait(s->code, s->value ? expr(s->value) : nullptr));
      return;
    case StmtKind::kGroupMmaCommit:
    case StmtKind::kAlloc:
    case StmtKind::kBarrier:
    case StmtKind::kFail:
    case StmtKind::kComment:
    case StmtKind::kAsyncCommit:
    case StmtKind::kAsyncWait:
    case StmtKind::kGridWait:
      out.push_back(s);
      return;
  }
}

// Removes lets (and variables that are only written) that nothing reads, last ones first.
std::vector<Stmt> remove_dead(const std::vector<Stmt>& body, std::unordered_set<const VarNode*>& used) {
  std::vector<Stmt> out;
  for (size_t k = body.size(); k-- > 0;) {
    const Stmt& s = body[k];
    bool names = s->kind == StmtKind::kLet || s->kind == StmtKind::kDeclare;
    if (names && !used.contains(s->var.get())) continue;
    StmtNode node = *s;
    if (!s->else_body.empty()) node.else_body = remove_dead(s->else_body, used);
    if (!s->body.empty()) node.body = remove_dead(s->body, used);
    bool hollow = (s->kind == StmtKind::kBlock || s->kind == StmtKind::kFor || s->kind == StmtKind::kIf) &&
                  node.body.empty() && node.else_body.empty();
    if (hollow) continue;
    visit_exprs(s, [&](const Expr& e) {
      visit(e, [&](const Expr& n) {
        if (n->kind == ExprKind::kVar) used.insert(n->var.get());
      });
    });
    if (s->kind == StmtKind::kAssign) used.insert(s->var.get());
    bool same = node.body == s->body && node.else_body == s->else_body;
    out.push_back(same ? s : std::make_shared<const StmtNode>(std::move(node)));
  }
  return {out.rbegin(), out.rend()};
}

// A block whose content defines nothing, or that is alone, needs no braces.
std::vector<Stmt> flatten(const std::vector<Stmt>& body) {
  return rewrite(body, nullptr, [](const Stmt& s) -> std::vector<Stmt> {
    if (s->kind != StmtKind::kBlock) return {s};
    for (const Stmt& inner : s->body) {
      if (inner->kind == StmtKind::kAlloc &&
          (inner->buffer->scope == Scope::kScratch || inner->buffer->scope == Scope::kWorkgroup)) {
        return {s};
      }
    }
    return s->body;
  });
}

void Simplifier::run() {
  for (const Param& p : kernel_.params) {
    forms_.define_range(p.var, dim_is_natural(p.value) ? Range{0, INT64_MAX} : Range{});
  }
  for (GridAxis& axis : kernel_.grid) {
    axis.extent_expr = expr(axis.extent_expr);
    forms_.define_loop_var(axis.var, int_const(0), axis.extent_expr);
  }
  if (kernel_.threads != 0) {
    forms_.define_loop_var(kernel_.thread, int_const(first_thread_), int_const(threads_));
  }
  visit(kernel_.body, [&](const Stmt& s) {
    if (s->kind == StmtKind::kDeclare) mutable_.insert(s->var.get());
  });
  kernel_.body = body(kernel_.body);
  std::unordered_set<const VarNode*> used;
  kernel_.body = flatten(remove_dead(kernel_.body, used));
}

}  // namespace

void simplify(Kernel& kernel) {
  Simplifier(kernel).run();
}

std::vector<Stmt> body_of_threads(const Kernel& kernel, int first, int end) {
  Kernel part = kernel;
  Simplifier(part, first, end).run();
  return clone_fresh(part.body);
}

}  // namespace tern::kernel
