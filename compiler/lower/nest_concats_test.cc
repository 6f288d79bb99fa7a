#include "compiler/lower/nest_concats.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

// Three layers, each of which reads all values before it: with channels last, because of the convolutions.
constexpr const char* kDense = R"(
  input %x: f32[2,4,5,6] as "x"
  input %u: f32[3,4,1,1] as "u"
  input %v: f32[2,7,3,3] as "v"
  input %w: f32[5,9,1,1] as "w"
  %a = neg(%x)
  %b = conv(%a, %u) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %c1 = concat(%a, %b) <axis=1>
  %n1 = abs(%c1)
  %c = conv(%n1, %v) <strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %c2 = concat(%a, %b, %c) <axis=1>
  %n2 = neg(%c2)
  %d = conv(%n2, %w) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %c3 = concat(%a, %b, %c, %d) <axis=1>
  %n3 = abs(%c3)
)";

TEST_CASE("parts of several concatenations are computed in one place") {
  const std::string text = std::string(kDense) + "  output %n3 as \"y\"";
  const auto program = lowered(text, {Arch::kCuda, {Level::kCudaSm80}});
  int copies = 0;
  for (const Step& step : program->steps)
    copies += step.kind == Step::Kind::kDispatch && step.dispatch->label == "cast" ? 1 : 0;
  CHECK(copies == 1);  // of the result
  check_lowering({text});
  // A whole that is a result has a place of its own; so has one along another axis.
  check_lowering({std::string(kDense) + "  output %n3 as \"y\"\n  output %c2 as \"z\""});
  check_lowering({R"(
  input %x: f32[2,3] as "x"
  input %y: f32[2,3] as "y"
  %a = neg(%x)
  %c = concat(%a, %y) <axis=0>
  %d = concat(%a, %y) <axis=1>
  %e = concat(%a, %y, %a, %a) <axis=0>
  output %c as "c"
  output %d as "d"
  output %e as "e")"});
}

}  // namespace
}  // namespace tern::lower
