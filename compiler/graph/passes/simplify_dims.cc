// Shape arithmetic: operations on small integer tensors whose elements are known expressions of the input
// sizes give such tensors again.
#include <algorithm>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/simplify_rules.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

constexpr int64_t kMaxElements = 64;

// Certainly not negative: sums and products of sizes with positive factors. An element that is read at run
// time is a size only by what it is used for.
bool is_nonnegative(Graph& graph, const Dim& d) {
  const auto nonnegative = [&](const Dim& a) { return is_nonnegative(graph, a); };
  switch (d.op()) {
    case Dim::Op::kConst:
      return d.value() >= 0;
    case Dim::Op::kSymbol: {
      const SymbolInfo* s = graph.find_symbol(d.symbol_name());
      return s && s->origin != SymbolInfo::Origin::kElement;
    }
    case Dim::Op::kMax:
      return std::any_of(d.args().begin(), d.args().end(), nonnegative);
    default:
      return std::all_of(d.args().begin(), d.args().end(), nonnegative);
  }
}

std::optional<Dim> apply(Graph& graph, ScalarOp op, const Dim& x, const Dim& y) {
  switch (op) {
    case ScalarOp::kAdd:
      return x + y;
    case ScalarOp::kSub:
      return x - y;
    case ScalarOp::kMul:
      return x * y;
    case ScalarOp::kMin:
      return min(x, y);
    case ScalarOp::kMax:
      return max(x, y);
    case ScalarOp::kDiv:
      if (y.is_const() && y.value() > 0 && is_nonnegative(graph, x)) return floordiv(x, y);
      return std::nullopt;
    case ScalarOp::kRem:
    case ScalarOp::kFloorMod:
      if (y.is_const() && y.value() > 0 && is_nonnegative(graph, x)) return mod(x, y);
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

std::optional<bool> compare(Graph& graph, ScalarOp op, const Dim& x, const Dim& y) {
  const Dim difference = x - y;
  if (!difference.is_const()) {
    // A size is never negative.
    if (y.is_const() && y.value() < 0 && is_nonnegative(graph, x)) {
      if (op == ScalarOp::kEq || op == ScalarOp::kLt || op == ScalarOp::kLe) return false;
      if (op == ScalarOp::kNe || op == ScalarOp::kGt || op == ScalarOp::kGe) return true;
    }
    return std::nullopt;
  }
  const int64_t d = difference.value();
  switch (op) {
    case ScalarOp::kEq:
      return d == 0;
    case ScalarOp::kNe:
      return d != 0;
    case ScalarOp::kLt:
      return d < 0;
    case ScalarOp::kLe:
      return d <= 0;
    case ScalarOp::kGt:
      return d > 0;
    case ScalarOp::kGe:
      return d >= 0;
    default:
      return std::nullopt;
  }
}

Value* map_dims(const Node& n, Builder& b) {
  if (n.operands.size() != 2) return nullptr;
  const DType dtype = n.operand()->type.dtype;
  if (dtype != DType::kI64 && dtype != DType::kI32) return nullptr;
  const auto x = dims_of(n.operand(0)), y = dims_of(n.operand(1));
  if (!x || !y || x->size() != y->size()) return nullptr;
  const Type& type = n.result()->type;
  if (type.dtype == DType::kBool) {
    auto data = TensorData::make(DType::kBool, static_dims(type.shape));
    for (size_t i = 0; i < x->size(); ++i) {
      const auto known = compare(b.graph(), n.scalar_op(), (*x)[i], (*y)[i]);
      if (!known) return nullptr;
      data->set_int(static_cast<int64_t>(i), *known);
    }
    return b.constant(std::move(data));
  }
  std::vector<Dim> out;
  for (size_t i = 0; i < x->size(); ++i) {
    const auto d = apply(b.graph(), n.scalar_op(), (*x)[i], (*y)[i]);
    if (!d) return nullptr;
    out.push_back(*d);
  }
  return b.from_dims(std::move(out), type.shape, dtype);
}

// Data movement: moves the numbers of the elements, then looks them up.
Value* move_dims(const Node& n, Builder& b) {
  std::vector<Dim> table;
  std::vector<EvalValue> operands;
  const size_t data_operands = n.kind == OpKind::kGather ? 1 : n.operands.size();
  for (size_t k = 0; k < n.operands.size(); ++k) {
    if (k >= data_operands) {
      TensorDataPtr t = constant_data(n.operands[k]);
      if (!t) return nullptr;
      operands.push_back({std::move(t), nullptr});
      continue;
    }
    const auto dims = dims_of(n.operands[k]);
    if (!dims) return nullptr;
    auto numbers = TensorData::make(DType::kI64, static_dims(n.operands[k]->type.shape));
    for (size_t i = 0; i < dims->size(); ++i) {
      numbers->mutable_as<int64_t>()[i] = static_cast<int64_t>(table.size());
      table.push_back((*dims)[i]);
    }
    operands.push_back({std::move(numbers), nullptr});
  }
  const Result<std::vector<EvalValue>> moved =
      evaluate_node(n, operands, [](const std::string&) { return std::nullopt; });
  if (!moved.ok()) return nullptr;
  const TensorData& t = *moved.value()[0].tensor;
  std::vector<Dim> out;
  for (int64_t i = 0; i < t.count(); ++i) out.push_back(table[static_cast<size_t>(t.as<int64_t>()[i])]);
  return b.from_dims(std::move(out), n.result()->type.shape, n.result()->type.dtype);
}

}  // namespace

Value* simplify_dims(Node& n, Builder& b) {
  const Type& type = n.result()->type;
  if (!type.is_tensor() || !is_static(type.shape)) return nullptr;
  if (product(type.shape).value() > kMaxElements) return nullptr;
  const bool any = std::any_of(n.operands.begin(), n.operands.end(),
                               [](const Value* v) { return def_of(v, OpKind::kFromDims) != nullptr; });
  if (!any) return nullptr;
  switch (n.kind) {
    case OpKind::kMap:
      return map_dims(n, b);
    case OpKind::kCast: {
      const DType to = n.attr<DType>("to");
      if (to != DType::kI64 && to != DType::kI32) return nullptr;
      return b.from_dims(*dims_of(n.operand()), type.shape, to);
    }
    case OpKind::kReshape:
    case OpKind::kBroadcast:
    case OpKind::kTranspose:
    case OpKind::kSlice:
    case OpKind::kConcat:
    case OpKind::kGather:
      for (const auto& [key, attr] : n.attrs)
        if (const auto* dims = std::get_if<std::vector<Dim>>(&attr))
          if (!is_static(*dims)) return nullptr;
      return type.dtype == DType::kI64 || type.dtype == DType::kI32 ? move_dims(n, b) : nullptr;
    case OpKind::kReduce: {
      if (type.dtype != DType::kI64 || !type.shape.empty()) return nullptr;
      const auto dims = dims_of(n.operand());
      if (!dims || dims->empty()) return nullptr;
      Dim out = (*dims)[0];
      for (size_t i = 1; i < dims->size(); ++i) {
        const auto next = apply(b.graph(), n.scalar_op(), out, (*dims)[i]);
        if (!next) return nullptr;
        out = *next;
      }
      return b.from_dims({out}, {}, type.dtype);
    }
    default:
      return nullptr;
  }
}

}  // namespace tern::graph
