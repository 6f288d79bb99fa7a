// Ranges of indices: what clamps and counts prove, and what they do not.
#include "compiler/lower/value_range.h"

#include <doctest/doctest.h>

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

// The range of the graph's output.
std::optional<IntegerRange> range_of(const std::string& body) {
  auto graph = graph::parse_graph("graph \"g\" {\n  input %x: f32[4] as \"x\"\n" + body + "}\n");
  REQUIRE_MESSAGE(graph.ok(), graph.error().text());
  return integer_range((*graph)->body.results[0]);
}

TEST_CASE("ranges: clamped positions, counts, sums and products; NaN is 0") {
  const std::string clamped =
      "  %low = constant f32[4] splat 2\n  %high = constant f32[4] splat 9.5\n  %m = min(%x, %high)\n"
      "  %c = max(%m, %low)\n  %i = cast(%c) <to=i64>\n";
  const auto i = range_of(clamped + "  output %i as \"y\"\n");
  REQUIRE(i);
  CHECK(i->low == 0);  // of a NaN
  CHECK(i->high == 9);
  const auto at = range_of(clamped +
                           "  %n = constant i64[4] splat 10\n  %r = mul(%i, %n)\n"
                           "  %k = iota() <shape=[4], axis=0, dtype=i64>\n  %s = add(%r, %k)\n"
                           "  output %s as \"y\"\n");
  REQUIRE(at);
  CHECK(at->low == 0);
  CHECK(at->high == 93);
}

TEST_CASE("ranges: what is gathered or joined is what tables hold, wherever the index points") {
  const std::string tables =
      "  %t = constant i64[3] {7, 2, 5}\n  %u = constant i64[2] {9, 11}\n  %k = cast(%x) <to=i64>\n";
  const auto gathered = range_of(tables + "  %g = gather(%t, %k) <axis=0>\n  output %g as \"y\"\n");
  REQUIRE(gathered);
  CHECK(gathered->low == 2);
  CHECK(gathered->high == 7);
  const auto one = range_of(
      tables + "  %c = concat(%t, %u) <axis=0>\n  %g = gather(%c, %k) <axis=0>\n  output %g as \"y\"\n");
  REQUIRE(one);
  CHECK(one->low == 2);
  CHECK(one->high == 11);
  CHECK_FALSE(range_of(tables + "  %c = concat(%t, %k) <axis=0>\n  output %c as \"y\"\n"));
}

TEST_CASE("ranges: nothing is said of what has one end or wraps") {
  CHECK_FALSE(range_of("  %i = cast(%x) <to=i64>\n  output %i as \"y\"\n"));
  CHECK_FALSE(
      range_of("  %high = constant f32[4] splat 9\n  %m = min(%x, %high)\n  %i = cast(%m) <to=i64>\n"
               "  output %i as \"y\"\n"));
  CHECK_FALSE(
      range_of("  %n = constant i32[4] splat 2000000000\n  %s = add(%n, %n)\n  output %s as \"y\"\n"));
}

TEST_CASE("ranges: integers that a float type rounds are not bounded by what they were") {
  struct Case {
    const char* type;
    int64_t exact, rounded;
  };
  for (const Case& c : {Case{"f16", 2048, 2049}, {"bf16", 256, 257}, {"f32", 16777216, 16777217}}) {
    CAPTURE(c.type);
    const auto through = [&](int64_t most) {
      const std::string n = std::to_string(most);
      return range_of(
          "  %k = cast(%x) <to=i64>\n  %low = constant i64[4] splat 0\n  %high = constant i64[4] splat " + n +
          "\n  %m = min(%k, %high)\n  %c = max(%m, %low)\n  %f = cast(%c) <to=" + c.type +
          ">\n  %i = cast(%f) <to=i64>\n  output %i as \"y\"\n");
    };
    const auto exact = through(c.exact);
    REQUIRE(exact);
    CHECK(exact->high == c.exact);
    CHECK_FALSE(through(c.rounded));
  }
  // 65530 is 65504 or infinity in f16, 32767 is 32768 in bf16.
  CHECK_FALSE(
      range_of("  %k = iota() <shape=[65531], axis=0, dtype=f16>\n  %i = cast(%k) <to=i64>\n"
               "  output %i as \"y\"\n"));
  CHECK_FALSE(range_of("  %k = iota() <shape=[300], axis=0, dtype=u8>\n  output %k as \"y\"\n"));
  CHECK_FALSE(
      range_of("  %k = constant u64[4] splat 18446744073709551615\n  %n = constant u64[4] splat 5\n"
               "  %m = min(%k, %n)\n  output %m as \"y\"\n"));
}

}  // namespace
}  // namespace tern::lower
