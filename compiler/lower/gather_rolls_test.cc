#include "compiler/lower/gather_rolls.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

TEST_CASE("rolls along two axes are computed where they are read") {
  const std::string text = R"(
  input %x: f32[2,5,6,4] as "x"
  input %r: f32[2,5,6,4] as "r"
  %n = neg(%x)
  %a = slice(%n) <starts=[0,2,0,0], sizes=[2,3,6,4], steps=[1,1,1,1]>
  %b = slice(%n) <starts=[0,0,0,0], sizes=[2,2,6,4], steps=[1,1,1,1]>
  %c = concat(%a, %b) <axis=1>
  %d = slice(%c) <starts=[0,0,5,0], sizes=[2,5,1,4], steps=[1,1,1,1]>
  %e = slice(%c) <starts=[0,0,0,0], sizes=[2,5,5,4], steps=[1,1,1,1]>
  %f = concat(%d, %e) <axis=2>
  %g = add(%f, %r)
  output %g as "g")";
  check_lowering({text});
  CHECK(count_dispatches(lowered(text, {Arch::kCuda, {Level::kCudaSm80}})->steps) == 1);
  // Parts that are no such slices stay a concatenation.
  check_lowering({R"(
  input %x: f32[4,H] as "x"
  input %y: f32[4,3] as "y"
  %a = slice(%x) <starts=[0,0], sizes=[4,3], steps=[1,1]>
  %b = slice(%y) <starts=[0,0], sizes=[4,2], steps=[1,1]>
  %c = concat(%a, %b) <axis=1>
  %d = slice(%y) <starts=[1,0], sizes=[3,3], steps=[1,1]>
  %e = slice(%y) <starts=[0,0], sizes=[1,3], steps=[1,1]>
  %f = concat(%d, %e) <axis=0>
  %g = neg(%c)
  %h = neg(%f)
  output %g as "g"
  output %h as "h")",
                  {5}});
}

}  // namespace
}  // namespace tern::lower
