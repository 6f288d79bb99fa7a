// One row of a depthwise convolution's window on bytes: what DepthwiseBytes (depthwise_kernel.h) describes.
#pragma once

#include <map>
#include <vector>

#include "compiler/lower/byte_product.h"
#include "compiler/lower/depthwise_kernel.h"

namespace tern::lower {

class DepthwiseByteRow {
 public:
  using Input = decltype(DepthwiseOperands::input);
  struct Place {
    int64_t ky;
    kernel::Expr iy, ix0, c,
        count;  // input row, its column under the first tap of the first output, channels
  };

  DepthwiseByteRow(const DepthwiseShape& shape, const DepthwiseBytes& bytes, const Input& input,
                   kernel::Expr image, int lanes, Place place)
      : s_(shape),
        bytes_(bytes),
        input_(input),
        image_(std::move(image)),
        lanes_(lanes),
        at_(std::move(place)) {}

  // Neighbouring outputs whose windows lie inside the input.
  std::vector<kernel::Stmt> whole(const std::vector<kernel::Var>& acc) const;
  // One output whose window may leave it to the left or right of `width` columns.
  std::vector<kernel::Stmt> guarded(const kernel::Var& acc, const kernel::Expr& width) const;
  // The row is padding.
  std::vector<kernel::Stmt> outside(const std::vector<kernel::Var>& acc) const;

 private:
  const DepthwiseShape& s_;
  const DepthwiseBytes& bytes_;
  const Input& input_;
  const kernel::Expr image_;
  const int lanes_;
  const Place at_;
};

}  // namespace tern::lower
