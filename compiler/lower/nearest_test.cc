// Nearest neighbours, read where they are used.
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

TEST_CASE("nearest neighbours twice as large are read where they are used") {
  const std::string twice = R"(
  input %x: f32[N,5,H,W] as "x"
  input %y: f32[N,5,2*H,2*W] as "y"
  %n = neg(%x)
  %1 = reshape(%n) <shape=[N,5,H,1,W]>
  %2 = broadcast(%1) <shape=[N,5,H,2,W]>
  %3 = reshape(%2) <shape=[N,5,2*H,W,1]>
  %4 = broadcast(%3) <shape=[N,5,2*H,W,2]>
  %5 = reshape(%4) <shape=[N,5,2*H,2*W]>
)";
  check_lowering({twice + R"(
  %s = add(%5, %y)
  output %s as "s")",
                  {2, 3, 4},
                  {},
                  {},
                  1});
  check_lowering({twice + R"(
  %c = concat(%5, %y) <axis=1>
  %e = abs(%c)
  output %e as "e"
  output %5 as "f")",
                  {1, 2, 3}});
}

TEST_CASE("nearest neighbours are whole loads and stores, whatever is computed behind them") {
  const std::string twice = R"(
  input %x: u8[2,5,13,13] as "x"
  %1 = reshape(%x) <shape=[2,5,13,1,13]>
  %2 = broadcast(%1) <shape=[2,5,13,2,13]>
  %3 = reshape(%2) <shape=[2,5,26,13,1]>
  %4 = broadcast(%3) <shape=[2,5,26,13,2]>
  %5 = reshape(%4) <shape=[2,5,26,26]>
)";
  for (const std::string& text :
       {twice + "  output %5 as \"y\"", twice + "  %f = cast(%5) <to=f32>\n  output %f as \"y\""}) {
    const std::string kernels = kernels_of(text, Level::kX86V3);
    CAPTURE(kernels);
    CHECK(kernels.find("ramp") == std::string::npos);
    CHECK(kernels.find("shuffle(") != std::string::npos);
    check_lowering_once({text}, "u8");
  }
}

}  // namespace
}  // namespace tern::lower
