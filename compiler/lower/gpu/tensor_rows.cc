#include "compiler/lower/gpu/tensor_rows.h"

#include <algorithm>

#include "compiler/lower/gpu/chunks.h"

namespace tern::lower::gpu {

using kernel::Expr;
using kernel::int_const;

namespace {

bool suits(const Place& place, size_t along) {
  return place.offset.is_const() && place.offset.value() % kChunk == 0 && place.strides[along].is_const(1);
}

bool is_whole(const Dim& stride) {
  return mod(stride, kChunk).is_const(0);
}

}  // namespace

std::optional<TensorRows> rows_along(const graph::Value* value, size_t rows, size_t along,
                                     const RowIndex& index, DispatchBuilder& dispatch) {
  const Place& place = dispatch.context().place(value);
  const Shape& shape = value->type.shape;
  const Dim& count = shape[rows];
  if (!suits(place, along) || !count.is_const() || count.value() < 1 || !shape[along].is_const()) return {};
  TensorRows out;
  std::vector<size_t> others;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (d == rows || d == along || shape[d].is_const(1) || place.strides[d].is_const(0)) continue;
    others.push_back(d);
  }
  std::vector<size_t> order = others;
  order.push_back(rows);
  if (order.size() + 1 > kernel::kMostTensorAxes) return {};
  for (size_t d : order) {
    if (!is_whole(place.strides[d]) || place.strides[d].is_const(0)) return {};
    out.axes.push_back({dispatch.expr(shape[d]), dispatch.expr(place.strides[d])});
  }
  const kernel::Var row = kernel::make_var("row");
  const Index first = index(kernel::var_expr(row));
  if (first[rows]->kind != kernel::ExprKind::kVar || first[rows]->var != row) return {};
  out.axes.push_back({dispatch.expr(shape[along]), int_const(1)});
  out.buffer = dispatch.buffer_of(value);
  out.offset = place.offset.value();
  out.at = [index, others, rows](const Expr& at) {
    const Index start = index(at);
    std::vector<Expr> coordinates;
    for (size_t d : others) coordinates.push_back(start[d]);
    coordinates.push_back(start[rows]);
    return coordinates;
  };
  return out;
}

std::optional<TensorRows> rows_in_line(const graph::Value* value, size_t along, const RowIndex& index,
                                       DispatchBuilder& dispatch) {
  const Place& place = dispatch.context().place(value);
  const Shape& shape = value->type.shape;
  if (!suits(place, along) || !shape[along].is_const()) return {};
  std::vector<size_t> order;  // outermost first
  for (int d : place.layout.order) {
    const auto at = static_cast<size_t>(d);
    if (at != along && !shape[at].is_const(1)) order.push_back(at);
  }
  // A box is of neighbours in memory; what is copied, of neighbours in the logical order.
  if (!std::is_sorted(order.begin(), order.end())) return {};
  Dim count = 1;
  std::vector<Dim> inner(order.size(), Dim(1));  // rows of one step along that dimension
  for (size_t k = order.size(); k-- > 0;) {
    inner[k] = count;
    count = count * shape[order[k]];
    if (place.strides[order[k]] != place.strides[order.back()] * inner[k]) return {};
  }
  const Dim stride = order.empty() ? shape[along] : place.strides[order.back()];
  if (!is_whole(stride) || stride.is_const(0) || count.is_const(0)) return {};
  std::vector<Expr> steps;
  for (const Dim& step : inner) steps.push_back(dispatch.expr(step));
  TensorRows out;
  out.buffer = dispatch.buffer_of(value);
  out.offset = place.offset.value();
  out.axes = {{dispatch.expr(count), dispatch.expr(stride)}, {dispatch.expr(shape[along]), int_const(1)}};
  out.at = [index, order, steps](const Expr& row) {
    const Index start = index(row);
    Expr line = int_const(0);
    for (size_t k = 0; k < order.size(); ++k)
      line = kernel::add(line, kernel::mul(start[order[k]], steps[k]));
    return std::vector<Expr>{line};
  };
  return out;
}

kernel::Tensor panels_of(const TensorRows& rows, const char* name, int64_t box_rows) {
  auto node = std::make_shared<kernel::TensorNode>();
  node->name = name;
  node->buffer = rows.buffer;
  node->offset = rows.offset;
  node->axes = rows.axes;
  node->axes[node->axes.size() - 2].box = box_rows;
  node->axes.back().box = kPanel;
  node->swizzled = true;
  return node;
}

void copy_boxes(LoopWriter& w, const TensorRows& rows, const kernel::Tensor& tensor, const Expr& row,
                const Expr& first, int64_t width, const kernel::Buffer& to, const Expr& at,
                const Expr& counter) {
  std::vector<Expr> start = rows.at(row);
  start.push_back(first);
  for (int64_t panel = 0; panel * kPanel < width; ++panel) {
    start.back() = kernel::add(first, int_const(panel * kPanel));
    w.emit(kernel::tensor_copy(to, kernel::add(at, int_const(panel * tensor->box_elements())), tensor, start,
                               counter));
  }
}

}  // namespace tern::lower::gpu
