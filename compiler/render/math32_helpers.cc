// Vector math on f32, any number of lanes. Measured bounds: docs/vector-math.md. What is hot in networks is
// computed in f32; the rest goes through the f64 row, whose error vanishes in the one rounding to f32.
#include "compiler/render/helper_table.h"

namespace tern::render {

std::span<const HelperRow> math_rows() {
  static constexpr HelperRow kRows[] = {
      {"pow2.i32",
       R"c(static inline $T{f32} $F($V n) { return @from_bits((n + ($V)(127)) << ($V)(23)); }
)c"},
      {"pow2.i64",
       R"c(static inline $T{f64} $F($V n) { return @from_bits((n + ($V)(1023)) << ($V)(52)); }
)c"},
      {"exp.f32",
       R"c(static inline $V $F($V x) {
  // e^x = 2^n e^r, n = round(x / ln 2); beyond the clamps the result is 0 or infinity.
  x = x > ($V)(89.0f) ? ($V)(89.0f) : x;
  x = x < ($V)(-104.0f) ? ($V)(-104.0f) : x;
  $V z = FMA(x, ($V)(1.44269504f), ($V)(12582912.0f)), n = z - ($V)(12582912.0f);
  $V r = FMA(n, ($V)(-0.693359375f), x);
  r = FMA(n, ($V)(2.12194440e-4f), r);
  $V p = ($V)(1.9875691500e-4f);
  p = FMA(p, r, ($V)(1.3981999507e-3f));
  p = FMA(p, r, ($V)(8.3334519073e-3f));
  p = FMA(p, r, ($V)(4.1665795894e-2f));
  p = FMA(p, r, ($V)(1.6666665459e-1f));
  p = FMA(p, r, ($V)(5.0000001201e-1f));
  $V y = FMA(p, r * r, r) + ($V)(1.0f);
#if defined(__AVX512F__) && $N == 16
  return __builtin_ia32_scalefps512_mask(y, n, y, -1, 4);
#else
  // Two factors, so that denormal results are rounded once.
  ${I} i = @bits(z) - (${I})(0x4b400000), half = i >> (${I})(1);
  return y * @i32:pow2(half) * @i32:pow2(i - half);
#endif
}
)c"},
      {"exp2_approx.f32",
       R"c(static inline $V $F($V x) {
  // 2^x = 2^n 2^r, n = round(x); what is no normal number is 0.
  $V limited = x > ($V)(128.0f) ? ($V)(128.0f) : x;
  $V z = limited + ($V)(12582912.0f), r = limited - (z - ($V)(12582912.0f));
  $V p = ($V)(1.5345812e-4f);
  p = FMA(p, r, ($V)(1.3399931e-3f));
  p = FMA(p, r, ($V)(9.6184890e-3f));
  p = FMA(p, r, ($V)(5.5503288e-2f));
  p = FMA(p, r, ($V)(2.4022647e-1f));
  p = FMA(p, r, ($V)(6.9314721e-1f));
  p = FMA(p, r, ($V)(1.0f));
  return x < ($V)(-126.0f) ? ($V)(0.0f) : p * @i32:pow2(@bits(z) - (${I})(0x4b400000));
}
)c"},
      {"log.f32",
       R"c(static inline $V $F($V x) {
  // x = 2^e m, m in [sqrt(1/2), sqrt(2)).
  ${I} tiny = x < ($V)(0x1p-126f);
  $V scaled = tiny ? x * ($V)(0x1p23f) : x;
  ${I} i = @bits(scaled) - (${I})(0x3f3504f3), e = i >> (${I})(23);
  $V f = @i32:from_bits((i & (${I})(0x7fffff)) + (${I})(0x3f3504f3)) - ($V)(1.0f), z = f * f;
  $V k = CVT($V, tiny ? e - (${I})(23) : e);
  $V p = ($V)(7.0376836292e-2f);
  p = FMA(p, f, ($V)(-1.1514610310e-1f));
  p = FMA(p, f, ($V)(1.1676998740e-1f));
  p = FMA(p, f, ($V)(-1.2420140846e-1f));
  p = FMA(p, f, ($V)(1.4249322787e-1f));
  p = FMA(p, f, ($V)(-1.6668057665e-1f));
  p = FMA(p, f, ($V)(2.0000714765e-1f));
  p = FMA(p, f, ($V)(-2.4999993993e-1f));
  p = FMA(p, f, ($V)(3.3333331174e-1f));
  $V y = f * z * p;
  y = FMA(k, ($V)(-2.12194440e-4f), y);
  y = FMA(z, ($V)(-0.5f), y);
  $V r = FMA(k, ($V)(0.693359375f), f + y);
  r = x == ($V)(__builtin_inff()) ? x : r;
  r = x == ($V)(0.0f) ? ($V)(-__builtin_inff()) : r;
  return ((x < ($V)(0.0f)) | (x != x)) ? ($V)(__builtin_nanf("")) : r;
}
)c"},
      {"tanh.f32",
       R"c(static inline $V $F($V x) {
  $V a = __builtin_elementwise_abs(x), z = x * x;
  $V p = ($V)(-5.70498872745e-3f);
  p = FMA(p, z, ($V)(2.06390887954e-2f));
  p = FMA(p, z, ($V)(-5.37397155531e-2f));
  p = FMA(p, z, ($V)(1.33314422036e-1f));
  p = FMA(p, z, ($V)(-3.33332819422e-1f));
  $V small = FMA(p * z, x, x);
  $V big = ($V)(1.0f) - ($V)(2.0f) / (@exp(a + a) + ($V)(1.0f));
  return a < ($V)(0.625f) ? small : __builtin_elementwise_copysign(big, x);
}
)c"},
      {"erf.f32",
       R"c(static inline $V $F($V x) {
  $V t = __builtin_elementwise_abs(x), s = x * x;
  // Beyond 0.93: 1 - e^(-q(t)).
  $V r = FMA(($V)(-1.72853470e-5f), t, ($V)(3.83197126e-4f)), u = FMA(($V)(-3.88396438e-3f), t, ($V)(2.42546219e-2f));
  r = FMA(r, s, u);
  r = FMA(r, t, ($V)(-1.06777877e-1f));
  r = FMA(r, t, ($V)(-6.34846687e-1f));
  r = FMA(r, t, ($V)(-1.28717512e-1f));
  r = FMA(r, t, -t);
  r = t > ($V)(4.0f) ? ($V)(-100.0f) : r;
  $V big = ($V)(1.0f) - @exp(r);
  $V p = ($V)(-5.96761703e-4f);
  p = FMA(p, s, ($V)(4.99119423e-3f));
  p = FMA(p, s, ($V)(-2.67681349e-2f));
  p = FMA(p, s, ($V)(1.12819925e-1f));
  p = FMA(p, s, ($V)(-3.76125336e-1f));
  p = FMA(p, s, ($V)(1.28379166e-1f));
  $V small = FMA(p, x, x);
  $V y = t > ($V)(0.927734375f) ? __builtin_elementwise_copysign(big, x) : small;
  return x != x ? x : y;
}
)c"},
      {"log1p.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:log1p(CVT($T{f64}, x))); }
)c"},
      {"expm1.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:expm1(CVT($T{f64}, x))); }
)c"},
      {"sin.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:sin(CVT($T{f64}, x))); }
)c"},
      {"cos.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:cos(CVT($T{f64}, x))); }
)c"},
      {"tan.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:tan(CVT($T{f64}, x))); }
)c"},
      {"asin.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:asin(CVT($T{f64}, x))); }
)c"},
      {"acos.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:acos(CVT($T{f64}, x))); }
)c"},
      {"atan.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:atan(CVT($T{f64}, x))); }
)c"},
      {"sinh.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:sinh(CVT($T{f64}, x))); }
)c"},
      {"cosh.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:cosh(CVT($T{f64}, x))); }
)c"},
      {"asinh.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:asinh(CVT($T{f64}, x))); }
)c"},
      {"acosh.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:acosh(CVT($T{f64}, x))); }
)c"},
      {"atanh.f32",
       R"c(static inline $V $F($V x) { return CVT($V, @f64:atanh(CVT($T{f64}, x))); }
)c"},
      {"pow.f32",
       R"c(static inline $V $F($V x, $V y) {
  return CVT($V, @f64:pow_fast(CVT($T{f64}, x), CVT($T{f64}, y)));
}
)c"},
      {"atan2.f32",
       R"c(static inline $V $F($V y, $V x) {
  return CVT($V, @f64:atan2(CVT($T{f64}, y), CVT($T{f64}, x)));
}
)c"},
  };
  return kRows;
}

}  // namespace tern::render
