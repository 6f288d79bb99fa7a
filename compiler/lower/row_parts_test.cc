// Rows of elementwise kernels on CPUs that are cut where pads begin and end, and repeated elements, which
// have loops of their own.
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

bool divides(const std::string& kernels) {
  return kernels.find("idiv") != std::string::npos || kernels.find("irem") != std::string::npos ||
         kernels.find("floor_mod") != std::string::npos;
}

TEST_CASE("CPU: inside of a pad's operand no place is looked for") {
  for (const char* mode : {"constant", "edge", "reflect", "wrap"}) {
    CAPTURE(mode);
    const auto text = [&](const char* shape, const char* low, const char* high) {
      return fmt::format(R"(
  input %x: f32[{}] as "x"
  %z = constant f32[] {{7}}
  %p = pad(%x, %z) <low=[{}], high=[{}], mode="{}">
  %y = mul(%p, %p)
  output %y as "y")",
                         shape, low, high, mode);
    };
    check_lowering_once({text("3,40", "0,3", "0,2")}, mode);
    check_lowering_once({text("3,40", "1,9", "2,13")}, mode);
    check_lowering_once({text("5,6", "1,0", "0,5")}, mode);
    check_lowering_once({text("2,3,33", "0,1,1", "0,1,0")}, mode);
  }
  check_lowering_once({R"(
  input %x: f32[2,50] as "x"
  %z = constant f32[] {7}
  %p = pad(%x, %z) <low=[0,-3], high=[0,4], mode="constant">
  output %p as "p")"},
                      "cut off");
}

TEST_CASE("CPU: repeated elements and rows are stored where a reshape at the end shows them") {
  const auto repeated = [](const char* shape, const char* apart, const char* spread, const char* joined) {
    return fmt::format(R"(
  input %x: f32[{}] as "x"
  %a = reshape(%x) <shape=[{}]>
  %b = broadcast(%a) <shape=[{}]>
  %y = reshape(%b) <shape=[{}]>
  output %y as "y")",
                       shape, apart, spread, joined);
  };
  for (const std::string& text : {
           repeated("3,20", "3,20,1", "3,20,2", "3,40"),               // neighbours
           repeated("3,33", "3,33,1", "3,33,3", "3,99"),               // blocks that overlap
           repeated("2,5", "2,5,1", "2,5,7", "2,35"),                  // fewer than a block
           repeated("3,20", "3,20,1", "3,20,9", "3,180"),              // rows of their own
           repeated("4,5,30", "4,1,5,1,30", "4,2,5,3,30", "4,10,90"),  // tiles
           repeated("2,4,18", "2,4,1,18,1", "2,4,2,18,2", "2,8,36"),   // a picture's neighbours
       }) {
    CAPTURE(text);
    CHECK_FALSE(divides(kernels_of(text, Level::kX86V3)));
    check_lowering_once({text}, "repeated");
  }
  check_lowering_once({R"(
  input %x: u8[3,20] as "x"
  %n = add(%x, %x)
  %a = reshape(%n) <shape=[3,20,1]>
  %b = broadcast(%a) <shape=[3,20,2]>
  %y = reshape(%b) <shape=[3,40]>
  output %y as "y"
  output %n as "n")"},
                      "bytes");
  check_lowering_once({R"(
  input %x: f32[1] as "x"
  %a = reshape(%x) <shape=[]>
  output %a as "a")"},
                      "a scalar");
}

}  // namespace
}  // namespace tern::lower
