#include <algorithm>

#include "compiler/graph/infer.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

Types one(DType dtype, Shape shape) {
  return std::vector<Type>{Type::tensor(dtype, std::move(shape))};
}

// Folds: add, mul, min, max on numbers; and, or, xor on bool and integers.
Status check_fold(const Node& node) {
  const ScalarOp op = node.scalar_op();
  const DType dtype = node.operand()->type.dtype;
  const bool known = op == ScalarOp::kAdd || op == ScalarOp::kMul || op == ScalarOp::kMin ||
                     op == ScalarOp::kMax || op == ScalarOp::kAnd || op == ScalarOp::kOr ||
                     op == ScalarOp::kXor;
  const DType two[2] = {dtype, dtype};
  if (!known) return error("'{}' cannot fold with '{}'.", info(node.kind).name, scalar::info(op).name);
  Result<DType> r = scalar::result_type(op, two);
  if (!r.ok()) return r.take_error();
  return Ok{};
}

Types infer_reduce(const Node& node) {
  const Type& in = node.operand()->type;
  TERN_TRY(check_fold(node));
  std::vector<bool> gone(in.shape.size());
  for (int64_t a : node.ints("axes")) {
    TERN_TRY(check_axis(node, a, in.rank()));
    if (gone[static_cast<size_t>(a)])
      return error("The attribute 'axes' of 'reduce' names axis {} twice.", a);
    gone[static_cast<size_t>(a)] = true;
  }
  Shape shape;
  for (size_t i = 0; i < gone.size(); ++i)
    if (!gone[i]) shape.push_back(in.shape[i]);
  return one(in.dtype, std::move(shape));
}

Types infer_arg_reduce(const Node& node) {
  const Type& in = node.operand()->type;
  const int64_t axis = node.int_attr("axis");
  TERN_TRY(check_axis(node, axis, in.rank()));
  const DType dtype = node.attr<DType>("dtype");
  if (!is_int(dtype)) return error("The result type ({}) of 'arg_reduce' is no integer.", dtype_name(dtype));
  if (!is_int(in.dtype) && !is_float(in.dtype))
    return error("'arg_reduce' does not accept operands of type {}.", dtype_name(in.dtype));
  Shape shape = in.shape;
  shape.erase(shape.begin() + axis);
  return one(dtype, std::move(shape));
}

Types infer_scan(const Node& node) {
  const Type& in = node.operand()->type;
  TERN_TRY(check_fold(node));
  TERN_TRY(check_axis(node, node.int_attr("axis"), in.rank()));
  return one(in.dtype, in.shape);
}

Types infer_dot(const Node& node) {
  const Type &a = node.operand(0)->type, &b = node.operand(1)->type;
  TERN_ASSIGN(const DType dtype, contraction_type(node));
  const size_t rank = a.shape.size();
  if (rank < 2 || b.shape.size() != rank)
    return error("'dot' of {} and {} needs operands of one rank, at least 2.", a.text(), b.text());
  if (a.shape[rank - 1] != b.shape[rank - 2])
    return error("'dot' of {} and {} contracts {} with {}.", a.text(), b.text(), a.shape[rank - 1].text(),
                 b.shape[rank - 2].text());
  Shape shape;
  for (size_t i = 0; i + 2 < rank; ++i) {
    const Dim &x = a.shape[i], &y = b.shape[i];
    if (x != y && x != Dim(1) && y != Dim(1))
      return error("'dot' of {} and {} has the batch sizes {} and {}, which differ and neither is 1.",
                   a.text(), b.text(), x.text(), y.text());
    shape.push_back(x == Dim(1) ? y : x);
  }
  shape.push_back(a.shape[rank - 2]);
  shape.push_back(b.shape[rank - 1]);
  return one(dtype, std::move(shape));
}

struct WindowAxis {
  Dim size, window;
  int64_t stride, low, high, dilation, lhs_dilation;
};

Result<Dim> window_extent(const Node& node, const WindowAxis& w) {
  if (w.stride < 1 || w.dilation < 1 || w.lhs_dilation < 1)
    return error(
        "The strides and dilations of '{}' must be at least 1 (stride {}, dilation {}, lhs_dilation {}).",
        info(node.kind).name, w.stride, w.dilation, w.lhs_dilation);
  const Dim spread = (w.size - Dim(1)) * Dim(w.lhs_dilation) + Dim(1);
  const Dim reach = (w.window - Dim(1)) * Dim(w.dilation) + Dim(1);
  const Dim out = floordiv(spread + Dim(w.low) + Dim(w.high) - reach, Dim(w.stride)) + Dim(1);
  if (out.is_const() && out.value() < 0)
    return error("The window of '{}' (extent {}) exceeds the padded operand (extent {}).",
                 info(node.kind).name, reach.text(), (spread + Dim(w.low) + Dim(w.high)).text());
  return out;
}

Types infer_conv(const Node& node) {
  const Type &x = node.operand(0)->type, &w = node.operand(1)->type;
  TERN_ASSIGN(const DType dtype, contraction_type(node));
  if (x.rank() < 2 || w.rank() != x.rank())
    return error("'conv' of {} and {} needs operands of one rank, at least 2.", x.text(), w.text());
  const size_t spatial = x.shape.size() - 2;
  for (const char* name : {"strides", "low", "high", "dilations", "lhs_dilations"})
    TERN_TRY(check_length(node, name, node.ints(name).size(), spatial));
  if (const Attr* fill = node.find("pad_value"); fill && !is_int(x.dtype))
    return error("The attribute 'pad_value' ({}) of 'conv' needs an integer operand ({}).",
                 std::get<int64_t>(*fill), x.text());
  const int64_t groups = node.int_attr("groups");
  if (groups < 1) return error("The attribute 'groups' ({}) of 'conv' is less than 1.", groups);
  if (x.shape[1] != w.shape[1] * Dim(groups))
    return error("'conv' of {} and {} with {} groups: the operand has {} channels and the weights need {}.",
                 x.text(), w.text(), groups, x.shape[1].text(), (w.shape[1] * Dim(groups)).text());
  if (mod(w.shape[0], Dim(groups)) != Dim(0))
    return error("'conv' has {} output channels, which {} groups do not divide.", w.shape[0].text(), groups);
  Shape shape = {x.shape[0], w.shape[0]};
  for (size_t i = 0; i < spatial; ++i) {
    TERN_ASSIGN(const Dim d, window_extent(node, {x.shape[i + 2], w.shape[i + 2], node.ints("strides")[i],
                                                  node.ints("low")[i], node.ints("high")[i],
                                                  node.ints("dilations")[i], node.ints("lhs_dilations")[i]}));
    shape.push_back(d);
  }
  return one(dtype, std::move(shape));
}

Types infer_window(const Node& node) {
  const Type& in = node.operand()->type;
  if (node.kind == OpKind::kReduceWindow) TERN_TRY(check_fold(node));
  for (const char* name : {"window", "strides", "low", "high", "dilations"})
    TERN_TRY(check_length(node, name, node.ints(name).size(), in.shape.size()));
  Shape shape;
  for (size_t i = 0; i < in.shape.size(); ++i) {
    TERN_ASSIGN(const Dim d, window_extent(node, {in.shape[i], Dim(node.ints("window")[i]),
                                                  node.ints("strides")[i], node.ints("low")[i],
                                                  node.ints("high")[i], node.ints("dilations")[i], 1}));
    shape.push_back(d);
  }
  DType dtype = node.kind == OpKind::kReduceWindow ? in.dtype : DType::kI64;
  if (const Attr* told = node.find("accumulate")) {
    const DType wide = std::get<DType>(*told);
    if (!is_float(dtype) || !is_float(wide) || dtype_bits(wide) <= dtype_bits(dtype))
      return error("'reduce_window' of {} cannot accumulate in {}.", in.text(), dtype_name(wide));
    dtype = wide;
  }
  return one(dtype, std::move(shape));
}

}  // namespace

Result<DType> contraction_type(const Node& node) {
  const DType a = node.operand(0)->type.dtype, b = node.operand(1)->type.dtype;
  if (const Attr* told = node.find("accumulate")) {
    const DType to = std::get<DType>(*told);
    if ((is_float(to) && is_float(a) && a == b) || (is_int(to) && is_int(a) && is_int(b))) return to;
    return error("'{}' of {} and {} cannot accumulate in {}.", info(node.kind).name, dtype_name(a),
                 dtype_name(b), dtype_name(to));
  }
  if (is_int(a) && is_int(b)) {
    const bool narrow = dtype_bits(a) < 32 && dtype_bits(b) < 32;
    if (narrow || (a == DType::kI32 && b == DType::kI32)) return DType::kI32;
    if (a == b) return a;
  } else if (a == b && (is_float(a) || is_complex(a))) {
    return a;
  }
  return error("'{}' does not accept operands of type {} and {}.", info(node.kind).name, dtype_name(a),
               dtype_name(b));
}

Types infer_nn(const Node& node) {
  switch (node.kind) {
    case OpKind::kReduce:
      return infer_reduce(node);
    case OpKind::kArgReduce:
      return infer_arg_reduce(node);
    case OpKind::kScan:
      return infer_scan(node);
    case OpKind::kDot:
      return infer_dot(node);
    case OpKind::kConv:
      return infer_conv(node);
    case OpKind::kReduceWindow:
    case OpKind::kArgReduceWindow:
      return infer_window(node);
    default:
      TERN_UNREACHABLE();
  }
}

}  // namespace tern::graph
