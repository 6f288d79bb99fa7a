// Regions on Vulkan read no more values than any device binds buffers.
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

constexpr size_t kLeastBindings = 24;  // of devices that one meets

const Target kVulkanLevels{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanSubgroup}};

size_t most_bindings(const std::string& text) {
  const auto program = lowered(text, kVulkanLevels);
  size_t most = 0;
  for (const Step& step : program->steps) {
    if (step.kind == Step::Kind::kDispatch) most = std::max(most, step.dispatch->bindings.size());
  }
  return most;
}

// `first` and 30 inputs of its shape, added up one after the other.
std::string sums(const std::string& first) {
  std::string inputs, adds = first;
  for (int i = 0; i < 30; ++i) {
    inputs += fmt::format("  input %i{}: f32[3,5] as \"i{}\"\n", i, i);
    adds += fmt::format("  %s{} = add(%s{}, %i{})\n", i + 1, i, i);
  }
  return inputs + adds + "  output %s30 as \"y\"";
}

TEST_CASE("what regions take in ends where they read much: elementwise, behind a product, rows") {
  const std::string texts[] = {
      sums("  input %x: f32[3,5] as \"x\"\n  %s0 = neg(%x)\n"),
      sums("  input %x: f32[3,4] as \"x\"\n  input %w: f32[4,5] as \"w\"\n  %s0 = dot(%x, %w)\n"),
      sums("  input %x: f32[3,5] as \"x\"\n  %n = neg(%x)\n  %r = reduce(%n) <op=add, axes=[1]>\n"
           "  %rr = reshape(%r) <shape=[3,1]>\n  %rb = broadcast(%rr) <shape=[3,5]>\n  %s0 = sub(%n, %rb)\n"),
  };
  for (const std::string& text : texts) {
    CHECK(most_bindings(text) + 2 <= kLeastBindings);  // parameters and the fault word are others
    check_lowering_for({text}, kVulkanLevels, "default");
  }
}

}  // namespace
}  // namespace tern::lower
