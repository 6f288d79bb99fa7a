// Targets of a compilation: a target class (one program each) and, inside it, the levels (one variant of each
// dispatch each). MachineModel and GpuModel are the cost model's tables of a level: what schedules may
// assume.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/kernel/tile_shape.h"
#include "compiler/support/dtype.h"
#include "compiler/support/result.h"

namespace tern::lower {

enum class Arch : uint8_t { kX86_64, kAArch64, kCuda, kVulkan };

enum class Level : uint8_t {
  kX86V2,           // SSE4.2: 16 registers of 128 bits, no fma
  kX86V3,           // AVX2, FMA: 16 of 256
  kX86V4,           // AVX-512 F/BW/CD/DQ/VL: 32 of 512
  kX86V3Vnni,       // kX86V3 and AVX-VNNI: variants of integer contractions only
  kX86V4Vnni,       // kX86V4 and AVX-512 VNNI: likewise
  kX86V4Bf16,       // kX86V4 and AVX-512 BF16: variants of contractions of bf16 only
  kX86V4Amx,        // kX86V4Vnni, kX86V4Bf16 and AMX: variants of contractions by tiles only
  kAArch64,         // ARMv8.0 NEON: 32 of 128
  kAArch64Dot,      // kAArch64 and the dot products of ARMv8.2: variants of integer contractions only
  kAArch64I8mm,     // kAArch64 and the mixed dot products of ARMv8.6: likewise
  kAArch64Bf16,     // kAArch64 and those of bf16: variants of contractions of bf16 only
  kCudaSm80,        // Ampere and later: mma.sync, cp.async
  kCudaSm90,        // Hopper (sm_90a): wgmma, TMA; runs nowhere else
  kVulkan11,        // what every Vulkan 1.1 device has
  kVulkanF16,       // 16- and 8-bit storage, 16-bit float arithmetic, 512 threads, 32 KB
  kVulkanSubgroup,  // kVulkanF16 and shuffles in subgroups of 32: variants of folds only
  // kVulkanF16 and dot products of packed bytes, i8 with i8 or u8 with i8: variants of products of bytes only
  kVulkanDot4Signed,
  kVulkanDot4,
#define TERN_MATRIX_LEVEL(level, ...) level,  // cooperative matrices: of contractions of their type only
#include "compiler/lower/matrix_levels.def"
#undef TERN_MATRIX_LEVEL
};

// How a level multiplies 8-bit integers exactly.
enum class ByteProducts : uint8_t {
  kPairs,       // widened to 16 bits, two products added in i32 (pmaddwd)
  kDot4,        // four products of u8 with i8 added in i32 (vpdpbusd)
  kDot4Signed,  // of i8 with i8 (sdot)
};

// What a level has variants of: of every dispatch, or of contractions of such operands only, while its base
// level has everything else. kTiles: of both, where matrix tiles (kernel/tile_shape.h) multiply them.
enum class Variants : uint8_t { kAll, kBytes, kBf16, kTiles };

struct MachineModel {
  std::string_view name;  // "x86_64_v3", as in --targets and reports
  Arch arch;
  int vector_bits;
  int vector_registers;
  bool has_fma, has_masks;
  int64_t l1_bytes, l2_bytes, l3_share_bytes;
  // Streaming stores are fast in runs of so many bytes: a line, where the processor gathers lines of several
  // rows before it writes them.
  int64_t stored_run_bytes;
  // In how many places at once memory is read fastest by loops that only read, and by those that also stream
  // what they store.
  int read_streams, copy_streams;
  ByteProducts byte_products = ByteProducts::kPairs;
  Variants variants = Variants::kAll;
  // Figures of a usual core, the others busy too.
  double memory_bytes_a_cycle = 5, l3_bytes_a_cycle = 20, l2_bytes_a_cycle = 40;
  double cycles_a_second = 4e9;
  int64_t last_cache_bytes = int64_t{32} << 20;  // of all cores together
};
const MachineModel& machine(Level level);  // of a CPU level

// What has variants of a GPU level, where its target has earlier ones: any dispatch; what folds over threads;
// contractions; those of bytes.
enum class Covers : uint8_t { kAll, kFolds, kContractions, kBytes };

// What kernels of a GPU level may use, and figures of a typical device for cost models.
struct GpuModel {
  std::string_view name;
  Arch arch;
  int max_threads;           // of a workgroup
  int subgroup;              // width that kernels may rely on; 0: none
  int64_t workgroup_memory;  // bytes of a workgroup
  int registers;             // 32-bit ones of a thread
  bool has_mma, has_async_copy;
  bool has_group_mma;     // products of 128 threads, and copies of boxes of tensors (kernel/ir.h)
  int cores;              // multiprocessors
  double flops;           // f32 multiply-adds a second, twice
  double bandwidth;       // bytes a second from memory
  double matrix_flops;    // of 16-bit floats on matrix units; 0: none
  double launch_seconds;  // of one dispatch behind another
  Covers covers = Covers::kAll;
  bool narrow_storage = false;  // Vulkan: 16- and 8-bit elements in memory, 16-bit floats rounded in hardware
  // What matrices of a subgroup (kernel/ir.h) multiply, as it lies in memory; kNone: there are none. kF16:
  // bytes, too, which f16 holds. kF32: in parts of bf16 (gpu/matrix_schedule.h: bf16x6), whose six products
  // take less time than one by fused multiply-adds.
  DType tiles = DType::kNone;
  // Three products of TF32 take less time than one of f32 by fused multiply-adds (gpu/mma_schedule.h:
  // tf32x3). Not on the GeForce cards of sm_86 and sm_89, which run sm_80's cubins.
  bool fast_tf32 = false;
  ByteProducts byte_products = ByteProducts::kPairs;  // Vulkan; kPairs: none, bytes are multiplied as floats
  // The shape of those tiles, and the row of schemas/abi/capabilities.def that says that a device has it.
  kernel::TileShape tile = {};
  uint16_t tile_capability = 0;
  kernel::TileUnit unit() const { return {tile, subgroup}; }
};
// Vulkan: kernels whose threads make more iterations are checked (kernel/ir.h, checks_loops).
inline constexpr int64_t kSafeIterations = 60'000;
const GpuModel& gpu_model(Level level);  // of a GPU level

std::string_view level_name(Level level);
Level base_level(Level level);  // of integer levels: the one that has everything else; else itself
Arch level_arch(Level level);
inline bool is_gpu(Arch arch) {
  return arch == Arch::kCuda || arch == Arch::kVulkan;
}
std::string_view arch_name(Arch arch);  // "x86_64", "cuda"

// What a level's kernels become in a module: one executable each kind, with the same entries.
enum class ImageFormat : uint8_t { kElf, kCubin, kPtx, kSpirv };
struct ImageKind {
  std::string_view name;  // of the executable: "cuda_sm_80"
  ImageFormat format = ImageFormat::kElf;
  std::string_view architecture;  // what the toolchain compiles for: "sm_80", "compute_80"
};

struct Target {
  Arch arch = Arch::kX86_64;
  std::vector<Level> levels;               // ascending. GPUs: the first one has a kernel of every dispatch
  std::vector<Level> product_levels = {};  // those that only some contractions have variants for, ascending
  std::vector<std::string_view> architectures = {};  // GPUs: which image kinds; empty: all

  std::vector<ImageKind> images(Level level) const;  // best first, at least one
};

// Vulkan with a level for every shape of matrices that there are kernels for: what a device's levels are
// chosen from (device_target.h).
Target vulkan_with_all_matrices();

// "cpu" (this machine's architecture, every level worth having), "cpu:x86_64_v3", "cpu:aarch64", "cuda"
// (cubins of all listed architectures and PTX), "cuda:sm_80" (its cubin, and PTX), "cuda:sm_90a", "vulkan"
// (every usual level), "vulkan:1.1" (the floor alone);
// comma-separated. Unknown words are errors that list what exists.
Result<std::vector<Target>> parse_targets(const std::string& text);
// What those words are, for --help.
std::string target_words();

}  // namespace tern::lower
