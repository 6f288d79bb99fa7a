#include "compiler/render/glsl_rows.h"

namespace tern::render {

std::span<const GlslRow> glsl_basic_rows() {
  static constexpr std::string_view kSigned = "int int64_t", kUnsigned = "uint uint64_t";
  static constexpr std::string_view kInts = "int uint int64_t uint64_t", kFloats = "float double";
  static constexpr GlslRow kRows[] = {
      {"div", kSigned, "$T", "$T x, $T y",
       "if (y == $T(0)) return $T(0);\n  return y == $T(-1) ? -x : x / y;"},
      {"div", kUnsigned, "$T", "$T x, $T y", "return y == $T(0) ? $T(0) : x / y;"},
      {"rem", kSigned, "$T", "$T x, $T y",
       "if (y == $T(0) || y == $T(-1)) return $T(0);\n  return x - x / y * y;"},
      {"rem", kUnsigned, "$T", "$T x, $T y", "return y == $T(0) ? $T(0) : x % y;"},
      {"floor_mod", kSigned, "$T", "$T x, $T y",
       "$T r = rem_$T(x, y);\n  return r != $T(0) && (r < $T(0)) != (y < $T(0)) ? r + y : r;"},
      {"floor_mod", kUnsigned, "$T", "$T x, $T y", "return rem_$T(x, y);"},
      // Exact: long division of the mantissas, one bit at a time. Not all devices fuse fma, whose rounding
      // made of large quotients anything.
      {"rem", "float", "float", "float x, float y",
       "uint u = floatBitsToUint(x), sign = u & 0x80000000u, a = u & 0x7fffffffu, b = floatBitsToUint(y) & "
       "0x7fffffffu;\n"
       "  if (b == 0u || a >= 0x7f800000u || b > 0x7f800000u) return uintBitsToFloat(0x7fc00000u);\n"
       "  if (a < b) return x;\n"
       "  int ea = int(a >> 23), eb = int(b >> 23);\n  uint ma = a & 0x7fffffu, mb = b & 0x7fffffu;\n"
       "  if (ea != 0) ma |= 0x800000u; else ea = 1;\n  if (eb != 0) mb |= 0x800000u; else eb = 1;\n"
       "  for (; ea > eb; --ea) {\n    if (ma >= mb) ma -= mb;\n    ma <<= 1;\n  }\n"
       "  if (ma >= mb) ma -= mb;\n  if (ma == 0u) return uintBitsToFloat(sign);\n"
       "  while (ma < 0x800000u && ea > 1) {\n    ma <<= 1;\n    --ea;\n  }\n"
       "  return uintBitsToFloat(ma >= 0x800000u ? sign | (ma & 0x7fffffu) | uint(ea) << 23 : sign | ma);"},
      {"rem", "double", "$T", "$T x, $T y",
       "if (is_inf_$T(y) && !is_inf_$T(x)) return x;\n  precise $T r = fma(-trunc(x / y), y, x);\n"
       "  if (r != $T(0) && (r < $T(0)) != (x < $T(0))) r += abs(y) * ($T(x > $T(0)) * $T(2) - $T(1));\n"
       "  return r;"},
      {"floor_mod", kFloats, "$T", "$T x, $T y",
       "$T r = rem_$T(x, y);\n  return r != $T(0) && (r < $T(0)) != (y < $T(0)) ? r + y : r;"},
      {"sign", kSigned, "$T", "$T x", "return x > $T(0) ? $T(1) : x < $T(0) ? $T(-1) : $T(0);"},
      {"sign", kUnsigned, "$T", "$T x", "return x != $T(0) ? $T(1) : $T(0);"},
      {"sign", kFloats, "$T", "$T x", "return x > $T(0) ? $T(1) : x < $T(0) ? $T(-1) : x;"},
      {"abs", kUnsigned, "$T", "$T x", "return x;"},
      {"abs", kSigned, "$T", "$T x", "return x < $T(0) ? -x : x;"},
      {"pow", kSigned, "$T", "$T x, $T y",
       "if (y < $T(0)) return x == $T(1) ? $T(1) : x == $T(-1) ? ((y & $T(1)) != $T(0) ? $T(-1) : $T(1)) : "
       "$T(0);\n"
       "  $T r = $T(1);\n  for (; y != $T(0); y >>= 1) {\n    if ((y & $T(1)) != $T(0)) r *= x;\n    x *= "
       "x;\n  }\n"
       "  return r;"},
      {"pow", kUnsigned, "$T", "$T x, $T y",
       "$T r = $T(1);\n  for (; y != $T(0); y >>= 1) {\n    if ((y & $T(1)) != $T(0)) r *= x;\n    x *= x;\n "
       " }\n"
       "  return r;"},
      {"shl", "int", "$T", "$T x, $T y", "return y < 0 || y > 31 ? 0 : x << y;"},
      {"shl", "uint", "$T", "$T x, $T y", "return y > 31u ? 0u : x << y;"},
      {"shl", "int64_t", "$T", "$T x, $T y", "return y < $T(0) || y > $T(63) ? $T(0) : x << int(y);"},
      {"shl", "uint64_t", "$T", "$T x, $T y", "return y > $T(63) ? $T(0) : x << int(y);"},
      {"shr", "int", "$T", "$T x, $T y", "return x >> (y < 0 || y > 31 ? 31 : y);"},
      {"shr", "uint", "$T", "$T x, $T y", "return y > 31u ? 0u : x >> y;"},
      {"shr", "int64_t", "$T", "$T x, $T y", "return x >> (y < $T(0) || y > $T(63) ? 63 : int(y));"},
      {"shr", "uint64_t", "$T", "$T x, $T y", "return y > $T(63) ? $T(0) : x >> int(y);"},
      {"popcount", "int uint", "$T", "$T x", "return $T(bitCount(x));"},
      {"popcount", "int64_t uint64_t", "$T", "$T x",
       "return $T(bitCount(uint(x)) + bitCount(uint(uint64_t(x) >> 32)));"},
      {"min", kInts, "$T", "$T x, $T y", "return x < y ? x : y;"},
      {"max", kInts, "$T", "$T x, $T y", "return x > y ? x : y;"},
      {"is_nan", "float", "bool", "$T x", "return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u;"},
      {"is_inf", "float", "bool", "$T x", "return (floatBitsToUint(x) & 0x7fffffffu) == 0x7f800000u;"},
      {"is_nan", "double", "bool", "$T x",
       "uvec2 u = unpackDouble2x32(x);\n  u.y &= 0x7fffffffu;\n"
       "  return u.y > 0x7ff00000u || (u.y == 0x7ff00000u && u.x != 0u);"},
      {"is_inf", "double", "bool", "$T x",
       "uvec2 u = unpackDouble2x32(x);\n  return (u.y & 0x7fffffffu) == 0x7ff00000u && u.x == 0u;"},
      {"min", kFloats, "$T", "$T x, $T y", "return is_nan_$T(x) || x < y ? x : y;"},
      {"max", kFloats, "$T", "$T x, $T y", "return is_nan_$T(x) || x > y ? x : y;"},
      // To integers: towards zero, saturating, NaN to 0.
      {"to_int", kFloats, "int", "$T x",
       "if (is_nan_$T(x)) return 0;\n  if (x >= $T(2147483648.0)) return 2147483647;\n"
       "  return x <= $T(-2147483648.0) ? -2147483647 - 1 : int(x);"},
      {"to_uint", kFloats, "uint", "$T x",
       "if (is_nan_$T(x) || x <= $T(0)) return 0u;\n  return x >= $T(4294967296.0) ? 0xffffffffu : uint(x);"},
      {"to_int64_t", kFloats, "int64_t", "$T x",
       "if (is_nan_$T(x)) return int64_t(0);\n  if (x >= $T(9223372036854775808.0)) return "
       "0x7fffffffffffffffL;\n"
       "  return x <= $T(-9223372036854775808.0) ? -0x7fffffffffffffffL - 1L : int64_t(x);"},
      {"to_uint64_t", kFloats, "uint64_t", "$T x",
       "if (is_nan_$T(x) || x <= $T(0)) return uint64_t(0);\n"
       "  return x >= $T(18446744073709551616.0) ? 0xffffffffffffffffUL : uint64_t(x);"},
      {"and_bool", "", "bool", "bool x, bool y", "return x && y;"},
      {"or_bool", "", "bool", "bool x, bool y", "return x || y;"},
      {"xor_bool", "", "bool", "bool x, bool y", "return x != y;"},
      {"dot4_u8i8_int", "", "int", "int c, uvec4 a, ivec4 b",
       "ivec4 p = ivec4(a) * b;\n  return c + p.x + p.y + p.z + p.w;"},
      {"dot4_i8i8_int", "", "int", "int c, ivec4 a, ivec4 b",
       "ivec4 p = a * b;\n  return c + p.x + p.y + p.z + p.w;"},
      {"dot4_u8i8_words_int", "", "int", "int c, uint a, uint b",
       "return dot4_u8i8_int(c, unpack_u8(a), unpack_i8(b));"},
      {"dot4_i8i8_words_int", "", "int", "int c, uint a, uint b",
       "return dot4_i8i8_int(c, unpack_i8(a), unpack_i8(b));"},
      {"dot4_u8i8_words_int_dots", "", "int", "int c, uint a, uint b", "return c + dot_i8u8(b, a, 0);"},
      {"dot4_i8i8_words_int_dots", "", "int", "int c, uint a, uint b", "return c + dot_i8i8(a, b, 0);"},
      {"unpack_u8", "", "uvec4", "uint w", "return uvec4(w, w >> 8, w >> 16, w >> 24) & 255u;"},
      {"unpack_i8", "", "ivec4", "uint w", "return ivec4(uvec4(w << 24, w << 16, w << 8, w)) >> 24;"},
      {"pack_bytes", "", "uint", "uvec4 v", "v &= 255u;\n  return v.x | v.y << 8 | v.z << 16 | v.w << 24;"},
      {"dot2_bf16_float", "", "float", "float c, uint a, uint b",
       "c += uintBitsToFloat(a & 0xffff0000u) * uintBitsToFloat(b & 0xffff0000u);\n"
       "  return c + uintBitsToFloat(a << 16) * uintBitsToFloat(b << 16);"},
  };
  return kRows;
}

}  // namespace tern::render
