#include "tools/tern/values.h"

#include <cmath>
#include <cstdio>
#include <cstring>

#include "schemas/abi/dtypes.h"

namespace tern::cli {
namespace {

constexpr int64_t kShown = 6;

enum class Specials { kIeee, kNoInfinity, kOneNan, kNone };  // what the largest exponent means
struct FloatFormat {
  int exponent_bits, mantissa_bits, bias;
  Specials specials;
};

// Sign, exponent, mantissa, from the top.
long double small_float(uint32_t bits, const FloatFormat& format) {
  const uint32_t mantissa_mask = (1u << format.mantissa_bits) - 1,
                 exponent_mask = (1u << format.exponent_bits) - 1;
  const uint32_t mantissa = bits & mantissa_mask, exponent = bits >> format.mantissa_bits & exponent_mask;
  const uint32_t sign = bits >> (format.mantissa_bits + format.exponent_bits) & 1;
  if (format.specials == Specials::kOneNan && sign && !mantissa && !exponent) return NAN;
  if (format.specials == Specials::kNoInfinity && exponent == exponent_mask && mantissa == mantissa_mask)
    return NAN;
  if (format.specials == Specials::kIeee && exponent == exponent_mask)
    return mantissa ? NAN : sign ? -INFINITY : INFINITY;
  const long double fraction = exponent ? mantissa + (1u << format.mantissa_bits) : mantissa;
  const int power = static_cast<int>(exponent ? exponent : 1) - format.bias - format.mantissa_bits;
  return std::ldexp(sign ? -fraction : fraction, power);
}

template <typename T>
T load(const void* data, int64_t index) {
  T value;
  std::memcpy(&value, static_cast<const uint8_t*>(data) + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

// Types below 8 bits: element 0 in the lowest bits.
uint32_t load_bits(const void* data, int64_t index, uint32_t bits) {
  const size_t at = static_cast<size_t>(index) * bits;
  return static_cast<const uint8_t*>(data)[at / 8] >> (at % 8) & ((1u << bits) - 1);
}

int32_t extend(uint32_t value, uint32_t bits) {
  return static_cast<int32_t>(value << (32 - bits)) >> (32 - bits);
}

}  // namespace

int64_t numbers_of(uint32_t dtype, int64_t elements) {
  const bool is_complex = dtype == TERN_DTYPE_C64 || dtype == TERN_DTYPE_C128;
  return dtype == TERN_DTYPE_String ? 0 : is_complex ? 2 * elements : elements;
}

long double number_at(uint32_t dtype, const void* data, int64_t i) {
  switch (dtype) {
    case TERN_DTYPE_F32:
    case TERN_DTYPE_C64:
      return load<float>(data, i);
    case TERN_DTYPE_F64:
    case TERN_DTYPE_C128:
      return load<double>(data, i);
    case TERN_DTYPE_U8:
    case TERN_DTYPE_Bool:
      return load<uint8_t>(data, i);
    case TERN_DTYPE_I8:
      return load<int8_t>(data, i);
    case TERN_DTYPE_U16:
      return load<uint16_t>(data, i);
    case TERN_DTYPE_I16:
      return load<int16_t>(data, i);
    case TERN_DTYPE_U32:
      return load<uint32_t>(data, i);
    case TERN_DTYPE_I32:
      return load<int32_t>(data, i);
    case TERN_DTYPE_U64:
      return load<uint64_t>(data, i);
    case TERN_DTYPE_I64:
      return load<int64_t>(data, i);
    case TERN_DTYPE_F16:
      return small_float(load<uint16_t>(data, i), {5, 10, 15, Specials::kIeee});
    case TERN_DTYPE_BF16:
      return small_float(load<uint16_t>(data, i), {8, 7, 127, Specials::kIeee});
    case TERN_DTYPE_F8E4M3FN:
      return small_float(load<uint8_t>(data, i), {4, 3, 7, Specials::kNoInfinity});
    case TERN_DTYPE_F8E4M3FNUZ:
      return small_float(load<uint8_t>(data, i), {4, 3, 8, Specials::kOneNan});
    case TERN_DTYPE_F8E5M2:
      return small_float(load<uint8_t>(data, i), {5, 2, 15, Specials::kIeee});
    case TERN_DTYPE_F8E5M2FNUZ:
      return small_float(load<uint8_t>(data, i), {5, 2, 16, Specials::kOneNan});
    case TERN_DTYPE_F8E8M0: {
      const int exponent = load<uint8_t>(data, i);
      return exponent == 255 ? NAN : std::ldexp(1.0L, exponent - 127);
    }
    case TERN_DTYPE_F4E2M1:
      return small_float(load_bits(data, i, 4), {2, 1, 1, Specials::kNone});
    case TERN_DTYPE_U4:
      return load_bits(data, i, 4);
    case TERN_DTYPE_U2:
      return load_bits(data, i, 2);
    case TERN_DTYPE_I4:
      return extend(load_bits(data, i, 4), 4);
    case TERN_DTYPE_I2:
      return extend(load_bits(data, i, 2), 2);
    default:
      return 0;
  }
}

std::string summary(uint32_t dtype, const void* data, int64_t elements) {
  const int64_t count = numbers_of(dtype, elements);
  std::string out = count ? " " : "";
  char number[64];
  for (int64_t i = 0; i < count && i < kShown; ++i) {
    std::snprintf(number, sizeof(number), " %.6Lg", number_at(dtype, data, i));
    out += number;
  }
  if (count <= kShown) return out;
  long double least = INFINITY, most = -INFINITY;
  for (int64_t i = 0; i < count; ++i) {
    least = std::fmin(least, number_at(dtype, data, i));
    most = std::fmax(most, number_at(dtype, data, i));
  }
  if (least > most) return out + " … (nan)";
  std::snprintf(number, sizeof(number), " … (%.6Lg to %.6Lg)", least, most);
  return out + number;
}

Comparison compare(uint32_t dtype, const void* got, const void* expected, int64_t elements,
                   const Tolerance& tolerance) {
  Comparison out;
  long double farthest = -1;
  for (int64_t i = 0; i < numbers_of(dtype, elements); ++i) {
    const long double a = number_at(dtype, got, i), b = number_at(dtype, expected, i);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const bool comparable = std::isfinite(a) && std::isfinite(b);
    const long double difference = comparable ? std::fabs(a - b) : INFINITY;
    const long double beyond =
        comparable ? difference - (tolerance.absolute + tolerance.relative * std::fabs(b)) : INFINITY;
    out.largest = std::fmax(out.largest, static_cast<double>(difference));
    if (beyond <= 0) continue;
    ++out.different;
    if (beyond <= farthest) continue;
    farthest = beyond;
    out.worst = i;
  }
  return out;
}

}  // namespace tern::cli
