#include "drivers/cpu/cpu_features.h"

#include "drivers/cpu/host.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace tern::cpu {
namespace {

enum Capability : uint32_t {
#define TERN_CAPABILITY(id, name, meaning) name = id,
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
};

[[maybe_unused]] constexpr bool has(uint64_t word, uint64_t bits) {
  return (word & bits) == bits;
}
[[maybe_unused]] constexpr uint64_t bit(int index) {
  return uint64_t{1} << index;
}

#if defined(__x86_64__)

// What CPUID gives for each of these leaves, four words a leaf, and XCR0 behind them: the register state that
// the operating system saves. Only leaf 7 has parts: 0, then 1.
constexpr uint32_t kLeaves[] = {1, 7, 7, 0x80000001};
enum Word : uint8_t { k1C = 2, k7B = 5, k7C = 6, k7D = 7, k7A1 = 8, kExtendedC = 14, kState = 16, kWords };

void read_words(uint32_t* words) {
  for (uint32_t k = 0; k < 4; ++k) {
    uint32_t* leaf = words + k * 4;
    __get_cpuid_count(kLeaves[k], k / 2, &leaf[0], &leaf[1], &leaf[2], &leaf[3]);
  }
  uint32_t upper;
  if (has(words[k1C], bit(27))) __asm__ volatile("xgetbv" : "=a"(words[kState]), "=d"(upper) : "c"(0));
}

// Bits that a row of capabilities.def, or a level (its number behind those), takes.
struct __attribute__((packed)) Need {
  uint32_t bits;
  uint8_t word, row;
};
constexpr uint8_t kLevels = 56;  // level 2 is 58
constexpr uint32_t bits_of(auto... indices) {
  return (0u | ... | (1u << indices));
}
constexpr Need kNeeds[] = {
    {bits_of(0, 9, 13, 19, 20, 23), k1C, kLevels + 2},  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT
    {bits_of(0), kExtendedC, kLevels + 2},              // LAHF
    {bits_of(12, 22, 28, 29), k1C, kLevels + 3},        // FMA, MOVBE, AVX, F16C
    {bits_of(3, 5, 8), k7B, kLevels + 3},               // BMI1, AVX2, BMI2
    {bits_of(5), kExtendedC, kLevels + 3},              // LZCNT
    {bits_of(1, 2), kState, kLevels + 3},               // XMM, YMM
    {bits_of(16, 17, 28, 30, 31), k7B, kLevels + 4},    // AVX-512 F, DQ, CD, BW, VL
    {bits_of(5, 6, 7), kState, kLevels + 4},            // opmask, upper halves of ZMM, ZMM16-31
    {bits_of(11), k7C, x86_avx512_vnni},
    {bits_of(5), k7A1, x86_avx512_bf16},
    {bits_of(4), k7A1, x86_avx_vnni},
    {bits_of(11), k7C, x86_amx},
    {bits_of(5), k7A1, x86_amx},
    {bits_of(22, 24, 25), k7D, x86_amx},  // AMX-BF16, AMX-TILE, AMX-INT8
    {bits_of(17, 18), kState, x86_amx},   // tiles' configuration and data
};

int64_t x86_capability(uint32_t id, uint32_t level_limit) {
  uint32_t words[kWords] = {};
  read_words(words);
  uint64_t missing = 0;
  for (const Need& need : kNeeds) {
    if (!has(words[need.word], need.bits)) missing |= bit(need.row);
  }
  uint32_t level = 1;
  while (level < 4 && level != level_limit && !has(missing, bit(static_cast<int>(kLevels + 1 + level))))
    ++level;
  if (id == cpu_arch) return 1;
  if (id == x86_level) return level;
  constexpr uint64_t kFeatures =
      bit(x86_avx_vnni) | bit(x86_avx512_vnni) | bit(x86_avx512_bf16) | bit(x86_amx);
  if (id >= kLevels || !has(kFeatures & ~missing, bit(static_cast<int>(id)))) return 0;
  return level >= (id == x86_avx_vnni ? 3 : 4) && (id != x86_amx || host_allows_tiles());
}

#endif

#if defined(__aarch64__)
int64_t arm_capability(uint32_t id) {
  const uint64_t first = host_feature_word(0), second = host_feature_word(1);
  switch (id) {
    case cpu_arch:
      return 2;
    case arm_dotprod:
      return has(first, bit(20));
    case arm_fp16:
      return has(first, bit(9) | bit(10));  // scalar and vector
    case arm_i8mm:
      return has(second, bit(13));
    case arm_bf16:
      return has(second, bit(14));
    default:
      return 0;
  }
}
#endif

}  // namespace

int64_t cpu_capability(uint32_t id, [[maybe_unused]] uint32_t x86_level_limit) {
#if defined(__x86_64__)
  return x86_capability(id, x86_level_limit);
#elif defined(__aarch64__)
  return arm_capability(id);
#elif defined(__riscv)
  return id == cpu_arch ? 3 : 0;
#elif defined(__wasm__)
  return id == cpu_arch ? 4 : 0;
#else
  return 0;
#endif
}

}  // namespace tern::cpu
