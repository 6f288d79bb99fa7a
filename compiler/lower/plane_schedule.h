// A convolution by planes (plane_conv.h) as numbers: its axes, how planes lie in scratch, which outputs a
// register tile has, and what that takes beside products with channels innermost.
#pragma once

#include <cstdint>
#include <optional>

#include "compiler/graph/ir.h"
#include "compiler/lower/target.h"

namespace tern::lower {

// Outputs along an axis are counted by places: `up` neighbours that belong to one input (1, or a transposed
// convolution's step). Place i reads inputs i * stride - before + offset, 0 <= offset < reach().
struct PlaneAxis {
  int64_t extent = 1, outputs = 1, window = 1;  // inputs; outputs; taps
  int64_t stride = 1, dilation = 1, up = 1;
  int64_t low = 0;     // padding in front, of the transposed convolution's dilated inputs
  int64_t before = 0;  // the same in inputs

  // Of a convolution's attributes.
  static PlaneAxis of(int64_t extent, int64_t outputs, int64_t window, int64_t stride, int64_t dilation,
                      int64_t up, int64_t low);

  int64_t places() const;
  int64_t reach() const;
  // Which tap output `phase` of a place meets at an offset, or -1.
  int64_t tap(int64_t phase, int64_t offset) const;
  // All of them, of a phase of an upper axis: taps first, first + up, … at offsets from `offset` on,
  // `dilation` apart.
  struct Taps {
    int64_t first = 0, count = 0, offset = 0;
  };
  Taps taps(int64_t phase) const;
  bool is_pointwise() const { return reach() == 1 && stride == 1 && before == 0 && places() == extent; }
};

struct PlaneShape {
  Dim images;
  int64_t groups = 1, inputs = 1, outputs = 1;  // channels of a group
  PlaneAxis d, h, w;

  int64_t taps() const { return d.window * h.window * w.window; }
  int64_t ups() const { return d.up * h.up * w.up; }
  bool is_pointwise() const { return d.is_pointwise() && h.is_pointwise() && w.is_pointwise(); }
};
// Nothing of what has too many channels or taps to take planes; any_plane_shape: of those, too.
std::optional<PlaneShape> plane_shape(const graph::Node& conv);
std::optional<PlaneShape> any_plane_shape(const graph::Node& conv);

// How a group's planes lie in scratch, and the tile of outputs in registers.
struct PlaneSchedule {
  int lanes = 1;
  int rows = 1, vectors = 1, outputs = 1;  // of a register tile; each has the phases of a line
  bool joined = true;                      // the tile has the phases of rows, too; else one after the other
  int64_t phases = 1, phase = 0;           // of a line of inputs: so many, each of so many elements
  int64_t band = 0, lines = 0;             // rows of places at once, the lines that they read
  int64_t strip = 0;                       // places of a line at once
  int64_t together = 1;                    // groups
  bool in_place = false;                   // points of which each is read once wait in no scratch
  double cycles = 0;                       // of a group of one image
  int64_t line() const { return phases * phase; }
  int64_t elements(const PlaneShape& s) const { return s.inputs * s.d.window * lines * line(); }
  int tile_outputs(const PlaneShape& s) const {
    return rows * vectors * outputs * static_cast<int>(s.w.up * (joined ? s.h.up : 1));
  }
};
// Lines of inputs that so many rows of places read.
int64_t lines_of(const PlaneShape& s, int64_t rows);
PlaneSchedule plane_schedule(const PlaneShape& s, const MachineModel& machine, DType sum);
// Whether scratch holds it.
bool fits_scratch(const PlaneShape& s, const PlaneSchedule& t);

// The same with channels innermost, operand and result in that order: cycles of a group of one image.
// `parts`: they may go by parts of the picture (window_parts.h).
double products_cycles(const PlaneShape& s, const MachineModel& machine, int lanes, bool parts = true);
// Bringing so many elements into the other order. Pixels whole pages apart share sets of the caches.
double turn_cycles(int64_t channels, int64_t pixels);

}  // namespace tern::lower
