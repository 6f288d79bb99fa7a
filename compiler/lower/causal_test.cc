#include "compiler/lower/causal.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

// The reach of %u, whose scores are %s.
std::string reach_in(const std::string& text) {
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n  output %u as \"u\"\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  const graph::Value* scores = nullptr;
  for (const auto& node : (*g)->body.nodes)
    if (node->kind == graph::OpKind::kDot) scores = node->result();
  const std::optional<Dim> reach = causal_reach((*g)->body.results[0], scores);
  return reach ? reach->text() : "none";
}

const char* const kScores = R"(
  input %q: f32[2,4,8]
  input %k: f32[2,8,4]
  %s = dot(%q, %k) : f32[2,4,4]
  %c = constant f32[] {0.25}
  %cb = broadcast(%c) <shape=[2,4,4]> : f32[2,4,4]
  %t = mul(%s, %cb) : f32[2,4,4]
  %low = constant f32[] {-1e38}
  %lb = broadcast(%low) <shape=[2,4,4]> : f32[2,4,4]
  %row = iota() <shape=[2,4,4], axis=1, dtype=i64> : i64[2,4,4]
  %column = iota() <shape=[2,4,4], axis=2, dtype=i64> : i64[2,4,4]
  %one = constant i64[] {1}
  %ones = broadcast(%one) <shape=[2,4,4]> : i64[2,4,4]
)";

TEST_CASE("positions that wrap around or are repeated make no causal mask") {
  const auto with = [](const char* row) {
    return reach_in(fmt::format(R"(
  input %q: f32[2,N,8]
  input %k: f32[2,8,N]
  %s = dot(%q, %k) : f32[2,N,N]
  %low = constant f32[] {{-inf}}
  %lb = broadcast(%low) <shape=[2,N,N]> : f32[2,N,N]
  %column = iota() <shape=[2,N,N], axis=2, dtype=i64> : i64[2,N,N]
  {}
  %b = le(%column, %row) : bool[2,N,N]
  %u = select(%b, %s, %lb) : f32[2,N,N])",
                                row));
  };
  CHECK(with("%row = iota() <shape=[2,N,N], axis=1, dtype=i64> : i64[2,N,N]") == "0");
  CHECK(with("%r = iota() <shape=[2,N,N], axis=1, dtype=i32> : i32[2,N,N]\n"
             "  %row = cast(%r) <to=i64> : i64[2,N,N]") == "0");
  CHECK(with("%r = iota() <shape=[2,N,N], axis=1, dtype=u8> : u8[2,N,N]\n"
             "  %row = cast(%r) <to=i64> : i64[2,N,N]") == "none");
  CHECK(with("%r = iota() <shape=[2,N,N], axis=1, dtype=i64> : i64[2,N,N]\n"
             "  %w = cast(%r) <to=u8> : u8[2,N,N]\n  %row = cast(%w) <to=i64> : i64[2,N,N]") == "none");
  CHECK(with("%r = iota() <shape=[1,N], axis=0, dtype=i64> : i64[1,N]\n"
             "  %row = broadcast(%r) <shape=[2,N,N]> : i64[2,N,N]") == "none");
  CHECK(with("%r = iota() <shape=[2,N,N], axis=1, dtype=i64> : i64[2,N,N]\n"
             "  %far = constant i64[] {9223372036854775807}\n"
             "  %f = broadcast(%far) <shape=[2,N,N]> : i64[2,N,N]\n  %row = add(%r, %f) : i64[2,N,N]") ==
        "none");
}

TEST_CASE("causal masks are known by what they are made of") {
  const auto with = [](const char* text) { return reach_in(std::string(kScores) + text); };
  CHECK(with(R"(
  %b = le(%column, %row) : bool[2,4,4]
  %u = select(%b, %t, %lb) : f32[2,4,4])") == "0");
  CHECK(with(R"(
  %last = add(%row, %ones) : i64[2,4,4]
  %b = gt(%last, %column) : bool[2,4,4]
  %u = select(%b, %t, %lb) : f32[2,4,4])") == "0");
  CHECK(with(R"(
  %b = gt(%column, %row) : bool[2,4,4]
  %u = select(%b, %lb, %t) : f32[2,4,4])") == "0");
  CHECK(with(R"(
  %z = constant i64[] {0}
  %zb = broadcast(%z) <shape=[4,4]> : i64[4,4]
  %set = constant i64[4,4] {1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4}
  %r = iota() <shape=[4,4], axis=0, dtype=i64> : i64[4,4]
  %l = iota() <shape=[4,4], axis=1, dtype=i64> : i64[4,4]
  %b = ge(%r, %l) : bool[4,4]
  %plane = select(%b, %set, %zb) : i64[4,4]
  %tri = broadcast(%plane) <shape=[2,4,4]> : i64[2,4,4]
  %mask = cast(%tri) <to=bool> : bool[2,4,4]
  %u = select(%mask, %t, %lb) : f32[2,4,4])") == "0");
  CHECK(with(R"(
  %m = constant bool[1,4,4] {true, true, false, false, true, true, true, false, true, true, true, true, true, true, true, true}
  %b = broadcast(%m) <shape=[2,4,4]> : bool[2,4,4]
  %u = select(%b, %t, %lb) : f32[2,4,4])") == "1");
  CHECK(with(R"(
  %m = constant f32[5,4] {0, -1e38, -1e38, -1e38, 0, 0, -1e38, -1e38, 0, 0, 0, -1e38, 0, 0, 0, 0, 0, 0, 0, 0}
  %l = slice(%m) <starts=[1,0], sizes=[4,4], steps=[1,1]> : f32[4,4]
  %b = broadcast(%l) <shape=[2,4,4]> : f32[2,4,4]
  %u = add(%t, %b) : f32[2,4,4])") == "1");
}

TEST_CASE("what is no causal mask, or leaves rows of which other masks left nothing") {
  const auto with = [](const char* text) { return reach_in(std::string(kScores) + text); };
  CHECK(with(R"(
  %b = ge(%column, %row) : bool[2,4,4]
  %u = select(%b, %t, %lb) : f32[2,4,4])") == "none");
  CHECK(with(R"(
  %b = lt(%column, %row) : bool[2,4,4]
  %u = select(%b, %t, %lb) : f32[2,4,4])") == "none");
  CHECK(with(R"(
  %b = le(%column, %row) : bool[2,4,4]
  %u = select(%b, %t, %cb) : f32[2,4,4])") == "none");
  CHECK(with(R"(
  %b = le(%column, %row) : bool[2,4,4]
  input %pad: f32[2,4,4]
  %p = add(%t, %pad) : f32[2,4,4]
  %u = select(%b, %p, %lb) : f32[2,4,4])") == "none");
  CHECK(with(R"(
  %m = constant bool[4,4] {true, true, true, true, true, true, false, false, true, true, true, false, true, true, true, true}
  %b = broadcast(%m) <shape=[2,4,4]> : bool[2,4,4]
  %u = select(%b, %t, %lb) : f32[2,4,4])") == "none");
}

TEST_CASE("attention skips keys that no query of a block sees") {
  const std::string text = R"(
  input %x: f32[1,2,N,16]
  input %y: f32[1,2,K,16]
  %q = abs(%x) : f32[1,2,N,16]
  %k = neg(%y) : f32[1,2,K,16]
  %v = abs(%y) : f32[1,2,K,16]
  %kt = transpose(%k) <perm=[0,1,3,2]> : f32[1,2,16,K]
  %s = dot(%q, %kt) : f32[1,2,N,K]
  %low = constant f32[] {-inf}
  %lb = broadcast(%low) <shape=[1,2,N,K]> : f32[1,2,N,K]
  %row = iota() <shape=[N,K], axis=0, dtype=i64> : i64[N,K]
  %column = iota() <shape=[N,K], axis=1, dtype=i64> : i64[N,K]
  %past = constant i64[] {30}
  %pb = broadcast(%past) <shape=[N,K]> : i64[N,K]
  %last = add(%row, %pb) : i64[N,K]
  %seen = le(%column, %last) : bool[N,K]
  %seen4 = broadcast(%seen) <shape=[1,2,N,K]> : bool[1,2,N,K]
  %u = select(%seen4, %s, %lb) : f32[1,2,N,K]
)" + softmax_lines("u", "p", "1,2,N,K", 3) +
                           R"(
  %o = dot(%p, %v) : f32[1,2,N,16]
  %z = neg(%o) : f32[1,2,N,16]
  output %z as "z")";
  for (const auto& [n, k] : {std::pair("100", "130"), std::pair("7", "37"), std::pair("N", "K")}) {
    std::string sized = text;
    for (const auto& [from, to] : {std::pair(std::string("N"), n), std::pair(std::string("K"), k)}) {
      for (const char* end : {",", "]"}) {
        for (const char* begin : {"[", ","}) {
          const std::string old = begin + from + end, with = std::string(begin) + to + end;
          if (old == with) continue;
          for (size_t at = 0; (at = sized.find(old, at)) != std::string::npos; at += with.size())
            sized.replace(at, old.size(), with);
        }
      }
    }
    LowerCase c{sized, {100, 130}};
    for (const DType precision : {DType::kF32, DType::kF16}) {
      c.precision = precision;
      check_lowering_for(c, {Arch::kX86_64, {Level::kX86V2, Level::kX86V4}}, "causal");
      check_lowering_for(c, {Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}}, "causal");
      check_lowering_for(c, {Arch::kVulkan, {Level::kVulkan11, Level::kVulkanMatrix}}, "causal");
    }
  }
}

}  // namespace
}  // namespace tern::lower
