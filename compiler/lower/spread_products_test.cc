// Transposed convolutions as products whose rows are added up.
#include "compiler/lower/spread_products.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

std::string text_of(const std::string& input, std::vector<int64_t> filters, const std::string& attributes) {
  return fmt::format(
      "  input %x: f32[{}] as \"x\"\n  %w = constant {}\n  %y = conv(%x, %w) <{}, groups=1>\n"
      "  %r = abs(%y)\n  output %r as \"r\"",
      input, literal("f32", filters, [](int64_t i) { return i * 7 % 9 - 4; }), attributes);
}

bool is_product(const std::string& text, const Target& target) {
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  LoweredProgram program;
  Diagnostics diagnostics;
  const LoweringContext context(**g, target, {}, program, diagnostics);
  spread_products(**g, context);
  return graph::print_graph(**g).find("= dot(") != std::string::npos;
}

TEST_CASE("few channels of long windows are a product, whose rows are added up where they meet") {
  const std::string cases[] = {
      text_of("1,256,40", {1, 256, 20},
              "strides=[1], low=[19], high=[19], dilations=[1], lhs_dilations=[10]"),
      text_of("2,320,33", {2, 320, 18}, "strides=[1], low=[12], high=[14], dilations=[1], lhs_dilations=[6]"),
      text_of("N,300,24", {1, 300, 40},
              "strides=[1], low=[30], high=[39], dilations=[1], lhs_dilations=[20]"),
      text_of("1,320,9,8", {1, 320, 6, 5},
              "strides=[1,1], low=[5,4], high=[5,3], dilations=[1,1], lhs_dilations=[3,4]"),
  };
  for (const std::string& text : cases) {
    CAPTURE(text.substr(0, 40));
    CHECK(is_product(text, {Arch::kX86_64, {Level::kX86V3}}));
    CHECK_FALSE(is_product(text, {Arch::kCuda, {Level::kCudaSm80}}));
    LowerCase c{text};
    if (text.find("N,") != std::string::npos) c.symbols = {3};
    check_lowering_once(c, "default");
  }
  // A length that is not known; many channels from few, and a window that ends in front of the result.
  CHECK_FALSE(is_product(
      text_of("1,256,L", {1, 256, 20}, "strides=[1], low=[19], high=[19], dilations=[1], lhs_dilations=[10]"),
      {Arch::kX86_64, {Level::kX86V3}}));
  CHECK_FALSE(is_product(
      text_of("1,8,40", {64, 8, 4}, "strides=[1], low=[3], high=[3], dilations=[1], lhs_dilations=[2]"),
      {Arch::kX86_64, {Level::kX86V3}}));
  CHECK_FALSE(is_product(
      text_of("1,96,40", {1, 96, 4}, "strides=[1], low=[9], high=[3], dilations=[1], lhs_dilations=[10]"),
      {Arch::kX86_64, {Level::kX86V3}}));
}

}  // namespace
}  // namespace tern::lower
