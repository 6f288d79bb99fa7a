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
      // Elements of a register of floats, picked by the low bits of i; what is several vectors long part by
      // part, so that their chains of operations stand side by side.
      {"pick.f32",
       R"c(#if defined(__AVX512F__) && $N % 16 == 0
typedef $E $F_part __attribute__((ext_vector_type(16)));
typedef int $F_index __attribute__((ext_vector_type(16)));
static inline $V $F($F_part table, ${I} i) {
  union { ${I} all; $F_index part[$N / 16]; } from = {i};
  union { $V all; $F_part part[$N / 16]; } to;
#pragma clang loop unroll(full)
  for (int k = 0; k < $N / 16; ++k) to.part[k] = ($F_part)__builtin_ia32_permvarsf512(table, from.part[k]);
  return to.all;
}
#elif defined(__AVX2__) && $N % 8 == 0
typedef $E $F_part __attribute__((ext_vector_type(8)));
typedef int $F_index __attribute__((ext_vector_type(8)));
static inline $V $F($F_part table, ${I} i) {
  union { ${I} all; $F_index part[$N / 8]; } from = {i};
  union { $V all; $F_part part[$N / 8]; } to;
#pragma clang loop unroll(full)
  for (int k = 0; k < $N / 8; ++k) to.part[k] = ($F_part)__builtin_ia32_permvarsf256(table, from.part[k]);
  return to.all;
}
#endif
)c"},
      // x * 2^n, rounded once.
      {"scale.f32",
       R"c(#if defined(__AVX512F__) && $N % 16 == 0
typedef $E $F_part __attribute__((ext_vector_type(16)));
static inline $V $F($V x, $V n) {
  union { $V all; $F_part part[$N / 16]; } a = {x}, b = {n};
#pragma clang loop unroll(full)
  for (int k = 0; k < $N / 16; ++k)
    a.part[k] = __builtin_ia32_scalefps512_mask(a.part[k], b.part[k], a.part[k], -1, 4);
  return a.all;
}
#endif
)c"},
      // e^x = the result * 2^n. n is in sixteenths, whose 2^n is picked out of a register.
      {"exp_in_parts.f32",
       R"c(#if defined(__AVX512F__) && $N % 16 == 0
static inline $V $F($V x, $V* exponent) {
  typedef $E table __attribute__((ext_vector_type(16)));
  const table roots = {1.0f, 1.04427378f, 1.09050773f, 1.13878863f, 1.18920712f, 1.24185781f, 1.29683955f,
      1.35425555f, 1.41421356f, 1.47682615f, 1.54221083f, 1.61049033f, 1.68179283f, 1.75625216f,
      1.83400809f, 1.91520656f};
  const $V z = FMA(x, ($V)(1.44269504f), ($V)(786432.0f)), n = z - ($V)(786432.0f);
  *exponent = n;
  $V r = FMA(n, ($V)(-0.693359375f), x);
  r = FMA(n, ($V)(2.12194440e-4f), r);
  const $V root = @pick(roots, @bits(z));
  $V p = FMA(r, ($V)(0.16666667f), ($V)(0.5f));
  p = FMA(p, r * r, r);
  return FMA(root, p, root);
}
#endif
)c"},
      // x * 2^n where e^of is a normal number, or `of` is none; else 0.
      {"scale_normal.f32",
       R"c(#if defined(__AVX512F__) && $N % 16 == 0
typedef $E $F_part __attribute__((ext_vector_type(16)));
static inline $V $F($V x, $V n, $V of) {
  union { $V all; $F_part part[$N / 16]; } a = {x}, b = {n}, c = {of};
#pragma clang loop unroll(full)
  for (int k = 0; k < $N / 16; ++k) {
    const $F_part least = ($F_part)(-87.3365402f), zero = ($F_part)(0.0f);
    const unsigned short normal = __builtin_ia32_cmpps512_mask(c.part[k], least, 5, -1, 4);  // not less than
    a.part[k] = __builtin_ia32_scalefps512_mask(a.part[k], b.part[k], zero, normal, 4);
  }
  return a.all;
}
#endif
)c"},
      {"exp.f32",
       R"c(static inline $V $F($V x) {
  return @exp_to_89(x > ($V)(89.0f) ? ($V)(89.0f) : x);
}
)c"},
      {"exp_below.f32",
       R"c(static inline $V $F($V x) {
#if defined(__AVX512F__) && $N % 16 == 0
  // 0 instead of numbers below the least normal one, which take 100 cycles and more where something multiplies by
  // them.
  $V n;
  const $V part = @exp_in_parts(x, &n);
  return @scale_normal(part, n, x);
#elif defined(__AVX2__) && $N % 8 == 0
  // n is added to the root's bits (without their eighths, which n counts too): -127 makes 0 of the first one, and
  // of the others less than the least normal number. n times ln 2 is off by 2e-9 n.
  typedef $E table __attribute__((ext_vector_type(8)));
  const table roots = {1.0f, 0.982753873f, 0.969603539f, 0.960919797f, 0.95710677f, 0.958605409f, 0.965896428f,
      0.979504049f};
  x = x < ($V)(-88.0296936f) ? ($V)(-88.0296936f) : x;
  const $V z = FMA(x, ($V)(1.44269504f), ($V)(1572864.0f)), n = z - ($V)(1572864.0f);
  const $V r = FMA(n, ($V)(-0.693147182f), x);
  const ${I} eighths = @bits(z);
  const $V root = @i32:from_bits(@bits(@pick(roots, eighths)) + (eighths << (${I})(20)));
  $V p = FMA(r, ($V)(0.16666859f), ($V)(0.50006454f));
  p = FMA(p, r * r, r);
  return FMA(root, p, root);
#else
  return @exp_to_89(x);
#endif
}
)c"},
      {"exp_to_89.f32",
       R"c(static inline $V $F($V x) {
  // e^x = 2^n e^r, n = round(x / ln 2); below the clamp the result is 0, from 89 on infinity.
  x = x < ($V)(-104.0f) ? ($V)(-104.0f) : x;
#if defined(__AVX512F__) && $N % 16 == 0
  $V n;
  const $V part = @exp_in_parts(x, &n);
  return @scale(part, n);
#elif defined(__AVX2__) && $N % 8 == 0
  typedef $E table __attribute__((ext_vector_type(8)));
  const table roots = {1.0f, 1.09050773f, 1.18920712f, 1.29683955f, 1.41421356f, 1.54221083f, 1.68179283f,
      1.83400809f};
  const $V z = FMA(x, ($V)(1.44269504f), ($V)(1572864.0f)), n = z - ($V)(1572864.0f);
  $V r = FMA(n, ($V)(-0.693359375f), x);
  r = FMA(n, ($V)(2.12194440e-4f), r);
  const ${I} eighths = @bits(z), i = (eighths - (${I})(0x49c00000)) >> (${I})(3), half = i >> (${I})(1);
  const $V root = @pick(roots, eighths);
  $V p = FMA(r, ($V)(4.1666668e-2f), ($V)(0.16666667f));
  p = FMA(p, r, ($V)(0.5f));
  p = FMA(p, r * r, r);
  return FMA(root, p, root) * @i32:pow2(half) * @i32:pow2(i - half);
#else
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
  // Two factors, so that denormal results are rounded once.
  ${I} i = @bits(z) - (${I})(0x4b400000), half = i >> (${I})(1);
  return y * @i32:pow2(half) * @i32:pow2(i - half);
#endif
}
)c"},
      // These stand behind products' loops: constants come from memory, behind a pointer that clang knows
      // nothing of. It moved them in front of the loops, into registers that the sums needed.
      {"logistic_divisor.f32",
       R"c(static inline $V $F($V x) {
#if !defined(__AVX512F__) && defined(__AVX2__) && $N % 8 == 0
  // As exp_below of -x, but 2^n, halved, is added to the root's bits (whose eighths n counts twice), and what is
  // too small to count needs no denormal numbers.
  typedef $E table __attribute__((ext_vector_type(8)));
  static const $E constants[17] __attribute__((aligned(32))) = {0.5f, 0.491376936f, 0.484801769f, 0.480459899f,
      0.478553385f, 0.479302704f, 0.482948214f, 0.489752024f, 86.0f, -89.0f, -1.44269504f, 1572864.0f,
      0.693147182f, -0.16666861f, 0.50006574f, 2.0f, 1.0f};
  const $E* c = constants;
  __asm__ volatile("" : "+r"(c));
  x = x > ($V)(c[8]) ? ($V)(c[8]) : x;
  x = x < ($V)(c[9]) ? ($V)(c[9]) : x;
  const $V z = FMA(x, ($V)(c[10]), ($V)(c[11])), n = z - ($V)(c[11]);
  const $V r = FMA(n, ($V)(c[12]), x);
  const ${I} eighths = @bits(z);
  const $V root = @i32:from_bits(@bits(@pick(*(const table*)c, eighths)) + (eighths << (${I})(20)));
  $V p = FMA(r, ($V)(c[13]), ($V)(c[14]));
  p = FMA(p, r * r, -r);
  return FMA(FMA(root, p, root), ($V)(c[15]), ($V)(c[16]));
#else
  return @exp(-x) + ($V)(1.0f);
#endif
}
)c"},
      {"erf_plus_one.f32",
       R"c(static inline $V $F($V x) {
#if defined(TERN_FMA)
  // erf(x) = x P(x^2) / Q(x^2), within 2e-8 but for the end, where it passes 1, so that the sum is 0 from there on.
  static const $E constants[14] = {3.92f, -3.92f, 2.04341791e-6f, 2.87721807e-4f, 3.8599039e-3f, 5.30386418e-2f,
      0.192517832f, 1.12837899f, 3.81696846e-5f, 1.18679379e-3f, 1.51560856e-2f, 0.11499244f, 0.503946185f, 1.0f};
  const $E* c = constants;
  __asm__ volatile("" : "+r"(c));
  x = x > ($V)(c[0]) ? ($V)(c[0]) : x;
  x = x < ($V)(c[1]) ? ($V)(c[1]) : x;
  const $V s = x * x;
  $V p = FMA(s, ($V)(c[2]), ($V)(c[3])), q = FMA(s, ($V)(c[8]), ($V)(c[9]));
  p = FMA(p, s, ($V)(c[4]));
  q = FMA(q, s, ($V)(c[10]));
  p = FMA(p, s, ($V)(c[5]));
  q = FMA(q, s, ($V)(c[11]));
  p = FMA(p, s, ($V)(c[6]));
  q = FMA(q, s, ($V)(c[12]));
  p = FMA(p, s, ($V)(c[7]));
  q = FMA(q, s, ($V)(c[13]));
  const $V y = FMA(x, p, q) / q;
  return y < ($V)(0.0f) ? ($V)(0.0f) : y;
#else
  return @erf(x) + ($V)(1.0f);
#endif
}
)c"},
      {"normal_cdf.f32",
       R"c(static inline $V $F($V x) { return @erf_plus_one(x * ($V)(0.70710678f)) * ($V)(0.5f); }
)c"},
      {"gelu.f32",
       R"c(static inline $V $F($V x) {
#if defined(TERN_FMA) && !defined(__AVX512F__)
  // max(x, 0) + t p^4 for a polynomial p of t = -|x|: p^4 is normal_cdf(t) within 5e-8. At t's end p is 7e-13,
  // whose power is 0: of -inf, which is kept beside it, that makes NaN, as the definition does, and inf of inf.
  // No division, no comparison, and two short chains. Signs and limits by integers: as floats clang makes
  // comparisons and choices of them.
  static const $E constants[10] = {0.84089643f, 0.167733639f, -0.0502000786f, -4.65552136e-3f, 3.7884058e-3f,
      3.03956476e-5f, -3.09151743e-4f, -5.87270188e-5f, -3.42210205e-6f, -5.63430834f};
  const $E* c = constants;
  __asm__ volatile("" : "+r"(c));
  const $T{i32} bits = @bits(x);
  const $T{u32} magnitude = ($T{u32})bits | ($T{u32})(0x80000000u), end = ($T{u32})@bits(($V)(c[9]));
  const $V t = @i32:from_bits(($T{i32})__builtin_elementwise_min(magnitude, end));
  const $V s = t * t;
  $V e = FMA(s, ($V)(c[8]), ($V)(c[6])), o = FMA(s, ($V)(c[7]), ($V)(c[5]));
  e = FMA(e, s, ($V)(c[4]));
  o = FMA(o, s, ($V)(c[3]));
  e = FMA(e, s, ($V)(c[2]));
  o = FMA(o, s, ($V)(c[1]));
  $V p = FMA(FMA(e, t, o), t, ($V)(c[0]));
  p = p * p;
  p = p * p;
  // As unsigned bits negative numbers are above positive ones, and those farther from 0 above others.
  const $V below = @i32:from_bits(($T{i32})__builtin_elementwise_max(($T{u32})bits, ($T{u32})@bits(t)));
  const $V above = @i32:from_bits(__builtin_elementwise_max(bits, ($T{i32})(0)));
  return FMA(below, p, above);
#else
  return x * @normal_cdf(x);
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
      // log(1 + f) + k ln 2, f in [sqrt(1/2) - 1, sqrt(2) - 1).
      {"log_near_1.f32",
       R"c(static inline $V $F($V f, $V k) {
  const $V z = f * f;
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
  return FMA(k, ($V)(0.693359375f), f + y);
}
)c"},
      {"log.f32",
       R"c(static inline $V $F($V x) {
  // x = 2^e m, m in [sqrt(1/2), sqrt(2)).
  ${I} tiny = x < ($V)(0x1p-126f);
  $V scaled = tiny ? x * ($V)(0x1p23f) : x;
  ${I} i = @bits(scaled) - (${I})(0x3f3504f3), e = i >> (${I})(23);
  $V f = @i32:from_bits((i & (${I})(0x7fffff)) + (${I})(0x3f3504f3)) - ($V)(1.0f);
  $V k = CVT($V, tiny ? e - (${I})(23) : e);
  $V r = @log_near_1(f, k);
  r = x == ($V)(__builtin_inff()) ? x : r;
  r = x == ($V)(0.0f) ? ($V)(-__builtin_inff()) : r;
  return ((x < ($V)(0.0f)) | (x != x)) ? ($V)(__builtin_nanf("")) : r;
}
)c"},
      {"tanh.f32",
       R"c(static inline $V $F($V x) {
  // (1 - e^-2a) / (1 + e^-2a), both halved, of w = 2^-n and p = (e^2r - 1) / 2, n = round(2a / ln 2): small arguments
  // have n = 0 and lose nothing, and each half is rounded once.
  $V a = __builtin_elementwise_abs(x);
  a = a > ($V)(9.02f) ? ($V)(9.02f) : a;
  const $V z = FMA(a, ($V)(-2.88539008f), ($V)(12583039.0f)), n = z - ($V)(12583039.0f);
#ifdef TERN_FMA
  const $V r = FMA(n, ($V)(-0.346573591f), -a);
  $V p = FMA(r, ($V)(4.4383835e-2f), ($V)(0.133860052f));
  p = FMA(p, r, ($V)(0.333339542f));
  p = FMA(p, r, ($V)(0.666661859f));
  p = FMA(p, r, ($V)(0.99999994f));
#else
  const $V r = FMA(n, ($V)(1.06097220e-4f), FMA(n, ($V)(-0.3466796875f), -a));
  $V p = FMA(r, ($V)(1.26469014e-2f), ($V)(4.45834249e-2f));
  p = FMA(p, r, ($V)(0.133336753f));
  p = FMA(p, r, ($V)(0.333331943f));
  p = FMA(p, r, ($V)(0.666666627f));
  p = FMA(p, r, ($V)(1.0f));
#endif
  p = FMA(p, r * r, r);
  // z's low bits are 127 - n.
  const $V w = @i32:from_bits(@bits(z) << (${I})(23)), half = FMA(w, ($V)(-0.5f), ($V)(0.5f));
  return __builtin_elementwise_copysign(FMA(-w, p, half) / FMA(w, p, ($V)(1.0f) - half), x);
}
)c"},
      {"erf_pieces.f32",
       R"c(static inline $V $F($V x) {
#if defined(__AVX2__) && $N % 8 == 0
  // erf(t) / t in pieces of [0, 4): polynomials around points where it is next to a float, whose coefficients
  // are picked out of registers.
  $V t = __builtin_elementwise_abs(x);
  t = t > ($V)(3.99999f) ? ($V)(3.99999f) : t;
#if defined(__AVX512F__) && $N % 16 == 0
  typedef $E table __attribute__((ext_vector_type(16)));
  const table centre = {0.125029564f, 0.375109911f, 0.625199735f, 0.87511766f, 1.12509012f, 1.37530577f,
      1.62542939f, 1.87545788f, 2.12577295f, 2.37524247f, 2.62504172f, 2.87558007f, 3.12504482f,
      3.37503934f, 3.62558961f, 3.87576175f};
  const table c0 = {1.12252688f, 1.07761657f, 0.997110724f, 0.89603585f, 0.789640665f, 0.689462781f,
      0.601981401f, 0.52894038f, 0.469173104f, 0.420680434f, 0.380868107f, 0.347739339f, 0.319992244f,
      0.296292305f, 0.275817126f, 0.258013785f};
  const table c1 = {-0.0931765661f, -0.259509504f, -0.373963386f, -0.42439875f, -0.419016421f,
      -0.377549648f, -0.320912987f, -0.264176607f, -0.214920774f, -0.175425693f, -0.144653127f,
      -0.120827824f, -0.102375336f, -0.0877855122f, -0.0760745034f, -0.066571027f};
  const table c2 = {-0.365638167f, -0.288448423f, -0.165159523f, -0.0396768861f, 0.0542182811f,
      0.104303367f, 0.11707288f, 0.107371971f, 0.0888024494f, 0.0698542595f, 0.0539575294f,
      0.0417293347f, 0.0326948836f, 0.0259974562f, 0.0209804382f, 0.017175898f};
  const table c3 = {0.0553899333f, 0.143012777f, 0.175345793f, 0.151579931f, 0.0962079838f, 0.0389715433f,
      -0.00142496382f, -0.0213320311f, -0.0262711588f, -0.0236340463f, -0.0186923482f, -0.0139906723f,
      -0.0103342626f, -0.00767544284f, -0.00578163192f, -0.00443077041f};
  const table c4 = {0.106092982f, 0.0626890734f, 0.00191972288f, -0.044444181f, -0.0603616908f,
      -0.0504263304f, -0.029747963f, -0.0112368772f, -9.84240251e-05f, 0.00438149041f, 0.00504243048f,
      0.00421073241f, 0.00313108368f, 0.00223511411f, 0.00158849964f, 0.00114329578f};
  const table c5 = {-0.0194509923f, -0.0462156609f, -0.0464279987f, -0.0255012475f, -0.000641268096f,
      0.0143920304f, 0.0169019606f, 0.0120431976f, 0.00591108995f, 0.00167645584f, -0.000306344591f,
      -0.000864208734f, -0.000814786064f, -0.000612854958f, -0.000427364925f, -0.000293150195f};
  const ${I} piece = @bits(t + ($V)(4.0f)) >> (${I})(19);
  const $V d = t - @pick(centre, piece);
  $V p = @pick(c5, piece);
  p = FMA(p, d, @pick(c4, piece));
  p = FMA(p, d, @pick(c3, piece));
  p = FMA(p, d, @pick(c2, piece));
  p = FMA(p, d, @pick(c1, piece));
  p = FMA(p, d, @pick(c0, piece));
#else
  typedef $E table __attribute__((ext_vector_type(8)));
  const table centre = {0.250082284f, 0.750159204f, 1.25009322f, 1.75037789f, 2.25092363f, 2.75033212f,
      3.25009608f, 3.75000525f};
  const table c0 = {1.10529065f, 0.948142707f, 0.738282681f, 0.563702047f, 0.443615168f, 0.363555938f,
      0.307681888f, 0.266666263f};
  const table c1 = {-0.181220904f, -0.40706715f, -0.401423395f, -0.291935146f, -0.193921492f, -0.131973416f,
      -0.0946595743f, -0.0711106658f};
  const table c2 = {-0.335325241f, -0.100136682f, 0.0846487507f, 0.114078887f, 0.0790392756f, 0.0473993234f,
      0.0290959906f, 0.01896194f};
  const table c3 = {0.104750857f, 0.169325545f, 0.0663029552f, -0.0137080112f, -0.0254940595f,
      -0.016231956f, -0.00889213383f, -0.00505438494f};
  const table c4 = {0.0890085399f, -0.0248870216f, -0.0579812564f, -0.0196478982f, 0.00286977715f,
      0.00471962336f, 0.002647941f, 0.00134405366f};
  const table c5 = {-0.0359301232f, -0.0378052667f, 0.00864350051f, 0.0150176603f, 0.00345386309f,
      -0.000715051021f, -0.00071828207f, -0.000353522511f};
  const table c6 = {-0.0180325545f, 0.014169137f, 0.0100723449f, -0.00331744831f, -0.00282368576f,
      -0.000362184044f, 0.000136682691f, 9.02519605e-05f};
  const table c7 = {0.0086881863f, 0.00500924047f, -0.00505350204f, -0.00149296527f, 0.00093605282f,
      0.000362824561f, 1.14182576e-05f, -1.95231241e-05f};
  const ${I} piece = @bits(t + ($V)(4.0f)) >> (${I})(20);
  const $V d = t - @pick(centre, piece);
  $V p = @pick(c7, piece);
  p = FMA(p, d, @pick(c6, piece));
  p = FMA(p, d, @pick(c5, piece));
  p = FMA(p, d, @pick(c4, piece));
  p = FMA(p, d, @pick(c3, piece));
  p = FMA(p, d, @pick(c2, piece));
  p = FMA(p, d, @pick(c1, piece));
  p = FMA(p, d, @pick(c0, piece));
#endif
  $V y = t * p;
  y = y > ($V)(1.0f) ? ($V)(1.0f) : y;
  return __builtin_elementwise_copysign(y, x);
#else
  return @erf(x);
#endif
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
       R"c(static inline $V $F($V x) {
  // As log of u = 1 + x, but f = (1 + x) / 2^e - 1 comes from x, so that nothing is lost beside the 1.
  const $V u = x + ($V)(1.0f);
  const ${I} e = (@bits(u) - (${I})(0x3f3504f3)) >> (${I})(23);
  // 2^-e times 4, which is a normal number for the largest e, too.
  const $V scale = @i32:pow2((${I})(2) - e), f = FMA(x * ($V)(0.25f), scale, FMA(scale, ($V)(0.25f), ($V)(-1.0f)));
  $V r = @log_near_1(f, CVT($V, e));
  r = u == ($V)(1.0f) ? x : r;
  r = x == ($V)(__builtin_inff()) ? x : r;
  r = u == ($V)(0.0f) ? ($V)(-__builtin_inff()) : r;
  return ((u < ($V)(0.0f)) | (x != x)) ? ($V)(__builtin_nanf("")) : r;
}
)c"},
      {"expm1.f32",
       R"c(static inline $V $F($V x) {
  // 2^n (e^r - 1) + (2^n - 1), halved so that the largest n has a power; what n = 0 gives is left as it is.
  const $V limited = x > ($V)(89.0f) ? ($V)(89.0f) : x;
  const $V low = limited < ($V)(-20.0f) ? ($V)(-20.0f) : limited;
  const $V z = FMA(low, ($V)(1.44269504f), ($V)(12582912.0f)), n = z - ($V)(12582912.0f);
  $V r = FMA(n, ($V)(-0.693359375f), low);
  r = FMA(n, ($V)(2.12194440e-4f), r);
  $V p = ($V)(1.9875691500e-4f);
  p = FMA(p, r, ($V)(1.3981999507e-3f));
  p = FMA(p, r, ($V)(8.3334519073e-3f));
  p = FMA(p, r, ($V)(4.1665795894e-2f));
  p = FMA(p, r, ($V)(1.6666665459e-1f));
  p = FMA(p, r, ($V)(5.0000001201e-1f));
  p = FMA(p, r * r, r);
  const $V half = @i32:pow2(@bits(z) - (${I})(0x4b400001)), y = FMA(half, p, half - ($V)(0.5f));
  return __builtin_elementwise_copysign(n == ($V)(0.0f) ? p : y + y, x);
}
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
      // pi / 2 - (t + q), |q| well below t, as if pi / 2 were exact.
      {"half_pi_less.f32",
       R"c(static inline $V $F($V t, $V q) {
#ifdef TERN_FMA
  return FMA(($V)(1.09205174f), ($V)(1.43839002f), -(t + q));
#else
  return ($V)(1.57079637f) - (t + (q + ($V)(4.37113883e-8f)));
#endif
}
)c"},
      // asin(t) - t, z = t^2 <= 1/4.
      {"asin_rest.f32",
       R"c(static inline $V $F($V t, $V z) {
  const $V even = FMA(z, ($V)(4.21584062e-2f), ($V)(2.41847392e-2f));
  const $V odd = FMA(z, ($V)(4.54691537e-2f), ($V)(7.49530941e-2f));
  return FMA(FMA(even, z * z, odd), z, ($V)(0.166667521f)) * (t * z);
}
)c"},
      {"asin.f32",
       R"c(static inline $V $F($V x) {
  // Beyond 1/2: pi / 2 - 2 asin(sqrt((1 - |x|) / 2)).
  const $V a = __builtin_elementwise_abs(x);
  const ${I} far = a > ($V)(0.5f);
  const $V z = far ? FMA(a, ($V)(-0.5f), ($V)(0.5f)) : a * a, t = far ? __builtin_elementwise_sqrt(z) : a;
  const $V q = @asin_rest(t, z);
  return __builtin_elementwise_copysign(far ? @half_pi_less(t + t, q + q) : t + q, x);
}
)c"},
      {"acos.f32",
       R"c(static inline $V $F($V x) {
  const $V a = __builtin_elementwise_abs(x);
  const ${I} far = a > ($V)(0.5f);
  const $V z = far ? FMA(a, ($V)(-0.5f), ($V)(0.5f)) : a * a;
  const $V t = __builtin_elementwise_copysign(far ? __builtin_elementwise_sqrt(z) : a, x), y = t + @asin_rest(t, z);
  const $V end = x < ($V)(0.0f) ? ($V)(3.14159265f) : ($V)(0.0f);
  return FMA(y, far ? ($V)(2.0f) : ($V)(-1.0f), far ? end : ($V)(1.57079633f));
}
)c"},
      {"atan.f32",
       R"c(static inline $V $F($V x) {
  // |x| or its reciprocal (pi / 2 less that); from 1/2 on pi / 4 less what the sum of angles leaves.
  const $V a = __builtin_elementwise_abs(x), one = ($V)(1.0f), low = one < a ? one : a, high = one > a ? one : a;
  const ${I} far = a > one, mid = low > high * ($V)(0.5f);
  const $V u = (mid ? low - high : low) / (mid ? low + high : high), t = far ? -u : u, s = t * t;
  // Times 1.09205174: pi / 4 or pi / 2, as if they were exact.
  const $V from = mid ? ($V)(0.719195008f) : far ? ($V)(1.43839002f) : ($V)(0.0f);
  $V p = FMA(s, ($V)(-5.12505136e-2f), ($V)(0.101557992f));
  p = FMA(p, s, ($V)(-0.14174211f));
  p = FMA(p, s, ($V)(0.19994168f));
  p = FMA(p, s, ($V)(-0.33333233f));
#ifdef TERN_FMA
  const $V y = FMA(($V)(1.09205174f), from, FMA(p, t * s, t));
#else
  const $V y = from * ($V)(1.09205174f) + (t + FMA(p, t * s, from * ($V)(-3.03890942e-8f)));
#endif
  return __builtin_elementwise_copysign(y, x);
}
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
  // Zeros, infinities and NaN come out of e^(y log |x|), but for an exponent of 0 and a base of 1.
  const $V half = ($V)(0.5f) * y, inf = ($V)(__builtin_inff());
  $V r = CVT($V, @f64:exp(CVT($T{f64}, y) * @f64:log(CVT($T{f64}, __builtin_elementwise_abs(x)))));
  const ${I} whole = __builtin_elementwise_trunc(y) == y, odd = whole & (__builtin_elementwise_trunc(half) != half);
  r = ((__builtin_elementwise_copysign(($V)(1.0f), x) < ($V)(0.0f)) & odd) ? -r : r;
  r = ((x < ($V)(0.0f)) & (x > -inf) & (whole == (${I})(0))) ? ($V)(__builtin_nanf("")) : r;
  const ${I} one = (x == ($V)(-1.0f)) & (__builtin_elementwise_abs(y) == inf);
  return ((y == ($V)(0.0f)) | (x == ($V)(1.0f)) | one) ? ($V)(1.0f) : r;
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
