// Dimensions that are not there are refused.
#include "compiler/onnx/dimensions.h"

#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "compiler/onnx/emit.h"

namespace tern::onnx {
namespace {

std::string refusal(const std::function<void()>& read) {
  try {
    read();
  } catch (ImportFailure& failure) {
    return failure.error.message;
  }
  return "";
}

TEST_CASE("a shape's dimensions are read and set where it has them") {
  Shape shape = {Dim(2), Dim(3), Dim(5)};
  CHECK(shape[2] == Dim(5));
  CHECK(shape.front() == Dim(2));
  shape.back() = Dim(7);
  CHECK(shape[2] == Dim(7));
  CHECK(shape.part(1) == Shape{Dim(3), Dim(7)});
  CHECK(shape.part(-2) == Shape{Dim(3), Dim(7)});
  CHECK(shape.part(0, -1) == Shape{Dim(2), Dim(3)});
  CHECK(shape.part(3).empty());
  shape.append(shape.part(0, 1));
  CHECK(shape == Shape{Dim(2), Dim(3), Dim(7), Dim(2)});
}

TEST_CASE("a shape's dimensions are refused where it lacks them") {
  const Shape pair = {Dim(2), Dim(3)}, none;
  Shape changed = none;
  CHECK(refusal([&] { static_cast<void>(pair[2]); }) ==
        "An operand of 2 dimensions (2x3) has no dimension 2.");
  CHECK(refusal([&] { changed[0] = Dim(1); }) == "An operand of 0 dimensions () has no dimension 0.");
  for (const auto& read : std::vector<std::function<void()>>{[&] { none.front(); }, [&] { none.back(); },
                                                             [&] { changed.front() = Dim(1); },
                                                             [&] { changed.back() = Dim(1); }}) {
    CHECK(refusal(read).find("An operand of 0 dimensions () has no dimension") == 0);
  }
  CHECK(refusal([&] { pair.part(-3); }) == "An operand of 2 dimensions (2x3) has too few of them.");
  CHECK(refusal([&] { pair.part(0, 3); }) == "An operand of 2 dimensions (2x3) has too few of them.");
  CHECK(refusal([&] { pair.part(2, 1); }) == "An operand of 2 dimensions (2x3) has too few of them.");
}

}  // namespace
}  // namespace tern::onnx
