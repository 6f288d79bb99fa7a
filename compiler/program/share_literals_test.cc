// Kernels that differ in literals alone become one, and compute what they did.
#include "compiler/program/share_literals.h"

#include <doctest/doctest.h>

#include <set>

#include "compiler/lower/lower.h"
#include "compiler/lower/step_eval.h"
#include "compiler/program/parts.h"

namespace tern::program {
namespace {

std::unique_ptr<lower::LoweredProgram> lowered(const std::string& text, const lower::Target& target) {
  auto graph = graph::parse_graph(text);
  REQUIRE_MESSAGE(graph.ok(), graph.error().text());
  Diagnostics diagnostics;
  auto program = lower::lower(**graph, target, {}, diagnostics);
  REQUIRE_MESSAGE(diagnostics.ok(), diagnostics.text());
  return program;
}

// Products one after the other, each result times a scale.
std::string chain(const std::vector<std::string>& scales) {
  std::string text =
      "graph \"g\" {\n  input %x0: f32[16,16] as \"x\"\n  %w = constant f32[16,16] splat 0.25\n";
  for (size_t i = 0; i < scales.size(); ++i) {
    text += fmt::format(
        "  %p{0} = dot(%x{0}, %w)\n  %s{0} = constant f32[16,16] splat {2}\n  %x{1} = mul(%p{0}, %s{0})\n", i,
        i + 1, scales[i]);
  }
  return text + fmt::format("  output %x{} as \"y\"\n}}\n", scales.size());
}

TensorDataPtr run(const lower::LoweredProgram& program) {
  const auto x = TensorData::make(DType::kF32, {16, 16});
  for (int i = 0; i < 256; ++i) x->set_float(i, i % 19 - 9.25);
  auto outputs = lower::evaluate_program(program, {x});
  REQUIRE_MESSAGE(outputs.ok(), outputs.error().text());
  return (*outputs)[0];
}

size_t kernel_count(const lower::LoweredProgram& program) {
  std::set<std::string> texts;
  for (const lower::Step& step : program.steps) {
    if (step.dispatch) texts.insert(structure(*step.dispatch->variants.back().kernel));
  }
  return texts.size();
}

const lower::Target kTargets[] = {{lower::Arch::kX86_64, {lower::Level::kX86V2, lower::Level::kX86V3}},
                                  {lower::Arch::kCuda, {lower::Level::kCudaSm80}},
                                  {lower::Arch::kVulkan, {lower::Level::kVulkan11}}};

TEST_CASE("literals: kernels that differ in them alone become one and compute the same") {
  for (const lower::Target& target : kTargets) {
    CAPTURE(static_cast<int>(target.arch));
    auto program = lowered(chain({"0.5", "-1.75", "3.1e-3", "0.5"}), target);
    const size_t before = kernel_count(*program);
    const TensorDataPtr expected = run(*program);
    share_literals(*program);
    CHECK(kernel_count(*program) < before);
    CHECK(run(*program)->equals(*expected));
    for (const lower::Step& step : program->steps) {
      if (!step.dispatch) continue;
      for (const lower::KernelVariant& variant : step.dispatch->variants) {
        CHECK(kernel::verify(*variant.kernel).empty());
        REQUIRE(variant.kernel->params.size() == step.dispatch->params.size());
        for (size_t i = 0; i < step.dispatch->params.size(); ++i)
          CHECK(variant.kernel->params[i].value == step.dispatch->params[i]);
      }
    }
  }
}

// Columns of x side by side in another order.
std::string columns(int count) {
  std::string text = "graph \"g\" {\n  input %x: f32[16,16] as \"x\"\n";
  std::string parts;
  for (int i = 1; i <= count; ++i) {
    text += fmt::format(
        "  %s{0} = slice(%x) <starts=[0,{1}], sizes=[16,1], steps=[1,1]>\n  %e{0} = exp(%s{0})\n"
        "  %m{0} = constant f32[16,1] splat {0}.5\n  %y{0} = mul(%e{0}, %m{0})\n",
        i, i * 7 % 15 + 1);
    parts += fmt::format("{}%y{}", i > 1 ? ", " : "", i);
  }
  return text + fmt::format("  %y = concat({}) <axis=1>\n  output %y as \"y\"\n}}\n", parts);
}

TEST_CASE("literals: kernels that read and write other parts of a buffer become one") {
  for (const lower::Target& target : kTargets) {
    CAPTURE(static_cast<int>(target.arch));
    auto program = lowered(columns(8), target);
    const TensorDataPtr expected = run(*program);
    REQUIRE(kernel_count(*program) == 8);
    share_literals(*program);
    CHECK(kernel_count(*program) == 2);  // the first part has no offset to write at
    CHECK(run(*program)->equals(*expected));
  }
}

TEST_CASE("literals: kernels that differ in their sizes' names alone are one") {
  auto program = lowered(
      "graph \"g\" {\n  input %x: f32[N,16] as \"x\"\n  input %y: f32[M,16] as \"y\"\n"
      "  %a = exp(%x)\n  %b = exp(%y)\n  output %a as \"a\"\n  output %b as \"b\"\n}\n",
      kTargets[0]);
  CHECK(kernel_count(*program) == 1);
}

TEST_CASE("literals: the least integer is no offset from which others are counted") {
  auto program = lowered(
      "graph \"g\" {\n  input %x: f32[16,16] as \"x\"\n  %i = cast(%x) <to=i64>\n"
      "  %a = constant i64[16,16] splat -9223372036854775808\n  %p = add(%i, %a)\n"
      "  %b = constant i64[16,16] splat 536870912\n"
      "  %q = add(%i, %b)\n  output %p as \"p\"\n  output %q as \"q\"\n}\n",
      kTargets[0]);
  const TensorDataPtr expected = run(*program);
  share_literals(*program);
  CHECK(run(*program)->equals(*expected));
  for (const lower::Step& step : program->steps) {
    for (const Dim& param : step.dispatch->params) CHECK(std::abs(param.value()) < int64_t{1} << 31);
  }
}

TEST_CASE("literals: the same in all kernels, they stay") {
  auto program = lowered(chain({"0.5", "0.5", "0.5"}), kTargets[0]);
  share_literals(*program);
  for (const lower::Step& step : program->steps) {
    if (step.dispatch) CHECK(step.dispatch->params.empty());
  }
}

}  // namespace
}  // namespace tern::program
