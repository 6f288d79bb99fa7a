// Integer arithmetic on numbers from outside: each function returns 1 and stores the result, or returns 0 on
// overflow.
#pragma once

#include <stdint.h>

static inline int tern_add_i64(int64_t a, int64_t b, int64_t* out) {
  return !__builtin_add_overflow(a, b, out);
}
static inline int tern_mul_i64(int64_t a, int64_t b, int64_t* out) {
  return !__builtin_mul_overflow(a, b, out);
}
static inline int tern_add_u64(uint64_t a, uint64_t b, uint64_t* out) {
  return !__builtin_add_overflow(a, b, out);
}
static inline int tern_mul_u64(uint64_t a, uint64_t b, uint64_t* out) {
  return !__builtin_mul_overflow(a, b, out);
}

// Whether [offset, offset + length) lies inside [0, size), for signed offset and length from outside.
static inline int tern_range_fits(int64_t offset, int64_t length, uint64_t size) {
  return offset >= 0 && length >= 0 && (uint64_t)offset <= size &&
         (uint64_t)length <= size - (uint64_t)offset;
}

static inline uint64_t tern_align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}
