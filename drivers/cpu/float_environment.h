// Kernels run in the default floating-point environment (round to nearest, denormals kept, no traps),
// whatever the host set on the calling thread: otherwise results would depend on which thread ran a tile.
#pragma once

#include <stdint.h>

namespace tern::cpu {

class DefaultFloatEnvironment {
 public:
#if defined(__x86_64__)
  DefaultFloatEnvironment() : saved_(__builtin_ia32_stmxcsr()) {
    if (saved_ != kDefault) __builtin_ia32_ldmxcsr(kDefault);
  }
  ~DefaultFloatEnvironment() {
    if (saved_ != kDefault) __builtin_ia32_ldmxcsr(saved_);
  }

 private:
  static constexpr uint32_t kDefault = 0x1f80;
  uint32_t saved_;
#elif defined(__aarch64__)
  DefaultFloatEnvironment() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    if (saved_) __asm__ volatile("msr fpcr, %0" : : "r"(uint64_t{0}));
  }
  ~DefaultFloatEnvironment() {
    if (saved_) __asm__ volatile("msr fpcr, %0" : : "r"(saved_));
  }

 private:
  uint64_t saved_;
#else
  DefaultFloatEnvironment() {}
  ~DefaultFloatEnvironment() {}

 public:
#endif
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;
};

}  // namespace tern::cpu
