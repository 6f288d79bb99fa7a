// Transpositions in registers, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/turned_squares.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

TEST_CASE("CPU: lines that are columns of short rows are separated in registers") {
  for (const char* type : {"f32", "f64", "f16", "i32", "u8"}) {
    for (const char* shape : {"2,40,5", "1,33,6", "3,16,2", "2,21,7", "1,50,3", "2,9,4"}) {
      CAPTURE(type);
      CAPTURE(shape);
      check_lowering_once(
          {fmt::format("  input %x: {}[{}] as \"x\"\n  %y = transpose(%x) <perm=[0,2,1]>\n  output "
                       "%y as \"y\"",
                       type, shape)},
          "columns");
    }
  }
}

}  // namespace
}  // namespace tern::lower
