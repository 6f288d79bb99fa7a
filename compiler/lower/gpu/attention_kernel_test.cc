// Attention of subgroups and of groups of them on the evaluator.
#include "compiler/lower/gpu/attention_test_util.h"

namespace tern::lower::gpu {
namespace {

void check(const AttentionCase<AttentionSchedule>& c) {
  check_attention(c, build_attention_kernel);
}

TEST_CASE("attention: whole and ragged blocks of queries and keys") {
  check({2, 64, 64, 64, 64, {4, 1, 64}});
  check({1, 20, 50, 32, 48, {1, 2, 16}});
  check({1, 33, 130, 64, 64, {2, 2, 32}});
}
TEST_CASE("attention: a causal mask leaves whole blocks out") {
  check({1, 70, 70, 64, 64, {4, 1, 32}, true});
  check({1, 40, 40, 16, 16, {1, 4, 16}, true});
}
TEST_CASE("attention: products of 128 threads") {
  check({1, 64, 192, 64, 64, {4, 1, 64, true}});
  check({2, 130, 100, 64, 128, {8, 1, 64, true}});
  check({1, 40, 150, 128, 64, {4, 1, 64, true}, true});
  check({1, 20, 37, 64, 64, {4, 1, 64, true}, false, true});
}
TEST_CASE("attention: stages that change hands by arrivals") {
  check({2, 130, 320, 64, 128, {8, 1, 64, true, true}});
  check({1, 20, 100, 64, 64, {4, 1, 64, true, true}, false, true});
  check({1, 64, 64, 64, 64, {4, 1, 64, true, true}});
}
TEST_CASE("attention: boxes of tensors") {
  check({2, 130, 320, 64, 128, {8, 1, 64, true, true, true}});
  check({1, 20, 100, 64, 64, {4, 1, 64, true, true, true}, false, true});
  check({1, 64, 64, 64, 64, {4, 1, 64, true, true, true}});
}
TEST_CASE("attention: maxima that grow scale what was summed") {
  check({1, 64, 256, 64, 64, {4, 1, 64, true}, false, false, 16});
  check({1, 32, 128, 64, 64, {1, 2, 16}, false, false, 16});
  check({1, 40, 150, 64, 64, {4, 1, 64, true}, true, false, 16});
}
TEST_CASE("attention: a symbolic number of keys") {
  check({2, 16, 37, 64, 64, {1, 4, 16}, false, true});
}
TEST_CASE("attention: no keys, known or not") {
  for (const bool symbolic : {false, true}) {
    check({1, 20, 0, 64, 64, {1, 4, 16}, false, symbolic});
    check({1, 20, 0, 64, 64, {4, 1, 32}, false, symbolic});
    check({1, 20, 0, 64, 64, {4, 1, 64, true}, false, symbolic});
  }
}

}  // namespace
}  // namespace tern::lower::gpu
