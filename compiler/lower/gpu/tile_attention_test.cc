// Attention whose scores stay tiles on the evaluator.
#include "compiler/lower/gpu/tile_attention.h"

#include "compiler/lower/gpu/attention_test_util.h"

namespace tern::lower::gpu {
namespace {

void check(const AttentionCase<TileAttentionSchedule>& c) {
  check_attention(c, build_tile_attention);
}

TEST_CASE("attention on tiles: whole and ragged blocks of queries and keys") {
  check({2, 16, 128, 64, 64, {1, 4, 1, 32}});
  check({1, 20, 50, 32, 48, {1, 2, 1, 16}});
  check({1, 40, 130, 64, 64, {2, 4, 1, 16}});
  check({1, 70, 100, 16, 128, {2, 2, 2, 32}});
  check({1, 33, 40, 128, 16, {1, 1, 1, 16}});
  // Depths that end inside of a tile.
  check({2, 20, 70, 40, 40, {1, 4, 1, 32}});
  check({1, 40, 130, 8, 56, {2, 2, 1, 16}, true});
  check({1, 17, 64, 72, 24, {1, 2, 2, 16}, false, true, 16});
}
TEST_CASE("attention on tiles: masks") {
  check({1, 70, 70, 64, 64, {1, 4, 2, 16}, true});
  check({1, 40, 40, 16, 16, {1, 1, 2, 16}, true});
}
TEST_CASE("attention on tiles: what a key adds to its scores") {
  check({1, 40, 70, 64, 64, {1, 4, 1, 32}, false, false, 1, true});
  check({1, 40, 128, 64, 64, {2, 1, 2, 32}, false, false, 16, true});
  check({1, 16, 130, 64, 64, {1, 2, 1, 16}, false, true, 1, true});
}
TEST_CASE("attention on tiles: maxima that grow scale what was summed") {
  check({1, 32, 256, 64, 64, {1, 4, 1, 16}, false, false, 16});
  check({1, 40, 150, 64, 80, {1, 2, 2, 16}, true, false, 16});
}
TEST_CASE("attention on tiles: a symbolic number of keys, and none") {
  check({2, 16, 37, 64, 64, {1, 4, 1, 16}, false, true});
  check({2, 16, 150, 64, 64, {1, 4, 1, 16}, false, true});
  check({1, 20, 0, 64, 64, {1, 4, 1, 16}, false, true});
  check({1, 20, 0, 64, 64, {1, 4, 1, 16}});
}

TEST_CASE("attention on tiles: other shapes of tiles, subgroups of other sizes") {
  for (const kernel::TileUnit& unit : other_units()) {
    CAPTURE(unit.shape.m);
    CAPTURE(unit.shape.n);
    CAPTURE(unit.shape.k);
    CAPTURE(unit.subgroup);
    const auto one = [&](AttentionCase<TileAttentionSchedule> c) {
      c.schedule.unit = unit;
      check(c);
    };
    one({1, 20, 100, 64, 64, {1, 4, 1, 32}});
    one({1, 40, 70, 32, 64, {2, 4, 1, 32}, true});
    one({1, 40, 150, 64, 96, {1, 4, 2, 32}, false, true, 16});
    one({1, 40, 128, 64, 64, {2, 1, 2, 32}, false, false, 16, true});
  }
}

}  // namespace
}  // namespace tern::lower::gpu
