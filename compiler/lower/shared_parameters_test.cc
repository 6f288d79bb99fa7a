// Constants that levels pack beside the weights (ContractionRequest::pack_parameter), where they choose
// unlike kernels.
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

TEST_CASE("levels that pack a convolution's filters unlike each other do not share them") {
  // Groups of one channel to two: on the depthwise loops up to AVX2, by lanes of the depth on AVX-512.
  constexpr int kGroups = 70, kTaps = 49;
  std::string filters;
  for (int i = 0; i < 2 * kGroups * kTaps; ++i)
    filters += fmt::format("{}{}", i ? ", " : "", (i * 37) % 17 - 8);
  const std::string text = fmt::format(R"(
  input %x: f32[1,{},7,33] as "x"
  %w = constant f32[{},1,7,7] {{{}}}
  %c = conv(%x, %w) <strides=[1,1], low=[7,7], high=[7,7], dilations=[2,2], lhs_dilations=[1,1], groups={}>
  output %c as "c")",
                                       kGroups, 2 * kGroups, filters, kGroups);
  check_lowering_for({text}, {Arch::kX86_64, {Level::kX86V2, Level::kX86V3, Level::kX86V4}}, "three levels");
}

}  // namespace
}  // namespace tern::lower
