// Tiles of a subgroup: text, meaning, what is refused.
#include <array>

#include "compiler/kernel/assign_workgroup.h"
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/simplify.h"
#include "compiler/kernel/test_util.h"

namespace tern::kernel {
namespace {

// c = a * b + 1, 16 x 16; b lies in columns.
const char* const kProduct = R"(kernel product {
  bind a: f16 read
  bind b: f16 read
  bind c: f32 write
  threads t < 32
  subgroup 32
  tiles 16 16 16
  alloc x: f16x8[1] register
  alloc y: f16x8[1] register
  alloc sums: f32x8[1] register
  alloc out: f32[320] workgroup
  tile_fill sums[0], 1.0
  tile_load x[0], a[0], 16
  tile_load_columns y[0], b[0], 24
  tile_multiply sums[0], x[0], y[0]
  tile_store sums[0], out[0], 20
  barrier
  serial i = 0 .. +8 {
    c[((i * 32) + t)] = out[((idiv(((i * 32) + t), 16) * 20) + irem(t, 16))]
  }
}
)";

// The evaluator's complaint, or "".
std::string run(const Kernel& k, std::vector<double>* results = nullptr) {
  std::vector<uint8_t> a(512), b(768), c(1024);
  for (int64_t i = 0; i < 256; ++i)
    write_element(DType::kF16, a.data(), i,
                  scalar::scalar_from_double(DType::kF16, static_cast<double>(i % 7)));
  for (int64_t i = 0; i < 384; ++i)
    write_element(DType::kF16, b.data(), i,
                  scalar::scalar_from_double(DType::kF16, static_cast<double>(i % 5)));
  auto code = evaluate(k, {{a.data(), 512}, {b.data(), 768}, {c.data(), 1024}}, {}, 0, 1);
  if (!code.ok()) return code.error().message;
  for (int64_t i = 0; results && i < 256; ++i) results->push_back(read_element(DType::kF32, c.data(), i).f);
  return "";
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  return text.replace(text.find(what), what.size(), with);
}

TEST_CASE("tiles: a product of two, one loaded from columns") {
  Kernel k = parsed(kProduct);
  CHECK(print_kernel(k) == kProduct);
  simplify(k);
  assign_workgroup(k);
  REQUIRE(verify(k) == "");
  std::vector<double> results;
  REQUIRE(run(k, &results) == "");
  for (int64_t r = 0; r < 16; ++r) {
    for (int64_t c = 0; c < 16; ++c) {
      double sum = 1;
      for (int64_t i = 0; i < 16; ++i) sum += static_cast<double>((r * 16 + i) % 7 * ((c * 24 + i) % 5));
      CHECK(results[static_cast<size_t>(r * 16 + c)] == sum);
    }
  }
}

TEST_CASE("tiles: elements of others, and one column for all") {
  const std::string text = replaced(
      replaced(kProduct, "  alloc out:",
               "  alloc scale: f32x8[1] register\n  alloc row: f32[16] workgroup\n  alloc out:"),
      "  tile_store sums[0]",
      "  if (t < 16) {\n    row[t] = cast.f32(t)\n  }\n  barrier\n  tile_load_columns scale[0], row[0], 0\n"
      "  tile_fill sums[0], ((sums[0] * broadcast(0.5, 8)) - scale[0])\n  tile_store sums[0]");
  Kernel k = parsed(text);
  CHECK(print_kernel(k) == text);
  simplify(k);
  assign_workgroup(k);
  REQUIRE(verify(k) == "");
  std::vector<double> plain, results;
  REQUIRE(run(parsed(kProduct), &plain) == "");
  REQUIRE(run(k, &results) == "");
  for (size_t e = 0; e < 256; ++e) CHECK(results[e] == plain[e] * 0.5 - static_cast<double>(e / 16));
  const auto problem = [&](const std::string& value) {
    auto wrong = parse_kernel(replaced(text, "((sums[0] * broadcast(0.5, 8)) - scale[0])", value));
    return wrong.ok() ? verify(*wrong) : wrong.error().message;
  };
  CHECK(problem("row[0; 8]").find("computed of what is no tile") != std::string::npos);
}

// c = a * b + 1: 16 rows by 16 columns of 32 bytes.
const char* const kBytes = R"(kernel product {
  bind a: i8 read
  bind b: i8 read
  bind c: i32 write
  threads t < 32
  subgroup 32
  tiles 16 16 32
  alloc x: i8x16[1] register
  alloc y: i8x16[2] register
  alloc sums: i32x8[1] register
  alloc out: i32[320] workgroup
  tile_fill sums[0], 1:i32
  tile_load x[0], a[0], 32
  tile_load_columns y[1], b[0], 48
  tile_multiply sums[0], x[0], y[1]
  tile_store sums[0], out[0], 20
  barrier
  serial i = 0 .. +8 {
    c[((i * 32) + t)] = out[((idiv(((i * 32) + t), 16) * 20) + irem(t, 16))]
  }
}
)";

TEST_CASE("tiles: bytes, 32 steps at a time, in whole numbers") {
  Kernel k = parsed(kBytes);
  CHECK(print_kernel(k) == kBytes);
  simplify(k);
  assign_workgroup(k);
  REQUIRE(verify(k) == "");
  std::vector<int8_t> a(512), b(768);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<int8_t>(i * 37);
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<int8_t>(i * 53 + 11);
  std::vector<int32_t> c(256);
  const auto bytes = [](auto& v) {
    return EvalBinding{reinterpret_cast<uint8_t*>(v.data()), static_cast<int64_t>(v.size() * sizeof(v[0]))};
  };
  auto code = evaluate(k, {bytes(a), bytes(b), bytes(c)}, {}, 0, 1);
  REQUIRE(code.ok());
  for (size_t row = 0; row < 16; ++row) {
    for (size_t column = 0; column < 16; ++column) {
      int sum = 1;
      for (size_t i = 0; i < 32; ++i) sum += a[row * 32 + i] * b[column * 48 + i];
      CHECK(c[row * 16 + column] == sum);
    }
  }
  const auto problem = [&](const std::string& what, const std::string& with) {
    auto wrong = parse_kernel(replaced(kBytes, what, with));
    return wrong.ok() ? verify(*wrong) : wrong.error().message;
  };
  CHECK(problem("alloc x: i8x16[1]", "alloc x: i8x8[1]").find("(tiles of 16 x 16 x 32, subgroups of 32)") !=
        std::string::npos);
  CHECK(problem("tile_multiply sums[0], x[0], y[1]", "tile_multiply x[0], x[0], y[1]")
            .find("none of 16-bit floats into f32, or of i8 into i32") != std::string::npos);
}

// The same in other shapes: m x n of subgroups of s, k steps; each row of c is summed up by the first thread.
TEST_CASE("tiles: shapes and subgroups of other sizes") {
  for (const auto& [m, n, k, s] :
       {std::array{16, 8, 16, 32}, std::array{16, 8, 8, 32}, std::array{8, 8, 16, 8},
        std::array{8, 16, 16, 16}, std::array{16, 16, 16, 64}}) {
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(k);
    const std::string text = fmt::format(R"(kernel product {{
  bind a: f16 read
  bind b: f16 read
  bind c: f32 write
  threads t < {0}
  subgroup {0}
  tiles {1} {2} {3}
  alloc x: f16x{4}[1] register
  alloc y: f16x{5}[1] register
  alloc sums: f32x{6}[1] register
  alloc out: f32[320] workgroup
  tile_fill sums[0], 1.0
  tile_load x[0], a[0], 16
  tile_load_columns y[0], b[0], 24
  tile_multiply sums[0], x[0], y[0]
  tile_fill sums[0], (sums[0] * broadcast(0.5, {6}))
  tile_store sums[0], out[0], 20
  barrier
  serial i = 0 .. +{6} {{
    c[((i * {0}) + t)] = out[((idiv(((i * {0}) + t), {2}) * 20) + irem(((i * {0}) + t), {2}))]
  }}
}}
)",
                                         s, m, n, k, m * k / s, n * k / s, m * n / s);
    Kernel kernel = parsed(text);
    CHECK(print_kernel(kernel) == text);
    simplify(kernel);
    assign_workgroup(kernel);
    REQUIRE(verify(kernel) == "");
    std::vector<double> results;
    REQUIRE(run(kernel, &results) == "");
    for (int r = 0; r < m; ++r) {
      for (int c = 0; c < n; ++c) {
        double sum = 1;
        for (int i = 0; i < k; ++i) sum += static_cast<double>((r * 16 + i) % 7 * ((c * 24 + i) % 5));
        CHECK(results[static_cast<size_t>(r * n + c)] == sum * 0.5);
      }
    }
  }
}

TEST_CASE("tiles: what is wrong is said") {
  CHECK(run(parsed(replaced(kProduct, "a[0], 16", "a[4], 16"))) ==
        "A tile of 'a' begins at element 4 with a pitch of 16: no multiples of 16 bytes.");
  CHECK(run(parsed(replaced(kProduct, "a[0], 16", "a[(t * 8)], 16"))) ==
        "The threads of a subgroup name different tiles of 'a'.");
  CHECK(run(parsed(replaced(kProduct, "  barrier\n", ""))).starts_with("There is a race"));
  CHECK(run(parsed(replaced(kProduct, "  tile_fill sums[0], 1.0\n",
                            "  if (t < 3) {\n    tile_fill sums[0], 1.0\n  }\n"))) ==
        "tile_fill is reached by 3 of the 32 threads of subgroup 0.");
  const auto refusal = [](const std::string& text) {
    auto k = parse_kernel(text);
    return k.ok() ? verify(*k) : k.error().message;
  };
  CHECK(refusal(replaced(kProduct, "x: f16x8", "x: f16x4"))
            .find("no register buffer of numbers with so many lanes") != std::string::npos);
  CHECK(refusal(replaced(kProduct, "subgroup 32", "subgroup 16"))
            .find("(tiles of 16 x 16 x 16, subgroups of 16)") != std::string::npos);
}

}  // namespace
}  // namespace tern::kernel
