#include <doctest/doctest.h>

#include "compiler/graph/ir.h"

namespace tern::graph {
namespace {

// Parses, prints, parses and prints again: both prints agree and the graph verifies.
std::string round_trip(const std::string& text) {
  Result<std::unique_ptr<Graph>> g = parse_graph(text);
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  CHECK(verify(**g) == "");
  const std::string once = print_graph(**g);
  Result<std::unique_ptr<Graph>> again = parse_graph(once);
  REQUIRE_MESSAGE(again.ok(), again.error().text(), once);
  CHECK(print_graph(**again) == once);
  CHECK(verify(**again) == "");
  return once;
}

TEST_CASE("a graph prints and parses back") {
  CHECK(round_trip(R"(graph "g" {
  input %x: f32[N,3]
  %w = constant f32[3,2] {1, 2, 3, 4.5, -inf, nan}
  %1 "odd name" = dot(%x, %w) from "MatMul" "mm/1"
  %2 = exp(%1)
  output %2 as "y"
})") == R"(graph "g" {
  symbol N: input 0 axis 0
  input %x: f32[N,3] as "x"
  %w = constant f32[3,2] {1, 2, 3, 4.5, -inf, nan}
  %0 "odd name" = dot(%x, %w) : f32[N,2] from "MatMul" "mm/1"
  %1 = exp(%0) : f32[N,2]
  output %1 as "y"
}
)");
}

TEST_CASE("every attribute and constant type") {
  round_trip(R"(graph "all" {
  symbol N: input 0 axis 0, min 1, max 512, hint 16
  symbol u0: element %count[0], upper 4*N
  input %x: f32[N,4] as "x"
  input %s: seq<f32[N]> as "s"
  %0 = constant i64[2] {-1, 9223372036854775807}
  %1 = constant u64[1] {18446744073709551615}
  %2 = constant bool[2] {true, false}
  %3 = constant f16[2] {0.1, 65504}
  %4 = constant i4[3] {-8, 7, 0}
  %5 = constant c64[1] {(1 -2.5)}
  %6 = constant string[2] {"a\"b", "\x0a"}
  %7 = constant f32[100] splat 0.25
  %f = constant f32[] {0}
  %8 = pad(%x, %f) <low=[0,-1], high=[N,2], mode="constant"> : f32[2*N,5]
  %idx, %count = nonzero(%x) : i64[2,u0], i64[]
  %9 = from_dims() <dims=[floordiv(N+1,2),u0], shape=[2], dtype=i64> : i64[2]
  %10 = reduce(%x) <op=max, axes=[1]> : f32[N]
  output %10 as "y"
})");
}

TEST_CASE("regions") {
  const std::string text = R"(graph "loop" {
  input %x: f32[N] as "x"
  input %c: bool[] as "c"
  %n = constant i64[] {3}
  %t = constant bool[] {true}
  %last, %all = loop(%n, %t, %x) <scans=1> {
    region (%i: i64[], %go: bool[], %v: f32[N])
      %0 = add(%v, %x)
      yield %t, %0, %0
  }
  %r = if(%c) {
    region ()
      yield %last
    region ()
      %1 = constant f32[2] {1, 2}
      yield %1
  }
  output %r as "r"
  output %all as "all"
})";
  const std::string printed = round_trip(text);
  CHECK(printed.find("%last, %all = loop(%n, %t, %x) <scans=1> : f32[N], f32[3,N] {") != std::string::npos);
  CHECK(printed.find("symbol c0: control, upper max(2,N)") != std::string::npos);
  CHECK(printed.find("%r = if(%c) : f32[c0] {") != std::string::npos);
}

TEST_CASE("parse errors name the line") {
  const auto message = [](const char* text) { return parse_graph(text).error().message; };
  CHECK(message("graph \"g\" {\n  output %y\n}") == "Line 2: %y is not defined at '\n}'.");
  CHECK(message("graph \"g\" {\n  %y = frob()\n}") == "Line 2: the op 'frob' is not known at '()\n}'.");
  CHECK(message("graph \"g\" {\n  input %x: f33[2]\n}") == "Line 2: 'f33' is no element type at '[2]\n}'.");
  CHECK(message("graph \"g\" {\n  input %x: f32[2]\n  %y = transpose(%x) : f32[2]\n}") ==
        "Line 3: 'transpose' needs the attribute 'perm' at ': f32[2]\n}'.");
  CHECK(message("graph \"g\" {") == "Line 1: '}' is missing at ''.");
}

TEST_CASE("verify tells wrong types and order") {
  const auto g = parse_graph("graph \"g\" {\n input %x: f32[2]\n %y = exp(%x) : f32[3]\n output %y\n}");
  REQUIRE(g.ok());
  CHECK(verify(*g.value()) == "map exp (value 1 'y'): result 0 has the type f32[3] and must have f32[2]");
}

}  // namespace
}  // namespace tern::graph
