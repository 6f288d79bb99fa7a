#include "hal/semaphore.h"

#include "hal/base/atomic.h"
#include "hal/device.h"

extern "C" tern_status_t tern_hal_semaphore_create(tern_hal_device_t* device, uint64_t initial_value,
                                                   tern_hal_semaphore_t** out_semaphore) {
  if (!device || !out_semaphore) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_semaphore = nullptr;
  if (tern_atomic_load_i32(&device->lost)) return tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  tern_hal_semaphore_t* semaphore = nullptr;
  TERN_RETURN_IF_ERROR(device->vtable->create_semaphore(device, initial_value, &semaphore));
  semaphore->ref_count = 1;
  semaphore->device = device;
  tern_hal_device_retain(device);
  *out_semaphore = semaphore;
  return TERN_OK;
}

extern "C" void tern_hal_semaphore_retain(tern_hal_semaphore_t* semaphore) {
  tern_ref_retain(&semaphore->ref_count);
}

extern "C" void tern_hal_semaphore_release(tern_hal_semaphore_t* semaphore) {
  if (!semaphore || !tern_ref_release(&semaphore->ref_count)) return;
  tern_hal_device_t* device = semaphore->device;
  semaphore->vtable->destroy(semaphore);
  tern_hal_device_release(device);
}

extern "C" tern_status_t tern_hal_semaphore_query(tern_hal_semaphore_t* semaphore, uint64_t* out_value) {
  if (!semaphore || !out_value) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_value = 0;
  return semaphore->vtable->query(semaphore, out_value);
}

extern "C" tern_status_t tern_hal_semaphore_signal(tern_hal_semaphore_t* semaphore, uint64_t value) {
  if (!semaphore) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  return semaphore->vtable->signal(semaphore, value);
}

extern "C" void tern_hal_semaphore_fail(tern_hal_semaphore_t* semaphore, tern_status_code_t code) {
  if (semaphore) semaphore->vtable->fail(semaphore, code == TERN_STATUS_OK ? TERN_STATUS_INTERNAL : code);
}

extern "C" tern_status_t tern_hal_semaphore_wait(tern_hal_semaphore_t* semaphore, uint64_t value,
                                                 int64_t deadline) {
  if (!semaphore) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  return semaphore->vtable->wait(semaphore, value, deadline);
}
