#include "hal/device.h"

#include "hal/base/atomic.h"
#include "hal/base/host_sync.h"

extern "C" int64_t tern_hal_now(void) {
  return tern_host_now();
}

extern "C" void tern_hal_device_initialize(tern_hal_device_t* device, const tern_hal_device_vtable_t* vtable,
                                           tern_allocator_t allocator, tern_string_view_t driver_name,
                                           const tern_hal_device_desc_t* desc) {
  *device = {};
  device->ref_count = 1;
  device->vtable = vtable;
  device->allocator = allocator;
  device->driver_name = driver_name;
  device->worker_count = 1;
  device->memory_limit = desc->memory_limit;
}

extern "C" void tern_hal_device_retain(tern_hal_device_t* device) {
  tern_ref_retain(&device->ref_count);
}

extern "C" void tern_hal_device_release(tern_hal_device_t* device) {
  if (device && tern_ref_release(&device->ref_count)) device->vtable->destroy(device);
}

extern "C" tern_string_view_t tern_hal_device_driver_name(const tern_hal_device_t* device) {
  return device->driver_name;
}
extern "C" tern_allocator_t tern_hal_device_host_allocator(const tern_hal_device_t* device) {
  return device->allocator;
}
extern "C" uint32_t tern_hal_device_worker_count(const tern_hal_device_t* device) {
  return device->worker_count;
}

extern "C" tern_status_t tern_hal_device_query_capability(tern_hal_device_t* device, uint32_t id,
                                                          int64_t* out_value) {
  if (!device || !out_value) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_value = 0;
  if (tern_atomic_load_i32(&device->lost)) return tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  return device->vtable->query_capability(device, id, out_value);
}

extern "C" tern_status_t tern_hal_device_wait_idle(tern_hal_device_t* device) {
  if (!device) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  if (tern_atomic_load_i32(&device->lost)) return tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  return device->vtable->wait_idle(device);
}
