// Products of few rows against plain sums on the evaluator: every number is a small integer, so results are
// exact.
#include "compiler/lower/gpu/few_rows.h"

#include "compiler/lower/gpu/product_test_util.h"
#include "compiler/lower/lower_test_util.h"
#include "compiler/lower/packing.h"

namespace tern::lower::gpu {
namespace {

// `room`: for how many rows, whose number is a symbol then.
void check(int64_t m, int64_t n, int64_t k, const FewRowsSchedule& schedule, bool element_wise = false,
           DType dtype = DType::kF16, int64_t room = 0) {
  CAPTURE(schedule.text());
  ProductTest test{m, n, k, element_wise, room > 0, schedule.threads(), 1, {}, {}, dtype};
  test.encode = [&](const TensorDataPtr& b) {
    return pack_matrix(*b, {1, k, n, [&](int64_t, int64_t kk, int64_t j) { return kk * n + j; }}, dtype);
  };
  test.build = [&](const Dim& rows, const kernel::Var& thread, MmaOperands& o, kernel::ParamTable& params) {
    return build_few_rows_kernel(rows, room > 0 ? room : m, n, k, schedule, thread, o, nullptr, params);
  };
  check_product(test);
}

TEST_CASE("few rows: floats, whole and ragged, warps along columns and the depth") {
  check(1, 32, 128, {16, 1, 2, 64, 1});
  check(1, 32, 512, {16, 1, 2, 64, 2});
  check(3, 40, 136, {16, 2, 2, 64, 1});
  check(8, 56, 200, {16, 4, 1, 64, 2});
  check(5, 24, 448, {16, 1, 2, 64, 3});
  check(2, 20, 80, {16, 1, 4, 64, 1}, true);
  check(8, 48, 256, {16, 1, 2, 128, 1}, false, DType::kBF16);
}
TEST_CASE("few rows: a symbolic number of them") {
  for (const int64_t m : {1, 3, 4}) {
    check(m, 40, 200, {16, 2, 2, 64, 1}, false, DType::kF16, 4);
    check(m, 24, 136, {16, 1, 4, 64, 1}, true, DType::kF16, 8);
  }
}
TEST_CASE("few rows: how many there are decides which grid is empty") {
  const auto at = [](int64_t rows) {
    return has_at_most(Dim::symbol("M"), 4).evaluate([&](const std::string&) { return std::optional(rows); });
  };
  for (const int64_t rows : {0, 1, 3, 4}) CHECK(at(rows) == 1);
  for (const int64_t rows : {5, 8, 9, 100}) CHECK(at(rows) == 0);
}

// x [m, k] by weights of `type` in blocks, as a model spells them, for CUDA with f16 between the dispatches;
// `symbolic`: m is a symbol's value.
void check_integers(const char* type, int64_t m, int64_t n, int64_t k, int64_t block, bool zeros,
                    bool symbolic = false) {
  CAPTURE(type);
  CAPTURE(m);
  CAPTURE(n);
  CAPTURE(k);
  const int64_t blocks = k / block, span = type[1] == '4' ? 16 : 256;
  const int64_t least = type[0] == 'i' ? -span / 2 : 0;
  const auto list = [](int64_t count, const std::function<int64_t(int64_t)>& of) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) out += (i == 0 ? "" : ", ") + std::to_string(of(i));
    return out;
  };
  const std::string text = fmt::format(
      R"(
  input %x: f32[{0},{1}] as "x"
  %q = constant {2}[{3},{4},{5}] {{{6}}}
  %s = constant f32[{3},{4},1] {{{7}}}
  %z = constant {2}[{3},{4},1] {{{8}}}
  %qf = cast(%q) <to=f32>
  %zf = cast(%z) <to=f32>
  %zb = broadcast(%zf) <shape=[{3},{4},{5}]>
  %d = sub(%qf, %zb)
  %sb = broadcast(%s) <shape=[{3},{4},{5}]>
  %e = mul(%d, %sb)
  %r = reshape(%e) <shape=[{3},{1}]>
  %w = transpose(%r) <perm=[1,0]>
  %y = dot(%x, %w)
  output %y as "y")",
      symbolic ? "M" : std::to_string(m), k, type, n, blocks, block,
      list(k * n, [&](int64_t i) { return i * 37 % span + least; }),
      list(n * blocks, [](int64_t i) { return 1 + i % 3; }),
      list(n * blocks, [&](int64_t i) { return least + (zeros ? i * 5 % span : span / 2); }));
  auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
  REQUIRE_MESSAGE(g.ok(), g.error().text());
  Diagnostics diagnostics;
  LowerOptions options;
  options.precision = DType::kF16;
  const Target cuda{Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}};
  const auto program = lower(**g, cuda, options, diagnostics);
  REQUIRE(program);
  CHECK(count_dispatches(program->steps) == (symbolic ? 2 : 1));
  int64_t words = 0;
  for (const BufferDef& b : program->buffers)
    words += b.kind == BufferKind::kConstant && b.dtype == DType::kU32;
  CHECK(words == 1);
  LowerCase c{text};
  c.precision = DType::kF16;
  c.continuous = true;  // compared with the graph's own results
  c.inputs = {
      seeded(DType::kF32, {m, k}, 7, [](uint64_t random) { return static_cast<double>(random % 9) - 4; })};
  check_lowering_for(c, cuda, "integers");
}

TEST_CASE("few rows: weights of 4 and 8 bits stay integers") {
  check_integers("u4", 1, 32, 256, 32, false);
  check_integers("u4", 3, 24, 128, 64, true);
  check_integers("u4", 8, 16, 384, 96, true);
  check_integers("u8", 1, 40, 128, 32, true);
  check_integers("u8", 2, 16, 64, 64, false);
  check_integers("u4", 1, 9, 96, 96, true);
  check_integers("i4", 2, 17, 192, 96, true);
  check_integers("i8", 8, 33, 48, 16, true);
}
TEST_CASE("many rows: weights of 4 and 8 bits stay integers, whether or not rows are known") {
  for (const bool symbolic : {false, true}) {
    check_integers("u4", 9, 32, 256, 32, false, symbolic);
    check_integers("u4", 20, 72, 192, 64, true, symbolic);
    check_integers("u4", 17, 40, 192, 96, true, symbolic);
    check_integers("u8", 33, 24, 128, 16, true, symbolic);
    check_integers("i4", 12, 16, 128, 128, false, symbolic);
    check_integers("i8", 10, 17, 96, 32, true, symbolic);
  }
  for (const int64_t m : {1, 2, 8}) check_integers("u4", m, 24, 128, 32, true, true);
}

// Three products of one value that only views read, of other widths: one dispatch, two where rows are a
// symbol.
TEST_CASE("products of integers by one value are one product, unless a concatenation has a part") {
  for (const bool symbolic : {false, true}) {
    for (const bool concat : {false, true}) {
      std::string text = fmt::format("  input %x: f32[{},64] as \"x\"\n", symbolic ? "M" : "5");
      const int64_t widths[] = {16, 24, 40};
      for (int i = 0; i < 3; ++i) {
        text +=
            fmt::format(R"(  %q{0} = constant {1}
  %f{0} = cast(%q{0}) <to=f32>
  %z{0} = constant {2}
  %s{0} = constant {3}
  %d{0} = sub(%f{0}, %z{0})
  %w{0} = mul(%d{0}, %s{0})
  %y{0} = dot(%x, %w{0})
  %t{0} = transpose(%y{0}) <perm=[1,0]>
)",
                        i, literal("u4", {64, widths[i]}, [&](int64_t at) { return (at * 7 + i) % 16; }),
                        literal("f32", {64, widths[i]}, [&](int64_t at) { return at % widths[i] % 5 + i; }),
                        literal("f32", {64, widths[i]}, [&](int64_t at) { return 1 + at % widths[i] % 2; }));
      }
      text += "  %a0 = abs(%t0)\n  %a1 = abs(%t1)\n  output %a0 as \"a0\"\n  output %a1 as \"a1\"\n";
      text += concat ? "  %c = concat(%t2, %t0) <axis=0>\n  output %c as \"c\""
                     : "  %a2 = neg(%t2)\n  output %a2 as \"a2\"";
      auto g = graph::parse_graph("graph \"g\" {\n" + text + "\n}");
      REQUIRE_MESSAGE(g.ok(), g.error().text());
      Diagnostics diagnostics;
      LowerOptions options;
      options.precision = DType::kF16;
      const Target cuda{Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}};
      const auto program = lower(**g, cuda, options, diagnostics);
      REQUIRE(program);
      const auto words = std::count_if(
          program->buffers.begin(), program->buffers.end(),
          [](const BufferDef& b) { return b.kind == BufferKind::kConstant && b.dtype == DType::kU32; });
      CHECK(words == (concat ? 3 : 1));
      LowerCase c{text};
      c.precision = DType::kF16;
      if (symbolic) c.symbols = {6};
      check_lowering_for(c, cuda, "one product");
    }
  }
}

TEST_CASE("few rows: what --keep-f32 names, and rows with the range of bf16, are not multiplied as f16") {
  const auto words = [](const std::string& type, std::vector<std::string> keep_f32) {
    auto g = graph::parse_graph(fmt::format(R"(graph "g" {{
  input %x: {0}[1,32] as "x"
  %q = constant {1}
  %qf = cast(%q) <to={0}>
  %s = constant {0}[] {{0.5}}
  %sb = broadcast(%s) <shape=[32,16]>
  %w = mul(%qf, %sb)
  %y = dot(%x, %w)
  output %y as "y"
}})",
                                            type, literal("i8", {32, 16}, [](int64_t i) { return i % 99; })));
    REQUIRE_MESSAGE(g.ok(), g.error().text());
    Diagnostics diagnostics;
    LowerOptions options;
    options.precision = DType::kF16;
    options.keep_f32 = std::move(keep_f32);
    const auto program = lower(**g, {Arch::kCuda, {Level::kCudaSm80}}, options, diagnostics);
    REQUIRE(program);
    // Scales for matrix units are f16.
    return std::count_if(program->buffers.begin(), program->buffers.end(), [](const BufferDef& b) {
      return b.kind == BufferKind::kConstant && b.dtype == DType::kF16;
    });
  };
  CHECK(words("f32", {}) == 1);
  CHECK(words("f32", {"y"}) == 0);
  CHECK(words("f16", {}) == 1);
  CHECK(words("bf16", {}) == 0);
}

// Products of graphs: rows in any order and of any leading dimensions, sizes around what a warp multiplies.
TEST_CASE("few rows: products of graphs, ragged in all sizes") {
  const Target cuda{Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}};
  const auto check_graph = [&](const std::string& rows, int64_t n, int64_t k, bool turned) {
    const std::string to = rows + "," + std::to_string(k), out = rows + "," + std::to_string(n);
    const size_t cut = to.find_last_of(',', to.find_last_of(',') - 1);
    std::string from = to, perm;
    if (turned) {
      const std::string front = cut == std::string::npos ? "" : to.substr(0, cut + 1);
      from = front + to.substr(to.find_last_of(',') + 1) + "," +
             rows.substr(rows.find_last_of(',') == std::string::npos ? 0 : rows.find_last_of(',') + 1);
      perm = cut == std::string::npos ? "1,0" : "0,2,1";
    }
    const std::string text =
        fmt::format("  input %x: f32[{}]\n  %a = abs(%x)\n", from) +
        (turned ? fmt::format("  %t = transpose(%a) <perm=[{}]>\n", perm) : "  %t = neg(%a)\n") +
        fmt::format(
            "  %w = constant {}\n  %d = dot(%t, %w)\n",
            literal("f32",
                    cut == std::string::npos ? std::vector<int64_t>{k, n} : std::vector<int64_t>{1, k, n},
                    [](int64_t i) { return i * 5 % 7 - 3; })) +
        fmt::format("  %b = constant {}\n  %bb = broadcast(%b) <shape=[{}]>\n",
                    literal("f32", {n}, [](int64_t i) { return i % 5; }), out) +
        "  %e = add(%d, %bb)\n  %y = abs(%e)\n  output %y as \"y\"\n  output %d as \"d\"";
    for (const DType precision : {DType::kF16, DType::kBF16}) {
      LowerCase c{text};
      c.precision = precision;
      check_lowering_for(c, cuda, fmt::format("stored as {}", dtype_name(precision)));
    }
  };
  for (const int64_t n : {8, 9, 17, 31}) {
    for (const int64_t k : {16, 17, 72}) {
      check_graph("1", n, k, false);
      check_graph("3", n, k, true);
    }
  }
  for (const char* rows : {"8", "9", "2,4", "1,7", "3,3"}) {
    check_graph(rows, 24, 136, false);
    check_graph(rows, 10, 40, true);
  }
}

}  // namespace
}  // namespace tern::lower::gpu
