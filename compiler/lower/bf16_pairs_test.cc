// Contractions of values stored in bf16: every shape of operand, at the level that multiplies pairs of them
// and at those that widen the same words.
#include "compiler/lower/lower_test_util.h"
#include "compiler/lower/packing.h"

namespace tern::lower {
namespace {

const Target kTarget{Arch::kX86_64, {Level::kX86V2, Level::kX86V3, Level::kX86V4}, {Level::kX86V4Bf16}};

// Numbers that bf16 holds, so that sums are exact.
std::string weights(const std::vector<int64_t>& shape) {
  return literal("f32", shape, [](int64_t i) { return static_cast<double>(i * 37 % 31 - 15) / 4; });
}

void check(const std::string& text, const std::vector<int64_t>& symbols, const std::string& what) {
  LowerCase c;
  c.text = text;
  c.symbols = symbols;
  c.precision = DType::kBF16;
  check_lowering_for(c, kTarget, what);
  // It is this level that is tested.
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
  REQUIRE(g.ok());
  LowerOptions options;
  options.precision = DType::kBF16;
  Diagnostics diagnostics;
  const auto program = lower(**g, kTarget, options, diagnostics);
  CHECK(most_variants(program->steps) == 4);
}

TEST_CASE("bf16 products with constant weights: odd and even depths, few and many rows") {
  for (const int64_t k : {1, 2, 32, 33, 700, 1001}) {
    for (const int64_t m : {1, 5, 70}) {
      if (k * m > 10000) continue;
      check(fmt::format(R"(
  input %x: f32[{},{}] as "x"
  %w = constant {}
  %y = dot(%x, %w)
  output %y as "y")",
                        m, k, weights({k, 21})),
            {}, fmt::format("{} rows, depth {}", m, k));
    }
  }
  check(fmt::format(R"(
  input %x: f32[M,20] as "x"
  %a = add(%x, %x)
  %w = constant {}
  %y = dot(%a, %w)
  %z = neg(%y)
  %v = constant {}
  %u = dot(%z, %v)
  output %u as "u")",
                    weights({20, 34}), weights({34, 7})),
        {13}, "a chain, rows not known");
}

TEST_CASE("bf16 products of computed operands") {
  for (const char* sizes : {"2,5,8;2,8,19;add", "2,5,11;2,11,32;add", "1,3,M;1,M,16;add"}) {
    const std::string text = sizes, left = text.substr(0, text.find(';')),
                      right = text.substr(text.find(';') + 1, text.rfind(';') - text.find(';') - 1);
    for (const bool transposed : {false, true}) {
      const size_t first = right.find(','), second = right.rfind(',');
      const std::string turned =
          right.substr(0, first) + right.substr(second) + right.substr(first, second - first);
      check(fmt::format(R"(
  input %x: f32[{}] as "x"
  input %w: f32[{}] as "w"
  %a = add(%x, %x)
  %b = add(%w, %w)
  %c = {}
  %y = dot(%a, %c)
  output %y as "y")",
                        left, transposed ? turned : right,
                        transposed ? "transpose(%b) <perm=[0,2,1]>" : "neg(%b)"),
            {6}, fmt::format("{} {}", text, transposed));
    }
  }
}

TEST_CASE("bf16 convolutions: windows, padding, few and odd channels, groups") {
  struct Case {
    std::vector<int64_t> weights;
    const char *x, *attributes;
  };
  const char *plain = "strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=1",
             *strided =
                 "strides=[2,2], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=1",
             *grouped =
                 "strides=[1,1], low=[1,1], high=[1,1], dilations=[1,1], lhs_dilations=[1,1], groups=2";
  for (const Case& c : {Case{{19, 8, 3, 3}, "2,8,6,7", plain}, Case{{16, 3, 3, 3}, "1,3,9,8", strided},
                        Case{{12, 5, 3, 3}, "1,5,7,7", plain}, Case{{8, 4, 3, 3}, "1,8,5,5", grouped},
                        Case{{8, 66, 3, 3}, "1,66,4,4", plain}, Case{{6, 2, 3, 3}, "1,2,N,5", plain}}) {
    check(fmt::format(R"(
  input %x: f32[{}] as "x"
  %a = add(%x, %x)
  %w = constant {}
  %y = conv(%a, %w) <{}>
  output %y as "y")",
                      c.x, weights(c.weights), c.attributes),
          {6}, c.x);
  }
}

TEST_CASE("words of two bf16: the first step below, zero past the end") {
  auto data = TensorData::make(DType::kF32, {3, 2});
  for (int64_t i = 0; i < 6; ++i) data->set_float(i, static_cast<double>(i + 1));
  const auto packed =
      pack_bf16_pairs(*data, {1, 3, 2, [](int64_t, int64_t k, int64_t n) { return k * 2 + n; }});
  REQUIRE(packed->count() == 2 * 16);
  const auto* words = packed->as<uint32_t>();
  CHECK(words[0] == 0x40403f80u);   // 1, 3
  CHECK(words[1] == 0x40804000u);   // 2, 4
  CHECK(words[16] == 0x000040a0u);  // 5
  CHECK(words[2] == 0);
}

}  // namespace
}  // namespace tern::lower
