#include "compiler/kernel/hoist_constants.h"

#include <algorithm>
#include <optional>

#include "compiler/kernel/expr_util.h"

namespace tern::kernel {

namespace {

using Elements = std::unordered_map<const BufferNode*, int64_t>;

class Hoister {
 public:
  // `behind`: only what stands behind the first of those, and in branches; nothing: all of it.
  Hoister(const Kernel& kernel, Elements elements, size_t most, std::optional<Behind> behind)
      : elements_(std::move(elements)), most_(most), behind_(behind), reached_(!behind) {
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
      } else if (s->kind == StmtKind::kFor || s->kind == StmtKind::kWhile) {
        reached_ = true;
      } else {
        reached_ |= behind_ == Behind::kWaits && waits(node);
        for (Expr* e : {&node.value, &node.index, &node.count}) {
          if (*e == nullptr || may_have_ended_ || !reached_) continue;
          done_.clear();
          *e = expr(*e);
        }
        if (s->kind == StmtKind::kIf && behind_ && reached_ && s->else_body.empty())
          node.body = branch(s->value, s->body);
        if (s->kind == StmtKind::kLet && is_known(node.value) && !contains_load(node.value))
          known_[s->var.get()] = substitute(node.value, known_);
      }
      visit({s}, [&](const Stmt& inner) { may_have_ended_ |= inner->kind == StmtKind::kFail; });
      out.push_back(std::make_shared<const StmtNode>(std::move(node)));
    }
    return out;
  }

  std::vector<Stmt> take() { return std::move(hoisted_); }

 private:
  // For other threads.
  static bool waits(const StmtNode& s) {
    bool found = s.kind == StmtKind::kBarrier;
    if (!s.value) return found;
    visit(s.value, [&](const Expr& e) {
      found |= e->kind == ExprKind::kIntrinsic && (e->intrinsic == Intrinsic::kSubgroupShuffleXor ||
                                                   e->intrinsic == Intrinsic::kSubgroupShuffle);
    });
    return found;
  }

  bool is_known(const Expr& e) const {
    bool known = true;
    visit(e, [&](const Expr& n) {
      known &=
          !(n->kind == ExprKind::kVar && !known_.contains(n->var.get())) && n->kind != ExprKind::kIntrinsic;
    });
    return known;
  }

  std::vector<Stmt> branch(const Expr& condition, const std::vector<Stmt>& statements) {
    if (!is_known(condition) || contains_load(condition)) return statements;
    const Expr outer = condition_, here = substitute(condition, known_);
    condition_ = outer ? op(ScalarOp::kAnd, {outer, here}) : here;
    std::vector<Stmt> out = body(statements);
    condition_ = outer;
    return out;
  }

  bool may_move(const Expr& load) const {
    const auto known = elements_.find(load->buffer.get());
    if (known == elements_.end()) return false;
    return !condition_ || (load->args[0]->type.lanes == 1 && known->second >= load->type.lanes);
  }

  // The arms of selects stay: what is not chosen is not read.
  Expr expr(const Expr& e) {
    if (e->kind == ExprKind::kOp && e->op == ScalarOp::kSelect) return e;
    if (e->kind == ExprKind::kLoad && e->args.size() == 1 && is_known(e->args[0]) &&
        !contains_load(e->args[0]) && may_move(e))
      return hoisted(e);
    if (e->args.empty()) return e;
    if (const auto it = done_.find(e.get()); it != done_.end()) return it->second;
    std::vector<Expr> args;
    bool changed = false;
    for (const Expr& a : e->args) {
      args.push_back(expr(a));
      changed |= args.back() != a;
    }
    return done_[e.get()] = changed ? with_args(e, std::move(args)) : e;
  }

  Expr hoisted(const Expr& e) {
    Expr at_entry = substitute(e, known_);
    // Elsewhere the first elements are read, so that no load waits for a branch.
    if (condition_) at_entry = with_args(at_entry, {select(condition_, at_entry->args[0], int_const(0))});
    for (const Stmt& s : hoisted_) {
      if (equal(s->value, at_entry)) return var_expr(s->var);
    }
    if (hoisted_.size() == most_) return e;
    const Var v = make_var(e->buffer->name + "_early", e->type);
    hoisted_.push_back(let(v, at_entry));
    return var_expr(v);
  }

  const Elements elements_;
  std::unordered_map<const VarNode*, Expr> known_;
  std::unordered_map<const ExprNode*, Expr> done_;  // of one expression of a statement
  std::vector<Stmt> hoisted_;
  const size_t most_;
  const std::optional<Behind> behind_;
  bool reached_;
  bool may_have_ended_ = false;  // a thread that failed does not get here
  Expr condition_;               // of the branches around; null: none
};

}  // namespace

void hoist_constants(Kernel& kernel, const std::unordered_set<const BufferNode*>& constants) {
  bool waits = kernel.threads == 0 || constants.empty();
  visit(kernel.body, [&](const Stmt& s) { waits |= s->kind == StmtKind::kGridWait; });
  if (waits) return;
  Elements elements;
  for (const BufferNode* constant : constants) elements[constant] = 0;
  Hoister hoister(kernel, std::move(elements), kMostHoisted, std::nullopt);
  std::vector<Stmt> body = hoister.body(kernel.body);
  std::vector<Stmt> front = hoister.take();
  if (front.empty()) return;
  front.push_back(grid_wait());
  front.insert(front.end(), body.begin(), body.end());
  kernel.body = std::move(front);
}

void hoist_last_loads(Kernel& kernel, const Elements& elements, size_t most, Behind behind) {
  if (kernel.threads == 0) return;
  Hoister hoister(kernel, elements, most, behind);
  std::vector<Stmt> body = hoister.body(kernel.body);
  std::vector<Stmt> front = hoister.take();
  front.insert(front.end(), body.begin(), body.end());
  kernel.body = std::move(front);
}

}  // namespace tern::kernel
