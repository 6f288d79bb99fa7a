// Weights of 4 and 8 bits in front of products: found whatever they are written with, multiplied as the graph
// says.
#include "compiler/lower/quantised_weights.h"

#include <cmath>

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

const Target kTarget{
    Arch::kX86_64, {Level::kX86V2, Level::kX86V3, Level::kX86V4}, {Level::kX86V3Vnni, Level::kX86V4Vnni}};

// [n, blocks, block] of `type` as a model has them, [k, n] after all: its text up to %w.
std::string weights(const char* type, int64_t k, int64_t n, int64_t block, bool zeros) {
  const int64_t blocks = (k + block - 1) / block;
  const bool is_signed = type[0] == 'i';
  const int64_t span = type[1] == '4' ? 16 : 256, low = is_signed ? -span / 2 : 0;
  const auto list = [](int64_t count, const std::function<std::string(int64_t)>& of) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) out += (i == 0 ? "" : ", ") + of(i);
    return out;
  };
  const std::string q =
      list(n * blocks * block, [&](int64_t i) { return std::to_string(low + i * 37 % span); });
  const std::string s =
      list(n * blocks, [](int64_t i) { return std::to_string(0.25 * static_cast<double>(1 + i % 5)); });
  const std::string z = list(
      n * blocks, [&](int64_t i) { return std::to_string(zeros ? low + i * 5 % span : low + span / 2); });
  return fmt::format(R"(
  %q = constant {0}[{1},{2},{3}] {{{4}}}
  %s = constant f32[{1},{2},1] {{{5}}}
  %z = constant {0}[{1},{2},1] {{{6}}}
  %qi = cast(%q) <to=i32>
  %zi = cast(%z) <to=i32>
  %zb = broadcast(%zi) <shape=[{1},{2},{3}]>
  %d = sub(%qi, %zb)
  %f = cast(%d) <to=f32>
  %sb = broadcast(%s) <shape=[{1},{2},{3}]>
  %m = mul(%f, %sb)
  %r = reshape(%m) <shape=[{1},{7}]>
  %c = slice(%r) <starts=[0,0], sizes=[{1},{8}], steps=[1,1]>
  %w = transpose(%c) <perm=[1,0]>)",
                     type, n, blocks, block, q, s, z, blocks * block, k);
}

std::string product_text(const std::string& w, const std::string& m, int64_t k) {
  return fmt::format(R"(
  input %x: f32[{},{}] as "x"{}
  %y = dot(%x, %w)
  output %y as "y")",
                     m, k, w);
}

// The words of the program's constants, in bytes.
int64_t word_bytes(const std::string& text) {
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  Diagnostics diagnostics;
  const auto program = lower(**g, kTarget, {}, diagnostics);
  int64_t bytes = 0;
  for (const BufferDef& b : program->buffers) {
    if (b.kind == BufferKind::kConstant && b.dtype == DType::kU32) bytes += b.bytes.value();
  }
  CHECK(count_dispatches(program->steps) == 1);
  return bytes;
}

TEST_CASE("weights in integers: types, blocks, rows, sizes that fill no word, no panel and no block") {
  struct Case {
    const char* type;
    int64_t k, n, block;
    bool zeros;
  };
  for (const Case& c :
       {Case{"u4", 64, 16, 32, false}, Case{"u4", 71, 21, 16, true}, Case{"i4", 40, 5, 16, true},
        Case{"u8", 37, 18, 16, true}, Case{"i8", 64, 33, 64, false}, Case{"u4", 32, 309, 32, false}}) {
    const std::string w = weights(c.type, c.k, c.n, c.block, c.zeros);
    for (const char* m : {"1", "3", "40"})
      check_lowering_for({product_text(w, m, c.k)}, kTarget, fmt::format("{} {} rows {}", c.type, c.k, m));
    for (const int64_t m : {1, 13, 40})
      check_lowering_for({product_text(w, "M", c.k), {m}}, kTarget, fmt::format("{} rows, not known", m));
    const int64_t panels = (c.n + 15) / 16, bits = c.type[1] - '0', each = 32 / bits;
    CHECK(word_bytes(product_text(w, "3", c.k)) == panels * 16 * ((c.k + each - 1) / each) * 4);
  }
}

TEST_CASE("weights in integers on GPUs: few rows, many, and a number that is known at run time only") {
  const Target cuda{Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}},
      vulkan{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanF16, Level::kVulkanMatrix}},
      parts{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanBf16}},
      bf16{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanF16, Level::kVulkanMatrixBf16}};
  struct {
    const char* type;
    int64_t k, n, block;
    bool zeros;
  } const cases[] = {{"u4", 64, 16, 32, false}, {"u4", 71, 21, 16, true}, {"i8", 96, 33, 32, true}};
  for (const auto& [type, k, n, block, zeros] : cases) {
    const std::string w = weights(type, k, n, block, zeros);
    for (LowerCase c : {LowerCase{product_text(w, "1", k)}, LowerCase{product_text(w, "5", k)},
                        LowerCase{product_text(w, "M", k), {1}}, LowerCase{product_text(w, "M", k), {20}}}) {
      const std::string what = fmt::format("{} {} rows", type, k);
      Evaluated seen;
      check_lowering_for(c, cuda, what, seen);
      check_lowering_for(c, vulkan, what, seen);
      check_lowering_for(c, parts, what, seen);
      c.precision = DType::kF16;
      check_lowering_for(c, vulkan, what + " stored as f16");
      c.precision = DType::kBF16;
      check_lowering_for(c, bf16, what + " stored as bf16");
    }
  }
}

TEST_CASE("weights in integers on CUDA: rows of f32 are multiplied as they are") {
  const Target cuda{Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}};
  auto g = graph::parse_graph("graph \"g\" {\n" + product_text(weights("u4", 128, 160, 32, true), "M", 128) +
                              "\n}");
  REQUIRE(g.ok());
  Diagnostics diagnostics;
  const auto program = lower(**g, cuda, {}, diagnostics);
  REQUIRE(program);
  for (const BufferDef& b : program->buffers) CHECK(b.dtype != DType::kF16);
  LowerCase c{product_text(weights("u4", 128, 160, 32, true), "M", 128), {70}};
  c.dispatches = 2;
  check_lowering_for(c, cuda, "many columns");
}

TEST_CASE("weights in integers: a row whose largest elements, scaled, round up") {
  std::string factors;
  for (int i = 0; i < 2048; ++i) factors += fmt::format("{}{:.9f}", i == 0 ? "" : ", ", std::sqrt(2.0 + i));
  const std::string text = fmt::format(R"(
  input %x: f32[1,2048] as "x"
  %roots = constant f32[1,2048] {{{}}}
  %xf = mul(%x, %roots){}
  %y = dot(%xf, %w)
  output %y as "y")",
                                       factors, weights("u4", 2048, 16, 32, false));
  check_lowering_for({text}, kTarget, "a long row");
}

TEST_CASE("weights in integers of a depth that takes several blocks") {
  check_lowering_for({product_text(weights("u4", 1100, 17, 16, true), "50", 1100)}, kTarget, "deep");
}

TEST_CASE("scales of each row are no blocks: such weights are computed") {
  CHECK(word_bytes(product_text(weights("u4", 64, 16, 32, true), "3", 64)) > 0);
  auto g =
      graph::parse_graph("graph \"g\" {\n" + product_text(weights("u4", 64, 16, 8, true), "3", 64) + "\n}");
  REQUIRE(g.ok());
  absorb_quantised_weights(**g);
  for (const auto& node : (*g)->body.nodes) CHECK_FALSE(quantised_weights(*node));
}

}  // namespace
}  // namespace tern::lower
