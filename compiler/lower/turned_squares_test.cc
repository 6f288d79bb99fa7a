// Transpositions in registers, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/turned_squares.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

void check_turned(const char* type, const char* shape, const std::string& what) {
  CAPTURE(type);
  CAPTURE(shape);
  check_lowering_once({fmt::format("  input %x: {}[{}] as \"x\"\n  %y = transpose(%x) <perm=[0,2,1]>\n"
                                   "  output %y as \"y\"",
                                   type, shape)},
                      what);
}

TEST_CASE("CPU: lines that are columns of short rows are separated in registers") {
  for (const char* type : {"f32", "f64", "f16", "i32", "u8"}) {
    for (const char* shape : {"2,40,5", "1,33,6", "3,16,2", "2,21,7", "1,50,3", "2,9,4"})
      check_turned(type, shape, "columns");
  }
}

TEST_CASE("CPU: squares end where their ranges do, and masks are turned as bytes") {
  for (const char* type : {"f32", "f16", "bool", "u8"}) {
    for (const char* shape : {"1,37,41", "2,70,100", "1,64,45", "3,35,64", "1,33,130", "2,16,16", "1,129,39"})
      check_turned(type, shape, "in registers");
  }
  check_lowering_once({"  input %x: f32[2,70,100] as \"x\"\n  input %z: f32[2,70,100] as \"z\"\n"
                       "  %c = lt(%x, %z)\n  %y = transpose(%c) <perm=[0,2,1]>\n  output %y as \"y\""},
                      "in registers");
}

}  // namespace
}  // namespace tern::lower
