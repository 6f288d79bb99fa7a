// A convolution of pictures in parts whose windows meet the same taps inside of the picture: rectangles of
// the result, of which each is a contraction over those taps alone. Nothing is multiplied that lies outside,
// and nothing is gathered: tap (ky, kx) of a part's pixels is read where it lies, at one distance from all of
// them. What convolutions of large dilations (pyramid pooling) mostly multiply by is padding.
//
// Part of contraction_kernel.h's loops: a block of rows is a run of a rectangle's pixels, and a register tile
// goes through the taps. Tests: window_parts_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/conv_gather.h"
#include "compiler/lower/few_columns.h"
#include "compiler/support/tensor_data.h"

namespace tern::lower {

// Outputs [begin, end) of an axis, whose windows have taps [first_tap, end_tap) inside.
struct AxisPart {
  int64_t begin = 0, end = 0, first_tap = 0, end_tap = 0;
};
std::vector<AxisPart> axis_parts(int64_t inputs, int64_t outputs, int64_t window, int64_t stride,
                                 int64_t dilation, int64_t pad);

// Pixels first .. first + rows - 1 of a rectangle, counted line by line.
struct WindowBlock {
  AxisPart y, x;
  int64_t first = 0, rows = 0;
};

struct WindowSchedule {
  // The register tile, and blocks: rows of the largest one, columns, and the depth, channels of a tap.
  ContractionSchedule product;
  std::optional<FewColumns> few = std::nullopt;  // its tiles instead of panels'
  std::vector<WindowBlock> blocks;               // of one image
  double cycles = 0;                             // of all images and groups
  std::string text() const;
};

// Of pictures of known size; nothing for volumes, and where windows are so many taps that parts are single
// pixels.
std::optional<WindowSchedule> window_schedule(const ConvGeometry& geometry, int64_t columns, int64_t batch,
                                              const MachineModel& machine);

// The table that the kernel reads: kWindowWords a block.
enum WindowWord : uint8_t {
  kWindowTop,
  kWindowLeft,
  kWindowWidth,
  kWindowFirst,
  kWindowRows,
  kWindowTapY,
  kWindowTapsY,
  kWindowTapX,
  kWindowTapsX,
  kWindowWords
};
TensorDataPtr window_table(const std::vector<WindowBlock>& blocks);

}  // namespace tern::lower
