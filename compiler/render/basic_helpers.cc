// Helpers of plain arithmetic: what C spells differently from scalar/ops.def.
#include "compiler/render/helper_table.h"

namespace tern::render {

std::span<const HelperRow> basic_rows() {
  static constexpr HelperRow kRows[] = {
      // Tiles (c_tiles.h) where they are arrays of 16 rows of 64 bytes.
      {"tile_zero", "static inline void $F(i32* t) { for (i32 e = 0; e < 256; ++e) t[e] = 0; }\n"},
      {"tile_move",
       R"c(static inline void $F(u8* to, i64 to_pitch, const u8* from, i64 from_pitch) {
  for (i32 row = 0; row < 16; ++row) {
    for (i32 e = 0; e < 64; ++e) to[row * to_pitch + e] = from[row * from_pitch + e];
  }
}
)c"},
      {"tile_multiply.i8",
       R"c(static inline void $F(i32* sums, const u8* a, const $E* b) {
  for (i32 e = 0; e < 256; ++e) {
    i32 sum = sums[e];
    for (i32 k = 0; k < 64; ++k) sum += a[e / 16 * 64 + k] * b[k / 4 * 64 + e % 16 * 4 + k % 4];
    sums[e] = sum;
  }
}
)c"},
      {"tile_multiply.u16",
       R"c(static inline void $F(f32* sums, const $E* a, const $E* b) {
  for (i32 e = 0; e < 256; ++e) {
    f32 sum = sums[e];
    for (i32 k = 0; k < 32; ++k) {
      const union { u32 bits; f32 number; } x = {(u32)a[e / 16 * 32 + k] << 16},
                                            y = {(u32)b[k / 2 * 32 + e % 16 * 2 + k % 2] << 16};
      sum += x.number * y.number;
    }
    sums[e] = sum;
  }
}
)c"},
      // b where one of them is no number, so that only a is looked at: of a running maximum, which is passed
      // as b,
      // the next one waits for an instruction and a choice. As C, clang would compare both.
      {"min.f32",
       R"c(static inline $V $F($V a, $V b) {
#if defined(__AVX512F__) && $N == 16
  $V r = ($V)__builtin_ia32_minps512(a, b, 4);
#elif defined(__AVX__) && $N == 8
  $V r = ($V)__builtin_ia32_minps256(a, b);
#elif defined(__SSE4_2__) && $N == 4
  $V r = ($V)__builtin_ia32_minps(a, b);
#else
  $V r = a < b ? a : b;
#endif
  return a != a ? a : r;
}
)c"},
      {"max.f32",
       R"c(static inline $V $F($V a, $V b) {
#if defined(__AVX512F__) && $N == 16
  $V r = ($V)__builtin_ia32_maxps512(a, b, 4);
#elif defined(__AVX__) && $N == 8
  $V r = ($V)__builtin_ia32_maxps256(a, b);
#elif defined(__SSE4_2__) && $N == 4
  $V r = ($V)__builtin_ia32_maxps(a, b);
#else
  $V r = a > b ? a : b;
#endif
  return a != a ? a : r;
}
)c"},
      {"min.float", "static inline $V $F($V a, $V b) { return ((a < b) | (a != a)) ? a : b; }\n"},
      {"max.float", "static inline $V $F($V a, $V b) { return ((a > b) | (a != a)) ? a : b; }\n"},
      // c is no NaN.
      // A register whose value clang shall have before it goes on.
      {"in_order",
       R"c(static inline $V $F($V x) {
#if (defined(__SSE4_2__) && $N == 8) || (defined(__AVX2__) && $N == 16)
  __asm__ volatile("" : "+x"(x));
#endif
  return x;
}
)c"},
      {"min_number", "static inline $V $F($V c, $V x) { return c < x ? c : x; }\n"},
      {"max_number", "static inline $V $F($V c, $V x) { return c > x ? c : x; }\n"},
      {"is_nan", "static inline ${I} $F($V x) { return x != x; }\n"},
      {"is_inf",
       "static inline ${I} $F($V x) { return __builtin_elementwise_abs(x) == ($V)(__builtin_inff()); }\n"},
      {"sign.float",
       "static inline $V $F($V x) {\n"
       "  return x > ($V)(0) ? ($V)(1) : x < ($V)(0) ? ($V)(-1) : x == ($V)(0) ? ($V)(0) : x;\n}\n"},
      {"sign.signed",
       "static inline $V $F($V x) { return x > ($V)(0) ? ($V)(1) : x < ($V)(0) ? ($V)(-1) : ($V)(0); }\n"},
      {"sign.unsigned", "static inline $V $F($V x) { return x > ($V)(0) ? ($V)(1) : ($V)(0); }\n"},
      {"abs.signed", "static inline $V $F($V x) { return x < ($V)(0) ? ($V)(-x) : x; }\n"},
      {"abs.unsigned", "static inline $V $F($V x) { return x; }\n"},
      // Division by what is not 0 (nor -1 where that overflows). x86-64 has none for vectors of integers: f32
      // divides those of 16 bits, f64 those of 52, so exactly that what is cut off is the quotient.
      {"quotient",
       R"c(static inline $V $F($V a, $V b) {
#if $N > 1 && defined(__SSE4_2__)
  if (sizeof($E) <= 2) return CVT($V, CVT($T{i32}, CVT($T{f32}, a) / CVT($T{f32}, b)));
#endif
  return a / b;
}
)c"},
      {"quotient.i32",
       R"c(static inline $V $F($V a, $V b) {
#if $N > 1 && defined(__SSE4_2__)
  return CVT($V, CVT($T{f64}, a) / CVT($T{f64}, b));
#else
  return a / b;
#endif
}
)c"},
      {"quotient.u32",
       R"c(static inline $V $F($V a, $V b) {
#if $N > 1 && defined(__SSE4_2__)
  const $T{f64} q = __builtin_elementwise_trunc(CVT($T{f64}, a) / CVT($T{f64}, b));
  return CVT($V, @f64:bits(q + ($T{f64})(0x1p52)));
#else
  return a / b;
#endif
}
)c"},
      {"quotient.i64",
       R"c(static inline $V $F($V a, $V b) {
#if $N > 1 && defined(__SSE4_2__)
  const $V bias = ($V)(0x4338000000000000ll);
  const $T{f64} one = ($T{f64})(0x1.8p52), x = @i64:from_bits(a + bias) - one, y = @i64:from_bits(b + bias) - one;
  const ${U} room = (${U})(1ull << 51), far = (((${U})a + room) | ((${U})b + room)) >> (${U})(52);
  $V r = @f64:bits(__builtin_elementwise_trunc(x / y) + one) - bias;
  if (__builtin_reduce_or(far) == 0) return r;
  for (i32 k = 0; k < $N; ++k)
    if (far[k]) r[k] = a[k] / b[k];
  return r;
#else
  return a / b;
#endif
}
)c"},
      {"quotient.u64",
       R"c(static inline $V $F($V a, $V b) {
#if $N > 1 && defined(__SSE4_2__)
  const $T{i64} bias = ($T{i64})(0x4330000000000000ll);
  const $T{f64} one = ($T{f64})(0x1p52), x = @i64:from_bits(($T{i64})a | bias) - one;
  const $T{f64} y = @i64:from_bits(($T{i64})b | bias) - one;
  const $V far = (a | b) >> ($V)(52);
  $V r = ($V)(@f64:bits(__builtin_elementwise_trunc(x / y) + one) - bias);
  if (__builtin_reduce_or(far) == 0) return r;
  for (i32 k = 0; k < $N; ++k)
    if (far[k]) r[k] = a[k] / b[k];
  return r;
#else
  return a / b;
#endif
}
)c"},
      // What is left, with the sign of a or (floored) of b.
      {"plain_modulo",
       R"c(static inline $V $F($V a, $V b, i32 floored) {
  $V r = a % b;
  return floored ? (((r != ($V)(0)) & ((r < ($V)(0)) ^ (b < ($V)(0)))) ? ($V)(r + b) : r) : r;
}
)c"},
      {"modulo.signed",
       R"c(static inline $V $F($V a, $V b, i32 floored) {
#if $N > 1 && defined(__SSE4_2__)
  if (sizeof($E) <= 2) {
    const $T{f32} x = CVT($T{f32}, a), y = CVT($T{f32}, b), q = x / y;
    const $T{f32} whole = floored ? __builtin_elementwise_floor(q) : __builtin_elementwise_trunc(q);
    return CVT($V, CVT($T{i32}, x - whole * y));
  }
#endif
  return @plain_modulo(a, b, floored);
}
)c"},
      {"modulo.i32",
       R"c(static inline $V $F($V a, $V b, i32 floored) {
#if $N > 1 && defined(__SSE4_2__)
  const $T{f64} x = CVT($T{f64}, a), y = CVT($T{f64}, b), q = x / y;
  return CVT($V, x - (floored ? __builtin_elementwise_floor(q) : __builtin_elementwise_trunc(q)) * y);
#else
  return @plain_modulo(a, b, floored);
#endif
}
)c"},
      {"modulo.i64",
       R"c(static inline $V $F($V a, $V b, i32 floored) {
#if $N > 1 && defined(__SSE4_2__)
  const $V bias = ($V)(0x4338000000000000ll);
  const $T{f64} one = ($T{f64})(0x1.8p52), x = @i64:from_bits(a + bias) - one, y = @i64:from_bits(b + bias) - one;
  const ${U} room = (${U})(1ull << 51), far = (((${U})a + room) | ((${U})b + room)) >> (${U})(52);
  $V r = @f64:bits(x - (floored ? __builtin_elementwise_floor(x / y) : __builtin_elementwise_trunc(x / y)) * y + one) - bias;
  if (__builtin_reduce_or(far) == 0) return r;
  for (i32 k = 0; k < $N; ++k)
    if (far[k]) r[k] = @1:plain_modulo(a[k], b[k], floored);
  return r;
#else
  return @plain_modulo(a, b, floored);
#endif
}
)c"},
      {"modulo.unsigned",
       R"c(static inline $V $F($V a, $V b, i32 floored) {
#if $N > 1 && defined(__SSE4_2__)
  if (sizeof($E) <= 4) return a - @quotient(a, b) * b;
#endif
  return a % b;
}
)c"},
      {"modulo.u64",
       R"c(static inline $V $F($V a, $V b, i32 floored) {
#if $N > 1 && defined(__SSE4_2__)
  const $T{i64} bias = ($T{i64})(0x4330000000000000ll);
  const $T{f64} one = ($T{f64})(0x1p52), x = @i64:from_bits(($T{i64})a | bias) - one;
  const $T{f64} y = @i64:from_bits(($T{i64})b | bias) - one;
  const $V far = (a | b) >> ($V)(52);
  $V r = ($V)(@f64:bits(x - __builtin_elementwise_trunc(x / y) * y + one) - bias);
  if (__builtin_reduce_or(far) == 0) return r;
  for (i32 k = 0; k < $N; ++k)
    if (far[k]) r[k] = @1:plain_modulo(a[k], b[k], floored);
  return r;
#else
  return a % b;
#endif
}
)c"},
      {"div.signed",
       "static inline $V $F($V a, $V b) {\n"
       "  $V safe = ((b == ($V)(0)) | (b == ($V)(-1))) ? ($V)(1) : b;\n"
       "  $V q = @quotient(a, safe);\n  q = b == ($V)(-1) ? ($V)(-a) : q;\n  return b == ($V)(0) ? ($V)(0) : "
       "q;\n}\n"},
      {"div.unsigned",
       "static inline $V $F($V a, $V b) {\n"
       "  $V safe = b == ($V)(0) ? ($V)(1) : b;\n  $V q = @quotient(a, safe);\n"
       "  return b == ($V)(0) ? ($V)(0) : q;\n}\n"},
      {"rem.signed",
       "static inline $V $F($V a, $V b) {\n"
       "  $V safe = ((b == ($V)(0)) | (b == ($V)(-1))) ? ($V)(1) : b;\n  return @modulo(a, safe, 0);\n}\n"},
      {"rem.unsigned",
       "static inline $V $F($V a, $V b) {\n  $V safe = b == ($V)(0) ? ($V)(1) : b;\n  return @modulo(a, "
       "safe, 0);\n}\n"},
      {"floor_mod.signed",
       "static inline $V $F($V a, $V b) {\n"
       "  $V safe = ((b == ($V)(0)) | (b == ($V)(-1))) ? ($V)(1) : b;\n  return @modulo(a, safe, 1);\n}\n"},
      {"floor_mod.unsigned", "static inline $V $F($V a, $V b) { return @rem(a, b); }\n"},
      {"floor_mod.float",
       "static inline $V $F($V x, $V y) {\n"
       "  $V r = @rem(x, y);\n  $V zero = __builtin_elementwise_copysign(($V)(0), y);\n"
       "  $V moved = ((r < ($V)(0)) ^ (y < ($V)(0))) ? r + y : r;\n  return r == ($V)(0) ? zero : "
       "moved;\n}\n"},
      {"pow.signed",
       "static inline $V $F($V a, $V b) {\n"
       "  $V r = ($V)(1), base = a;\n"
       "  for (i32 k = 0; k < (i32)sizeof($E) * 8 - 1; ++k) {\n"
       "    r = (($V)(b >> ($V)(k)) & ($V)(1)) != ($V)(0) ? ($V)(r * base) : r;\n    base = base * base;\n  "
       "}\n"
       "  $V odd = (b & ($V)(1)) != ($V)(0) ? ($V)(-1) : ($V)(1);\n"
       "  $V negative = a == ($V)(1) ? ($V)(1) : a == ($V)(-1) ? odd : ($V)(0);\n"
       "  return b < ($V)(0) ? negative : r;\n}\n"},
      {"pow.unsigned",
       "static inline $V $F($V a, $V b) {\n"
       "  $V r = ($V)(1), base = a;\n"
       "  for (i32 k = 0; k < (i32)sizeof($E) * 8; ++k) {\n"
       "    r = (($V)(b >> ($V)(k)) & ($V)(1)) != ($V)(0) ? ($V)(r * base) : r;\n    base = base * base;\n  "
       "}\n"
       "  return r;\n}\n"},
      {"shl",
       "static inline $V $F($V x, $V y) {\n"
       "  $V bits = ($V)(sizeof($E) * 8);\n  $V z = x << (y & (bits - ($V)(1)));\n"
       "  return ((y < ($V)(0)) | (y >= bits)) ? ($V)(0) : z;\n}\n"},
      {"shr.signed",
       "static inline $V $F($V x, $V y) {\n"
       "  $V bits = ($V)(sizeof($E) * 8);\n  $V z = x >> (y & (bits - ($V)(1)));\n"
       "  return ((y < ($V)(0)) | (y >= bits)) ? (x < ($V)(0) ? ($V)(-1) : ($V)(0)) : z;\n}\n"},
      {"shr.unsigned",
       "static inline $V $F($V x, $V y) {\n"
       "  $V bits = ($V)(sizeof($E) * 8);\n  $V z = x >> (y & (bits - ($V)(1)));\n"
       "  return y >= bits ? ($V)(0) : z;\n}\n"},
      {"popcount",
       "static inline $V $F($V x) {\n"
       "  ${U} u = (${U})x, r = (${U})(0);\n"
       "  for (i32 k = 0; k < (i32)sizeof($E) * 8; ++k) r += (u >> (${U})(k)) & (${U})(1);\n  return "
       "($V)r;\n}\n"},
      {"clamp",
       "static inline $V $F($V x, $E low, $E high) {\n"
       "  return __builtin_elementwise_min(__builtin_elementwise_max(x, ($V)(low)), ($V)(high));\n}\n"},
      // ---- float to integer: toward zero, saturating, NaN to 0
      {"clamp_number",
       "static inline $V $F($V x, $E low, $E high) {\n"
       "  x = x != x ? ($V)(0) : x;\n  x = x < ($V)(low) ? ($V)(low) : x;\n"
       "  return x > ($V)(high) ? ($V)(high) : x;\n}\n"},
      {"to_i8",
       "static inline $T{i8} $F($V x) { return CVT($T{i8}, CVT($T{i32}, @clamp_number(x, -128, 127))); }\n"},
      {"to_u8",
       "static inline $T{u8} $F($V x) { return CVT($T{u8}, CVT($T{i32}, @clamp_number(x, 0, 255))); }\n"},
      {"to_i16",
       "static inline $T{i16} $F($V x) { return CVT($T{i16}, CVT($T{i32}, @clamp_number(x, -32768, 32767))); "
       "}\n"},
      {"to_u16",
       "static inline $T{u16} $F($V x) { return CVT($T{u16}, CVT($T{i32}, @clamp_number(x, 0, 65535))); }\n"},
      {"to_i32.f32",
       "static inline $T{i32} $F($V x) {\n"
       "  $V inside = ((x >= ($V)(-2147483648.0f)) & (x < ($V)(2147483648.0f))) ? x : ($V)(0);\n"
       "  $T{i32} r = CVT($T{i32}, inside);\n"
       "  r = x >= ($V)(2147483648.0f) ? ($T{i32})(2147483647) : r;\n"
       "  return x < ($V)(-2147483648.0f) ? ($T{i32})(-2147483647 - 1) : r;\n}\n"},
      {"to_i32.f64",
       "static inline $T{i32} $F($V x) { return CVT($T{i32}, @clamp_number(x, -2147483648.0, 2147483647.0)); "
       "}\n"},
      {"to_u32.f32",
       "static inline $T{u32} $F($V x) {\n"
       "  $V inside = ((x > ($V)(0)) & (x < ($V)(4294967296.0f))) ? x : ($V)(0);\n"
       "  $T{u32} r = CVT($T{u32}, inside);\n"
       "  return x >= ($V)(4294967296.0f) ? ($T{u32})(4294967295u) : r;\n}\n"},
      {"to_u32.f64",
       "static inline $T{u32} $F($V x) { return CVT($T{u32}, @clamp_number(x, 0.0, 4294967295.0)); }\n"},
      {"to_i64.f32", "static inline $T{i64} $F($V x) { return @f64:to_i64(CVT($T{f64}, x)); }\n"},
      {"to_u64.f32", "static inline $T{u64} $F($V x) { return @f64:to_u64(CVT($T{f64}, x)); }\n"},
      // AVX2 has no such conversion: halves are added to numbers whose lower bits they become then.
      {"to_i64.f64",
       "static inline $T{i64} $F($V x) {\n"
       "#if defined(__AVX2__) && !defined(__AVX512DQ__) && $N % 4 == 0\n"
       "  const $V whole = __builtin_elementwise_trunc(x == x ? x : ($V)(0));\n"
       "  const $V t = whole > ($V)(-0x1p63) ? whole : ($V)(-0x1p63);\n"
       "  const $V high = __builtin_elementwise_floor(t * ($V)(0x1p-32)), low = t - high * ($V)(0x1p32);\n"
       "  const $T{i64} sum = (@bits(high + ($V)(0x1.8p52)) << ($T{i64})(32)) +\n"
       "      (@bits(low + ($V)(0x1p52)) ^ @bits(($V)(0x1p52)));\n"
       "  return x >= ($V)(0x1p63) ? ($T{i64})(9223372036854775807ll) : sum;\n"
       "#else\n"
       "  $V inside = ((x >= ($V)(-0x1p63)) & (x < ($V)(0x1p63))) ? x : ($V)(0);\n"
       "  $T{i64} r = CVT($T{i64}, inside);\n"
       "  r = x >= ($V)(0x1p63) ? ($T{i64})(9223372036854775807ll) : r;\n"
       "  return x < ($V)(-0x1p63) ? ($T{i64})(-9223372036854775807ll - 1) : r;\n#endif\n}\n"},
      {"to_u64.f64",
       "static inline $T{u64} $F($V x) {\n"
       "  $V inside = ((x > ($V)(0)) & (x < ($V)(0x1p64))) ? x : ($V)(0);\n"
       "  $T{u64} r = CVT($T{u64}, inside);\n"
       "  return x >= ($V)(0x1p64) ? ($T{u64})(~0ull) : r;\n}\n"},
      // ---- bits
      {"bits", "static inline ${I} $F($V x) { union { $V a; ${I} b; } u = {x}; return u.b; }\n"},
      {"from_bits.i32",
       "static inline $T{f32} $F($V x) { union { $V a; $T{f32} b; } u = {x}; return u.b; }\n"},
      {"from_bits.i64",
       "static inline $T{f64} $F($V x) { union { $V a; $T{f64} b; } u = {x}; return u.b; }\n"},
      // f64 to f32, inexact results with an odd last bit: a second rounding to fewer bits is then the only
      // one.
      {"round_to_odd",
       "static inline $T{f32} $F($V x) {\n"
       "  $T{f32} t = CVT($T{f32}, x);\n  $V back = CVT($V, t);\n  $T{i32} i = @f32:bits(t);\n"
       "  $T{i32} above = CVT($T{i32}, __builtin_elementwise_abs(back) > __builtin_elementwise_abs(x));\n"
       "  $T{i32} inexact = CVT($T{i32}, (back != x) & (x == x));\n"
       "  i = above != ($T{i32})(0) ? i - ($T{i32})(1) : i;\n"
       "  return @i32:from_bits(inexact != ($T{i32})(0) ? i | ($T{i32})(1) : i);\n}\n"},
      // x * y + z rounded once, without hardware: exact product in f64, sum to odd, one rounding to f32.
      {"fma.f32",
       "static inline $V $F($V x, $V y, $V z) {\n"
       "  $T{f64} p = CVT($T{f64}, x) * CVT($T{f64}, y), c = CVT($T{f64}, z);\n"
       "  $T{f64} s = p + c, b = s - p, e = (p - (s - b)) + (c - b);\n"
       "  $T{i64} i = @f64:bits(s);\n"
       "  $T{i64} below = ((e > ($T{f64})(0)) ^ (s > ($T{f64})(0))) ? i - ($T{i64})(1) : i;\n"
       "  i = (e != ($T{f64})(0)) & (e == e) ? below | ($T{i64})(1) : i;\n"
       "  return CVT($V, @i64:from_bits(i));\n}\n"},
  };
  return kRows;
}

}  // namespace tern::render
