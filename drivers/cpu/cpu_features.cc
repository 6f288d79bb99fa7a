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

struct Leaf {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Leaf read_leaf(uint32_t leaf, uint32_t subleaf) {
  Leaf r;
  if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) return {};
  return r;
}

// Register state that the operating system saves: XCR0, or 0 where it does not say.
uint64_t saved_state(const Leaf& leaf1) {
  if (!has(leaf1.c, bit(27))) return 0;  // OSXSAVE
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

constexpr uint64_t kAvxState = 0x06;     // XMM, YMM
constexpr uint64_t kAvx512State = 0xe6;  // and opmask, upper halves of ZMM, ZMM16-31

int x86_level_of(const Leaf& leaf1, const Leaf& leaf7, const Leaf& extended, uint64_t state) {
  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF.
  if (!has(leaf1.c, bit(0) | bit(9) | bit(13) | bit(19) | bit(20) | bit(23)) || !has(extended.c, bit(0)))
    return 1;
  // FMA, MOVBE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT.
  if (!has(leaf1.c, bit(12) | bit(22) | bit(28) | bit(29)) || !has(leaf7.b, bit(3) | bit(5) | bit(8)) ||
      !has(extended.c, bit(5)) || !has(state, kAvxState)) {
    return 2;
  }
  // AVX-512 F, DQ, CD, BW, VL.
  if (!has(leaf7.b, bit(16) | bit(17) | bit(28) | bit(30) | bit(31)) || !has(state, kAvx512State)) return 3;
  return 4;
}

int64_t x86_capability(uint32_t id, uint32_t level_limit) {
  const Leaf leaf1 = read_leaf(1, 0), leaf7 = read_leaf(7, 0), leaf7_1 = read_leaf(7, 1);
  int64_t level = x86_level_of(leaf1, leaf7, read_leaf(0x80000001, 0), saved_state(leaf1));
  if (level_limit && level > level_limit) level = level_limit;
  switch (id) {
    case cpu_arch:
      return 1;
    case x86_level:
      return level;
    case x86_avx512_vnni:
      return level >= 4 && has(leaf7.c, bit(11));
    case x86_avx512_bf16:
      return level >= 4 && has(leaf7_1.a, bit(5));
    case x86_avx_vnni:
      return level >= 3 && has(leaf7_1.a, bit(4));
    default:
      return 0;
  }
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
