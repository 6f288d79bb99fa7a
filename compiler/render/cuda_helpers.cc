// What CUDA has its own form of: conversions in hardware, and functions of its math library whose documented
// bound is no wider than ours (docs/vector-math.md: 2 ulp for f32).
#include "compiler/render/helper_table.h"

namespace tern::render {

std::span<const HelperRow> cuda_rows() {
  static constexpr HelperRow kRows[] = {
      {"decode_f16_cuda",
       "static inline f32 $F(u16 x) { f32 r; asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(r) : \"h\"(x)); return r; "
       "}\n"},
      {"encode_f16_cuda",
       "static inline u16 $F(f32 x) { u16 r; asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(r) : \"f\"(x)); return "
       "r; "
       "}\n"},
      {"encode_bf16_cuda",
       "static inline u16 $F(f32 x) { u16 r; asm(\"cvt.rn.bf16.f32 %0, %1;\" : \"=h\"(r) : \"f\"(x)); return "
       "r; "
       "}\n"},
      // Of two zeros of different sign these choose by the sign.
      {"max_cuda.f32",
       "static inline f32 $F(f32 a, f32 b) { f32 r; asm(\"max.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), "
       "\"f\"(b)); return r; }\n"},
      {"min_cuda.f32",
       "static inline f32 $F(f32 a, f32 b) { f32 r; asm(\"min.NaN.f32 %0, %1, %2;\" : \"=f\"(r) : \"f\"(a), "
       "\"f\"(b)); return r; }\n"},
      {"exp_cuda.f32", "static inline f32 $F(f32 x) { return expf(x); }\n"},
      {"log_cuda.f32", "static inline f32 $F(f32 x) { return logf(x); }\n"},
      {"log1p_cuda.f32", "static inline f32 $F(f32 x) { return log1pf(x); }\n"},
      {"expm1_cuda.f32", "static inline f32 $F(f32 x) { return expm1f(x); }\n"},
      {"tanh_cuda.f32", "static inline f32 $F(f32 x) { return tanhf(x); }\n"},
      {"erf_cuda.f32", "static inline f32 $F(f32 x) { return erff(x); }\n"},
      {"sin_cuda.f32", "static inline f32 $F(f32 x) { return sinf(x); }\n"},
      {"cos_cuda.f32", "static inline f32 $F(f32 x) { return cosf(x); }\n"},
      {"asin_cuda.f32", "static inline f32 $F(f32 x) { return asinf(x); }\n"},
      {"acos_cuda.f32", "static inline f32 $F(f32 x) { return acosf(x); }\n"},
      {"atan_cuda.f32", "static inline f32 $F(f32 x) { return atanf(x); }\n"},
      {"rem_cuda.f32", "static inline f32 $F(f32 x, f32 y) { return fmodf(x, y); }\n"},
      {"rem_cuda.f64", "static inline f64 $F(f64 x, f64 y) { return fmod(x, y); }\n"},
      {"popcount_cuda.u32", "static inline u32 $F(u32 x) { return (u32)__popc(x); }\n"},
      {"popcount_cuda.i32", "static inline i32 $F(i32 x) { return __popc((u32)x); }\n"},
      {"popcount_cuda.u64", "static inline u64 $F(u64 x) { return (u64)__popcll(x); }\n"},
      {"popcount_cuda.i64", "static inline i64 $F(i64 x) { return __popcll((u64)x); }\n"},
  };
  return kRows;
}

}  // namespace tern::render
