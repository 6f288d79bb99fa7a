// Functions on float, with float arithmetic alone: GLSL's own are too coarse (sin may be off by 2^-11) or
// missing. exp, log, tanh and erf are those of math32_helpers.cc.
#include "compiler/render/glsl_rows.h"

namespace tern::render {

std::span<const GlslRow> glsl_math_rows() {
  static constexpr GlslRow kRows[] = {
      {"exp_float", "", "float", "float x",
       "if (is_nan_float(x)) return x;\n  x = clamp(x, -104.0, 89.0);\n"
       "  float n = roundEven(x * 1.44269504), r = fma(n, 2.12194440e-4, fma(n, -0.693359375, x));\n"
       "  float p = 1.9875691500e-4;\n  p = fma(p, r, 1.3981999507e-3);\n  p = fma(p, r, 8.3334519073e-3);\n"
       "  p = fma(p, r, 4.1665795894e-2);\n  p = fma(p, r, 1.6666665459e-1);\n  p = fma(p, r, "
       "5.0000001201e-1);\n"
       "  float y = fma(p, r * r, r) + 1.0;\n  int i = int(n), h = i >> 1;\n  return y * pow2(h) * pow2(i - "
       "h);"},
      // GLSL's exp2 is good to 3 + 2 |x| units in the last place: four of them on what a whole number leaves.
      // The number is in the lowest bits of m: conversions have a quarter of the additions' rate.
      {"exp2_approx_float", "", "float", "float x",
       "precise float m = min(x, 128.0) + 12582912.0, r = x - (m - 12582912.0);\n"
       "  float y = exp2(r) * intBitsToFloat((floatBitsToInt(m) + 127) << 23);\n"
       "  return x < -126.0 ? 0.0 : y;"},
      {"log_float", "", "float", "float x",
       "if (is_nan_float(x) || x < 0.0) return uintBitsToFloat(0x7fc00000u);\n"
       "  if (x == 0.0) return uintBitsToFloat(0xff800000u);\n  if (is_inf_float(x)) return x;\n"
       "  bool tiny = x < 1.17549435e-38;\n  int i = floatBitsToInt(tiny ? x * 8388608.0 : x) - 0x3f3504f3;\n"
       "  float f = intBitsToFloat((i & 0x7fffff) + 0x3f3504f3) - 1.0, z = f * f;\n"
       "  float k = float(i >> 23) - (tiny ? 23.0 : 0.0), p = 7.0376836292e-2;\n"
       "  p = fma(p, f, -1.1514610310e-1);\n  p = fma(p, f, 1.1676998740e-1);\n  p = fma(p, f, "
       "-1.2420140846e-1);\n"
       "  p = fma(p, f, 1.4249322787e-1);\n  p = fma(p, f, -1.6668057665e-1);\n  p = fma(p, f, "
       "2.0000714765e-1);\n"
       "  p = fma(p, f, -2.4999993993e-1);\n  p = fma(p, f, 3.3333331174e-1);\n"
       "  float y = fma(z, -0.5, fma(k, -2.12194440e-4, f * z * p));\n  return fma(k, 0.693359375, f + y);"},
      {"with_sign", "", "float", "float x, float sign",
       "return uintBitsToFloat((floatBitsToUint(x) & 0x7fffffffu) | (floatBitsToUint(sign) & 0x80000000u));"},
      {"tanh_float", "", "float", "float x",
       "float a = abs(x), z = x * x, p = -5.70498872745e-3;\n  p = fma(p, z, 2.06390887954e-2);\n"
       "  p = fma(p, z, -5.37397155531e-2);\n  p = fma(p, z, 1.33314422036e-1);\n  p = fma(p, z, "
       "-3.33332819422e-1);\n"
       "  if (a < 0.625) return fma(p * z, x, x);\n  return with_sign(1.0 - 2.0 / (exp_float(a + a) + 1.0), "
       "x);"},
      // Both parts without a branch; above 4 the result is 1. A fifth of a power of two leaves a unit of its
      // four.
      {"erf_float", "", "float", "float x",
       "float t = abs(x), s = x * x, p = -5.96761703e-4;\n  p = fma(p, s, 4.99119423e-3);\n"
       "  p = fma(p, s, -2.67681349e-2);\n  p = fma(p, s, 1.12819925e-1);\n  p = fma(p, s, "
       "-3.76125336e-1);\n  p = fma(p, s, 1.28379166e-1);\n"
       "  float u = min(t, 4.0), r = fma(-1.72853470e-5, u, 3.83197126e-4);\n"
       "  r = fma(r, u * u, fma(-3.88396438e-3, u, 2.42546219e-2));\n"
       "  r = fma(r, u, -1.06777877e-1);\n  r = fma(r, u, -6.34846687e-1);\n"
       "  r = fma(r, u, -1.28717512e-1);\n  r = fma(r, u, -u);\n"
       "  float y = with_sign(1.0 - exp2_approx_float(r * 1.44269504), x);\n"
       "  return t > 0.927734375 ? y : fma(p, x, x);"},
      {"log1p_float", "", "float", "float x",
       "precise float u = 1.0 + x, d = u - 1.0;\n  if (is_inf_float(x) && x > 0.0) return x;\n"
       "  return d == 0.0 ? x : d == -1.0 ? log_float(u) : log_float(u) * (x / d);"},
      {"expm1_float", "", "float", "float x",
       "precise float u = exp_float(x), d = u - 1.0;\n  if (u == 1.0) return x;\n"
       "  return d == -1.0 || is_inf_float(u) ? d : d * x / log_float(u);"},
      // r in [-pi/4, pi/4] and the quadrant. Three parts of pi/2; good to some 10^5.
      {"quadrant", "", "float", "float x, out int n",
       "float k = roundEven(x * 0.636619772);\n  n = int(k);\n"
       "  precise float r = fma(k, -1.0804273188114166e-05, fma(k, -1.5707855224609375, x));\n"
       "  return fma(k, -6.07710062827671e-11, r);"},
      {"sin_part", "", "float", "float r",
       "float z = r * r, p = fma(2.724694599e-06, z, -1.984006376e-04);\n  p = fma(p, z, 8.333331832e-03);\n"
       "  p = fma(p, z, -1.666666666e-01);\n  return fma(p * z, r, r);"},
      {"cos_part", "", "float", "float r",
       "float z = r * r, p = fma(-2.729846294e-07, z, 2.480058112e-05);\n  p = fma(p, z, -1.388888764e-03);\n"
       "  p = fma(p, z, 4.166666666e-02);\n  return fma(p * z, z, fma(z, -0.5, 1.0));"},
      {"sin_float", "", "float", "float x",
       "int n;\n  float r = quadrant(x, n), y = (n & 1) != 0 ? cos_part(r) : sin_part(r);\n"
       "  return is_inf_float(x) || is_nan_float(x) ? uintBitsToFloat(0x7fc00000u) : (n & 2) != 0 ? -y : y;"},
      {"cos_float", "", "float", "float x",
       "int n;\n  float r = quadrant(x, n), y = (n & 1) != 0 ? sin_part(r) : cos_part(r);\n"
       "  return is_inf_float(x) || is_nan_float(x) ? uintBitsToFloat(0x7fc00000u) : ((n + 1) & 2) != 0 ? -y "
       ": y;"},
      {"tan_float", "", "float", "float x", "return sin_float(x) / cos_float(x);"},
      {"asin_part", "", "float", "float x",
       "float z = x * x, p = fma(3.8337525e-02, z, 2.6429295e-02);\n  p = fma(p, z, 4.5020766e-02);\n"
       "  p = fma(p, z, 7.4987593e-02);\n  p = fma(p, z, 1.66666732e-01);\n  return fma(p * z, x, x);"},
      {"asin_float", "", "float", "float x",
       "float a = abs(x);\n  if (a <= 0.5) return asin_part(x);\n"
       "  if (!(a <= 1.0)) return uintBitsToFloat(0x7fc00000u);\n"
       "  return with_sign(1.57079633 - 2.0 * asin_part(sqrt(0.5 * (1.0 - a))), x);"},
      {"acos_float", "", "float", "float x",
       "float a = abs(x);\n  if (a <= 0.5) return 1.57079633 - asin_part(x);\n"
       "  if (!(a <= 1.0)) return uintBitsToFloat(0x7fc00000u);\n"
       "  float y = 2.0 * asin_part(sqrt(0.5 * (1.0 - a)));\n  return x < 0.0 ? 3.14159265 - y : y;"},
      {"atan_float", "", "float", "float x",
       "if (is_nan_float(x)) return x;\n  float a = abs(x), base = 0.0, t = a;\n"
       "  if (a > 2.41421356) {\n    base = 1.57079633;\n    t = -1.0 / a;\n  } else if (a > 0.414213562) {\n"
       "    base = 0.785398163;\n    t = (a - 1.0) / (a + 1.0);\n  }\n"
       "  float z = t * t, p = fma(-6.4461723e-02, z, 1.07426537e-01);\n  p = fma(p, z, -1.42639377e-01);\n"
       "  p = fma(p, z, 1.99995433e-01);\n  p = fma(p, z, -3.33333318e-01);\n"
       "  return with_sign(base + fma(p * z, t, t), x);"},
      {"atan2_float", "", "float", "float y, float x",
       "if (is_nan_float(x) || is_nan_float(y)) return uintBitsToFloat(0x7fc00000u);\n"
       "  float ax = abs(x), ay = abs(y);\n  bool left = (floatBitsToUint(x) >> 31) != 0u;\n"
       "  float a = ax == ay ? (ax == 0.0 ? 0.0 : 0.785398163) : ax > ay ? atan_float(ay / ax) :\n"
       "            1.57079633 - atan_float(ax / ay);\n  return with_sign(left ? 3.14159265 - a : a, y);"},
      {"sinh_float", "", "float", "float x",
       "float a = abs(x), h = exp_float(0.5 * a), t = expm1_float(a);\n"
       "  return with_sign(a < 1.0 ? 0.5 * (t + t / (t + 1.0)) : 0.5 * h * h - 0.5 / h / h, x);"},
      {"cosh_float", "", "float", "float x",
       "float h = exp_float(0.5 * abs(x));\n  return 0.5 * h * h + 0.5 / h / h;"},
      {"asinh_float", "", "float", "float x",
       "float a = abs(x);\n  if (a > 1e9) return with_sign(log_float(a) + 0.693147181, x);\n"
       "  return with_sign(log1p_float(a + a * a / (1.0 + sqrt(a * a + 1.0))), x);"},
      {"acosh_float", "", "float", "float x",
       "float t = x - 1.0;\n  if (!(t >= 0.0)) return uintBitsToFloat(0x7fc00000u);\n"
       "  return x > 1e9 ? log_float(x) + 0.693147181 : log1p_float(t + sqrt(t + t + t * t));"},
      {"atanh_float", "", "float", "float x",
       "float a = abs(x);\n  return with_sign(0.5 * log1p_float((a + a) / (1.0 - a)), x) + (a > 1.0 ? "
       "uintBitsToFloat(0x7fc00000u) : 0.0);"},
      {"pow_float", "", "float", "float x, float y",
       "if (y == 0.0 || x == 1.0) return 1.0;\n"
       "  if (is_nan_float(x) || is_nan_float(y)) return uintBitsToFloat(0x7fc00000u);\n"
       "  float a = abs(x), w = abs(y);\n  if (a == 1.0 && is_inf_float(y)) return 1.0;\n"
       "  bool whole = w >= 8388608.0 || floor(w) == w, odd = w < 16777216.0 && whole && (int(w) & 1) != 0;\n"
       "  float r = a == 0.0 ? (y > 0.0 ? 0.0 : uintBitsToFloat(0x7f800000u)) : exp_float(y * "
       "log_float(a));\n"
       "  if (x < 0.0 && !whole && !is_inf_float(x)) return uintBitsToFloat(0x7fc00000u);\n"
       "  return odd && (floatBitsToUint(x) >> 31) != 0u ? -r : r;"},
  };
  return kRows;
}

}  // namespace tern::render
