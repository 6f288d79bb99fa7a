#include "compiler/graph/passes/quantised.h"

#include <algorithm>
#include <cstring>

#include "compiler/graph/passes/constants.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

constexpr int64_t kParameterBytes = 1 << 20;

bool is_byte(const Value* v) {
  return v->type.is_tensor() && (v->type.dtype == DType::kU8 || v->type.dtype == DType::kI8);
}

const Node* map_of(const Value* v, ScalarOp op) {
  const Node* n = def_of(v, OpKind::kMap);
  return n && n->scalar_op() == op ? n : nullptr;
}

// What is spread over v's shape, or v.
Value* unspread(Value* v) {
  while (const Node* n = def_of(v, OpKind::kBroadcast)) v = n->operand();
  return v;
}

// The numbers of a tensor that varies along one axis at most; `shift` is added to the axis.
std::optional<QuantParameter> along_one_axis(const TensorData& t, int shift) {
  std::vector<double> all;
  for (int64_t i = 0; i < t.count(); ++i)
    all.push_back(is_float(t.dtype()) ? t.float_at(i) : static_cast<double>(t.int_at(i)));
  if (all.empty()) return std::nullopt;
  if (std::all_of(all.begin(), all.end(), [&](double x) { return x == all[0]; }))
    return QuantParameter{{all[0]}, nullptr, -1};
  size_t inner = all.size();
  for (size_t d = 0; d < t.shape().size(); ++d) {
    const auto extent = static_cast<size_t>(t.shape()[d]);
    inner /= extent;
    if (extent == 1) continue;
    QuantParameter p;
    p.axis = static_cast<int>(d) + shift;
    for (size_t i = 0; i < extent; ++i) p.known.push_back(all[i * inner]);
    bool same = true;
    for (size_t i = 0; i < all.size() && same; ++i) same = all[i] == p.known[i / inner % extent];
    if (same) return p;
  }
  return std::nullopt;
}

// A scale or zero point as it stands beside values of rank `rank`.
std::optional<QuantParameter> parameter(Value* v, int rank) {
  Value* small = unspread(v);
  QuantParameter p;
  if (const TensorDataPtr t = known_tensor(small, kParameterBytes))
    return along_one_axis(*t, rank - static_cast<int>(t->shape().size()));
  while (const Node* n = def_of(small, OpKind::kReshape)) small = n->operand();
  if (product(small->type.shape) != Dim(1)) return std::nullopt;
  p.dynamic = small;
  return p;
}

Value* scalar_value(Value* v, Builder& b) {
  return b.reshape(v, {});
}

// i32 or 8-bit integers as q - zero.
std::optional<Quantised> integers(Value* v, Builder& b) {
  if (is_byte(v)) return Quantised{v, {}, {}};
  if (v->type.dtype != DType::kI32) return std::nullopt;
  if (const Node* n = def_of(v, OpKind::kCast)) {
    if (!is_byte(n->operand())) return std::nullopt;
    return Quantised{n->operand(), {}, {}};
  }
  const Node* n = map_of(v, ScalarOp::kSub);
  if (!n) return std::nullopt;
  std::optional<Quantised> inner = integers(n->operand(0), b);
  if (!inner) return std::nullopt;
  std::optional<QuantParameter> zero = parameter(n->operand(1), v->type.rank());
  if (!zero) return std::nullopt;
  if (inner->zero.absent()) {
    if (zero->dynamic) zero->dynamic = scalar_value(zero->dynamic, b);
    inner->zero = *zero;
    return inner;
  }
  if (zero->dynamic || inner->zero.dynamic || !zero->is_scalar() || !inner->zero.is_scalar())
    return std::nullopt;
  inner->zero.known[0] += zero->known[0];
  return inner;
}

// f32 made of integers, before its scale.
std::optional<Quantised> unscaled(Value* v, Builder& b) {
  const Node* n = def_of(v, OpKind::kCast);
  if (!n || v->type.dtype != DType::kF32) return std::nullopt;
  return integers(n->operand(), b);
}

std::optional<Quantised> scaled(Value* v, Builder& b) {
  const Node* n = map_of(v, ScalarOp::kMul);
  if (!n || v->type.dtype != DType::kF32) return std::nullopt;
  for (int side : {0, 1}) {
    std::optional<Quantised> x = unscaled(n->operand(side), b);
    if (!x) continue;
    std::optional<QuantParameter> scale = parameter(n->operand(1 - side), v->type.rank());
    if (!scale) return std::nullopt;
    if (scale->dynamic) scale->dynamic = scalar_value(scale->dynamic, b);
    x->scale = *scale;
    return x;
  }
  return std::nullopt;
}

// Where axis `axis` of `from` is in `to` when a reshape only adds and removes dimensions of 1; -1 if not.
int reshaped_axis(const Shape& from, const Shape& to, int axis) {
  const auto real = [](const Shape& s) {
    std::vector<size_t> out;
    for (size_t d = 0; d < s.size(); ++d)
      if (!s[d].is_const(1)) out.push_back(d);
    return out;
  };
  const std::vector<size_t> a = real(from), c = real(to);
  if (a.size() != c.size()) return -1;
  for (size_t i = 0; i < a.size(); ++i) {
    if (from[a[i]] != to[c[i]]) return -1;
  }
  for (size_t i = 0; i < a.size(); ++i)
    if (static_cast<int>(a[i]) == axis) return static_cast<int>(c[i]);
  return -1;
}

// The parameters' axes after a view; false when one cannot follow.
bool move_axis(const Node& view, QuantParameter& p) {
  if (p.axis < 0) return true;
  const Shape &from = view.operand()->type.shape, &to = view.result()->type.shape;
  switch (view.kind) {
    case OpKind::kTranspose: {
      const auto& perm = view.ints("perm");
      p.axis = static_cast<int>(std::find(perm.begin(), perm.end(), p.axis) - perm.begin());
      return true;
    }
    case OpKind::kReshape:
      p.axis = reshaped_axis(from, to, p.axis);
      return p.axis >= 0;
    default:
      return false;
  }
}

Value* same_view(const Node& view, Value* of, Builder& b) {
  return b.node(view.kind, {of}, view.attrs)->result();
}

bool is_view(const Node* n) {
  return n && (n->kind == OpKind::kReshape || n->kind == OpKind::kTranspose || n->kind == OpKind::kSlice ||
               n->kind == OpKind::kBroadcast);
}

Value* flipped(Value* q, DType to, Builder& b) {
  Value* bytes = b.bitcast(q, DType::kU8);
  return b.bitcast(b.map(ScalarOp::kXor, {bytes, b.int_constant(DType::kU8, 128)}), to);
}

TensorDataPtr flipped_constant(const TensorData& t, DType to) {
  auto out = TensorData::make(to, t.shape());
  const auto in = t.bytes();
  for (size_t i = 0; i < in.size(); ++i) out->mutable_bytes()[i] = static_cast<uint8_t>(in[i] ^ 128);
  return out;
}

Value* as_sign(Value* q, DType to, Builder& b) {
  if (q->type.dtype == to) return q;
  if (const TensorDataPtr t = constant_data(q)) return b.constant(flipped_constant(*t, to));
  if (to == DType::kU8)
    if (Value* u = u8_behind(q)) return u;
  if (is_view(q->def)) return same_view(*q->def, as_sign(q->def->operand(), to, b), b);
  return flipped(q, to, b);
}

}  // namespace

bool QuantParameter::is_known(double number) const {
  return !known.empty() && std::all_of(known.begin(), known.end(), [&](double x) { return x == number; });
}

std::optional<Quantised> quantised(Value* v, Builder& b) {
  if (!v->type.is_tensor()) return std::nullopt;
  if (std::optional<Quantised> direct = v->type.dtype == DType::kF32 ? scaled(v, b) : integers(v, b))
    return direct;
  if (!is_view(v->def)) return std::nullopt;
  std::optional<Quantised> inner = quantised(v->def->operand(), b);
  if (!inner || !move_axis(*v->def, inner->zero) || !move_axis(*v->def, inner->scale)) return std::nullopt;
  inner->q = same_view(*v->def, inner->q, b);
  return inner;
}

Value* u8_behind(const Value* q) {
  const Node* cast = def_of(q, OpKind::kBitcast);
  if (!cast || q->type.dtype != DType::kI8) return nullptr;
  const Node* flip = map_of(cast->operand(), ScalarOp::kXor);
  if (!flip) return nullptr;
  for (int side : {0, 1}) {
    const auto c = splat_of(flip->operand(side));
    if (c && c->i == 128) return flip->operand(1 - side);
  }
  return nullptr;
}

Value* as_u8(Value* q, Builder& b) {
  return as_sign(q, DType::kU8, b);
}

Value* as_i8(Value* q, Builder& b) {
  return as_sign(q, DType::kI8, b);
}

TensorDataPtr known_tensor(const Value* v, int64_t limit) {
  if (TensorDataPtr t = constant_data(v)) return t;
  const Node* n = v->def;
  if (!n || n->results.size() != 1 || !v->type.is_tensor() || !is_static(v->type.shape)) return nullptr;
  const bool simple = n->kind == OpKind::kCast || n->kind == OpKind::kReshape ||
                      n->kind == OpKind::kBroadcast || n->kind == OpKind::kTranspose ||
                      n->kind == OpKind::kMap || n->kind == OpKind::kBitcast;
  if (!simple || v->type.dtype == DType::kString) return nullptr;
  if (dtype_storage_bytes(v->type.dtype, product(v->type.shape).value()) > limit) return nullptr;
  std::vector<EvalValue> operands;
  for (const Value* o : n->operands) {
    TensorDataPtr t = known_tensor(o, limit);
    if (!t) return nullptr;
    operands.push_back({std::move(t), nullptr});
  }
  Result<std::vector<EvalValue>> out =
      evaluate_node(*n, operands, [](const std::string&) { return std::nullopt; });
  return out.ok() ? (*out)[0].tensor : nullptr;
}

Value* along_axis(const std::vector<double>& entries, DType dtype, int rank, int axis, Builder& b) {
  std::vector<int64_t> shape;
  if (axis >= 0) {
    shape.assign(static_cast<size_t>(rank), 1);
    shape[static_cast<size_t>(axis)] = static_cast<int64_t>(entries.size());
  }
  auto t = TensorData::make(dtype, shape);
  for (size_t i = 0; i < entries.size(); ++i) {
    const scalar::ScalarValue value = is_float(dtype)
                                          ? scalar::scalar_from_double(dtype, entries[i])
                                          : scalar::scalar_from_int(dtype, static_cast<int64_t>(entries[i]));
    scalar::store_value(dtype, t->mutable_bytes().data(), static_cast<int64_t>(i), value);
  }
  return b.constant(std::move(t));
}

std::optional<QuantParameter> constant_parameter(const Value* v) {
  std::optional<QuantParameter> p = parameter(const_cast<Value*>(v), v->type.rank());
  if (!p || p->dynamic) return std::nullopt;
  return p;
}

}  // namespace tern::graph
