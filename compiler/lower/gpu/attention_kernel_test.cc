// Attention on the evaluator against softmax in f64.
#include "compiler/lower/gpu/attention_kernel.h"

#include <doctest/doctest.h>

#include <cmath>

#include "compiler/kernel/assign_workgroup.h"
#include "compiler/kernel/simplify.h"
#include "compiler/lower/gpu/kernel_test_util.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Expr;
using kernel::int_const;

struct Case {
  int64_t batch, queries, keys, depth, value_depth;
  AttentionSchedule schedule;
  bool causal = false, symbolic = false;
  double sharpness = 1;  // of the scores: their maximum grows from block to block by more than is let be
};

TensorDataPtr values(std::vector<int64_t> shape, uint64_t seed) {
  return seeded(DType::kF16, std::move(shape), seed,
                [](uint64_t random) { return (static_cast<double>(random % 65) - 32) / 32; });
}

void check(const Case& c) {
  CAPTURE(c.schedule.text());
  CAPTURE(c.queries);
  CAPTURE(c.keys);
  const auto q = values({c.batch, c.queries, c.depth}, 1), k = values({c.batch, c.keys, c.depth}, 2),
             v = values({c.batch, c.keys, c.value_depth}, 3);
  auto result = TensorData::make(DType::kF32, {c.batch, c.queries, c.value_depth});
  kernel::ParamTable params;
  kernel::Kernel made;
  made.name = "attention";
  made.threads = c.schedule.threads();
  made.subgroup = 32;
  made.thread = kernel::make_var("t");
  AttentionOperands o;
  o.q = global_buffer("q", DType::kF16, Access::kRead);
  o.k = global_buffer("k", DType::kF16, Access::kRead);
  o.v = global_buffer("v", DType::kF16, Access::kRead);
  const kernel::Buffer out = global_buffer("out", DType::kF32, Access::kWrite);
  made.bindings = {o.q, o.k, o.v, out};
  AttentionShape shape;
  shape.batch = c.batch;
  shape.queries = c.queries;
  shape.keys = c.symbolic ? Dim::symbol("K") : Dim(c.keys);
  shape.depth = c.depth;
  shape.value_depth = c.value_depth;
  const kernel::Var b = kernel::make_var("b");
  const auto row = [&](const Dim& rows, int64_t width) {
    return [&, rows, width](const Expr& at) {
      return kernel::mul(kernel::add(kernel::mul(kernel::var_expr(b), params.expr(rows)), at),
                         int_const(width));
    };
  };
  o.q_row = row(shape.queries, c.depth);
  o.k_row = row(shape.keys, c.depth);
  o.v_row = row(shape.keys, c.value_depth);
  const double scale = c.sharpness / std::sqrt(static_cast<double>(c.depth));
  o.score = [&](const Expr& m, const Expr& n, const Expr& product) {
    const Expr scaled = kernel::mul(product, kernel::float_const(scale));
    if (!c.causal) return scaled;
    return kernel::select(kernel::compare(kernel::ScalarOp::kLe, n, m), scaled,
                          kernel::float_const(-INFINITY));
  };
  const auto out_row = row(shape.queries, c.value_depth);
  o.finish = [&](const Expr& m, const Expr& d, const Expr& value, int) {
    return std::vector<kernel::Stmt>{kernel::store(out, kernel::add(out_row(m), d), value)};
  };
  AttentionKernel body = build_attention_kernel(shape, {b, Dim(c.batch), int_const(c.batch)}, c.schedule,
                                                made.thread, o, params);
  made.grid = body.grid;
  made.body = body.body;
  made.params = params.params();
  kernel::simplify(made);
  kernel::assign_workgroup(made);
  REQUIRE(kernel::verify(made) == "");
  std::vector<int64_t> numbers;
  for (const kernel::Param& p : made.params)
    numbers.push_back(p.value.evaluate([&](const std::string&) { return c.keys; }).value());
  int64_t tiles = 1;
  for (const auto& axis : made.grid) tiles *= axis.extent.value();
  const auto code = kernel::evaluate(made, {binding_of(q), binding_of(k), binding_of(v), binding_of(result)},
                                     numbers, 0, tiles);
  if (!code.ok()) FAIL_CHECK(code.error().message);
  for (int64_t row_at = 0; row_at < c.batch * c.queries; ++row_at) {
    const int64_t at = row_at / c.queries, m = row_at % c.queries;
    std::vector<double> weights;
    double total = 0;
    for (int64_t n = 0; n < (c.causal ? m + 1 : c.keys); ++n) {
      double product = 0;
      for (int64_t d = 0; d < c.depth; ++d)
        product += q->float_at(row_at * c.depth + d) * k->float_at((at * c.keys + n) * c.depth + d);
      weights.push_back(std::exp(product * scale));
      total += weights.back();
    }
    for (int64_t d = 0; d < c.value_depth; ++d) {
      double sum = 0;
      for (size_t n = 0; n < weights.size(); ++n)
        sum += weights[n] / total * v->float_at((at * c.keys + static_cast<int64_t>(n)) * c.value_depth + d);
      const double got = result->float_at(row_at * c.value_depth + d);
      if (!(std::abs(got - sum) < 2e-3)) {
        FAIL_CHECK("query " << m << ", column " << d << ": want " << sum << ", got " << got);
        return;
      }
    }
  }
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
TEST_CASE("attention: maxima that grow scale what was summed") {
  check({1, 64, 256, 64, 64, {4, 1, 64, true}, false, false, 16});
  check({1, 32, 128, 64, 64, {1, 2, 16}, false, false, 16});
  check({1, 40, 150, 64, 64, {4, 1, 64, true}, true, false, 16});
}
TEST_CASE("attention: a symbolic number of keys") {
  check({2, 16, 37, 64, 64, {1, 4, 16}, false, true});
}

}  // namespace
}  // namespace tern::lower::gpu
