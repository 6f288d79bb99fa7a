// Products of f64 and of integers by register tiles, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

bool by_tiles(const std::string& text) {
  return kernels_of(text, Level::kX86V3).find("f64, tile") != std::string::npos;
}

TEST_CASE("CPU: products of f64 are register tiles of f64") {
  const auto small = [](int64_t i) { return i * 7 % 9 - 4; };
  const std::string columns = literal("f64", {37, 21}, small),
                    filters = literal("f64", {10, 36, 3, 3}, small);
  const std::string texts[] = {"  input %x: f64[19,37] as \"x\"\n  %w = constant " + columns +
                                   "\n  %y = dot(%x, %w)\n  output %y as \"y\"",
                               "  input %x: f64[M,37] as \"x\"\n  %w = constant " + columns +
                                   "\n  %y = dot(%x, %w)\n  %z = max(%y, %y)\n  output %z as \"z\"",
                               "  input %x: f64[3,7,20] as \"x\"\n  input %w: f64[3,20,13] as \"w\"\n  %y = "
                               "dot(%x, %w)\n  output %y as "
                               "\"y\"",
                               // Both are turned.
                               "  input %x: f64[20,7] as \"x\"\n  input %w: f64[13,20] as \"w\"\n  %a = "
                               "transpose(%x) <perm=[1,0]>\n  %b = "
                               "transpose(%w) <perm=[1,0]>\n  %y = dot(%a, %b)\n  output %y as \"y\"",
                               "  input %x: f64[1,36,9,8] as \"x\"\n  %w = constant " + filters +
                                   "\n  %y = conv(%x, %w) <strides=[1,1], low=[1,1], high=[1,1], "
                                   "dilations=[1,1], lhs_dilations=[1,1], "
                                   "groups=1>\n  output %y as \"y\""};
  for (const std::string& text : texts) {
    CAPTURE(text);
    CHECK(by_tiles(text));
    check_lowering_once({text, {11}}, "f64");
  }
}

TEST_CASE("CPU: products of integers are register tiles of their type") {
  const auto small = [](int64_t i) { return i * 7 % 9; };
  for (const char* type : {"i32", "u32", "i64", "u64"}) {
    const std::string columns = literal(type, {37, 21}, small);
    const std::string texts[] = {
        fmt::format(
            "  input %x: {0}[19,37] as \"x\"\n  %w = constant {1}\n  %y = dot(%x, %w)\n  output %y as \"y\"",
            type, columns),
        fmt::format("  input %x: {0}[M,37] as \"x\"\n  %w = constant {1}\n  %y = dot(%x, %w)\n  %z = add(%y, "
                    "%y)\n  output "
                    "%z as \"z\"",
                    type, columns),
        fmt::format("  input %x: {0}[3,7,20] as \"x\"\n  input %w: {0}[3,20,13] as \"w\"\n  %y = dot(%x, "
                    "%w)\n  output "
                    "%y as \"y\"",
                    type),
        // Both are turned.
        fmt::format("  input %x: {0}[20,7] as \"x\"\n  input %w: {0}[13,20] as \"w\"\n  %a = transpose(%x) "
                    "<perm=[1,0]>\n"
                    "  %b = transpose(%w) <perm=[1,0]>\n  %y = dot(%a, %b)\n  output %y as \"y\"",
                    type)};
    for (const std::string& text : texts) {
      CAPTURE(text);
      CHECK(kernels_of(text, Level::kX86V3).find(fmt::format("{}, tile", type)) != std::string::npos);
      check_lowering_once({text, {11}}, type);
      check_lowering_for({text, {11}}, {Arch::kAArch64, {Level::kAArch64}}, type);
    }
  }
}

TEST_CASE("CPU: integers of 64 bits are multiplied by halves, modulo 2^64, up to AVX2") {
  // Halves of all signs, and such as carry.
  const auto large = [](int64_t i) {
    return static_cast<int64_t>(static_cast<uint64_t>(i + 1) * 0x9e3779b97f4a7c15) >> (i % 5 * 8);
  };
  const std::string numbers = literal("i64", {37, 21}, large),
                    factor = literal("i64", {}, [&](int64_t) { return large(3); });
  const std::string texts[] = {
      "  input %x: i64[19,37] as \"x\"\n  %f = constant " + factor +
          "\n  %b = broadcast(%f) <shape=[19,37]>\n  %m = mul(%x, %b)\n  %w = constant " + numbers +
          "\n  %y = dot(%m, %w)\n  output %y as \"y\"",
      // In place, many rows and one.
      "  %x = constant " + literal("i64", {23, 300}, large) + "\n  input %w: i64[300,9] as \"w\"\n  " +
          "%y = dot(%x, %w)\n  output %y as \"y\"",
      "  input %x: i64[1,37] as \"x\"\n  %w = constant " + numbers +
          "\n  %y = dot(%x, %w)\n  output %y as \"y\""};
  for (const std::string& text : texts) {
    CAPTURE(text);
    CHECK(kernels_of(text, Level::kX86V3).find("exchanged") != std::string::npos);
    CHECK(kernels_of(text, Level::kX86V4).find("exchanged") == std::string::npos);
    check_lowering_once({text, {}}, "i64");
  }
}

}  // namespace
}  // namespace tern::lower
