#include "compiler/lower/causal.h"

#include <algorithm>
#include <cmath>

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using scalar::ScalarOp;

constexpr double kLow = -1e30;                       // no score comes near it
constexpr int64_t kMostElements = int64_t{1} << 24;  // of a constant that is looked at

constexpr int64_t kMostOffset = int64_t{1} << 30;  // so that no sum of some of them leaves 32 bits

// A position along an axis, counted from the last one, and something added; axis -1: a number alone. Only of
// types that hold every position and difference of positions.
struct Position {
  int axis = -1;
  Dim offset;
};

const Node* map_of(const Value* v, size_t operands) {
  return v->def && v->def->kind == OpKind::kMap && v->def->operands.size() == operands ? v->def : nullptr;
}

std::optional<Position> position_of(const Value* v) {
  if (v->type.dtype != DType::kI32 && v->type.dtype != DType::kI64) return std::nullopt;
  if (const auto splat = LoweringContext::splat(v)) {
    if (splat->i > kMostOffset || splat->i < -kMostOffset) return std::nullopt;
    return Position{-1, splat->i};
  }
  const Node* n = v->def;
  if (!n) return std::nullopt;
  const int rank = v->type.rank();
  switch (n->kind) {
    case OpKind::kIota: {
      const auto axis = static_cast<size_t>(n->int_attr("axis"));
      if (v->type.shape[axis].is_const(1)) return Position{-1, 0};  // wherever it is repeated
      return Position{rank - 1 - static_cast<int>(axis), 0};
    }
    case OpKind::kFromDims:
      if (n->dims("dims").size() != 1) return std::nullopt;
      return Position{-1, n->dims("dims")[0]};
    case OpKind::kBroadcast:
      return position_of(n->operand());
    case OpKind::kReshape: {
      auto at = position_of(n->operand());
      if (!at || at->axis < 0) return at;
      // The axis is the only one, before and after.
      const Shape& from = n->operand()->type.shape;
      const Dim length = from[from.size() - 1 - static_cast<size_t>(at->axis)];
      int found = -1;
      for (size_t d = 0; d < v->type.shape.size(); ++d) {
        if (v->type.shape[d].is_const(1)) continue;
        if (found >= 0 || v->type.shape[d] != length) return std::nullopt;
        found = rank - 1 - static_cast<int>(d);
      }
      if (found < 0 || product(from) != length) return std::nullopt;
      at->axis = found;
      return at;
    }
    case OpKind::kCast:
      return position_of(n->operand());
    case OpKind::kMap: {
      if (n->operands.size() != 2) return std::nullopt;
      const auto a = position_of(n->operand(0)), b = position_of(n->operand(1));
      if (!a || !b) return std::nullopt;
      if (n->scalar_op() == ScalarOp::kAdd && (a->axis < 0 || b->axis < 0))
        return Position{std::max(a->axis, b->axis), a->offset + b->offset};
      if (n->scalar_op() == ScalarOp::kSub && b->axis < 0) return Position{a->axis, a->offset - b->offset};
      return std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

// c, where seen(row, column) holds exactly for columns up to row + c in every plane of the constant.
template <typename Seen>
std::optional<Dim> triangle_of(const TensorData& data, const Seen& seen) {
  const size_t rank = data.shape().size();
  if (rank < 2 || data.count() == 0 || data.count() > kMostElements) return std::nullopt;
  const int64_t rows = data.shape()[rank - 2], columns = data.shape()[rank - 1];
  std::optional<int64_t> reach;
  for (int64_t line = 0; line < data.count() / columns; ++line) {
    int64_t length = 0;
    while (length < columns && seen(line * columns + length)) ++length;
    for (int64_t k = length; k < columns; ++k)
      if (seen(line * columns + k)) return std::nullopt;
    const int64_t own = length - 1 - line % rows;
    if (length < columns && !reach) reach = own;
    if (length < columns ? own != *reach : reach && own > *reach) return std::nullopt;
  }
  // Rows before the first one that ends early.
  if (!reach) return std::nullopt;
  for (int64_t line = 0; line < data.count() / columns; ++line) {
    const int64_t last = std::min(line % rows + *reach, columns - 1);
    if (last < 0 || !seen(line * columns + last)) return std::nullopt;
    if (last + 1 < columns && seen(line * columns + last + 1)) return std::nullopt;
  }
  return Dim(*reach);
}

// The operand of a view that leaves the planes of the last two axes as they are.
const Value* same_planes(const Value* v) {
  const Node* n = v->def;
  if (!n || (n->kind != OpKind::kBroadcast && n->kind != OpKind::kReshape)) return nullptr;
  const Shape &to = v->type.shape, &from = n->operand()->type.shape;
  if (from.size() < 2 || to.size() < 2) return nullptr;
  for (size_t d = 1; d <= 2; ++d)
    if (from[from.size() - d] != to[to.size() - d]) return nullptr;
  return n->operand();
}

// Of a slice of them: how far its planes begin behind the operand's, query minus key.
std::optional<Dim> shift_of(const Node& slice) {
  const size_t rank = slice.dims("starts").size();
  if (rank < 2) return std::nullopt;
  for (size_t d = 1; d <= 2; ++d)
    if (slice.ints("steps")[rank - d] != 1) return std::nullopt;
  return slice.dims("starts")[rank - 2] - slice.dims("starts")[rank - 1];
}

// Whether all elements are other than zero; null: it is not known, or they differ.
std::optional<bool> is_set(const Value* v) {
  if (const TensorDataPtr data = LoweringContext::constant_data(v)) {  // of any size, unlike what is a splat
    if (is_complex(data->dtype()) || data->dtype() == DType::kString) return std::nullopt;
    if (data->count() == 0 || data->count() > kMostElements) return std::nullopt;
    const bool floats = is_float(data->dtype());
    const auto set = [&](int64_t i) { return floats ? data->float_at(i) != 0 : data->int_at(i) != 0; };
    for (int64_t i = 1; i < data->count(); ++i)
      if (set(i) != set(0)) return std::nullopt;
    return set(0);
  }
  const auto splat = LoweringContext::splat(v);
  if (!splat) return std::nullopt;
  return is_float(splat->dtype) ? splat->f != 0 : splat->i != 0;
}

// c, where a condition is `seen` exactly for keys up to query + c. Numbers are conditions too: other than
// zero.
std::optional<Dim> triangle(const Value* v, bool seen) {
  if (const TensorDataPtr data = LoweringContext::constant_data(v)) {
    if (is_complex(data->dtype()) || data->dtype() == DType::kString) return std::nullopt;
    const bool floats = is_float(data->dtype());
    return triangle_of(
        *data, [&](int64_t i) { return (floats ? data->float_at(i) != 0 : data->int_at(i) != 0) == seen; });
  }
  if (const Value* operand = same_planes(v)) return triangle(operand, seen);
  const Node* n = v->def;
  if (!n) return std::nullopt;
  if (n->kind == OpKind::kSlice) {
    const auto shift = shift_of(*n), inner = shift ? triangle(n->operand(), seen) : std::nullopt;
    return inner ? std::optional(*inner + *shift) : std::nullopt;
  }
  if (n->kind == OpKind::kMap && n->operands.size() == 1 && n->scalar_op() == ScalarOp::kNot)
    return triangle(n->operand(), !seen);
  if (n->kind == OpKind::kCast) {
    const bool keeps = v->type.dtype == DType::kBool || n->operand()->type.dtype == DType::kBool;
    return keeps ? triangle(n->operand(), seen) : std::nullopt;
  }
  if (const Node* choice = map_of(v, 3); choice && choice->scalar_op() == ScalarOp::kSelect) {
    const auto a = is_set(choice->operand(1)), b = is_set(choice->operand(2));
    return a && b && *a != *b ? triangle(choice->operand(0), *a == seen) : std::nullopt;
  }
  if (!map_of(v, 2)) return std::nullopt;
  auto key = position_of(n->operand(0)), query = position_of(n->operand(1));
  if (!key || !query) return std::nullopt;
  ScalarOp op = n->scalar_op();
  const auto turned = [](ScalarOp o) {  // b o a for a o b
    switch (o) {
      case ScalarOp::kLe:
        return ScalarOp::kGe;
      case ScalarOp::kLt:
        return ScalarOp::kGt;
      case ScalarOp::kGe:
        return ScalarOp::kLe;
      default:
        return ScalarOp::kLt;
    }
  };
  const auto opposite = [](ScalarOp o) {
    switch (o) {
      case ScalarOp::kLe:
        return ScalarOp::kGt;
      case ScalarOp::kLt:
        return ScalarOp::kGe;
      case ScalarOp::kGe:
        return ScalarOp::kLt;
      default:
        return ScalarOp::kLe;
    }
  };
  if (op != ScalarOp::kLe && op != ScalarOp::kLt && op != ScalarOp::kGe && op != ScalarOp::kGt)
    return std::nullopt;
  if (key->axis == 1 && query->axis == 0) std::swap(key, query), op = turned(op);
  if (!seen) op = opposite(op);
  if (key->axis != 0 || query->axis != 1 || (op != ScalarOp::kLe && op != ScalarOp::kLt)) return std::nullopt;
  const Dim reach = query->offset - key->offset;
  return op == ScalarOp::kLe ? reach : reach - 1;
}

bool never_negative(const Dim& d) {
  const auto all = [&] { return std::all_of(d.args().begin(), d.args().end(), never_negative); };
  switch (d.op()) {
    case Dim::Op::kConst:
      return d.value() >= 0;
    case Dim::Op::kSymbol:
      return true;  // sizes
    case Dim::Op::kAdd:
    case Dim::Op::kMul:
    case Dim::Op::kMin:
    case Dim::Op::kFloorDiv:
    case Dim::Op::kCeilDiv:
      return all();
    case Dim::Op::kMax:
      return std::any_of(d.args().begin(), d.args().end(), never_negative);
    default:
      return false;
  }
}

std::optional<double> float_splat(const Value* v) {
  const auto splat = LoweringContext::splat(v);
  return splat && is_float(splat->dtype) ? std::optional(splat->f) : std::nullopt;
}

// The scores times numbers, and nothing else.
bool is_scaled(const Value* v, const Value* scores) {
  if (v == scores) return true;
  const Node* n = v->def;
  if (!n) return false;
  if (n->kind == OpKind::kCast) return is_float(v->type.dtype) && is_scaled(n->operand(), scores);
  if (!map_of(v, 2)) return false;
  const ScalarOp op = n->scalar_op();
  if (op == ScalarOp::kMul && float_splat(n->operand(0))) return is_scaled(n->operand(1), scores);
  return (op == ScalarOp::kMul || op == ScalarOp::kDiv) && float_splat(n->operand(1)) &&
         is_scaled(n->operand(0), scores);
}

// c of a mask that is added: zero for keys up to query + c, low for others.
std::optional<Dim> added_triangle(const Value* v) {
  if (const TensorDataPtr data = LoweringContext::constant_data(v)) {
    if (!is_float(data->dtype()) || data->count() > kMostElements) return std::nullopt;
    for (int64_t i = 0; i < data->count(); ++i)
      if (data->float_at(i) != 0 && !(data->float_at(i) <= kLow)) return std::nullopt;
    return triangle_of(*data, [&](int64_t i) { return data->float_at(i) == 0; });
  }
  if (const Value* operand = same_planes(v)) return added_triangle(operand);
  const Node* n = v->def;
  if (n && n->kind == OpKind::kSlice) {
    const auto shift = shift_of(*n), inner = shift ? added_triangle(n->operand()) : std::nullopt;
    return inner ? std::optional(*inner + *shift) : std::nullopt;
  }
  n = map_of(v, 3);
  if (!n || n->scalar_op() != ScalarOp::kSelect) return std::nullopt;
  const auto a = float_splat(n->operand(1)), b = float_splat(n->operand(2));
  if (!a || !b) return std::nullopt;
  if (*a == 0 && *b <= kLow) return triangle(n->operand(0), true);
  if (*b == 0 && *a <= kLow) return triangle(n->operand(0), false);
  return std::nullopt;
}

std::optional<Dim> reach_of(const Value* v, const Value* scores) {
  if (const Node* n = map_of(v, 3); n && n->scalar_op() == ScalarOp::kSelect) {
    for (const bool seen : {true, false}) {
      const auto low = float_splat(n->operand(seen ? 2 : 1));
      if (!low || *low > kLow) continue;
      // What is finite and low may be all that other masks leave in a row.
      if (!std::isinf(*low) && !is_scaled(n->operand(seen ? 1 : 2), scores)) continue;
      return triangle(n->operand(0), seen);
    }
  }
  if (const Node* n = map_of(v, 2); n && n->scalar_op() == ScalarOp::kAdd) {
    for (const size_t k : {size_t{0}, size_t{1}})
      if (is_scaled(n->operand(k), scores)) return added_triangle(n->operand(1 - k));
  }
  return std::nullopt;
}

}  // namespace

std::optional<Dim> causal_reach(const Value* softmax_operand, const Value* scores) {
  const std::optional<Dim> reach = reach_of(softmax_operand, scores);
  return reach && never_negative(*reach) ? reach : std::nullopt;
}

std::optional<Dim> causal_reach(const AttentionChain& chain, const Dim& queries) {
  const Shape& shape = chain.scores.result()->type.shape;
  return shape[shape.size() - 2] == queries ? causal_reach(chain.softmax_operand, chain.scores.result())
                                            : std::nullopt;
}

}  // namespace tern::lower
