#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hal/base/host_sync.h"

namespace {

constexpr int64_t kSecond = 1000000000;

void wake(const int32_t* address, int count) {
  syscall(SYS_futex, address, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, nullptr, nullptr, 0);
}

}  // namespace

extern "C" int64_t tern_host_now(void) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

extern "C" void tern_host_wait(const int32_t* address, int32_t expected, int64_t deadline) {
  // FUTEX_WAIT_BITSET takes an absolute time of the monotonic clock.
  timespec until = {static_cast<time_t>(deadline / kSecond), static_cast<long>(deadline % kSecond)};
  syscall(SYS_futex, address, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
          deadline == INT64_MAX ? nullptr : &until, nullptr, FUTEX_BITSET_MATCH_ANY);
}

extern "C" void tern_host_wake_one(const int32_t* address) {
  wake(address, 1);
}
extern "C" void tern_host_wake_all(const int32_t* address) {
  wake(address, INT_MAX);
}
