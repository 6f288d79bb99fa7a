// map and cast.
#include <algorithm>
#include <cmath>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/simplify_rules.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;
using scalar::ScalarValue;

bool is_all_ones(const ScalarValue& v) {
  return v.dtype == DType::kBool ? v.i == 1 : v.i == scalar::scalar_from_int(v.dtype, -1).i;
}

// Powers that roots and quotients give, to a rounding each; null: another one. (pow's values at -0 and
// -infinity, which roots do not have, are not kept.)
Value* by_roots(Value* x, double power, Builder& b) {
  const auto root = [&](Value* v) { return b.map(ScalarOp::kSqrt, {v}); };
  if (power == 0.5) return root(x);
  if (dtype_bits(x->type.dtype) < 32) return nullptr;
  if (power == 0.25) return root(root(x));
  if (power == 0.75) {
    Value* half = root(x);
    return b.mul(half, root(half));
  }
  if (power == 1.5) return b.mul(x, root(x));
  if (power == -0.5) return b.div(b.like(x, 1), root(x));
  return power == -1 ? b.div(b.like(x, 1), x) : nullptr;
}

// x op c, where every element of the right operand is c.
Value* with_right_constant(ScalarOp op, Value* x, Value* right, const ScalarValue& c, Builder& b) {
  const bool integer = !is_float(c.dtype) && !is_complex(c.dtype);
  switch (op) {
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
      return is_number(c, 0) ? x : nullptr;
    case ScalarOp::kMul:
      if (is_number(c, 1)) return x;
      return integer && c.i == 0 ? right : nullptr;
    case ScalarOp::kDiv: {
      if (is_number(c, 1)) return x;
      // The reciprocal of a power of two is exact.
      int exponent = 0;
      if (is_float(c.dtype) && dtype_bits(c.dtype) >= 16 && std::fabs(std::frexp(c.f, &exponent)) == 0.5 &&
          std::abs(exponent) < 14)
        return b.mul(x, b.like(x, 1 / c.f));
      return nullptr;
    }
    case ScalarOp::kPow:
      if (is_number(c, 1)) return x;
      if (is_number(c, 2)) return b.mul(x, x);
      if (is_number(c, 3) && is_float(c.dtype)) return b.mul(b.mul(x, x), x);
      return is_float(c.dtype) ? by_roots(x, c.f, b) : nullptr;
    case ScalarOp::kAnd:
      if (is_all_ones(c)) return x;
      return c.i == 0 ? right : nullptr;
    case ScalarOp::kOr:
      if (c.i == 0) return x;
      return is_all_ones(c) ? right : nullptr;
    case ScalarOp::kXor:
    case ScalarOp::kShl:
    case ScalarOp::kShr:
      return c.i == 0 ? x : nullptr;
    case ScalarOp::kMax:
      return is_float(c.dtype) && c.f == scalar::lowest(c.dtype).f && std::isinf(c.f) ? x : nullptr;
    case ScalarOp::kMin:
      return is_float(c.dtype) && c.f == scalar::highest(c.dtype).f && std::isinf(c.f) ? x : nullptr;
    case ScalarOp::kEq:
      if (c.dtype == DType::kBool) return c.i ? x : b.map(ScalarOp::kNot, {x});
      return nullptr;
    case ScalarOp::kNe:
      if (c.dtype == DType::kBool) return c.i ? b.map(ScalarOp::kNot, {x}) : x;
      return nullptr;
    default:
      return nullptr;
  }
}

Value* with_constant(const Node& n, Builder& b) {
  Value *x = n.operand(0), *y = n.operand(1);
  const ScalarOp op = n.scalar_op();
  if (const auto c = splat_of(y))
    if (Value* v = with_right_constant(op, x, y, *c, b)) return v;
  if (scalar::info(op).commutative)
    if (const auto c = splat_of(x)) return with_right_constant(op, y, x, *c, b);
  return nullptr;
}

// f(x / c) of functions that make no more of a relative error of their argument than it is.
Value* of_quotient(const Node& n, Builder& b) {
  if (n.scalar_op() != ScalarOp::kErf && n.scalar_op() != ScalarOp::kTanh) return nullptr;
  const Node* inner = def_of(n.operand(), OpKind::kMap);
  if (!inner || inner->scalar_op() != ScalarOp::kDiv || n.result()->type.dtype != DType::kF32) return nullptr;
  const auto c = splat_of(inner->operand(1));
  if (!c || !(std::fabs(c->f) > 0x1p-60 && std::fabs(c->f) < 0x1p60)) return nullptr;
  Value* x = inner->operand(0);
  return b.map(n.scalar_op(), {b.mul(x, b.like(x, 1 / c->f))});
}

// x where v is log(1 + exp(x)): written so, or as max(x, 0) + log1p(exp(-|x|)).
Value* softplus_argument(const Value* v) {
  const auto map_of = [](const Value* value, ScalarOp op) -> const Node* {
    const Node* d = def_of(value, OpKind::kMap);
    return d && d->scalar_op() == op ? d : nullptr;
  };
  // The other operand of a node one of whose operands is that number.
  const auto beside = [](const Node* n, double number) -> Value* {
    for (size_t side = 0; n && side < 2; ++side) {
      const auto c = splat_of(n->operand(side));
      if (c && is_number(*c, number)) return n->operand(1 - side);
    }
    return nullptr;
  };
  if (const Node* log = map_of(v, ScalarOp::kLog)) {
    const Value* power = beside(map_of(log->operand(), ScalarOp::kAdd), 1);
    const Node* exp = power ? map_of(power, ScalarOp::kExp) : nullptr;
    return exp ? exp->operand() : nullptr;
  }
  const Node* sum = map_of(v, ScalarOp::kAdd);
  for (size_t side = 0; sum && side < 2; ++side) {
    Value* x = beside(map_of(sum->operand(side), ScalarOp::kMax), 0);
    const Node* n = map_of(sum->operand(1 - side), ScalarOp::kLog1p);
    for (const ScalarOp op : {ScalarOp::kExp, ScalarOp::kNeg, ScalarOp::kAbs})
      n = n ? map_of(n->operand(), op) : nullptr;
    if (x && n && n->operand() == x) return x;
  }
  return nullptr;
}

// tanh(log(1 + e^x)), as Mish has it, is w / (w + 2) with w = e^x (e^x + 2): one function instead of three,
// and nothing cancels. From 10 on (f64: 20) that is 1, and w might be infinite.
Value* tanh_of_softplus(const Node& n, Builder& b) {
  const DType type = n.result()->type.dtype;
  if (n.scalar_op() != ScalarOp::kTanh || (type != DType::kF32 && type != DType::kF64)) return nullptr;
  Value* x = softplus_argument(n.operand());
  if (!x) return nullptr;
  Value* power =
      b.map(ScalarOp::kExp, {b.map(ScalarOp::kMin, {x, b.like(x, type == DType::kF32 ? 10 : 20)})});
  Value* w = b.mul(power, b.add(power, b.like(x, 2)));
  return b.map(ScalarOp::kDiv, {w, b.add(w, b.like(x, 2))});
}

// f(x, x), and chains of one operand.
Value* with_itself(const Node& n, Builder& b) {
  Value* x = n.operand(0);
  const ScalarOp op = n.scalar_op();
  const Node* inner = def_of(x, OpKind::kMap);
  if (n.operands.size() == 1) {
    if (!inner) return nullptr;
    if (Value* v = of_quotient(n, b)) return v;
    if (Value* v = tanh_of_softplus(n, b)) return v;
    const ScalarOp before = inner->scalar_op();
    if (before == op && (op == ScalarOp::kNeg || op == ScalarOp::kNot)) return inner->operand();
    const bool repeats = op == ScalarOp::kAbs || op == ScalarOp::kFloor || op == ScalarOp::kCeil ||
                         op == ScalarOp::kTrunc || op == ScalarOp::kRoundEven || op == ScalarOp::kSign;
    if (before == op && repeats) return x;
    if (op == ScalarOp::kAbs && before == ScalarOp::kNeg) return b.map(op, {inner->operand()});
    return nullptr;
  }
  if (n.operands.size() != 2 || n.operand(1) != x) return nullptr;
  switch (op) {
    case ScalarOp::kMin:
    case ScalarOp::kMax:
    case ScalarOp::kAnd:
    case ScalarOp::kOr:
      return x;
    case ScalarOp::kSub:
    case ScalarOp::kXor:
      if (is_float(x->type.dtype) || is_complex(x->type.dtype)) return nullptr;
      return b.broadcast(b.int_constant(x->type.dtype, 0), x->type.shape);
    case ScalarOp::kEq:
    case ScalarOp::kNe:
      if (is_float(x->type.dtype) || is_complex(x->type.dtype)) return nullptr;
      return b.broadcast(b.int_constant(DType::kBool, op == ScalarOp::kEq), x->type.shape);
    default:
      return nullptr;
  }
}

// x + (-y), x - (-y) and -x + y as one subtraction or addition.
Value* negated_term(const Node& n, Builder& b) {
  const ScalarOp op = n.scalar_op();
  if (op != ScalarOp::kAdd && op != ScalarOp::kSub) return nullptr;
  const auto negated = [](Value* v) -> Value* {
    const Node* d = def_of(v, OpKind::kMap);
    return d && d->scalar_op() == ScalarOp::kNeg ? d->operand() : nullptr;
  };
  Value *x = n.operand(0), *y = n.operand(1);
  if (Value* v = negated(y)) return op == ScalarOp::kAdd ? b.sub(x, v) : b.add(x, v);
  if (Value* v = negated(x); v && op == ScalarOp::kAdd) return b.sub(y, v);
  return nullptr;
}

Value* simplify_select(const Node& n, Builder& b) {
  Value *c = n.operand(0), *x = n.operand(1), *y = n.operand(2);
  if (x == y) return x;
  if (const auto known = splat_of(c)) return known->i ? x : y;
  if (const Node* d = def_of(c, OpKind::kMap); d && d->scalar_op() == ScalarOp::kNot)
    return b.select(d->operand(), y, x);
  if (x->type.dtype != DType::kBool) return nullptr;
  const auto p = splat_of(x), q = splat_of(y);
  if (p && q && p->i != q->i) return p->i ? c : b.map(ScalarOp::kNot, {c});
  return nullptr;
}

// Operands that are all spread the same way: compute on what is small, then spread.
Value* map_of_broadcasts(const Node& n, Builder& b) {
  std::vector<Value*> small;
  bool all_scalars = true;
  for (Value* v : n.operands) {
    const Node* spread = def_of(v, OpKind::kBroadcast);
    if (!spread) return nullptr;
    small.push_back(spread->operand());
    all_scalars &= product(spread->operand()->type.shape) == Dim(1);
  }
  Shape shape;
  for (Value* v : small) {
    Result<Shape> common = broadcast_shapes(shape, v->type.shape);
    if (!common.ok()) return nullptr;
    shape = std::move(common).value();
  }
  if (shape == n.result()->type.shape) return nullptr;  // the whole shape is needed anyway
  if (all_scalars)
    for (Value*& v : small) v = b.reshape(v, {});
  return b.broadcast(b.map(n.scalar_op(), small), n.result()->type.shape);
}

// Views between v and what it repeats (nearest neighbours), outermost first; empty: v repeats nothing in
// line, or others read it, too.
std::vector<const Node*> repeats_of(Value* v, const SimplifyContext& context) {
  const auto uses = context.uses.find(v);
  if (!def_of(v, OpKind::kReshape) || (uses != context.uses.end() && uses->second.size() > 1)) return {};
  std::vector<const Node*> views;
  size_t last = 0;  // of those that repeat, counted from 1
  for (; v->def && (v->def->kind == OpKind::kReshape || v->def->kind == OpKind::kBroadcast);
       v = v->def->operand()) {
    views.push_back(v->def);
    const bool repeats = v->def->kind == OpKind::kBroadcast &&
                         product(v->type.shape) != product(v->def->operand()->type.shape);
    if (repeats) last = views.size();
  }
  views.resize(last);
  return views;
}

Value* repeated(Value* v, const std::vector<const Node*>& views, Builder& b) {
  for (size_t i = views.size(); i-- > 0;) {
    const Shape& shape = views[i]->dims("shape");
    v = views[i]->kind == OpKind::kReshape ? b.reshape(v, shape) : b.broadcast(v, shape);
  }
  return v;
}

// A map of one operand that repeats elements: compute on what is repeated. Spreads of one number go along.
Value* map_of_repeats(const Node& n, Builder& b, const SimplifyContext& context) {
  std::vector<const Node*> views;
  size_t at = 0;
  for (size_t i = 0; i < n.operands.size(); ++i) {
    const Node* spread = def_of(n.operand(i), OpKind::kBroadcast);
    if (spread && product(spread->operand()->type.shape) == Dim(1)) continue;
    if (!views.empty()) return nullptr;
    views = repeats_of(n.operand(i), context);
    if (views.empty()) return nullptr;
    at = i;
  }
  if (views.empty()) return nullptr;
  std::vector<Value*> operands;
  for (size_t i = 0; i < n.operands.size(); ++i)
    operands.push_back(i == at ? views.back()->operand() : b.reshape(n.operand(i)->def->operand(), {}));
  return repeated(b.map(n.scalar_op(), operands), views, b);
}

// The permutation that all operands share that are not spreads of something small; null: there is none.
const std::vector<int64_t>* shared_perm(const Node& n) {
  const std::vector<int64_t>* perm = nullptr;
  for (Value* v : n.operands) {
    if (def_of(v, OpKind::kBroadcast)) continue;
    const Node* t = def_of(v, OpKind::kTranspose);
    if (!t || (perm && *perm != t->ints("perm"))) return nullptr;
    perm = &t->ints("perm");
  }
  return perm;
}

// Whether nothing needs the transposed value itself: a single reader, or several that all do without it.
bool may_sink(const Value* v, const SimplifyContext& context) {
  if (context.used_once(v)) return true;
  const auto uses = context.uses.find(v);
  return uses != context.uses.end() &&
         std::all_of(uses->second.begin(), uses->second.end(), [](const Use& use) {
           return use.node && (use.node->kind == OpKind::kReduce ||
                               (use.node->kind == OpKind::kMap && shared_perm(*use.node)));
         });
}

// A map of values of one permutation is the transpose of a map. Sunk so that it may meet its inverse, or a
// reduction, which needs none.
Value* map_of_transposes(const Node& n, Builder& b, const SimplifyContext& context) {
  const std::vector<int64_t>* perm = shared_perm(n);
  const auto stays = [&](Value* v) { return def_of(v, OpKind::kTranspose) && !may_sink(v, context); };
  if (!perm || std::any_of(n.operands.begin(), n.operands.end(), stays)) return nullptr;
  std::vector<int64_t> inverse(perm->size());
  for (size_t i = 0; i < perm->size(); ++i)
    inverse[static_cast<size_t>((*perm)[i])] = static_cast<int64_t>(i);
  std::vector<Value*> operands;
  for (Value* v : n.operands) {
    const Node* t = def_of(v, OpKind::kTranspose);
    operands.push_back(t ? t->operand() : b.transpose(v, inverse));
  }
  return b.transpose(b.map(n.scalar_op(), std::move(operands)), *perm);
}

}  // namespace

Value* simplify_map(Node& n, Builder& b, const SimplifyContext& context) {
  if (n.result()->type.dtype == DType::kString || n.operands.back()->type.dtype == DType::kString)
    return nullptr;
  if (n.operands.size() == 2) {
    if (Value* v = with_constant(n, b)) return v;
    if (Value* v = negated_term(n, b)) return v;
  }
  if (n.scalar_op() == ScalarOp::kSelect)
    if (Value* v = simplify_select(n, b)) return v;
  if (Value* v = with_itself(n, b)) return v;
  if (Value* v = map_of_broadcasts(n, b)) return v;
  if (Value* v = map_of_repeats(n, b, context)) return v;
  return map_of_transposes(n, b, context);
}

namespace {

// Whether every value of `from` is a value of `to`.
bool holds_all(DType from, DType to) {
  if (from == DType::kBool) return to != DType::kString;
  const int from_bits = dtype_bits(from), to_bits = dtype_bits(to);
  if (is_int(from) && is_int(to)) {
    if (is_signed_int(from)) return is_signed_int(to) && to_bits >= from_bits;
    return to_bits > from_bits || (to_bits == from_bits && !is_signed_int(to));
  }
  if (is_int(from) && is_float(to))
    return (to == DType::kF32 && from_bits <= 16) || (to == DType::kF64 && from_bits <= 32);
  if (is_float(from) && is_float(to)) return (to == DType::kF32 && from_bits <= 16) || to == DType::kF64;
  return false;
}

}  // namespace

Value* simplify_cast(Node& n, Builder& b, const SimplifyContext& context) {
  Value* x = n.operand();
  const DType to = n.attr<DType>("to");
  if (x->type.dtype == to) return x;
  if (x->type.dtype == DType::kString || to == DType::kString) return nullptr;
  const bool saturate = !n.find("saturate") || n.bool_attr("saturate");
  if (const Node* inner = def_of(x, OpKind::kCast)) {
    const DType from = inner->operand()->type.dtype;
    // The first cast loses nothing: the second sees what the operand is.
    // Unless a float in the middle makes the second saturate where integers wrap.
    const bool wraps = !is_float(from) && is_float(x->type.dtype) && is_int(to) && !holds_all(from, to);
    if (from != DType::kString && holds_all(from, x->type.dtype) && !wraps)
      return b.cast(inner->operand(), to, saturate);
  }
  if (const Node* spread = def_of(x, OpKind::kBroadcast))
    return b.broadcast(b.cast(spread->operand(), to, saturate), n.result()->type.shape);
  // As many bytes or fewer: what is repeated is stored.
  if (dtype_bits(to) > dtype_bits(x->type.dtype)) return nullptr;
  if (const auto views = repeats_of(x, context); !views.empty())
    return repeated(b.cast(views.back()->operand(), to, saturate), views, b);
  return nullptr;
}

}  // namespace tern::graph
