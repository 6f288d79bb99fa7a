// The matrix-unit contraction against a plain sum, on the evaluator: races, divergence and missing waits
// would be errors.
#include "compiler/lower/gpu/mma_kernel.h"

#include "compiler/lower/gpu/product_test_util.h"
#include "compiler/lower/packing.h"

namespace tern::lower::gpu {
namespace {

struct Case {
  int64_t m, n, k;
  MmaSchedule schedule;
  bool element_wise = false, symbolic = false;
  std::vector<ProductTest::Special> specials = {};
};

// f32[k, n] as rows along n, or along k.
TensorDataPtr rows_of_memory(const TensorData& b, MmaSchedule::Order order, DType dtype) {
  const int64_t k = b.shape()[0], n = b.shape()[1];
  auto out = TensorData::make(dtype, {k * n});
  for (int64_t i = 0; i < k * n; ++i)
    out->set_float(order == MmaSchedule::Order::kColumns ? i : i % n * k + i / n, b.float_at(i));
  return out;
}

void check(Case c, DType dtype = DType::kF16) {
  c.schedule.element_bytes = dtype_bits(dtype) / 8;
  CAPTURE(c.schedule.text());
  ProductTest test{c.m, c.n, c.k, c.element_wise, c.symbolic, c.schedule.threads(), c.schedule.split, {}, {}};
  test.encode = [&](const TensorDataPtr& b) -> TensorDataPtr {
    if (c.schedule.b_order != MmaSchedule::Order::kPacked)
      return rows_of_memory(*b, c.schedule.b_order, dtype);
    return pack_matrix(*b, {1, c.k, c.n, [&](int64_t, int64_t k, int64_t n) { return k * c.n + n; }}, dtype);
  };
  test.dtype = dtype;
  if (c.schedule.tf32x3) {
    test.tolerance = 0x1p-22;
    test.specials = c.specials;
  }
  // Just below a half of the last place of TF32, and above: a product that cut it off would show.
  if (dtype == DType::kF32 && !c.schedule.tf32x3)
    test.in_memory = [](double x) { return x * (x > 0 ? 1 - 0x1p-13 : 1 + 0x1p-13); };
  test.build = [&](const Dim& m, const kernel::Var& thread, MmaOperands& o, kernel::ParamTable& params) {
    const bool columns = c.schedule.b_order == MmaSchedule::Order::kColumns;
    o.b_element = [&c, columns](const kernel::Expr& k, const kernel::Expr& n) {
      return columns ? kernel::add(kernel::mul(k, kernel::int_const(c.n)), n)
                     : kernel::add(kernel::mul(n, kernel::int_const(c.k)), k);
    };
    return build_mma_kernel(m, c.n, c.k, {}, c.schedule, thread, o, params);
  };
  check_product(test);
}

TEST_CASE("mma: whole and ragged blocks, every arrangement of warps") {
  check({32, 32, 128, {32, 32, 128, 1, 1, 4, 2}});
  check({33, 40, 136, {32, 32, 128, 1, 1, 4, 2}});
  check({17, 20, 40, {32, 32, 128, 1, 1, 4, 4}});
  check({70, 64, 192, {64, 64, 64, 2, 2, 1, 3}});
  check({64, 48, 80, {64, 32, 128, 2, 1, 4, 2}});
  check({40, 96, 64, {32, 64, 128, 1, 2, 4, 2}});
}
TEST_CASE("mma: groups of 128 threads") {
  check({64, 16, 64, {64, 16, 64, 4, 1, 1, 3, true}});
  check({130, 72, 200, {128, 64, 64, 8, 1, 1, 4, true}});
  check({50, 20, 152, {64, 32, 64, 4, 1, 1, 4, true}, false, true});
  check({70, 200, 136, {64, 160, 64, 4, 1, 1, 3, true}});
  check({40, 100, 64, {64, 96, 64, 4, 1, 1, 3, true}});
}
TEST_CASE("mma: workgroups of a cluster share the depth") {
  check({40, 24, 256, {32, 32, 128, 1, 1, 4, 2, false, 2}});
  check({33, 40, 200, {64, 64, 64, 2, 2, 1, 2, false, 4}});
  check({70, 40, 456, {64, 32, 64, 4, 1, 1, 3, true, 3}});
  check({130, 64, 512, {128, 64, 64, 8, 1, 1, 4, true, 8}, false, true});
}
TEST_CASE("mma: f32 rounded to TF32") {
  const auto tf32 = [](const Case& c) { check(c, DType::kF32); };
  tf32({32, 32, 64, {32, 32, 64, 1, 1, 4, 2}});
  tf32({33, 40, 68, {32, 32, 64, 1, 1, 4, 2}});
  tf32({70, 64, 96, {64, 64, 32, 2, 2, 1, 3}});
  tf32({33, 24, 27, {32, 32, 64, 1, 1, 4, 2}, true});
  tf32({40, 24, 128, {32, 32, 64, 1, 1, 4, 2, false, 2}});
  tf32({64, 16, 32, {64, 16, 32, 4, 1, 1, 3, true}});
  tf32({130, 72, 100, {128, 64, 32, 8, 1, 1, 4, true}});
  tf32({50, 20, 75, {64, 32, 32, 4, 1, 1, 4, true}, true, true});
  tf32({70, 40, 228, {64, 32, 32, 4, 1, 1, 3, true, 3}, false, true});
}
TEST_CASE("mma: f32 by three products of TF32") {
  const auto precise = [](Case c) {
    c.schedule.tf32x3 = true;
    check(c, DType::kF32);
  };
  precise({32, 32, 64, {32, 32, 64, 1, 1, 4, 2}});
  precise({33, 40, 68, {32, 32, 64, 1, 1, 4, 2}});
  precise({70, 64, 96, {64, 64, 32, 2, 2, 1, 3}});
  precise({33, 24, 27, {32, 32, 64, 1, 1, 4, 2}, true});
  precise({40, 72, 200, {64, 64, 32, 2, 2, 1, 2, false, 3}, false, true});
  for (const auto order : {MmaSchedule::Order::kColumns, MmaSchedule::Order::kDepth}) {
    MmaSchedule s{32, 64, 64, 1, 2, 4, 2};
    s.b_order = order;
    precise({45, 72, 132, s, false, true});
  }
  // What has no lower part, or rounds to infinity, or gives a sum that is no number.
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const double largest = std::numeric_limits<float>::max();
  const std::vector<ProductTest::Special> specials = {{true, 2, 5, inf},  {true, 3, 66, -inf},
                                                      {true, 4, 0, nan},  {true, 5, 7, largest},
                                                      {false, 6, 7, inf}, {false, 21, 67, nan}};
  precise({33, 40, 68, {32, 32, 64, 1, 1, 4, 2}, false, false, specials});
  precise({33, 40, 68, {32, 32, 64, 1, 1, 4, 2}, true, false, specials});
  precise({33, 40, 68, {64, 64, 32, 2, 2, 1, 2, false, 2}, false, true, specials});
  MmaSchedule along{32, 64, 64, 1, 2, 4, 2};
  along.b_order = MmaSchedule::Order::kColumns;
  precise({33, 44, 68, along, false, false, specials});
}
TEST_CASE("mma: a right operand in rows along its columns, or along the depth") {
  for (const auto order : {MmaSchedule::Order::kColumns, MmaSchedule::Order::kDepth}) {
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      const int64_t depth = dtype == DType::kF32 ? 1 : 2;  // as many bytes
      const auto with = [&](int64_t m, int64_t n, int64_t k, MmaSchedule s) {
        s.b_order = order;
        s.block_depth *= static_cast<int>(depth);
        check({m, n, k * depth, s, false, m == 45}, dtype);
      };
      with(32, 32, 64, {32, 32, 64, 1, 1, 4, 2});
      with(33, 40, 68, {32, 32, 64, 1, 1, 4, 2});
      with(70, 64, 96, {64, 64, 32, 2, 2, 1, 3});
      with(45, 72, 132, {32, 64, 64, 1, 2, 4, 2});
      with(40, 24, 28, {64, 32, 64, 2, 1, 4, 3});
    }
  }
}
TEST_CASE("mma: boxes of tensors") {
  const auto boxes = [](Case c) {
    c.schedule.tensors = true;
    check(c);
  };
  boxes({64, 16, 64, {64, 16, 64, 4, 1, 1, 3, true}});
  boxes({130, 72, 200, {128, 64, 64, 8, 1, 1, 3, true}});
  boxes({50, 20, 456, {64, 32, 64, 4, 1, 1, 4, true}, false, true});
}
TEST_CASE("mma: a symbolic number of rows") {
  check({45, 32, 128, {32, 32, 128, 1, 1, 4, 2}, false, true});
}
TEST_CASE("mma: operands read element by element") {
  check({33, 24, 27, {32, 32, 128, 1, 1, 4, 2}, true});
  check({64, 64, 147, {64, 64, 64, 2, 2, 1, 3}, true});
}

}  // namespace
}  // namespace tern::lower::gpu
