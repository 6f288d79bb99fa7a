#include <doctest/doctest.h>

#include "compiler/graph/ir.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

struct Fixture {
  Graph graph;
  Builder b{graph, graph.body};
  Value* input(DType dtype, Shape shape) {
    Value* v = graph.new_value(Type::tensor(dtype, std::move(shape)));
    v->block = &graph.body;
    v->index = static_cast<int>(graph.body.args.size());
    graph.body.args.push_back(v);
    return v;
  }
};

TEST_CASE("op tables") {
  for (int k = 0; k < static_cast<int>(OpKind::kCount); ++k)
    CHECK(op_from_name(info(static_cast<OpKind>(k)).name) == static_cast<OpKind>(k));
  CHECK(op_from_name("nonsense") == OpKind::kCount);
  CHECK(info(OpKind::kReshape).view);
  CHECK(info(OpKind::kIf).effect);
}

TEST_CASE("map broadcasts as numpy does") {
  Fixture f;
  const Dim n = Dim::symbol("N");
  Value* x = f.input(DType::kF32, {n, 3});
  Value* sum = f.b.add(x, f.b.like(x, 1.0));
  CHECK(sum->type.text() == "f32[N,3]");
  CHECK(sum->def->operand(1)->def->kind == OpKind::kBroadcast);
  CHECK_FALSE(broadcast_shapes({n, 3}, {2, 3}).ok());
  CHECK(broadcast_shapes({n, 3}, {2, 3}).error().message ==
        "The shapes [Nx3] and [2x3] do not broadcast: N and 2 differ and neither is 1.");
}

TEST_CASE("identities make no node") {
  Fixture f;
  Value* x = f.input(DType::kF32, {2, 3});
  CHECK(f.b.reshape(x, {2, 3}) == x);
  CHECK(f.b.transpose(x, {0, 1}) == x);
  CHECK(f.b.slice_axis(x, 1, 0, 3) == x);
  CHECK(f.b.cast(x, DType::kF32) == x);
  CHECK(f.b.concat({x}, 0) == x);
  CHECK(f.graph.body.nodes.empty());
}

TEST_CASE("shapes of contractions and windows") {
  Fixture f;
  const Dim n = Dim::symbol("N"), h = Dim::symbol("H");
  Value* x = f.input(DType::kF32, {n, 4, h, 9});
  Value* w = f.input(DType::kF32, {8, 2, 3, 3});
  using Ints = std::vector<int64_t>;
  Value* y = f.b.node(OpKind::kConv, {x, w},
                      {{"strides", Ints{2, 2}},
                       {"low", Ints{1, 1}},
                       {"high", Ints{1, 1}},
                       {"dilations", Ints{1, 1}},
                       {"lhs_dilations", Ints{1, 1}},
                       {"groups", int64_t{2}}})
                 ->result();
  CHECK(y->type.text() == "f32[N,8,floordiv(H+1,2),5]");
  Value* a = f.input(DType::kI8, {1, n, 5});
  Value* b = f.input(DType::kU8, {7, 5, 6});
  CHECK(f.b.dot(a, b)->type.text() == "i32[7,N,6]");
  CHECK(f.b.reduce(ScalarOp::kAdd, x, {3, 1}, true)->type.text() == "f32[N,1,H,1]");
}

TEST_CASE("data-dependent sizes get a symbol that reads the count") {
  Fixture f;
  Value* x = f.input(DType::kBool, {4, 5});
  Node* nz = f.b.node(OpKind::kNonZero, {x}, {});
  CHECK(nz->result(0)->type.text() == "i64[2,u0]");
  const SymbolInfo* s = f.graph.find_symbol("u0");
  REQUIRE(s);
  CHECK(s->value == nz->result(1));
  CHECK(s->upper->value() == 20);
  CHECK(infer(f.graph, *nz).value()[0] == nz->result(0)->type);
}

TEST_CASE("uses and replacements") {
  Fixture f;
  Value* x = f.input(DType::kF32, {2});
  Value* y = f.b.add(x, x);
  Value* z = f.b.mul(y, x);
  f.graph.body.results = {z};
  UseMap uses = compute_uses(f.graph);
  CHECK(uses[x].size() == 3);
  CHECK(uses[z].size() == 1);
  CHECK(uses[z][0].node == nullptr);
  replace_uses(f.graph, {{y, x}});
  CHECK(z->def->operand(0) == x);
}

}  // namespace
}  // namespace tern::graph
