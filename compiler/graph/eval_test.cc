#include <doctest/doctest.h>

#include "compiler/graph/ir.h"

namespace tern::graph {
namespace {

// Evaluates a graph without inputs and prints its outputs as constants.
std::string outputs(const std::string& body) {
  Result<std::unique_ptr<Graph>> g = parse_graph("graph \"g\" {\n" + body + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  CHECK(verify(**g) == "");
  Result<std::vector<EvalValue>> out = evaluate(**g, {});
  if (!out.ok()) return out.error().message;
  std::string text;
  for (const EvalValue& v : *out) {
    Graph holder;
    Builder(holder, holder.body).constant(v.tensor);
    const std::string printed = print_graph(holder);
    const size_t start = printed.find("constant ") + 9;
    text += (text.empty() ? "" : "; ") + printed.substr(start, printed.find('\n', start) - start);
  }
  return text;
}

constexpr const char* kMatrix = "%x = constant f32[2,3] {1, 2, 3, 4, 5, 6}\n%z = constant f32[] {0}\n";

std::string on_matrix(const std::string& call) {
  return outputs(kMatrix + ("%y = " + call) + "\n output %y");
}

TEST_CASE("views") {
  CHECK(on_matrix("transpose(%x) <perm=[1,0]>") == "f32[3,2] {1, 4, 2, 5, 3, 6}");
  CHECK(on_matrix("reshape(%x) <shape=[3,2]>") == "f32[3,2] {1, 2, 3, 4, 5, 6}");
  CHECK(on_matrix("slice(%x) <starts=[1,2], sizes=[1,3], steps=[1,-1]>") == "f32[1,3] {6, 5, 4}");
  CHECK(on_matrix("broadcast(%z) <shape=[2]>") == "f32[2] {0, 0}");
  CHECK(on_matrix("concat(%x, %x) <axis=1>") == "f32[2,6] {1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6}");
  CHECK(on_matrix("pad(%x, %z) <low=[0,1], high=[0,-1], mode=\"constant\">") ==
        "f32[2,3] {0, 1, 2, 0, 4, 5}");
  CHECK(on_matrix("pad(%x, %z) <low=[0,2], high=[0,1], mode=\"reflect\">") ==
        "f32[2,6] {3, 2, 1, 2, 3, 2, 6, 5, 4, 5, 6, 5}");
  CHECK(on_matrix("pad(%x, %z) <low=[0,1], high=[0,1], mode=\"wrap\">") ==
        "f32[2,5] {3, 1, 2, 3, 1, 6, 4, 5, 6, 4}");
  CHECK(outputs("%x = constant i4[2,2] {1, 2, 3, -4}\n%y = transpose(%x) <perm=[1,0]>\noutput %y") ==
        "i4[2,2] {1, 3, 2, -4}");
  CHECK(outputs("%x = constant string[2] {\"a\", \"b\"}\n%y = concat(%x, %x) <axis=0>\noutput %y") ==
        "string[4] {\"a\", \"b\", \"a\", \"b\"}");
}

TEST_CASE("a transpose of three axes, each order") {
  const std::string x = "%x = constant i32[2,3,2] {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}\n";
  CHECK(outputs(x + "%y = transpose(%x) <perm=[2,0,1]>\noutput %y") ==
        "i32[2,2,3] {0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11}");
  CHECK(outputs(x + "%y = transpose(%x) <perm=[2,1,0]>\noutput %y") ==
        "i32[2,3,2] {0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11}");
  CHECK(outputs(x + "%y = transpose(%x) <perm=[1,0,2]>\noutput %y") ==
        "i32[3,2,2] {0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11}");
}

TEST_CASE("reductions, scans, windows") {
  CHECK(on_matrix("reduce(%x) <op=add, axes=[0]>") == "f32[3] {5, 7, 9}");
  CHECK(on_matrix("reduce(%x) <op=max, axes=[0,1]>") == "f32[] {6}");
  CHECK(on_matrix("scan(%x) <op=add, axis=1, exclusive=false, reverse=true>") ==
        "f32[2,3] {6, 5, 3, 15, 11, 6}");
  CHECK(on_matrix("scan(%x) <op=mul, axis=0, exclusive=true, reverse=false>") ==
        "f32[2,3] {1, 1, 1, 1, 2, 3}");
  CHECK(on_matrix("arg_reduce(%x) <largest=true, axis=1, last=false, dtype=i64>") == "i64[2] {2, 2}");
  CHECK(outputs("%x = constant f16[2] {60000, 60000}\n%y = reduce_window(%x) <op=add, window=[2], strides=[1], "
                "low=[0], high=[0], dilations=[1], accumulate=f32>\noutput %y") == "f32[1] {120000}");
  CHECK(on_matrix("reduce_window(%x) <op=max, window=[1,2], strides=[1,1], low=[0,1], high=[0,0], "
                  "dilations=[1,1]>") == "f32[2,3] {1, 2, 3, 4, 5, 6}");
  CHECK(on_matrix(
            "arg_reduce_window(%x) <window=[2,2], strides=[1,1], low=[0,0], high=[0,0], dilations=[1,1]>") ==
        "i64[1,2] {4, 5}");
  CHECK(outputs("%x = constant i8[3] {100, 100, 100}\n%y = reduce(%x) <op=add, axes=[0]>\noutput %y") ==
        "i8[] {44}");
  CHECK(outputs("%x = constant f32[0] {}\n%y = reduce(%x) <op=min, axes=[0]>\noutput %y") == "f32[] {inf}");
  CHECK(outputs("%x = constant bool[2] {true, false}\n%y = reduce(%x) <op=and, axes=[0]>\noutput %y") ==
        "bool[] {false}");
}

TEST_CASE("contractions") {
  CHECK(outputs("%x = constant f32[1,2,2] {1, 2, 3, 4}\n%w = constant f32[2,2,1] {1, 1, 2, 0}\n"
                "%y = dot(%x, %w)\noutput %y") == "f32[2,2,1] {3, 7, 2, 6}");
  CHECK(outputs("%x = constant u8[1,1] {255}\n%w = constant i8[1,1] {-2}\n%y = dot(%x, %w)\noutput %y") ==
        "i32[1,1] {-510}");
  const std::string x = "%x = constant f32[1,1,3,3] {1, 2, 3, 4, 5, 6, 7, 8, 9}\n";
  CHECK(
      outputs(
          x +
          "%w = constant f32[1,1,2,2] {1, 0, 0, 1}\n%y = conv(%x, %w) <strides=[2,2], low=[1,1], high=[0,0], "
          "dilations=[1,1], lhs_dilations=[1,1], groups=1>\noutput %y") == "f32[1,1,2,2] {1, 3, 7, 14}");
  // Transposed: zeros between the elements.
  CHECK(outputs("%x = constant f32[1,1,2] {1, 2}\n%w = constant f32[1,1,2] {10, 1}\n%y = conv(%x, %w) "
                "<strides=[1], "
                "low=[1], high=[1], dilations=[1], lhs_dilations=[2], groups=1>\noutput %y") ==
        "f32[1,1,4] {1, 10, 2, 20}");
  // Groups and negative padding.
  CHECK(outputs(
            "%x = constant f32[1,2,3] {1, 2, 3, 4, 5, 6}\n%w = constant f32[2,1,1] {2, 3}\n%y = conv(%x, %w) "
            "<strides=[1], low=[-1], high=[0], dilations=[1], lhs_dilations=[1], groups=2>\noutput %y") ==
        "f32[1,2,2] {4, 6, 15, 18}");
}

TEST_CASE("indexing") {
  CHECK(outputs(kMatrix +
                std::string("%i = constant i64[2] {-1, 0}\n%y = gather(%x, %i) <axis=1>\noutput %y")) ==
        "f32[2,2] {3, 1, 6, 4}");
  CHECK(outputs(kMatrix + std::string("%i = constant i64[1] {3}\n%y = gather(%x, %i) <axis=1>\noutput %y")) ==
        "The index 3 of 'gather' lies outside [-3, 3).");
  CHECK(outputs(kMatrix + std::string("%i = constant i64[1,2] {1, 0}\n%y = gather_elements(%x, %i) <axis=0>\n"
                                      "output %y")) == "f32[1,2] {4, 2}");
  CHECK(outputs(kMatrix + std::string("%i = constant i64[2,1] {1, 0}\n%y = gather_nd(%x, %i) <batch_dims=1>\n"
                                      "output %y")) == "f32[2] {2, 4}");
  CHECK(outputs(kMatrix + std::string("%i = constant i64[2,1] {1, 1}\n%u = constant f32[2,3] splat 1\n"
                                      "%y = scatter_nd(%x, %i, %u) <reduction=\"add\">\noutput %y")) ==
        "f32[2,3] {1, 2, 3, 6, 7, 8}");
  CHECK(outputs("%x = constant f32[4] {1, nan, 3, 3}\n%v, %i = top_k(%x) <axis=0, k=[3], largest=true, "
                "sorted=true>\n"
                "output %v\noutput %i") == "f32[3] {nan, 3, 3}; i64[3] {1, 2, 3}");
  CHECK(outputs("%x = constant i32[2,2] {0, 5, 6, 0}\n%i, %n = nonzero(%x)\noutput %i\noutput %n") ==
        "i64[2,2] {0, 1, 1, 0}; i64[] {2}");
  CHECK(
      outputs("%x = constant i32[4] {2, 1, 2, 0}\n%v, %f, %i, %c, %n = unique(%x) <sorted=false>\noutput %v\n"
              "output %f\noutput %i\noutput %c\noutput %n") ==
      "i32[3] {2, 1, 0}; i64[3] {0, 1, 3}; i64[4] {0, 1, 0, 2}; i64[3] {2, 1, 1}; i64[] {3}");
}

TEST_CASE("control flow and sequences") {
  CHECK(outputs("%n = constant i64[] {4}\n%t = constant bool[] {true}\n%one = constant i64[] {1}\n"
                "%last, %all = loop(%n, %t, %one) <scans=1> {\n region (%i: i64[], %go: bool[], %v: i64[])\n"
                " %next = add(%v, %v)\n %lim = constant i64[] {2}\n %more = lt(%i, %lim)\n yield %more, "
                "%next, %v\n}\n"
                "output %last\noutput %all") == "i64[] {8}; i64[3] {1, 2, 4}");
  CHECK(outputs(
            "%a = constant i64[2] {1, 2}\n%b = constant i64[1] {3}\n%s = seq_construct(%a, %b) <dtype=i64>\n"
            "%p = constant i64[] {-1}\n%e = seq_at(%s, %p)\n%n = seq_length(%s)\noutput %e\noutput %n") ==
        "i64[1] {3}; i64[] {2}");
  CHECK(outputs(
            "%c = constant bool[] {false}\n%r = if(%c) {\n region ()\n %1 = constant f32[1] {1}\n yield %1\n"
            " region ()\n %2 = constant f32[2] {1, 2}\n yield %2\n}\n%y = neg(%r)\noutput %y") ==
        "f32[2] {-1, -2}");
  CHECK(outputs("%c = constant bool[] {false}\ncheck(%c) <message=\"no\">") == "no");
}

TEST_CASE("symbols come from input shapes") {
  auto g = parse_graph(
      "graph \"g\" {\n symbol N: input 0 axis 0, max 3\n input %x: f32[N]\n"
      " %d = from_dims() <dims=[2*N+1], shape=[1], dtype=i64>\n output %d\n}");
  REQUIRE(g.ok());
  const auto run = [&](int64_t n) { return evaluate(**g, {{TensorData::make(DType::kF32, {n}), nullptr}}); };
  CHECK(run(3).value()[0].tensor->int_at(0) == 7);
  CHECK(run(4).error().message == "The dimension N is 4 and must lie in [0, 3].");
}

}  // namespace
}  // namespace tern::graph
