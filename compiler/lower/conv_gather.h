// Gathering the windows of a convolution's output pixels into rows of worker scratch: A of the implicit GEMM,
// one block at a time, so no im2col buffer ever exists. Three spatial dimensions; a convolution of fewer has
// depth 1 and height 1.
#pragma once

#include <functional>

#include "compiler/kernel/ir.h"

namespace tern::lower {

struct ConvGeometry {
  Dim images, height, width, out_height, out_width;
  int64_t channels = 1;  // input channels of one group
  int64_t window_h = 1, window_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  Dim depth = 1, out_depth = 1;
  int64_t window_d = 1, stride_d = 1, dilation_d = 1, pad_front = 0;
};

struct ConvSource {
  DType type = DType::kF32;  // of pixels and of the block
  int64_t padding = 0;       // what lies around the input
  // `lanes` channels from c of input pixel (iz, iy, ix), which is in range.
  std::function<kernel::Expr(const kernel::Expr& image, const kernel::Expr& iz, const kernel::Expr& iy,
                             const kernel::Expr& ix, const kernel::Expr& c, int lanes)>
      pixel;
  // Channels of neighbouring pixels of a row follow each other in memory: a run may cross pixels (first
  // layers with 3 channels).
  bool rows_contiguous = false;
};

// Elements behind the block's last row that a gathering may overwrite: rows are filled in order, by vectors
// that reach into what is written next.
inline constexpr int64_t kGatherSlack = 64;

// Fills block[i * row_stride + (k - k0)] for output pixels row0.. row0+rows-1 and k0 <= k < k0+depth, k =
// (kz, ky, kx, c) row-major. block_depth is the static block size: a multiple of the channels, or a divisor
// of them, or all of k; then up to row_stride what follows k is 0.
std::vector<kernel::Stmt> gather_windows(const ConvGeometry& geometry, const ConvSource& source,
                                         int64_t block_depth, int lanes, const kernel::Buffer& block,
                                         const kernel::Expr& row0, const kernel::Expr& rows,
                                         const kernel::Expr& k0, const kernel::Expr& depth,
                                         int64_t row_stride, kernel::ParamTable& params);

// Lines [begin, end) of the windows of such output pixels, at least one, beside which all lines of all of
// them lie outside of the input. Of pictures.
struct WindowLines {
  kernel::Expr begin, end;
};
WindowLines lines_inside(const ConvGeometry& geometry, const kernel::Expr& row0, const kernel::Expr& rows,
                         kernel::ParamTable& params);
// The share of lines of all windows that lie outside: of pictures of known size, else 0.
double share_outside(const ConvGeometry& geometry);
// Lines of windows that lie outside of the picture for all rows of a block are left out where so large a
// share of them does, and blocks of the depth are so long.
inline constexpr double kOutsideWorth = 0.125;
inline constexpr int64_t kLeastLineDepth = 64;

// Statements that call emit(offset, lanes) for runs covering 0..count-1: whole vectors, then halves down to
// single elements.
std::vector<kernel::Stmt> vector_run(
    int64_t count, int lanes,
    const std::function<std::vector<kernel::Stmt>(const kernel::Expr& offset, int lanes)>& emit);

}  // namespace tern::lower
