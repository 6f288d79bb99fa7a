#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

TensorDataPtr flag(bool value) {
  auto out = TensorData::make(DType::kBool, {});
  out->set_int(0, value ? 1 : 0);
  return out;
}

TEST_CASE("if: branches of equal and of different sizes") {
  for (const bool yes : {false, true}) {
    LowerCase c{R"(
  input %c: bool[] as "c"
  input %x: f32[6] as "x"
  %e = neg(%x)
  %r, %q = if(%c) {
    region ()
      %0 = mul(%x, %e)
      yield %0, %e
    region ()
      %1 = constant f32[2] {1, 2}
      yield %x, %1
  }
  %s = abs(%q)
  output %r as "r"
  output %s as "s")"};
    c.inputs = {flag(yes)};
    check_lowering(c);
  }
}

TEST_CASE("loop: carried values, iteration number, stacked results") {
  check_lowering({R"(
  input %x: f32[N] as "x"
  %n = constant i64[] {4}
  %t = constant bool[] {true}
  %y = neg(%x)
  %last, %other, %all = loop(%n, %t, %x, %y) <scans=1> {
    region (%i: i64[], %go: bool[], %v: f32[N], %w: f32[N])
      %f = cast(%i) <to=f32>
      %fb = broadcast(%f) <shape=[N]>
      %0 = add(%v, %fb)
      yield %t, %w, %0, %0
  }
  output %last as "last"
  output %other as "other"
  output %all as "all")",
                  {7}});
}

TEST_CASE("loop: a condition that ends it, and a value that grows") {
  check_lowering({R"(
  symbol c0: control
  input %x: f32[3] as "x"
  %n = constant i64[] {10}
  %t = constant bool[] {true}
  %k0 = constant i64[] {0}
  %k, %y = loop(%n, %t, %k0, %x) <scans=0> {
    region (%i: i64[], %go: bool[], %j: i64[], %v: f32[c0])
      %one = constant i64[] {1}
      %three = constant i64[] {3}
      %j1 = add(%j, %one)
      %more = lt(%j1, %three)
      %e = neg(%v)
      %g = concat(%e, %x) <axis=0>
      yield %more, %j1, %g
  }
  %z = abs(%y)
  output %k as "k"
  output %z as "z")"});
}

}  // namespace
}  // namespace tern::lower
