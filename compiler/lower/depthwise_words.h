// A depthwise convolution's window on bytes where they are multiplied as pairs of words of 16 bits
// (ByteProducts::kPairs on x86-64): bytes of two neighbouring input columns are interleaved, two vectors of
// channels at once, widened, and meet two taps.
#pragma once

#include <array>
#include <map>
#include <vector>

#include "compiler/lower/depthwise_kernel.h"

namespace tern::lower {

class DepthwiseWords {
 public:
  using Sums = std::array<kernel::Var, 2>;  // of an output: i32 x lanes each
  struct Place {
    kernel::Expr image, iy, ix0,
        c;  // input row, its column under the first tap of the first output, channels
  };

  static bool suits(const DepthwiseShape& shape, const MachineModel& machine);
  DepthwiseWords(const DepthwiseShape& shape, const DepthwiseOperands& operands, int lanes);

  // The weights of 2 * lanes channels from c on, widened on the stack.
  std::vector<kernel::Stmt> prepare(const kernel::Expr& c);
  // One row of the window, for neighbouring outputs whose windows lie inside the input; for one output whose
  // window may leave it to the left or right of `width` columns; where the row is padding.
  std::vector<kernel::Stmt> whole(const std::vector<Sums>& acc, int64_t ky, const Place& at) const;
  std::vector<kernel::Stmt> guarded(const Sums& acc, int64_t ky, const Place& at,
                                    const kernel::Expr& width) const;
  std::vector<kernel::Stmt> outside(const std::vector<Sums>& acc, int64_t ky) const;
  // i32 x 2 * lanes.
  kernel::Expr joined(const Sums& acc) const;

 private:
  using Pixel = std::function<kernel::Expr(int64_t offset)>;  // u8 x 2 * lanes

  int64_t pairs(int64_t shift) const { return 2 * DepthwiseBytes::groups(s_, shift); }
  bool has_taps(int64_t shift, int64_t pair) const;
  kernel::Expr at(int64_t ky, int64_t shift, int64_t pair, int half) const;
  std::vector<kernel::Stmt> row(const std::vector<Sums>& acc, int64_t ky, const Pixel& pixel) const;
  kernel::Stmt accumulate(const kernel::Var& acc, const kernel::Expr& x, const kernel::Expr& w) const;

  const DepthwiseShape& s_;
  const DepthwiseOperands& o_;
  const int lanes_;
  kernel::Buffer taps_;
};

}  // namespace tern::lower
