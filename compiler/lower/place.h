// Place: where a value's elements lie: a buffer, an offset and one stride a logical dimension, in elements. A
// view (transpose, slice, broadcast, most reshapes) of a value that has a place is another place over the
// same buffer: no copy, no kernel. Strides may be 0 (broadcast) or negative (a reversed slice).
#pragma once

#include <optional>
#include <vector>

#include "compiler/graph/ir.h"
#include "compiler/lower/layout.h"

namespace tern::lower {

struct Place {
  int buffer = -1;  // of LoweredProgram::buffers
  Dim offset;
  std::vector<Dim> strides;
  Layout layout;  // order of the logical dimensions in memory, outermost first
  // Every element is the sum of so many, each `plane` elements after the one before: what parts of a product
  // that share its depth left (split_products.h). Emitters add them up; nothing else may read such a place.
  int planes = 1;
  Dim plane = 0;
  // A constant that lies in the panels of a product (packing.h): this dimension runs across their columns,
  // and its stride holds from one panel's column to the next one's only on average. Only gathers along it
  // read such a place (shared_tables.h). -1: none.
  int panel_columns = -1;
};

Place dense_place(int buffer, const Layout& layout, const Shape& shape);
// The place of a view node's result when its operand lies at `base`; nullopt when the node is no view, or
// when its elements are not affine in memory.
std::optional<Place> view_place(const graph::Node& node, const Place& base);
// The other way round: where the operand of a transpose or reshape must lie for its result to lie at
// `result`; nullopt for other views, and where no strides say it.
std::optional<Place> place_below(const graph::Node& view, const Place& result);
// The order in which the operand of a reshape must be copied for its result to be a view of the copy in the
// order `wanted`, if there is one: for the dense order there is always.
std::optional<Layout> layout_below(const graph::Node& reshape, const Layout& wanted);
// The place of `part`'s elements inside a concatenation at `whole`: dimension `axis` starts at `start`.
Place sub_place(const Place& whole, int axis, Dim start);
// Whether the elements of a value of this shape fill consecutive memory in the layout's order.
bool is_contiguous(const Place& place, const Shape& shape);

}  // namespace tern::lower
