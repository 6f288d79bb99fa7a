// Convolutions over patches as products, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

// A window of `window` every `step` pixels, a bias, and tokens behind a first one, as vision transformers
// have them.
LowerCase patches(int images, int window, int step) {
  const int outputs = (16 - window) / step + 1, tokens = outputs * outputs;
  const auto filter = [](int64_t i) { return fmt::format("{}", static_cast<double>(i * 37 % 17 - 8) / 64); };
  LowerCase c{fmt::format(R"(
  input %x: f32[{6},3,16,16] as "x"
  %w = constant {0}
  %b = constant {1}
  %first = constant {2}
  %c = conv(%x, %w) <strides=[{3},{3}], low=[0,0], high=[0,0], dilations=[1,1], lhs_dilations=[1,1], groups=1>
  %bb = broadcast(%b) <shape=[{6},64,{4},{4}]>
  %cb = add(%c, %bb)
  %r = reshape(%cb) <shape=[{6},64,{5}]>
  %t = transpose(%r) <perm=[0,2,1]>
  %y = concat(%first, %t) <axis=1>
  %n = neg(%y)
  output %n as "n")",
                          literal("f32", {64, 3, window, window}, filter), literal("f32", {64, 1, 1}, filter),
                          literal("f32", {images, 1, 64}, filter), step, outputs, tokens, images)};
  c.precision = DType::kF16;
  return c;
}

TEST_CASE("patches of an image are rows of a product") {
  for (const Target& target :
       {Target{Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}},
        Target{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanF16, Level::kVulkanMatrix}}}) {
    LowerCase c = patches(1, 8, 8);
    c.dispatches = 4;  // the windows, the product in its place, the first token in its, the rest
    check_lowering_for(c, target, "patches");
    c.disabled = {"patch_products"};
    check_lowering_for(c, target, "without patch_products");
    check_lowering_for(patches(2, 8, 8), target, "two images");
    check_lowering_for(patches(2, 8, 4), target, "windows that overlap");
  }
}

}  // namespace
}  // namespace tern::lower
