// Depthwise convolutions in front of products as one dispatch, on the kernel evaluator, against the graph
// evaluator.
#include "compiler/lower/gpu/depthwise_rows.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

const Target kMatrix{Arch::kVulkan, {Level::kVulkanF16, Level::kVulkanMatrix}};

struct Separable {
  int64_t images = 1, channels = 40, outputs = 24, height = 7, width = 9, stride = 1, window = 3,
          dilation = 1;
  bool residual = false, other_reader = false;
};

// A separable convolution with the epilogues of an inverted residual; its input is computed, so that it is
// stored in 16 bits.
std::string text_of(const Separable& s) {
  const int64_t pad = s.dilation * (s.window - 1) / 2;
  const auto out = [&](int64_t n) { return (n + 2 * pad - s.dilation * (s.window - 1) - 1) / s.stride + 1; };
  const std::string x = fmt::format("f32[{},{},{},{}]", s.images, s.channels, s.height, s.width),
                    h = fmt::format("[{},{},{},{}]", s.images, s.channels, out(s.height), out(s.width)),
                    y = fmt::format("[{},{},{},{}]", s.images, s.outputs, out(s.height), out(s.width));
  const auto small = [](int64_t i) { return static_cast<double>(i * 7 % 9 - 4) / 4; };
  std::string text = fmt::format("  input %x: {0}\n  %a = abs(%x) : {0}\n", x);
  text += fmt::format("  %w = constant {}\n", literal("f32", {s.channels, 1, s.window, s.window}, small));
  text += fmt::format(
      "  %d = conv(%a, %w) <strides=[{0},{0}], low=[{1},{1}], high=[{1},{1}], dilations=[{2},{2}], "
      "lhs_dilations=[1,1], groups={3}> : f32{4}\n",
      s.stride, pad, s.dilation, s.channels, h);
  text += "  %six = constant f32[] {6}\n";
  text += fmt::format("  %s = broadcast(%six) <shape={0}> : f32{0}\n  %r = min(%d, %s) : f32{0}\n", h);
  text += fmt::format("  %v = constant {}\n", literal("f32", {s.outputs, s.channels, 1, 1}, small));
  text += fmt::format(
      "  %p = conv(%r, %v) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], "
      "groups=1> : f32{}\n",
      y);
  text += s.residual ? fmt::format("  %z = add(%p, %a) : f32{}\n", y)
                     : fmt::format("  %z = neg(%p) : f32{}\n", y);
  text += "  output %z as \"z\"\n";
  if (s.other_reader) text += fmt::format("  %q = neg(%r) : f32{}\n  output %q as \"q\"\n", h);
  return text;
}

int dispatches(const std::string& text, std::vector<std::string> disabled, const Target& target = kMatrix,
               DType precision = DType::kF16) {
  return count_dispatches(lowered(text, target, std::move(disabled), precision)->steps);
}

TEST_CASE("a depthwise convolution is part of the product that reads it") {
  const Separable cases[] = {
      {},
      {.images = 2, .stride = 2},
      {.channels = 24, .outputs = 24, .residual = true},
      {.channels = 96, .outputs = 40, .height = 5, .width = 5, .window = 5},
      {.channels = 32, .outputs = 16, .height = 14, .width = 14},
      {.channels = 64, .height = 12, .dilation = 2},
  };
  for (const Separable& s : cases) {
    LowerCase c{text_of(s)};
    c.precision = DType::kF16;
    CHECK(dispatches(c.text, {}) == dispatches(c.text, {"fuse_depthwise"}) - 1);
    check_lowering_for(c, kMatrix, "in one dispatch");
    c.disabled = {"fuse_epilogue"};
    check_lowering_for(c, kMatrix, "without epilogues");
  }
}

TEST_CASE("a depthwise convolution has a dispatch of its own where that is needed or faster") {
  const auto apart = [](const Separable& s, const Target& target = kMatrix, DType precision = DType::kF16) {
    return dispatches(text_of(s), {}, target, precision) ==
           dispatches(text_of(s), {"fuse_depthwise"}, target, precision);
  };
  CHECK(apart({.other_reader = true}));
  CHECK(apart({.channels = 36}));          // no whole chunks
  CHECK(apart({}, kMatrix, DType::kF32));  // no matrix units
  CHECK(apart({}, {Arch::kVulkan, {Level::kVulkanF16}}));
  CHECK(apart({}, {Arch::kCuda, {Level::kCudaSm80}}));
  CHECK(apart({.channels = 1024, .outputs = 1024}));  // its rows would be computed in many workgroups
}

TEST_CASE("a first layer of few taps reads its pixels where they lie, one of many gets a copy") {
  const auto text = [](int64_t window) {
    const auto small = [](int64_t i) { return static_cast<double>(i * 5 % 7 - 3) / 4; };
    return fmt::format(
        "  input %x: f32[1,3,12,12]\n  %w = constant {0}\n  %c = conv(%x, %w) <strides=[2,2], low=[{1},{1}], "
        "high=[{1},{1}], dilations=[1,1], lhs_dilations=[1,1], groups=1> : f32[1,16,6,6]\n  output %c as "
        "\"c\"\n",
        literal("f32", {16, 3, window, window}, small), window / 2);
  };
  CHECK(dispatches(text(7), {}) == dispatches(text(3), {}) + 1);
  for (const int64_t window : {3, 7}) {
    LowerCase c{text(window)};
    c.precision = DType::kF16;
    check_lowering_for(c, kMatrix, "first layer");
  }
}

}  // namespace
}  // namespace tern::lower
