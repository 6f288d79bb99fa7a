// Builds the kernel of a depthwise convolution (one filter a channel) over channels-last activations: vectors
// run along the channels, a register tile holds several neighbouring output columns, and each input column is
// loaded once for all taps that read it. The same for small groups of channels, whose members are taken one
// after the other (`members`).
#pragma once

#include <functional>
#include <optional>

#include "compiler/kernel/ir.h"
#include "compiler/lower/target.h"

namespace tern::lower {

struct DepthwiseShape {
  Dim images, channels, height, width, out_height, out_width;
  int64_t window_h = 1, window_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t members = 1;  // inputs of each channel
};

// Rows of bytes: neighbouring input columns in groups of four, the four innermost, meet the weights four taps
// at a time. A group that begins at an even column serves two outputs of stride 1; `shift` says how far the
// window begins behind the group.
struct DepthwiseBytes {
  ByteProducts products = ByteProducts::kPairs;
  int64_t padding = 0;  // what lies around the input
  // i8 x 4 * lanes: the weights of window row ky that meet group `group` of a window at `shift`, for `lanes`
  // channels from c; whole vectors may be read.
  std::function<kernel::Expr(int64_t ky, int64_t shift, int64_t group, const kernel::Expr& c, int lanes)>
      weight;

  static int64_t shifts(const DepthwiseShape& s) { return s.stride_w == 1 && s.dilation_w == 1 ? 2 : 1; }
  static int64_t groups(const DepthwiseShape& s, int64_t shift) { return (s.window_w + shift + 3) / 4; }
};

// What a convolution of groups reads in place of `input` and `weight`: of each channel from c on the member
// `member` of its group, and what multiplies it. One text for all members, or (`unrolled`) one for each.
// Bytes (`pairs`): a member is two of them widened, i16 x 2 * lanes, less what lies around the input, so that
// taps outside of it add nothing.
struct DepthwiseMembers {
  bool unrolled = false;
  bool pairs = false;
  std::function<kernel::Expr(const kernel::Expr& image, const kernel::Expr& iy, const kernel::Expr& ix,
                             const kernel::Expr& c, const kernel::Expr& member, int lanes,
                             const kernel::Expr& count)>
      input;
  std::function<kernel::Expr(const kernel::Expr& tap, const kernel::Expr& member, const kernel::Expr& c,
                             int lanes)>
      weight;
};

struct DepthwiseOperands {
  std::optional<DepthwiseBytes> bytes;      // else floats
  std::optional<DepthwiseMembers> members;  // of groups
  // Vector of `lanes` channels from c of input pixel (iy, ix), which is in range; `count` (may be null)
  // limits the channels.
  std::function<kernel::Expr(const kernel::Expr& image, const kernel::Expr& iy, const kernel::Expr& ix,
                             const kernel::Expr& c, int lanes, const kernel::Expr& count)>
      input;
  // Floats: the weights of window tap `tap` for those channels; whole vectors may be read.
  std::function<kernel::Expr(const kernel::Expr& tap, const kernel::Expr& c, int lanes)> weight;
  // What the sums of those channels begin with, in all pixels; null: 0.
  std::function<kernel::Expr(const kernel::Expr& c, int lanes, const kernel::Expr& count)> begin;
  // Stores the finished vector of output pixel (oy, ox).
  std::function<std::vector<kernel::Stmt>(const kernel::Expr& image, const kernel::Expr& oy,
                                          const kernel::Expr& ox, const kernel::Expr& c,
                                          const kernel::Expr& value, int lanes, const kernel::Expr& count)>
      finish;
};

struct DepthwiseKernel {
  std::vector<kernel::GridAxis> grid;
  std::vector<kernel::Stmt> body;
  std::string schedule;
};

DepthwiseKernel build_depthwise_kernel(const DepthwiseShape& shape, const MachineModel& machine,
                                       const DepthwiseOperands& operands,
                                       const std::function<int64_t(const Dim&)>& hint,
                                       kernel::ParamTable& params);

// Output pixels [first, first + count), counted over lines and images, and their channels: floats only.
struct DepthwiseRange {
  kernel::Expr first, count, first_channel, channels;
  Dim channel_count;         // what `channels` is, or a divisor of it
  bool whole_lines = false;  // the pixels are known to be some
};
std::vector<kernel::Stmt> depthwise_rows(const DepthwiseShape& shape, const MachineModel& machine,
                                         const DepthwiseOperands& operands, const DepthwiseRange& range,
                                         kernel::ParamTable& params);

}  // namespace tern::lower
