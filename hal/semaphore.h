// Timelines: a 64-bit number that only grows. Work waits for a value and signals a later one, across threads
// and devices.
//
// Who waits may release the semaphore as soon as the wait returns, though the thread that signals, fails or
// submits may still be on its way out.
//
// A failed semaphore is failed for good: whoever waits gets the failure, so that nobody waits for work that
// will never come.
#pragma once

#include "hal/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_hal_semaphore_point_t {
  tern_hal_semaphore_t* semaphore;
  uint64_t value;
} tern_hal_semaphore_point_t;

TERN_MUST_USE tern_status_t tern_hal_semaphore_create(tern_hal_device_t* device, uint64_t initial_value,
                                                      tern_hal_semaphore_t** out_semaphore);
void tern_hal_semaphore_retain(tern_hal_semaphore_t* semaphore);
void tern_hal_semaphore_release(tern_hal_semaphore_t* semaphore);  // null is fine

// The value now, or the failure.
TERN_MUST_USE tern_status_t tern_hal_semaphore_query(tern_hal_semaphore_t* semaphore, uint64_t* out_value);

// Raises the value from the host. It must be larger than the value now.
TERN_MUST_USE tern_status_t tern_hal_semaphore_signal(tern_hal_semaphore_t* semaphore, uint64_t value);

// Fails it with a code; a second failure changes nothing.
void tern_hal_semaphore_fail(tern_hal_semaphore_t* semaphore, tern_status_code_t code);

// Waits until the value is at least `value`, or until `deadline` (tern_hal_now's clock; 0 polls,
// TERN_HAL_NEVER waits for ever): then TERN_STATUS_DEADLINE_EXCEEDED.
TERN_MUST_USE tern_status_t tern_hal_semaphore_wait(tern_hal_semaphore_t* semaphore, uint64_t value,
                                                    int64_t deadline);

// ---- For drivers
// -------------------------------------------------------------------------------------------------------------

typedef struct tern_hal_semaphore_vtable_t {
  void (*destroy)(tern_hal_semaphore_t* semaphore);
  tern_status_t (*query)(tern_hal_semaphore_t* semaphore, uint64_t* out_value);
  tern_status_t (*signal)(tern_hal_semaphore_t* semaphore, uint64_t value);
  void (*fail)(tern_hal_semaphore_t* semaphore, tern_status_code_t code);
  tern_status_t (*wait)(tern_hal_semaphore_t* semaphore, uint64_t value, int64_t deadline);
} tern_hal_semaphore_vtable_t;

struct tern_hal_semaphore_t {
  int32_t ref_count;
  const tern_hal_semaphore_vtable_t* vtable;
  tern_hal_device_t* device;
};

// A complete semaphore in host memory, for drivers that run commands on the calling thread.
TERN_MUST_USE tern_status_t tern_hal_host_semaphore_create(tern_hal_device_t* device, uint64_t initial_value,
                                                           tern_hal_semaphore_t** out_semaphore);

#ifdef __cplusplus
}  // extern "C"
#endif
