// The contraction on cooperative matrices against a plain sum, on the evaluator: races and divergence would
// be errors; and as a shader that Shaderc takes, where it knows them.
#include "compiler/lower/gpu/matrix_kernel.h"

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
  MatrixSchedule schedule;
  bool element_wise = false, symbolic = false, b_in_memory = false;
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
  if (c.b_in_memory) {
    o.b_element = [&](const Expr& at, const Expr& n) {
      return c.schedule.b_columns ? kernel::add(kernel::mul(n, int_const(c.k)), at)
                                  : kernel::add(kernel::mul(at, int_const(c.n)), n);
    };
  }
  o.finish = [&](const Expr& m, const Expr& n, const Expr& value, int, const Expr& count) {
    return std::vector<kernel::Stmt>{
        kernel::store(out, kernel::add(kernel::mul(m, int_const(c.n)), n), value, count)};
  };
  MmaKernel made = build_matrix_kernel(c.symbolic ? Dim::symbol("M") : Dim(c.m), c.n, c.k, {}, c.schedule,
                                       k.thread, o, params);
  k.grid = made.grid;
  k.body = made.body;
  k.params = params.params();
  kernel::simplify(k);
  kernel::assign_workgroup(k);
  REQUIRE(kernel::verify(k) == "");

  auto half = TensorData::make(DType::kF16, {c.m, c.k});
  for (int64_t i = 0; i < half->count(); ++i) half->set_float(i, a->float_at(i));
  const auto packed = pack_panels(
      *b, {1, c.k, c.n, [&](int64_t, int64_t kk, int64_t n) { return kk * c.n + n; }}, DType::kF16);
  auto plain = TensorData::make(DType::kF16, {c.k, c.n});
  for (int64_t i = 0; i < plain->count(); ++i)
    plain->set_float(c.schedule.b_columns ? i % c.n * c.k + i / c.n : i, b->float_at(i));
  auto result = TensorData::make(DType::kF32, {c.m, c.n});
  std::vector<int64_t> values;
  for (const kernel::Param& p : k.params)
    values.push_back(p.value.evaluate([&](const std::string&) { return c.m; }).value());
  int64_t tiles = 1;
  for (const auto& axis : k.grid)
    tiles *= axis.extent.evaluate([&](const std::string&) { return c.m; }).value();
  const auto code = kernel::evaluate(
      k, {binding_of(half), c.b_in_memory ? binding_of(plain) : binding_of(packed), binding_of(result)},
      values, 0, tiles);
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

TEST_CASE("matrix contraction: whole and ragged blocks, every arrangement of warps") {
  check({32, 32, 128, {32, 32, 128, 1, 1, 8, 1}});
  check({33, 40, 136, {32, 32, 128, 1, 1, 4, 1}});
  check({17, 20, 40, {32, 32, 256, 1, 1, 4, 1}});
  check({70, 64, 192, {64, 64, 64, 2, 2, 1, 2}});
  check({64, 48, 80, {64, 32, 128, 2, 1, 2, 1}});
  check({40, 96, 64, {32, 64, 128, 1, 2, 2, 1}});
  check({130, 120, 72, {128, 128, 32, 2, 4, 1, 2}});
  check({130, 120, 72, {128, 128, 32, 2, 2, 1, 2}});
  check({33, 40, 304, {32, 32, 128, 1, 1, 4, 2}});
  check({33, 40, 72, {32, 32, 64, 1, 1, 4, 1}});
  check({65, 64, 136, {128, 64, 64, 4, 2, 1, 1}});
}
TEST_CASE("matrix contraction: a symbolic number of rows") {
  check({45, 32, 128, {32, 32, 128, 1, 1, 4, 1}, false, true});
}
TEST_CASE("matrix contraction: B in memory, by rows and by columns") {
  check({33, 40, 72, {32, 32, 128, 1, 1, 8, 1}, false, false, true});
  check({33, 40, 72, {32, 32, 128, 1, 1, 8, 1, true}, false, false, true});
  check({70, 64, 200, {64, 64, 64, 2, 2, 2, 2, true}, false, false, true});
  check({70, 72, 200, {64, 64, 64, 2, 2, 2, 2}, false, false, true});
}
TEST_CASE("matrix contraction: operands read element by element") {
  check({33, 24, 27, {32, 32, 128, 1, 1, 4, 1}, true});
  check({64, 64, 147, {64, 64, 64, 2, 2, 1, 2}, true});
}

}  // namespace
}  // namespace tern::lower::gpu
