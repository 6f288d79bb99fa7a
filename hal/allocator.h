// The device's memory allocator: makes buffers, counts bytes, enforces the limit that the device was created
// with.
#pragma once

#include "hal/buffer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_hal_allocator_stats_t {
  uint64_t bytes_now;         // allocated and not yet released, imports not counted
  uint64_t bytes_peak;        // the most that was
  uint64_t bytes_imported;    // imported and not yet released
  uint64_t allocation_count;  // calls that succeeded, ever
} tern_hal_allocator_stats_t;

// Allocates `size` bytes (may be 0) of the given memory (TERN_HAL_MEMORY_..., 0: host-visible where
// possible). Contents are zero for memory fresh from the system and otherwise undefined: assume nothing.
TERN_MUST_USE tern_status_t tern_hal_device_allocate_buffer(tern_hal_device_t* device, uint32_t memory,
                                                            int64_t size, tern_hal_buffer_t** out_buffer);

typedef struct tern_hal_import_t {
  void* pointer;  // of the host; with TERN_HAL_MEMORY_DEVICE_ADDRESS what the device's own API has
  int64_t size;
  uint32_t memory;  // TERN_HAL_MEMORY_READ_ONLY for what must not be written
  // Called once when the buffer is destroyed (not when the import fails); may be null.
  void (*release)(void* self, void* pointer, uint64_t size);
  void* release_self;
} tern_hal_import_t;

// Wraps memory of the host, or of the device's own API, without copying. The memory must stay valid until
// `release` is called (without one: for as long as the buffer lives). Devices that cannot see host memory, or
// have no addresses to import, return TERN_STATUS_INCOMPATIBLE: allocate and tern_hal_buffer_write instead.
TERN_MUST_USE tern_status_t tern_hal_device_import_buffer(tern_hal_device_t* device,
                                                          const tern_hal_import_t* import,
                                                          tern_hal_buffer_t** out_buffer);

// Makes an imported buffer stand for other host memory, without allocating: inputs and outputs whose address
// changes from call to call. The caller holds the only reference, no submission uses the buffer, and it was
// imported without `release`. Drivers whose buffers are more than a host address (those with a `map`) return
// TERN_STATUS_INCOMPATIBLE: import anew.
TERN_MUST_USE tern_status_t tern_hal_buffer_reimport(tern_hal_buffer_t* buffer, void* pointer, int64_t size);

tern_hal_allocator_stats_t tern_hal_device_memory_stats(tern_hal_device_t* device);

#ifdef __cplusplus
}  // extern "C"
#endif
