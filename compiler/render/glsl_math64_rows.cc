// Functions on double, the formulas of math64_helpers.cc for one lane: GLSL has none. Their error is in
// docs/vector-math.md.
#include "compiler/render/glsl_rows.h"

namespace tern::render {

std::span<const GlslRow> glsl_math64_rows() {
  static constexpr GlslRow kRows[] = {
      {"nan_double", "", "double", "", R"(return packDouble2x32(uvec2(0u, 0x7ff80000u));)"},
      {"infinity_double", "", "double", "", R"(return packDouble2x32(uvec2(0u, 0x7ff00000u));)"},
      {"pow2_double", "", "double", "int n", R"(return packDouble2x32(uvec2(0u, uint(n + 1023) << 20));)"},
      {"with_sign_double", "", "double", "double x, double sign",
       R"(uvec2 u = unpackDouble2x32(x);
  return packDouble2x32(uvec2(u.x, (u.y & 0x7fffffffu) | (unpackDouble2x32(sign).y & 0x80000000u)));)"},
      {"exp_double", "", "double", "double x",
       R"(if (is_nan_double(x)) return x;
  x = clamp(x, -746.0lf, 710.0lf);
  double n = roundEven(x * 1.4426950408889634lf);
  double r = fma(n, -1.90821492927058770002e-10lf, fma(n, -6.93147180369123816490e-01lf, x));
  double p = 1.6059043836821613e-10lf;
  p = fma(p, r, 2.08767569878681e-09lf);
  p = fma(p, r, 2.505210838544172e-08lf);
  p = fma(p, r, 2.755731922398589e-07lf);
  p = fma(p, r, 2.7557319223985893e-06lf);
  p = fma(p, r, 2.48015873015873e-05lf);
  p = fma(p, r, 0.0001984126984126984lf);
  p = fma(p, r, 0.001388888888888889lf);
  p = fma(p, r, 0.008333333333333333lf);
  p = fma(p, r, 0.041666666666666664lf);
  p = fma(p, r, 0.16666666666666666lf);
  p = fma(p, r, 0.5lf);
  int i = int(n), h = i >> 1;
  return (fma(p, r * r, r) + 1.0lf) * pow2_double(h) * pow2_double(i - h);)"},
      {"split_double", "", "double", "double x, out double k",
       R"(// x = 2^k (1 + f) with f in [sqrt(1/2) - 1, sqrt(2) - 1]; x is positive and finite.
  bool tiny = x < 2.2250738585072014e-308lf;
  uvec2 u = unpackDouble2x32(tiny ? x * 18014398509481984.0lf : x);
  int i = int(u.y) - 0x3fe6a09e;
  k = double((i >> 20) - (tiny ? 54 : 0));
  return packDouble2x32(uvec2(u.x, uint((i & 0xfffff) + 0x3fe6a09e))) - 1.0lf;)"},
      {"log_double", "", "double", "double x",
       R"(if (is_nan_double(x) || x < 0.0lf) return nan_double();
  if (x == 0.0lf) return -infinity_double();
  if (is_inf_double(x)) return x;
  double k, f = split_double(x, k);
  double s = f / (2.0lf + f), z = s * s, h = 0.5lf * f * f;
  double p = 1.479819860511658591e-01lf;
  p = fma(p, z, 1.531383769920937332e-01lf);
  p = fma(p, z, 1.818357216161805012e-01lf);
  p = fma(p, z, 2.222219843214978396e-01lf);
  p = fma(p, z, 2.857142874366239149e-01lf);
  p = fma(p, z, 3.999999999940941908e-01lf);
  p = fma(p, z, 6.666666666666735130e-01lf);
  double tail = s * fma(p, z, h) + k * 1.90821492927058770002e-10lf;
  return k * 6.93147180369123816490e-01lf - ((h - tail) - f);)"},
      {"log1p_double", "", "double", "double x",
       R"(if (x == -1.0lf) return -infinity_double();
  if (is_inf_double(x) && x > 0.0lf) return x;
  precise double u = 1.0lf + x, lost = u > 2.0lf ? 1.0lf - (u - x) : x - (u - 1.0lf);
  return u == 1.0lf ? x : log_double(u) + lost / u;)"},
      {"expm1_double", "", "double", "double x",
       R"(if (!(abs(x) <= 0.5lf)) return exp_double(x) - 1.0lf;
  double p = 2.8114572543455206e-15lf;
  p = fma(p, x, 4.779477332387385e-14lf);
  p = fma(p, x, 7.647163731819816e-13lf);
  p = fma(p, x, 1.1470745597729725e-11lf);
  p = fma(p, x, 1.6059043836821613e-10lf);
  p = fma(p, x, 2.08767569878681e-09lf);
  p = fma(p, x, 2.505210838544172e-08lf);
  p = fma(p, x, 2.755731922398589e-07lf);
  p = fma(p, x, 2.7557319223985893e-06lf);
  p = fma(p, x, 2.48015873015873e-05lf);
  p = fma(p, x, 0.0001984126984126984lf);
  p = fma(p, x, 0.001388888888888889lf);
  p = fma(p, x, 0.008333333333333333lf);
  p = fma(p, x, 0.041666666666666664lf);
  p = fma(p, x, 0.16666666666666666lf);
  p = fma(p, x, 0.5lf);
  return x == 0.0lf ? x : fma(p, x * x, x);)"},
      {"sinh_double", "", "double", "double x",
       R"(double a = abs(x);
  if (a <= 1.0lf) {
    double z = x * x;
    double p = 8.22063524662433e-18lf;
    p = fma(p, z, 2.8114572543455206e-15lf);
    p = fma(p, z, 7.647163731819816e-13lf);
    p = fma(p, z, 1.6059043836821613e-10lf);
    p = fma(p, z, 2.505210838544172e-08lf);
    p = fma(p, z, 2.7557319223985893e-06lf);
    p = fma(p, z, 0.0001984126984126984lf);
    p = fma(p, z, 0.008333333333333333lf);
    p = fma(p, z, 0.16666666666666666lf);
    return fma(p * z, x, x);
  }
  // Beyond e^709 in two halves, which overflow only where the result does.
  double h = exp_double(0.5lf * a), e = exp_double(a);
  return with_sign_double(a > 700.0lf ? 0.5lf * h * h : 0.5lf * e - 0.5lf / e, x);)"},
      {"cosh_double", "", "double", "double x",
       R"(double a = abs(x), h = exp_double(0.5lf * a), e = exp_double(a);
  return a > 700.0lf ? 0.5lf * h * h : 0.5lf * e + 0.5lf / e;)"},
      {"tanh_double", "", "double", "double x",
       R"(if (is_nan_double(x)) return x;
  double t = expm1_double(2.0lf * min(abs(x), 22.0lf));
  return with_sign_double(t / (t + 2.0lf), x);)"},
      {"asinh_double", "", "double", "double x",
       R"(double a = abs(x), s = a * a;
  if (is_nan_double(x)) return x;
  if (a > 268435456.0lf) return with_sign_double(log_double(a) + 0.693147180559945309lf, x);
  return with_sign_double(log1p_double(a + s / (1.0lf + sqrt(s + 1.0lf))), x);)"},
      {"acosh_double", "", "double", "double x",
       R"(if (!(x >= 1.0lf)) return nan_double();
  if (x > 268435456.0lf) return log_double(x) + 0.693147180559945309lf;
  double t = x - 1.0lf;
  return log1p_double(t + sqrt(fma(t, t, t + t)));)"},
      {"atanh_double", "", "double", "double x",
       R"(double a = abs(x);
  if (!(a <= 1.0lf)) return nan_double();
  if (a == 1.0lf) return with_sign_double(infinity_double(), x);
  return a < 3.7252902984619140625e-9lf ? x : with_sign_double(0.5lf * log1p_double((a + a) / (1.0lf - a)), x);)"},
      {"atan_positive_double", "", "double", "double a",
       R"(// About the nearest of 0, 1/2, 1, 3/2, infinity: atan(a) = hi + lo + atan((a - c) / (1 + a c)).
  double n = a, d = 1.0lf, hi = 0.0lf, lo = 0.0lf;
  if (a >= 2.4375lf) {
    n = -1.0lf, d = a, hi = 1.57079632679489655800e+00lf, lo = 6.12323399573676603587e-17lf;
  } else if (a >= 1.1875lf) {
    n = a - 1.5lf, d = 1.0lf + 1.5lf * a, hi = 9.82793723247329054082e-01lf, lo = 1.39033110312309984516e-17lf;
  } else if (a >= 0.6875lf) {
    n = a - 1.0lf, d = a + 1.0lf, hi = 7.85398163397448278999e-01lf, lo = 3.06161699786838301793e-17lf;
  } else if (a >= 0.4375lf) {
    n = a + a - 1.0lf, d = a + 2.0lf, hi = 4.63647609000806093515e-01lf, lo = 2.26987774529616870924e-17lf;
  }
  double t = n / d, z = t * t, w = z * z;
  double even = 1.62858201153657823623e-02lf;
  even = fma(even, w, 4.97687799461593236017e-02lf);
  even = fma(even, w, 6.66107313738753120669e-02lf);
  even = fma(even, w, 9.09088713343650656196e-02lf);
  even = fma(even, w, 1.42857142725034663711e-01lf);
  even = fma(even, w, 3.33333333333329318027e-01lf);
  double odd = -3.65315727442169155270e-02lf;
  odd = fma(odd, w, -5.83357013379057348645e-02lf);
  odd = fma(odd, w, -7.69187620504482999495e-02lf);
  odd = fma(odd, w, -1.11111104054623557880e-01lf);
  odd = fma(odd, w, -1.99999999998764832476e-01lf);
  return hi - ((t * fma(even, z, odd * w) - lo) - t);)"},
      {"atan_double", "", "double", "double x",
       R"(return is_nan_double(x) ? x : with_sign_double(atan_positive_double(abs(x)), x);)"},
      {"asin_double", "", "double", "double x",
       R"(if (abs(x) < 3.7252902984619140625e-9lf) return x;
  return abs(x) <= 1.0lf ? atan_double(x / sqrt((1.0lf - x) * (1.0lf + x))) : nan_double();)"},
      {"acos_double", "", "double", "double x",
       R"(if (!(abs(x) <= 1.0lf)) return nan_double();
  return 2.0lf * atan_double(sqrt((1.0lf - x) / (1.0lf + x)));)"},
      {"atan2_double", "", "double", "double y, double x",
       R"(if (is_nan_double(x) || is_nan_double(y)) return nan_double();
  double a = abs(y), b = abs(x), low = min(a, b), high = max(a, b);
  double t = high == 0.0lf ? 0.0lf : is_inf_double(low) ? 1.0lf : low / high, r = atan_positive_double(t);
  if (a > b) r = 1.57079632679489655800e+00lf - (r - 6.12323399573676603587e-17lf);
  if ((unpackDouble2x32(x).y >> 31) != 0u)
    r = 3.14159265358979311600e+00lf - (r - 1.22464679914735317720e-16lf);
  return with_sign_double(r, y);)"},
      {"reduce_large_double", "", "double", "double x, out int n",
       R"(// Payne and Hanek: 53 bits times 192 bits of 2/pi, of which the multiples of 4 do not matter.
  const uint two_over_pi[40] = uint[40](
      0x00000000u, 0x00000000u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u,
      0x3c439041u, 0xfe5163abu, 0xdebbc561u, 0xb7246e3au, 0x424dd2e0u, 0x06492eeau, 0x09d1921cu,
      0xfe1deb1cu, 0xb129a73eu, 0xe88235f5u, 0x2ebb4484u, 0xe99c7026u, 0xb45f7e41u, 0x3991d639u,
      0x835339f4u, 0x9c845f8bu, 0xbdf9283bu, 0x1ff897ffu, 0xde05980fu, 0xef2f118bu, 0x5a0a6d1fu,
      0x6d367ecfu, 0x27cb09b7u, 0x4f463f66u, 0x9e5fea2du, 0x7527bac7u, 0xebe5f17bu, 0x3d0739f7u,
      0x8a5292eau, 0x6bfb5fb1u, 0x1f8d5d08u, 0x56033046u, 0xfc7b6babu);
  uvec2 u = unpackDouble2x32(x);
  uint high = (u.y & 0xfffffu) | 0x100000u;
  int skip = int((u.y >> 20) & 2047u) - 1075 + 62, word = skip >> 5, shift = skip & 31;
  uint w[6], p[6], carry = 0u, c;
  for (int k = 0; k < 6; ++k)
    w[k] = two_over_pi[word + k] << shift | (shift == 0 ? 0u : two_over_pi[word + k + 1] >> (32 - shift));
  for (int k = 5; k >= 0; --k) {
    uint h, l;
    umulExtended(w[k], u.x, h, l);
    p[k] = uaddCarry(l, carry, c);
    carry = h + c;
  }
  carry = 0u;
  for (int k = 5; k > 0; --k) {
    uint h, l;
    umulExtended(w[k], high, h, l);
    l = uaddCarry(l, carry, c);
    carry = h + c;
    p[k - 1] = uaddCarry(p[k - 1], l, c);
    carry += c;
  }
  n = int(p[0] >> 30);
  bool below = (p[0] & 0x20000000u) != 0u;  // nearer to the next multiple
  double r = 0.0lf, unit = 2.3283064365386963e-10lf;
  for (int k = 0; k < 5; ++k) {
    uint digit = p[k] << 2 | p[k + 1] >> 30;
    r += double(below ? ~digit : digit) * unit;
    unit *= 2.3283064365386963e-10lf;
  }
  if (below) ++n, r = -r;
  r *= 1.57079632679489655800lf;
  if ((u.y >> 31) == 0u) return r;
  n = -n;
  return -r;)"},
      {"quadrant_double", "", "double", "double x, out int n",
       R"(// r and n with x = n pi/2 + r, |r| <= pi/4; n modulo 4 matters.
  n = 0;
  if (is_nan_double(x) || is_inf_double(x)) return nan_double();
  if (abs(x) > 1000000.0lf) return reduce_large_double(x, n);
  double k = roundEven(x * 6.36619772367581382433e-01lf);
  n = int(k);
  precise double r = fma(k, -1.57079632673412561417e+00lf, x), w = k * 6.07710050630396597660e-11lf;
  precise double y = r - w, lost = (r - y) - w;
  return y + fma(k, -2.02226624871116645580e-21lf, lost);)"},
      {"sin_core_double", "", "double", "double r",
       R"(double z = r * r;
  double p = 1.58969099521155010221e-10lf;
  p = fma(p, z, -2.50507602534068634195e-08lf);
  p = fma(p, z, 2.75573137070700676789e-06lf);
  p = fma(p, z, -1.98412698298579493134e-04lf);
  p = fma(p, z, 8.33333333332248946124e-03lf);
  p = fma(p, z, -1.66666666666666324348e-01lf);
  return fma(p * z, r, r);)"},
      {"cos_core_double", "", "double", "double r",
       R"(precise double z = r * r, h = 0.5lf * z, w = 1.0lf - h, lost = (1.0lf - w) - h;
  double p = -1.13596475577881948265e-11lf;
  p = fma(p, z, 2.08757232129817482790e-09lf);
  p = fma(p, z, -2.75573143513906633035e-07lf);
  p = fma(p, z, 2.48015872894767294178e-05lf);
  p = fma(p, z, -1.38888888888741095749e-03lf);
  p = fma(p, z, 4.16666666666666019037e-02lf);
  return w + (lost + z * z * p);)"},
      {"sin_double", "", "double", "double x",
       R"(int n;
  double r = quadrant_double(x, n), y = (n & 1) != 0 ? cos_core_double(r) : sin_core_double(r);
  return x == 0.0lf ? x : (n & 2) != 0 ? -y : y;)"},
      {"cos_double", "", "double", "double x",
       R"(int n;
  double r = quadrant_double(x, n), y = (n & 1) != 0 ? sin_core_double(r) : cos_core_double(r);
  return ((n + 1) & 2) != 0 ? -y : y;)"},
      {"tan_double", "", "double", "double x",
       R"(int n;
  double r = quadrant_double(x, n), s = sin_core_double(r), c = cos_core_double(r);
  return x == 0.0lf ? x : (n & 1) != 0 ? -c / s : s / c;)"},
      {"two_product_double", "", "double", "double a, double b, out double low",
       R"(// a b = result + low, exactly.
  precise double p = a * b, ca = a * 134217729.0lf, ah = ca - (ca - a), al = a - ah;
  precise double cb = b * 134217729.0lf, bh = cb - (cb - b), bl = b - bh;
  precise double rest = ((ah * bh - p) + ah * bl + al * bh) + al * bl;
  low = rest;
  return p;)"},
      {"pow_magnitude_double", "", "double", "double a, double y",
       R"(// a^y for finite a > 0: the logarithm in two parts, k ln 2 + 2 s + s^3 p with s = f / (2 + f).
  double k, f = split_double(a, k), t_low, q_low;
  precise double d = 2.0lf + f, d_low = f - (d - 2.0lf), s = f / d;
  double t = two_product_double(s, d, t_low);
  precise double s_low = (((f - t) - t_low) - s * d_low) / d;
  double z = s * s;
  double p = 0.09523809523809523lf;
  p = fma(p, z, 0.10526315789473684lf);
  p = fma(p, z, 0.11764705882352941lf);
  p = fma(p, z, 0.13333333333333333lf);
  p = fma(p, z, 0.15384615384615385lf);
  p = fma(p, z, 0.18181818181818182lf);
  p = fma(p, z, 0.2222222222222222lf);
  p = fma(p, z, 0.2857142857142857lf);
  p = fma(p, z, 0.4lf);
  p = fma(p, z, 0.6666666666666666lf);
  precise double base = k * 6.93147180369123816490e-01lf, twice = s + s, hi = base + twice, b = hi - base;
  precise double lo = (base - (hi - b)) + (twice - b);
  lo += (s_low + s_low) + s * z * p + k * 1.90821492927058770002e-10lf;
  precise double h = hi + lo, rest = lo - (h - hi);
  double q = two_product_double(h, y, q_low);
  if (abs(q) > 800.0lf || is_nan_double(q_low)) return exp_double(h * y);
  q_low += rest * y;
  double r = exp_double(q);
  return is_inf_double(r) ? r : fma(r, q_low, r);)"},
      {"pow_double", "", "double", "double x, double y",
       R"(if (y == 0.0lf || x == 1.0lf) return 1.0lf;
  if (is_nan_double(x) || is_nan_double(y)) return nan_double();
  double a = abs(x);
  if (a == 1.0lf && is_inf_double(y)) return 1.0lf;
  bool whole = trunc(y) == y, odd = whole && trunc(0.5lf * y) != 0.5lf * y;
  if (x < 0.0lf && !whole && !is_inf_double(x)) return nan_double();
  double r;
  if (a == 0.0lf || is_inf_double(a)) {
    r = (a == 0.0lf) == (y > 0.0lf) ? 0.0lf : infinity_double();
  } else if (is_inf_double(y)) {
    r = (a > 1.0lf) == (y > 0.0lf) ? infinity_double() : 0.0lf;
  } else {
    r = pow_magnitude_double(a, y);
  }
  return odd && (unpackDouble2x32(x).y >> 31) != 0u ? -r : r;)"},
      {"erf_double", "", "double", "double x",
       R"(if (is_nan_double(x)) return x;
  double a = abs(x);
  if (a < 1.25lf) {  // 2/sqrt(pi) x e^(-x^2) (1 + 2x^2/3 (1 + 2x^2/5 (...)))
    double low, z = two_product_double(a, a, low), sum = 1.0lf, e = exp_double(-z);
    for (int k = 30; k > 0; --k) sum = fma(sum, 2.0lf * z / (2.0lf * double(k) + 1.0lf), 1.0lf);
    return with_sign_double(1.12837916709551257390lf * a * sum * (e - e * low), x);
  }
  // 1 - e^(-x^2) / sqrt(pi) / (x + (1/2)/(x + 1/(x + (3/2)/(x + ...))))
  double b = min(a, 6.0lf), f = b;
  for (int k = 120; k > 0; --k) f = b + 0.5lf * double(k) / f;
  return with_sign_double(1.0lf - exp_double(-(b * b)) * 0.564189583547756287lf / f, x);)"},
  };
  return kRows;
}

}  // namespace tern::render
