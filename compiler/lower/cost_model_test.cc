// Predicted times and counts of operations, as `ternc --explain` and `tern bench --dispatches` give them.
#include "compiler/lower/cost_model.h"

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

double predicted(const LoweredProgram& program) {
  double sum = 0;
  for (const DispatchStep* d : dispatches(program)) sum += d->variants.front().predicted;
  return sum;
}

std::string product_text(const std::string& behind) {
  return fmt::format(
      "  input %x: f32[512,64] as \"x\"\n  %w = constant {}\n  %p = dot(%x, %w) : f32[512,64]\n{}",
      literal("f32", {64, 64}, [](int64_t i) { return static_cast<double>(i % 7 - 3); }), behind);
}

TEST_CASE("what follows a product is in its predicted time") {
  const auto plain = lowered(product_text("  output %p as \"y\"\n"), kCpu, {}, DType::kF32);
  const auto both =
      lowered(product_text("  %e = exp(%p)\n  %y = tanh(%e)\n  output %y as \"y\"\n"), kCpu, {}, DType::kF32);
  REQUIRE(dispatches(*plain).size() == 1);
  REQUIRE(dispatches(*both).size() == 1);
  // Two functions of ten operations and more, of which a core does at most 16 a cycle.
  const double least = 512 * 64 * 20 / 16.0 / machine(Level::kX86V3).cycles_a_second;
  CHECK(predicted(*both) > predicted(*plain) + least);
}

TEST_CASE("a depthwise convolution inside a product's dispatch is in its predicted time") {
  const auto value = [](int64_t i) { return static_cast<double>(i % 9 - 4) / 4; };
  const std::string text =
      fmt::format(R"(
  input %x: f32[1,32,56,56] as "x"
  %w = constant {}
  %d = conv(%x, %w) <strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=32> : f32[1,32,56,56]
  %v = constant {}
  %y = conv(%d, %v) <strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1> : f32[1,16,56,56]
  output %y as "y")",
                  literal("f32", {32, 1, 3, 3}, value), literal("f32", {16, 32, 1, 1}, value));
  const auto program = lowered(text, kCpu, {}, DType::kF32);
  double flops = 0, seconds = 0;
  for (const DispatchStep* d : dispatches(*program)) {
    if (d->kind != "contraction") continue;
    flops += static_cast<double>(d->work.usual_flops);
    seconds += d->variants.front().predicted;
  }
  CHECK(flops == doctest::Approx(56.0 * 56 * (32 * 9 + 32 * 16) * 2));
  // No faster than two multiply-adds of eight a cycle.
  CHECK(seconds * machine(Level::kX86V3).cycles_a_second > flops / 32);
}

TEST_CASE("a small dispatch is predicted to take no more than its call") {
  const auto program =
      lowered("  input %x: f32[16] as \"x\"\n  %y = neg(%x)\n  output %y as \"y\"\n", kCpu, {}, DType::kF32);
  CHECK(predicted(*program) < 0.2e-6);
}

TEST_CASE("parts of rows: their totals count only the parts") {
  const auto program = lowered(
      "  input %x: f32[16384,96] as \"x\"\n  %y = reduce(%x) <op=add, axes=[0]>\n  output %y as \"y\"\n",
      kCpu, {}, DType::kF32);
  const auto steps = dispatches(*program);
  REQUIRE(steps.size() == 2);
  CHECK(steps[0]->work.usual_flops == 16384 * 96);
  CHECK(steps[1]->work.usual_flops < 64 * 96);
  CHECK(steps[1]->work.usual_flops >= 2 * 96);
}

}  // namespace
}  // namespace tern::lower
