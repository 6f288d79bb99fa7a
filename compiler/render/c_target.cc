#include "compiler/render/c_target.h"

#include "compiler/render/dialect.h"

namespace tern::render {

const CTarget* c_target(std::string_view level_name) {
  static const Dialect* const c = &c_dialect();
  static const Dialect* const cuda = &cuda_dialect();
  static const CTarget kTargets[] = {
      {.dialect = c, .name = "x86_64_v2", .vector_bits = 128},
      {.dialect = c, .name = "x86_64_v3", .vector_bits = 256, .fma = true, .f16_convert = true, .avx2 = true},
      {.dialect = c,
       .name = "x86_64_v4",
       .vector_bits = 512,
       .fma = true,
       .f16_convert = true,
       .avx2 = true,
       .avx512 = true},
      {.dialect = c,
       .name = "x86_64_v3+vnni",
       .vector_bits = 256,
       .fma = true,
       .f16_convert = true,
       .avx2 = true,
       .vnni = true},
      {.dialect = c,
       .name = "x86_64_v4+vnni",
       .vector_bits = 512,
       .fma = true,
       .f16_convert = true,
       .avx2 = true,
       .avx512 = true,
       .vnni = true},
      {.dialect = c,
       .name = "x86_64_v4+bf16",
       .vector_bits = 512,
       .fma = true,
       .f16_convert = true,
       .avx2 = true,
       .avx512 = true,
       .bf16 = true},
      {.dialect = c,
       .name = "x86_64_v4+amx",
       .vector_bits = 512,
       .fma = true,
       .f16_convert = true,
       .avx2 = true,
       .avx512 = true,
       .vnni = true,
       .bf16 = true,
       .tiles = true},
      {.dialect = c,
       .name = "aarch64+dotprod",
       .arch = CArch::kAArch64,
       .vector_bits = 128,
       .fma = true,
       .f16_convert = true,
       .dotprod = true},
      {.dialect = c,
       .name = "aarch64+i8mm",
       .arch = CArch::kAArch64,
       .vector_bits = 128,
       .fma = true,
       .f16_convert = true,
       .dotprod = true,
       .usdot = true},
      {.dialect = c,
       .name = "aarch64+bf16",
       .arch = CArch::kAArch64,
       .vector_bits = 128,
       .fma = true,
       .f16_convert = true,
       .bf16 = true},
      {.dialect = c,
       .name = "aarch64",
       .arch = CArch::kAArch64,
       .vector_bits = 128,
       .fma = true,
       .f16_convert = true},
      {.dialect = cuda, .name = "cuda_sm_80", .arch = CArch::kCuda, .fma = true, .f16_convert = true},
      {.dialect = cuda, .name = "cuda_sm_90", .arch = CArch::kCuda, .fma = true, .f16_convert = true},
  };
  for (const CTarget& t : kTargets) {
    if (t.name == level_name) return &t;
  }
  return nullptr;
}

}  // namespace tern::render
