#include "compiler/kernel/stagger.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/test_util.h"

namespace tern::kernel {
namespace {

// A row's maximum, what lies below it and its sum, the quotients: with an end of the row that is no loop, a
// scalar that two stages later is read, and one that is stored.
std::string three_stages(const std::string& rows, bool symbolic) {
  return fmt::format(R"(kernel k {{
  bind x: f32 read
  bind y: f32 write
  bind z: f32 write
{}  serial r = 2 .. +{} {{
    alloc kept: f32[9] scratch
    var most: f32 = -100.0
    serial i = 0 .. +4 {{
      most = max(x[((r * 9) + (i * 2))], most)
      most = max(x[(((r * 9) + (i * 2)) + 1)], most)
    }}
    most = max(x[((r * 9) + 8)], most)
    let twice: f32 = (most * 2.0)
    var sum: f32 = 0.0
    serial j = 0 .. +4 {{
      let v: f32 = (x[((r * 9) + (j * 2))] - most)
      kept[(j * 2)] = v
      let w: f32 = (x[(((r * 9) + (j * 2)) + 1)] - most)
      kept[((j * 2) + 1)] = w
      sum = (sum + (v + w))
    }}
    kept[8] = (x[((r * 9) + 8)] - most)
    sum = (sum + kept[8])
    z[r] = sum
    serial l = 0 .. +4 {{
      y[((r * 9) + (l * 2))] = ((kept[(l * 2)] + sum) + twice)
      y[(((r * 9) + (l * 2)) + 1)] = ((kept[((l * 2) + 1)] + sum) + twice)
    }}
    y[((r * 9) + 8)] = ((kept[8] + sum) + twice)
  }}
}})",
                     symbolic ? "  param n = \"N\"\n" : "", rows);
}

TEST_CASE("stagger: rows whose stages run side by side are the same rows") {
  for (const int rows : {1, 2, 3, 4, 7}) {
    for (const bool symbolic : {false, true}) {
      CAPTURE(rows);
      const Kernel k = parsed(three_stages(symbolic ? "n" : std::to_string(rows), symbolic));
      std::vector<int64_t> params;
      if (symbolic) params.push_back(rows);
      Kernel staggered = k;
      const std::optional<std::vector<Stmt>> body = stagger(k.body[0]);
      REQUIRE(body.has_value() == (symbolic || rows > 1));
      if (!body) continue;
      staggered.body = *body;
      REQUIRE_MESSAGE(verify(staggered) == "", verify(staggered) << print_kernel(staggered));
      CHECK_MESSAGE(run_f32(staggered, 90, params) == run_f32(k, 90, params), print_kernel(staggered));
    }
  }
}

TEST_CASE("stagger: two stages, and what is no row of stages") {
  const auto rows = [](const char* loops) {
    return parsed(fmt::format(R"(kernel k {{
  bind x: f32 read
  bind y: f32 write
  serial r = 0 .. +5 {{
    var sum: f32 = 0.0
    serial i = 0 .. +4 {{
      sum = (sum + x[((r * 4) + i)])
    }}
{}
  }}
}})",
                              loops));
  };
  const Kernel two =
      rows("    serial i = 0 .. +4 {\n      y[((r * 4) + i)] = (x[((r * 4) + i)] - sum)\n    }");
  const std::optional<std::vector<Stmt>> body = stagger(two.body[0]);
  REQUIRE(body);
  Kernel staggered = two;
  staggered.body = *body;
  REQUIRE(verify(staggered) == "");
  CHECK(run_f32(staggered, 20) == run_f32(two, 20));

  CHECK(!stagger(rows("    y[r] = sum").body[0]));  // one loop
  CHECK(!stagger(
      rows("    serial i = 0 .. +3 {\n      y[((r * 4) + i)] = sum\n    }").body[0]));  // a shorter one
  // A variable that both change.
  CHECK(!stagger(rows("    serial i = 0 .. +4 {\n      sum = (sum + 1.0)\n    }\n    y[r] = sum").body[0]));
}

}  // namespace
}  // namespace tern::kernel
