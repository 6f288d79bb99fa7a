#include "compiler/kernel/vectorize.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/widen.h"

namespace tern::kernel {

scalar::ScalarValue reduction_identity(ScalarOp op, DType dtype) {
  switch (op) {
    case ScalarOp::kAdd:
    case ScalarOp::kOr:
    case ScalarOp::kXor:
      return is_float(dtype) ? scalar::scalar_from_double(dtype, 0) : scalar::scalar_from_int(dtype, 0);
    case ScalarOp::kMul:
      return is_float(dtype) ? scalar::scalar_from_double(dtype, 1) : scalar::scalar_from_int(dtype, 1);
    case ScalarOp::kMax:
      return scalar::lowest(dtype);
    case ScalarOp::kMin:
      return scalar::highest(dtype);
    case ScalarOp::kAnd:
      return scalar::scalar_from_int(dtype, dtype == DType::kBool ? 1 : -1);
    default:
      TERN_UNREACHABLE("no identity for op {}", scalar::info(op).name);
  }
}

namespace {

// The operand beside `var` when e is op(var, x), op(x, var) or fma(x, y, var); sets *which.
bool fold_of(const Expr& e, const Var& var, ScalarOp* which) {
  auto is_var = [&](const Expr& a) { return a->kind == ExprKind::kVar && a->var == var; };
  if (e->kind != ExprKind::kOp) return false;
  if (e->op == ScalarOp::kFma) {
    *which = ScalarOp::kAdd;
    return is_var(e->args[2]) && !uses_var(e->args[0], var.get()) && !uses_var(e->args[1], var.get());
  }
  if (!scalar::info(e->op).associative || e->args.size() != 2) return false;
  *which = e->op;
  int at = is_var(e->args[0]) ? 0 : 1;
  return is_var(e->args[at]) && !uses_var(e->args[1 - at], var.get());
}

}  // namespace

std::vector<Reduction> find_reductions(const std::vector<Stmt>& body, std::string* problem) {
  std::unordered_set<const VarNode*> defined;
  std::vector<Reduction> found;
  visit(body, [&](const Stmt& s) {
    if (s->kind == StmtKind::kLet || s->kind == StmtKind::kDeclare) defined.insert(s->var.get());
  });
  auto find = [&](const VarNode* var) -> Reduction* {
    for (Reduction& r : found) {
      if (r.var.get() == var) return &r;
    }
    return nullptr;
  };
  visit(body, [&](const Stmt& s) {
    if (s->kind != StmtKind::kAssign || defined.contains(s->var.get())) return;
    ScalarOp which = ScalarOp::kCount;
    Reduction* known = find(s->var.get());
    if (s->var->type.lanes != 1 || !fold_of(s->value, s->var, &which) ||
        (known != nullptr && known->op != which)) {
      *problem = fmt::format("variable '{}' carries a value from one iteration to the next", s->var->name);
    } else if (known == nullptr) {
      found.push_back({s->var, which});
    }
  });
  visit(body, [&](const Stmt& s) {
    visit_exprs(s, [&](const Expr& e) {
      for (const Reduction& r : found) {
        if (uses_var(e, r.var.get()) && !(s->kind == StmtKind::kAssign && s->var == r.var)) {
          *problem = fmt::format("the partial result '{}' is used inside the loop", r.var->name);
        }
      }
    });
  });
  return found;
}

namespace {

class LoopVectorizer {
 public:
  LoopVectorizer(const Stmt& loop, int lanes) : loop_(loop), lanes_(lanes) {
    reductions_ = find_reductions(loop->body, &problem_);
    visit(loop->body, [&](const Stmt& s) {
      visit_exprs(s, [&](const Expr& e) {
        if (is_complex(e->type.dtype)) problem_ = "complex numbers have no vectors";
      });
    });
  }
  std::vector<Stmt> run(int interleave);
  const std::string& problem() const { return problem_; }

 private:
  std::vector<Stmt> lanes_at(const Expr& begin, int lanes, const Expr& count,
                             const std::vector<Var>& accumulators);
  std::vector<Var> declare_accumulators(int lanes, std::vector<Stmt>& out);
  void fold(const std::vector<std::vector<Var>>& groups, std::vector<Stmt>& out);
  void full_vectors(const Expr& full, int interleave, const std::vector<std::vector<Var>>& groups,
                    std::vector<Stmt>& out);
  void tail(const Expr& full, const std::vector<Var>& accumulators, std::vector<Stmt>& out);

  const Stmt& loop_;
  int lanes_;
  std::vector<Reduction> reductions_;
  std::string problem_;
};

std::vector<Stmt> LoopVectorizer::lanes_at(const Expr& begin, int lanes, const Expr& count,
                                           const std::vector<Var>& accumulators) {
  Widener widener(loop_->var, begin, lanes, count);
  for (size_t k = 0; k < reductions_.size(); ++k) {
    widener.set_accumulator(reductions_[k].var.get(), accumulators[k]);
  }
  widener.analyse(loop_->body);
  std::vector<Stmt> out = widener.body(loop_->body);
  if (!widener.problem().empty()) problem_ = widener.problem();
  return clone_fresh(out);
}

std::vector<Var> LoopVectorizer::declare_accumulators(int lanes, std::vector<Stmt>& out) {
  std::vector<Var> vars;
  for (const Reduction& r : reductions_) {
    DType dtype = r.var->type.dtype;
    vars.push_back(make_var(r.var->name + "_lanes", {dtype, lanes}));
    out.push_back(declare(vars.back(), broadcast(scalar_const(reduction_identity(r.op, dtype)), lanes)));
  }
  return vars;
}

void LoopVectorizer::fold(const std::vector<std::vector<Var>>& groups, std::vector<Stmt>& out) {
  for (size_t k = 0; k < reductions_.size(); ++k) {
    const Reduction& r = reductions_[k];
    std::vector<Expr> parts;
    for (const auto& group : groups) parts.push_back(var_expr(group[k]));
    while (parts.size() > 1) {
      std::vector<Expr> next;
      for (size_t p = 0; p + 1 < parts.size(); p += 2) next.push_back(op(r.op, {parts[p], parts[p + 1]}));
      if (parts.size() % 2 != 0) next.push_back(parts.back());
      parts = std::move(next);
    }
    out.push_back(assign(r.var, op(r.op, {var_expr(r.var), reduce_lanes(r.op, parts[0])})));
  }
}

void LoopVectorizer::full_vectors(const Expr& full, int interleave,
                                  const std::vector<std::vector<Var>>& groups, std::vector<Stmt>& out) {
  auto at = [&](const Expr& vector_index) { return add(loop_->begin, mul(vector_index, int_const(lanes_))); };
  Expr done = int_const(0);
  if (interleave > 1) {
    Expr rounds = index_div(full, int_const(interleave));
    if (!is_int(rounds, 0)) {
      Var q = make_var(loop_->var->name + "_v");
      std::vector<Stmt> inner;
      for (int u = 0; u < interleave; ++u) {
        Expr index = add(mul(var_expr(q), int_const(interleave)), int_const(u));
        for (Stmt& s : lanes_at(at(index), lanes_, nullptr, groups[static_cast<size_t>(u)])) {
          inner.push_back(std::move(s));
        }
      }
      out.push_back(loop(q, int_const(0), rounds, LoopKind::kSerial, std::move(inner)));
      done = mul(rounds, int_const(interleave));
    }
  }
  Expr rest = sub(full, done);
  if (is_int(rest, 0)) return;
  if (is_int(rest, 1)) {
    for (Stmt& s : lanes_at(at(done), lanes_, nullptr, groups[0])) out.push_back(std::move(s));
    return;
  }
  Var q = make_var(loop_->var->name + "_v");
  out.push_back(
      loop(q, done, rest, LoopKind::kSerial, lanes_at(at(var_expr(q)), lanes_, nullptr, groups[0])));
}

void LoopVectorizer::tail(const Expr& full, const std::vector<Var>& accumulators, std::vector<Stmt>& out) {
  Expr rest = sub(loop_->extent, mul(full, int_const(lanes_)));
  if (is_int(rest, 0)) return;
  Expr begin = add(loop_->begin, mul(full, int_const(lanes_)));
  std::optional<int64_t> constant = int_value(rest);
  if (constant == 1) {
    for (Stmt& s : clone_fresh(loop_->body, {{loop_->var.get(), begin}})) out.push_back(std::move(s));
    return;
  }
  if (constant && (*constant & (*constant - 1)) == 0) {
    std::vector<Var> narrow = declare_accumulators(static_cast<int>(*constant), out);
    out.push_back(block(lanes_at(begin, static_cast<int>(*constant), nullptr, narrow)));
    fold({narrow}, out);
    return;
  }
  std::vector<Stmt> masked = lanes_at(begin, lanes_, rest, accumulators);
  if (constant) {
    out.push_back(block(std::move(masked)));
  } else {
    out.push_back(if_then(compare(ScalarOp::kGt, rest, int_const(0)), std::move(masked)));
  }
}

std::vector<Stmt> LoopVectorizer::run(int interleave) {
  Expr full = index_div(loop_->extent, int_const(lanes_));
  if (auto n = int_value(full)) interleave = static_cast<int>(std::min<int64_t>(interleave, *n));
  if (reductions_.empty()) interleave = 1;
  interleave = std::max(interleave, 1);
  std::vector<Stmt> out;
  if (!problem_.empty()) return out;
  std::vector<std::vector<Var>> groups;
  for (int u = 0; u < interleave; ++u) groups.push_back(declare_accumulators(lanes_, out));
  if (!is_int(full, 0)) full_vectors(full, interleave, groups, out);
  tail(full, groups[0], out);
  fold(groups, out);
  return out;
}

bool is_power_of_two(int n) {
  return n > 0 && (n & (n - 1)) == 0;
}

}  // namespace

std::vector<Stmt> vectorize_loop(const Stmt& loop, int lanes, int interleave) {
  TERN_CHECK(loop->kind == StmtKind::kFor && is_power_of_two(lanes), "vectorize_loop with {} lanes", lanes);
  LoopVectorizer vectorizer(loop, lanes);
  std::vector<Stmt> out = vectorizer.run(interleave);
  TERN_CHECK(vectorizer.problem().empty(), "loop '{}' cannot be vectorized: {}", loop->var->name,
             vectorizer.problem());
  return out;
}

std::string why_not_vectorizable(const Stmt& loop) {
  LoopVectorizer vectorizer(loop, 4);
  vectorizer.run(1);
  return vectorizer.problem();
}

std::vector<Stmt> vectorize(const std::vector<Stmt>& body) {
  return rewrite(body, nullptr, [](const Stmt& s) -> std::vector<Stmt> {
    if (s->kind != StmtKind::kFor || s->loop != LoopKind::kVector) return {s};
    std::optional<int64_t> extent = int_value(s->extent);
    TERN_CHECK(extent && is_power_of_two(static_cast<int>(*extent)),
               "the extent of vector loop '{}' is no constant power of two", s->var->name);
    if (*extent == 1) return clone_fresh(s->body, {{s->var.get(), s->begin}});
    return vectorize_loop(s, static_cast<int>(*extent));
  });
}

void vectorize(Kernel& kernel) {
  kernel.body = vectorize(kernel.body);
}

Expr vectorize(const Expr& e, const Var& var, int lanes,
               const std::unordered_map<const VarNode*, Expr>& widened, Expr count) {
  if (lanes == 1) return substitute(e, widened);
  Widener widener(var, var_expr(var), lanes, std::move(count));
  for (const auto& [scalar, vector] : widened) widener.set_widened(scalar, broadcast(vector, lanes));
  Expr result = widener.vector_expr(e);
  TERN_CHECK(widener.problem().empty(), "expression cannot be vectorized: {}", widener.problem());
  return result;
}

}  // namespace tern::kernel
