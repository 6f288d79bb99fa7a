// What regions read: on Vulkan no more values than any device binds buffers; nothing costly several times.
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

// x gathered along an axis of 6 by `taps` lists of 3, each twice as much as the one before, added up.
std::string filtered(const std::string& x, const std::string& y, int axis, int taps) {
  std::string text;
  for (int t = 0; t < taps; ++t) {
    const std::string n = fmt::format("{}{}", y, t);
    text += fmt::format(
        "  %i{0} = constant i64[3] {{{1}, {2}, {3}}}\n  %g{0} = gather(%{4}, %i{0}) <axis={5}>\n"
        "  %m{0} = add(%g{0}, %g{0})\n",
        n, t % 4, t % 4 + 1, t % 4 + 2, x, axis);
    text += t == 0 ? fmt::format("  %s{0} = neg(%m{0})\n", n)
                   : fmt::format("  %s{0} = add(%s{1}{2}, %m{0})\n", n, y, t - 1);
  }
  return text;
}

TEST_CASE("what several gathers read twice and more is stored: filters go one axis at a time") {
  const auto both = [](int taps) {
    return "  input %x: f32[6,6] as \"x\"\n" + filtered("x", "h", 0, taps) +
           filtered(fmt::format("sh{}", taps - 1), "w", 1, taps) +
           fmt::format("  output %sw{} as \"y\"", taps - 1);
  };
  LowerCase few{both(2)}, many{both(5)};
  few.dispatches = 1;
  check_lowering_once(few, "two taps");
  check_lowering_once(many, "five taps");  // CPUs: what is predicted for so small a picture
  many.dispatches = 2;
  check_lowering_for(many, {Arch::kCuda, {Level::kCudaSm80}}, "five taps, limits");
}

}  // namespace
}  // namespace tern::lower
