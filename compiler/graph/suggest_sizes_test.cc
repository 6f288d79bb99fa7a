#include "compiler/graph/suggest_sizes.h"

#include <doctest/doctest.h>

namespace tern::graph {
namespace {

Graph with_input(Shape shape) {
  Graph g;
  Value* v = g.new_value(Type::tensor(DType::kF32, shape), "x");
  v->block = &g.body;
  g.body.args.push_back(v);
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d].is_const()) continue;
    SymbolInfo info;
    info.name = shape[d].symbol_name();
    info.axis = static_cast<int>(d);
    g.symbols.push_back(info);
  }
  return g;
}

TEST_CASE("guesses by place, hints of the model stay") {
  Graph g = with_input({Dim::symbol("N"), 3, Dim::symbol("H"), Dim::symbol("W")});
  g.symbols[1].hint = 32;
  suggest_sizes(g);
  CHECK(g.symbols[0].hint == 1);
  CHECK(g.symbols[1].hint == 32);
  CHECK(g.symbols[2].hint == 256);
}

TEST_CASE("sizes at which windows fit and checks hold") {
  Graph g = with_input({1, Dim::symbol("T")});
  Builder b(g, g.body);
  b.slice_axis(g.body.args[0], 1, 500, Dim::symbol("T") - 500);
  suggest_sizes(g);
  CHECK(g.symbols[0].hint > 500);

  Graph image = with_input({1, 3, Dim::symbol("H"), 32});
  Builder c(image, image.body);
  Value* left = c.from_dims({floordiv(Dim::symbol("H") + 15, 48)}, {});
  Value* right = c.int_constant(DType::kI64, 1);
  c.node(OpKind::kCheck, {c.map(scalar::ScalarOp::kEq, {left, right})}, {{"message", std::string("equal")}});
  suggest_sizes(image);
  CHECK((image.symbols[0].hint + 15) / 48 == 1);
}

}  // namespace
}  // namespace tern::graph
