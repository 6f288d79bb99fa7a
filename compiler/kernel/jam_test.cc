#include "compiler/kernel/jam.h"

#include <cstdlib>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/test_util.h"

namespace tern::kernel {
namespace {

TEST_CASE("jam: rows side by side are the same rows, with one loop a pass") {
  for (const int rows : {1, 2, 5, 6}) {
    for (const bool symbolic : {false, true}) {
      const std::string n = symbolic ? "n" : std::to_string(rows);
      Kernel k = parsed(fmt::format(R"(kernel k {{
  bind x: f32 read
  bind y: f32 write
{}  serial r = 0 .. +{} {{
    alloc kept: f32[7] stack
    var sum: f32 = 0.0
    serial i = 0 .. +7 {{
      let v: f32 = (x[((r * 7) + i)] * 2.0)
      kept[i] = v
      sum = (sum + v)
    }}
    if (sum < 0.0) {{
      sum = (0.0 - sum)
    }}
    serial i = 0 .. +7 {{
      y[((r * 7) + i)] = (kept[i] + sum)
    }}
  }}
}})",
                                    symbolic ? "  param n = \"N\"\n" : "", n));
      std::vector<int64_t> params;
      if (symbolic) params.push_back(rows);
      const auto want = run_f32(k, 60, params);
      for (const int way : {2, 3, -2, -3}) {
        const int ways = std::abs(way);
        Kernel jammed = k;
        jammed.body = jam(k.body[0], ways, way < 0 ? Jam::kApart : Jam::kNeighbours);
        REQUIRE_MESSAGE(verify(jammed) == "", verify(jammed) << print_kernel(jammed));
        CHECK(run_f32(jammed, 60, params) == want);
        if (rows % ways != 0 || symbolic) continue;
        int loops = 0;
        visit(jammed.body, [&](const Stmt& s) { loops += s->kind == StmtKind::kFor; });
        CHECK(loops == 3);
      }
    }
  }
}

}  // namespace
}  // namespace tern::kernel
