// Products of small integers through a builder of contraction kernels, on the evaluator, against plain sums.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "compiler/kernel/assign_workgroup.h"
#include "compiler/kernel/simplify.h"
#include "compiler/lower/gpu/kernel_test_util.h"
#include "compiler/lower/gpu/mma_kernel.h"

namespace tern::lower::gpu {

struct ProductTest {
  int64_t m, n, k;
  bool element_wise, symbolic;  // A is read element by element; the number of rows is a symbol
  int threads, cluster = 1;
  // B as the kernel reads it, from f32[k, n].
  std::function<TensorDataPtr(const TensorDataPtr& b)> encode;
  // Adds B's part to the operands and builds.
  std::function<MmaKernel(const Dim& m, const kernel::Var& thread, MmaOperands& operands,
                          kernel::ParamTable& params)>
      build;
  DType dtype = DType::kF16;          // of A and B in memory
  std::optional<DType> weights = {};  // of B, if it is another one
  // Further constants that the kernel reads.
  std::vector<std::pair<kernel::Buffer, TensorDataPtr>> more = {};
  // A's element there, from a small integer: rounding it gives the integer back.
  double (*in_memory)(double) = [](double integer) { return integer; };
  // Instead of integers any numbers, whose sums may be wrong by so much of the sum of their sizes.
  double tolerance = 0;
  // Of these, elements that are something else: (row or column, step) and what it is.
  struct Special {
    bool is_a;
    int64_t at, step;
    double value;
  };
  std::vector<Special> specials = {};
  // Bytes: any u8 by any i8, in i32.
  DType result = DType::kF32;
  bool large = false;
  kernel::TileUnit unit = {};  // of its tiles
  // B's element as it can be stored, of one that is wanted.
  std::function<double(int64_t step, int64_t column, double wanted)> integers = {};
};

// A's operands: rows of k elements.
inline MmaOperands product_operands(const ProductTest& c, const kernel::Buffer& a, const kernel::Buffer& b,
                                    const kernel::Buffer& out) {
  using kernel::Expr;
  using kernel::int_const;
  MmaOperands o;
  o.dtype = c.dtype;
  o.a_row = [&c](const Expr& m, std::vector<kernel::Stmt>&) {
    return MmaOperands::State{kernel::mul(m, int_const(c.k))};
  };
  o.a_depth = [](const Expr& at, std::vector<kernel::Stmt>&) { return MmaOperands::State{at}; };
  o.a_plain = [&c, a](const Expr& m, const Expr& at, std::vector<kernel::Stmt>&) {
    return kernel::load(a, kernel::add(kernel::mul(m, int_const(c.k)), at));
  };
  if (c.element_wise) {
    o.a_element = [a](const MmaOperands::State& row, const Expr& at) {
      return kernel::load(a, kernel::add(row[0], at));
    };
  } else {
    o.a_buffer = a;
    o.a_chunk = [](const MmaOperands::State& row, const MmaOperands::State& depth) {
      return MmaChunk{kernel::add(row[0], depth[0]), nullptr};
    };
  }
  o.b_buffer = b;
  o.b_first = int_const(0);
  o.finish = [&c, out](const Expr& m, const Expr& n, const Expr& value, int, const Expr& count) {
    return std::vector<kernel::Stmt>{
        kernel::store(out, kernel::add(kernel::mul(m, int_const(c.n)), n), value, count)};
  };
  return o;
}

inline void compare_with_sums(const TensorData& a, const TensorData& b, const TensorData& result,
                              double tolerance = 0) {
  const int64_t rows = a.shape()[0], depth = a.shape()[1], columns = b.shape()[1];
  for (int64_t m = 0; m < rows; ++m) {
    for (int64_t n = 0; n < columns; ++n) {
      double sum = 0, size = 0;
      for (int64_t kk = 0; kk < depth; ++kk) {
        const double term = a.float_at(m * depth + kk) * b.float_at(kk * columns + n);
        sum += term;
        size += std::abs(term);
      }
      if (std::abs(sum) > std::numeric_limits<float>::max()) sum *= std::numeric_limits<double>::infinity();
      const int64_t at = m * columns + n;
      const double got =
          is_float(result.dtype()) ? result.float_at(at) : static_cast<double>(result.int_at(at));
      const bool same = got == sum || (std::isnan(got) && std::isnan(sum));
      if (!same && !(std::abs(got - sum) <= tolerance * size && std::isfinite(sum))) {
        FAIL_CHECK("element (" << m << ", " << n << "): want " << sum << ", got " << got);
        return;
      }
    }
  }
}

inline void check_product(const ProductTest& c) {
  CAPTURE(c.m);
  CAPTURE(c.n);
  CAPTURE(c.k);
  const auto numbers = [&](bool is_a, uint64_t seed) {
    int64_t i = 0;
    return seeded(DType::kF32, is_a ? std::vector{c.m, c.k} : std::vector{c.k, c.n}, seed,
                  [&](uint64_t random) {
                    const int64_t at = is_a ? i / c.k : i % c.n, step = is_a ? i % c.k : i / c.n;
                    ++i;
                    for (const ProductTest::Special& s : c.specials) {
                      if (s.is_a == is_a && s.at == at && s.step == step) return s.value;
                    }
                    if (c.large) return static_cast<double>(random % 256) - (is_a ? 0 : 128);
                    const auto integer = static_cast<double>(static_cast<int64_t>(random % 7) - 3);
                    if (!is_a && c.integers) return c.integers(step, at, integer);
                    return c.tolerance > 0 ? integer + static_cast<double>(random >> 40) * 0x1p-24 : integer;
                  });
  };
  const auto a = numbers(true, 1), b = numbers(false, 2);
  kernel::ParamTable params;
  kernel::Kernel k;
  k.name = "product";
  k.threads = c.threads;
  k.subgroup = c.unit.subgroup;
  k.tiles = c.unit.shape;
  k.cluster = c.cluster;
  k.thread = kernel::make_var("t");
  const kernel::Buffer ab = global_buffer("a", c.dtype, kernel::Access::kRead),
                       bb = global_buffer("b", c.weights.value_or(c.dtype), kernel::Access::kRead),
                       out = global_buffer("out", c.result, kernel::Access::kWrite);
  k.bindings = {ab, bb, out};
  for (const auto& [buffer, data] : c.more) k.bindings.push_back(buffer);
  MmaOperands o = product_operands(c, ab, bb, out);
  const Dim rows_of_a = c.symbolic ? Dim::symbol("M") : Dim(c.m);
  o.a_rows = TensorRows{
      ab,
      0,
      {{params.expr(rows_of_a), kernel::int_const(c.k)}, {kernel::int_const(c.k), kernel::int_const(1)}},
      [](const kernel::Expr& row) { return std::vector<kernel::Expr>{row}; }};
  MmaKernel made = c.build(c.symbolic ? Dim::symbol("M") : Dim(c.m), k.thread, o, params);
  k.grid = made.grid;
  k.body = made.body;
  k.tensors = made.tensors;
  k.params = params.params();
  kernel::simplify(k);
  kernel::assign_workgroup(k);
  REQUIRE(kernel::verify(k) == "");

  auto stored = TensorData::make(c.dtype, {c.m, c.k});
  for (int64_t i = 0; i < stored->count(); ++i) {
    if (is_float(c.dtype)) {
      stored->set_float(i, c.in_memory(a->float_at(i)));
    } else {
      stored->set_int(i, static_cast<int64_t>(a->float_at(i)));
    }
  }
  auto result = TensorData::make(c.result, {c.m, c.n});
  const auto rows = [&](const std::string&) { return c.m; };
  std::vector<int64_t> values;
  for (const kernel::Param& p : k.params) values.push_back(p.value.evaluate(rows).value());
  int64_t tiles = 1;
  for (const auto& axis : k.grid) tiles *= axis.extent.evaluate(rows).value();
  const TensorDataPtr encoded = c.encode(b);
  std::vector<kernel::EvalBinding> bindings = {binding_of(stored), binding_of(encoded), binding_of(result)};
  for (const auto& [buffer, data] : c.more) bindings.push_back(binding_of(data));
  const auto code = kernel::evaluate(k, bindings, values, 0, tiles);
  if (!code.ok()) FAIL_CHECK(code.error().message);
  compare_with_sums(*a, *b, *result, c.tolerance);
}

}  // namespace tern::lower::gpu
