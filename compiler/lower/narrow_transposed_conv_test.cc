// Transposed convolutions of few channels as ordinary ones, where they do not take planes.
#include "compiler/lower/narrow_transposed_conv.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

std::string text_of(const std::string& input, std::vector<int64_t> filters, const std::string& attributes) {
  return fmt::format(
      "  input %x: f32[{}] as \"x\"\n  %w = constant {}\n  %y = conv(%x, %w) <{}, groups=1>\n"
      "  %r = abs(%y)\n  output %r as \"r\"",
      input, literal("f32", filters, [](int64_t i) { return i * 7 % 9 - 4; }), attributes);
}

bool is_narrowed(const std::string& text, const Target& target, std::vector<std::string> disabled = {}) {
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  LowerOptions options;
  options.disabled = std::move(disabled);
  LoweredProgram program;
  Diagnostics diagnostics;
  const LoweringContext context(**g, target, options, program, diagnostics);
  narrow_transposed_convs(**g, context);
  return graph::print_graph(**g).find("lhs_dilations=[1") != std::string::npos;
}

TEST_CASE("a transposed convolution of few channels is an ordinary one of all phases") {
  const std::string cases[] = {
      text_of("1,2,3", {1, 2, 4}, "strides=[1], low=[2], high=[2], dilations=[1], lhs_dilations=[2]"),
      text_of("1,1,3", {2, 1, 5}, "strides=[1], low=[3], high=[2], dilations=[1], lhs_dilations=[3]"),
      text_of("2,3,4,5", {1, 3, 3, 2},
              "strides=[1,1], low=[1,1], high=[2,0], dilations=[1,1], lhs_dilations=[2,2]"),
      text_of("N,9,6,5", {2, 9, 4, 4},
              "strides=[1,1], low=[2,2], high=[2,2], dilations=[1,1], lhs_dilations=[2,2]"),
  };
  for (const std::string& text : cases) {
    const std::vector<int64_t> symbols =
        text.find("N,") == std::string::npos ? std::vector<int64_t>{} : std::vector<int64_t>{3};
    check_lowering_once({text, symbols, {}, {"channels_last"}}, "without planes");
    CHECK(is_narrowed(text, {Arch::kCuda, {Level::kCudaSm80}}));
  }
  // Planes take it as it lies.
  const std::string large =
      text_of("1,9,16,40", {2, 9, 4, 4},
              "strides=[1,1], low=[2,2], high=[2,2], dilations=[1,1], lhs_dilations=[2,2]");
  CHECK_FALSE(is_narrowed(large, {Arch::kX86_64, {Level::kX86V3}}));
  CHECK(is_narrowed(large, {Arch::kX86_64, {Level::kX86V3}}, {"channels_last"}));
}

}  // namespace
}  // namespace tern::lower
