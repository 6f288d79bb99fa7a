// import_model on models built here: what it accepts, and the texts of what it refuses. The operators'
// meaning is tested by onnx_eval on ONNX's node tests.
#include "compiler/onnx/import_test_util.h"

namespace tern::onnx {

TEST_CASE("shape arithmetic costs nothing at run time") {
  // y = reshape(x, concat(shape(x)[1:] * 2, [1]))
  Model m;
  m.node("Shape", {"x"}, {"s"});
  m.ints("one", {1});
  m.ints("two", {2});
  m.ints("axes", {0});
  m.ints("far", {9223372036854775807});
  m.node("Slice", {"s", "one", "far", "axes"}, {"n"});
  m.node("Mul", {"n", "two"}, {"n2"});
  auto* axis = m.node("Concat", {"n2", "one"}, {"target"})->add_attribute();
  axis->set_name("axis");
  axis->set_i(0);
  m.node("Reshape", {"x", "target"}, {"y"});
  auto graph = import(m);
  REQUIRE(graph);
  CHECK(graph->body.results[0]->type.text() == "f32[2*N,1]");
  CHECK(graph->symbols.size() == 1);  // N; nothing is read at run time
}

TEST_CASE("a product of small constants is a constant") {
  Model m;
  m.ints("a", {3, 4});
  m.ints("b", {1, -1});
  m.ints("axes", {0});
  m.node("MatMul", {"a", "b"}, {"p"});
  m.node("Unsqueeze", {"p", "axes"}, {"target"});
  m.node("Reshape", {"x", "target"}, {"y"});
  auto graph = import(m);
  REQUIRE(graph);
  CHECK(graph->body.results[0]->type.text() == "f32[2*N]");
}

TEST_CASE("a dimension that the operators leave no choice is the usual one, and said") {
  Model m;
  m.floats("w", {2, 3})->mutable_raw_data()->resize(24);
  m.node("Add", {"x", "w"}, {"y"});
  Diagnostics diagnostics;
  auto graph = import_bytes(m.proto.SerializeAsString(), diagnostics);
  REQUIRE(graph);
  REQUIRE(graph->symbols.size() == 1);
  CHECK(graph->symbols[0].hint == 3);
  REQUIRE(diagnostics.warnings().size() == 1);
  CHECK(diagnostics.warnings()[0] ==
        "Dimension 1 of the input 'x' (N) can only be 3: the model's operators need it.");
}

TEST_CASE("a dimension that does not fit into 64 bits is the model's mistake") {
  Model m;
  m.ints("repeats", {1, int64_t{1} << 40});
  m.node("Tile", {"x", "repeats"}, {"t"});
  m.node("Tile", {"t", "repeats"}, {"y"});
  const std::string said = errors(m);
  CAPTURE(said);
  CHECK(contains(said, "does not fit into 64 bits.\n - While importing node 'Tile_y' (Tile, opset 17)"));
  Model large;
  auto* input = large.proto.mutable_graph()->mutable_input(0);
  input->mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(0)->set_dim_value(int64_t{1}
                                                                                               << 62);
  large.node("Relu", {"x"}, {"y"});
  CHECK(errors(large) ==
        "A tensor of shape 4611686018427387904xN has more than 70368744177664 elements.\n"
        " - While importing the input 'x'");
}

TEST_CASE("amounts beyond an axis are refused: at once when both are known, else when the model runs") {
  Model m(11);
  m.ints("k", {9});
  auto* axis = m.node("TopK", {"x", "k"}, {"y", "i"})->add_attribute();
  axis->set_name("axis");
  axis->set_i(1);
  auto graph = import(m);
  REQUIRE(graph);
  CHECK(count_of(*graph, graph::OpKind::kCheck) == 1);
  axis->set_i(0);
  CHECK(contains(errors(m), "More elements are to be kept (9) than axis 0 has (2)."));
}

TEST_CASE("the largest one is an extreme and its place; the smallest one only where nothing is NaN") {
  for (const int largest : {0, 1}) {
    Model m(11);
    m.ints("k", {1});
    auto* attribute = m.node("TopK", {"x", "k"}, {"y", "i"})->add_attribute();
    attribute->set_name("largest");
    attribute->set_i(largest);
    auto graph = import(m);
    REQUIRE(graph);
    CHECK(count_of(*graph, graph::OpKind::kTopK) == 1 - largest);
    CHECK(count_of(*graph, graph::OpKind::kArgReduce) == largest);
  }
}

TEST_CASE("two classes that share one score have no PROBIT, nor a transform that nobody knows") {
  Model m;
  auto* node = m.node("LinearClassifier", {"x"}, {"label", "y"});
  node->set_domain("ai.onnx.ml");
  auto* opset = m.proto.add_opset_import();
  opset->set_domain("ai.onnx.ml");
  opset->set_version(3);
  const auto attribute = [&](const char* name, pb::AttributeProto::AttributeType type) {
    auto* a = node->add_attribute();
    a->set_name(name);
    a->set_type(type);
    return a;
  };
  auto* coefficients = attribute("coefficients", pb::AttributeProto::FLOATS);
  for (float v : {1.0f, 2.0f, 3.0f}) coefficients->add_floats(v);
  attribute("intercepts", pb::AttributeProto::FLOATS)->add_floats(0.5f);
  auto* labels = attribute("classlabels_ints", pb::AttributeProto::INTS);
  for (int64_t v : {5, 6}) labels->add_ints(v);
  auto* transform = attribute("post_transform", pb::AttributeProto::STRING);
  transform->set_s("LOGISTIC");
  CHECK(import(m));
  transform->set_s("PROBIT");
  CHECK(contains(errors(m),
                 "Attribute 'post_transform' (PROBIT) of two classes that share one score is not defined"));
  transform->set_s("CUBIC");
  CHECK(contains(errors(m), "Attribute 'post_transform' ('CUBIC') must be NONE"));
}

TEST_CASE("a long transform takes two steps, unless a factor's matrix would be large") {
  const auto largest_matrix = [](int64_t n) {
    Model m;
    auto* input = m.proto.mutable_graph()->mutable_input(0);
    input->Clear();
    Model::add_value(input, "x", {"2", std::to_string(n), "2"});
    m.node("DFT", {"x"}, {"y"});
    auto graph = import(m);
    REQUIRE(graph);
    int64_t largest = 0;
    graph::walk(graph->body, [&](graph::Node& node) {
      if (node.kind == graph::OpKind::kConstant)
        largest = std::max(largest, product(node.result()->type.shape).value());
    });
    CHECK(count_of(*graph, graph::OpKind::kDot) == (largest > n ? 2 : 4));
    return largest;
  };
  CHECK(largest_matrix(4096) == 128 * 128);
  CHECK(largest_matrix(441) == 42 * 42);
  CHECK(largest_matrix(10 * 1009) <= 1);
}

TEST_CASE("a diagonal is a slice: nothing is compared or added up") {
  Model m;
  auto* equation = m.node("Einsum", {"x"}, {"y"})->add_attribute();
  equation->set_name("equation");
  equation->set_type(pb::AttributeProto::STRING);
  equation->set_s("ii->i");
  ImportOptions options;
  options.shapes["x"] = {6, 6};
  auto graph = import(m, options);
  REQUIRE(graph);
  CHECK(count_of(*graph, graph::OpKind::kSlice) == 1);
  CHECK(count_of(*graph, graph::OpKind::kReduce) == 0);
}

TEST_CASE("a level of trees is four gathers: both ways of a node are side by side") {
  Model m;
  auto* opset = m.proto.add_opset_import();
  opset->set_domain("ai.onnx.ml");
  opset->set_version(3);
  auto* node = m.node("TreeEnsembleRegressor", {"x"}, {"y"});
  node->set_domain("ai.onnx.ml");
  const auto ints = [&](const char* name, std::initializer_list<int64_t> values) {
    auto* a = node->add_attribute();
    a->set_name(name);
    a->set_type(pb::AttributeProto::INTS);
    for (int64_t v : values) a->add_ints(v);
  };
  const auto floats = [&](const char* name, std::initializer_list<float> values) {
    auto* a = node->add_attribute();
    a->set_name(name);
    a->set_type(pb::AttributeProto::FLOATS);
    for (float v : values) a->add_floats(v);
  };
  ints("nodes_treeids", {0, 0, 0, 0, 0});
  ints("nodes_nodeids", {0, 1, 2, 3, 4});
  ints("nodes_featureids", {0, 0, 1, 0, 0});
  ints("nodes_truenodeids", {1, 0, 3, 0, 0});
  ints("nodes_falsenodeids", {2, 0, 4, 0, 0});
  floats("nodes_values", {0.5f, 0, 1.5f, 0, 0});
  auto* modes = node->add_attribute();
  modes->set_name("nodes_modes");
  modes->set_type(pb::AttributeProto::STRINGS);
  for (const char* s : {"BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"}) modes->add_strings(s);
  ints("target_treeids", {0, 0, 0});
  ints("target_nodeids", {1, 3, 4});
  ints("target_ids", {0, 0, 0});
  floats("target_weights", {1, 2, 3});
  auto graph = import(m);
  REQUIRE(graph);
  const int gathers =
      count_of(*graph, graph::OpKind::kGather) + count_of(*graph, graph::OpKind::kGatherElements);
  CHECK(gathers == 5);  // and the leaves' weights
}

TEST_CASE("a dimension given by --shape replaces the symbol everywhere") {
  Model m;
  m.node("Relu", {"x"}, {"y"});
  ImportOptions options;
  options.shapes["x"] = {2, 5};
  auto graph = import(m, options);
  REQUIRE(graph);
  CHECK(graph->body.results[0]->type.text() == "f32[2,5]");
  CHECK(graph->symbols.empty());
  options.shapes["z"] = {1};
  CHECK(contains(errors(m, options),
                 "--shape names the input 'z', which the model does not have; its inputs are 'x'."));
  options.shapes.erase("z");
  options.shapes["x"] = {2};
  CHECK(contains(errors(m, options), "--shape gives the input 'x' 1 dimensions; the model states 2."));
}

TEST_CASE("dimensions that an operator needs to be equal are checked at run time") {
  Model m;
  Model::add_value(m.proto.mutable_graph()->add_input(), "z", {"2", "M"});
  m.node("Add", {"x", "z"}, {"y"});
  auto graph = import(m);
  REQUIRE(graph);
  CHECK(count_of(*graph, graph::OpKind::kCheck) == 1);
}

TEST_CASE("all problems come in one report") {
  Model m;
  m.node("Foo", {"x"}, {"a"});
  m.node("Foo", {"a"}, {"b"});
  m.node("Relu", {"b"}, {"c"});  // follows a failed node: not reported again
  auto* bad = m.node("Softmax", {"x"}, {"d"});
  bad->add_attribute()->set_name("axis");
  bad->mutable_attribute(0)->set_i(7);
  m.node("Add", {"c", "d"}, {"y"});
  CHECK(
      errors(m) ==
      "Operator ai.onnx.Foo (opset 17) is not supported; the model uses it 2 times, first in node 'Foo_a'.\n"
      "Axis 7 lies outside [-2, 2).\n"
      " - While importing node 'Softmax_d' (Softmax, opset 17) on x f32[2,N]");
}

TEST_CASE("an unknown attribute is refused, not ignored") {
  Model m;
  auto* n = m.node("Relu", {"x"}, {"y"});
  n->add_attribute()->set_name("shiny");
  CHECK(contains(errors(m), "Attribute 'shiny' is not one that tern knows for this operator."));
}

TEST_CASE("malformed graphs") {
  SUBCASE("missing input") {
    Model m;
    m.node("Relu", {"nothing"}, {"y"});
    CHECK(contains(errors(m), "Input 0 ('nothing') is not defined by any node, input or initializer."));
  }
  SUBCASE("no inputs at all") {
    Model m;
    m.node("Add", {}, {"y"});
    CHECK(contains(errors(m), "Input 0 is missing."));
  }
  SUBCASE("cycle") {
    Model m;
    m.node("Add", {"x", "b"}, {"a"});
    m.node("Add", {"x", "a"}, {"b"});
    m.node("Relu", {"a"}, {"y"});
    CHECK(contains(errors(m), "The graph has a cycle; node 'Add_a' (Add) depends on its own output."));
  }
  SUBCASE("unsorted nodes are sorted") {
    Model m;
    m.node("Relu", {"a"}, {"y"});
    m.node("Neg", {"x"}, {"a"});
    CHECK(import(m));
  }
  SUBCASE("two definitions") {
    Model m;
    m.node("Relu", {"x"}, {"y"});
    m.node("Neg", {"x"}, {"y"});
    CHECK(contains(errors(m), "The value 'y' is defined twice."));
  }
  SUBCASE("output that nothing defines") {
    Model m;
    m.node("Relu", {"x"}, {"a"});
    CHECK(contains(errors(m), "The graph's output 'y' is not defined."));
  }
  SUBCASE("dimensions whose product overflows") {
    Model m;
    m.ints("huge", {1LL << 40, 1LL << 40});
    m.node("ConstantOfShape", {"huge"}, {"y"});
    CHECK(contains(errors(m),
                   "A tensor of shape 1099511627776x1099511627776 has more than 70368744177664 elements."));
  }
  SUBCASE("shapes that do not broadcast") {
    Model m;
    m.floats("w", {3, 1})->mutable_float_data()->Resize(3, 1.0f);
    m.node("Add", {"x", "w"}, {"y"});
    CHECK(contains(errors(m), "The shapes f32[2,N] and f32[3,1] do not broadcast."));
  }
}

TEST_CASE("tensors") {
  SUBCASE("too little data") {
    Model m;
    m.floats("w", {2, 2})->set_raw_data(std::string(12, '\0'));
    m.node("Add", {"x", "w"}, {"y"});
    CHECK(contains(errors(m), "The tensor 'w' (f32) has 12 bytes of data; its shape asks for 16."));
  }
  SUBCASE("a huge shape without data allocates nothing") {
    Model m;
    m.floats("w", {1LL << 30, 1LL << 10});
    m.node("Add", {"x", "w"}, {"y"});
    CHECK(contains(errors(m), "The tensor 'w' holds 0 values; its shape asks for 1099511627776."));
  }
  SUBCASE("negative dimension") {
    Model m;
    m.floats("w", {-2});
    m.node("Add", {"x", "w"}, {"y"});
    CHECK(contains(errors(m), "The tensor 'w' has a negative dimension (-2)."));
  }
}

TEST_CASE("external data stays in the model's folder") {
  TempFolder folder;
  folder.write("weights.bin", std::string(16, '\0'));
  auto import_external = [&](const std::string& location, const std::string& offset,
                             const std::string& length) {
    Model m;
    auto* t = m.floats("w", {2, 2});
    t->set_data_location(pb::TensorProto::EXTERNAL);
    for (auto [key, value] : {std::pair{"location", location}, {"offset", offset}, {"length", length}}) {
      auto* entry = t->add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    m.node("MatMul", {"x", "w"}, {"y"});
    Diagnostics diagnostics;
    ImportOptions options;
    options.shapes["x"] = {2, 2};
    import_model(folder.write("m.onnx", m.proto.SerializeAsString()), options, diagnostics);
    return diagnostics.text();
  };
  CHECK(import_external("weights.bin", "0", "16") == "");
  CHECK(contains(
      import_external("../weights.bin", "0", "16"),
      "The external data's file '../weights.bin' contains '..'; it must lie in the model's folder."));
  CHECK(contains(import_external(std::string("a\0b", 3), "0", "16"), "a name with a byte of zero in it."));
  CHECK(contains(
      import_external("/etc/passwd", "0", "16"),
      "The external data's file '/etc/passwd' is an absolute path; it must lie in the model's folder."));
  REQUIRE(symlink("/etc/passwd", (folder.path + "/link").c_str()) == 0);
  CHECK(contains(import_external("link", "0", "16"),
                 "The external data's file 'link' is a link that leaves the model's folder."));
  CHECK(contains(import_external("weights.bin", "4", "16"),
                 "The external data (offset 4, length 16) lies outside its file 'weights.bin' of 16 bytes."));
  CHECK(contains(import_external("weights.bin", "0", "12"),
                 "The external data's length (12) is not the tensor's size (16 bytes)."));
  CHECK(contains(import_external("weights.bin", "-1", "16"),
                 "The external data's offset ('-1') is not a size."));
  CHECK(
      contains(import_external("missing.bin", "0", "16"),
               "The model keeps weights in a file of their own, 'missing.bin', which is not in its folder"));
}

TEST_CASE("a file of weights that is missing is told once") {
  Model m;
  for (const char* name : {"v", "w"}) {
    auto* t = m.floats(name, {2, 2});
    t->set_data_location(pb::TensorProto::EXTERNAL);
    auto* entry = t->add_external_data();
    entry->set_key("location");
    entry->set_value("m.onnx.data");
  }
  m.node("MatMul", {"x", "w"}, {"a"});
  m.node("MatMul", {"a", "v"}, {"y"});
  const std::string text = errors(m);
  CHECK(contains(text, "'m.onnx.data', which is not in its folder"));
  CHECK(text.find("m.onnx.data") == text.rfind("m.onnx.data"));
}

TEST_CASE("operators that are missing, and why") {
  const auto refusal = [](const std::string& domain, const std::string& op, int opset = 18) {
    Model m(opset);
    auto* import = m.proto.add_opset_import();
    import->set_domain(domain);
    import->set_version(1);
    if (domain.empty()) m.proto.mutable_opset_import()->RemoveLast();
    m.node(op, {"x"}, {"y"})->set_domain(domain);
    return errors(m);
  };
  CHECK(contains(refusal("", "Upsample"), "Later opsets do not have it; tern reads it up to opset 9."));
  CHECK(contains(refusal("", "Trilu", 13), "It came with opset 14;"));
  CHECK(contains(refusal("my.ops", "Deform"), "'my.ops' is a domain of somebody's own:"));
  CHECK(contains(refusal("TRT", "EfficientNMS_TRT"), "It is a plugin of TensorRT;"));
  CHECK(contains(refusal("ai.onnx.contrib", "BertTokenizer"), "It belongs to onnxruntime-extensions"));
  CHECK(refusal("", "Foo") ==
        "Operator ai.onnx.Foo (opset 18) is not supported; the model uses it once, first in node 'Foo_y'.");
}

TEST_CASE("a model function is inlined, with its attribute references") {
  Model m;
  auto* domain = m.proto.add_opset_import();
  domain->set_domain("local");
  domain->set_version(1);
  auto* f = m.proto.add_functions();
  f->set_name("Leak");
  f->set_domain("local");
  f->add_input("a");
  f->add_output("b");
  f->add_attribute("slope");
  auto* import_proto = f->add_opset_import();
  import_proto->set_domain("");
  import_proto->set_version(17);
  auto* body = f->add_node();
  body->set_op_type("LeakyRelu");
  body->add_input("a");
  body->add_output("b");
  auto* reference = body->add_attribute();
  reference->set_name("alpha");
  reference->set_ref_attr_name("slope");
  reference->set_type(pb::AttributeProto::FLOAT);
  auto* call = m.node("Leak", {"x"}, {"y"});
  call->set_domain("local");
  auto* slope = call->add_attribute();
  slope->set_name("slope");
  slope->set_f(0.5f);
  slope->set_type(pb::AttributeProto::FLOAT);
  ImportOptions options;
  options.shapes["x"] = {2, 1};
  auto graph = import(m, options);
  REQUIRE(graph);
  auto x = TensorData::make(DType::kF32, {2, 1});
  x->set_float(0, -4);
  x->set_float(1, 3);
  auto outputs = graph::evaluate(*graph, {{x, nullptr}});
  REQUIRE(outputs.ok());
  CHECK(outputs.value()[0].tensor->float_at(0) == -2);
  CHECK(outputs.value()[0].tensor->float_at(1) == 3);
  // A function that calls itself is refused.
  body->set_op_type("Leak");
  body->set_domain("local");
  body->clear_attribute();
  CHECK(contains(errors(m), "Functions and subgraphs nest deeper than 64."));
}

TEST_CASE("functions that call one another twice are refused before they fill the memory") {
  const auto chain = [](int length, bool ends) {
    Model m;
    auto* domain = m.proto.add_opset_import();
    domain->set_domain("local");
    domain->set_version(1);
    for (int i = 0; i < length; ++i) {
      auto* f = m.proto.add_functions();
      f->set_name("f" + std::to_string(i));
      f->set_domain("local");
      f->add_input("a");
      f->add_output("c");
      *f->add_opset_import() = m.proto.opset_import(0);
      for (const char* step : {"ab", "bc"}) {
        auto* node = f->add_node();
        node->add_input(std::string(1, step[0]));
        node->add_output(std::string(1, step[1]));
        node->set_op_type(i || !ends ? "f" + std::to_string(i ? i - 1 : length - 1) : "Neg");
        if (i || !ends) node->set_domain("local");
      }
    }
    m.node("f" + std::to_string(length - 1), {"x"}, {"y"})->set_domain("local");
    Diagnostics diagnostics;
    import_bytes(m.proto.SerializeAsString(), diagnostics);
    return diagnostics.text();
  };
  CHECK(chain(5, true) == "");
  CHECK(
      contains(chain(50, true), "The model's 101 nodes become more than 365568 where functions are called"));
  CHECK(contains(chain(80, true), "nest deeper than 64."));
  CHECK(contains(chain(50, false), "nest deeper than 64."));
}

TEST_CASE("a sparse tensor of a few bytes does not become one that fills the memory") {
  Model m;
  auto* sparse = m.proto.mutable_graph()->add_sparse_initializer();
  sparse->add_dims(1 << 16);
  sparse->add_dims(1 << 16);
  auto* values = sparse->mutable_values();
  values->set_name("w");
  values->set_data_type(pb::TensorProto::FLOAT);
  values->add_dims(1);
  values->add_float_data(1);
  auto* indices = sparse->mutable_indices();
  indices->set_data_type(pb::TensorProto::INT64);
  indices->add_dims(1);
  indices->add_int64_data(5);
  m.node("Neg", {"w"}, {"y"});
  CHECK(contains(errors(m),
                 "The sparse tensor 'w' is made dense, which takes 17179869184 bytes; at most "
                 "2147483647 are possible."));
}

TEST_CASE("bodies of sequences in bodies are refused before they fill the memory") {
  constexpr int kDepth = 6;
  Model m(18);
  pb::GraphProto inner;
  const auto values = [](pb::GraphProto& graph, const std::string& in, const std::string& out, int rank) {
    Model::add_value(graph.add_input(), in, std::vector<std::string>(static_cast<size_t>(rank), "64"));
    graph.add_output()->set_name(out);
  };
  for (int i = 0; i < kDepth; ++i) {
    const std::string n = std::to_string(i);
    pb::GraphProto graph;
    values(graph, "x" + n, "y" + n, i);
    const auto node = [&](const char* op, const std::string& in, const std::string& out) {
      auto* made = graph.add_node();
      made->set_op_type(op);
      made->add_input(in);
      made->add_output(out);
      return made;
    };
    if (i == 0) {
      node("Neg", "x0", "y0");
    } else {
      auto* keep = node("SplitToSequence", "x" + n, "s" + n)->add_attribute();
      keep->set_name("keepdims");
      keep->set_type(pb::AttributeProto::INT);
      auto* body = node("SequenceMap", "s" + n, "m" + n)->add_attribute();
      body->set_name("body");
      body->set_type(pb::AttributeProto::GRAPH);
      *body->mutable_g() = inner;
      for (const char* name : {"axis", "new_axis"}) {
        auto* attribute = name[0] == 'a' ? node("ConcatFromSequence", "m" + n, "y" + n)->add_attribute()
                                         : graph.mutable_node(2)->add_attribute();
        attribute->set_name(name);
        attribute->set_type(pb::AttributeProto::INT);
        attribute->set_i(name[0] == 'n');
      }
    }
    inner = graph;
  }
  *m.proto.mutable_graph() = inner;
  m.proto.mutable_graph()->set_name("test");
  CHECK(contains(errors(m), "become more than"));
}

TEST_CASE("a sequence of more parts than memory holds nodes is split in a loop") {
  for (const int64_t size : {1, 3}) {
    Model m;
    m.ints("size", {size});
    m.proto.mutable_graph()->mutable_initializer(0)->clear_dims();
    m.ints("at", {5});
    m.proto.mutable_graph()->mutable_initializer(1)->clear_dims();
    auto* axis = m.node("SplitToSequence", {"x", "size"}, {"s"})->add_attribute();
    axis->set_name("axis");
    axis->set_type(pb::AttributeProto::INT);
    axis->set_i(1);
    m.node("SequenceAt", {"s", "at"}, {"y"});
    ImportOptions options;
    options.shapes["x"] = {2, int64_t{1} << 40};
    auto graph = import(m, options);
    REQUIRE(graph);
    CHECK(count_of(*graph, graph::OpKind::kSlice) < 100);
  }
}

TEST_CASE("files that are no models") {
  Diagnostics empty, garbage, missing, newer;
  import_bytes("", empty);
  CHECK(contains(empty.text(), "is empty."));
  import_bytes("\x01 is no model at all", garbage);
  CHECK(contains(garbage.text(), "is not an ONNX model, or it is truncated."));
  for (auto [bytes, text] : {
           std::pair{std::string("PK\x03\x04"), "It is a zip archive, as PyTorch's"},
           {std::string("\x02\0\0\0\0\0\0\0{\"w\":", 13), "It holds weights alone (safetensors)"},
           {std::string("\x1c\0\0\0TFL3", 8), "It is a LiteRT (TFLite) model"},
           {std::string("version https:"), "It is Git LFS's note"},
           {std::string("\x80\x05\x95"), "It is a Python pickle"},
           {std::string("ir_version: 8\ngraph {\n"), "It is text. If it is ONNX's own"},
           {std::string("{\"irVersion\": \"8\"}"), "It is text. If it is ONNX's own"},
       }) {
    Diagnostics other;
    import_bytes(bytes, other);
    CHECK(contains(other.text(), std::string("is not an ONNX model. ") + text));
  }
  import_model("/nonexistent/m.onnx", {}, missing);
  CHECK(contains(missing.text(), "Cannot open the file '/nonexistent/m.onnx' (No such file or directory)."));
  Model m(28);
  m.proto.set_ir_version(14);
  m.node("Relu", {"x"}, {"y"});
  import_bytes(m.proto.SerializeAsString(), newer);
  CHECK(newer.text() ==
        "The model's IR version (14) is newer than the newest that tern reads (13).\n"
        "The model's opset (28) lies outside [7, 27], which tern reads; onnx.version_converter may convert "
        "it.");
}

TEST_CASE("subgraphs nest deeper than protobuf reads unasked, and no deeper than is said") {
  const auto nested = [](int depth) {
    pb::GraphProto inner;
    auto* leaf = inner.add_node();
    leaf->set_op_type("Neg");
    leaf->add_input("x");
    leaf->add_output("leaf");
    inner.add_output()->set_name("leaf");
    for (int i = 1; i < depth; ++i) {
      pb::GraphProto outer;
      auto* choice = outer.add_node();
      choice->set_op_type("If");
      choice->add_input("c");
      choice->add_output("o" + std::to_string(i));
      outer.add_output()->set_name(choice->output(0));
      for (const char* name : {"then_branch", "else_branch"}) {
        auto* branch = choice->add_attribute();
        branch->set_name(name);
        branch->set_type(pb::AttributeProto::GRAPH);
        *branch->mutable_g() = name[0] == 't' ? inner : pb::GraphProto();
        if (name[0] == 't') continue;
        auto* other = branch->mutable_g()->add_node();
        other->set_op_type("Relu");
        other->add_input("x");
        other->add_output("e" + std::to_string(i));
        branch->mutable_g()->add_output()->set_name(other->output(0));
      }
      inner = outer;
    }
    Model m;
    auto* c = m.proto.mutable_graph()->add_input();
    Model::add_value(c, "c", {});
    c->mutable_type()->mutable_tensor_type()->set_elem_type(pb::TensorProto::BOOL);
    for (const auto& node : inner.node()) *m.proto.mutable_graph()->add_node() = node;
    m.proto.mutable_graph()->mutable_output(0)->set_name(inner.output(0).name());
    return m.proto.SerializeAsString();
  };
  Diagnostics deep, too_deep, absurd;
  CHECK_MESSAGE(import_bytes(nested(60), deep), deep.text());
  import_bytes(nested(80), too_deep);
  CHECK_MESSAGE(contains(too_deep.text(), "nest 79 deep; tern reads them up to 64 deep."), too_deep.text());
  import_bytes(nested(450), absurd);
  CHECK_MESSAGE(contains(absurd.text(), "is not an ONNX model, or it is truncated."), absurd.text());
}

TEST_CASE("damaged files give errors or well-formed graphs") {
  Model m;
  m.ints("target", {-1, 2});
  m.floats("w", {2, 3})->set_raw_data(std::string(24, '\1'));
  m.node("Reshape", {"x", "target"}, {"r"});
  m.node("MatMul", {"r", "w"}, {"p"});
  m.node("Softmax", {"p"}, {"y"});
  std::string bytes = m.proto.SerializeAsString();
  for (size_t at = 0; at < bytes.size(); ++at) {
    Diagnostics truncated, flipped;
    import_bytes(bytes.substr(0, at), truncated);
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
    auto graph = import_bytes(damaged, flipped);
    CHECK((graph != nullptr) == flipped.ok());
    if (graph) CHECK(graph::verify(*graph) == "");
  }
}

}  // namespace tern::onnx
