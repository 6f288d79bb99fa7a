// Convolutions of a single pixel as products.
#include "compiler/lower/pixel_products.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

std::string text_of(const std::string& batch, const std::string& attributes,
                    const std::vector<int64_t>& shape) {
  return fmt::format(
      "  input %x: f32[{},{},1,1] as \"x\"\n  %w = constant {}\n  %y = conv(%x, %w) <{}, groups=1>\n"
      "  %r = abs(%y)\n  output %r as \"r\"",
      batch, shape[1], literal("f32", shape, [](int64_t i) { return i * 7 % 9 - 4; }), attributes);
}

TEST_CASE("a convolution of one pixel to several is a product") {
  const auto as_product = [](const std::string& text) {
    return kernels_of(text, Level::kX86V3).find("windows") == std::string::npos;
  };
  const std::string up = "strides=[1,1], low=[3,3], high=[3,3], dilations=[1,1], lhs_dilations=[2,2]",
                    uneven = "strides=[2,1], low=[2,1], high=[2,2], dilations=[1,1], lhs_dilations=[1,1]";
  for (const char* batch : {"1", "3", "N"}) {
    const std::vector<int64_t> symbols = batch[0] == 'N' ? std::vector<int64_t>{2} : std::vector<int64_t>{};
    check_lowering_once({text_of(batch, up, {5, 7, 4, 4}), symbols}, "all taps");
    check_lowering_once({text_of(batch, uneven, {6, 4, 3, 3}), symbols}, "steps");
  }
  CHECK(as_product(text_of("1", up, {5, 7, 4, 4})));
  // Weights with zeros between them would be larger.
  check_lowering_once(
      {text_of("1", "strides=[1,1], low=[4,4], high=[4,4], dilations=[2,2], lhs_dilations=[1,1]",
               {5, 7, 3, 3})},
      "dilated");
}

}  // namespace
}  // namespace tern::lower
