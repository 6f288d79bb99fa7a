#include "compiler/kernel/expr_util.h"

#include <algorithm>
#include <bit>
#include <set>
#include <unordered_map>

#include "compiler/kernel/text.h"

namespace tern::kernel {

std::optional<int64_t> int_value(const Expr& e) {
  if (e->kind != ExprKind::kConst) return std::nullopt;
  DTypeKind kind = dtype_kind(e->type.dtype);
  if (kind != DTypeKind::kInt && kind != DTypeKind::kUint && kind != DTypeKind::kBool) return std::nullopt;
  return e->i;
}

scalar::ScalarValue const_value(const Expr& e) {
  scalar::ScalarValue value;
  value.dtype = e->type.dtype;
  value.i = e->i;
  value.f = e->f;
  value.imaginary = e->imaginary;
  return value;
}

namespace {

uint64_t bits(double v) {
  return std::bit_cast<uint64_t>(v);
}

}  // namespace

namespace {

// Expressions share their parts, and one of n nodes may stand for 2^n of a tree: from this many steps on,
// what is known of a node is kept.
constexpr int kFewSteps = 64;

struct Comparison {
  std::set<std::pair<const ExprNode*, const ExprNode*>> known;  // to be equal
  int steps = 0;

  bool equal(const Expr& a, const Expr& b) {
    if (a == b) return true;
    if (a == nullptr || b == nullptr) return false;
    if (a->kind != b->kind || a->type != b->type || a->op != b->op || a->intrinsic != b->intrinsic ||
        a->saturate != b->saturate || a->is_index != b->is_index || a->both_arms != b->both_arms ||
        a->i != b->i || bits(a->f) != bits(b->f) || bits(a->imaginary) != bits(b->imaginary) ||
        a->var != b->var || a->buffer != b->buffer || a->lanes != b->lanes ||
        a->args.size() != b->args.size()) {
      return false;
    }
    if (a->args.empty()) return true;
    const bool keeps = ++steps > kFewSteps;
    if (keeps && known.contains({a.get(), b.get()})) return true;
    for (size_t k = 0; k < a->args.size(); ++k) {
      if (!equal(a->args[k], b->args[k])) return false;
    }
    if (keeps) known.insert({a.get(), b.get()});
    return true;
  }
};

struct Hashing {
  std::unordered_map<const ExprNode*, size_t> known;
  int steps = 0;

  size_t hash(const Expr& e) {
    const bool keeps = !e->args.empty() && ++steps > kFewSteps;
    if (keeps) {
      if (auto it = known.find(e.get()); it != known.end()) return it->second;
    }
    size_t h = static_cast<size_t>(e->kind) * 31 + static_cast<size_t>(e->op);
    auto mix = [&h](uint64_t v) { h = (h ^ v) * 0x9e3779b97f4a7c15ull + (h >> 29); };
    mix(static_cast<uint64_t>(e->type.dtype) * 64 + static_cast<uint64_t>(e->type.lanes));
    mix(static_cast<uint64_t>(e->i));
    mix(bits(e->f));
    mix(reinterpret_cast<uintptr_t>(e->var.get()));
    mix(reinterpret_cast<uintptr_t>(e->buffer.get()));
    for (const Expr& a : e->args) mix(hash(a));
    if (keeps) known.emplace(e.get(), h);
    return h;
  }
};

}  // namespace

bool equal(const Expr& a, const Expr& b) {
  return Comparison().equal(a, b);
}

size_t hash(const Expr& e) {
  return Hashing().hash(e);
}

Expr with_args(const Expr& e, std::vector<Expr> args) {
  switch (e->kind) {
    case ExprKind::kConst:
    case ExprKind::kVar:
      return e;
    case ExprKind::kOp:
      if (e->is_index) {
        return e->op == ScalarOp::kDiv ? index_div(args[0], args[1]) : index_rem(args[0], args[1]);
      }
      if (e->both_arms) return select_both(args[0], args[1], args[2]);
      return op(e->op, std::move(args));
    case ExprKind::kCast:
      return cast(args[0], e->type.dtype, e->saturate);
    case ExprKind::kBitcast:
      return bitcast(args[0], e->type);
    case ExprKind::kLoad:
      return load(e->buffer, args[0], e->type.lanes, args.size() > 1 ? args[1] : nullptr);
    case ExprKind::kRamp:
      return ramp(args[0], e->i, e->type.lanes);
    case ExprKind::kBroadcast:
      return broadcast(args[0], e->type.lanes);
    case ExprKind::kReduce:
      return reduce_lanes(e->op, args[0]);
    case ExprKind::kShuffle:
      return shuffle(args[0], args.size() > 1 ? args[1] : nullptr, e->lanes);
    case ExprKind::kIntrinsic:
      return intrinsic(e->intrinsic, std::move(args), e->type, e->buffer);
  }
  TERN_UNREACHABLE("expression kind {}", static_cast<int>(e->kind));
}

namespace {

void visit_once(const Expr& e, std::unordered_set<const ExprNode*>& seen,
                const std::function<void(const Expr&)>& f) {
  if (!seen.insert(e.get()).second) return;
  for (const Expr& a : e->args) visit_once(a, seen, f);
  f(e);
}

}  // namespace

void visit(const Expr& e, const std::function<void(const Expr&)>& f) {
  std::unordered_set<const ExprNode*> seen;
  visit_once(e, seen, f);
}

void visit_exprs(const Stmt& s, const std::function<void(const Expr&)>& f) {
  for (const Expr* e : {&s->begin, &s->extent, &s->value, &s->index, &s->count}) {
    if (*e != nullptr) f(*e);
  }
  for (const Expr& e : s->at) f(e);
}

void visit(const std::vector<Stmt>& body, const std::function<void(const Stmt&)>& f) {
  for (const Stmt& s : body) {
    f(s);
    visit(s->body, f);
    visit(s->else_body, f);
  }
}

bool uses_var(const Expr& e, const VarNode* var) {
  if (e->kind == ExprKind::kVar) return e->var.get() == var;
  bool found = false;
  visit(e, [&](const Expr& n) { found |= n->kind == ExprKind::kVar && n->var.get() == var; });
  return found;
}

bool is_collective(const Expr& e) {
  if (e->kind != ExprKind::kIntrinsic) return false;
  const IntrinsicTrait trait = intrinsic_trait(e->intrinsic);
  return trait == IntrinsicTrait::kCollective || trait == IntrinsicTrait::kCollectiveLoad;
}

bool can_fail(const Kernel& kernel) {
  bool found = kernel.checks_loops;
  visit(kernel.body, [&](const Stmt& s) { found |= s->kind == StmtKind::kFail; });
  return found;
}

// So that a product of two fits.
constexpr int64_t kMostIterations = int64_t{1} << 30;

int64_t constant_iterations(const std::vector<Stmt>& body) {
  int64_t total = 0;
  for (const Stmt& s : body) {
    const int64_t inside = std::max(constant_iterations(s->body), constant_iterations(s->else_body));
    const bool serial =
        s->kind == StmtKind::kWhile || (s->kind == StmtKind::kFor && s->loop == LoopKind::kSerial);
    const bool copied = s->kind == StmtKind::kFor && s->loop == LoopKind::kUnroll;
    const bool counted = (serial || copied) && s->kind == StmtKind::kFor && is_const(s->extent);
    const int64_t times = counted ? std::clamp<int64_t>(s->extent->i, 0, kMostIterations) : 1;
    total = std::min(total + times * (inside + (serial ? 1 : 0)), kMostIterations);
  }
  return total;
}

bool uses_any(const Expr& e, const std::unordered_set<const VarNode*>& vars) {
  bool found = false;
  visit(e, [&](const Expr& n) { found |= n->kind == ExprKind::kVar && vars.contains(n->var.get()); });
  return found;
}

bool contains_load(const Expr& e) {
  bool found = false;
  visit(e, [&](const Expr& n) { found |= n->buffer != nullptr; });
  return found;
}

namespace {

struct Cloner {
  std::unordered_map<const VarNode*, Expr> values;
  std::unordered_map<const BufferNode*, Buffer> buffers;

  Buffer buffer(const Buffer& b) {
    auto it = buffers.find(b.get());
    return it == buffers.end() ? b : it->second;
  }
  Expr expr(const Expr& e) {
    if (e == nullptr) return e;
    return rewrite(e, [&](const Expr& n) -> Expr {
      if (n->kind == ExprKind::kVar) {
        auto it = values.find(n->var.get());
        return it == values.end() ? nullptr : it->second;
      }
      if (n->kind == ExprKind::kLoad && buffers.contains(n->buffer.get())) {
        return load(buffer(n->buffer), n->args[0], n->type.lanes, n->args.size() > 1 ? n->args[1] : nullptr);
      }
      if (n->kind == ExprKind::kIntrinsic && n->buffer != nullptr && buffers.contains(n->buffer.get())) {
        return intrinsic(n->intrinsic, n->args, n->type, buffer(n->buffer));
      }
      return nullptr;
    });
  }
  Var fresh(const Var& v) {
    Var copy = make_var(v->name, v->type);
    values[v.get()] = var_expr(copy);
    return copy;
  }
  std::vector<Stmt> body(const std::vector<Stmt>& in) {
    std::vector<Stmt> out;
    out.reserve(in.size());
    for (const Stmt& s : in) out.push_back(stmt(s));
    return out;
  }
  Stmt stmt(const Stmt& s) {
    switch (s->kind) {
      case StmtKind::kBlock:
        return block(body(s->body));
      case StmtKind::kFor: {
        Expr begin = expr(s->begin), extent = expr(s->extent);
        Var v = fresh(s->var);
        return loop(v, begin, extent, s->loop, body(s->body));
      }
      case StmtKind::kLet: {
        Expr value = expr(s->value);
        return let(fresh(s->var), value);
      }
      case StmtKind::kDeclare: {
        Expr value = expr(s->value);
        return declare(fresh(s->var), value);
      }
      case StmtKind::kAssign: {
        auto it = values.find(s->var.get());
        return assign(it == values.end() ? s->var : it->second->var, expr(s->value));
      }
      case StmtKind::kStore:
        return store(buffer(s->buffer), expr(s->index), expr(s->value), expr(s->count), s->streaming);
      case StmtKind::kIf:
        return if_then(expr(s->value), body(s->body), body(s->else_body));
      case StmtKind::kWhile:
        return while_loop(expr(s->value), body(s->body));
      case StmtKind::kAlloc: {
        Buffer copy = std::make_shared<const BufferNode>(*s->buffer);
        buffers[s->buffer.get()] = copy;
        return alloc(copy, s->code);
      }
      case StmtKind::kPrefetch:
        return prefetch(buffer(s->buffer), expr(s->index), s->code == 1);
      case StmtKind::kAsyncCopy:
        return async_copy(buffer(s->buffer), expr(s->index), expr(s->value));
      case StmtKind::kArrival:
        return arrival(s->arrival, buffer(s->buffer), expr(s->index), expr(s->value));
      case StmtKind::kTensorCopy: {
        std::vector<Expr> at;
        for (const Expr& e : s->at) at.push_back(expr(e));
        return tensor_copy(buffer(s->buffer), expr(s->index), s->tensor, std::move(at), expr(s->value));
      }
      case StmtKind::kTile:
        return tile(s->tile, buffer(s->buffer), expr(s->index), expr(s->value),
                    expr(s->begin ? s->begin : s->count));
      case StmtKind::kGroupMma:
        return group_mma(buffer(s->buffer), expr(s->value), expr(s->begin), {s->code, s->fresh});
      case StmtKind::kGroupMmaWait:
        return group_mma_wait(s->code, expr(s->value));
      case StmtKind::kGroupMmaCommit:
      case StmtKind::kBarrier:
      case StmtKind::kFail:
      case StmtKind::kComment:
      case StmtKind::kAsyncCommit:
      case StmtKind::kAsyncWait:
      case StmtKind::kGridWait:
        return s;
    }
    TERN_UNREACHABLE("statement kind");
  }
};

}  // namespace

std::vector<Stmt> clone_fresh(const std::vector<Stmt>& body,
                              std::unordered_map<const VarNode*, Expr> values) {
  Cloner cloner{std::move(values), {}};
  return cloner.body(body);
}

}  // namespace tern::kernel
