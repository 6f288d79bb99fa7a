// What the runtime needs of the operating system to wait and to tell the time. host_sync_linux.cc implements
// it; a port to another system, or to none, replaces that file (with one thread the waits are never called).
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Monotonic nanoseconds.
int64_t tern_host_now(void);

// Sleeps while *address == expected, until woken or until `deadline` (tern_host_now's clock; INT64_MAX:
// none). May return early for no reason: callers check their condition again.
void tern_host_wait(const int32_t* address, int32_t expected, int64_t deadline);

// Wakes those who sleep on the address.
void tern_host_wake_one(const int32_t* address);
void tern_host_wake_all(const int32_t* address);

// A lock of one word; zero is unlocked.
typedef struct tern_mutex_t {
  int32_t state;  // 0 free, 1 held, 2 held and somebody sleeps
} tern_mutex_t;

int tern_mutex_try_lock(tern_mutex_t* mutex);
void tern_mutex_lock(tern_mutex_t* mutex);
void tern_mutex_unlock(tern_mutex_t* mutex);

#ifdef __cplusplus
}  // extern "C"

namespace tern {
// Holds a mutex for a scope.
class MutexLock {
 public:
  explicit MutexLock(tern_mutex_t* mutex) : mutex_(mutex) { tern_mutex_lock(mutex); }
  ~MutexLock() { tern_mutex_unlock(mutex_); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  tern_mutex_t* mutex_;
};
}  // namespace tern
#endif
