// Attention kernels on the evaluator against softmax in f64.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compiler/kernel/assign_workgroup.h"
#include "compiler/kernel/simplify.h"
#include "compiler/lower/gpu/attention_kernel.h"
#include "compiler/lower/gpu/kernel_test_util.h"

namespace tern::lower::gpu {

struct AttentionTest {
  int64_t batch = 0, queries = 0, keys = 0, depth = 0, value_depth = 0;
  bool causal = false, symbolic = false;  // symbolic: the number of keys
  bool keyed = false;                     // a bias of each key
  double sharpness = 1;  // of the scores: their maximum grows from block to block by more than is let be
  DType dtype = DType::kF16;
  int threads = 32, subgroup = 32, cluster = 1;
  kernel::TileShape tiles = {};
  std::function<AttentionKernel(const AttentionShape& shape, const kernel::GridAxis& batch,
                                const kernel::Var& thread, AttentionOperands& operands,
                                kernel::ParamTable& params)>
      build = {};
};

inline double key_bias(int64_t n) {
  return static_cast<double>(n % 5) - 2;
}

inline void compare_with_softmax(const AttentionTest& c, const TensorData& q, const TensorData& k,
                                 const TensorData& v, double scale, const TensorData& result) {
  for (int64_t row_at = 0; row_at < c.batch * c.queries; ++row_at) {
    const int64_t at = row_at / c.queries, m = row_at % c.queries;
    std::vector<double> weights;
    double total = 0;
    for (int64_t n = 0; n < (c.causal ? std::min(m + 1, c.keys) : c.keys); ++n) {
      double product = 0;
      for (int64_t d = 0; d < c.depth; ++d)
        product += q.float_at(row_at * c.depth + d) * k.float_at((at * c.keys + n) * c.depth + d);
      weights.push_back(std::exp(product * scale + (c.keyed ? key_bias(n) : 0)));
      total += weights.back();
    }
    for (int64_t d = 0; d < c.value_depth; ++d) {
      double sum = 0;
      for (size_t n = 0; n < weights.size(); ++n)
        sum += weights[n] / total * v.float_at((at * c.keys + static_cast<int64_t>(n)) * c.value_depth + d);
      const double got = result.float_at(row_at * c.value_depth + d);
      if (!(std::abs(got - sum) < 2e-3)) {
        FAIL_CHECK("query " << m << ", column " << d << ": want " << sum << ", got " << got);
        return;
      }
    }
  }
}

inline void check_attention(const AttentionTest& c) {
  using kernel::Access;
  using kernel::Expr;
  using kernel::int_const;
  CAPTURE(c.queries);
  CAPTURE(c.keys);
  const auto values = [&](std::vector<int64_t> shape, uint64_t seed) {
    return seeded(c.dtype, std::move(shape), seed,
                  [](uint64_t random) { return (static_cast<double>(random % 65) - 32) / 32; });
  };
  const auto q = values({c.batch, c.queries, c.depth}, 1), k = values({c.batch, c.keys, c.depth}, 2),
             v = values({c.batch, c.keys, c.value_depth}, 3);
  auto result = TensorData::make(DType::kF32, {c.batch, c.queries, c.value_depth});
  kernel::ParamTable params;
  kernel::Kernel made;
  made.name = "attention";
  made.threads = c.threads;
  made.subgroup = c.subgroup;
  made.tiles = c.tiles;
  made.cluster = c.cluster;
  made.thread = kernel::make_var("t");
  AttentionOperands o;
  o.dtype = c.dtype;
  o.q = global_buffer("q", c.dtype, Access::kRead);
  o.k = global_buffer("k", c.dtype, Access::kRead);
  o.v = global_buffer("v", c.dtype, Access::kRead);
  const kernel::Buffer out = global_buffer("out", DType::kF32, Access::kWrite);
  made.bindings = {o.q, o.k, o.v, out};
  AttentionShape shape;
  shape.batch = c.batch;
  shape.queries = c.queries;
  shape.keys = c.symbolic ? Dim::symbol("K") : Dim(c.keys);
  if (c.causal) shape.reach = 0;
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
  const auto rows = [&](const kernel::Buffer& buffer, const Dim& count, int64_t width) {
    return TensorRows{buffer,
                      0,
                      {{int_const(c.batch), params.expr(count * Dim(width))},
                       {params.expr(count), int_const(width)},
                       {int_const(width), int_const(1)}},
                      [&](const Expr& at) { return std::vector<Expr>{kernel::var_expr(b), at}; }};
  };
  o.q_rows = rows(o.q, shape.queries, c.depth);
  o.k_rows = rows(o.k, shape.keys, c.depth);
  o.v_rows = rows(o.v, shape.keys, c.value_depth);
  const double scale = c.sharpness / std::sqrt(static_cast<double>(c.depth));
  o.score = [&](const Expr& m, const Expr& n, const Expr& product) {
    const Expr scaled = kernel::mul(product, kernel::float_const(scale));
    if (c.keyed)
      return kernel::add(scaled, kernel::sub(kernel::cast(kernel::index_rem(n, int_const(5)), DType::kF32),
                                             kernel::float_const(2)));
    if (!c.causal) return scaled;
    return kernel::select(kernel::compare(kernel::ScalarOp::kLe, n, m), scaled,
                          kernel::float_const(-INFINITY));
  };
  const auto out_row = row(shape.queries, c.value_depth);
  o.finish = [&](const Expr& m, const Expr& d, const Expr& value, int) {
    return std::vector<kernel::Stmt>{kernel::store(out, kernel::add(out_row(m), d), value)};
  };
  AttentionKernel body = c.build(shape, {b, Dim(c.batch), int_const(c.batch)}, made.thread, o, params);
  made.grid = body.grid;
  made.body = body.body;
  made.tensors = body.tensors;
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
  compare_with_softmax(c, *q, *k, *v, scale, *result);
}

// A case of the kernels that `build` makes after a Schedule; `test` says what the case does not.
template <typename Schedule>
struct AttentionCase {
  int64_t batch, queries, keys, depth, value_depth;
  Schedule schedule;
  bool causal = false, symbolic = false;
  double sharpness = 1;
  bool keyed = false;
};

// Shapes of tiles, and subgroups, that attention has kernels for beside the usual one.
inline std::vector<kernel::TileUnit> other_units() {
  static const std::pair<DType, kernel::TileUnit> shapes[] = {
#define TERN_MATRIX_SHAPE(capability, type, rows, columns, depth, subgroup) \
  {DType::k##type, {{rows, columns, depth}, subgroup}},
#include "schemas/abi/matrix_shapes.def"
#undef TERN_MATRIX_SHAPE
      {DType::kF16, {{16, 16, 16}, 64}},
  };
  // Attention multiplies floats; f16 and bf16 have most shapes in common.
  std::vector<kernel::TileUnit> units;
  for (const auto& [element, unit] : shapes) {
    if (is_float(element) && std::find(units.begin(), units.end(), unit) == units.end())
      units.push_back(unit);
  }
  return units;
}

template <typename Schedule, typename Build>
void check_attention(const AttentionCase<Schedule>& c, Build build, AttentionTest test = {}) {
  CAPTURE(c.schedule.text());
  test.batch = c.batch;
  test.queries = c.queries;
  test.keys = c.keys;
  test.depth = c.depth;
  test.value_depth = c.value_depth;
  test.causal = c.causal;
  test.symbolic = c.symbolic;
  test.sharpness = c.sharpness;
  test.keyed = c.keyed;
  test.threads = c.schedule.threads();
  if constexpr (requires { c.schedule.split; }) test.cluster = c.schedule.split;
  if constexpr (requires { c.schedule.unit; }) {
    test.subgroup = c.schedule.unit.subgroup;
    test.tiles = c.schedule.unit.shape;
  }
  test.build = [&](const AttentionShape& shape, const kernel::GridAxis& batch, const kernel::Var& thread,
                   AttentionOperands& operands, kernel::ParamTable& params) {
    return build(shape, batch, c.schedule, thread, operands, params);
  };
  check_attention(test);
}

}  // namespace tern::lower::gpu
