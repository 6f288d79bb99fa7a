// The meaning of each row of ops.def on native C++ types, once: eval_scalar (one element) and eval_map (whole
// arrays) both visit these. Each visit_* calls `v` with a functor and returns true, or returns false when
// the op has no meaning in that class of types. T is float or double for floats (narrower types are computed
// in float and rounded by the caller), a 64-bit or native integer for integers with `bits` its real width.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "compiler/scalar/scalar.h"

namespace tern::scalar {

// f32 transcendental functions are computed in double and rounded once.
template <typename T, double (*F)(double)>
T through_double(T x) {
  return static_cast<T>(F(static_cast<double>(x)));
}

template <typename T, typename V>
bool visit_float_unary(ScalarOp op, V&& v) {
#define TERN_MATH(row, function)                           \
  case ScalarOp::k##row:                                   \
    v([](T x) { return through_double<T, function>(x); }); \
    return true;
  switch (op) {
    case ScalarOp::kNeg:
      v([](T x) { return -x; });
      return true;
    case ScalarOp::kAbs:
      v([](T x) { return std::fabs(x); });
      return true;
    case ScalarOp::kSign:
      v([](T x) { return x > 0 ? T(1) : x < 0 ? T(-1) : x == 0 ? T(0) : x; });
      return true;
    case ScalarOp::kFloor:
      v([](T x) { return std::floor(x); });
      return true;
    case ScalarOp::kCeil:
      v([](T x) { return std::ceil(x); });
      return true;
    case ScalarOp::kTrunc:
      v([](T x) { return std::trunc(x); });
      return true;
    case ScalarOp::kRoundEven:
      v([](T x) { return std::nearbyint(x); });
      return true;
    case ScalarOp::kSqrt:
      v([](T x) { return std::sqrt(x); });
      return true;
      TERN_MATH(Exp, std::exp)
      TERN_MATH(Log, std::log)
      TERN_MATH(Log1p, std::log1p)
      TERN_MATH(Expm1, std::expm1)
      TERN_MATH(Sin, std::sin)
      TERN_MATH(Cos, std::cos)
      TERN_MATH(Tan, std::tan)
      TERN_MATH(Asin, std::asin)
      TERN_MATH(Acos, std::acos)
      TERN_MATH(Atan, std::atan)
      TERN_MATH(Sinh, std::sinh)
      TERN_MATH(Cosh, std::cosh)
      TERN_MATH(Tanh, std::tanh)
      TERN_MATH(Asinh, std::asinh)
      TERN_MATH(Acosh, std::acosh)
      TERN_MATH(Atanh, std::atanh)
      TERN_MATH(Erf, std::erf)
    default:
      return false;
  }
#undef TERN_MATH
}

template <typename T>
T float_mod(T x, T y) {
  T r = std::fmod(x, y);
  if (r == 0) return std::copysign(T(0), y);
  if ((r < 0) != (y < 0)) r += y;
  return r;
}

template <typename T, typename V>
bool visit_float_binary(ScalarOp op, V&& v) {
  switch (op) {
    case ScalarOp::kAdd:
      v([](T x, T y) { return x + y; });
      return true;
    case ScalarOp::kSub:
      v([](T x, T y) { return x - y; });
      return true;
    case ScalarOp::kMul:
      v([](T x, T y) { return x * y; });
      return true;
    case ScalarOp::kDiv:
      v([](T x, T y) { return x / y; });
      return true;
    case ScalarOp::kFloorMod:
      v([](T x, T y) { return float_mod(x, y); });
      return true;
    case ScalarOp::kRem:
      v([](T x, T y) { return std::fmod(x, y); });
      return true;
    case ScalarOp::kPow:
      v([](T x, T y) { return static_cast<T>(std::pow(static_cast<double>(x), static_cast<double>(y))); });
      return true;
    case ScalarOp::kMin:
      v([](T x, T y) { return x < y || std::isnan(x) ? x : y; });
      return true;
    case ScalarOp::kMax:
      v([](T x, T y) { return x > y || std::isnan(x) ? x : y; });
      return true;
    case ScalarOp::kAtan2:
      v([](T x, T y) { return static_cast<T>(std::atan2(static_cast<double>(x), static_cast<double>(y))); });
      return true;
    default:
      return false;
  }
}

template <typename T, typename V>
bool visit_float_test(ScalarOp op, V&& v) {
  switch (op) {
    case ScalarOp::kIsNan:
      v([](T x) { return std::isnan(x); });
      return true;
    case ScalarOp::kIsInf:
      v([](T x) { return std::isinf(x); });
      return true;
    default:
      return false;
  }
}

// Comparisons of any ordered native type.
template <typename T, typename V>
bool visit_compare(ScalarOp op, V&& v) {
  switch (op) {
    case ScalarOp::kEq:
      v([](T x, T y) { return x == y; });
      return true;
    case ScalarOp::kNe:
      v([](T x, T y) { return x != y; });
      return true;
    case ScalarOp::kLt:
      v([](T x, T y) { return x < y; });
      return true;
    case ScalarOp::kLe:
      v([](T x, T y) { return x <= y; });
      return true;
    case ScalarOp::kGt:
      v([](T x, T y) { return x > y; });
      return true;
    case ScalarOp::kGe:
      v([](T x, T y) { return x >= y; });
      return true;
    default:
      return false;
  }
}

// Wrapping arithmetic: through uint64, so that nothing is undefined. The caller wraps results to `bits` when
// T is wider than the element type.
template <typename T>
T wrap_add(T x, T y) {
  return static_cast<T>(static_cast<uint64_t>(x) + static_cast<uint64_t>(y));
}
template <typename T>
T wrap_sub(T x, T y) {
  return static_cast<T>(static_cast<uint64_t>(x) - static_cast<uint64_t>(y));
}
template <typename T>
T wrap_mul(T x, T y) {
  return static_cast<T>(static_cast<uint64_t>(x) * static_cast<uint64_t>(y));
}
template <typename T>
T int_div(T x, T y) {
  if (y == 0) return 0;
  if constexpr (std::is_signed_v<T>) {
    if (y == T(-1)) return wrap_sub(T(0), x);
  }
  return static_cast<T>(x / y);
}
template <typename T>
T int_rem(T x, T y) {
  if (y == 0) return 0;
  if constexpr (std::is_signed_v<T>) {
    if (y == T(-1)) return 0;
  }
  return static_cast<T>(x % y);
}
template <typename T>
T int_floor_mod(T x, T y) {
  const T r = int_rem(x, y);
  if constexpr (std::is_signed_v<T>) {
    if (r != 0 && (r < 0) != (y < 0)) return static_cast<T>(r + y);
  }
  return r;
}
template <typename T>
T int_pow(T base, T exponent) {
  if constexpr (std::is_signed_v<T>) {
    if (exponent < 0) {
      if (base == 1) return 1;
      if (base == T(-1)) return (exponent & 1) ? T(-1) : T(1);
      return 0;
    }
  }
  T out = 1;
  for (auto e = static_cast<uint64_t>(exponent); e; e >>= 1) {
    if (e & 1) out = wrap_mul(out, base);
    base = wrap_mul(base, base);
  }
  return out;
}
template <typename T>
T shift_left(T x, T count, int bits) {
  if (count < 0 || static_cast<uint64_t>(count) >= static_cast<uint64_t>(bits)) return 0;
  return static_cast<T>(static_cast<uint64_t>(x) << static_cast<int>(count));
}
template <typename T>
T shift_right(T x, T count, int bits) {
  if (count < 0 || static_cast<uint64_t>(count) >= static_cast<uint64_t>(bits)) return x < 0 ? T(-1) : T(0);
  return static_cast<T>(x >> static_cast<int>(count));
}

template <typename T, typename V>
bool visit_int_unary(ScalarOp op, int bits, V&& v) {
  switch (op) {
    case ScalarOp::kNeg:
      v([](T x) { return wrap_sub(T(0), x); });
      return true;
    case ScalarOp::kAbs:
      v([](T x) { return x < 0 ? wrap_sub(T(0), x) : x; });
      return true;
    case ScalarOp::kSign:
      v([](T x) { return static_cast<T>(x > 0 ? 1 : x < 0 ? -1 : 0); });
      return true;
    case ScalarOp::kNot:
      v([](T x) { return static_cast<T>(~x); });
      return true;
    case ScalarOp::kPopcount:
      v([bits](T x) {
        const uint64_t mask = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
        return static_cast<T>(std::popcount(static_cast<uint64_t>(x) & mask));
      });
      return true;
    default:
      return false;
  }
}

template <typename T, typename V>
bool visit_int_binary(ScalarOp op, int bits, V&& v) {
  switch (op) {
    case ScalarOp::kAdd:
      v([](T x, T y) { return wrap_add(x, y); });
      return true;
    case ScalarOp::kSub:
      v([](T x, T y) { return wrap_sub(x, y); });
      return true;
    case ScalarOp::kMul:
      v([](T x, T y) { return wrap_mul(x, y); });
      return true;
    case ScalarOp::kDiv:
      v([](T x, T y) { return int_div(x, y); });
      return true;
    case ScalarOp::kFloorMod:
      v([](T x, T y) { return int_floor_mod(x, y); });
      return true;
    case ScalarOp::kRem:
      v([](T x, T y) { return int_rem(x, y); });
      return true;
    case ScalarOp::kPow:
      v([](T x, T y) { return int_pow(x, y); });
      return true;
    case ScalarOp::kMin:
      v([](T x, T y) { return x < y ? x : y; });
      return true;
    case ScalarOp::kMax:
      v([](T x, T y) { return x > y ? x : y; });
      return true;
    case ScalarOp::kAnd:
      v([](T x, T y) { return static_cast<T>(x & y); });
      return true;
    case ScalarOp::kOr:
      v([](T x, T y) { return static_cast<T>(x | y); });
      return true;
    case ScalarOp::kXor:
      v([](T x, T y) { return static_cast<T>(x ^ y); });
      return true;
    case ScalarOp::kShl:
      v([bits](T x, T y) { return shift_left(x, y, bits); });
      return true;
    case ScalarOp::kShr:
      v([bits](T x, T y) { return shift_right(x, y, bits); });
      return true;
    default:
      return false;
  }
}

template <typename V>
bool visit_bool(ScalarOp op, V&& v) {
  switch (op) {
    case ScalarOp::kNot:
      v([](bool x, bool) { return !x; });
      return true;
    case ScalarOp::kAnd:
      v([](bool x, bool y) { return x && y; });
      return true;
    case ScalarOp::kOr:
      v([](bool x, bool y) { return x || y; });
      return true;
    case ScalarOp::kXor:
    case ScalarOp::kNe:
      v([](bool x, bool y) { return x != y; });
      return true;
    case ScalarOp::kEq:
      v([](bool x, bool y) { return x == y; });
      return true;
    default:
      return false;
  }
}

}  // namespace tern::scalar
