// Targets of a compilation: a target class (one program each) and, inside it, the levels (one variant of each
// dispatch each). MachineModel is the cost model's table of a level: what schedules may assume.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/support/result.h"

namespace tern::lower {

enum class Arch : uint8_t { kX86_64, kAArch64 };

enum class Level : uint8_t {
  kX86V2,    // SSE4.2: 16 registers of 128 bits, no fma
  kX86V3,    // AVX2, FMA: 16 of 256
  kX86V4,    // AVX-512 F/BW/CD/DQ/VL: 32 of 512
  kAArch64,  // ARMv8.0 NEON: 32 of 128
};

struct MachineModel {
  std::string_view name;  // "x86_64_v3", as in --targets and reports
  Arch arch;
  int vector_bits;
  int vector_registers;
  bool has_fma, has_masks;
  int64_t l1_bytes, l2_bytes, l3_share_bytes;
};
const MachineModel& machine(Level level);

struct Target {
  Arch arch = Arch::kX86_64;
  std::vector<Level> levels;  // ascending
};

// "cpu" (this machine's architecture, every level worth having), "cpu:x86_64_v3", "cpu:aarch64";
// comma-separated. Unknown words are errors that list what exists.
Result<std::vector<Target>> parse_targets(const std::string& text);

}  // namespace tern::lower
