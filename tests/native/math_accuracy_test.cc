// Error of the vector math, in units in the last place of the exact result. Ordinarily a sample of all f32
// values; TERN_FULL_SWEEP=1 takes every one (and prints the table of docs/vector-math.md).
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "compiler/kernel/simplify.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/render/c_target.h"
#include "tests/native/native_kernel.h"

namespace tern::test {
namespace {

using namespace kernel;

struct Function {
  ScalarOp op;
  double (*exact)(double);
  long double (*exact_long)(long double);
  double bound32, bound64;  // ulps, on every level
};

const Function kFunctions[] = {
    {ScalarOp::kExp, std::exp, std::exp, 1.1, 1.1},
    {ScalarOp::kLog, std::log, std::log, 1.0, 1.0},
    {ScalarOp::kLog1p, std::log1p, std::log1p, 2.0, 2.0},
    {ScalarOp::kExpm1, std::expm1, std::expm1, 2.0, 2.5},
    {ScalarOp::kSin, std::sin, std::sin, 0.6, 2.5},
    {ScalarOp::kCos, std::cos, std::cos, 0.6, 2.5},
    {ScalarOp::kTan, std::tan, std::tan, 0.6, 4.5},
    {ScalarOp::kAsin, std::asin, std::asin, 2.0, 3.0},
    {ScalarOp::kAcos, std::acos, std::acos, 2.0, 3.0},
    {ScalarOp::kAtan, std::atan, std::atan, 2.0, 1.5},
    {ScalarOp::kSinh, std::sinh, std::sinh, 0.6, 3.5},
    {ScalarOp::kCosh, std::cosh, std::cosh, 0.6, 3.5},
    {ScalarOp::kTanh, std::tanh, std::tanh, 2.0, 4.0},
    {ScalarOp::kAsinh, std::asinh, std::asinh, 0.6, 4.0},
    {ScalarOp::kAcosh, std::acosh, std::acosh, 0.6, 4.0},
    {ScalarOp::kAtanh, std::atanh, std::atanh, 0.6, 4.0},
    {ScalarOp::kErf, std::erf, std::erf, 1.7, 5.5},
};

// y[i] = op(x[i]) for i < n.
Kernel function_kernel(ScalarOp which, DType dtype, int lanes, size_t number) {
  Kernel k;
  k.name = fmt::format("math_{}", number);
  Buffer x = make_buffer("x", {dtype, 1}, Scope::kGlobal, Access::kRead);
  Buffer y = make_buffer("y", {dtype, 1}, Scope::kGlobal, Access::kWrite);
  Var n = make_var("n"), i = make_var("i");
  k.bindings = {x, y};
  k.params = {{n, Dim::symbol("N")}};
  Stmt l = loop(i, int_const(0), var_expr(n), LoopKind::kSerial,
                {store(y, var_expr(i), op(which, {load(x, var_expr(i))}))});
  k.body = vectorize_loop(l, lanes);
  simplify(k);
  return k;
}

template <typename T>
void apply(tern_kernel_fn_t f, std::vector<T>& x, std::vector<T>& y) {
  void* bindings[] = {x.data(), y.data()};
  int64_t params[] = {static_cast<int64_t>(x.size())};
  tern_kernel_args_t args{bindings, params};
  REQUIRE(f(&args, 0, 1, nullptr, 0) == 0);
}

// In units in the last place of a float with `bits` of significand and least exponent `least`.
double ulps(long double got, long double exact, int bits, int least) {
  if (std::isnan(exact)) return std::isnan(got) ? 0 : INFINITY;
  if (std::isnan(got)) return INFINITY;
  int e = 0;
  std::frexp(exact, &e);
  long double unit = std::ldexp(1.0L, std::max(e, least) - bits);
  long double largest =
      bits == 24 ? static_cast<long double>(3.4028234663852886e38L) : 1.7976931348623157e308L;
  if (std::isinf(got))
    return std::fabs(exact) > largest - unit ? 0 : INFINITY;  // half a unit above the largest
  if (std::isinf(exact)) return INFINITY;
  return static_cast<double>(std::fabs(got - exact) / unit);
}

struct Worst {
  double error = 0, at = 0;
};

Worst sweep_f32(tern_kernel_fn_t f, const Function& function, uint64_t stride) {
  Worst worst;
  std::vector<float> x(1 << 14), y(x.size());
  for (uint64_t next = 0; next < uint64_t{1} << 32;) {
    for (float& v : x) {
      v = std::bit_cast<float>(static_cast<uint32_t>(next));
      next += stride;
    }
    apply(f, x, y);
    for (size_t k = 0; k < x.size(); ++k) {
      double exact = function.exact(x[k]);
      // Half a unit at most, the common case: not what is looked for.
      if (y[k] == static_cast<float>(exact) && worst.error >= 0.5) continue;
      double error = ulps(y[k], exact, 24, -125);
      if (error > worst.error) worst = {error, x[k]};
    }
  }
  return worst;
}

Worst sample_f64(tern_kernel_fn_t f, const Function& function, int rounds) {
  Worst worst;
  std::mt19937_64 random(3);
  std::vector<double> x(1 << 13), y(x.size());
  for (int round = 0; round < rounds; ++round) {
    for (double& v : x) {
      uint64_t bits = random();
      if (round % 2 == 0) {
        // Ordinary magnitudes: 2^-30 .. 2^11.
        bits = (bits & 0x800fffffffffffffull) | (993 + bits % 41) << 52;
      }
      v = std::bit_cast<double>(bits);
    }
    apply(f, x, y);
    for (size_t k = 0; k < x.size(); ++k) {
      double error = ulps(y[k], function.exact_long(x[k]), 53, -1021);
      if (error > worst.error) worst = {error, x[k]};
    }
  }
  return worst;
}

TEST_CASE("vector math stays within its bounds") {
  const char* sweep = std::getenv("TERN_SWEEP");
  const bool full = sweep != nullptr;
  const uint64_t stride = full ? std::strtoull(sweep, nullptr, 10) : 40009;
  for (const std::string& level : native_levels()) {
    std::vector<Kernel> kernels;
    int lanes = render::c_target(level)->vector_bits / 32;
    for (const Function& f : kFunctions)
      kernels.push_back(function_kernel(f.op, DType::kF32, lanes, kernels.size()));
    for (const Function& f : kFunctions)
      kernels.push_back(function_kernel(f.op, DType::kF64, lanes / 2, kernels.size()));
    auto image = compile(kernels, level);
    REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
    LoadedImage loaded(*image);
    for (size_t k = 0; k < std::size(kFunctions); ++k) {
      const Function& f = kFunctions[k];
      const bool direct = f.bound32 > 0.6;  // computed in f32
      Worst single = sweep_f32(loaded.function(k), f, direct || !full ? stride : 61 * stride);
      Worst wide = sample_f64(loaded.function(std::size(kFunctions) + k), f, full ? 400 : 8);
      std::string_view name = scalar::info(f.op).name;
      if (full) {
        std::printf("| %s | %s | %.3f at %.9g | %.3f at %.17g |\n", level.c_str(), std::string(name).c_str(),
                    single.error, single.at, wide.error, wide.at);
        std::fflush(stdout);
      }
      CHECK_MESSAGE(single.error <= f.bound32,
                    level << " " << name << " f32: " << single.error << " at " << single.at);
      CHECK_MESSAGE(wide.error <= f.bound64,
                    level << " " << name << " f64: " << wide.error << " at " << wide.at);
    }
  }
}

// What an intrinsic makes of whole vectors (machine operations have no scalar form that vectorize would
// widen).
std::vector<float> outputs_of(Intrinsic which, const std::string& level, std::vector<float> in) {
  const int lanes = render::c_target(level)->vector_bits / 32;
  Kernel k;
  k.name = "machine_operation";
  const Buffer x = make_buffer("x", {DType::kF32, 1}, Scope::kGlobal, Access::kRead);
  const Buffer y = make_buffer("y", {DType::kF32, 1}, Scope::kGlobal, Access::kWrite);
  const Var n = make_var("n"), i = make_var("i");
  k.bindings = {x, y};
  k.params = {{n, Dim::symbol("N")}};
  const Expr at = mul(var_expr(i), int_const(lanes));
  const Expr value = intrinsic(which, {load(x, at, lanes)}, {DType::kF32, lanes});
  k.body = {loop(i, int_const(0), index_div(var_expr(n), int_const(lanes)), LoopKind::kSerial,
                 {store(y, at, value)})};
  auto image = compile({k}, level);
  REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
  LoadedImage loaded(*image);
  std::vector<float> out(in.size());
  apply(loaded.function(0), in, out);
  return out;
}

// NaN, infinities, zeros, large numbers, and 2^16 places from `low` to `high`.
std::vector<float> arguments(float low, float high) {
  std::vector<float> in{NAN,       -NAN,     std::bit_cast<float>(0x7f8fffffu),
                        -INFINITY, INFINITY, 0,
                        -0.0f,     -3e38f,   3e38f,
                        -1000,     1000,     low,
                        high,      1e-30f,   -1e-30f,
                        1};
  const size_t first = in.size(), count = 1 << 16;
  while (in.size() < first + count)
    in.push_back(low + static_cast<float>(in.size() - first) * ((high - low) / static_cast<float>(count)));
  return in;
}

TEST_CASE("exp2_approx stays within 2^-21, with zeros below the normal numbers") {
  for (const std::string& level : native_levels()) {
    std::vector<float> in = arguments(-140, 127);
    std::erase_if(in, [](float x) { return x > 127 && x < INFINITY; });
    while (in.size() % 16 != 0) in.push_back(0);
    const std::vector<float> out = outputs_of(Intrinsic::kExp2Approx, level, in);
    for (size_t j = 0; j < in.size(); ++j) {
      const double exact = std::exp2(static_cast<double>(in[j]));
      if (std::isnan(in[j]) || std::isinf(in[j]) || exact < 0x1p-126) {
        const double want = std::isnan(in[j]) ? NAN : in[j] > 0 ? INFINITY : 0.0;
        CHECK_MESSAGE((out[j] == want || (std::isnan(want) && std::isnan(out[j]))), level, " ", in[j], ": ",
                      out[j]);
      } else if (std::abs(out[j] / exact - 1) > 0x1p-21) {
        FAIL_CHECK(level, " ", in[j], ": ", out[j], " instead of ", exact);
      }
    }
  }
}

TEST_CASE("exp_below stays within 2^-21 and is nearer the nearer to 0, with less than normal numbers below") {
  for (const std::string& level : native_levels()) {
    std::vector<float> in = arguments(-110, 0);
    std::erase_if(in, [](float x) { return x > 0; });
    while (in.size() % 16 != 0) in.push_back(0);
    const std::vector<float> out = outputs_of(Intrinsic::kExpBelow, level, in);
    for (size_t j = 0; j < in.size(); ++j) {
      const double exact = std::exp(static_cast<double>(in[j])),
                   bound = 0x1p-23 + 0x1p-22 * std::abs(static_cast<double>(in[j])) / 87;
      const bool right = std::isnan(in[j])  ? std::isnan(out[j])
                         : exact < 0x1p-126 ? out[j] >= 0 && out[j] <= 0x1p-126f
                                            : std::abs(out[j] / exact - 1) <= bound;
      if (!right || (in[j] < -104 && out[j] != 0) || (in[j] == 0 && out[j] != 1))
        FAIL_CHECK(level, " ", in[j], ": ", out[j], " instead of ", exact);
    }
  }
}

TEST_CASE("logistic_divisor stays within 2^-21, with infinities where the power is one") {
  for (const std::string& level : native_levels()) {
    const std::vector<float> in = arguments(-100, 100);
    const std::vector<float> out = outputs_of(Intrinsic::kLogisticDivisor, level, in);
    for (size_t j = 0; j < in.size(); ++j) {
      const double exact = 1 + std::exp(-static_cast<double>(in[j]));
      const bool right = std::isnan(in[j])                       ? std::isnan(out[j])
                         : std::isinf(static_cast<float>(exact)) ? std::isinf(out[j])
                                                                 : std::abs(out[j] / exact - 1) <= 0x1p-21;
      if (!right) FAIL_CHECK(level, " ", in[j], ": ", out[j], " instead of ", exact);
    }
  }
}

TEST_CASE("erf_plus_one stays within 2^-21, and is 0 below -4") {
  for (const std::string& level : native_levels()) {
    const std::vector<float> in = arguments(-5, 5);
    const std::vector<float> out = outputs_of(Intrinsic::kErfPlusOne, level, in);
    for (size_t j = 0; j < in.size(); ++j) {
      const double exact = 1 + std::erf(static_cast<double>(in[j]));
      const bool right = std::isnan(in[j]) ? std::isnan(out[j])
                         : in[j] < -4      ? out[j] == 0
                                           : std::abs(out[j] - exact) <= 0x1p-21 * std::max(exact, 1.0);
      if (!right) FAIL_CHECK(level, " ", in[j], ": ", out[j], " instead of ", exact);
    }
  }
}

TEST_CASE("normal_cdf stays within 2^-22, twice that above 0, and is 0 below -5.66") {
  for (const std::string& level : native_levels()) {
    const std::vector<float> in = arguments(-7, 7);
    const std::vector<float> out = outputs_of(Intrinsic::kNormalCdf, level, in);
    for (size_t j = 0; j < in.size(); ++j) {
      const double exact = std::erfc(-static_cast<double>(in[j]) / std::sqrt(2.0)) / 2;
      const bool right = std::isnan(in[j]) ? std::isnan(out[j])
                         : in[j] < -5.66f  ? out[j] == 0
                                           : std::abs(out[j] - exact) <= 0x1p-22 * (in[j] > 0 ? 2 : 1);
      if (!right) FAIL_CHECK(level, " ", in[j], ": ", out[j], " instead of ", exact);
    }
  }
}

TEST_CASE("gelu stays within 2^-22 of its argument, twice that above 0, and is 0 below -5.66") {
  for (const std::string& level : native_levels()) {
    const std::vector<float> in = arguments(-7, 7);
    const std::vector<float> out = outputs_of(Intrinsic::kGelu, level, in);
    for (size_t j = 0; j < in.size(); ++j) {
      const double x = in[j], exact = x * std::erfc(-x / std::sqrt(2.0)) / 2,
                   bound = 0x1p-149 + 0x1p-22 * std::abs(x) * (x > 0 ? 2 : 1);
      const bool right = std::isnan(in[j]) ? std::isnan(out[j])
                         : std::isinf(in[j])
                             ? out[j] == std::max(in[j], 0.0f) || (x < 0 && std::isnan(out[j]))
                         : in[j] < -5.66f ? out[j] == 0
                                          : std::abs(out[j] - exact) <= bound;
      if (!right) FAIL_CHECK(level, " ", in[j], ": ", out[j], " instead of ", exact);
    }
  }
}

}  // namespace
}  // namespace tern::test
