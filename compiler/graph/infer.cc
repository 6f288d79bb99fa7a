#include "compiler/graph/infer.h"

#include <algorithm>

namespace tern::graph {

Status check_axis(const Node& node, int64_t axis, int rank) {
  if (axis >= 0 && axis < rank) return Ok{};
  return error("The axis ({}) of '{}' lies outside [0, {}).", axis, info(node.kind).name, rank);
}

Status check_index_type(const Node& node, int operand) {
  const DType d = node.operand(operand)->type.dtype;
  if (d == DType::kI32 || d == DType::kI64) return Ok{};
  return error("The indices of '{}' have the type {} and must be i32 or i64.", info(node.kind).name,
               dtype_name(d));
}

Status check_scalar(const Node& node, int operand, DType dtype) {
  const Type& t = node.operand(operand)->type;
  if (t.is_tensor() && t.dtype == dtype && t.shape.empty()) return Ok{};
  return error("Operand {} of '{}' has the type {} and must be a {} scalar.", operand, info(node.kind).name,
               t.text(), dtype_name(dtype));
}

Status check_length(const Node& node, std::string_view attribute, size_t length, size_t expected) {
  if (length == expected) return Ok{};
  return error("The attribute '{}' of '{}' has {} entries and must have {}.", attribute, info(node.kind).name,
               length, expected);
}

bool is_symbol_of(Graph& graph, const Dim& d, SymbolInfo::Origin origin) {
  if (d.op() != Dim::Op::kSymbol) return false;
  const SymbolInfo* s = graph.find_symbol(d.symbol_name());
  return s && s->origin == origin;
}

Result<Shape> broadcast_shapes(const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()), Dim(1));
  for (size_t i = 0; i < out.size(); ++i) {
    const Dim x = i < a.size() ? a[a.size() - 1 - i] : Dim(1);
    const Dim y = i < b.size() ? b[b.size() - 1 - i] : Dim(1);
    Dim& r = out[out.size() - 1 - i];
    if (x == y || y == Dim(1)) {
      r = x;
    } else if (x == Dim(1)) {
      r = y;
    } else {
      return error("The shapes [{}] and [{}] do not broadcast: {} and {} differ and neither is 1.",
                   shape_text(a), shape_text(b), x.text(), y.text());
    }
  }
  return out;
}

namespace {

Types infer_map(const Node& node) {
  std::vector<DType> dtypes;
  for (const Value* v : node.operands) {
    if (!v->type.is_tensor()) return error("An operand of 'map' has the type {}.", v->type.text());
    if (v->type.shape != node.operand()->type.shape)
      return error("The operands of '{}' have different shapes, {} and {}.",
                   scalar::info(node.scalar_op()).name, node.operand()->type.text(), v->type.text());
    dtypes.push_back(v->type.dtype);
  }
  TERN_ASSIGN(const DType d, scalar::result_type(node.scalar_op(), dtypes));
  return std::vector<Type>{Type::tensor(d, node.operand()->type.shape)};
}

Types infer_cast(const Node& node) {
  const Type& from = node.operand()->type;
  const DType to = node.attr<DType>("to");
  if (to == DType::kNone || !from.is_tensor())
    return error("A cast from {} to {} does not exist.", from.text(), dtype_name(to));
  if (node.kind == OpKind::kBitcast && (dtype_bits(to) != dtype_bits(from.dtype) || dtype_bits(to) == 0))
    return error("A bitcast from {} to {} changes the width.", from.text(), dtype_name(to));
  return std::vector<Type>{Type::tensor(to, from.shape)};
}

Types infer_lookup(const Node& node) {
  const Type& from = node.operand()->type;
  const TensorDataPtr& table = node.attr<TensorDataPtr>("table");
  if (!from.is_tensor() || from.dtype != DType::kU8)
    return error("A 'lookup' is given {} and takes u8.", from.text());
  if (table->dtype() != DType::kU8 || table->shape() != std::vector<int64_t>{256})
    return error("The table of 'lookup' has {} elements of {} and needs 256 of u8.", table->count(),
                 dtype_name(table->dtype()));
  return std::vector<Type>{from};
}

Types infer_source(const Node& node) {
  if (node.kind == OpKind::kConstant) {
    const TensorDataPtr& t = node.attr<TensorDataPtr>("value");
    return std::vector<Type>{Type::tensor(t->dtype(), Shape(t->shape().begin(), t->shape().end()))};
  }
  const Shape& shape = node.dims("shape");
  const DType dtype = node.attr<DType>("dtype");
  if (node.kind == OpKind::kIota) {
    if (!is_int(dtype) && !is_float(dtype))
      return error("An 'iota' of type {} does not exist.", dtype_name(dtype));
    TERN_TRY(check_axis(node, node.int_attr("axis"), static_cast<int>(shape.size())));
  } else {
    if (!is_int(dtype) || dtype_bits(dtype) < 32)
      return error("A 'from_dims' of type {} does not exist: its type must be a 32- or 64-bit integer.",
                   dtype_name(dtype));
    const Dim count = product(shape);
    if (!count.is_const(static_cast<int64_t>(node.dims("dims").size())))
      return error("The attribute 'dims' of 'from_dims' has {} entries and the shape [{}] needs {}.",
                   node.dims("dims").size(), shape_text(shape), count.text());
  }
  return std::vector<Type>{Type::tensor(dtype, shape)};
}

}  // namespace

Result<std::vector<Type>> infer(Graph& graph, const Node& node) {
  const OpInfo& row = info(node.kind);
  const int count = static_cast<int>(node.operands.size());
  if (count < row.min_operands || (row.max_operands >= 0 && count > row.max_operands))
    return error("'{}' is given {} operands and takes {} to {}.", row.name, count, row.min_operands,
                 row.max_operands < 0 ? "any number" : fmt::format("{}", row.max_operands));
  if (static_cast<int>(node.regions.size()) != row.regions)
    return error("'{}' is given {} regions and takes {}.", row.name, node.regions.size(), row.regions);
  switch (node.kind) {
    case OpKind::kConstant:
    case OpKind::kIota:
    case OpKind::kFromDims:
      return infer_source(node);
    case OpKind::kMap:
      return infer_map(node);
    case OpKind::kCast:
    case OpKind::kBitcast:
      return infer_cast(node);
    case OpKind::kLookup:
      return infer_lookup(node);
    case OpKind::kIf:
    case OpKind::kLoop:
    case OpKind::kSeqConstruct:
    case OpKind::kSeqAt:
    case OpKind::kSeqInsert:
    case OpKind::kSeqErase:
    case OpKind::kSeqLength:
    case OpKind::kOptConstruct:
    case OpKind::kOptHas:
    case OpKind::kOptGet:
    case OpKind::kCheck:
      return infer_control(graph, node);
    default:
      break;
  }
  for (const Value* v : node.operands)
    if (!v->type.is_tensor())
      return error("An operand of '{}' has the type {} and must be a tensor.", row.name, v->type.text());
  switch (node.kind) {
    case OpKind::kReshape:
    case OpKind::kBroadcast:
    case OpKind::kTranspose:
    case OpKind::kSlice:
    case OpKind::kPad:
    case OpKind::kConcat:
      return infer_view(node);
    case OpKind::kReduce:
    case OpKind::kArgReduce:
    case OpKind::kScan:
    case OpKind::kDot:
    case OpKind::kConv:
    case OpKind::kReduceWindow:
    case OpKind::kArgReduceWindow:
      return infer_nn(node);
    default:
      return infer_index(graph, node);
  }
}

}  // namespace tern::graph
