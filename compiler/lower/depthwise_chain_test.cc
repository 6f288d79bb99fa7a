// Depthwise convolutions in front of products as one dispatch on CPUs, on the kernel evaluator, against the
// graph evaluator.
#include "compiler/lower/depthwise_chain.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

const Target kCpu{Arch::kX86_64, {Level::kX86V2, Level::kX86V3, Level::kX86V4}};

struct Separable {
  int64_t images = 1, channels = 20, outputs = 24, height = 7, width = 9, stride = 1, window = 3,
          dilation = 1;
  bool line = false;  // one spatial dimension
  bool residual = false, other_reader = false;
};

// A separable convolution with the epilogues of an inverted residual.
std::string text_of(const Separable& s) {
  const int64_t pad = s.dilation * (s.window - 1) / 2;
  const auto out = [&](int64_t n) { return (n + 2 * pad - s.dilation * (s.window - 1) - 1) / s.stride + 1; };
  const auto pixels = [&](int64_t channels, int64_t h, int64_t w) {
    return s.line ? fmt::format("[{},{},{}]", s.images, channels, w)
                  : fmt::format("[{},{},{},{}]", s.images, channels, h, w);
  };
  const auto axes = [&](int64_t v) { return s.line ? fmt::format("[{}]", v) : fmt::format("[{0},{0}]", v); };
  const auto filters = [&](std::string_view name, int64_t to, int64_t from, int64_t k) {
    std::vector<int64_t> shape = {to, from, k};
    if (!s.line) shape.push_back(k);
    const auto small = [](int64_t i) { return static_cast<double>(i * 7 % 9 - 4) / 4; };
    return fmt::format("  %{} = constant {}\n", name, literal("f32", shape, small));
  };
  const std::string x = pixels(s.channels, s.height, s.width),
                    h = pixels(s.channels, out(s.height), out(s.width)),
                    y = pixels(s.outputs, out(s.height), out(s.width));
  std::string text = fmt::format("  input %x: f32{0}\n", x) + filters("w", s.channels, 1, s.window);
  text += fmt::format(
      "  %d = conv(%x, %w) <strides={0}, low={1}, high={1}, dilations={2}, lhs_dilations={3}, groups={4}> : "
      "f32{5}\n",
      axes(s.stride), axes(pad), axes(s.dilation), axes(1), s.channels, h);
  text += "  %six = constant f32[] {6}\n";
  text += fmt::format("  %s = broadcast(%six) <shape={0}> : f32{0}\n  %r = min(%d, %s) : f32{0}\n", h);
  text += filters("v", s.outputs, s.channels, 1);
  text += fmt::format(
      "  %p = conv(%r, %v) <strides={0}, low={1}, high={1}, dilations={0}, lhs_dilations={0}, groups=1> : "
      "f32{2}\n",
      axes(1), axes(0), y);
  text += s.residual ? fmt::format("  %z = add(%p, %x) : f32{}\n", y)
                     : fmt::format("  %z = neg(%p) : f32{}\n", y);
  text += "  output %z as \"z\"\n";
  if (s.other_reader) text += fmt::format("  %q = neg(%r) : f32{}\n  output %q as \"q\"\n", h);
  return text;
}

int dispatches(const std::string& text, std::vector<std::string> disabled) {
  return count_dispatches(lowered(text, kCpu, std::move(disabled), DType::kF32)->steps);
}

TEST_CASE("CPU: a depthwise convolution is part of the product that reads it") {
  const Separable cases[] = {
      {},
      {.images = 2, .stride = 2},
      {.channels = 24, .outputs = 24, .residual = true},
      {.channels = 33, .outputs = 40, .height = 5, .width = 5, .window = 5},
      {.channels = 32, .outputs = 16, .height = 14, .width = 33},
      {.channels = 8, .height = 12, .dilation = 2},
      {.images = 3, .height = 2, .width = 1},
      {.channels = 600, .outputs = 8, .height = 3, .width = 4},  // blocks of channels
      {.images = 2, .width = 50, .line = true},
      {.channels = 512, .outputs = 16, .height = 3},  // whole cache lines at once
      {.images = 2, .channels = 1024, .outputs = 8, .height = 4, .width = 5, .stride = 2},
  };
  for (const Separable& s : cases) {
    LowerCase c{text_of(s)};
    CAPTURE(c.text.substr(0, 60));
    CHECK(dispatches(c.text, {}) == dispatches(c.text, {"fuse_depthwise"}) - 1);
    check_lowering_for(c, kCpu, "in one dispatch");
    c.disabled = {"fuse_epilogue"};
    check_lowering_for(c, kCpu, "without epilogues");
  }
}

TEST_CASE("CPU: a depthwise convolution has a dispatch of its own where that is needed or faster") {
  const auto apart = [](const Separable& s) {
    return dispatches(text_of(s), {}) == dispatches(text_of(s), {"fuse_depthwise"});
  };
  CHECK(apart({.other_reader = true}));
  CHECK(apart({.channels = 64, .outputs = 2048, .height = 2, .width = 2}));  // columns are several tiles'
}

}  // namespace
}  // namespace tern::lower
