// Attention on cooperative matrices on the evaluator.
#include "compiler/lower/gpu/matrix_attention.h"

#include "compiler/lower/gpu/attention_test_util.h"

namespace tern::lower::gpu {
namespace {

void check(const AttentionCase<MatrixAttentionSchedule>& c) {
  check_attention(c, build_matrix_attention);
}

TEST_CASE("matrix attention: whole and ragged blocks of queries and keys") {
  check({2, 16, 128, 64, 64, {1, 4, 1, 128}});
  check({1, 20, 50, 32, 48, {1, 2, 1, 32}});
  check({1, 40, 130, 64, 64, {2, 4, 1, 64}});
  check({1, 70, 100, 16, 128, {2, 2, 2, 64}});
  check({1, 33, 40, 128, 16, {1, 1, 1, 16}});
  // Depths that end inside of a tile.
  check({2, 20, 70, 40, 40, {1, 4, 1, 64}});
  check({1, 40, 130, 8, 56, {2, 2, 1, 32}, true});
  check({1, 17, 64, 72, 24, {1, 2, 2, 32}, false, true, 16});
}
TEST_CASE("matrix attention: masks") {
  check({1, 70, 70, 64, 64, {1, 4, 2, 64}, true});
  check({1, 40, 40, 16, 16, {1, 1, 2, 16}, true});
}
TEST_CASE("matrix attention: maxima that grow scale what was summed") {
  check({1, 32, 256, 64, 64, {1, 4, 1, 64}, false, false, 16});
  check({1, 40, 150, 64, 80, {1, 2, 2, 32}, true, false, 16});
}
TEST_CASE("matrix attention: a symbolic number of keys, and none") {
  check({2, 16, 37, 64, 64, {1, 4, 1, 64}, false, true});
  check({2, 16, 150, 64, 64, {1, 4, 1, 64}, false, true});
  check({1, 20, 0, 64, 64, {1, 4, 1, 64}, false, true});
  check({1, 20, 0, 64, 64, {1, 4, 1, 64}});
}

TEST_CASE("matrix attention: other shapes of tiles, subgroups of other sizes") {
  for (const kernel::TileUnit& unit : other_units()) {
    CAPTURE(unit.shape.m);
    CAPTURE(unit.shape.n);
    CAPTURE(unit.shape.k);
    CAPTURE(unit.subgroup);
    const auto one = [&](AttentionCase<MatrixAttentionSchedule> c) {
      c.schedule.unit = unit;
      check(c);
    };
    one({1, 20, 100, 64, 64, {1, 4, 1, 64}});
    one({1, 40, 70, 32, 64, {2, 4, 1, 64}, true});
    one({1, 40, 150, 64, 96, {1, 4, 2, 64}, false, true, 16});
  }
}

}  // namespace
}  // namespace tern::lower::gpu
