// Folds over windows in two passes: all rows of a window first, along whole lines of the operand, into
// scratch memory, where what pads them lies beside; then along the line. A window of 7 x 7 folds 14 elements
// instead of 49, loads follow each other, and nothing asks whether a tap lies inside. See
// line_folds_test.cc.
#pragma once

#include <optional>

#include "compiler/lower/nest_axes.h"
#include "compiler/lower/window_loops.h"

namespace tern::lower {

struct LineFolds {
  size_t axis = 0;       // of the nest: the last one along which windows move; a line's outputs
  bool columns = false;  // another axis lies inside it (channels), along which vectors run
  int64_t most = 0;      // outputs at once
  int64_t cost = 0;      // operations of a vector of outputs
};

// Whether folds by lines take fewer operations than tap by tap, and how. `lanes`: of a vector.
std::optional<LineFolds> choose_line_folds(const graph::Node& root, const WindowGeometry& geometry,
                                           const std::vector<NestAxis>& axes, int lanes);

// The outputs `range` of the lines `rows` of the axis outside (null: its coordinate is given), at the
// coordinates of the axes outside, stored.
std::vector<kernel::Stmt> fold_lines(ElementEmitter& emitter, const graph::Node& root,
                                     const WindowGeometry& geometry, const std::vector<NestAxis>& axes,
                                     const LineFolds& lines, std::vector<kernel::Expr> coordinates,
                                     const AxisRange* rows, const AxisRange& range, int lanes);

}  // namespace tern::lower
