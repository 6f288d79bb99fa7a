// The public API's buffers: the HAL's, with sizes unsigned.
#include "hal/allocator.h"
#include "hal/device.h"
#include "tern/tern.h"

namespace {

// Sizes above this are wrong in any case; the HAL's are signed.
constexpr uint64_t kMaxSize = INT64_MAX;

tern_status_t check_size(tern_device_t* device, uint64_t size) {
  if (size && size <= kMaxSize) return TERN_OK;
  return tern_status_make(tern_hal_device_host_allocator(device), TERN_STATUS_OUT_OF_RANGE,
                          "A buffer of (%llu) bytes cannot be: it has 1 to (%llu).",
                          static_cast<unsigned long long>(size), static_cast<unsigned long long>(kMaxSize));
}

// What the HAL checks against the buffer's size: too large a number stays too large.
int64_t hal_size(uint64_t size) {
  return static_cast<int64_t>(size <= kMaxSize ? size : kMaxSize);
}

}  // namespace

tern_status_t tern_buffer_create(tern_device_t* device, uint64_t size, tern_buffer_t** out_buffer) {
  if (!device || !out_buffer) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_buffer = nullptr;
  TERN_RETURN_IF_ERROR(check_size(device, size));
  return tern_hal_device_allocate_buffer(device, TERN_HAL_MEMORY_DEVICE_LOCAL, hal_size(size), out_buffer);
}

tern_status_t tern_buffer_import(tern_device_t* device, uint64_t address, uint64_t size,
                                 tern_buffer_t** out_buffer) {
  if (!device || !out_buffer) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_buffer = nullptr;
  TERN_RETURN_IF_ERROR(check_size(device, size));
  if (address > UINTPTR_MAX) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  tern_hal_import_t import = {};
  import.pointer = reinterpret_cast<void*>(static_cast<uintptr_t>(address));
  import.size = hal_size(size);
  import.memory = TERN_HAL_MEMORY_DEVICE_LOCAL | TERN_HAL_MEMORY_DEVICE_ADDRESS;
  return tern_hal_device_import_buffer(device, &import, out_buffer);
}

void tern_buffer_release(tern_buffer_t* buffer) {
  tern_hal_buffer_release(buffer);
}

uint64_t tern_buffer_size(const tern_buffer_t* buffer) {
  return buffer ? tern_hal_buffer_size(buffer) : 0;
}

uint64_t tern_buffer_address(const tern_buffer_t* buffer) {
  return buffer ? tern_hal_buffer_device_address(buffer) : 0;
}

tern_status_t tern_buffer_read(tern_buffer_t* buffer, uint64_t offset, void* out_data, uint64_t size) {
  return tern_hal_buffer_read(buffer, hal_size(offset), out_data, hal_size(size));
}

tern_status_t tern_buffer_write(tern_buffer_t* buffer, uint64_t offset, const void* data, uint64_t size) {
  return tern_hal_buffer_write(buffer, hal_size(offset), data, hal_size(size));
}
