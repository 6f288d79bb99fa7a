// Convolutions that leave out lines of their windows which lie outside of the picture for all of a block's
// rows, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/conv_gather.h"
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

struct Case {
  int64_t images, channels, height, width, outputs, stride, pad, dilation;
  bool leaves_out = true;
};

std::string text_of(const Case& c) {
  const std::string w = literal("f32", {c.outputs, c.channels, 3, 3},
                                [](int64_t i) { return static_cast<double>(i * 7 % 9 - 4); });
  return fmt::format(
      "  input %x: f32[{0},{1},{2},{3}] as \"x\"\n  %w = constant {4}\n  %y = conv(%x, %w) "
      "<strides=[{5},{5}], "
      "low=[{6},{6}], high=[{6},{6}], dilations=[{7},{7}], lhs_dilations=[1,1], groups=1>\n  output %y as "
      "\"y\"",
      c.images, c.channels, c.height, c.width, w, c.stride, c.pad, c.dilation);
}

TEST_CASE("CPU: lines of windows that lie outside for all rows of a block are left out") {
  const Case cases[] = {
      {1, 24, 9, 40, 20, 1, 7, 7},         // only the middle ones have all three
      {2, 24, 23, 22, 40, 2, 5, 5},        // blocks of both pictures
      {1, 24, 4, 9, 17, 1, 9, 2},          // rows without any line inside
      {1, 400, 17, 12, 8, 1, 4, 4},        // parts of lines
      {1, 24, 16, 9, 20, 1, 1, 1, false},  // hardly any lie outside
  };
  for (const Case& c : cases) {
    CAPTURE(c.dilation);
    const std::string text = text_of(c);
    // Weights in f32 go by parts of the picture (window_parts.h).
    for (const Level level : {Level::kX86V3, Level::kX86V4}) {
      const auto program = lowered(text, {Arch::kX86_64, {level}}, {}, DType::kF16);
      const bool inside = std::any_of(program->steps.begin(), program->steps.end(), [](const Step& step) {
        return step.kind == Step::Kind::kDispatch &&
               step.dispatch->variants[0].kernel->schedule.find("lines inside") != std::string::npos;
      });
      CHECK(inside == c.leaves_out);
    }
    LowerCase narrow{text};
    narrow.precision = DType::kF16;
    check_lowering_once(narrow, fmt::format("{} channels, dilation {}", c.channels, c.dilation));
  }
}

}  // namespace
}  // namespace tern::lower
