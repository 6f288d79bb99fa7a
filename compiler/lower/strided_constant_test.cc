// Views of constants by places against the same views of their elements.
#include "compiler/lower/strided_constant.h"

#include <doctest/doctest.h>

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

// A chain of views of a constant, node by node.
void check_views(const std::string& text, int64_t repeats) {
  CAPTURE(text);
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  std::optional<StridedConstant> places;
  TensorDataPtr elements;
  for (const auto& node : (*g)->body.nodes) {
    if (node->kind == graph::OpKind::kConstant) {
      elements = node->attr<TensorDataPtr>("value");
      places.emplace(elements);
      continue;
    }
    places = places->viewed(*node);
    elements = evaluated(*node, {elements});
    REQUIRE(places);
    REQUIRE(places->shape() == elements->shape());
    const TensorDataPtr dense = places->dense();
    for (int64_t i = 0; i < elements->count(); ++i) REQUIRE(dense->float_at(i) == elements->float_at(i));
  }
  CHECK(places->repeats(0) == repeats);
  const auto rows = places->places(0), columns = places->places(1);
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < columns.size(); ++c)
      CHECK(places->data()->float_at(rows[r] + columns[c]) ==
            elements->float_at(static_cast<int64_t>(r * columns.size() + c)));
  }
}

TEST_CASE("strided constants: broadcasts, reshapes and transposes copy nothing; other views do") {
  const std::string c = "  %c = constant f32[4,3,1] {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}\n";
  check_views(c + R"(  %b = broadcast(%c) <shape=[4,3,8]>
  %r = reshape(%b) <shape=[4,24]>
  %t = transpose(%r) <perm=[1,0]>
  output %t as "t")",
              8);
  check_views(c + R"(  %b = broadcast(%c) <shape=[2,4,3,6]>
  %r = reshape(%b) <shape=[8,9,2]>
  %t = transpose(%r) <perm=[2,1,0]>
  %u = reshape(%t) <shape=[18,8]>
  output %u as "u")",
              3);
  check_views(c + R"(  %b = broadcast(%c) <shape=[4,3,8]>
  %s = slice(%b) <starts=[1,0,2], sizes=[3,2,4], steps=[1,1,1]>
  %t = transpose(%s) <perm=[2,0,1]>
  %r = reshape(%t) <shape=[4,6]>
  output %r as "r")",
              1);
}

TEST_CASE("strided constants: a reshape that no places describe is refused") {
  const StridedConstant c(TensorData::make(DType::kF32, {4, 6}));
  CHECK(c.reshaped({24}));
  CHECK(c.reshaped({2, 2, 3, 2}));
  CHECK(!c.reshaped({5, 5}));
  CHECK(StridedConstant::splat(3, {4, 6}).reshaped({3, 8}).has_value() == false);
}

}  // namespace
}  // namespace tern::lower
