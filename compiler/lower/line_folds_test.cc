// Folds over windows by lines, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/line_folds.h"

#include <limits>

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

struct Case {
  std::string what, shape, window, strides, low, high, dilations;
  std::string op = "max", dtype = "f32";
  bool lines = true;
  std::vector<int64_t> symbols = {};
};

std::string text_of(const Case& c) {
  return fmt::format(
      "  input %x: {}[{}] as \"x\"\n  %y = reduce_window(%x) <op={}, window=[{}], strides=[{}], low=[{}], "
      "high=[{}], dilations=[{}]>\n  output %y as \"y\"",
      c.dtype, c.shape, c.op, c.window, c.strides, c.low, c.high, c.dilations);
}

bool by_lines(const std::string& text, Level level) {
  return kernels_of(text, level).find("by lines") != std::string::npos;
}

TEST_CASE("CPU: windows are folded by lines where that takes fewer operations") {
  const Case cases[] = {
      {"padded", "1,3,11,22", "1,1,3,3", "1,1,2,2", "0,0,1,1", "0,0,1,1", "1,1,1,1"},
      {"large", "1,2,14,37", "1,1,7,7", "1,1,2,2", "0,0,3,3", "0,0,3,3", "1,1,1,1"},
      {"uneven padding, sums", "2,2,9,20", "1,1,4,3", "1,1,3,1", "0,0,0,2", "0,0,3,0", "1,1,1,1", "add"},
      {"inside, stride 3", "1,2,12,30", "1,1,4,4", "1,1,3,3", "0,0,0,0", "0,0,0,0", "1,1,1,1", "add"},
      {"stride 5", "1,2,12,61", "1,1,6,6", "1,1,5,5", "0,0,1,1", "0,0,0,0", "1,1,1,1"},
      {"dilated", "1,2,12,30", "1,1,3,3", "1,1,1,1", "0,0,2,2", "0,0,2,2", "1,1,2,2"},
      {"dilated, stride 2", "1,2,12,30", "1,1,3,3", "1,1,2,2", "0,0,2,2", "0,0,2,2", "1,1,2,2", "add"},
      {"a line", "2,3,50", "1,1,5", "1,1,2", "0,0,2", "0,0,2", "1,1,1"},
      {"parts of a line", "1,1,9000", "1,1,4", "1,1,2", "0,0,1", "0,0,2", "1,1,1", "add"},
      {"volumes", "1,2,4,7,18", "1,1,3,3,3", "1,1,2,2,2", "0,0,1,1,1", "0,0,1,1,1", "1,1,1,1,1"},
      {"columns only", "1,2,20,18", "1,1,1,7", "1,1,1,1", "0,0,0,3", "0,0,0,3", "1,1,1,1", "add"},
      {"bytes", "1,2,12,70", "1,1,3,3", "1,1,2,2", "0,0,1,1", "0,0,1,1", "1,1,1,1", "max", "u8"},
      {"least i32", "1,2,12,21", "1,1,3,3", "1,1,1,1", "0,0,1,1", "0,0,1,1", "1,1,1,1", "min", "i32"},
      {"f64", "1,2,12,21", "1,1,3,3", "1,1,2,2", "0,0,1,1", "0,0,1,1", "1,1,1,1", "add", "f64"},
      {"f16", "1,2,12,21", "1,1,3,3", "1,1,2,2", "0,0,1,1", "0,0,1,1", "1,1,1,1", "max", "f16"},
      {"channels last", "1,9,10,20", "1,5,5,1", "1,1,1,1", "0,2,2,0", "0,2,2,0", "1,1,1,1"},
      {"channels last, sums", "1,9,10,37", "1,7,7,1", "1,2,2,1", "0,3,3,0", "0,3,3,0", "1,1,1,1", "add"},
      {"channels last, few taps", "1,9,10,32", "1,3,3,1", "1,2,2,1", "0,1,1,0", "0,1,1,0", "1,1,1,1", "max",
       "f32", false},
      {"2 x 2", "1,3,10,40", "1,1,2,2", "1,1,2,2", "0,0,0,0", "0,0,0,0", "1,1,1,1", "max", "f32", false},
      {"unknown height",
       "1,2,H,22",
       "1,1,3,3",
       "1,1,2,2",
       "0,0,1,1",
       "0,0,1,1",
       "1,1,1,1",
       "max",
       "f32",
       true,
       {9}},
      {"unknown width",
       "1,2,9,W",
       "1,1,3,3",
       "1,1,2,2",
       "0,0,1,1",
       "0,0,1,1",
       "1,1,1,1",
       "add",
       "f32",
       true,
       {21}},
      {"narrow", "1,2,9,W", "1,1,3,3", "1,1,1,1", "0,0,1,1", "0,0,1,1", "1,1,1,1", "max", "f32", true, {2}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    const std::string text = text_of(c);
    CHECK(by_lines(text, Level::kX86V3) == c.lines);
    check_lowering_once({text, c.symbols}, c.what);
  }
}

TEST_CASE("CPU: folds by lines keep NaN, infinities and what follows them") {
  auto x = TensorData::make(DType::kF32, {1, 1, 8, 19});
  for (int64_t i = 0; i < x->count(); ++i) x->set_float(i, static_cast<double>(i * 37 % 23) - 11);
  x->set_float(3 * 19 + 7, std::numeric_limits<double>::quiet_NaN());
  x->set_float(6 * 19 + 17, std::numeric_limits<double>::infinity());
  x->set_float(0, -std::numeric_limits<double>::infinity());
  const std::string text = R"(
  input %x: f32[1,1,8,19] as "x"
  %y = reduce_window(%x) <op=max, window=[1,1,3,3], strides=[1,1,2,2], low=[0,0,1,1], high=[0,0,1,1], dilations=[1,1,1,1]>
  %z = exp(%y)
  output %z as "z")";
  CHECK(by_lines(text, Level::kX86V3));
  check_lowering_once({text, {}, {x}}, "NaN");
}

}  // namespace
}  // namespace tern::lower
