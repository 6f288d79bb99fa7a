// Bit patterns of the float types that C++ has no type for (f16, bf16, f8*, f4e2m1, f8e8m0), and of f32 and
// f64 for uniform code. Rounding is to nearest, ties to even, once, from the double that is passed.
#pragma once

#include <bit>
#include <cstdint>

#include "compiler/support/dtype.h"

namespace tern {

double decode_small_float(DType dtype, uint64_t bits);
// `saturate` concerns the 8- and 4-bit types: overflow and infinities give the largest finite value; without
// it infinity where the type has one, else NaN. f16, bf16 and f32 always overflow to infinity. f4e2m1 has
// neither, so it always saturates and NaN gives -0.
uint64_t encode_small_float(DType dtype, double value, bool saturate = true);

inline float decode_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
inline uint16_t encode_bf16(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);  // stays a NaN
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
// To the 10 bits of mantissa of TF32, ties away from zero, as NVIDIA's cvt.rna.
inline float round_tf32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu);
}
inline float decode_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  // Scaling by 2^112 turns half exponents (and denormals) into single ones, exactly.
  const float f = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(f));
}
inline uint16_t encode_f16(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds past 65504
  if (magnitude < 0x38800000u) {
    // Denormal: adding 0.5 leaves the rounded half mantissa in the low bits.
    const float f = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(f) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace tern
