// Convolutions whose filters are computed, or inputs: products that fast kernels know, as those by constants.
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

// x: 1 x (groups * channels) x lines x columns of 6 x 7 or another size, filters of `window` x `window`
// through an elementwise node (`dense`) or as the model's input.
std::string conv_text(int groups, int channels, int columns, int window, int stride, bool computed,
                      int lines = 6, int pixels = 7) {
  const int pad = window / 2, height = (lines + 2 * pad - window) / stride + 1,
            width = (pixels + 2 * pad - window) / stride + 1;
  return fmt::format(R"(
  input %x: f32[1,{},{},{}] as "x"
  input %v: f32[{},{},{},{}] as "v"
  input %b: f32[1,{},{},{}] as "b"
  {}
  %c = conv(%x, %w) <strides=[{},{}], low=[{},{}], high=[{},{}], dilations=[1,1], lhs_dilations=[1,1], groups={}>
  %s = add(%c, %b)
  output %s as "s")",
                     groups * channels, lines, pixels, groups * columns, channels, window, window,
                     groups * columns, height, width,
                     computed ? "%w = neg(%v)" : "%w = transpose(%v) <perm=[0,1,2,3]>", stride, stride, pad,
                     pad, pad, pad, groups);
}

bool has_schedule(const std::string& begin, const std::string& text, const Target& target) {
  const auto program = lowered(text, target);
  return std::any_of(program->steps.begin(), program->steps.end(), [&](const Step& step) {
    return step.kind == Step::Kind::kDispatch &&
           step.dispatch->variants[0].kernel->schedule.starts_with(begin);
  });
}

bool is_naive(const std::string& text, const Target& target) {
  return has_schedule("naive contraction", text, target);
}

TEST_CASE("convolutions by computed filters have the schedules of products") {
  const std::vector<Target> targets = {{Arch::kX86_64, {Level::kX86V3}},
                                       {Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}},
                                       {Arch::kVulkan, {Level::kVulkan11}}};
  for (const Target& target : targets) {
    CHECK_FALSE(is_naive(conv_text(1, 5, 16, 3, 1, false), target));
    CHECK_FALSE(is_naive(conv_text(1, 5, 16, 3, 1, true), target));
    CHECK_FALSE(is_naive(conv_text(2, 4, 8, 3, 2, true), target));
    if (is_gpu(target.arch)) CHECK(is_naive(conv_text(4, 4, 2, 3, 1, true), target));  // few columns a group
  }
}

TEST_CASE("convolutions by computed filters: windows, points, strides, one channel, groups") {
  check_lowering({conv_text(1, 5, 16, 3, 1, false)});
  check_lowering({conv_text(1, 16, 9, 3, 2, true)});
  check_lowering({conv_text(1, 12, 20, 1, 1, true)});
  check_lowering({conv_text(1, 1, 16, 3, 1, true)});
  check_lowering({conv_text(2, 4, 8, 3, 1, false)});
}

TEST_CASE("convolutions by computed filters take planes, or the depthwise kernel behind channels last") {
  const Target cpu{Arch::kX86_64, {Level::kX86V3}};
  CHECK(has_schedule("planes", conv_text(4, 4, 2, 3, 1, true, 20, 24), cpu));
  CHECK(has_schedule("planes", conv_text(24, 1, 1, 3, 1, false, 20, 24), cpu));
  CHECK(has_schedule("planes", conv_text(1, 8, 1, 5, 1, true), cpu));
  check_lowering({conv_text(4, 4, 2, 3, 1, true, 20, 24)});
  check_lowering({conv_text(24, 1, 1, 3, 2, true, 11, 16)});
  check_lowering({conv_text(1, 8, 1, 5, 1, false)});
  // Features of a tracker: both sides come from convolutions, whose channels lie innermost.
  const auto tracker = [](int channels) {
    return fmt::format(R"(
  input %x: f32[1,8,9,10] as "x"
  input %z: f32[1,8,3,3] as "z"
  %u = constant {}
  %f = conv(%x, %u) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %g = conv(%z, %u) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %w = reshape(%g) <shape=[{},1,3,3]>
  %c = conv(%f, %w) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups={}>
  output %c as "c")",
                       literal("f32", {channels, 8, 1, 1},
                               [](int64_t i) { return static_cast<double>(i * 37 % 13 - 6) / 4; }),
                       channels, channels);
  };
  CHECK(has_schedule("depthwise", tracker(32), cpu));
  check_lowering({tracker(32)});
  check_lowering({tracker(20)});  // no whole vectors
}

TEST_CASE("convolutions by computed filters: lines, volumes, parts of a larger tensor") {
  check_lowering({R"(
  input %x: f32[2,6,9] as "x"
  input %w: f32[8,6,3] as "w"
  %c = conv(%x, %w) <strides=[1], low=[1], high=[1], dilations=[1], lhs_dilations=[1], groups=1>
  output %c as "c")"});
  check_lowering({R"(
  input %x: f32[1,3,4,5,3] as "x"
  input %v: f32[3,8,2,1,3] as "v"
  %w = transpose(%v) <perm=[1,0,2,3,4]>
  %c = conv(%x, %w) <strides=[1,1,1], low=[0,0,1], high=[1,0,1], dilations=[1,1,1], lhs_dilations=[1,1,1], groups=1>
  output %c as "c")"});
  check_lowering({R"(
  input %x: f32[N,4,5,5] as "x"
  input %v: f32[10,7,2,2] as "v"
  %w = slice(%v) <starts=[1,2,0,0], sizes=[8,4,2,2], steps=[1,1,1,1]> : f32[8,4,2,2]
  %c = conv(%x, %w) <strides=[1,1], low=[0,0], high=[1,1], dilations=[2,2], lhs_dilations=[1,1], groups=1>
  output %c as "c")"});
}

}  // namespace
}  // namespace tern::lower
