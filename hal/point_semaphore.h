// A complete semaphore for drivers whose work ends by itself: a value in host memory, and *points* that
// submissions will raise it to when they end.
//
// A point is (value, device, serial): the device's driver says whether the submission of that serial number
// has ended, and how (tern_hal_progress_t). Whoever looks at the semaphore takes in the points that have come
// true; nothing runs on its own. A wait on the device that raises a value needs no host: its submissions run
// in order. Semaphores of all drivers that use this understand each other's points.
#pragma once

#include "hal/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// What a driver knows of its submissions; one static constant a driver.
typedef struct tern_hal_progress_t {
  // Whether the submission has ended; if so, *out_code is OK or why it failed. Fails if the device is lost.
  tern_status_t (*poll)(tern_hal_device_t* device, uint64_t serial, int* out_done,
                        tern_status_code_t* out_code);
  // Waits for it until `deadline` (tern_hal_now's clock); *out_done says whether it ended.
  tern_status_t (*wait)(tern_hal_device_t* device, uint64_t serial, int64_t deadline, int* out_done,
                        tern_status_code_t* out_code);
  // Why a submission that ended failed, with its sentence if the driver has one; the caller frees it.
  tern_status_t (*explain)(tern_hal_device_t* device, uint64_t serial);
} tern_hal_progress_t;

TERN_MUST_USE tern_status_t tern_hal_point_semaphore_create(tern_hal_device_t* device, uint64_t initial_value,
                                                            tern_hal_semaphore_t** out_semaphore);

// Whether the semaphore is such a one.
int tern_hal_point_semaphore_is(const tern_hal_semaphore_t* semaphore);

// Whether a submission that this device has already taken raises it to the value; then *out_serial is that
// one.
int tern_hal_point_semaphore_pending(const tern_hal_semaphore_point_t* point, const tern_hal_device_t* device,
                                     uint64_t* out_serial);

// Whether the value may be signalled: larger than all before it, and the semaphore has not failed. Other
// semaphores check when they are signalled.
TERN_MUST_USE tern_status_t tern_hal_point_semaphore_check(const tern_hal_semaphore_point_t* point);

// Adds a point. Waits for the oldest one if there are too many.
TERN_MUST_USE tern_status_t tern_hal_point_semaphore_add(const tern_hal_semaphore_point_t* point,
                                                         tern_hal_device_t* device,
                                                         const tern_hal_progress_t* progress,
                                                         uint64_t serial);

#ifdef __cplusplus
}  // extern "C"
#endif
