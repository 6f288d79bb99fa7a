// The null device and the makers of its objects.
//
// (Skeleton: one struct an object, whose first member is the HAL's head, so that a pointer to the one is a
// pointer to the other. Each file makes one kind of object and fills its vtable; what the HAL front has
// checked is not checked again.)
#pragma once

#include "drivers/null/null_driver.h"
#include "drivers/null/null_record.h"
#include "hal/device.h"

namespace tern::null {

struct Device {
  tern_hal_device_t head;  // must be first
  Sink sink;
  uint32_t lose_at_submission;
  uint32_t submission_count;
  tern_null_capability_t* capabilities;
  uint32_t capability_count;
};

inline Device* cast_device(tern_hal_device_t* device) {
  return reinterpret_cast<Device*>(device);
}

TERN_MUST_USE tern_status_t null_device_create(const tern_hal_device_desc_t* desc, tern_allocator_t allocator,
                                               tern_hal_device_t** out_device);

// null_buffer.cc
TERN_MUST_USE tern_status_t null_buffer_allocate(tern_hal_device_t* device, uint32_t memory, uint64_t size,
                                                 tern_hal_buffer_t** out_buffer);
TERN_MUST_USE tern_status_t null_buffer_import(tern_hal_device_t* device, const tern_hal_import_t* import,
                                               tern_hal_buffer_t** out_buffer);

// null_executable.cc
TERN_MUST_USE tern_status_t null_executable_create(tern_hal_device_t* device,
                                                   const tern_hal_executable_desc_t* desc,
                                                   tern_hal_executable_t** out_executable);

// null_command_buffer.cc
TERN_MUST_USE tern_status_t null_command_buffer_create(tern_hal_device_t* device,
                                                       tern_hal_command_buffer_t** out_command_buffer);
// Writes what a submission binds, and the parameter block.
void null_command_buffer_write_arguments(Device* device, const tern_hal_command_buffer_t* commands);

}  // namespace tern::null
