// Builds the kernel of a 3 x 3 convolution of stride 1 or 2 by Winograd's algorithm (winograd_transform.h).
// Of volumes, planes are convolved so and added up: the planes of a window are channels of its products.
// One tile of the grid takes `block_tiles` patches of the image and `block_columns` output channels:
//
//   for each patch              load (m+2) x (m+2) pixels of all channels, transform      -> scratch, by
//   point for each group of columns
//     for each of (m+2)^2 points  patches x channels times channels x columns             -> scratch
//     for each patch              transform back, then the region's epilogue, clipped at the image's edge
//
// The small products are the register tiles of contraction_kernel.h.
#pragma once

#include <functional>
#include <optional>

#include "compiler/kernel/ir.h"
#include "compiler/lower/conv_gather.h"
#include "compiler/lower/winograd_schedule.h"

namespace tern::lower {

// Of bytes (winograd_bytes.h): what lies around the image, and `lanes` columns from n of a step of four
// channels of a tap, i8 x 4 * lanes.
struct WinogradBytes {
  int64_t padding = 0;
  std::function<kernel::Expr(int64_t tap, const kernel::Expr& step, const kernel::Expr& n, int lanes)> weight;
};

struct WinogradOperands {
  // `lanes` channels from c of input pixel (iz, iy, ix), which is in range.
  std::function<kernel::Expr(const kernel::Expr& image, const kernel::Expr& iz, const kernel::Expr& iy,
                             const kernel::Expr& ix, const kernel::Expr& c, int lanes)>
      pixel;
  kernel::Buffer weights;                             // winograd_weights.h
  std::optional<WinogradBytes> bytes = std::nullopt;  // instead of weights
  bool finish_in_pairs = false;                       // ContractionOperands::finish_in_pairs
  // Stores the finished vector of channels n..n+lanes-1 of output pixel (oz, oy, ox); `count` (may be
  // null) limits it.
  std::function<std::vector<kernel::Stmt>(
      const kernel::Expr& image, const kernel::Expr& oz, const kernel::Expr& oy, const kernel::Expr& ox,
      const kernel::Expr& n, const kernel::Expr& value, int lanes, const kernel::Expr& count)>
      finish;
};

struct WinogradKernel {
  std::vector<kernel::GridAxis> grid;  // column blocks, tile blocks
  std::vector<kernel::Stmt> body;
};

// `geometry` has a 3 x 3 window (of any depth), in the plane strides of 1, or of 2 and dilations of 1;
// `columns`: output channels.
WinogradKernel build_winograd_kernel(const ConvGeometry& geometry, int64_t columns,
                                     const WinogradSchedule& schedule, bool has_fma,
                                     const WinogradOperands& operands, kernel::ParamTable& params);

}  // namespace tern::lower
