// What AVX2 kernels do once a row, and in which loop over it they ask for later rows.
#include <doctest/doctest.h>

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

// The only kernel of a graph, for AVX2, from its first loop on.
std::string loops_of(const std::string& body) {
  auto g = graph::parse_graph("graph \"g\" {\n" + body + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  Diagnostics diagnostics;
  auto program = lower(**g, Target{Arch::kX86_64, {Level::kX86V3}}, {}, diagnostics);
  REQUIRE(diagnostics.ok());
  REQUIRE(program->steps.size() == 1);
  const std::string kernel = kernel::print_kernel(*program->steps[0].dispatch->variants[0].kernel);
  return kernel.substr(kernel.find("serial"));
}

TEST_CASE("a gather looks up and checks its row in front of the loop over it") {
  const std::string graph = R"(
  input %x: f32[40,64] as "x"
  input %i: i64[30] as "i"
  %n = neg(%x)
  %g = gather(%n, %i) <axis=0>
  output %g as "y")",
                    kernel = loops_of(graph);
  CAPTURE(kernel);
  const size_t inner = kernel.find("serial", 1);
  REQUIRE(inner != std::string::npos);
  CHECK(kernel.find("fail 1") < inner);
  CHECK(kernel.find("b0[i0]", inner) == std::string::npos);
  // Lookups by what was looked up, each behind the check of the one before.
  check_lowering({R"(
  input %x: f32[40,64] as "x"
  input %i: i64[30] as "i"
  input %j: i64[9] as "j"
  %a = gather(%x, %i) <axis=0>
  %b = gather(%a, %j) <axis=0>
  output %b as "y")"});
}

TEST_CASE("a loop without rounds looks nothing up") {
  check_lowering({R"(
  input %x: f32[40,0] as "x"
  input %i: i64[2] as "i"
  %g = gather(%x, %i) <axis=0>
  output %g as "y")"});
}

TEST_CASE("a softmax from memory asks for later rows while it computes exponentials") {
  const std::string kernel = loops_of("  input %x: f32[65536,512] as \"x\"" +
                                      softmax_lines("x", "y", "65536,512", 1) + "  output %y as \"y\"");
  CAPTURE(kernel);
  const size_t power = kernel.rfind("exp_below"), ahead = kernel.find("prefetch_near");
  REQUIRE(power != std::string::npos);
  REQUIRE(ahead != std::string::npos);
  CHECK(kernel.find("1.0 / ") > ahead);  // the factor of the last loop
}

}  // namespace
}  // namespace tern::lower
