// Where host memory comes from: every object of the runtime is made with an allocator that its creator passed
// in, and keeps it.
//
// Both functions may be called from any thread. Sizes are given back on release, so an allocator needs no
// headers of its own. tern/tern.h repeats this struct for its users behind the same guard; keep the two
// alike.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef TERN_ALLOCATOR_DEFINED
#define TERN_ALLOCATOR_DEFINED
typedef struct tern_allocator_t {
  // Passed to both functions; may be null.
  void* self;
  // Returns `size` (> 0) bytes at a multiple of `alignment` (a power of two), or null. Contents are
  // undefined.
  void* (*allocate)(void* self, size_t size, size_t alignment);
  // Takes back what `allocate` returned for that size. Never called with null.
  void (*release)(void* self, void* pointer, size_t size);
} tern_allocator_t;
#endif

// The C library's heap. Lives in a file of its own: a program that brings its allocator does not link it.
tern_allocator_t tern_allocator_system(void);

// Allocates, or returns null. A size of 0 gives null.
static inline void* tern_allocate(tern_allocator_t allocator, size_t size, size_t alignment) {
  return size ? allocator.allocate(allocator.self, size, alignment) : NULL;
}

// Releases; null is fine.
static inline void tern_release(tern_allocator_t allocator, void* pointer, size_t size) {
  if (pointer) allocator.release(allocator.self, pointer, size);
}

#ifdef __cplusplus
}  // extern "C"
#endif
