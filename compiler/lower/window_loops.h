// Loops over the taps of a sliding window, kept inside the operand: bounds are computed for the axes that are
// uniform over a vector, conditions stand for the vector's own axis.
#pragma once

#include <functional>

#include "compiler/lower/emitter.h"

namespace tern::lower {

struct WindowAxis {
  Dim extent;  // of the operand
  int64_t window = 1, stride = 1, low = 0, dilation = 1;
  int64_t lhs_dilation = 1;  // the operand's elements stand this far apart, zeros between
  bool inside = false;       // every tap of every output is an element of the operand
  int64_t high = 0;          // padding at the end
};
struct WindowGeometry {
  std::vector<WindowAxis> axes;
};

// For each tap inside the operand: body(operand coordinates, tap numbers). `output` holds the output's
// coordinates; `vector_dim` (or -1) is the axis that a vector runs along.
std::vector<kernel::Stmt> window_loops(
    const WindowGeometry& geometry, const Index& output, int vector_dim, DispatchBuilder& dispatch,
    const std::function<std::vector<kernel::Stmt>(const Index& at, const Index& tap)>& body);

}  // namespace tern::lower
