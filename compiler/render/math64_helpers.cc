// Vector math on f64. Measured bounds: docs/vector-math.md.
#include "compiler/render/helper_table.h"

namespace tern::render {

std::span<const HelperRow> math64_rows() {
  static constexpr HelperRow kRows[] = {
      {"exp_reduced.f64",
       R"c(// x = n ln 2 + r; what is returned is e^r - 1.
static inline $V $F($V x, $V* n) {
  *n = FMA(x, ($V)(1.4426950408889634), ($V)(0x1.8p52)) - ($V)(0x1.8p52);
  $V r = FMA(*n, ($V)(-6.93147180369123816490e-01), x);
  r = FMA(*n, ($V)(-1.90821492927058770002e-10), r);
  $V p = ($V)(2.0914686968086876e-09);
  p = FMA(p, r, ($V)(2.5105217004720745e-08));
  p = FMA(p, r, ($V)(2.75572736431103e-07));
  p = FMA(p, r, ($V)(2.7557255400206422e-06));
  p = FMA(p, r, ($V)(2.4801587325547743e-05));
  p = FMA(p, r, ($V)(0.00019841269874820627));
  p = FMA(p, r, ($V)(0.0013888888888883748));
  p = FMA(p, r, ($V)(0.008333333333326136));
  p = FMA(p, r, ($V)(0.04166666666666667));
  p = FMA(p, r, ($V)(0.1666666666666667));
  p = FMA(p, r, ($V)(0.5));
  return FMA(p, r * r, r);
}
)c"},
      {"halves.f64",
       R"c(// 2^n as 2^h 2^(n - h), of which neither overflows: *half is 2^h, *reciprocal 2^-h. Integers of so many bits are
// the lower bits of what they are added to.
static inline $V $F($V n, $V* half, $V* reciprocal) {
  const $V bias = ($V)(0x1.80000000003ffp52), z = FMA(n, ($V)(0.5), bias), h = z - bias;
  *half = @i64:from_bits(@bits(z) << (${I})(52));
  *reciprocal = @i64:from_bits(@bits(bias - h) << (${I})(52));
  return @i64:from_bits(@bits((n - h) + bias) << (${I})(52));
}
)c"},
      {"exp.f64",
       R"c(static inline $V $F($V x) {
  x = x > ($V)(710.0) ? ($V)(710.0) : x;
  x = x < ($V)(-746.0) ? ($V)(-746.0) : x;
  $V n, half, reciprocal, y = @exp_reduced(x, &n) + ($V)(1.0), rest = @halves(n, &half, &reciprocal);
  return y * half * rest;
}
)c"},
      {"expm1.f64",
       R"c(static inline $V $F($V x) {
  $V c = x > ($V)(710.0) ? ($V)(710.0) : x;
  c = c < ($V)(-746.0) ? ($V)(-746.0) : c;
  $V n, half, reciprocal, y = @exp_reduced(c, &n), rest = @halves(n, &half, &reciprocal);
  y = FMA(y, rest, rest - reciprocal) * half;
  return x == ($V)(0.0) ? x : y;
}
)c"},
      {"exponent.f64",
       R"c(// Of a positive normal x, 2^k as near to it as sqrt(2): k + 1024.
static inline ${I} $F($V x) {
  const $T{u64} i = ($T{u64})(@bits(x) + (${I})(0x4000000000000000ll - 0x3fe6a09e667f3bcdll));
  return (${I})(i >> ($T{u64})(52));
}
)c"},
      {"small_float.f64",
       R"c(// An integer of [0, 2^52).
static inline $V $F(${I} i) { return @i64:from_bits(i | (${I})(0x4330000000000000ll)) - ($V)(0x1p52); }
)c"},
      {"log_sum.f64",
       R"c(// log((1 + f) 2^k), f about 0.
static inline $V $F($V f, $V k) {
  $V s = f / (($V)(2.0) + f), z = s * s, half = ($V)(0.5) * f * f;
  $V p = ($V)(1.479819860511658591e-01);
  p = FMA(p, z, ($V)(1.531383769920937332e-01));
  p = FMA(p, z, ($V)(1.818357216161805012e-01));
  p = FMA(p, z, ($V)(2.222219843214978396e-01));
  p = FMA(p, z, ($V)(2.857142874366239149e-01));
  p = FMA(p, z, ($V)(3.999999999940941908e-01));
  p = FMA(p, z, ($V)(6.666666666666735130e-01));
  $V tail = s * FMA(p, z, half) + k * ($V)(1.90821492927058770002e-10);
  return k * ($V)(6.93147180369123816490e-01) - ((half - tail) - f);
}
)c"},
      {"log.f64",
       R"c(static inline $V $F($V x) {
  ${I} tiny = x < ($V)(0x1p-1022);
  $V scaled = tiny ? x * ($V)(0x1p54) : x;
  const ${I} k = @exponent(scaled);
  $V f = @i64:from_bits(@bits(scaled) - ((k - (${I})(1024)) << (${I})(52))) - ($V)(1.0);
  $V r = @log_sum(f, @small_float(k) - (tiny ? ($V)(1078.0) : ($V)(1024.0)));
  r = x == ($V)(__builtin_inf()) ? x : r;
  r = x == ($V)(0.0) ? ($V)(-__builtin_inf()) : r;
  return ((x < ($V)(0.0)) | (x != x)) ? ($V)(__builtin_nan("")) : r;
}
)c"},
      {"log1p.f64",
       R"c(static inline $V $F($V x) {
  // (1 + x) / 2^k - 1 as x / 2^k + (1 / 2^k - 1), where 2^-k is a normal number.
  const ${I} large = x > ($V)(0x1p1000);
  const $V c = large ? x * ($V)(0x1p-100) : x;
  const ${I} k = @exponent(c + ($V)(1.0));
  const $V scale = @i64:from_bits(((${I})(2047) - k) << (${I})(52));
  $V y = @log_sum(FMA(c, scale, scale - ($V)(1.0)), @small_float(k) - (large ? ($V)(924.0) : ($V)(1024.0)));
  y = x == ($V)(-1.0) ? ($V)(-__builtin_inf()) : y;
  y = (x == ($V)(__builtin_inf())) | (x == ($V)(0.0)) ? x : y;
  return ((x < ($V)(-1.0)) | (x != x)) ? ($V)(__builtin_nan("")) : y;
}
)c"},
      {"sinh.f64",
       R"c(static inline $V $F($V x) {
  $V a = __builtin_elementwise_abs(x), c = a > ($V)(1.0) ? ($V)(1.0) : a, z = c * c;
  $V p = ($V)(8.22063524662433e-18);
  p = FMA(p, z, ($V)(2.8114572543455206e-15));
  p = FMA(p, z, ($V)(7.647163731819816e-13));
  p = FMA(p, z, ($V)(1.6059043836821613e-10));
  p = FMA(p, z, ($V)(2.505210838544172e-08));
  p = FMA(p, z, ($V)(2.7557319223985893e-06));
  p = FMA(p, z, ($V)(0.0001984126984126984));
  p = FMA(p, z, ($V)(0.008333333333333333));
  p = FMA(p, z, ($V)(0.16666666666666666));
  $V small = FMA(p * z, c, c);
  // Beyond e^709 in two halves, which overflow only where the result does.
  $V h = @exp(($V)(0.5) * a), e = a > ($V)(700.0) ? ($V)(1.0) : @exp(a);
  $V big = a > ($V)(700.0) ? ($V)(0.5) * h * h : ($V)(0.5) * e - ($V)(0.5) / e;
  $V y = a <= ($V)(1.0) ? small : big;
  return x != x ? x : __builtin_elementwise_copysign(y, x);
}
)c"},
      {"cosh.f64",
       R"c(static inline $V $F($V x) {
  $V a = __builtin_elementwise_abs(x), h = @exp(($V)(0.5) * a), e = a > ($V)(700.0) ? ($V)(1.0) : @exp(a);
  return a > ($V)(700.0) ? ($V)(0.5) * h * h : ($V)(0.5) * e + ($V)(0.5) / e;
}
)c"},
      {"tanh.f64",
       R"c(static inline $V $F($V x) {
  $V a = __builtin_elementwise_abs(x), c = a > ($V)(22.0) ? ($V)(22.0) : a, t = @expm1(c + c);
  $V y = t / (t + ($V)(2.0));
  return x != x ? x : __builtin_elementwise_copysign(y, x);
}
)c"},
      {"asinh.f64",
       R"c(static inline $V $F($V x) {
  $V a = __builtin_elementwise_abs(x), c = a > ($V)(0x1p28) ? ($V)(1.0) : a, s = c * c;
  $V near = @log1p(c + s / (($V)(1.0) + __builtin_elementwise_sqrt(s + ($V)(1.0))));
  $V far = @log(a) + ($V)(0.693147180559945309);
  return x != x ? x : __builtin_elementwise_copysign(a > ($V)(0x1p28) ? far : near, x);
}
)c"},
      {"acosh.f64",
       R"c(static inline $V $F($V x) {
  $V t = x > ($V)(0x1p28) ? ($V)(1.0) : x - ($V)(1.0);
  $V near = @log1p(t + __builtin_elementwise_sqrt(FMA(t, t, t + t)));
  $V far = @log(x) + ($V)(0.693147180559945309);
  $V y = x > ($V)(0x1p28) ? far : near;
  return x >= ($V)(1.0) ? y : ($V)(__builtin_nan(""));
}
)c"},
      {"atanh.f64",
       R"c(static inline $V $F($V x) {
  $V a = __builtin_elementwise_abs(x), y = ($V)(0.5) * @log1p((a + a) / (($V)(1.0) - a));
  y = a == ($V)(1.0) ? ($V)(__builtin_inf()) : y;
  y = a < ($V)(0x1p-28) ? a : y;
  return a > ($V)(1.0) ? ($V)(__builtin_nan("")) : x != x ? x : __builtin_elementwise_copysign(y, x);
}
)c"},
      {"atan_positive",
       R"c(static inline $V $F($V a) {
  // About the nearest of 0, 1/2, 1, 3/2, infinity: atan(a) = hi + lo + atan((a - c) / (1 + a c)).
  ${I} m1 = a >= ($V)(0.4375), m2 = a >= ($V)(0.6875), m3 = a >= ($V)(1.1875), m4 = a >= ($V)(2.4375);
  $V n = m1 ? a + a - ($V)(1.0) : a, d = m1 ? a + ($V)(2.0) : ($V)(1.0);
  $V hi = m1 ? ($V)(4.63647609000806093515e-01) : ($V)(0.0), lo = m1 ? ($V)(2.26987774529616870924e-17) : ($V)(0.0);
  n = m2 ? a - ($V)(1.0) : n;
  d = m2 ? a + ($V)(1.0) : d;
  hi = m2 ? ($V)(7.85398163397448278999e-01) : hi;
  lo = m2 ? ($V)(3.06161699786838301793e-17) : lo;
  n = m3 ? a - ($V)(1.5) : n;
  d = m3 ? ($V)(1.0) + ($V)(1.5) * a : d;
  hi = m3 ? ($V)(9.82793723247329054082e-01) : hi;
  lo = m3 ? ($V)(1.39033110312309984516e-17) : lo;
  n = m4 ? ($V)(-1.0) : n;
  d = m4 ? a : d;
  hi = m4 ? ($V)(1.57079632679489655800e+00) : hi;
  lo = m4 ? ($V)(6.12323399573676603587e-17) : lo;
  $V t = n / d, z = t * t, w = z * z;
  $V even = ($V)(1.62858201153657823623e-02);
  even = FMA(even, w, ($V)(4.97687799461593236017e-02));
  even = FMA(even, w, ($V)(6.66107313738753120669e-02));
  even = FMA(even, w, ($V)(9.09088713343650656196e-02));
  even = FMA(even, w, ($V)(1.42857142725034663711e-01));
  even = FMA(even, w, ($V)(3.33333333333329318027e-01));
  $V odd = ($V)(-3.65315727442169155270e-02);
  odd = FMA(odd, w, ($V)(-5.83357013379057348645e-02));
  odd = FMA(odd, w, ($V)(-7.69187620504482999495e-02));
  odd = FMA(odd, w, ($V)(-1.11111104054623557880e-01));
  odd = FMA(odd, w, ($V)(-1.99999999998764832476e-01));
  $V s = FMA(even, z, odd * w);
  return hi - ((t * s - lo) - t);
}
)c"},
      {"atan.f64",
       R"c(static inline $V $F($V x) {
  return x != x ? x : __builtin_elementwise_copysign(@atan_positive(__builtin_elementwise_abs(x)), x);
}
)c"},
      {"asin.f64",
       R"c(static inline $V $F($V x) {
  $V y = @atan(x / __builtin_elementwise_sqrt((($V)(1.0) - x) * (($V)(1.0) + x)));
  return __builtin_elementwise_abs(x) < ($V)(0x1p-28) ? x : y;
}
)c"},
      {"acos.f64",
       R"c(static inline $V $F($V x) {
  return ($V)(2.0) * @atan(__builtin_elementwise_sqrt((($V)(1.0) - x) / (($V)(1.0) + x)));
}
)c"},
      {"atan2.f64",
       R"c(static inline $V $F($V y, $V x) {
  $V a = __builtin_elementwise_abs(y), b = __builtin_elementwise_abs(x);
  ${I} steep = a > b;
  $V low = steep ? b : a, high = steep ? a : b, t = low / high;
  t = high == ($V)(0.0) ? ($V)(0.0) : t;
  t = low == ($V)(__builtin_inf()) ? ($V)(1.0) : t;
  $V r = @atan_positive(t);
  r = steep ? ($V)(1.57079632679489655800e+00) - (r - ($V)(6.12323399573676603587e-17)) : r;
  r = __builtin_elementwise_copysign(($V)(1.0), x) < ($V)(0.0)
          ? ($V)(3.14159265358979311600e+00) - (r - ($V)(1.22464679914735317720e-16)) : r;
  return ((x != x) | (y != y)) ? x + y : __builtin_elementwise_copysign(r, y);
}
)c"},
      {"reduce_large.f64",
       R"c(// x - n pi/2 for any finite x: its 53 bits times 192 bits of 2/pi, of which the multiples of 4 do not matter.
static f64 $F(f64 x, i64* n) {
  static const u64 kTwoOverPi[22] = {0x0000000000000000ull, 0xa2f9836e4e441529ull, 0xfc2757d1f534ddc0ull, 0xdb6295993c439041ull, 0xfe5163abdebbc561ull, 0xb7246e3a424dd2e0ull, 0x06492eea09d1921cull, 0xfe1deb1cb129a73eull, 0xe88235f52ebb4484ull, 0xe99c7026b45f7e41ull, 0x3991d639835339f4ull, 0x9c845f8bbdf9283bull, 0x1ff897ffde05980full, 0xef2f118b5a0a6d1full, 0x6d367ecf27cb09b7ull, 0x4f463f669e5fea2dull, 0x7527bac7ebe5f17bull, 0x3d0739f78a5292eaull, 0x6bfb5fb11f8d5d08ull, 0x56033046fc7b6babull, 0, 0};
  union { f64 f; u64 u; } v = {x};
  i32 e = (i32)((v.u >> 52) & 2047) - 1075;
  u64 m = (v.u & 0xfffffffffffffull) | 0x10000000000000ull;
  u32 skip = (u32)(e - 2 + 64), word = skip >> 6, shift = skip & 63;
  u64 w[3];
  for (i32 k = 0; k < 3; ++k) {
    u64 high = kTwoOverPi[word + k] << shift, low = shift ? kTwoOverPi[word + k + 1] >> (64 - shift) : 0;
    w[k] = high | low;
  }
  unsigned __int128 low = (unsigned __int128)w[2] * m, mid = (unsigned __int128)w[1] * m + (u64)(low >> 64);
  u64 p2 = w[0] * m + (u64)(mid >> 64), p1 = (u64)mid, p0 = (u64)low;
  i64 f2 = (i64)(p2 << 2 | p1 >> 62);
  u64 f1 = p1 << 2 | p0 >> 62;
  i64 q = (i64)(p2 >> 62) + (f2 < 0);
  f64 r = ((f64)f2 * 0x1p-64 + (f64)f1 * 0x1p-128) * 1.57079632679489655800;
  *n = v.u >> 63 ? -q : q;
  return v.u >> 63 ? -r : r;
}
)c"},
      {"reduce_quadrant.f64",
       R"c(// r and n with x = n pi/2 + r, |r| <= pi/4; n modulo 4 matters. NaN for infinities.
static inline $V $F($V x, ${I}* n) {
  $V z = FMA(x, ($V)(6.36619772367581382433e-01), ($V)(0x1.8p52)), k = z - ($V)(0x1.8p52);
  *n = @bits(z);
  $V r = FMA(k, ($V)(-1.57079632673412561417e+00), x), w = k * ($V)(6.07710050630396597660e-11);
  $V y = r - w, lost = (r - y) - w;
  y += FMA(k, ($V)(-2.02226624871116645580e-21), lost);
  y = __builtin_elementwise_abs(x) == ($V)(__builtin_inf()) ? ($V)(__builtin_nan("")) : y;
  @reduce_far(x, &y, n);
  return y;
}
)c"},
      {"sin_core.f64",
       R"c(static inline $V $F($V r) {
  $V z = r * r;
  $V p = ($V)(1.58969099521155010221e-10);
  p = FMA(p, z, ($V)(-2.50507602534068634195e-08));
  p = FMA(p, z, ($V)(2.75573137070700676789e-06));
  p = FMA(p, z, ($V)(-1.98412698298579493134e-04));
  p = FMA(p, z, ($V)(8.33333333332248946124e-03));
  p = FMA(p, z, ($V)(-1.66666666666666324348e-01));
  return FMA(p * z, r, r);
}
)c"},
      {"cos_core.f64",
       R"c(static inline $V $F($V r) {
  $V z = r * r, h = ($V)(0.5) * z, w = ($V)(1.0) - h;
  $V p = ($V)(-1.13596475577881948265e-11);
  p = FMA(p, z, ($V)(2.08757232129817482790e-09));
  p = FMA(p, z, ($V)(-2.75573143513906633035e-07));
  p = FMA(p, z, ($V)(2.48015872894767294178e-05));
  p = FMA(p, z, ($V)(-1.38888888888741095749e-03));
  p = FMA(p, z, ($V)(4.16666666666666019037e-02));
  return w + (((($V)(1.0) - w) - h) + z * z * p);
}
)c"},
      {"sin.f64",
       R"c(static inline $V $F($V x) {
  ${I} n;
  $V r = @reduce_quadrant(x, &n), s = @sin_core(r), c = @cos_core(r);
  $V y = (n & (${I})(1)) != (${I})(0) ? c : s;
  y = (n & (${I})(2)) != (${I})(0) ? -y : y;
  return x == ($V)(0.0) ? x : y;
}
)c"},
      {"cos.f64",
       R"c(static inline $V $F($V x) {
  ${I} n;
  $V r = @reduce_quadrant(x, &n), s = @sin_core(r), c = @cos_core(r);
  $V y = (n & (${I})(1)) != (${I})(0) ? s : c;
  return ((n + (${I})(1)) & (${I})(2)) != (${I})(0) ? -y : y;
}
)c"},
      {"tan.f64",
       R"c(static inline $V $F($V x) {
  ${I} n;
  $V r = @reduce_quadrant(x, &n), s = @sin_core(r), c = @cos_core(r);
  $V y = (n & (${I})(1)) != (${I})(0) ? -c / s : s / c;
  return x == ($V)(0.0) ? x : y;
}
)c"},
      {"two_product.f64",
       R"c(// a b = result + *low, exactly.
static inline $V $F($V a, $V b, $V* low) {
  $V p = a * b;
#ifdef TERN_FMA
  *low = FMA(a, b, -p);
#else
  $V ca = a * ($V)(134217729.0), ah = ca - (ca - a), al = a - ah;
  $V cb = b * ($V)(134217729.0), bh = cb - (cb - b), bl = b - bh;
  *low = ((ah * bh - p) + ah * bl + al * bh) + al * bl;
#endif
  return p;
}
)c"},
      {"pow_magnitude.f64",
       R"c(// a^y for finite a > 0: the logarithm in two parts.
static inline $V $F($V a, $V y) {
  ${I} tiny = a < ($V)(0x1p-1022);
  $V scaled = tiny ? a * ($V)(0x1p54) : a;
  ${I} i = @bits(scaled) - (${I})(0x3fe6a09e667f3bcdll), e = i >> (${I})(52);
  $V f = @i64:from_bits((i & (${I})(0xfffffffffffffll)) + (${I})(0x3fe6a09e667f3bcdll)) - ($V)(1.0);
  $V k = CVT($V, tiny ? e - (${I})(54) : e);
  // s = f / (2 + f) in two parts.
  $V d = ($V)(2.0) + f, d_low = f - (d - ($V)(2.0)), s = f / d, t_low;
  $V t = @two_product(s, d, &t_low);
  $V s_low = (((f - t) - t_low) - s * d_low) / d;
  $V z = s * s;
  $V p = ($V)(0.09523809523809523);
  p = FMA(p, z, ($V)(0.10526315789473684));
  p = FMA(p, z, ($V)(0.11764705882352941));
  p = FMA(p, z, ($V)(0.13333333333333333));
  p = FMA(p, z, ($V)(0.15384615384615385));
  p = FMA(p, z, ($V)(0.18181818181818182));
  p = FMA(p, z, ($V)(0.2222222222222222));
  p = FMA(p, z, ($V)(0.2857142857142857));
  p = FMA(p, z, ($V)(0.4));
  p = FMA(p, z, ($V)(0.6666666666666666));
  // log a = k ln 2 + 2 s + s^3 p
  $V base = k * ($V)(6.93147180369123816490e-01), twice = s + s;
  $V hi = base + twice, lo = ((base - hi) + twice);
  // |base| may be the smaller one.
  $V b = hi - base;
  lo = (base - (hi - b)) + (twice - b);
  lo += (s_low + s_low) + s * z * p + k * ($V)(1.90821492927058770002e-10);
  $V h = hi + lo;
  lo = lo - (h - hi);
  $V q_low, q = @two_product(h, y, &q_low);
  q_low += lo * y;
  q_low = __builtin_elementwise_abs(q) > ($V)(800.0) ? ($V)(0.0) : q_low;
  $V r = @exp(q);
  $V more = r * q_low;
  return ((r == ($V)(__builtin_inf())) | (more != more)) ? r : r + more;
}
)c"},
      {"pow.f64",
       R"c(static inline $V $F($V x, $V y) {
  $V a = __builtin_elementwise_abs(x);
  ${I} plain = (a > ($V)(0.0)) & (a < ($V)(__builtin_inf()));
  $V r = @pow_magnitude(plain ? a : ($V)(1.0), y);
  // y's kind, then the special values of both.
  $V half = ($V)(0.5) * y;
  ${I} whole = __builtin_elementwise_trunc(y) == y;
  ${I} odd = whole & (__builtin_elementwise_trunc(half) != half);
  $V inf = ($V)(__builtin_inf());
  r = a == ($V)(0.0) ? (y > ($V)(0.0) ? ($V)(0.0) : inf) : r;
  r = a == inf ? (y > ($V)(0.0) ? inf : ($V)(0.0)) : r;
  $V large = a > ($V)(1.0) ? inf : ($V)(0.0), small = a > ($V)(1.0) ? ($V)(0.0) : inf;
  r = y == inf ? large : y == -inf ? small : r;
  $V sign = __builtin_elementwise_copysign(($V)(1.0), x);
  r = ((sign < ($V)(0.0)) & odd) ? -r : r;
  r = ((x < ($V)(0.0)) & (x > -inf) & (whole == (${I})(0))) ? ($V)(__builtin_nan("")) : r;
  r = ((a == ($V)(1.0)) & (__builtin_elementwise_abs(y) == inf)) ? ($V)(1.0) : r;
  r = ((x != x) | (y != y)) ? x + y : r;
  return ((y == ($V)(0.0)) | (x == ($V)(1.0))) ? ($V)(1.0) : r;
}
)c"},
      {"erf.f64",
       R"c(static inline $V $F($V x) {
  // Below 1 a polynomial; beyond, 1 - e^(-t^2) times one of (t - 3) / (t + 3): rounding t^2 changes no more than
  // t^2 e^(-t^2) of a last place.
  $V a = __builtin_elementwise_abs(x), c = a > ($V)(1.0) ? ($V)(1.0) : a;
  $V t = a > ($V)(6.0) ? ($V)(6.0) : a, u = (t - ($V)(3.0)) / (t + ($V)(3.0));
  const $V s = c * c;
  $V q = ($V)(-7.795898827002142e-10);
  q = FMA(q, s, ($V)(1.3720064546777686e-08));
  q = FMA(q, s, ($V)(-1.6208483801871705e-07));
  q = FMA(q, s, ($V)(1.6447424703317362e-06));
  q = FMA(q, s, ($V)(-1.492473690741966e-05));
  q = FMA(q, s, ($V)(0.00012055294904839707));
  q = FMA(q, s, ($V)(-0.0008548325975389692));
  q = FMA(q, s, ($V)(0.0052239776071164225));
  q = FMA(q, s, ($V)(-0.02686617064323777));
  q = FMA(q, s, ($V)(0.11283791670945006));
  q = FMA(q, s, ($V)(-0.37612638903183543));
  q = FMA(q, s, ($V)(1.1283791670955126));
  $V p = ($V)(1.269009322866425e-06);
  p = FMA(p, u, ($V)(2.0134405579721386e-06));
  p = FMA(p, u, ($V)(-8.005503804429077e-06));
  p = FMA(p, u, ($V)(-1.284482048858598e-05));
  p = FMA(p, u, ($V)(6.406180872667078e-05));
  p = FMA(p, u, ($V)(4.5254078077018745e-05));
  p = FMA(p, u, ($V)(-0.0005970623874786055));
  p = FMA(p, u, ($V)(0.000707746495783966));
  p = FMA(p, u, ($V)(0.004269136350643515));
  p = FMA(p, u, ($V)(-0.02439249932033269));
  p = FMA(p, u, ($V)(0.0716658371976565));
  p = FMA(p, u, ($V)(-0.15011593650075084));
  p = FMA(p, u, ($V)(0.24560380171233273));
  p = FMA(p, u, ($V)(-0.3262335600430374));
  p = FMA(p, u, ($V)(0.17900115118138996));
  $V y = a < ($V)(1.0) ? c * q : ($V)(1.0) - p * @exp(-(t * t));
  return x != x ? x : __builtin_elementwise_copysign(y, x);
}
)c"},
      {"rem_lane.f64",
       R"c(// Exact: long division of the mantissas, one bit at a time.
static f64 $F(f64 x, f64 y) {
  union { f64 f; u64 u; } ux = {x}, uy = {y};
  u64 sign = ux.u & 0x8000000000000000ull, a = ux.u & ~0x8000000000000000ull, b = uy.u & ~0x8000000000000000ull;
  if (b == 0 || a >= 0x7ff0000000000000ull || b > 0x7ff0000000000000ull) return __builtin_nan("");
  if (a < b) return x;
  i32 ea = (i32)(a >> 52), eb = (i32)(b >> 52);
  const u64 one = 0x10000000000000ull;
  u64 ma = a & (one - 1), mb = b & (one - 1);
  if (ea) ma |= one; else ea = 1;
  if (eb) mb |= one; else eb = 1;
  for (; ma < one; --ea) ma <<= 1;
  for (; mb < one; --eb) mb <<= 1;
  for (; ea > eb; --ea) { if (ma >= mb) ma -= mb; ma <<= 1; }
  if (ma >= mb) ma -= mb;
  if (ma == 0) { ux.u = sign; return ux.f; }
  for (; ma < one; --ea) ma <<= 1;
  ux.u = sign | (ea < 1 ? ma >> (1 - ea) : (ma & (one - 1)) | (u64)ea << 52);
  return ux.f;
}
)c"},
      {"rem_lane.f32",
       R"c(static f32 $F(f32 x, f32 y) {
  // The quotient times y is exact in f64 while the quotient has at most 29 bits.
  f64 a = __builtin_elementwise_abs(x), b = __builtin_elementwise_abs(y), q = __builtin_elementwise_trunc(a / b);
  if (!(q < 0x1p29)) return (f32)@f64:rem_lane(x, y);
  f64 r = b == __builtin_inf() ? a : a - q * b;
  if (r < 0) r += b;
  if (r >= b) r -= b;
  return (f32)__builtin_elementwise_copysign(r, (f64)x);
}
)c"},
      {"rem.float",
       R"c(static inline $V $F($V x, $V y) {
#if $N > 1
#ifdef TERN_FMA
  // A quotient below 2^23 (f64: 2^52) is one too large at most, by rounding, and then what is left is exact.
  const $V a = __builtin_elementwise_abs(x), b = __builtin_elementwise_abs(y), q = __builtin_elementwise_trunc(a / b);
  const ${I} far = (q < ($V)(sizeof($E) == 4 ? 0x1p23 : 0x1p52)) == (${I})(0);
  $V r = FMA(-q, b, a);
  r = r < ($V)(0) ? r + b : r;
  r = __builtin_elementwise_copysign(q == ($V)(0) ? a : r, x);
  if (__builtin_reduce_or(far) == 0) return r;
#else
  const ${I} far = (${I})(-1);
  $V r = ($V)(0);
#endif
  for (i32 k = 0; k < $N; ++k)
    if (far[k]) r[k] = @1:rem_lane(x[k], y[k]);
  return r;
#else
  return @1:rem_lane(x, y);
#endif
}
)c"},
  };
  return kRows;
}

}  // namespace tern::render
