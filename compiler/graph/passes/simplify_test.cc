#include "compiler/graph/passes/simplify.h"

#include <doctest/doctest.h>

#include <string>

#include "compiler/graph/passes/eliminate_dead.h"

namespace tern::graph {
namespace {

// The graph after simplify, as text.
std::string simplified(const std::string& body) {
  auto graph = parse_graph("graph \"g\" {\n" + body + "\n}\n");
  REQUIRE_MESSAGE(graph.ok(), graph.error());
  while (simplify(**graph)) {
  }
  eliminate_dead(**graph);
  return print_graph(**graph);
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const char* const kTwice = R"(
  %1 = reshape(%r) <shape=[2,5,1,3]>
  %2 = broadcast(%1) <shape=[2,5,2,3]>
  %3 = reshape(%2) <shape=[2,10,3,1]>
  %4 = broadcast(%3) <shape=[2,10,3,2]>
  %t = reshape(%4) <shape=[2,10,6]>
  %c = constant f32[] {3}
  %cs = broadcast(%c) <shape=[2,10,6]>
)";

TEST_CASE("simplify: what one operand repeats is computed before it is repeated") {
  const std::string input = "  input %r: f32[2,5,3] as \"r\"", twice = input + kTwice;
  const std::string maps = simplified(twice + R"(
  %q = mul(%t, %cs)
  %e = round_even(%q)
  %b = cast(%e) <to=u8>
  output %b as "b")");
  CAPTURE(maps);
  CHECK(has(maps, "u8[2,5,1,3]"));
  CHECK(has(maps, "u8[2,10,6]"));
  CHECK_FALSE(has(maps, "f32[2,10,6]"));
  // Another value of the whole shape; another reader; a result of more bytes.
  CHECK(has(simplified(twice + R"(
  input %o: f32[2,10,6] as "o"
  %q = mul(%t, %o)
  output %q as "q")"),
            "mul(%t, %o)"));
  CHECK(has(simplified(twice + R"(
  %q = neg(%t)
  %p = mul(%q, %t)
  output %p as "p")"),
            "neg(%t)"));
  CHECK(has(simplified(twice + R"(
  %q = cast(%t) <to=f64>
  output %q as "q")"),
            "cast(%t)"));
}

TEST_CASE("simplify: one row by a matrix that is no constant is sums") {
  const std::string inputs = R"(
  input %x: f32[1,40] as "x"
  input %w: f32[40,30] as "w"
  input %v: f32[30,40] as "v"
  %t = transpose(%v) <perm=[1,0]>
)";
  CHECK(has(simplified(inputs + "  %y = dot(%x, %w)\n  output %y as \"y\""), "axes=[0]"));
  CHECK(has(simplified(inputs + "  %y = dot(%x, %t)\n  output %y as \"y\""), "axes=[1]"));
  // Attention of one query; weights that are computed from constants.
  for (const std::string& stays : {std::string(R"(
  %s = dot(%x, %t)
  %m = reduce(%s) <op=max, axes=[1]>
  output %s as "s"
  output %m as "m")"),
                                   std::string(R"(
  %n = reduce(%w) <op=max, axes=[1]>
  %p = reshape(%n) <shape=[1,40]>
  %s = dot(%p, %w)
  output %s as "s")"),
                                   std::string(R"(
  %c = constant f32[] {2}
  %cs = broadcast(%c) <shape=[40,1]>
  %i = iota() <shape=[40,30], axis=0, dtype=f32>
  %y = dot(%x, %i)
  output %y as "y")")})
    CHECK(has(simplified(inputs + stays), "dot("));
}

}  // namespace
}  // namespace tern::graph
