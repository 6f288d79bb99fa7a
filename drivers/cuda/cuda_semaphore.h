// Timelines of the cuda driver: a value in host memory, and *points* that submissions will raise it to when
// they end.
//
// A point is (value, device, serial): the queue says whether that submission has ended, and how. Whoever
// looks at the semaphore takes in the points that have come true. A wait on the device that raises a value
// needs no host: the stream is in order.
#pragma once

#include "drivers/cuda/cuda_device.h"

namespace tern::cuda {

// Whether the semaphore is of this driver.
bool cuda_semaphore_is_own(const tern_hal_semaphore_t* semaphore);

// Whether a submission that is already on this device's stream raises it to the value; then *out_serial is
// that one.
bool cuda_semaphore_pending(const tern_hal_semaphore_point_t& point, Device* device, uint64_t* out_serial);

// Whether the value may be signalled: larger than all before it, and the semaphore has not failed. Other
// drivers' semaphores check when they are signalled.
TERN_MUST_USE tern_status_t cuda_semaphore_check(const tern_hal_semaphore_point_t& point);

// Adds a point. Waits for the oldest one if there are too many.
TERN_MUST_USE tern_status_t cuda_semaphore_add(const tern_hal_semaphore_point_t& point, Device* device,
                                               uint64_t serial);

}  // namespace tern::cuda
