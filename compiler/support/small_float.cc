#include "compiler/support/small_float.h"

#include <cmath>
#include <limits>

#include "compiler/support/check.h"

namespace tern {
namespace {

struct Format {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  uint64_t max_finite;  // bit pattern without sign
  int64_t infinity;     // bit pattern without sign, or -1
  int64_t nan;          // bit pattern, or -1
  bool negative_zero;
};

Format format_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return {5, 10, 15, 0x7bff, 0x7c00, 0x7e00, true};
    case DType::kBF16:
      return {8, 7, 127, 0x7f7f, 0x7f80, 0x7fc0, true};
    case DType::kF8E4M3FN:
      return {4, 3, 7, 0x7e, -1, 0x7f, true};
    case DType::kF8E4M3FNUZ:
      return {4, 3, 8, 0x7f, -1, 0x80, false};
    case DType::kF8E5M2:
      return {5, 2, 15, 0x7b, 0x7c, 0x7f, true};
    case DType::kF8E5M2FNUZ:
      return {5, 2, 16, 0x7f, -1, 0x80, false};
    case DType::kF4E2M1:
      return {2, 1, 1, 0x7, -1, -1, true};
    default:
      TERN_UNREACHABLE("{} is not a small float type", dtype_name(dtype));
  }
}

// Powers of two only, no sign: 2^(bits - 127), 0xff is NaN.
uint64_t encode_e8m0(double value, bool saturate) {
  if (std::isnan(value) || value < 0) return 0xff;
  if (value == 0) return 0;
  if (std::isinf(value)) return saturate ? 0xfe : 0xff;
  int e;
  const double m = std::frexp(value, &e) * 2;  // value = m * 2^(e-1), m in [1, 2)
  int exponent = e - 1 + 127;
  if (m > 1.5 || (m == 1.5 && (exponent & 1))) ++exponent;
  if (exponent < 0) return 0;
  if (exponent > 0xfe) return saturate ? 0xfe : 0xff;
  return static_cast<uint64_t>(exponent);
}

}  // namespace

double decode_small_float(DType dtype, uint64_t bits) {
  switch (dtype) {
    case DType::kF64:
      return std::bit_cast<double>(bits);
    case DType::kF32:
      return std::bit_cast<float>(static_cast<uint32_t>(bits));
    case DType::kF16:
      return decode_f16(static_cast<uint16_t>(bits));
    case DType::kBF16:
      return decode_bf16(static_cast<uint16_t>(bits));
    case DType::kF8E8M0:
      return bits == 0xff ? std::numeric_limits<double>::quiet_NaN()
                          : std::ldexp(1.0, static_cast<int>(bits) - 127);
    default:
      break;
  }
  const Format f = format_of(dtype);
  const int sign_shift = f.exponent_bits + f.mantissa_bits;
  const bool negative = (bits >> sign_shift) & 1;
  const uint64_t magnitude = bits & ((uint64_t{1} << sign_shift) - 1);
  const bool is_nan = f.nan == 0x80 ? bits == 0x80 : f.nan >= 0 && magnitude > f.max_finite;
  if (f.infinity >= 0 && magnitude == static_cast<uint64_t>(f.infinity))
    return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  if (is_nan) return std::numeric_limits<double>::quiet_NaN();
  const int exponent = static_cast<int>(magnitude >> f.mantissa_bits);
  const int64_t mantissa = static_cast<int64_t>(magnitude & ((uint64_t{1} << f.mantissa_bits) - 1));
  const double v = exponent == 0 ? std::ldexp(static_cast<double>(mantissa), 1 - f.bias - f.mantissa_bits)
                                 : std::ldexp(static_cast<double>(mantissa + (int64_t{1} << f.mantissa_bits)),
                                              exponent - f.bias - f.mantissa_bits);
  return negative ? -v : v;
}

uint64_t encode_small_float(DType dtype, double value, bool saturate) {
  if (dtype == DType::kF64) return std::bit_cast<uint64_t>(value);
  if (dtype == DType::kF32) return std::bit_cast<uint32_t>(static_cast<float>(value));
  if (dtype == DType::kF8E8M0) return encode_e8m0(value, saturate);
  const Format f = format_of(dtype);
  const int sign_shift = f.exponent_bits + f.mantissa_bits;
  const uint64_t sign = std::signbit(value) ? uint64_t{1} << sign_shift : 0;
  if (std::isnan(value)) return f.nan < 0 ? uint64_t{1} << sign_shift : static_cast<uint64_t>(f.nan);
  const bool wide = dtype == DType::kF16 || dtype == DType::kBF16;
  uint64_t magnitude = 0;
  bool overflow = std::isinf(value);
  if (!overflow && value != 0) {
    int e;
    std::frexp(value, &e);
    const int exponent = std::max(e - 1, 1 - f.bias);
    if (exponent > f.bias + 2) {
      overflow = true;
    } else {
      const int64_t units =
          static_cast<int64_t>(std::nearbyint(std::ldexp(std::fabs(value), f.mantissa_bits - exponent)));
      // A mantissa that rounds up to the next power of two carries into the exponent by itself.
      const int64_t biased = exponent + f.bias - 1;
      magnitude = static_cast<uint64_t>((biased << f.mantissa_bits) + units);
      overflow = magnitude > f.max_finite;
    }
  }
  if (overflow) {
    if (f.nan < 0 || (saturate && !wide)) {
      magnitude = f.max_finite;
    } else if (f.infinity >= 0) {
      magnitude = static_cast<uint64_t>(f.infinity);
    } else {
      return static_cast<uint64_t>(f.nan) | (f.negative_zero ? sign : 0);
    }
  }
  if (magnitude == 0 && !f.negative_zero) return 0;
  return sign | magnitude;
}

}  // namespace tern
