#include "compiler/lower/window_parts.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

struct Case {
  int64_t images, channels, height, width, outputs, window, stride, pad, dilation, groups = 1;
};

std::string text_of(const Case& c, const char* images = nullptr) {
  const auto out = [&](int64_t extent) {
    return (extent + 2 * c.pad - c.dilation * (c.window - 1) - 1) / c.stride + 1;
  };
  const std::string n = images ? images : std::to_string(c.images);
  return fmt::format(R"(
  input %x: f32[{},{},{},{}] as "x"
  %w = constant {}
  input %b: f32[{},{},{},{}] as "b"
  %c = conv(%x, %w) <strides=[{},{}], low=[{},{}], high=[{},{}], dilations=[{},{}], lhs_dilations=[1,1], groups={}>
  %s = add(%c, %b)
  output %s as "s")",
                     n, c.channels, c.height, c.width,
                     literal("f32", {c.outputs, c.channels / c.groups, c.window, c.window},
                             [](int64_t i) { return static_cast<double>(i * 37 % 13 - 6) / 4; }),
                     n, c.outputs, out(c.height), out(c.width), c.stride, c.stride, c.pad, c.pad, c.pad,
                     c.pad, c.dilation, c.dilation, c.groups);
}

bool takes_parts(const std::string& text, Level level) {
  const auto program = lowered(text, {level_arch(level), {level}});
  for (const Step& step : program->steps) {
    if (step.kind == Step::Kind::kDispatch &&
        step.dispatch->variants[0].kernel->schedule.find("blocks of windows") != std::string::npos)
      return true;
  }
  return false;
}

TEST_CASE("parts of an axis have the same taps inside, all outputs are in one") {
  for (const auto& [inputs, window, stride, dilation, pad] :
       std::vector<std::array<int64_t, 5>>{{33, 3, 1, 12, 12},
                                           {16, 3, 1, 18, 18},
                                           {9, 5, 2, 2, 4},
                                           {7, 1, 2, 1, 0},
                                           {3, 3, 1, 1, 5},
                                           {1, 3, 1, 4, 4}}) {
    const int64_t outputs = (inputs + 2 * pad - dilation * (window - 1) - 1) / stride + 1;
    int64_t at = 0;
    for (const AxisPart& part : axis_parts(inputs, outputs, window, stride, dilation, pad)) {
      REQUIRE(part.begin == at);
      for (; at < part.end; ++at) {
        for (int64_t tap = 0; tap < window; ++tap) {
          const int64_t input = at * stride + tap * dilation - pad;
          REQUIRE((input >= 0 && input < inputs) == (tap >= part.first_tap && tap < part.end_tap));
        }
      }
    }
    REQUIRE(at == outputs);
  }
}

TEST_CASE("blocks of windows cover the picture once, and fit the block") {
  ConvGeometry g;
  g.images = 1, g.height = 33, g.width = 33, g.out_height = 33, g.out_width = 33;
  g.channels = 256, g.window_h = g.window_w = 3, g.dilation_h = g.dilation_w = 12,
  g.pad_top = g.pad_left = 12;
  for (const Level level : {Level::kX86V2, Level::kX86V3, Level::kX86V4, Level::kAArch64}) {
    const auto schedule = window_schedule(g, 64, 1, machine(level));
    REQUIRE(schedule);
    std::vector<int> seen(33 * 33, 0);
    for (const WindowBlock& b : schedule->blocks) {
      CHECK(b.rows <= schedule->product.block_rows);
      const int64_t width = b.x.end - b.x.begin;
      for (int64_t i = b.first; i < b.first + b.rows; ++i)
        ++seen[static_cast<size_t>((b.y.begin + i / width) * 33 + b.x.begin + i % width)];
    }
    CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
  }
}

TEST_CASE("convolutions whose taps mostly lie outside go by parts of the picture") {
  const Case most{1, 32, 13, 14, 20, 3, 1, 6, 6}, volume_of_one{1, 32, 13, 14, 20, 1, 1, 0, 1};
  for (const Level level : {Level::kX86V2, Level::kX86V3, Level::kX86V4, Level::kAArch64}) {
    CHECK(takes_parts(text_of(most), level));
    CHECK(takes_parts(text_of(most, "N"), level));
    CHECK_FALSE(takes_parts(text_of(volume_of_one), level));
  }
}

TEST_CASE("parts of the picture: dilations, strides, groups, images, taps that no pixel meets") {
  check_lowering({text_of({1, 32, 9, 10, 20, 3, 1, 4, 4})});
  check_lowering({text_of({2, 16, 7, 8, 33, 3, 1, 5, 5})});
  check_lowering({text_of({1, 32, 9, 9, 16, 3, 2, 4, 4})});
  check_lowering({text_of({1, 32, 8, 7, 24, 3, 1, 4, 4, 2})});
  check_lowering({text_of({1, 16, 5, 6, 16, 3, 1, 9, 9})});  // the middle tap alone
  check_lowering({text_of({1, 16, 6, 6, 12, 5, 1, 6, 3})});
}

TEST_CASE("parts of the picture: a number of images that is not known, channels in parts") {
  LowerCase open{text_of({1, 16, 7, 8, 16, 3, 1, 4, 4}, "N")};
  open.symbols = {3};
  check_lowering(open);
  check_lowering_once({text_of({1, 600, 5, 5, 8, 3, 1, 3, 3})}, "long");
}

TEST_CASE("parts of the picture: few columns, whose lanes run along the channels of a tap") {
  const std::string last = text_of({1, 40, 12, 13, 3, 7, 1, 3, 1});
  CHECK(takes_parts(last, Level::kX86V3));
  check_lowering({last});
  check_lowering({text_of({2, 19, 6, 7, 1, 5, 1, 2, 1})});
  check_lowering({text_of({1, 24, 9, 8, 2, 3, 2, 1, 1})});
}

}  // namespace
}  // namespace tern::lower
