// Operands that operators do not expect: of any rank, empty, missing. Each is refused in a sentence.
#include "compiler/onnx/import_test_util.h"

namespace tern::onnx {

namespace {

struct Operand {
  const char* name;
  int type;
  std::vector<std::string> dims;
};

// What is said of one node with these inputs, whose types and shapes are all that is known of them.
std::string refusal(const char* domain, const char* op, const std::vector<Operand>& operands,
                    const std::vector<std::pair<const char*, int64_t>>& attributes = {}) {
  Model m(23);
  auto* opset = m.proto.add_opset_import();
  opset->set_domain("com.microsoft");
  opset->set_version(1);
  m.proto.mutable_graph()->clear_input();
  std::vector<std::string> names;
  for (const Operand& o : operands) {
    names.push_back(o.name);
    auto* info = m.proto.mutable_graph()->add_input();
    Model::add_value(info, o.name, o.dims);
    info->mutable_type()->mutable_tensor_type()->set_elem_type(o.type);
  }
  pb::NodeProto* node = m.node(op, names, {"y"});
  node->set_domain(domain);
  for (const auto& [name, value] : attributes) {
    auto* a = node->add_attribute();
    a->set_name(name);
    a->set_type(pb::AttributeProto::INT);
    a->set_i(value);
  }
  const std::string said = errors(m);
  CAPTURE(said);
  CHECK(contains(said, " - While importing node '" + std::string(op) + "_y' ("));
  return said.substr(0, said.find('\n'));
}

constexpr const char* kMicrosoft = "com.microsoft";
constexpr int kFloat = pb::TensorProto::FLOAT, kI64 = pb::TensorProto::INT64, kU8 = pb::TensorProto::UINT8;
constexpr int kInt4 = 22;  // older schemas have no name for it

}  // namespace

TEST_CASE("a node of many inputs that has none is refused") {
  Model m;
  m.node("FeatureVectorizer", {}, {"y"})->set_domain("ai.onnx.ml");
  auto* opset = m.proto.add_opset_import();
  opset->set_domain("ai.onnx.ml");
  opset->set_version(1);
  CHECK(errors(m) ==
        "The node has no inputs.\n"
        " - While importing node 'FeatureVectorizer_y' (ai.onnx.ml.FeatureVectorizer, opset 1)");
}

TEST_CASE("n-grams of two billion skips, and in column 2^40, are refused at once") {
  const auto refused = [](const char* width, int64_t skips, int64_t place) {
    Model m(13);
    m.proto.mutable_graph()->clear_input();
    auto* info = m.proto.mutable_graph()->add_input();
    Model::add_value(info, "x", {width});
    info->mutable_type()->mutable_tensor_type()->set_elem_type(kI64);
    pb::NodeProto* node = m.node("TfIdfVectorizer", {"x"}, {"y"});
    const auto attribute = [&](const char* name, pb::AttributeProto::AttributeType type) {
      auto* a = node->add_attribute();
      a->set_name(name);
      a->set_type(type);
      return a;
    };
    attribute("mode", pb::AttributeProto::STRING)->set_s("TF");
    for (const char* length : {"min_gram_length", "max_gram_length"})
      attribute(length, pb::AttributeProto::INT)->set_i(2);
    attribute("max_skip_count", pb::AttributeProto::INT)->set_i(skips);
    const auto ints = [&](const char* name, std::vector<int64_t> values) {
      auto* a = attribute(name, pb::AttributeProto::INTS);
      for (int64_t v : values) a->add_ints(v);
    };
    ints("ngram_counts", {0, 0});
    ints("ngram_indexes", {0, place});
    ints("pool_int64s", {1, 2, 3, 4});
    Diagnostics diagnostics;
    import_bytes(m.proto.SerializeAsString(), diagnostics);
    const std::string said = diagnostics.text();
    return said.substr(0, said.find('\n'));
  };
  constexpr int64_t kMany = INT32_MAX;
  CHECK(refused("12", kMany, 1).empty());  // a row ends the skips
  CHECK(refused("N", kMany, 1) ==
        "Attribute 'max_skip_count' (2147483647) is the most elements that are skipped in rows of N; at most "
        "255 "
        "are supported.");
  CHECK(refused("N", 2, int64_t{1} << 40) ==
        "A place of an n-gram (1099511627776) is beyond the columns that 2 n-grams may have: their table has "
        "at "
        "most 67108864 numbers.");
  CHECK(contains(refused("N", 2, INT64_MAX), "(9223372036854775807) is beyond the columns"));
  CHECK(refused("N", 2, -1) == "A place of an n-gram (-1) is negative.");
}

TEST_CASE("antialiasing to nothing is nothing, and of too much is refused") {
  const auto said = [](const char* height, int64_t to) {
    Model m(19);
    m.proto.mutable_graph()->clear_input();
    auto* info = m.proto.mutable_graph()->add_input();
    Model::add_value(info, "x", {"1", "1", height, "8"});
    info->mutable_type()->mutable_tensor_type()->set_elem_type(kFloat);
    m.ints("sizes", {1, 1, to, 8});
    pb::NodeProto* node = m.node("Resize", {"x", "", "", "sizes"}, {"y"});
    auto* a = node->add_attribute();
    a->set_name("antialias");
    a->set_type(pb::AttributeProto::INT);
    a->set_i(1);
    a = node->add_attribute();
    a->set_name("mode");
    a->set_type(pb::AttributeProto::STRING);
    a->set_s("linear");
    Diagnostics diagnostics;
    import_bytes(m.proto.SerializeAsString(), diagnostics);
    const std::string text = diagnostics.text();
    return text.substr(0, text.find('\n'));
  };
  CHECK(said("64", 0).empty());
  CHECK(said("64", 1).empty());
  const std::string refused = said("100000", 1);
  CAPTURE(refused);
  CHECK(contains(refused, "Antialiasing at a scale of "));
  CHECK(contains(refused, " for each of the output's; at most 4096 are supported."));
}

TEST_CASE("parts without end are refused") {
  for (const int64_t count : {int64_t{INT32_MAX}, INT64_MAX}) {
    CHECK(refusal("", "Split", {{"x", kFloat, {"N"}}}, {{"num_outputs", count}}) ==
          fmt::format("Attribute 'num_outputs' ({}) is above 65536; the node has 1 outputs.", count));
  }
}

TEST_CASE("an instance normalisation of what has no channels is refused") {
  Model m;
  m.proto.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape()->Clear();
  m.floats("scale", {1})->add_float_data(1);
  m.node("InstanceNormalization", {"x", "scale", "scale"}, {"y"});
  CHECK(contains(errors(m), "The operand (f32[]) has no channels."));
}

TEST_CASE("halves of a scalar are refused") {
  const auto refused = [](const char* op, const char* domain, std::vector<std::string> inputs) {
    Model m;
    m.proto.mutable_graph()
        ->mutable_input(0)
        ->mutable_type()
        ->mutable_tensor_type()
        ->mutable_shape()
        ->Clear();
    auto* opset = m.proto.add_opset_import();
    opset->set_domain("com.microsoft");
    opset->set_version(1);
    m.node(op, inputs, {"y"})->set_domain(domain);
    const std::string said = errors(m);
    CAPTURE(said);
    CHECK(contains(said, "The operand (f32[]) has no dimensions."));
  };
  refused("BiasSplitGelu", "com.microsoft", {"x", "x"});
}

TEST_CASE("resizing asks for one scale or size an axis") {
  Model m(19);
  m.node("Resize", {"x", "", "x"}, {"y"});
  CHECK(contains(errors(m),
                 "The scales (f32[2,N]) are not a list of one for each of 2 axes.\n"
                 " - While importing node 'Resize_y'"));
}

TEST_CASE("what must be one number, or have four dimensions, is refused where it is not") {
  Model transform(17), one_hot(17), attention(23);
  transform.ints("none", {});
  transform.node("DFT", {"x", "none"}, {"y"});
  CHECK(contains(errors(transform), "The length (i64[0]) is not one number."));
  Model axis(20), frames(17);
  axis.ints("none", {});
  axis.node("DFT", {"x", "", "none"}, {"y"});
  CHECK(contains(errors(axis), "The axis (i64[0]) is not one number."));
  frames.ints("step", {1});
  frames.ints("none", {});
  frames.node("STFT", {"x", "step", "", "none"}, {"y"});
  CHECK(contains(errors(frames), "The frame's length (i64[0]) is not one number."));
  one_hot.ints("none", {});
  one_hot.ints("values", {0, 1});
  one_hot.node("OneHot", {"x", "none", "values"}, {"y"});
  CHECK(contains(errors(one_hot), "The depth (i64[0]) is not one number."));
  Model::add_value(attention.proto.mutable_graph()->add_input(), "q", {"1", "2", "3", "4"});
  attention.node("Attention", {"q", "q", "q", "", "x", "x"}, {"y"});
  CHECK(contains(errors(attention), "The cache 4 (f32[2,N]) has not four dimensions."));
}

TEST_CASE("rotary embeddings refuse positions and caches of other ranks") {
  const auto refused = [](const std::vector<std::string>& x, const std::vector<std::string>& positions,
                          const std::vector<std::string>& cosine, const std::vector<std::string>& sine) {
    return refusal(
        kMicrosoft, "RotaryEmbedding",
        {{"x", kFloat, x}, {"p", kI64, positions}, {"cosine", kFloat, cosine}, {"sine", kFloat, sine}});
  };
  const std::vector<std::string> packed = {"1", "2", "8"}, heads = {"1", "2", "3", "8"}, table = {"16", "4"};
  CHECK(refused(packed, {"1"}, {}, table) == "A cache (f32[]) does not have two dimensions.");
  CHECK(refused(heads, {"1"}, table, {"4"}) == "A cache (f32[4]) does not have two dimensions.");
  CHECK(refused(heads, {}, table, table) == "The positions (i64[]) have neither one nor two dimensions.");
  CHECK(refused(heads, {"1", "3", "1"}, table, table) ==
        "The positions (i64[1,3,1]) have neither one nor two dimensions.");
  CHECK(refused({"8"}, {"1"}, table, table) == "The operand (f32[8]) has neither three nor four dimensions.");
}

TEST_CASE("tables in blocks refuse scales and zero points of other ranks") {
  const auto refused = [](int type, const std::vector<std::string>& data,
                          const std::vector<std::string>& scales, const std::vector<std::string>& points,
                          int64_t gather_axis, int64_t axis) {
    return refusal(
        kMicrosoft, "GatherBlockQuantized",
        {{"data", type, data}, {"i", kI64, {"2"}}, {"scales", kFloat, scales}, {"points", type, points}},
        {{"block_size", 32}, {"gather_axis", gather_axis}, {"quantize_axis", axis}});
  };
  CHECK(refused(kInt4, {"8", "32"}, {"8", "1"}, {}, 0, 1) ==
        "The zero points (i4[]) and the scales (f32[8,1]) do not have as many dimensions.");
  CHECK(refused(kInt4, {"8", "32"}, {"8", "1"}, {"8"}, 0, 1) ==
        "The zero points (i4[8]) and the scales (f32[8,1]) do not have as many dimensions.");
  CHECK(refused(kInt4, {"32", "8"}, {"1", "8"}, {"1"}, 1, 0) ==
        "The zero points (i4[1]) and the scales (f32[1,8]) do not have as many dimensions.");
  CHECK(refused(kU8, {"8", "16"}, {"8", "1"}, {}, 0, 1) ==
        "The zero points (u8[]) and the scales (f32[8,1]) do not have as many dimensions.");
  CHECK(refused(kU8, {"8", "16"}, {"8"}, {"8", "1"}, 0, 1) ==
        "The table (u8[8,16]) and its scales (f32[8]) do not have as many dimensions.");
  CHECK(refused(kU8, {}, {}, {}, 0, 0) == "Axis 0 lies outside [0, 0).");
}

TEST_CASE("the size of a head is known and positive where the scores' scale follows from it") {
  const auto attention = [](const std::string& width) {
    const std::vector<std::string> rows = {"1", "2", width};
    return refusal(kMicrosoft, "MultiHeadAttention",
                   {{"q", kFloat, rows}, {"k", kFloat, rows}, {"v", kFloat, rows}}, {{"num_heads", 2}});
  };
  CHECK(attention("W") == "The size of a head (floordiv(W,2)) must be known while compiling, and positive.");
  CHECK(attention("0") == "The size of a head (0) must be known while compiling, and positive.");
  const std::vector<std::string> none = {"1", "2", "0"};
  CHECK(refusal(kMicrosoft, "LinearAttention",
                {{"q", kFloat, none},
                 {"k", kFloat, none},
                 {"v", kFloat, {"1", "2", "4"}},
                 {"state", kFloat, {"1", "2", "0", "2"}},
                 {"decay", kFloat, none},
                 {"beta", kFloat, {"1", "2", "2"}}},
                {{"q_num_heads", 2}, {"kv_num_heads", 2}}) ==
        "The size of a head (0) must be known while compiling, and positive.");
}

}  // namespace tern::onnx
