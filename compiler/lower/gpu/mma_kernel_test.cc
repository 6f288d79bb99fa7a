// The matrix-unit contraction against a plain sum, on the evaluator: races, divergence and missing waits
// would be errors.
#include "compiler/lower/gpu/mma_kernel.h"

#include <doctest/doctest.h>

#include "compiler/kernel/assign_workgroup.h"
#include "compiler/kernel/simplify.h"
#include "compiler/lower/gpu/kernel_test_util.h"
#include "compiler/lower/packing.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Expr;
using kernel::int_const;

struct Case {
  int64_t m, n, k;
  MmaSchedule schedule;
  bool element_wise = false, symbolic = false;
};

TensorDataPtr integers(std::vector<int64_t> shape, uint64_t seed) {
  return seeded(DType::kF32, std::move(shape), seed,
                [](uint64_t random) { return static_cast<double>(static_cast<int64_t>(random % 7) - 3); });
}

void check(const Case& c) {
  CAPTURE(c.schedule.text());
  CAPTURE(c.m);
  CAPTURE(c.n);
  CAPTURE(c.k);
  const auto a = integers({c.m, c.k}, 1), b = integers({c.k, c.n}, 2);
  kernel::ParamTable params;
  kernel::Kernel k;
  k.name = "product";
  k.threads = c.schedule.threads();
  k.subgroup = 32;
  k.cluster = c.schedule.split;
  k.thread = kernel::make_var("t");
  const kernel::Buffer ab = global_buffer("a", DType::kF16, Access::kRead),
                       bb = global_buffer("b", DType::kF16, Access::kRead),
                       out = global_buffer("out", DType::kF32, Access::kWrite);
  k.bindings = {ab, bb, out};
  MmaOperands o;
  o.a_row = [&](const Expr& m, std::vector<kernel::Stmt>&) {
    return MmaOperands::State{kernel::mul(m, int_const(c.k))};
  };
  o.a_depth = [&](const Expr& at, std::vector<kernel::Stmt>&) { return MmaOperands::State{at}; };
  if (c.element_wise) {
    o.a_element = [&](const MmaOperands::State& row, const Expr& at) {
      return kernel::load(ab, kernel::add(row[0], at));
    };
  } else {
    o.a_buffer = ab;
    o.a_chunk = [&](const MmaOperands::State& row, const MmaOperands::State& depth) {
      return MmaChunk{kernel::add(row[0], depth[0]), nullptr};
    };
  }
  o.b_buffer = bb;
  o.b_first = int_const(0);
  o.finish = [&](const Expr& m, const Expr& n, const Expr& value, int, const Expr& count) {
    return std::vector<kernel::Stmt>{
        kernel::store(out, kernel::add(kernel::mul(m, int_const(c.n)), n), value, count)};
  };
  MmaKernel made = build_mma_kernel(c.symbolic ? Dim::symbol("M") : Dim(c.m), c.n, c.k, {}, c.schedule,
                                    k.thread, o, params);
  k.grid = made.grid;
  k.body = made.body;
  k.params = params.params();
  kernel::simplify(k);
  kernel::assign_workgroup(k);
  REQUIRE(kernel::verify(k) == "");

  auto half = TensorData::make(DType::kF16, {c.m, c.k});
  for (int64_t i = 0; i < half->count(); ++i) half->set_float(i, a->float_at(i));
  const auto packed = pack_matrix(
      *b, {1, c.k, c.n, [&](int64_t, int64_t kk, int64_t n) { return kk * c.n + n; }}, DType::kF16);
  auto result = TensorData::make(DType::kF32, {c.m, c.n});
  std::vector<int64_t> values;
  for (const kernel::Param& p : k.params)
    values.push_back(p.value.evaluate([&](const std::string&) { return c.m; }).value());
  int64_t tiles = 1;
  for (const auto& axis : k.grid)
    tiles *= axis.extent.evaluate([&](const std::string&) { return c.m; }).value();
  const auto code =
      kernel::evaluate(k, {binding_of(half), binding_of(packed), binding_of(result)}, values, 0, tiles);
  if (!code.ok()) FAIL_CHECK(code.error().message);
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t n = 0; n < c.n; ++n) {
      double sum = 0;
      for (int64_t kk = 0; kk < c.k; ++kk) sum += a->float_at(m * c.k + kk) * b->float_at(kk * c.n + n);
      if (result->float_at(m * c.n + n) != sum) {
        FAIL_CHECK("element (" << m << ", " << n << "): want " << sum << ", got "
                               << result->float_at(m * c.n + n));
        return;
      }
    }
  }
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
}
TEST_CASE("mma: workgroups of a cluster share the depth") {
  check({40, 24, 256, {32, 32, 128, 1, 1, 4, 2, false, 2}});
  check({33, 40, 200, {64, 64, 64, 2, 2, 1, 2, false, 4}});
  check({70, 40, 456, {64, 32, 64, 4, 1, 1, 3, true, 3}});
  check({130, 64, 512, {128, 64, 64, 8, 1, 1, 4, true, 8}, false, true});
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
