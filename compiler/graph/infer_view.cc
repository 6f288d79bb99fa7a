#include <algorithm>

#include "compiler/graph/infer.h"

namespace tern::graph {
namespace {

Types one(DType dtype, Shape shape) {
  return std::vector<Type>{Type::tensor(dtype, std::move(shape))};
}

Types infer_reshape(const Node& node) {
  const Type& in = node.operand()->type;
  const Shape& shape = node.dims("shape");
  const Dim from = product(in.shape), to = product(shape);
  if (from.is_const() && to.is_const() && from != to)
    return error("A reshape from {} to [{}] changes the number of elements from {} to {}.", in.text(),
                 shape_text(shape), from.text(), to.text());
  return one(in.dtype, shape);
}

Types infer_broadcast(const Node& node) {
  const Type& in = node.operand()->type;
  const Shape& shape = node.dims("shape");
  bool fits = in.shape.size() <= shape.size();
  for (size_t i = 0; fits && i < in.shape.size(); ++i) {
    const Dim& d = in.shape[in.shape.size() - 1 - i];
    fits = d == Dim(1) || d == shape[shape.size() - 1 - i];
  }
  if (!fits) return error("{} does not broadcast to the shape [{}].", in.text(), shape_text(shape));
  return one(in.dtype, shape);
}

Types infer_transpose(const Node& node) {
  const Type& in = node.operand()->type;
  const std::vector<int64_t>& perm = node.ints("perm");
  TERN_TRY(check_length(node, "perm", perm.size(), in.shape.size()));
  std::vector<bool> seen(perm.size());
  Shape shape;
  for (int64_t p : perm) {
    TERN_TRY(check_axis(node, p, in.rank()));
    if (seen[static_cast<size_t>(p)])
      return error("The attribute 'perm' of 'transpose' names axis {} twice.", p);
    seen[static_cast<size_t>(p)] = true;
    shape.push_back(in.shape[static_cast<size_t>(p)]);
  }
  return one(in.dtype, std::move(shape));
}

Types infer_slice(const Node& node) {
  const Type& in = node.operand()->type;
  const std::vector<Dim>&starts = node.dims("starts"), &sizes = node.dims("sizes");
  const std::vector<int64_t>& steps = node.ints("steps");
  TERN_TRY(check_length(node, "starts", starts.size(), in.shape.size()));
  TERN_TRY(check_length(node, "sizes", sizes.size(), in.shape.size()));
  TERN_TRY(check_length(node, "steps", steps.size(), in.shape.size()));
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] == 0) return error("The step of 'slice' along axis {} is 0.", i);
    if (sizes[i].is_const() && sizes[i].value() < 0)
      return error("The size ({}) of 'slice' along axis {} is negative.", sizes[i].text(), i);
    if (sizes[i].is_const(0)) continue;
    const Dim last = starts[i] + (sizes[i] - Dim(1)) * Dim(steps[i]);
    for (const Dim& at : {starts[i], last}) {
      if (!sizes[i].is_const() && at == Dim(0)) continue;  // nothing may be read, of an axis without elements
      const Dim room = in.shape[i] - at;
      if ((at.is_const() && at.value() < 0) || (room.is_const() && room.value() <= 0))
        return error("'slice' of {} reads position {} of axis {}, outside [0, {}).", in.text(), at.text(), i,
                     in.shape[i].text());
    }
  }
  return one(in.dtype, sizes);
}

Types infer_pad(const Node& node) {
  const Type& in = node.operand()->type;
  const Type& fill = node.operand(1)->type;
  const std::vector<Dim>&low = node.dims("low"), &high = node.dims("high");
  const std::string& mode = node.str("mode");
  TERN_TRY(check_length(node, "low", low.size(), in.shape.size()));
  TERN_TRY(check_length(node, "high", high.size(), in.shape.size()));
  if (mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap")
    return error("The attribute 'mode' of 'pad' is '{}' and must be constant, edge, reflect or wrap.", mode);
  if (fill.dtype != in.dtype || !fill.shape.empty())
    return error("The fill of 'pad' has the type {} and must be a {} scalar.", fill.text(),
                 dtype_name(in.dtype));
  Shape shape;
  for (size_t i = 0; i < low.size(); ++i) {
    shape.push_back(in.shape[i] + low[i] + high[i]);
    if (shape.back().is_const() && shape.back().value() < 0)
      return error("'pad' of {} crops axis {} to the negative size {}.", in.text(), i, shape.back().text());
  }
  return one(in.dtype, std::move(shape));
}

Types infer_concat(const Node& node) {
  const Type& first = node.operand()->type;
  const int64_t axis = node.int_attr("axis");
  TERN_TRY(check_axis(node, axis, first.rank()));
  const size_t a = static_cast<size_t>(axis);
  Shape shape = first.shape;
  for (size_t k = 1; k < node.operands.size(); ++k) {
    const Type& t = node.operands[k]->type;
    bool fits = t.dtype == first.dtype && t.rank() == first.rank();
    for (size_t i = 0; fits && i < shape.size(); ++i) fits = i == a || t.shape[i] == shape[i];
    if (!fits)
      return error("'concat' along axis {} is given {} and {}, which differ in more than that axis.", axis,
                   first.text(), t.text());
    shape[a] = shape[a] + t.shape[a];
  }
  return one(first.dtype, std::move(shape));
}

}  // namespace

Types infer_view(const Node& node) {
  switch (node.kind) {
    case OpKind::kReshape:
      return infer_reshape(node);
    case OpKind::kBroadcast:
      return infer_broadcast(node);
    case OpKind::kTranspose:
      return infer_transpose(node);
    case OpKind::kSlice:
      return infer_slice(node);
    case OpKind::kPad:
      return infer_pad(node);
    case OpKind::kConcat:
      return infer_concat(node);
    default:
      TERN_UNREACHABLE();
  }
}

}  // namespace tern::graph
