#include "compiler/graph/passes/fold_constants.h"

#include <doctest/doctest.h>

#include <string>

namespace tern::graph {
namespace {

// A convolution whose filters are 32,768 bytes times a scale: 128 KB of floats.
std::unique_ptr<Graph> scaled_filters(int step) {
  std::string bytes = "1";
  for (int i = 1; i < 64 * 128 * 4; ++i) bytes += i % 3 == 0 ? ", 2" : ", -1";
  auto graph = parse_graph(
      "graph \"g\" {\n  input %x: f32[1,128,4,4] as \"x\"\n  %q = constant i8[64,128,2,2] {" + bytes +
      "}\n  %f = cast(%q) <to=f32>\n  %s = constant f32[] {0.5}\n  %b = broadcast(%s) <shape=[64,128,2,2]>\n"
      "  %w = mul(%f, %b)\n  %y = conv(%x, %w) <strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], "
      "lhs_dilations=[" +
      std::to_string(step) + "," + std::to_string(step) + "], groups=1>\n  output %y as \"y\"\n}\n");
  REQUIRE_MESSAGE(graph.ok(), graph.error());
  return std::move(graph).value();
}

bool filters_are_constant(const Graph& graph) {
  for (const auto& node : graph.body.nodes) {
    if (node->kind == OpKind::kConv) return node->operand(1)->def->kind == OpKind::kConstant;
  }
  return false;
}

TEST_CASE("filters of a transposed convolution become floats, however many; others stay bytes") {
  const auto transposed = scaled_filters(2), ordinary = scaled_filters(1);
  fold_constants(*transposed);
  fold_constants(*ordinary);
  CHECK(filters_are_constant(*transposed));
  CHECK_FALSE(filters_are_constant(*ordinary));
}

}  // namespace
}  // namespace tern::graph
