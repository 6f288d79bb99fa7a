// Timelines of the vulkan driver: a value in host memory, and *points* that submissions will raise it to when
// they end.
//
// A point is (value, device, serial): the queue says whether that submission has ended, and how. Whoever
// looks at the semaphore takes in the points that have come true. A wait on the device that raises a value
// needs no host: submissions run in order.
#pragma once

#include "drivers/vulkan/vulkan_device.h"

namespace tern::vulkan {

// Whether the semaphore is of this driver.
bool vulkan_semaphore_is_own(const tern_hal_semaphore_t* semaphore);

// Whether a submission that this device has already taken raises it to the value; then *out_serial is
// that one.
bool vulkan_semaphore_pending(const tern_hal_semaphore_point_t& point, Device* device, uint64_t* out_serial);

// Whether the value may be signalled: larger than all before it, and the semaphore has not failed. Other
// drivers' semaphores check when they are signalled.
TERN_MUST_USE tern_status_t vulkan_semaphore_check(const tern_hal_semaphore_point_t& point);

// Adds a point. Waits for the oldest one if there are too many.
TERN_MUST_USE tern_status_t vulkan_semaphore_add(const tern_hal_semaphore_point_t& point, Device* device,
                                                 uint64_t serial);

}  // namespace tern::vulkan
