// The few atomic operations that the runtime's objects share, usable from C and C++ (C++ bodies may also use
// <atomic>, which is header-only for machine words).
#pragma once

#include <stdint.h>

static inline void tern_ref_retain(int32_t* count) {
  __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
}
// Returns 1 when the last reference went.
static inline int tern_ref_release(int32_t* count) {
  return __atomic_fetch_sub(count, 1, __ATOMIC_ACQ_REL) == 1;
}

static inline int32_t tern_atomic_load_i32(const int32_t* value) {
  return __atomic_load_n(value, __ATOMIC_ACQUIRE);
}
static inline void tern_atomic_store_i32(int32_t* value, int32_t to) {
  __atomic_store_n(value, to, __ATOMIC_RELEASE);
}
