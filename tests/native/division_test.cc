// Quotients and remainders of whole vectors, which floats compute on x86-64: all pairs of values at the ends
// of types, of significands and of what floats divide exactly.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "compiler/kernel/simplify.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/render/c_target.h"
#include "tests/native/native_kernel.h"

namespace tern::test {
namespace {

using namespace kernel;

constexpr ScalarOp kOps[] = {ScalarOp::kDiv, ScalarOp::kRem, ScalarOp::kFloorMod};

// z[i] = op(x[i], y[i]); with a divisor that is a constant, y is not read.
Kernel division_kernel(ScalarOp which, DType dtype, int lanes, size_t number, const int64_t* divisor) {
  Kernel k;
  k.name = fmt::format("division_{}", number);
  Buffer x = make_buffer("x", {dtype, 1}, Scope::kGlobal, Access::kRead);
  Buffer y = make_buffer("y", {dtype, 1}, Scope::kGlobal, Access::kRead);
  Buffer z = make_buffer("z", {dtype, 1}, Scope::kGlobal, Access::kWrite);
  Var n = make_var("n"), i = make_var("i");
  k.bindings = {x, y, z};
  k.params = {{n, Dim::symbol("N")}};
  const Expr by = divisor != nullptr ? int_const(*divisor, dtype) : load(y, var_expr(i));
  Stmt l = loop(i, int_const(0), var_expr(n), LoopKind::kSerial,
                {store(z, var_expr(i), op(which, {load(x, var_expr(i)), by}))});
  k.body = vectorize_loop(l, lanes);
  simplify(k);
  return k;
}

template <typename T>
T exact(ScalarOp op, T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmod(a, b);
  } else {
    if (b == 0) return 0;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1)
        return op == ScalarOp::kDiv ? static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(a)) : T{0};
    }
    if (op == ScalarOp::kDiv) return static_cast<T>(a / b);
    const T r = static_cast<T>(a % b);
    return op == ScalarOp::kFloorMod && r != 0 && (r < 0) != (b < 0) ? static_cast<T>(r + b) : r;
  }
}

template <typename T>
std::vector<T> interesting() {
  std::vector<T> values;
  std::mt19937_64 random(11);
  if constexpr (std::is_floating_point_v<T>) {
    using limits = std::numeric_limits<T>;
    for (T v : {T{0}, limits::min(), limits::denorm_min(), limits::max(), limits::infinity(),
                limits::quiet_NaN(), T{3}, T{1}, T{0.1}})
      values.insert(values.end(), {v, -v});
    for (int e = -60; e <= 60; ++e) {
      const T v = std::ldexp(T{1} + static_cast<T>(random() >> 11) * T{0x1p-53}, e);
      values.insert(values.end(), {v, -std::nextafter(v, T{0}), std::ldexp(T{1}, e),
                                   std::nextafter(std::ldexp(T{1}, e), T{0}), v * 3});
    }
  } else {
    for (int bit = 0; bit < static_cast<int>(sizeof(T) * 8); ++bit) {
      const auto power = static_cast<T>(uint64_t{1} << bit);
      const auto any = static_cast<T>(random() >> (63 - bit));
      for (int d : {-1, 0, 1})
        values.insert(values.end(), {static_cast<T>(power + static_cast<T>(d)),
                                     static_cast<T>(0 - power + static_cast<T>(d))});
      values.insert(values.end(), {any, static_cast<T>(0 - any), static_cast<T>(any * 3)});
    }
  }
  return values;
}

template <typename T>
void check_divisions(DType dtype, const std::string& level) {
  constexpr bool kFloat = std::is_floating_point_v<T>;
  const int lanes = render::c_target(level)->vector_bits / std::max<int>(static_cast<int>(sizeof(T)) * 8, 32);
  const int64_t divisors[] = {7, kFloat ? 7 : 100};
  std::vector<Kernel> kernels;
  for (ScalarOp which : kOps) {
    if (kFloat && which != ScalarOp::kRem) continue;
    kernels.push_back(division_kernel(which, dtype, lanes, kernels.size(), nullptr));
    if (kFloat) continue;
    for (const int64_t& d : divisors)
      kernels.push_back(division_kernel(which, dtype, lanes, kernels.size(), &d));
  }
  auto image = compile(kernels, level);
  REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
  LoadedImage loaded(*image);
  const std::vector<T> values = interesting<T>();
  std::vector<T> x, y;
  for (T a : values) {
    for (T b : values) {
      x.push_back(a);
      y.push_back(b);
    }
  }
  size_t k = 0;
  auto compare = [&](ScalarOp which, const int64_t* divisor) {
    std::vector<T> z(x.size());
    void* bindings[] = {x.data(), y.data(), z.data()};
    int64_t params[] = {static_cast<int64_t>(x.size())};
    tern_kernel_args_t args{bindings, params};
    REQUIRE(loaded.function(k++)(&args, 0, 1, nullptr, 0) == 0);
    for (size_t i = 0; i < x.size(); ++i) {
      const T b = divisor != nullptr ? static_cast<T>(*divisor) : y[i], want = exact(which, x[i], b);
      bool right = z[i] == want;
      if constexpr (kFloat)
        right = std::isnan(want) ? std::isnan(z[i]) : right && std::signbit(z[i]) == std::signbit(want);
      if (!right) {
        FAIL_CHECK(level, " ", dtype_name(dtype), " ", scalar::info(which).name, " of ", x[i], " and ", b,
                   ": ", z[i], " instead of ", want);
        return;
      }
    }
  };
  for (ScalarOp which : kOps) {
    if (kFloat && which != ScalarOp::kRem) continue;
    compare(which, nullptr);
    if (kFloat) continue;
    for (const int64_t& d : divisors) compare(which, &d);
  }
}

TEST_CASE("vectors divide exactly") {
  for (const std::string& level : native_levels()) {
    check_divisions<int8_t>(DType::kI8, level);
    check_divisions<uint8_t>(DType::kU8, level);
    check_divisions<int16_t>(DType::kI16, level);
    check_divisions<uint16_t>(DType::kU16, level);
    check_divisions<int32_t>(DType::kI32, level);
    check_divisions<uint32_t>(DType::kU32, level);
    check_divisions<int64_t>(DType::kI64, level);
    check_divisions<uint64_t>(DType::kU64, level);
    check_divisions<float>(DType::kF32, level);
    check_divisions<double>(DType::kF64, level);
  }
}

}  // namespace
}  // namespace tern::test
