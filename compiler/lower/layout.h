// Layout: where a value's elements lie in its buffer. Not part of a graph type: lowering assigns one to each
// value of a program.
//
// `order` lists logical dimensions from outermost to innermost in memory: {0,1,2,3} is dense ONNX order
// (NCHW), {0,2,3,1} channels-last. Dense in that order, no padding. Packed weights are not values with a
// layout but constants with an encoding of their own (packing.h).
#pragma once

#include <vector>

#include "compiler/support/dim.h"

namespace tern::lower {

struct Layout {
  std::vector<int> order;

  static Layout dense(int rank);
  static Layout channels_last(int rank);  // N, spatial…, C; dense below rank 3
  bool is_dense() const;
  bool operator==(const Layout&) const = default;
  // Elements between neighbours along each logical dimension.
  std::vector<Dim> strides(const Shape& shape) const;
};

}  // namespace tern::lower
