#include <algorithm>

#include "compiler/graph/infer.h"

namespace tern::graph {
namespace {

Types one(DType dtype, Shape shape) {
  return std::vector<Type>{Type::tensor(dtype, std::move(shape))};
}

Types infer_gather(const Node& node) {
  const Type &in = node.operand(0)->type, &indices = node.operand(1)->type;
  const int64_t axis = node.int_attr("axis");
  TERN_TRY(check_axis(node, axis, in.rank()));
  TERN_TRY(check_index_type(node, 1));
  Shape shape(in.shape.begin(), in.shape.begin() + axis);
  shape.insert(shape.end(), indices.shape.begin(), indices.shape.end());
  shape.insert(shape.end(), in.shape.begin() + axis + 1, in.shape.end());
  return one(in.dtype, std::move(shape));
}

// gather_elements and scatter_elements: indices of the operand's rank.
Status check_elements(const Node& node) {
  const Type &in = node.operand(0)->type, &indices = node.operand(1)->type;
  TERN_TRY(check_axis(node, node.int_attr("axis"), in.rank()));
  TERN_TRY(check_index_type(node, 1));
  if (indices.rank() == in.rank()) return Ok{};
  return error("'{}' of {} is given indices {} and needs the same rank.", info(node.kind).name, in.text(),
               indices.text());
}

Status check_reduction(const Node& node) {
  const std::string& r = node.str("reduction");
  if (r == "none" || r == "add" || r == "mul" || r == "min" || r == "max") return Ok{};
  return error("The attribute 'reduction' of '{}' is '{}' and must be none, add, mul, min or max.",
               info(node.kind).name, r);
}

Types infer_scatter_elements(const Node& node) {
  TERN_TRY(check_elements(node));
  TERN_TRY(check_reduction(node));
  const Type &in = node.operand(0)->type, &indices = node.operand(1)->type, &updates = node.operand(2)->type;
  if (updates.dtype != in.dtype || updates.shape != indices.shape)
    return error("'scatter_elements' into {} at {} is given the updates {}.", in.text(), indices.text(),
                 updates.text());
  return one(in.dtype, in.shape);
}

// The static length of the index tuples: the indices' last dimension.
Result<int64_t> tuple_length(const Node& node, int64_t batch) {
  const Type &in = node.operand(0)->type, &indices = node.operand(1)->type;
  TERN_TRY(check_index_type(node, 1));
  if (indices.shape.empty() || !indices.shape.back().is_const())
    return error("The indices of '{}' have the type {} and need a static last dimension.",
                 info(node.kind).name, indices.text());
  const int64_t length = indices.shape.back().value();
  if (length + batch > in.rank() || length < 0)
    return error("The index tuples of '{}' have {} entries and {} has {} axes to index.",
                 info(node.kind).name, length, in.text(), in.rank() - batch);
  return length;
}

Types infer_gather_nd(const Node& node) {
  const Type &in = node.operand(0)->type, &indices = node.operand(1)->type;
  const int64_t batch = node.int_attr("batch_dims");
  if (batch < 0 || batch >= indices.rank() || batch > in.rank())
    return error("The attribute 'batch_dims' ({}) of 'gather_nd' does not fit {} and {}.", batch, in.text(),
                 indices.text());
  TERN_ASSIGN(const int64_t length, tuple_length(node, batch));
  for (int64_t i = 0; i < batch; ++i)
    if (in.shape[static_cast<size_t>(i)] != indices.shape[static_cast<size_t>(i)])
      return error("The batch dimension {} of 'gather_nd' differs in {} and {}.", i, in.text(),
                   indices.text());
  Shape shape(indices.shape.begin(), indices.shape.end() - 1);
  shape.insert(shape.end(), in.shape.begin() + batch + length, in.shape.end());
  return one(in.dtype, std::move(shape));
}

Types infer_scatter_nd(const Node& node) {
  const Type &in = node.operand(0)->type, &indices = node.operand(1)->type, &updates = node.operand(2)->type;
  TERN_ASSIGN(const int64_t length, tuple_length(node, 0));
  TERN_TRY(check_reduction(node));
  Shape expected(indices.shape.begin(), indices.shape.end() - 1);
  expected.insert(expected.end(), in.shape.begin() + length, in.shape.end());
  if (updates.dtype != in.dtype || updates.shape != expected)
    return error("'scatter_nd' into {} at {} is given the updates {} and needs the shape [{}].", in.text(),
                 indices.text(), updates.text(), shape_text(expected));
  return one(in.dtype, in.shape);
}

Types infer_top_k(const Node& node) {
  const Type& in = node.operand()->type;
  const int64_t axis = node.int_attr("axis");
  TERN_TRY(check_axis(node, axis, in.rank()));
  const std::vector<Dim>& k = node.dims("k");
  TERN_TRY(check_length(node, "k", k.size(), 1));
  if (!is_int(in.dtype) && !is_float(in.dtype))
    return error("'top_k' does not accept operands of type {}.", dtype_name(in.dtype));
  Shape shape = in.shape;
  Dim& d = shape[static_cast<size_t>(axis)];
  const Dim room = d - k[0];
  if ((k[0].is_const() && k[0].value() < 0) || (room.is_const() && room.value() < 0))
    return error("'top_k' takes {} elements of {}, which axis {} of {} does not have.", k[0].text(), d.text(),
                 axis, in.text());
  d = k[0];
  return std::vector<Type>{Type::tensor(in.dtype, shape), Type::tensor(DType::kI64, shape)};
}

// The count's symbol: the node's own when it has results, else a fresh one that Builder::node points at the
// count result.
Dim count_symbol(Graph& graph, const Node& node, size_t axis, const Dim& upper) {
  if (!node.results.empty() && axis < node.result()->type.shape.size())
    return node.result()->type.shape[axis];
  SymbolInfo s;
  s.origin = SymbolInfo::Origin::kElement;
  s.upper = upper;
  return Dim::symbol(graph.new_symbol("u", std::move(s)).name);
}

Types infer_nonzero(Graph& graph, const Node& node) {
  const Type& in = node.operand()->type;
  const Dim count = count_symbol(graph, node, 1, product(in.shape));
  return std::vector<Type>{Type::tensor(DType::kI64, {Dim(in.rank()), count}), Type::tensor(DType::kI64, {})};
}

Types infer_unique(Graph& graph, const Node& node) {
  const Type& in = node.operand()->type;
  if (in.rank() != 1) return error("'unique' is given {} and needs one dimension.", in.text());
  const Dim count = count_symbol(graph, node, 0, in.shape[0]);
  return std::vector<Type>{Type::tensor(in.dtype, {count}), Type::tensor(DType::kI64, {count}),
                           Type::tensor(DType::kI64, in.shape), Type::tensor(DType::kI64, {count}),
                           Type::tensor(DType::kI64, {})};
}

Types infer_nms(Graph& graph, const Node& node) {
  const Type &boxes = node.operand(0)->type, &scores = node.operand(1)->type;
  if (boxes.rank() != 3 || scores.rank() != 3 || !boxes.shape[2].is_const(4) ||
      boxes.shape[0] != scores.shape[0] || boxes.shape[1] != scores.shape[2] || boxes.dtype != DType::kF32 ||
      scores.dtype != DType::kF32)
    return error("'nms' is given boxes {} and scores {}; it needs f32[B,N,4] and f32[B,C,N].", boxes.text(),
                 scores.text());
  for (size_t i = 2; i < node.operands.size(); ++i)
    TERN_TRY(check_scalar(node, static_cast<int>(i), i == 2 ? DType::kI64 : DType::kF32));
  const Dim count = count_symbol(graph, node, 0, product(scores.shape));
  return std::vector<Type>{Type::tensor(DType::kI64, {count, Dim(3)}), Type::tensor(DType::kI64, {})};
}

}  // namespace

Types infer_index(Graph& graph, const Node& node) {
  switch (node.kind) {
    case OpKind::kGather:
      return infer_gather(node);
    case OpKind::kGatherElements: {
      TERN_TRY(check_elements(node));
      return one(node.operand(0)->type.dtype, node.operand(1)->type.shape);
    }
    case OpKind::kGatherNd:
      return infer_gather_nd(node);
    case OpKind::kScatterElements:
      return infer_scatter_elements(node);
    case OpKind::kScatterNd:
      return infer_scatter_nd(node);
    case OpKind::kTopK:
      return infer_top_k(node);
    case OpKind::kNonZero:
      return infer_nonzero(graph, node);
    case OpKind::kUnique:
      return infer_unique(graph, node);
    case OpKind::kNms:
      return infer_nms(graph, node);
    default:
      TERN_UNREACHABLE("{}", info(node.kind).name);
  }
}

}  // namespace tern::graph
