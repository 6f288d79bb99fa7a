// Attention of subgroups and of groups of them on the evaluator.
#include "compiler/lower/gpu/attention_test_util.h"
#include "compiler/lower/gpu/online_softmax.h"

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
TEST_CASE("attention: rows that are no whole steps have zeros behind them") {
  check({1, 20, 50, 40, 24, {1, 2, 16}});
  check({2, 64, 64, 8, 72, {4, 1, 64}});
  check({1, 64, 192, 40, 80, {4, 1, 64, true}});
  check({1, 70, 100, 40, 40, {4, 1, 64, true}});
  check({1, 20, 37, 80, 40, {4, 1, 64, true}, false, true});
  check({2, 130, 320, 72, 88, {8, 1, 64, true, true}});
}
TEST_CASE("attention: workgroups of a cluster share the keys") {
  check({2, 4, 300, 64, 64, {.warps_m = 1, .warps_k = 2, .block_keys = 16, .split = 4}});
  check({1, 1, 130, 64, 32, {.warps_m = 1, .warps_k = 4, .block_keys = 32, .split = 2}, false, true});
  check({1, 20, 70, 32, 48, {.warps_m = 2, .warps_k = 1, .block_keys = 16, .split = 8}, false, false, 16});
  check({1, 20, 20, 16, 16, {.warps_m = 1, .warps_k = 1, .block_keys = 16, .split = 2}, true});
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
  check({1, 150, 320, 64, 64, {4, 1, 64, true, true}, true});
}
TEST_CASE("attention: boxes of tensors") {
  check({2, 130, 320, 64, 128, {8, 1, 64, true, true, true}});
  check({1, 20, 100, 64, 64, {4, 1, 64, true, true, true}, false, true});
  check({1, 64, 64, 64, 64, {4, 1, 64, true, true, true}});
  check({1, 150, 320, 64, 64, {4, 1, 64, true, true, true}, true});
  check({2, 130, 320, 40, 80, {8, 1, 64, true, true, true}});
  check({1, 130, 100, 120, 24, {8, 1, 64, true, true, true}, false, true});
}
TEST_CASE("attention: maxima that grow scale what was summed") {
  check({1, 64, 256, 64, 64, {4, 1, 64, true}, false, false, 16});
  check({1, 32, 128, 64, 64, {1, 2, 16}, false, false, 16});
  check({1, 40, 150, 64, 64, {4, 1, 64, true}, true, false, 16});
}
TEST_CASE("attention: scales of queries and of keys are one factor") {
  AttentionOperands o;
  const kernel::Expr half = kernel::float_const(0.5), two = kernel::float_const(2), m = kernel::int_const(0);
  const auto scale = [&](const std::function<kernel::Expr(const kernel::Expr&)>& score) {
    o.score = [&](const kernel::Expr&, const kernel::Expr&, const kernel::Expr& x) { return score(x); };
    return score_scale(o, m);
  };
  const double log2e = 1.4426950408889634;
  const ScoreScale both =
      scale([&](const kernel::Expr& x) { return kernel::mul(half, kernel::mul(x, half)); });
  CHECK(both.linear);
  CHECK(both.factor == doctest::Approx(0.25 * log2e));
  CHECK(scale([&](const kernel::Expr& x) { return kernel::op(kernel::ScalarOp::kDiv, {x, two}); }).factor ==
        doctest::Approx(0.5 * log2e));
  CHECK(!scale([&](const kernel::Expr& x) { return kernel::op(kernel::ScalarOp::kDiv, {two, x}); }).linear);
  CHECK(!scale([&](const kernel::Expr& x) { return kernel::mul(x, x); }).linear);
  CHECK(!scale([&](const kernel::Expr& x) { return kernel::mul(x, kernel::float_const(-1)); }).linear);
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
