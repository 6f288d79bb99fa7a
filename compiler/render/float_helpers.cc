// Narrow floats: bit patterns to f32 and back, round to nearest even. "_hw" rows are taken where the target
// converts f16 in hardware.
#include "compiler/render/helper_table.h"

namespace tern::render {

namespace {

// LANES R A..: the rest is scalar text; vectors call it lane by lane.
#define TERN_SMALL_FLOAT(name, e, m, bias, max_finite, infinity, nan, negative_zero)                    \
  {"decode_" name, "LANES f32 u8\nstatic inline f32 $F(u8 x) { return @f32:decode_small(x, " #e ", " #m \
                   ", " #bias ", " #max_finite ", " #infinity ", " #nan "); }\n"},                      \
      {"encode_" name,                                                                                  \
       "LANES u8 f32\nstatic inline u8 $F(f32 x) { return @f32:encode_small(x, " #e ", " #m ", " #bias  \
       ", " #max_finite ", " #infinity ", " #nan ", " #negative_zero ", 1); }\n"},                      \
      {"encode_" name "_overflow",                                                                      \
       "LANES u8 f32\nstatic inline u8 $F(f32 x) { return @f32:encode_small(x, " #e ", " #m ", " #bias  \
       ", " #max_finite ", " #infinity ", " #nan ", " #negative_zero ", 0); }\n"},

constexpr HelperRow kRows[] = {
    // Fenced: LLVM would compare in f16 what it sees widened, lane by lane.
    {"decode_f16_hw",
     "static inline $T{f32} $F($V x) {\n"
     "#pragma clang fp reassociate(on)\n"
     "  union { $V a; $T{f16} b; } u = {x};\n"
     "  return __arithmetic_fence(CVT($T{f32}, u.b));\n}\n"},
    {"encode_f16_hw",
     "static inline $T{u16} $F($V x) { union { $T{f16} a; $T{u16} b; } u = {CVT($T{f16}, x)}; return u.b; "
     "}\n"},
    {"decode_f16",
     "static inline $T{f32} $F($V x) {\n"
     "  $T{i32} i = CVT($T{i32}, x), sign = (i & ($T{i32})(0x8000)) << ($T{i32})(16), m = i & "
     "($T{i32})(0x7fff);\n"
     "  $T{i32} finite = @f32:bits(@i32:from_bits(m << ($T{i32})(13)) * ($T{f32})(0x1p112f));\n"
     "  $T{i32} special = ($T{i32})(0x7f800000) | ((m & ($T{i32})(0x3ff)) << ($T{i32})(13));\n"
     "  return @i32:from_bits(sign | (m >= ($T{i32})(0x7c00) ? special : finite));\n}\n"},
    {"encode_f16",
     "static inline $T{u16} $F($V x) {\n"
     "  $T{i32} u = @bits(x), sign = (u >> ($T{i32})(16)) & ($T{i32})(0x8000), m = u & "
     "($T{i32})(0x7fffffff);\n"
     "  $T{i32} normal = (m + ($T{i32})(0xfff) + ((m >> ($T{i32})(13)) & ($T{i32})(1)) - "
     "($T{i32})(0x38000000)) >> "
     "($T{i32})(13);\n"
     "  $T{i32} tiny = @bits(@i32:from_bits(m) + ($V)(0.5f)) - ($T{i32})(0x3f000000);\n"
     "  $T{i32} nan = ($T{i32})(0x7e00) | ((m >> ($T{i32})(13)) & ($T{i32})(0x3ff));\n"
     "  $T{i32} r = m < ($T{i32})(0x38800000) ? tiny : normal;\n"
     "  r = m >= ($T{i32})(0x477ff000) ? ($T{i32})(0x7c00) : r;\n"
     "  r = m > ($T{i32})(0x7f800000) ? nan : r;\n"
     "  return CVT($T{u16}, sign | r);\n}\n"},
    {"decode_bf16",
     "static inline $T{f32} $F($V x) { return @i32:from_bits(CVT($T{i32}, x) << ($T{i32})(16)); }\n"},
    {"encode_bf16",
     "static inline $T{u16} $F($V x) {\n"
     "  $T{u32} u = ($T{u32})@bits(x), hi = u >> ($T{u32})(16);\n"
     "  $T{u32} r = (u + ($T{u32})(0x7fff) + (hi & ($T{u32})(1))) >> ($T{u32})(16);\n"
     "  $T{u32} nan = hi | ($T{u32})(0x40);\n"
     "  return CVT($T{u16}, (u & ($T{u32})(0x7fffffff)) > ($T{u32})(0x7f800000) ? nan : r);\n}\n"},
    {"pow2", "static inline f32 $F(i32 n) { return @i32:from_bits((n + 127) << 23); }\n"},
    {"decode_small",
     "static inline f32 $F(i32 x, i32 e, i32 m, i32 bias, i32 max, i32 inf, i32 nan) {\n"
     "  i32 sign = (x >> (e + m)) & 1, mag = x & ((1 << (e + m)) - 1), exp = mag >> m, man = mag & ((1 << m) "
     "- 1);\n"
     "  if (inf >= 0 && mag == inf) return sign ? -__builtin_inff() : __builtin_inff();\n"
     "  if (nan == 0x80 ? x == 0x80 : nan >= 0 && mag > max) return __builtin_nanf(\"\");\n"
     "  f32 v = exp == 0 ? (f32)man * @i32:pow2(1 - bias - m) : (f32)(man + (1 << m)) * @i32:pow2(exp - bias "
     "- m);\n"
     "  return sign ? -v : v;\n}\n"},
    {"encode_small",
     "static inline u8 $F(f32 x, i32 e, i32 m, i32 bias, i32 max, i32 inf, i32 nan, i32 negative_zero, i32 "
     "saturate) "
     "{\n"
     "  i32 b = @bits(x), sign = (i32)((u32)b >> 31) << (e + m), mag = 0;\n"
     "  if (x != x) return (u8)(nan < 0 ? 1 << (e + m) : nan);\n"
     "  f32 a = __builtin_elementwise_abs(x);\n"
     "  i32 exp = ((b >> 23) & 255) - 127, over = exp == 128;\n"
     "  if (exp < 1 - bias) exp = 1 - bias;\n"
     "  if (!over && exp > bias + 2) over = 1;\n"
     "  if (!over) {\n"
     "    mag = ((exp + bias - 1) << m) + (i32)__builtin_elementwise_roundeven(a * @i32:pow2(m - exp));\n"
     "    if (a == 0.0f) mag = 0;\n    over = mag > max;\n  }\n"
     "  if (over) {\n"
     "    if (nan < 0 || saturate) mag = max;\n"
     "    else if (inf >= 0) mag = inf;\n"
     "    else return (u8)(nan | (negative_zero ? sign : 0));\n  }\n"
     "  if (mag == 0 && !negative_zero) return 0;\n  return (u8)(sign | mag);\n}\n"},
    TERN_SMALL_FLOAT("f8e4m3fn", 4, 3, 7, 0x7e, -1, 0x7f, 1) TERN_SMALL_FLOAT(
        "f8e4m3fnuz", 4, 3, 8, 0x7f, -1, 0x80, 0) TERN_SMALL_FLOAT("f8e5m2", 5, 2, 15, 0x7b, 0x7c, 0x7f, 1)
        TERN_SMALL_FLOAT("f8e5m2fnuz", 5, 2, 16, 0x7f, -1, 0x80, 0)
            TERN_SMALL_FLOAT("f4e2m1", 2, 1, 1, 0x7, -1, -1, 1)
    // Powers of two.
    {"decode_f8e8m0",
     "LANES f32 u8\nstatic inline f32 $F(u8 x) {\n"
     "  if (x == 255) return __builtin_nanf(\"\");\n  return x == 0 ? 0x1p-127f : @i32:pow2((i32)x - "
     "127);\n}\n"},
    {"encode_e8m0",
     "static inline u8 $F(f32 x, i32 saturate) {\n"
     "  if (x != x || x < 0.0f) return 255;\n  if (x == 0.0f) return 0;\n"
     "  if (x == __builtin_inff()) return saturate ? 254 : 255;\n"
     "  i32 shift = 0;\n  if (x < 0x1p-126f) { x *= 0x1p64f; shift = 64; }\n"
     "  i32 b = @bits(x), e = (b >> 23) - shift, man = b & 0x7fffff;\n"
     "  if (man > 0x400000 || (man == 0x400000 && (e & 1))) ++e;\n"
     "  if (e < 0) return 0;\n  if (e > 254) return saturate ? 254 : 255;\n  return (u8)e;\n}\n"},
    {"encode_f8e8m0", "LANES u8 f32\nstatic inline u8 $F(f32 x) { return @f32:encode_e8m0(x, 1); }\n"},
    {"encode_f8e8m0_overflow",
     "LANES u8 f32\nstatic inline u8 $F(f32 x) { return @f32:encode_e8m0(x, 0); }\n"},
};
#undef TERN_SMALL_FLOAT

}  // namespace

std::span<const HelperRow> float_rows() {
  return kRows;
}

std::span<const HelperRow> complex_rows() {
  static constexpr HelperRow kComplex[] = {
      {"complex_cast.c64",
       "static inline c64 $F(f64 re, f64 im) { c64 r = {(f32)re, (f32)im}; return r; }\n"},
      {"complex_cast.c128", "static inline c128 $F(f64 re, f64 im) { c128 r = {re, im}; return r; }\n"},
      {"complex_neg", "static inline $V $F($V a) { $V r = {-a.re, -a.im}; return r; }\n"},
      {"complex_add", "static inline $V $F($V a, $V b) { $V r = {a.re + b.re, a.im + b.im}; return r; }\n"},
      {"complex_sub", "static inline $V $F($V a, $V b) { $V r = {a.re - b.re, a.im - b.im}; return r; }\n"},
      {"complex_mul",
       "static inline $V $F($V a, $V b) {\n"
       "  f64 ar = a.re, ai = a.im, br = b.re, bi = b.im;\n"
       "  $V r = {ar * br - ai * bi, ar * bi + ai * br};\n  return r;\n}\n"},
      // Smith: scaled by the larger part of the divisor.
      {"complex_div",
       "static inline $V $F($V a, $V b) {\n"
       "  f64 ar = a.re, ai = a.im, br = b.re, bi = b.im;\n"
       "  if (__builtin_elementwise_abs(br) >= __builtin_elementwise_abs(bi)) {\n"
       "    f64 q = bi / br, d = br + bi * q;\n    $V r = {(ar + ai * q) / d, (ai - ar * q) / d};\n    "
       "return r;\n  }\n"
       "  f64 q = br / bi, d = br * q + bi;\n  $V r = {(ar * q + ai) / d, (ai * q - ar) / d};\n  return "
       "r;\n}\n"},
      {"complex_eq", "static inline b1 $F($V a, $V b) { return a.re == b.re && a.im == b.im; }\n"},
      {"complex_ne", "static inline b1 $F($V a, $V b) { return a.re != b.re || a.im != b.im; }\n"},
  };
  return kComplex;
}

}  // namespace tern::render
