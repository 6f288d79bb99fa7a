// What the C renderer must know about the machine: the renderer's own view of an ISA level (lower/target.h
// may not be included here). One row a level.
#pragma once

#include <string_view>

namespace tern::render {

enum class CArch { kX86_64, kAArch64, kCuda };

struct Dialect;

struct CTarget {
  const Dialect* dialect;
  std::string_view name;  // "x86_64_v3": also the toolchain's level name
  CArch arch = CArch::kX86_64;
  int vector_bits = 128;
  bool fma = false;
  bool f16_convert = false;  // conversions between f16 and f32 in hardware
  bool avx2 = false;
  bool avx512 = false;   // F, BW, DQ, VL
  bool vnni = false;     // vpdpbusd, vpdpwssd: in the AVX-512 form if avx512, else in AVX-VNNI's
  bool bf16 = false;     // vdpbf16ps
  bool tiles = false;    // AMX
  bool dotprod = false;  // sdot, udot
  bool usdot = false;    // usdot
};

// nullptr when unknown.
const CTarget* c_target(std::string_view level_name);

}  // namespace tern::render
