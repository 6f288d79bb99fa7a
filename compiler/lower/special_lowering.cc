#include <algorithm>

#include "compiler/lower/gpu/choices.h"
#include "compiler/lower/gpu/scatter_lowering.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/special_dispatch.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

void lower_top_k(Node& node, BlockLowering& block) {
  const Value* in = node.operand();
  const auto axis = static_cast<size_t>(node.int_attr("axis"));
  const Shape& shape = in->type.shape;
  const Dim outer = range_product(shape, 0, axis), inner = range_product(shape, axis + 1, shape.size());
  place_dense(block, node.result(0));
  place_dense(block, node.result(1));
  SpecialDispatch d(block, node);
  d.bind_input(node.operand());
  d.bind_output(node.result(0));
  d.bind_output(node.result(1));
  const int workspace =
      block.context().add_temporary("top_k workspace", DType::kI64, outer * inner * shape[axis] * 2);
  d.bind(workspace, kernel::Access::kReadWrite);
  d.finish("top_k", [&](const SpecialMachine& machine) {
    return top_k_kernel(in->type.dtype, outer, shape[axis], inner, node.result(0)->type.shape[axis],
                        node.bool_attr("largest"), machine, d.params());
  });
}

void lower_scatter(Node& node, BlockLowering& block) {
  const Value* out = node.result();
  place_dense(block, out);
  if (block.put_rows(node)) return;
  block.begin_with(node.operand(), out);
  if (is_gpu(block.context().target().arch)) return gpu::lower_scatter(node, block);
  SpecialDispatch d(block, node);
  d.bind_output(out, kernel::Access::kReadWrite);
  d.bind_input(node.operand(1));
  d.bind_input(node.operand(2));
  const DType dtype = out->type.dtype, index_type = node.operand(1)->type.dtype;
  const Shape &data = out->type.shape, &indices = node.operand(1)->type.shape;
  const std::string& reduction = node.str("reduction");
  const bool elements = node.kind == OpKind::kScatterElements;
  d.finish(elements ? "scatter_elements" : "scatter_nd", [&](const SpecialMachine& machine) {
    return elements ? scatter_elements_kernel(dtype, index_type, data, indices,
                                              static_cast<int>(node.int_attr("axis")), reduction, d.params())
                    : scatter_nd_kernel(dtype, index_type, data, indices, reduction, machine, d.params());
  });
}

void lower_nonzero(Node& node, BlockLowering& block) {
  const Value* in = node.operand();
  place_dense(block, node.result(1));
  {
    SpecialDispatch d(block, node);
    d.bind_input(node.operand());
    d.bind_output(node.result(1));
    d.finish("nonzero_count", [&](const SpecialMachine&) {
      return nonzero_count_kernel(in->type.dtype, in->type.shape, d.params());
    });
  }
  read_count(node, 1, block);
  place_dense(block, node.result(0));
  SpecialDispatch d(block, node);
  d.bind_input(node.operand());
  d.bind_output(node.result(0));
  const Dim count = node.result(0)->type.shape[1];
  d.finish("nonzero", [&](const SpecialMachine&) {
    return nonzero_kernel(in->type.dtype, in->type.shape, count, d.params());
  });
}

void lower_unique(Node& node, BlockLowering& block) {
  const Value* in = node.operand();
  const Dim n = in->type.shape[0];
  LoweringContext& context = block.context();
  SpecialDispatch d(block, node);
  d.bind_input(node.operand());
  for (int r = 0; r < 5; ++r) {
    const Value* v = node.result(r);
    if (!context.has_place(v)) context.set_place(v, bounded_place(block, v, r == 4 ? Dim(1) : n));
    d.bind_output(v);
  }
  d.bind(context.add_temporary("unique workspace", DType::kI64, n * 2), kernel::Access::kReadWrite);
  d.finish("unique", [&](const SpecialMachine& machine) {
    return unique_kernel(in->type.dtype, n, node.bool_attr("sorted"), machine, d.params());
  });
}

void lower_nms(Node& node, BlockLowering& block) {
  LoweringContext& context = block.context();
  const Shape& scores = node.operand(1)->type.shape;
  const int thresholds = nms_thresholds(node, block);
  SpecialDispatch d(block, node);
  d.bind_input(node.operand(0));
  d.bind_input(node.operand(1));
  d.bind_input(node.operand(2));
  d.bind(thresholds, kernel::Access::kRead);
  const Dim room = product(scores) * 3;
  if (!context.has_place(node.result(0)))
    context.set_place(node.result(0), bounded_place(block, node.result(0), room));
  place_dense(block, node.result(1));
  d.bind_output(node.result(0));
  d.bind_output(node.result(1));
  d.bind(context.add_temporary("nms workspace", DType::kI64, scores[2] * 2), kernel::Access::kReadWrite);
  d.bind(context.add_temporary("nms boxes", DType::kF32, scores[2] * 5), kernel::Access::kReadWrite);
  d.finish("nms", [&](const SpecialMachine& machine) {
    return nms_kernel(scores[0], scores[1], scores[2],
                      {node.bool_attr("center_point_box"), node.operands.size() > 4}, machine, d.params());
  });
}

}  // namespace

bool lower_special(Node& node, BlockLowering& block) {
  const bool known = node.kind == OpKind::kTopK || node.kind == OpKind::kScatterElements ||
                     node.kind == OpKind::kScatterNd || node.kind == OpKind::kNonZero ||
                     node.kind == OpKind::kUnique || (node.kind == OpKind::kNms && node.operands.size() > 3);
  if (!known) return false;
  if (!block.context().diagnostics().ok()) return true;
  const bool gpu = is_gpu(block.context().target().arch);
  switch (node.kind) {
    case OpKind::kTopK:
      if (gpu && gpu::lower_top_k(node, block)) break;
      lower_top_k(node, block);
      break;
    case OpKind::kNonZero:
      if (gpu && gpu::lower_nonzero(node, block)) break;
      lower_nonzero(node, block);
      break;
    case OpKind::kUnique:
      if (gpu && gpu::lower_unique(node, block)) break;
      lower_unique(node, block);
      break;
    case OpKind::kNms:
      if (gpu && gpu::lower_nms(node, block)) break;
      lower_nms(node, block);
      break;
    default:
      lower_scatter(node, block);
  }
  return true;
}

}  // namespace tern::lower
