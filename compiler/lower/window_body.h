// What a contraction in parts of the picture (window_parts.h) reads and in which order: a block of rows is a
// run of a rectangle's pixels, and its register tiles go through the taps inside.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "compiler/lower/contraction_access.h"
#include "compiler/lower/contraction_kernel.h"
#include "compiler/lower/window_parts.h"

namespace tern::lower {

// Pixels of the operand as they lie, channels side by side: where one begins, from line to line, and from
// pixel to pixel.
struct PixelPlaces {
  kernel::Buffer buffer;
  std::function<kernel::Expr(const kernel::Expr& image, const kernel::Expr& iy, const kernel::Expr& ix)> at;
  int64_t line = 0, pixel = 0;
};
// `index_of`: of channel `lane` of a pixel. Nothing where channels, lines or pixels do not lie so.
std::optional<PixelPlaces> pixel_places(
    const ContractionAccess& access, const kernel::Var& lane,
    const std::function<std::vector<kernel::Expr>(const kernel::Expr& image, const kernel::Expr& iy,
                                                  const kernel::Expr& ix)>& index_of);

// Sets A, begin_block and for_taps of the operands. `table`: window_table(windows.blocks). The result gives
// the number of the output's pixel, of all images, that a row of a block is.
std::function<kernel::Expr(const kernel::Expr& row)> take_windows(
    const WindowSchedule& windows, const PixelPlaces& places, const ConvGeometry& geometry,
    const kernel::Buffer& table, const kernel::Expr& image, kernel::ParamTable& params,
    ContractionOperands& operands);

}  // namespace tern::lower
