#include <algorithm>
#include <cmath>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/ir.h"

namespace tern::kernel {

namespace {

Expr make_node(ExprNode node) {
  return std::make_shared<const ExprNode>(std::move(node));
}

bool is_broadcast(const Expr& e) {
  return e->kind == ExprKind::kBroadcast;
}

bool is_integer_type(const Expr& e) {
  return is_int(e->type.dtype);
}

Expr make_op(ScalarOp which, std::vector<Expr> args, bool is_index) {
  const auto& row = scalar::info(which);
  TERN_CHECK(static_cast<int>(args.size()) == row.arity, "op {} has {} operands", row.name, args.size());
  int lanes = 1;
  for (const Expr& a : args) lanes = std::max(lanes, a->type.lanes);
  std::vector<DType> types;
  for (Expr& a : args) {
    TERN_CHECK(a->type.lanes == lanes || a->type.lanes == 1, "op {} mixes {} and {} lanes", row.name,
               a->type.lanes, lanes);
    types.push_back(a->type.dtype);
  }
  Result<DType> result = scalar::result_type(which, types);
  TERN_CHECK(result.ok(), "{}", result.error().message);
  if (std::all_of(args.begin(), args.end(), [](const Expr& a) { return is_const(a); })) {
    std::vector<scalar::ScalarValue> values;
    for (const Expr& a : args) values.push_back(const_value(a));
    return scalar_const(scalar::eval_scalar(which, values));
  }
  if (lanes > 1 && std::all_of(args.begin(), args.end(),
                               [](const Expr& a) { return is_broadcast(a) || a->type.lanes == 1; })) {
    for (Expr& a : args) {
      if (is_broadcast(a)) a = a->args[0];
    }
    return broadcast(
        is_index ? (which == ScalarOp::kDiv ? index_div(args[0], args[1]) : index_rem(args[0], args[1]))
                 : op(which, std::move(args)),
        lanes);
  }
  for (Expr& a : args) a = broadcast(a, lanes);
  ExprNode node{.kind = ExprKind::kOp, .type = {*result, lanes}, .op = which, .is_index = is_index};
  node.args = std::move(args);
  return make_node(std::move(node));
}

// Rules on integers that hold with wrapping arithmetic; null when none applies.
Expr fold_integer(ScalarOp which, std::vector<Expr>& args) {
  if (args.size() != 2 || !is_integer_type(args[0])) return nullptr;
  if (which == ScalarOp::kSub && is_const(args[1]) && args[0]->type.dtype == DType::kI64) {
    return add(args[0], op(ScalarOp::kNeg, {args[1]}));
  }
  if ((which == ScalarOp::kAdd || which == ScalarOp::kMul) && is_const(args[0]) && !is_const(args[1])) {
    std::swap(args[0], args[1]);
  }
  const Expr& a = args[0];
  const Expr& b = args[1];
  if (which == ScalarOp::kSub && a == b && a->type.lanes == 1) return int_const(0, a->type.dtype);
  if (!is_const(b)) return nullptr;
  int64_t value = *int_value(b);
  bool zero = value == 0, one = value == 1;
  if (zero && (which == ScalarOp::kAdd || which == ScalarOp::kSub)) return a;
  if (one && (which == ScalarOp::kMul || which == ScalarOp::kDiv)) return a;
  if (zero && which == ScalarOp::kMul) return broadcast(b, a->type.lanes);
  if (one && which == ScalarOp::kRem) return broadcast(int_const(0, a->type.dtype), a->type.lanes);
  // (x + c1) + c2, (x * c1) * c2
  if ((which == ScalarOp::kAdd || which == ScalarOp::kMul) && a->kind == ExprKind::kOp && a->op == which &&
      a->type.lanes == 1 && is_const(a->args[1])) {
    return op(which, {a->args[0], op(which, {a->args[1], b})});
  }
  // ramp + c, ramp * c
  if (a->kind == ExprKind::kRamp && which == ScalarOp::kAdd) {
    return ramp(add(a->args[0], b), a->i, a->type.lanes);
  }
  if (a->kind == ExprKind::kRamp && which == ScalarOp::kMul) {
    return ramp(mul(a->args[0], b), a->i * value, a->type.lanes);
  }
  return nullptr;
}

Expr fold_bool(ScalarOp which, const std::vector<Expr>& args) {
  if (which != ScalarOp::kAnd && which != ScalarOp::kOr) return nullptr;
  if (args[0]->type.dtype != DType::kBool) return nullptr;
  for (int k = 0; k < 2; ++k) {
    const Expr& c = is_broadcast(args[k]) ? args[k]->args[0] : args[k];
    if (!is_const(c)) continue;
    bool keeps_other = (c->i != 0) == (which == ScalarOp::kAnd);
    int lanes = std::max(args[0]->type.lanes, args[1]->type.lanes);
    return broadcast(keeps_other ? args[1 - k] : c, lanes);
  }
  return nullptr;
}

Expr fold_select(const std::vector<Expr>& args) {
  const Expr& c = is_broadcast(args[0]) ? args[0]->args[0] : args[0];
  if (!is_const(c)) return nullptr;
  int lanes = std::max({args[0]->type.lanes, args[1]->type.lanes, args[2]->type.lanes});
  return broadcast(c->i != 0 ? args[1] : args[2], lanes);
}

}  // namespace

Var make_var(std::string name, VType type) {
  return std::make_shared<const VarNode>(VarNode{std::move(name), type});
}

Buffer make_buffer(std::string name, VType type, Scope scope, Access access, int64_t size) {
  return std::make_shared<const BufferNode>(BufferNode{std::move(name), type, scope, access, size, false});
}

Expr int_const(int64_t value, DType dtype) {
  return scalar_const(scalar::scalar_from_int(dtype, value));
}

Expr float_const(double value, DType dtype) {
  return scalar_const(scalar::scalar_from_double(dtype, value));
}

Expr scalar_const(const scalar::ScalarValue& value) {
  ExprNode node{.kind = ExprKind::kConst, .type = {value.dtype, 1}};
  node.i = value.i;
  node.f = value.f;
  node.imaginary = value.imaginary;
  return make_node(std::move(node));
}

Expr var_expr(const Var& var) {
  TERN_CHECK(var != nullptr, "null variable");
  ExprNode node{.kind = ExprKind::kVar, .type = var->type};
  node.var = var;
  return make_node(std::move(node));
}

Expr op(ScalarOp which, std::vector<Expr> args) {
  for (const Expr& a : args) TERN_CHECK(a != nullptr, "op {} has a null operand", scalar::info(which).name);
  if (std::all_of(args.begin(), args.end(), [](const Expr& a) { return is_const(a); })) {
    return make_op(which, std::move(args), false);
  }
  if (which == ScalarOp::kSelect) {
    if (Expr folded = fold_select(args)) return folded;
  } else if (Expr folded = fold_integer(which, args)) {
    return folded;
  } else if (args.size() == 2 && (folded = fold_bool(which, args))) {
    return folded;
  }
  return make_op(which, std::move(args), false);
}

Expr index_div(Expr a, Expr b) {
  TERN_CHECK(a->type.dtype == DType::kI64 && b->type.dtype == DType::kI64, "index_div of another type");
  if (is_int(b, 1)) return a;
  return make_op(ScalarOp::kDiv, {std::move(a), std::move(b)}, true);
}

Expr index_rem(Expr a, Expr b) {
  TERN_CHECK(a->type.dtype == DType::kI64 && b->type.dtype == DType::kI64, "index_rem of another type");
  if (is_int(b, 1)) return broadcast(int_const(0), a->type.lanes);
  return make_op(ScalarOp::kRem, {std::move(a), std::move(b)}, true);
}

Expr select(Expr c, Expr a, Expr b) {
  return op(ScalarOp::kSelect, {std::move(c), std::move(a), std::move(b)});
}

Expr select_both(const Expr& c, const Expr& a, const Expr& b) {
  Expr e = select(c, a, b);
  if (e->kind != ExprKind::kOp || e->op != ScalarOp::kSelect || e->args != std::vector<Expr>{c, a, b})
    return e;
  ExprNode node = *e;
  node.both_arms = true;
  return make_node(std::move(node));
}

Expr compare(ScalarOp which, Expr a, Expr b) {
  TERN_CHECK(scalar::info(which).rule == scalar::TypeRule::kCompare, "{} is no comparison",
             scalar::info(which).name);
  return op(which, {std::move(a), std::move(b)});
}

// A 16-bit float that only became f32 and goes back is what it was.
static bool is_round_trip(const Expr& value, DType to) {
  return value->kind == ExprKind::kCast && value->type.dtype == DType::kF32 &&
         value->args[0]->type.dtype == to && (to == DType::kF16 || to == DType::kBF16);
}

Expr cast(Expr value, DType to, bool saturate) {
  if (value->type.dtype == to) return value;
  if (is_round_trip(value, to)) return value->args[0];
  if (is_const(value)) return scalar_const(scalar::eval_cast(const_value(value), to, saturate));
  if (is_broadcast(value)) return broadcast(cast(value->args[0], to, saturate), value->type.lanes);
  ExprNode node{.kind = ExprKind::kCast, .type = {to, value->type.lanes}, .saturate = saturate};
  node.args = {std::move(value)};
  return make_node(std::move(node));
}

Expr bitcast(Expr value, VType to) {
  if (value->type == to) return value;
  TERN_CHECK(dtype_bits(value->type.dtype) * value->type.lanes == dtype_bits(to.dtype) * to.lanes,
             "bitcast of {}x{} to {}x{} changes the size", dtype_name(value->type.dtype), value->type.lanes,
             dtype_name(to.dtype), to.lanes);
  TERN_CHECK(dtype_bits(value->type.dtype) >= 8 && dtype_bits(to.dtype) >= 8, "bitcast of a sub-byte type");
  TERN_CHECK(value->type.dtype != DType::kBool && to.dtype != DType::kBool, "bitcast of a bool");
  ExprNode node{.kind = ExprKind::kBitcast, .type = to};
  node.args = {std::move(value)};
  return make_node(std::move(node));
}

Expr load(const Buffer& buffer, Expr index, int lanes, Expr count) {
  TERN_CHECK(buffer != nullptr && index != nullptr, "load without buffer or index");
  TERN_CHECK(index->type.dtype == DType::kI64, "the index of buffer '{}' is {}, not i64", buffer->name,
             dtype_name(index->type.dtype));
  if (buffer->type.lanes > 1) {
    TERN_CHECK(index->type.lanes == 1, "vector index into a buffer of vectors '{}'", buffer->name);
    lanes = buffer->type.lanes;
  } else if (index->type.lanes > 1) {
    lanes = index->type.lanes;
    if (index->kind == ExprKind::kBroadcast && count == nullptr) {
      return broadcast(load(buffer, index->args[0]), lanes);
    }
    if (index->kind == ExprKind::kRamp && index->i == 1) index = index->args[0];
  }
  ExprNode node{.kind = ExprKind::kLoad, .type = {buffer->type.dtype, lanes}};
  node.buffer = buffer;
  node.args = {std::move(index)};
  if (count != nullptr) {
    TERN_CHECK(count->type == (VType{DType::kBool, lanes}) || count->type == (VType{DType::kI64, 1}),
               "the count of a load from '{}' is neither an i64 nor a mask", buffer->name);
    if (!(count->type.lanes == 1 && int_value(count) == lanes)) node.args.push_back(std::move(count));
  }
  return make_node(std::move(node));
}

Expr ramp(Expr base, int64_t stride, int lanes) {
  TERN_CHECK(base->type == (VType{DType::kI64, 1}), "the base of a ramp is no scalar i64");
  if (lanes == 1) return base;
  if (stride == 0) return broadcast(std::move(base), lanes);
  ExprNode node{.kind = ExprKind::kRamp, .type = {DType::kI64, lanes}};
  node.i = stride;
  node.args = {std::move(base)};
  return make_node(std::move(node));
}

Expr broadcast(Expr value, int lanes) {
  if (value->type.lanes == lanes) return value;
  TERN_CHECK(value->type.lanes == 1, "broadcast of {} lanes to {}", value->type.lanes, lanes);
  ExprNode node{.kind = ExprKind::kBroadcast, .type = {value->type.dtype, lanes}};
  node.args = {std::move(value)};
  return make_node(std::move(node));
}

Expr reduce_lanes(ScalarOp which, Expr value) {
  TERN_CHECK(scalar::info(which).associative, "reduce with {}", scalar::info(which).name);
  if (value->type.lanes == 1) return value;
  ExprNode node{.kind = ExprKind::kReduce, .type = {value->type.dtype, 1}, .op = which};
  node.args = {std::move(value)};
  return make_node(std::move(node));
}

Expr shuffle(Expr a, Expr b, std::vector<int> lanes) {
  TERN_CHECK(b == nullptr || a->type == b->type, "shuffle of two types");
  int limit = a->type.lanes * (b == nullptr ? 1 : 2);
  for (int lane : lanes) TERN_CHECK(lane >= -1 && lane < limit, "shuffle lane {} of {}", lane, limit);
  ExprNode node{.kind = ExprKind::kShuffle, .type = {a->type.dtype, static_cast<int>(lanes.size())}};
  node.args = {std::move(a)};
  if (b != nullptr) node.args.push_back(std::move(b));
  node.lanes = std::move(lanes);
  return make_node(std::move(node));
}

Expr intrinsic(Intrinsic which, std::vector<Expr> args, VType type, Buffer buffer) {
  ExprNode node{.kind = ExprKind::kIntrinsic, .type = type, .intrinsic = which};
  node.buffer = std::move(buffer);
  node.args = std::move(args);
  return make_node(std::move(node));
}

Expr ParamTable::expr(Dim dim) {
  if (dim.is_const()) return int_const(dim.value());
  for (const Param& p : params_) {
    if (p.value == dim) return var_expr(p.var);
  }
  // No symbol's name: kernels that differ in their sizes' names alone are one (program/parts.h).
  params_.push_back({make_var(fmt::format("p{}", params_.size())), dim});
  return var_expr(params_.back().var);
}

}  // namespace tern::kernel
