// The HAL's headers are C11: this file compiles, and a C program can use them.
#include "drivers/cpu/cpu_driver.h"
#include "drivers/null/null_driver.h"
#include "hal/allocator.h"
#include "hal/base/allocator.h"
#include "hal/base/atomic.h"
#include "hal/base/checked_math.h"
#include "hal/base/host_sync.h"
#include "hal/base/span.h"
#include "hal/base/status.h"
#include "hal/buffer.h"
#include "hal/command_buffer.h"
#include "hal/device.h"
#include "hal/driver_registry.h"
#include "hal/event_log.h"
#include "hal/executable.h"
#include "hal/semaphore.h"
#include "hal/types.h"

tern_status_t cts_make_device_from_c(tern_hal_device_t** out_device);

tern_status_t cts_make_device_from_c(tern_hal_device_t** out_device) {
  tern_hal_driver_registry_t registry = {{0}, 0};
  TERN_RETURN_IF_ERROR(tern_null_driver_register(&registry));
  return tern_hal_driver_create_device(tern_hal_driver_registry_find(&registry, tern_string_view("null")),
                                       NULL, tern_allocator_system(), out_device);
}
