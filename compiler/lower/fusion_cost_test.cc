// What region formation decides by predicted times: recomputing or storing, joining or not.
#include "compiler/lower/fusion_cost.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

const Target kCpu{Arch::kX86_64, {Level::kX86V3}};

std::vector<const DispatchStep*> dispatches(const LoweredProgram& program) {
  std::vector<const DispatchStep*> out;
  for (const Step& s : program.steps) {
    if (s.kind == Step::Kind::kDispatch) out.push_back(s.dispatch.get());
  }
  return out;
}

// A function of a value that two regions read.
std::string two_readers(const std::string& op, int64_t elements) {
  return fmt::format(R"(
  input %x: f32[{0}] as "x"
  input %a: f32[{0}] as "a"
  input %b: f32[{0}] as "b"
  %v = {1}(%x)
  %y = mul(%v, %a)
  %z = add(%v, %b)
  output %y as "y"
  output %z as "z")",
                     elements, op);
}

std::unique_ptr<LoweredProgram> fused(const std::string& text, Fusion fusion, const Target& target = kCpu) {
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  LowerOptions options;
  options.fusion = fusion;
  Diagnostics diagnostics;
  auto program = lower(**g, target, options, diagnostics);
  REQUIRE_MESSAGE(diagnostics.ok(), diagnostics.text());
  return program;
}

size_t count(const std::string& text, const Target& target = kCpu, Fusion fusion = Fusion::kPredicted) {
  return dispatches(*fused(text, fusion, target)).size();
}

TEST_CASE("what costs more than reading it is stored for two readers") {
  CHECK(count(two_readers("neg", 16384)) == 2);
  CHECK(count(two_readers("sin", 16384)) == 3);
  // Less work than a dispatch.
  CHECK(count(two_readers("exp", 16)) == 2);
}

TEST_CASE("both predictions are kept with the reason") {
  const auto program = fused(two_readers("sin", 16384), Fusion::kPredicted);
  const auto steps = dispatches(*program);
  REQUIRE(steps.size() == 3);
  int told = 0;
  for (const Neighbour& n : steps[1]->neighbours) {
    if (n.reason != FusionReason::kFasterApart) continue;
    REQUIRE(n.predicted);
    CHECK(n.predicted->apart < n.predicted->together);
    ++told;
  }
  CHECK(told == 1);
}

TEST_CASE("a row that a matrix reads is computed once, where it costs much") {
  const auto text = [](int64_t rows, const std::string& op) {
    return fmt::format(R"(
  input %x: f32[{0},256] as "x"
  input %b: f32[256] as "b"
  %v = {1}(%b)
  %w = broadcast(%v) <shape=[{0},256]>
  %y = add(%x, %w)
  output %y as "y")",
                       rows, op);
  };
  CHECK(count(text(256, "sin")) == 2);
  CHECK(count(text(1, "sin")) == 1);
  CHECK(count(text(4, "neg")) == 1);
}

TEST_CASE("either way can be forced, with the same results") {
  const std::string text = two_readers("sin", 64);
  CHECK(count(text, kCpu, Fusion::kTogether) == 2);
  CHECK(count(text, kCpu, Fusion::kApart) == 3);
  check_lowering({text});
}

TEST_CASE("GPUs have limits") {
  const Target cuda{Arch::kCuda, {Level::kCudaSm80}};
  CHECK(count(two_readers("neg", 16384), cuda) == 2);
  CHECK(count(two_readers("exp", 16384), cuda) == 3);
  CHECK(count(two_readers("exp", 16), cuda) == 3);
}

}  // namespace
}  // namespace tern::lower
