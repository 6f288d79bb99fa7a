#include "compiler/render/glsl_rows.h"

namespace tern::render {

std::span<const GlslRow> glsl_float_rows() {
  // e, m, bias, largest finite magnitude, infinity, NaN (-1: there is none), whether there is -0.
#define TERN_SMALL(name, row, negative_zero)                                                                \
  {"decode_" name, "", "float", "uint x", "return decode_small(int(x), " row ");"},                         \
      {"encode_" name, "", "uint", "float x", "return encode_small(x, " row ", " negative_zero ", true);"}, \
      {"encode_" name "_overflow", "", "uint", "float x",                                                   \
       "return encode_small(x, " row ", " negative_zero ", false);"}
  static constexpr GlslRow kRows[] = {
      // The quotient as IEEE 754 rounds it: a device's own may be 2.5 units off (Vulkan, "Precision of
      // operations"), which its remainder corrects. The remainder is made of halves of 12 bits (Dekker): fma
      // may round twice, and does on NVIDIA's driver 580.
      {"quotient", "float", "float", "float a, float b",
       "precise float q = a / b, p = q * b, qc = 4097.0 * q, qh = qc - (qc - q), ql = q - qh;\n"
       "  precise float bc = 4097.0 * b, bh = bc - (bc - b), bl = b - bh;\n"
       "  precise float rest = (a - p) - (((qh * bh - p) + qh * bl + ql * bh) + ql * bl), better = q + rest "
       "/ b;\n"
       "  return abs(rest) > 0.0 && abs(rest) < 3.4e38 ? better : q;"},
      {"pow2", "", "float", "int n", "return intBitsToFloat((n + 127) << 23);"},
      {"decode_f16", "", "float", "uint x",
       "uint m = x & 0x7fffu;\n  float v = m >= 0x7c00u ? uintBitsToFloat(0x7f800000u | (m & 0x3ffu) << 13) "
       ":\n"
       "            m >= 0x400u ? uintBitsToFloat((m << 13) + 0x38000000u) : float(m) * "
       "5.9604644775390625e-8;\n"
       "  return (x & 0x8000u) != 0u ? -v : v;"},
      {"encode_f16", "", "uint", "float x",
       "uint u = floatBitsToUint(x), sign = (u >> 16) & 0x8000u, m = u & 0x7fffffffu;\n"
       "  if (m > 0x7f800000u) return sign | 0x7e00u | ((m >> 13) & 0x3ffu);\n"
       "  if (m >= 0x477ff000u) return sign | 0x7c00u;\n"
       "  if (m < 0x38800000u) return sign | uint(roundEven(uintBitsToFloat(m) * 16777216.0));\n"
       "  return sign | ((m + 0xfffu + ((m >> 13) & 1u) - 0x38000000u) >> 13);"},
      {"decode_f16_narrow", "", "float", "uint x", "return float(unpackFloat2x16(x).x);"},
      {"encode_f16_narrow", "", "uint", "float x",
       "return packFloat2x16(f16vec2(float16_t(x), float16_t(0.0)));"},
      {"decode_bf16", "", "float", "uint x", "return uintBitsToFloat(x << 16);"},
      {"encode_bf16", "", "uint", "float x",
       "uint u = floatBitsToUint(x), hi = u >> 16;\n"
       "  return (u & 0x7fffffffu) > 0x7f800000u ? hi | 0x40u : (u + 0x7fffu + (hi & 1u)) >> 16;"},
      {"decode_small", "", "float", "int x, int e, int m, int bias, int most, int inf, int nan",
       "int sign = (x >> (e + m)) & 1, mag = x & ((1 << (e + m)) - 1), exponent = mag >> m, man = mag & ((1 "
       "<< m) - 1);\n"
       "  if (inf >= 0 && mag == inf) return uintBitsToFloat(sign != 0 ? 0xff800000u : 0x7f800000u);\n"
       "  if (nan == 0x80 ? x == 0x80 : nan >= 0 && mag > most) return uintBitsToFloat(0x7fc00000u);\n"
       "  float v = exponent == 0 ? float(man) * pow2(1 - bias - m) : float(man + (1 << m)) * pow2(exponent "
       "- bias - m);\n"
       "  return sign != 0 ? -v : v;"},
      {"encode_small", "", "uint",
       "float x, int e, int m, int bias, int most, int inf, int nan, bool negative_zero, bool saturate",
       "int b = floatBitsToInt(x), sign = int(uint(b) >> 31) << (e + m), mag = 0;\n"
       "  if (is_nan_float(x)) return uint(nan < 0 ? 1 << (e + m) : nan);\n"
       "  float a = abs(x);\n"
       "  int exponent = ((b >> 23) & 255) - 127;\n  bool over = exponent == 128;\n"
       "  if (exponent < 1 - bias) exponent = 1 - bias;\n"
       "  if (exponent > bias + 2) over = true;\n"
       "  if (!over) {\n    mag = a == 0.0 ? 0 : ((exponent + bias - 1) << m) + int(roundEven(a * pow2(m - "
       "exponent)));\n"
       "    over = mag > most;\n  }\n"
       "  if (over) {\n    if (nan < 0 || saturate) mag = most;\n    else if (inf >= 0) mag = inf;\n"
       "    else return uint(nan | (negative_zero ? sign : 0));\n  }\n"
       "  return mag == 0 && !negative_zero ? 0u : uint(sign | mag);"},
      TERN_SMALL("f8e4m3fn", "4, 3, 7, 0x7e, -1, 0x7f", "true"),
      TERN_SMALL("f8e4m3fnuz", "4, 3, 8, 0x7f, -1, 0x80", "false"),
      TERN_SMALL("f8e5m2", "5, 2, 15, 0x7b, 0x7c, 0x7f", "true"),
      TERN_SMALL("f8e5m2fnuz", "5, 2, 16, 0x7f, -1, 0x80", "false"),
      TERN_SMALL("f4e2m1", "2, 1, 1, 0x7, -1, -1", "true"),
      {"decode_f8e8m0", "", "float", "uint x",
       "if (x == 255u) return uintBitsToFloat(0x7fc00000u);\n"
       "  return x == 0u ? uintBitsToFloat(0x400000u) : uintBitsToFloat(x << 23);"},
      {"encode_e8m0", "", "uint", "float x, bool saturate",
       "uint b = floatBitsToUint(x);\n  if (is_nan_float(x) || x < 0.0) return 255u;\n"
       "  b &= 0x7fffffffu;\n  if (b == 0x7f800000u) return saturate ? 254u : 255u;\n"
       "  uint e = b >> 23, man = b & 0x7fffffu;\n"
       "  if (e == 0u) return man >= 0x600000u ? 1u : 0u;\n"
       "  if (man > 0x400000u || (man == 0x400000u && (e & 1u) != 0u)) ++e;\n"
       "  return e > 254u ? (saturate ? 254u : 255u) : e;"},
      {"encode_f8e8m0", "", "uint", "float x", "return encode_e8m0(x, true);"},
      {"encode_f8e8m0_overflow", "", "uint", "float x", "return encode_e8m0(x, false);"},
      {"complex_mul", "vec2 dvec2", "$T", "$T a, $T b",
       "return $T(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);"},
      // Smith: scaled by the larger part of the divisor.
      {"complex_div", "vec2 dvec2", "$T", "$T a, $T b",
       "bool swap = abs(b.x) < abs(b.y);\n  $T d = swap ? b.yx : b;\n  d.x = d.x + d.y * (d.y / d.x);\n"
       "  $T q = swap ? $T(b.x / b.y, 1) : $T(1, b.y / b.x);\n"
       "  return $T(a.x * q.x + a.y * q.y, a.y * q.x - a.x * q.y) / d.x;"},
  };
#undef TERN_SMALL
  return kRows;
}

}  // namespace tern::render
