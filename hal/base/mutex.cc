#include "hal/base/host_sync.h"

extern "C" int tern_mutex_try_lock(tern_mutex_t* mutex) {
  int32_t expected = 0;
  return __atomic_compare_exchange_n(&mutex->state, &expected, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

extern "C" void tern_mutex_lock(tern_mutex_t* mutex) {
  if (tern_mutex_try_lock(mutex)) return;
  while (__atomic_exchange_n(&mutex->state, 2, __ATOMIC_ACQUIRE) != 0) {
    tern_host_wait(&mutex->state, 2, INT64_MAX);
  }
}

extern "C" void tern_mutex_unlock(tern_mutex_t* mutex) {
  if (__atomic_exchange_n(&mutex->state, 0, __ATOMIC_RELEASE) == 2) tern_host_wake_one(&mutex->state);
}
