// Whether a 3 x 3 convolution of stride 1 or 2 runs by Winograd's algorithm (winograd_kernel.h), with which
// output tile, and in which blocks: a cost model of both ways from shapes and the machine model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/conv_gather.h"

namespace tern::lower {

// Sizes for the cost model; symbolic ones count with their symbols' hints.
struct WinogradShape {
  int64_t images = 1, out_height = 1, out_width = 1, channels = 1, columns = 1;
  bool is_static = true;  // all of them
  int stride = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  double multiplied = 1;                               // the part of all taps that the direct way multiplies
  std::optional<ConvGeometry> windows = std::nullopt;  // where it may leave the others out (window_parts.h)

  // Patches: those of one phase of a dilation, then of the next. A dilated convolution is so many of
  // neighbouring pixels as it has phases.
  int64_t patches(int side) const;
};

// Phases of a line of so many outputs.
Dim winograd_phases(const Dim& outputs, int64_t dilation);

struct WinogradSchedule {
  int outputs = 4;              // a patch gives outputs x outputs pixels
  ContractionSchedule product;  // of one point: rows are patches, block_rows of them a tile of the grid
  double cycles = 0;            // predicted, for the whole convolution on one core
  std::string text() const;     // "winograd 4x4; tile 12x2x16, block 24x64x64"
};

// The best blocks; nullopt when a tile of the grid would not fit the L2 cache.
std::optional<WinogradSchedule> winograd_schedule(const WinogradShape& shape, int outputs,
                                                  const MachineModel& machine);

// The side of the output square (winograd_sides) that is predicted to be fastest, and clearly faster than the
// direct way, on these machines (a dispatch's levels share their weights); 0 when none is.
int choose_winograd(const WinogradShape& shape, const std::vector<const MachineModel*>& machines);

}  // namespace tern::lower
