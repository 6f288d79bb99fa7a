#include "compiler/lower/place.h"

#include <algorithm>

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;

Place transpose_place(const std::vector<int64_t>& perm, const Place& base) {
  Place out{base.buffer, base.offset, {}, {}};
  std::vector<int> inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) {
    out.strides.push_back(base.strides[static_cast<size_t>(perm[i])]);
    inverse[static_cast<size_t>(perm[i])] = static_cast<int>(i);
  }
  for (const int d : base.layout.order) out.layout.order.push_back(inverse[static_cast<size_t>(d)]);
  return out;
}

Place slice_place(const Node& node, const Place& base) {
  Place out = base;
  const std::vector<Dim>& starts = node.dims("starts");
  const std::vector<int64_t>& steps = node.ints("steps");
  for (size_t d = 0; d < starts.size(); ++d) {
    out.offset = out.offset + starts[d] * base.strides[d];
    out.strides[d] = base.strides[d] * Dim(steps[d]);
  }
  return out;
}

Place broadcast_place(const Node& node, const Place& base) {
  const Shape& from = node.operand()->type.shape;
  const Shape& to = node.result()->type.shape;
  const size_t lead = to.size() - from.size();
  Place out{base.buffer, base.offset, {}, {}};
  for (size_t d = 0; d < to.size(); ++d) {
    const bool same = d >= lead && from[d - lead] == to[d];
    out.strides.push_back(same ? base.strides[d - lead] : Dim(0));
    if (d < lead) out.layout.order.push_back(static_cast<int>(d));
  }
  for (const int d : base.layout.order) out.layout.order.push_back(d + static_cast<int>(lead));
  return out;
}

// Old dimensions [i0, i1) and new ones [j0, j1) of equal product, as small as possible.
struct Group {
  size_t i0, i1, j0, j1;
};

std::vector<Group> matching_groups(const Shape& from, const Shape& to) {
  std::vector<Group> out;
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    Group best{i, from.size(), j, to.size()};
    bool found = false;
    Dim a = 1;
    for (size_t i1 = i; i1 <= from.size() && !found; ++i1) {
      if (i1 > i) a = a * from[i1 - 1];
      Dim b = 1;
      for (size_t j1 = j; j1 <= to.size(); ++j1) {
        if (j1 > j) b = b * to[j1 - 1];
        if (i1 == i && j1 == j) continue;
        if (a != b) continue;
        best = {i, i1, j, j1};
        found = true;
        break;
      }
    }
    out.push_back(best);
    i = best.i1;
    j = best.j1;
  }
  return out;
}

std::optional<Place> reshape_place(const Shape& from, const Shape& to, const Place& base) {
  Place out{base.buffer, base.offset, std::vector<Dim>(to.size()), {}};
  std::vector<int> position(from.size());
  for (size_t p = 0; p < base.layout.order.size(); ++p)
    position[static_cast<size_t>(base.layout.order[p])] = static_cast<int>(p);
  struct Key {
    int position;
    int dim;
  };
  std::vector<Key> keys;
  for (const Group& g : matching_groups(from, to)) {
    Dim inner = 0;
    Dim next = 0;  // what the next outer old dimension's stride must be
    int at = g.i0 < from.size() ? position[g.i0] : static_cast<int>(from.size());
    bool any = false;
    for (size_t i = g.i1; i-- > g.i0;) {
      if (from[i].is_const(1)) continue;
      if (any && base.strides[i] != next) return std::nullopt;
      if (!any) inner = base.strides[i];
      any = true;
      at = position[i];
      next = base.strides[i] * from[i];
    }
    Dim stride = inner;
    for (size_t j = g.j1; j-- > g.j0;) {
      out.strides[j] = stride;
      stride = stride * to[j];
    }
    for (size_t j = g.j0; j < g.j1; ++j) keys.push_back({at, static_cast<int>(j)});
  }
  std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) {
    return a.position != b.position ? a.position < b.position : a.dim < b.dim;
  });
  for (const Key& k : keys) out.layout.order.push_back(k.dim);
  return out;
}

}  // namespace

Place dense_place(int buffer, const Layout& layout, const Shape& shape) {
  return {buffer, 0, layout.strides(shape), layout, 1, 0};
}

namespace {

std::optional<Place> strided_view(const Node& node, const Place& base) {
  switch (node.kind) {
    case OpKind::kTranspose:
      return transpose_place(node.ints("perm"), base);
    case OpKind::kSlice:
      return slice_place(node, base);
    case OpKind::kBroadcast:
      return broadcast_place(node, base);
    case OpKind::kReshape:
      return reshape_place(node.operand()->type.shape, node.result()->type.shape, base);
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<Place> view_place(const Node& node, const Place& base) {
  std::optional<Place> out = strided_view(node, base);
  if (out) {
    out->planes = base.planes;
    out->plane = base.plane;
  }
  return out;
}

std::optional<Place> place_below(const Node& view, const Place& result) {
  if (view.kind == OpKind::kReshape)
    return reshape_place(view.result()->type.shape, view.operand()->type.shape, result);
  if (view.kind != OpKind::kTranspose) return std::nullopt;
  const std::vector<int64_t>& perm = view.ints("perm");
  std::vector<int64_t> inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return transpose_place(inverse, result);
}

std::optional<Layout> layout_below(const Node& reshape, const Layout& wanted) {
  const Shape& shape = reshape.operand()->type.shape;
  const auto below = place_below(reshape, dense_place(0, wanted, reshape.result()->type.shape));
  if (!below || !is_contiguous(*below, shape)) return std::nullopt;
  const auto view = view_place(reshape, dense_place(0, below->layout, shape));
  return view && view->layout == wanted ? std::optional(below->layout) : std::nullopt;
}

Place sub_place(const Place& whole, int axis, Dim start) {
  Place out = whole;
  out.offset = out.offset + start * whole.strides[static_cast<size_t>(axis)];
  return out;
}

bool is_contiguous(const Place& place, const Shape& shape) {
  Dim stride = 1;
  for (size_t i = place.layout.order.size(); i-- > 0;) {
    const auto d = static_cast<size_t>(place.layout.order[i]);
    if (shape[d].is_const(1)) continue;
    if (place.strides[d] != stride) return false;
    stride = stride * shape[d];
  }
  return true;
}

}  // namespace tern::lower
