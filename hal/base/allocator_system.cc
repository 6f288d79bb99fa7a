#include <stdint.h>
#include <stdlib.h>

#include "hal/base/allocator.h"

namespace {

void* system_allocate(void*, size_t size, size_t alignment) {
  if (alignment <= alignof(max_align_t)) return malloc(size);
  // aligned_alloc wants a multiple of the alignment.
  if (size > SIZE_MAX - alignment) return nullptr;
  return aligned_alloc(alignment, (size + alignment - 1) & ~(alignment - 1));
}

void system_release(void*, void* pointer, size_t) {
  free(pointer);
}

}  // namespace

extern "C" tern_allocator_t tern_allocator_system(void) {
  return {nullptr, system_allocate, system_release};
}
