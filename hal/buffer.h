// Device memory: allocated by the device's allocator (hal/allocator.h) or imported from the host without
// copying.
//
// A buffer's address and size never change (but see tern_hal_buffer_reimport). Base addresses that the CPU
// sees are 64-byte aligned, except for imported ones, which are where the caller put them.
#pragma once

#include "hal/types.h"

#ifdef __cplusplus
extern "C" {
#endif

// What a buffer may be used for: flags of its memory.
enum {
  TERN_HAL_MEMORY_HOST_VISIBLE = 1,    // can be mapped; always so on the CPU
  TERN_HAL_MEMORY_DEVICE_LOCAL = 2,    // fast for the device
  TERN_HAL_MEMORY_READ_ONLY = 4,       // no command and no mapping may write it (weights mapped from a file)
  TERN_HAL_MEMORY_DEVICE_ADDRESS = 8,  // imports: the pointer is an address of the device's own API
};

void tern_hal_buffer_retain(tern_hal_buffer_t* buffer);
// Null is fine. The memory goes with the last reference; an import's release callback runs then.
void tern_hal_buffer_release(tern_hal_buffer_t* buffer);

uint64_t tern_hal_buffer_size(const tern_hal_buffer_t* buffer);
uint32_t tern_hal_buffer_memory(const tern_hal_buffer_t* buffer);

// The host address for as long as the buffer lives, if the device has such (CPU, unified memory); else null:
// map it.
void* tern_hal_buffer_host_pointer(const tern_hal_buffer_t* buffer);

// What the device's own API calls the buffer (cuda: a CUdeviceptr; cpu: the host's address); 0 where buffers
// have no address.
uint64_t tern_hal_buffer_device_address(const tern_hal_buffer_t* buffer);

// Makes [offset, offset + length) readable and/or writable (TERN_HAL_ACCESS_...) by the host until unmapped.
// The device must not use the range meanwhile. Nested mappings of disjoint ranges are fine.
TERN_MUST_USE tern_status_t tern_hal_buffer_map(tern_hal_buffer_t* buffer, uint32_t access, int64_t offset,
                                                int64_t length, void** out_pointer);
TERN_MUST_USE tern_status_t tern_hal_buffer_unmap(tern_hal_buffer_t* buffer, int64_t offset, int64_t length);

// Copies between host memory and the buffer now, staging where the device needs it. No command may be using
// the range.
TERN_MUST_USE tern_status_t tern_hal_buffer_read(tern_hal_buffer_t* buffer, int64_t offset, void* out_data,
                                                 int64_t length);
TERN_MUST_USE tern_status_t tern_hal_buffer_write(tern_hal_buffer_t* buffer, int64_t offset, const void* data,
                                                  int64_t length);

// ---- For drivers
// -------------------------------------------------------------------------------------------------------------

typedef struct tern_hal_buffer_vtable_t {
  // Frees the memory and the struct. The front has already let go of the device's statistics.
  void (*destroy)(tern_hal_buffer_t* buffer);
  // Ranges are checked. Drivers whose buffers have a host_pointer may leave map, unmap, read and write null.
  tern_status_t (*map)(tern_hal_buffer_t* buffer, uint32_t access, uint64_t offset, uint64_t length,
                       void** out_pointer);
  tern_status_t (*unmap)(tern_hal_buffer_t* buffer, uint64_t offset, uint64_t length);
  tern_status_t (*read)(tern_hal_buffer_t* buffer, uint64_t offset, void* out_data, uint64_t length);
  tern_status_t (*write)(tern_hal_buffer_t* buffer, uint64_t offset, const void* data, uint64_t length);
} tern_hal_buffer_vtable_t;

// The head of every driver's buffer. The driver fills vtable, host_pointer, device_address; the front fills
// the rest.
struct tern_hal_buffer_t {
  int32_t ref_count;
  uint32_t memory;
  const tern_hal_buffer_vtable_t* vtable;
  tern_hal_device_t* device;
  void* host_pointer;
  uint64_t device_address;
  uint64_t size;
  uint64_t id;  // never used twice on one device: tells a new buffer from an old one at the same address
  void (*release_import)(void* self, void* pointer, uint64_t size);
  void* release_import_self;
  void* import_pointer;
  uint64_t accounted;  // bytes in the allocator's statistics
};

#ifdef __cplusplus
}  // extern "C"
#endif
