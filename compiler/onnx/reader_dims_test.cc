// Inputs that have no shape in the model: their readers tell it.
#include "compiler/onnx/reader_dims.h"

#include "compiler/onnx/import_test_util.h"

namespace tern::onnx {
namespace {

Model without_shape() {
  Model m;
  m.proto.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  return m;
}

std::string input_type(const Model& m) {
  auto graph = import(m);
  REQUIRE(graph);
  return graph->body.args[0]->type.text();
}

TEST_CASE("an input without a shape has its readers' dimensions") {
  Model conv = without_shape();
  conv.floats("w", {4, 3, 1, 1})->mutable_raw_data()->resize(48);
  conv.node("Relu", {"x"}, {"r"});
  conv.node("Conv", {"r", "w"}, {"y"});
  CHECK(input_type(conv) == "f32[x_0,3,x_2,x_3]");

  Model gemm = without_shape();
  gemm.floats("w", {4, 3})->mutable_raw_data()->resize(48);
  auto* node = gemm.node("Gemm", {"x", "w"}, {"y"});
  auto* transposed = node->add_attribute();
  transposed->set_name("transB");
  transposed->set_type(pb::AttributeProto::INT);
  transposed->set_i(1);
  CHECK(input_type(gemm) == "f32[x_0,3]");

  Model product = without_shape();
  product.floats("w", {3, 4})->mutable_raw_data()->resize(48);
  product.node("MatMul", {"x", "w"}, {"y"});
  CHECK(contains(errors(product), "The input 'x' has no shape in the model; give one with --shape x="));
  Model::add_value(product.proto.mutable_graph()->mutable_output(0), "y", {"B", "T", "4"});
  CHECK(input_type(product) == "f32[x_0,x_1,3]");
}

TEST_CASE("what readers tell is said, and --shape is asked first") {
  Model m = without_shape();
  m.floats("w", {4, 3, 1})->mutable_raw_data()->resize(48);
  m.node("Conv", {"x", "w"}, {"y"});
  Diagnostics diagnostics;
  REQUIRE(import_bytes(m.proto.SerializeAsString(), diagnostics));
  REQUIRE(diagnostics.warnings().size() == 1);
  CHECK(diagnostics.warnings()[0] ==
        "The input 'x' has no shape in the model; the nodes that read it want 3 dimensions.");
  ImportOptions options;
  options.shapes["x"] = {1, 3, 8};
  auto graph = import(m, options);
  REQUIRE(graph);
  CHECK(graph->body.args[0]->type.text() == "f32[1,3,8]");
}

// ONNX Runtime leaves the mean of a normalisation without one empty.
TEST_CASE("a mean that SkipSimplifiedLayerNormalization names and nobody reads") {
  Model m;
  auto* contrib = m.proto.add_opset_import();
  contrib->set_domain("com.microsoft");
  contrib->set_version(1);
  m.floats("gamma", {4})->mutable_raw_data()->resize(16);
  auto* skip =
      m.node("SkipSimplifiedLayerNormalization", {"x", "x", "gamma"}, {"y", "mean", "deviation", "sum"});
  skip->set_domain("com.microsoft");
  auto graph = import(m);
  REQUIRE(graph);
  CHECK(graph->body.results[0]->type.text() == "f32[2,4]");
}

}  // namespace
}  // namespace tern::onnx
