#include "compiler/onnx/fixed_input.h"

#include "compiler/onnx/import_test_util.h"

namespace tern::onnx {

namespace {

pb::ValueInfoProto* input(Model& m, const std::string& name, pb::TensorProto::DataType type,
                          const std::vector<std::string>& dims) {
  auto* info = m.proto.mutable_graph()->add_input();
  Model::add_value(info, name, dims);
  info->mutable_type()->mutable_tensor_type()->set_elem_type(type);
  return info;
}

ImportOptions value(const std::string& name, std::vector<std::string> words) {
  ImportOptions options;
  options.values[name] = std::move(words);
  return options;
}

}  // namespace

TEST_CASE("a list that --value fixes is a constant of its length, and sizes made of it are numbers") {
  Model m;
  input(m, "size", pb::TensorProto::INT64, {"rank"});
  m.node("Expand", {"x", "size"}, {"y"});
  auto graph = import(m, value("size", {"5", "2", "1"}));
  REQUIRE(graph);
  CHECK(graph->input_names == std::vector<std::string>{"x"});
  CHECK(graph->body.results[0]->type.text() == "f32[5,2,N]");
}

TEST_CASE("one word is the value of each element, and --value goes before a default") {
  Model m;
  Model::add_value(m.proto.mutable_graph()->add_input(), "scale", {"3"});
  auto* scale = m.floats("scale", {3});
  for (float v : {1.0f, 2.0f, 3.0f}) scale->add_float_data(v);
  m.proto.mutable_graph()->mutable_output(0)->set_name("scale");
  auto graph = import(m, value("scale", {"-0.5"}));
  REQUIRE(graph);
  const graph::Node* node = graph->body.results[0]->def;
  REQUIRE(node);
  REQUIRE(node->kind == graph::OpKind::kConstant);
  for (int64_t i = 0; i < 3; ++i) CHECK(node->attr<TensorDataPtr>("value")->float_at(i) == -0.5);
}

TEST_CASE("a branch whose condition --value fixes is the only one") {
  Model m;
  input(m, "fast", pb::TensorProto::BOOL, {});
  auto* branch = m.node("If", {"fast"}, {"y"});
  for (const auto* name : {"then_branch", "else_branch"}) {
    auto* a = branch->add_attribute();
    a->set_name(name);
    a->set_type(pb::AttributeProto::GRAPH);
    a->mutable_g()->set_name(name);
    auto* n = a->mutable_g()->add_node();
    n->set_op_type(name[0] == 't' ? "Relu" : "Exp");
    n->add_input("x");
    n->add_output(std::string("out_") + name);
    a->mutable_g()->add_output()->set_name(std::string("out_") + name);
  }
  auto graph = import(m, value("fast", {"true"}));
  REQUIRE(graph);
  CHECK(count_of(*graph, graph::OpKind::kIf) == 0);
}

TEST_CASE("what --value cannot fix is said") {
  Model m;
  input(m, "level", pb::TensorProto::UINT8, {"2"});
  input(m, "half", pb::TensorProto::FLOAT16, {});
  m.node("Relu", {"x"}, {"y"});
  const auto said = [&](const std::string& name, std::vector<std::string> words, const std::string& text) {
    const std::string all = errors(m, value(name, std::move(words)));
    CHECK_MESSAGE(contains(all, text), all);
  };
  said("level", {"1", "2", "3"},
       "--value gives the input 'level' (u8[2]) 3 values; it takes 2, or one for all.");
  said("level", {"3", "256"}, "--value gives the input 'level' (u8[2]) '256', which is no value of u8.");
  said("level", {"-1"}, "'-1', which is no value of u8.");
  said("level", {""}, "'', which is no value of u8.");
  said("half", {"1e6"}, "--value gives the input 'half' (f16[]) '1e6', which is no value of f16.");
  said("half", {"0.5x"}, "'0.5x', which is no value of f16.");
  said("x", {"1"}, "--value names the input 'x', whose dimension 1 (N) is open; fix it with --shape x=…");
  said("z", {"1"},
       "--value names the input 'z', which the model does not have; its inputs are 'half', 'level', 'x'.");
  ImportOptions large = value("x", {"1"});
  large.shapes["x"] = {2, 1 << 20};
  CHECK(contains(errors(m, large), "of 2097152 elements; it fixes at most 1048576."));
}

}  // namespace tern::onnx
