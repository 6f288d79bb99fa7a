#include "compiler/lower/sink_reshapes.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

int dispatches(const std::string& text) {
  return count_dispatches(lowered(text, {Arch::kCuda, {Level::kCudaSm80}})->steps);
}

TEST_CASE("what is added through a shape with ones more joins the product") {
  const std::string text = R"(
  input %a: f32[4,3,5,6] as "a"
  input %b: f32[4,3,6,5] as "b"
  input %m: f32[4,5,5] as "m"
  %d = dot(%a, %b) : f32[4,3,5,5]
  %w = reshape(%d) <shape=[1,4,3,5,5]>
  %mr = reshape(%m) <shape=[1,4,1,5,5]>
  %mb = broadcast(%mr) <shape=[1,4,3,5,5]>
  %s = add(%w, %mb)
  %r = reshape(%s) <shape=[4,3,5,5]>
  %e = exp(%r)
  output %e as "e")";
  CHECK(dispatches(text) == 1);
  check_lowering({text});
}

TEST_CASE("what is computed with a row's mean stays beside its reduction") {
  const std::string text = R"(
  input %x: f32[1,4,8] as "x"
  input %w: f32[8,6] as "w"
  %f = reshape(%x) <shape=[4,8]>
  %d = dot(%f, %w) : f32[4,6]
  %y = reshape(%d) <shape=[1,4,6]>
  %s = reduce(%y) <op=add, axes=[2]>
  %sr = reshape(%s) <shape=[1,4,1]>
  %sb = broadcast(%sr) <shape=[1,4,6]>
  %c = sub(%y, %sb)
  %q = mul(%c, %c)
  %v = reduce(%q) <op=add, axes=[2]>
  %vr = reshape(%v) <shape=[1,4,1]>
  %vb = broadcast(%vr) <shape=[1,4,6]>
  %n = mul(%c, %vb)
  output %n as "n")";
  CHECK(dispatches(text) == 2);
  check_lowering({text});
}

}  // namespace
}  // namespace tern::lower
