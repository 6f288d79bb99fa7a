// Attention on CPUs: chains of regions as one dispatch, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

// What an attention layer is made of; empty: no such part.
struct Layer {
  std::string batch = "2,3", queries = "5", keys = "7";
  int depth = 8, width = 8;
  std::string mask = {};    // shape of an input that is added to the scaled scores
  std::string chosen = {};  // shape of a bool input that selects scores, others are `floor`
  std::string floor = "-inf";
  bool causal = false;           // keys later than the query are masked, by comparing positions
  bool transposed_keys = false;  // K lies as depth x keys
  bool scaled_operands = false;  // Q and K are scaled before, in the same kernel
};

std::string graph_of(const Layer& l) {
  const auto shape = [&](const std::string& rows, const std::string& columns) {
    return fmt::format("{},{},{}", l.batch, rows, columns);
  };
  const std::string qs = shape(l.queries, std::to_string(l.depth)),
                    ks = shape(l.keys, std::to_string(l.depth)), kts = shape(std::to_string(l.depth), l.keys),
                    vs = shape(l.keys, std::to_string(l.width)), ss = shape(l.queries, l.keys),
                    os = shape(l.queries, std::to_string(l.width));
  std::string out = fmt::format("input %q: f32[{}]\n", qs);
  out += fmt::format("input {}: f32[{}]\n", l.transposed_keys ? "%kt" : "%k", l.transposed_keys ? kts : ks);
  out += fmt::format("input %v: f32[{}]\n", vs);
  if (!l.mask.empty()) out += fmt::format("input %mask: f32[{}]\n", l.mask);
  if (!l.chosen.empty()) out += fmt::format("input %chosen: bool[{}]\n", l.chosen);
  out += "%c = constant f32[] {0.25}\n";
  std::string q = "%q", k = "%k", score;
  if (l.scaled_operands) {
    out += fmt::format("%cq = broadcast(%c) <shape=[{0}]> : f32[{0}]\n%qq = mul(%q, %cq) : f32[{0}]\n", qs);
    out += fmt::format("%ck = broadcast(%c) <shape=[{0}]> : f32[{0}]\n%kk = mul(%k, %ck) : f32[{0}]\n", ks);
    q = "%qq", k = "%kk";
  }
  const int rank = static_cast<int>(std::count(l.batch.begin(), l.batch.end(), ',')) + 3;
  if (!l.transposed_keys) {
    std::string perm;
    for (int d = 0; d < rank - 2; ++d) perm += fmt::format("{},", d);
    out += fmt::format("%kt = transpose({}) <perm=[{}{},{}]> : f32[{}]\n", k, perm, rank - 1, rank - 2, kts);
  }
  out +=
      fmt::format("%s = dot({}, %kt) : f32[{}]\n%cs = broadcast(%c) <shape=[{}]> : f32[{}]\n", q, ss, ss, ss);
  out += fmt::format("%t = mul(%s, %cs) : f32[{}]\n", ss);
  score = "%t";
  if (!l.mask.empty()) {
    out += fmt::format("%mb = broadcast(%mask) <shape=[{0}]> : f32[{0}]\n%u = add({1}, %mb) : f32[{0}]\n", ss,
                       score);
    score = "%u";
  }
  if (l.causal) {
    out += fmt::format(
        "%rows = iota() <shape=[{0}], axis={1}, dtype=i64>\n"
        "%columns = iota() <shape=[{0}], axis={2}, dtype=i64>\n"
        "%early = ge(%rows, %columns) : bool[{0}]\n",
        ss, rank - 2, rank - 1);
    out += "%low = constant f32[] {-10000.0}\n";
    out += fmt::format(
        "%lowb = broadcast(%low) <shape=[{0}]> : f32[{0}]\n"
        "%w = select(%early, {1}, %lowb) : f32[{0}]\n",
        ss, score);
    score = "%w";
  }
  if (!l.chosen.empty()) {
    out += fmt::format(
        "%hb = broadcast(%chosen) <shape=[{0}]> : bool[{0}]\n%ninf = constant f32[] {{{1}}}\n"
        "%nb = broadcast(%ninf) <shape=[{0}]> : f32[{0}]\n"
        "%h = select(%hb, {2}, %nb) : f32[{0}]\n",
        ss, l.floor, score);
    score = "%h";
  }
  out += softmax_lines(score.substr(1), "p", ss, rank - 1);
  out += fmt::format("%o = dot(%p, %v) : f32[{0}]\n%z = neg(%o) : f32[{0}]\n", os);
  return out + "output %z as \"z\"\n";
}

// Checks the layer, and that it is one dispatch.
void check_layer(const Layer& layer, std::vector<int64_t> symbols = {}, int dispatches = 1) {
  LowerCase c{graph_of(layer)};
  c.symbols = std::move(symbols);
  check_lowering(c);
  c.dispatches = dispatches;
  for (const Level level : {Level::kX86V2, Level::kX86V3, Level::kX86V4})
    check_lowering_for(c, {Arch::kX86_64, {level}}, "one dispatch");
  check_lowering_for(c, {Arch::kAArch64, {Level::kAArch64}}, "one dispatch");
}

TEST_CASE("attention: few queries, ragged rows") {
  check_layer({});
  check_layer({.batch = "3", .queries = "1", .keys = "33", .depth = 20, .width = 5});
}

TEST_CASE("attention: masks") {
  check_layer({.queries = "9", .keys = "9", .mask = "2,1,1,9"});
  check_layer({.queries = "9", .keys = "17", .mask = "1,3,9,17"});
  check_layer({.queries = "17", .keys = "17", .causal = true});
  // Rows of which nothing is left are NaN, as the formula says.
  check_layer({.queries = "6", .keys = "5", .chosen = "2,1,6,5"});
  check_layer({.queries = "6", .keys = "5", .chosen = "2,1,1,5", .floor = "-10000.0"});
}

// As left padding is exported. Rows whose keys are all hidden so have the mean of the values.
TEST_CASE("attention: masks of finite low values that hide all keys of a block, or all of a row") {
  for (const int64_t hidden : {269, 300}) {
    for (const double low : {-3.4028235e38, -1e30, -1e10}) {
      LowerCase c{graph_of(
          {.batch = "1,2", .queries = "20", .keys = "300", .depth = 8, .width = 8, .mask = "1,1,20,300"})};
      const std::vector<std::vector<int64_t>> shapes = {{1, 2, 20, 8}, {1, 2, 300, 8}, {1, 2, 300, 8}};
      for (const std::vector<int64_t>& shape : shapes) {
        auto data = TensorData::make(DType::kF32, shape);
        for (int64_t i = 0; i < data->count(); ++i)
          data->set_float(i, static_cast<double>(i * 7 % 13 - 6) / 4);
        c.inputs.push_back(std::move(data));
      }
      auto mask = TensorData::make(DType::kF32, {1, 1, 20, 300});
      for (int64_t i = 0; i < mask->count(); ++i) mask->set_float(i, i % 300 < hidden ? low : 0.0);
      c.inputs.push_back(std::move(mask));
      check_lowering_once(c, "default");
    }
  }
}

TEST_CASE("attention: register tiles, several blocks of queries and keys") {
  check_layer({.batch = "1", .queries = "29", .keys = "40", .depth = 12, .width = 20});
  Layer blocks{.batch = "1", .queries = "131", .keys = "530", .depth = 5, .width = 3, .mask = "1,1,530"};
  LowerCase c{graph_of(blocks)};
  c.dispatches = 1;
  check_lowering_for(c, {Arch::kX86_64, {Level::kX86V2, Level::kX86V4}}, "blocks");
}

TEST_CASE("attention on Vulkan: keys in parts where queries are few, masks that hide parts, no keys") {
  const Target vulkan{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanSubgroup}};
  const auto check = [&](const Layer& layer, std::vector<int64_t> symbols = {}) {
    LowerCase c{graph_of(layer)};
    c.symbols = std::move(symbols);
    c.dispatches = 2;
    check_lowering_for(c, vulkan, "parts");
  };
  check({.batch = "2", .queries = "1", .keys = "300"});
  check({.batch = "1", .queries = "4", .keys = "520", .depth = 20, .width = 13});
  check({.batch = "2", .queries = "3", .keys = "270", .mask = "1,1,270"});
  check({.batch = "2", .queries = "3", .keys = "270", .chosen = "2,3,270"});
  check({.batch = "1", .queries = "4", .keys = "400", .causal = true});
  // A number that is known at run time only: parts, or three dispatches of which one has an empty grid.
  for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{{1, 300}, {8, 70}, {9, 70}, {3, 0}}) {
    LowerCase c{graph_of({.batch = "2", .queries = "N", .keys = "K", .mask = "1,1,K"})};
    c.symbols = {n, k};
    c.dispatches = 3;
    check_lowering_for(c, vulkan, fmt::format("{} queries, {} keys, not known", n, k));
  }
}

TEST_CASE("attention: keys that are columns, operands computed on the way") {
  check_layer({.queries = "3", .keys = "21", .transposed_keys = true});
  check_layer({.queries = "20", .keys = "21", .transposed_keys = true});
  check_layer({.queries = "20", .keys = "21", .scaled_operands = true}, {}, -1);
}

TEST_CASE("attention: symbolic lengths") {
  const Layer layer{.batch = "1,2", .queries = "N", .keys = "K", .depth = 8, .width = 8, .mask = "1,1,1,K"};
  for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 40}, {23, 23}, {12, 150}})
    check_layer(layer, {n, k});
  // Without keys the result is zero.
  LowerCase c{graph_of(layer)};
  c.symbols = {3, 0};
  check_lowering_for(c, {Arch::kX86_64, {Level::kX86V2, Level::kX86V4}}, "no keys");
  LowerCase none{graph_of({.queries = "3", .keys = "0"})};
  check_lowering_for(none, {Arch::kX86_64, {Level::kX86V4}}, "no keys");
}

}  // namespace
}  // namespace tern::lower
