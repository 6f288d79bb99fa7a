// Attention without matrix units on the evaluator.
#include "compiler/lower/gpu/simt_attention.h"

#include "compiler/lower/gpu/attention_test_util.h"

namespace tern::lower::gpu {
namespace {

AttentionKernel build(const AttentionShape& shape, const kernel::GridAxis& batch,
                      const SimtAttentionSchedule& schedule, const kernel::Var& thread, AttentionOperands& o,
                      kernel::ParamTable& params) {
  const auto matrix = [](const kernel::Buffer& buffer, const auto& row, int64_t width) {
    SimtAttentionMatrix out;
    out.element = [=](const kernel::Expr& m, const kernel::Expr& d) {
      return kernel::load(buffer, kernel::add(row(m), d));
    };
    if (width % 4 != 0) return out;
    out.four = [=](const kernel::Expr& m, const kernel::Expr& d) {
      return kernel::load(buffer, kernel::add(row(m), d), 4);
    };
    return out;
  };
  const SimtAttentionOperands e{matrix(o.q, o.q_row, shape.depth), matrix(o.k, o.k_row, shape.depth),
                                matrix(o.v, o.v_row, shape.value_depth)};
  return build_simt_attention(shape, batch, schedule, thread, e, o, params);
}

void check(const AttentionCase<SimtAttentionSchedule>& c) {
  AttentionTest test;
  test.dtype = DType::kF32;
  test.subgroup = c.schedule.subgroup;
  check_attention(c, build, std::move(test));
}

TEST_CASE("attention without matrix units: whole and ragged blocks") {
  check({2, 64, 128, 64, 64, {64, 4}});
  check({1, 20, 50, 24, 40, {32, 4}});
  check({1, 17, 130, 64, 128, {16, 2, 16, 8}});
  check({1, 9, 70, 7, 13, {8, 1}});
  check({1, 40, 100, 32, 32, {32, 4, 16, 16, 32}});
  check({2, 64, 128, 64, 64, {32, 4, 64, 64, 32}});
  check({1, 70, 140, 80, 64, {64, 8, 32, 16, 32}});
  check({1, 33, 100, 20, 30, {16, 2, 16, 32, 0}});
  check({1, 33, 100, 10, 128, {16, 2, 16, 32, 32}});
  // Whole stages of values, but no whole blocks of keys.
  check({2, 17, 144, 24, 40, {16, 2, 16, 16}});
  check({1, 40, 32, 64, 64, {32, 4, 64, 32, 32}});
}
TEST_CASE("attention without matrix units: masks, maxima that grow") {
  check({1, 70, 70, 64, 64, {32, 4}, true});
  check({1, 32, 256, 64, 64, {32, 4}, false, false, 16});
  check({1, 40, 150, 64, 80, {16, 2, 16, 16, 32}, true, false, 16});
}
TEST_CASE("attention without matrix units: a symbolic number of keys, and none") {
  check({2, 16, 37, 64, 64, {16, 2}, false, true});
  check({1, 20, 0, 64, 64, {32, 4}, false, true});
  check({1, 20, 0, 64, 64, {32, 4}});
}

}  // namespace
}  // namespace tern::lower::gpu
