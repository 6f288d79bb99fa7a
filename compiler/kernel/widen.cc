#include "compiler/kernel/widen.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/text.h"

namespace tern::kernel {

Widener::Widener(const Var& var, Expr begin, int lanes, Expr count)
    : var_(var), begin_(std::move(begin)), lanes_(lanes), count_(std::move(count)) {
  varying_.insert(var.get());
  if (count_ != nullptr && int_value(count_) == lanes) count_ = nullptr;
}

bool Widener::varying(const Expr& e) {
  bool found = false;
  visit(e, [&](const Expr& n) {
    if (n->kind == ExprKind::kVar)
      found |= varying_.contains(n->var.get()) || widened_.contains(n->var.get());
    if (n->kind == ExprKind::kLoad) found |= inside_.contains(n->buffer.get());
  });
  return found;
}

std::optional<Widener::Affine> Widener::affine(const Expr& e) {
  if (e->type != VType{DType::kI64, 1}) return std::nullopt;
  if (e->args.empty()) return find_affine(e);
  if (auto it = affine_done_.find(e); it != affine_done_.end()) return it->second;
  return affine_done_[e] = find_affine(e);
}

std::optional<Widener::Affine> Widener::find_affine(const Expr& e) {
  if (e->kind == ExprKind::kVar) {
    if (e->var == var_) return Affine{begin_, 1};
    if (auto it = affine_.find(e->var.get()); it != affine_.end()) return it->second;
    if (varying(e)) return std::nullopt;
    return Affine{e, 0};
  }
  bool linear = e->kind == ExprKind::kOp &&
                (e->op == ScalarOp::kAdd || e->op == ScalarOp::kSub || e->op == ScalarOp::kMul);
  if (!linear) {
    if (varying(e)) return std::nullopt;
    return Affine{e, 0};
  }
  auto a = affine(e->args[0]), b = affine(e->args[1]);
  if (!a || !b) return std::nullopt;
  if (e->op == ScalarOp::kAdd) return Affine{add(a->base, b->base), a->stride + b->stride};
  if (e->op == ScalarOp::kSub) return Affine{sub(a->base, b->base), a->stride - b->stride};
  if (a->stride == 0 && b->stride == 0) return Affine{mul(a->base, b->base), 0};
  if (a->stride == 0) std::swap(a, b);
  auto factor = int_value(b->base);
  if (b->stride != 0 || !factor) return std::nullopt;
  return Affine{mul(a->base, b->base), a->stride * *factor};
}

Expr Widener::full_mask() {
  if (count_ == nullptr) return mask_;
  Expr lane = compare(ScalarOp::kLt, ramp(int_const(0), 1, lanes_), count_);
  return mask_ == nullptr ? lane : op(ScalarOp::kAnd, {mask_, lane});
}

Expr Widener::limit(bool consecutive) {
  return consecutive && mask_ == nullptr ? count_ : full_mask();
}

Expr Widener::vector_expr(const Expr& e) {
  return broadcast(expr(e), lanes_);
}

Expr Widener::expr(const Expr& e) {
  if (e->args.empty()) return widen(e);
  const auto key = std::pair(e, mask_);
  if (auto it = done_.find(key); it != done_.end()) return it->second;
  return done_[key] = widen(e);
}

Expr Widener::widen(const Expr& e) {
  if (!varying(e)) return e;
  if (auto a = affine(e)) return ramp(a->base, a->stride, lanes_);
  switch (e->kind) {
    case ExprKind::kVar: {
      auto it = widened_.find(e->var.get());
      if (it != widened_.end()) return it->second;
      fail(fmt::format("variable '{}' has no vector form", e->var->name));
      return e;
    }
    case ExprKind::kOp:
      if (e->op == ScalarOp::kSelect) return widen_select(e);
      break;
    case ExprKind::kLoad:
      return widen_load(e);
    case ExprKind::kCast:
      break;
    case ExprKind::kBitcast:
      if (dtype_bits(e->type.dtype) == dtype_bits(e->args[0]->type.dtype) && e->type.lanes == 1) {
        return bitcast(expr(e->args[0]), {e->type.dtype, lanes_});
      }
      [[fallthrough]];
    case ExprKind::kIntrinsic: {
      const bool scalars =
          intrinsic_trait(e->intrinsic) == IntrinsicTrait::kLanes && e->type.lanes == 1 &&
          std::all_of(e->args.begin(), e->args.end(), [](const Expr& a) { return a->type.lanes == 1; });
      if (scalars) {
        std::vector<Expr> args;
        for (const Expr& a : e->args) args.push_back(vector_expr(a));
        return intrinsic(e->intrinsic, std::move(args), {e->type.dtype, lanes_});
      }
      [[fallthrough]];
    }
    default:
      fail("an expression is already a vector and differs between iterations");
      return e;
  }
  if (e->type.lanes != 1) {
    fail("an expression is already a vector and differs between iterations");
    return e;
  }
  std::vector<Expr> args;
  for (const Expr& a : e->args) args.push_back(expr(a));
  return with_args(e, std::move(args));
}

Expr Widener::widen_select(const Expr& e) {
  Expr condition = expr(e->args[0]);
  Expr saved = mask_;
  auto arm = [&](const Expr& a, bool yes) {
    if (!e->both_arms && condition->type.lanes > 1 && contains_load(a)) {
      Expr own = yes ? condition : op(ScalarOp::kNot, {condition});
      mask_ = saved == nullptr ? own : op(ScalarOp::kAnd, {saved, own});
    }
    Expr result = expr(a);
    mask_ = saved;
    return result;
  };
  Expr a = arm(e->args[1], true), b = arm(e->args[2], false);
  return e->both_arms ? select_both(condition, a, b) : select(condition, a, b);
}

namespace {

// Every stride-th of the elements from `base` on, out of whole vectors that end with the last one: no element
// beyond it is touched.
Expr strided_load(const Buffer& buffer, const Expr& base, int64_t stride, int lanes) {
  const int64_t last = (lanes - 1) * stride;
  Expr out;
  for (int64_t part = 0; part < stride; ++part) {
    const int64_t first = std::min(part * lanes, last - (lanes - 1));
    const Expr vector = load(buffer, add(base, int_const(first)), lanes);
    if (!out) {
      out = vector;
      if (stride > 1) continue;
    }
    std::vector<int> from;
    for (int l = 0; l < lanes; ++l) {
      const int64_t at = l * stride;
      const bool here = at >= part * lanes && at < (part + 1) * lanes;
      // The first shuffle picks from the first vector, later ones keep what is there.
      const int64_t before = part == 1 ? std::min<int64_t>(at, lanes - 1) : l;
      from.push_back(static_cast<int>(here ? lanes + at - first : before));
    }
    out = shuffle(out, vector, std::move(from));
  }
  return out;
}

// A gather costs some cycles a lane; with strides up to this, that many loads and shuffles are less.
constexpr int64_t kMostStrided = 4;

// Whether a number is a multiple of n wherever it is used.
bool is_multiple(const Expr& e, int64_t n) {
  if (e->kind == ExprKind::kConst) return e->i % n == 0;
  if (e->kind != ExprKind::kOp) return false;
  if (e->op == ScalarOp::kMul) return is_multiple(e->args[0], n) || is_multiple(e->args[1], n);
  const bool sum = e->op == ScalarOp::kAdd || e->op == ScalarOp::kSub;
  return sum && is_multiple(e->args[0], n) && is_multiple(e->args[1], n);
}

}  // namespace

std::optional<Widener::Repeated> Widener::repeated(const Expr& e) {
  if (e->type != VType{DType::kI64, 1} || e->kind != ExprKind::kOp) return std::nullopt;
  if (e->op == ScalarOp::kDiv && e->is_index) {
    const auto each = int_value(e->args[1]);
    if (!each || *each < 2 || *each > lanes_ || lanes_ % *each != 0) return std::nullopt;
    const auto a = affine(e->args[0]);
    if (!a || a->stride != 1 || !is_multiple(a->base, *each)) return std::nullopt;
    return Repeated{index_div(a->base, int_const(*each)), static_cast<int>(*each)};
  }
  if (e->op != ScalarOp::kAdd) return std::nullopt;
  for (const size_t side : {0u, 1u}) {
    if (varying(e->args[1 - side])) continue;
    if (auto r = repeated(e->args[side])) return Repeated{add(r->base, e->args[1 - side]), r->each};
  }
  return std::nullopt;
}

Expr Widener::widen_load(const Expr& e) {
  if (e->type.lanes != 1) {
    fail("a vector load differs between iterations");
    return e;
  }
  Expr own_mask;
  if (e->args.size() > 1) {  // the count of a scalar load: 0 or 1
    own_mask = broadcast(compare(ScalarOp::kGt, expr(e->args[1]), int_const(0)), lanes_);
  }
  Expr saved = mask_;
  if (own_mask != nullptr) mask_ = mask_ == nullptr ? own_mask : op(ScalarOp::kAnd, {mask_, own_mask});
  Expr result;
  if (auto it = private_.find(e->buffer.get()); it != private_.end()) {
    Expr index = expr(e->args[0]);
    if (index->type.lanes > 1) fail("a private buffer is indexed by the loop variable");
    bool vectors = it->second->type.lanes > 1;
    result = load(it->second, vectors ? index : mul(index, int_const(lanes_)), lanes_);
  } else {
    auto a = affine(e->args[0]);
    const auto r = a || mask_ != nullptr || e->buffer->type.lanes != 1 ? std::nullopt : repeated(e->args[0]);
    if (r && r->each == lanes_) {
      result = load(e->buffer, r->base);
    } else if (r) {
      const Expr each = int_const(r->each);
      const Expr count = count_ ? index_div(add(count_, int_const(r->each - 1)), each) : nullptr;
      std::vector<int> from;
      for (int l = 0; l < lanes_; ++l) from.push_back(l / r->each);
      result = shuffle(load(e->buffer, r->base, lanes_ / r->each, count), nullptr, std::move(from));
    } else if (a && a->stride == 1) {
      result = load(e->buffer, a->base, lanes_, limit(true));
    } else if (a && a->stride == 0) {
      result = load(e->buffer, a->base);
    } else if (a && a->stride > 1 && a->stride <= kMostStrided && lanes_ >= 8 &&
               dtype_bits(e->type.dtype) >= 8 && e->type.dtype != DType::kBool &&
               e->buffer->type.lanes == 1 && !limit(false)) {
      result = strided_load(e->buffer, a->base, a->stride, lanes_);
    } else {
      result = load(e->buffer, a ? ramp(a->base, a->stride, lanes_) : vector_expr(e->args[0]), lanes_,
                    limit(false));
    }
  }
  mask_ = saved;
  return result;
}

// ---- Statements

bool Widener::mark_varying(const std::vector<Stmt>& in, bool under_condition) {
  bool changed = false;
  for (const Stmt& s : in) {
    bool conditional = under_condition;
    switch (s->kind) {
      case StmtKind::kLet:
      case StmtKind::kDeclare:
      case StmtKind::kAssign:
        if (!varying_.contains(s->var.get()) &&
            (varying(s->value) || (under_condition && s->kind == StmtKind::kAssign))) {
          varying_.insert(s->var.get());
          changed = true;
        }
        if (s->kind != StmtKind::kAssign) defined_.insert(s->var.get());
        break;
      case StmtKind::kIf:
        conditional |= varying(s->value);
        break;
      case StmtKind::kAlloc:
        changed |= inside_.insert(s->buffer.get()).second;
        break;
      default:
        break;
    }
    changed |= mark_varying(s->body, conditional);
    changed |= mark_varying(s->else_body, conditional);
  }
  return changed;
}

void Widener::analyse(const std::vector<Stmt>& in) {
  while (mark_varying(in, false)) {
  }
  forget();
}

std::vector<Stmt> Widener::body(const std::vector<Stmt>& in) {
  std::vector<Stmt> out;
  for (const Stmt& s : in) stmt(s, out);
  return out;
}

void Widener::let_stmt(const Stmt& s, std::vector<Stmt>& out) {
  if (!varying_.contains(s->var.get())) {
    out.push_back(s);
    return;
  }
  if (s->kind == StmtKind::kLet) {
    if (auto a = affine(s->value)) {
      Expr base = a->base;
      if (base->kind != ExprKind::kConst) {  // also a variable: it may be assigned later
        Var scalar = make_var(s->var->name);
        out.push_back(let(scalar, base));
        base = var_expr(scalar);
      }
      affine_[s->var.get()] = {base, a->stride};
      return;
    }
  }
  if (s->var->type.lanes != 1)
    fail(fmt::format("vector variable '{}' differs between iterations", s->var->name));
  Var vector = make_var(s->var->name, {s->var->type.dtype, lanes_});
  Expr value = vector_expr(s->value);
  if (!problem_.empty()) return;
  out.push_back(s->kind == StmtKind::kLet ? let(vector, value) : declare(vector, value));
  vectors_[s->var.get()] = vector;
  widened_[s->var.get()] = var_expr(vector);
}

void Widener::assign_stmt(const Stmt& s, std::vector<Stmt>& out) {
  Var target;
  if (auto it = accumulators_.find(s->var.get()); it != accumulators_.end()) {
    target = it->second;
    widened_[s->var.get()] = var_expr(target);
  } else if (auto inner = vectors_.find(s->var.get()); inner != vectors_.end()) {
    target = inner->second;
  } else if (!varying_.contains(s->var.get())) {
    out.push_back(s);
    return;
  } else {
    return fail(fmt::format("variable '{}' carries a value from one iteration to the next", s->var->name));
  }
  Expr value = vector_expr(s->value);
  Expr mask = accumulators_.contains(s->var.get()) ? full_mask() : mask_;
  if (mask != nullptr) value = select(mask, value, var_expr(target));
  if (problem_.empty()) out.push_back(assign(target, value));
}

// One a cache line of what the lanes read.
void Widener::prefetch_stmt(const Stmt& s, std::vector<Stmt>& out) {
  if (!varying(s->index)) {
    out.push_back(s);
    return;
  }
  const auto a = affine(s->index);
  if (!a || a->stride < 1 || a->stride > kMostStrided) return;  // the vector's own accesses will do
  constexpr int kLineBits = 512;
  const int64_t line = std::max(kLineBits / dtype_bits(s->buffer->type.dtype), 1);
  for (int64_t at = 0; at < lanes_ * a->stride; at += line)
    out.push_back(prefetch(s->buffer, add(a->base, int_const(at)), s->code == 1));
}

void Widener::store_stmt(const Stmt& s, std::vector<Stmt>& out) {
  if (s->value->type.lanes != 1 && (varying(s->value) || varying(s->index))) {
    return fail("a vector store differs between iterations");
  }
  if (auto it = private_.find(s->buffer.get()); it != private_.end()) {
    Expr index = expr(s->index);
    if (index->type.lanes > 1) return fail("a private buffer is indexed by the loop variable");
    Expr value = vector_expr(s->value);
    if (it->second->type.lanes == 1) index = mul(index, int_const(lanes_));
    if (mask_ != nullptr) value = select(mask_, value, load(it->second, index, lanes_));
    out.push_back(store(it->second, index, value));
    return;
  }
  auto a = affine(s->index);
  if (a && a->stride == 0) {
    if (varying(s->value) || mask_ != nullptr) {
      return fail(fmt::format("every iteration stores to one element of '{}'", s->buffer->name));
    }
    out.push_back(s);
    return;
  }
  Expr value = vector_expr(s->value);
  if (!problem_.empty()) return;
  if (a && a->stride == 1) {
    out.push_back(store(s->buffer, a->base, value, limit(true), s->streaming));
    return;
  }
  Expr index = a ? ramp(a->base, a->stride, lanes_) : vector_expr(s->index);
  out.push_back(store(s->buffer, index, value, limit(false)));
}

void Widener::if_stmt(const Stmt& s, std::vector<Stmt>& out) {
  if (!varying(s->value)) {
    out.push_back(if_then(s->value, body(s->body), body(s->else_body)));
    return;
  }
  Expr saved = mask_;
  Var condition = make_var("mask", {DType::kBool, lanes_});
  Expr value = vector_expr(s->value);
  if (!problem_.empty()) return;
  out.push_back(let(condition, value));
  for (bool yes : {true, false}) {
    const std::vector<Stmt>& branch = yes ? s->body : s->else_body;
    if (branch.empty()) continue;
    Expr own = yes ? var_expr(condition) : op(ScalarOp::kNot, {var_expr(condition)});
    mask_ = saved == nullptr ? own : op(ScalarOp::kAnd, {saved, own});
    out.push_back(block(body(branch)));
    mask_ = saved;
  }
}

void Widener::alloc_stmt(const Stmt& s, std::vector<Stmt>& out) {
  if (s->buffer->type.lanes != 1) {
    fail(fmt::format("buffer '{}' of vectors is private to an iteration", s->buffer->name));
    return;
  }
  BufferNode node = *s->buffer;
  if (node.scope == Scope::kRegister) {
    node.type.lanes = lanes_;
  } else {
    node.size *= lanes_;
  }
  Buffer wide = std::make_shared<const BufferNode>(std::move(node));
  private_[s->buffer.get()] = wide;
  out.push_back(alloc(wide));
}

void Widener::stmt(const Stmt& s, std::vector<Stmt>& out) {
  if (!problem_.empty()) return;
  forget();
  switch (s->kind) {
    case StmtKind::kBlock:
      out.push_back(block(body(s->body)));
      return;
    case StmtKind::kFor:
      if (varying(s->begin) || varying(s->extent)) {
        return fail(fmt::format("the bounds of loop '{}' differ between iterations", s->var->name));
      }
      out.push_back(loop(s->var, s->begin, s->extent, s->loop, body(s->body)));
      return;
    case StmtKind::kWhile:
      if (varying(s->value)) return fail("the condition of a while loop differs between iterations");
      out.push_back(while_loop(s->value, body(s->body)));
      return;
    case StmtKind::kLet:
    case StmtKind::kDeclare:
      return let_stmt(s, out);
    case StmtKind::kAssign:
      return assign_stmt(s, out);
    case StmtKind::kStore:
      return store_stmt(s, out);
    case StmtKind::kIf:
      return if_stmt(s, out);
    case StmtKind::kAlloc:
      return alloc_stmt(s, out);
    case StmtKind::kFail:
      if (Expr mask = full_mask(); mask_ != nullptr) {
        out.push_back(if_then(reduce_lanes(ScalarOp::kOr, mask), {s}));
      } else {
        out.push_back(s);
      }
      return;
    case StmtKind::kPrefetch:
      prefetch_stmt(s, out);
      return;
    case StmtKind::kAsyncCopy:
      if (varying(s->index) || varying(s->value) || mask_ != nullptr || count_ != nullptr) {
        fail("an asynchronous copy has no vector form");
      }
      out.push_back(s);
      return;
    case StmtKind::kAsyncCommit:
    case StmtKind::kTile:
    case StmtKind::kArrival:
    case StmtKind::kTensorCopy:
    case StmtKind::kGroupMma:
    case StmtKind::kGroupMmaCommit:
    case StmtKind::kGroupMmaWait:
    case StmtKind::kAsyncWait:
    case StmtKind::kGridWait:
    case StmtKind::kBarrier:
    case StmtKind::kComment:
      out.push_back(s);
      return;
  }
}

}  // namespace tern::kernel
