// Functions whose result is added to 1: sigmoid, SiLU, GELU.
#include <doctest/doctest.h>

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

// The only kernel of a graph.
std::string kernel_of(const std::string& body, Level level = Level::kX86V4) {
  auto g = graph::parse_graph("graph \"g\" {\n" + body + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  Diagnostics diagnostics;
  auto program = lower(**g, Target{Arch::kX86_64, {level}}, {}, diagnostics);
  REQUIRE(diagnostics.ok());
  REQUIRE(program->steps.size() == 1);
  return kernel::print_kernel(*program->steps[0].dispatch->variants[0].kernel);
}

TEST_CASE("logistic functions and GELU: one operation for a function and the addition of 1") {
  const std::string begin = R"(
  input %a: f32[4,512] as "a"
  %one = constant f32[] {1.0}
  %ones = broadcast(%one) <shape=[4,512]>)";
  const std::string logistic = R"(
  %n = neg(%a)
  %e = exp(%n)
  %d = add(%e, %ones)
  %q = div(%ones, %d))";
  const std::string gelu = R"(
  %half = constant f32[] {0.5}
  %halves = broadcast(%half) <shape=[4,512]>
  %root = constant f32[] {0.70710677}
  %roots = broadcast(%root) <shape=[4,512]>
  %s = mul(%a, %roots)
  %e = erf(%s)
  %d = add(%e, %ones))";
  struct Case {
    std::string body, has, has_not;
  };
  for (const Case& c :
       {Case{logistic + "\n  %y = mul(%a, %q)\n  output %y as \"y\"", "logistic_divisor.f32x", "exp"},
        Case{logistic + "\n  output %q as \"y\"", "logistic_divisor.f32x", "exp"},
        // The power has another reader.
        Case{logistic + "\n  %y = mul(%e, %q)\n  output %y as \"y\"", "exp(", "logistic"},
        Case{R"(
  %e = erf(%a)
  %d = add(%ones, %e)
  %y = mul(%a, %d)
  output %y as "y")",
             "erf_plus_one.f32x", "erf("},
        // GELU, in the orders in which models have its factors.
        Case{gelu + "\n  %x = mul(%a, %d)\n  %y = mul(%x, %halves)\n  output %y as \"y\"", "gelu.f32x",
             "erf"},
        Case{gelu + "\n  %x = mul(%halves, %a)\n  %y = mul(%x, %d)\n  output %y as \"y\"", "gelu.f32x",
             "erf"},
        Case{gelu + "\n  %x = mul(%halves, %d)\n  output %x as \"y\"", "normal_cdf.f32x", "erf"},
        // The sum has another reader.
        Case{gelu + "\n  %x = mul(%a, %d)\n  %z = mul(%x, %halves)\n  %y = add(%z, %d)\n  output %y as \"y\"",
             "erf_plus_one", "normal_cdf"},
        Case{R"(
  %e = tanh(%a)
  %d = add(%e, %ones)
  %y = mul(%d, %a)
  output %y as "y")",
             "logistic_divisor.f32x", "tanh"}}) {
    const std::string text = begin + c.body, kernel = kernel_of(text);
    CAPTURE(kernel);
    CHECK(kernel.find(c.has) != std::string::npos);
    const std::string statements = kernel.substr(kernel.find("{"));
    CHECK(statements.find(c.has_not) == std::string::npos);
    check_lowering({text});
  }
}

int count_of(const std::string& text, const std::string& part) {
  int n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++n;
  return n;
}

TEST_CASE("f16 and bf16 are computed in f32 up to where they are stored") {
  for (const std::string type : {"f16", "bf16"}) {
    const std::string begin = fmt::format(R"(
  input %a: {0}[4,512] as "a"
  %one = constant {0}[] {{1.0}}
  %ones = broadcast(%one) <shape=[4,512]>)",
                                          type);
    const std::string gelu = begin + fmt::format(R"(
  %half = constant {0}[] {{0.5}}
  %halves = broadcast(%half) <shape=[4,512]>
  %root = constant {0}[] {{0.70703125}}
  %roots = broadcast(%root) <shape=[4,512]>
  %s = mul(%a, %roots)
  %e = erf(%s)
  %d = add(%e, %ones)
  %x = mul(%a, %d)
  %y = mul(%x, %halves)
  output %y as "y")",
                                                 type);
    const std::string chain = begin + R"(
  %e = exp(%a)
  %d = add(%e, %ones)
  %q = div(%a, %d)
  %y = tanh(%q)
  output %y as "y")";
    // An integer is what the rounded quotient gives.
    const std::string steps = begin + R"(
  %e = exp(%a)
  %q = div(%e, %a)
  %f = floor(%q)
  output %f as "y")";
    const std::string rounded = "cast." + type + "(";
    // Whole vectors and what is left of them.
    CHECK(kernel_of(gelu, Level::kX86V3).find("gelu.f32x") != std::string::npos);
    const std::string one = kernel_of(chain, Level::kX86V3), two = kernel_of(steps, Level::kX86V3);
    CAPTURE(one);
    CAPTURE(two);
    const auto stores = [](const std::string& text) { return count_of(text, "\n    b1["); };
    CHECK(count_of(one, rounded) == stores(one));
    CHECK(count_of(two, rounded) == stores(two));
    CHECK(two.find("floor(" + rounded) != std::string::npos);
    for (const std::string& text : {gelu, chain}) check_lowering({text});
  }
}

}  // namespace
}  // namespace tern::lower
