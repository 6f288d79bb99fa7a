// The text of C; that every op compiles and computes what it should is tests/native's.
#include <doctest/doctest.h>

#include "compiler/kernel/ir.h"
#include "compiler/render/render.h"

using namespace tern;

namespace {

std::string rendered(std::string_view text, std::string_view level) {
  auto kernel = kernel::parse_kernel(text);
  REQUIRE_MESSAGE(kernel.ok(), (kernel.ok() ? "" : kernel.error().text()));
  const std::string problems = kernel::verify(kernel.value());
  REQUIRE_MESSAGE(problems.empty(), problems);
  auto c = render::render_c(kernel.value(), *render::c_target(level));
  REQUIRE_MESSAGE(c.ok(), (c.ok() ? "" : c.error().text()));
  return c.value().body;
}

}  // namespace

TEST_CASE("c: one condition chooses between masks as a mask, between other vectors with ?:") {
  const std::string masks = rendered(R"(kernel choose {
  bind c: bool read
  bind x: f32 read
  bind y: bool write
  let m: boolx8 = (x[0; 8] < x[8; 8])
  let n: boolx8 = (x[0; 8] == x[8; 8])
  y[0] = select(broadcast(c[0], 8), m, n)
}
)",
                                     "x86_64_v3");
  CHECK_MESSAGE(masks.find('?') == std::string::npos, masks);
  CHECK_MESSAGE(masks.find(" & m) | (~") != std::string::npos, masks);
  const std::string values = rendered(R"(kernel choose {
  bind c: bool read
  bind x: f32 read
  bind y: f32 write
  y[0] = select(broadcast(c[0], 8), x[0; 8], x[8; 8])
}
)",
                                      "x86_64_v3");
  CHECK_MESSAGE(values.find(" ? ") != std::string::npos, values);
}

TEST_CASE("c: lanes picked from what is loaded are a value: elementwise builtins take no const types") {
  const std::string text = rendered(R"(kernel pick {
  bind x: f32 read
  bind y: f32 write
  let a: f32x4 = x[0; 4]
  y[0] = fma(a, a, shuffle(x[4; 4], x[8; 4]; 0, 4, 1, 5))
}
)",
                                    "x86_64_v3");
  CHECK_MESSAGE(text.find("((f32x4)__builtin_shufflevector(") != std::string::npos, text);
}

TEST_CASE("c: lanes repeated from what is loaded are of the type that elementwise builtins were given") {
  const std::string text = rendered(R"(kernel repeat {
  bind x: f32 read
  bind y: f32 write
  let a: f32x8 = x[16; 8]
  y[0] = fma(shuffle(x[0; 4], x[0; 4]; 0, 0, 1, 1, 2, 2, 3, 3), x[8; 8], a)
}
)",
                                    "x86_64_v3");
  CHECK_MESSAGE(text.find("((f32x8)__builtin_shufflevector(") != std::string::npos, text);
}

TEST_CASE(
    "c: loops of many statements stay loops; few, short rounds and local arrays are clang's to unroll") {
  const auto stays = [](std::string_view loop) {
    const std::string text = rendered(fmt::format(R"(kernel loops {{
  param n = "N"
  bind x: f32 read
  bind y: f32 write
  alloc a: f32[64] stack
{}}}
)",
                                                  loop),
                                      "x86_64_v3");
    const size_t body = text.find("tile < tile_end");
    REQUIRE_MESSAGE(body != std::string::npos, text);
    return text.find("unroll(disable)", body) != std::string::npos;
  };
  const auto copies = [](std::string_view extent, int statements) {
    std::string loop = fmt::format("  serial i = 0 .. +{} {{\n", extent);
    for (int s = 0; s < statements; ++s) loop += fmt::format("    y[(i + {0})] = x[(i + {0})]\n", 64 * s);
    return loop + "  }\n";
  };
  CHECK(!stays(copies("8", 3)));
  CHECK(stays(copies("64", 3)));
  CHECK(!stays(copies("n", 2)));  // the taps of a window
  CHECK(stays(copies("n", 3)));
  // Unrolled, the array is registers.
  CHECK(!stays("  serial i = 0 .. +64 {\n    a[i] = x[i]\n  }\n"));
}

TEST_CASE("c: short steps of a product are four a round with AVX2, and with nothing else") {
  const auto four = [](std::string_view level, std::string_view extent, int products,
                       std::string_view more = "") {
    std::string loop = fmt::format("  serial k = 0 .. +{} {{\n    let b: f32x8 = x[(k * 8); 8]\n", extent);
    for (int i = 0; i < products; ++i)
      loop += fmt::format("    acc[{0}] = fma(broadcast(x[(k + {0})], 8), b, acc[{0}])\n", i);
    const std::string text = rendered(fmt::format(R"(kernel product {{
  param n = "N"
  bind x: f32 read
  bind y: f32 write
  alloc acc: f32x8[16] register
{}{}  }}
}}
)",
                                                  loop, more),
                                      level);
    return text.find("unroll_count(4)") != std::string::npos;
  };
  CHECK(four("x86_64_v3", "n", 4));
  CHECK(four("x86_64_v3", "64", 12));
  CHECK(!four("x86_64_v3", "n", 3));
  CHECK(!four("x86_64_v3", "4", 12));  // as many passes
  CHECK(!four("x86_64_v3", "n", 12, "    y[k] = x[k]\n"));
  CHECK(!four("x86_64_v3", "n", 12, "    if (k < 3) {\n      acc[0] = b\n    }\n"));
  for (const std::string_view level : {"x86_64_v2", "x86_64_v4", "aarch64"}) CHECK(!four(level, "n", 12));
}
