#include "compiler/render/c_target.h"

namespace tern::render {

const CTarget* c_target(std::string_view level_name) {
  static constexpr CTarget kTargets[] = {
      {.name = "x86_64_v2", .vector_bits = 128},
      {.name = "x86_64_v3", .vector_bits = 256, .fma = true, .f16_convert = true, .avx2 = true},
      {.name = "x86_64_v4",
       .vector_bits = 512,
       .fma = true,
       .f16_convert = true,
       .avx2 = true,
       .avx512 = true},
      {.name = "x86_64_v3+vnni",
       .vector_bits = 256,
       .fma = true,
       .f16_convert = true,
       .avx2 = true,
       .vnni = true},
      {.name = "x86_64_v4+vnni",
       .vector_bits = 512,
       .fma = true,
       .f16_convert = true,
       .avx2 = true,
       .avx512 = true,
       .vnni = true},
      {.name = "aarch64+dotprod",
       .arch = CArch::kAArch64,
       .vector_bits = 128,
       .fma = true,
       .f16_convert = true,
       .dotprod = true},
      {.name = "aarch64", .arch = CArch::kAArch64, .vector_bits = 128, .fma = true, .f16_convert = true},
  };
  for (const CTarget& t : kTargets) {
    if (t.name == level_name) return &t;
  }
  return nullptr;
}

}  // namespace tern::render
