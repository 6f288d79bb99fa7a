#include "hal/buffer.h"

#include <string.h>

#include "hal/allocator.h"
#include "hal/base/atomic.h"
#include "hal/base/checked_math.h"
#include "hal/device.h"

namespace {

tern_status_t check_range(const tern_hal_buffer_t* buffer, int64_t offset, int64_t length) {
  if (tern_range_fits(offset, length, buffer->size)) return TERN_OK;
  return tern_status_make(
      buffer->device->allocator, TERN_STATUS_OUT_OF_RANGE,
      "The range at offset (%lld) of length (%lld) does not lie inside the buffer (%llu bytes).",
      (long long)offset, (long long)length, (unsigned long long)buffer->size);
}

tern_status_t check_access(const tern_hal_buffer_t* buffer, uint32_t access) {
  if (access == 0 || (access & ~(TERN_HAL_ACCESS_READ | TERN_HAL_ACCESS_WRITE))) {
    return tern_status_make(buffer->device->allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The access (%u) is neither read (1), write (2) nor both (3).", access);
  }
  if ((access & TERN_HAL_ACCESS_WRITE) && (buffer->memory & TERN_HAL_MEMORY_READ_ONLY)) {
    return tern_status_make(buffer->device->allocator, TERN_STATUS_PERMISSION_DENIED,
                            "The buffer is read-only and cannot be written.");
  }
  return TERN_OK;
}

// What a read or write by the host needs.
tern_status_t check_transfer(tern_hal_buffer_t* buffer, uint32_t access, int64_t offset, const void* data,
                             int64_t length) {
  if (!buffer || (!data && length)) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  if (tern_atomic_load_i32(&buffer->device->lost)) return tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  TERN_RETURN_IF_ERROR(check_access(buffer, access));
  return check_range(buffer, offset, length);
}

}  // namespace

extern "C" void tern_hal_buffer_retain(tern_hal_buffer_t* buffer) {
  tern_ref_retain(&buffer->ref_count);
}

extern "C" void tern_hal_buffer_release(tern_hal_buffer_t* buffer) {
  if (!buffer || !tern_ref_release(&buffer->ref_count)) return;
  tern_hal_device_t* device = buffer->device;
  const tern_hal_buffer_t head = *buffer;
  buffer->vtable->destroy(buffer);
  if (head.release_import) head.release_import(head.release_import_self, head.import_pointer, head.size);
  uint64_t* counter = head.import_pointer ? &device->stats.bytes_imported : &device->stats.bytes_now;
  __atomic_fetch_sub(counter, head.accounted, __ATOMIC_RELAXED);
  tern_hal_device_release(device);
}

extern "C" uint64_t tern_hal_buffer_size(const tern_hal_buffer_t* buffer) {
  return buffer->size;
}
extern "C" uint32_t tern_hal_buffer_memory(const tern_hal_buffer_t* buffer) {
  return buffer->memory;
}
extern "C" void* tern_hal_buffer_host_pointer(const tern_hal_buffer_t* buffer) {
  return buffer->host_pointer;
}

extern "C" uint64_t tern_hal_buffer_device_address(const tern_hal_buffer_t* buffer) {
  return buffer->device_address;
}

extern "C" tern_status_t tern_hal_buffer_map(tern_hal_buffer_t* buffer, uint32_t access, int64_t offset,
                                             int64_t length, void** out_pointer) {
  if (!buffer || !out_pointer) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_pointer = nullptr;
  TERN_RETURN_IF_ERROR(check_transfer(buffer, access, offset, buffer, length));
  if (!(buffer->memory & TERN_HAL_MEMORY_HOST_VISIBLE)) {
    return tern_status_make(buffer->device->allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "The buffer's memory (%u) is not host-visible and cannot be mapped.",
                            buffer->memory);
  }
  if (!buffer->vtable->map) {
    *out_pointer = static_cast<char*>(buffer->host_pointer) + offset;
    return TERN_OK;
  }
  return buffer->vtable->map(buffer, access, static_cast<uint64_t>(offset), static_cast<uint64_t>(length),
                             out_pointer);
}

extern "C" tern_status_t tern_hal_buffer_unmap(tern_hal_buffer_t* buffer, int64_t offset, int64_t length) {
  if (!buffer) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  TERN_RETURN_IF_ERROR(check_range(buffer, offset, length));
  if (!buffer->vtable->unmap) return TERN_OK;
  return buffer->vtable->unmap(buffer, static_cast<uint64_t>(offset), static_cast<uint64_t>(length));
}

extern "C" tern_status_t tern_hal_buffer_read(tern_hal_buffer_t* buffer, int64_t offset, void* out_data,
                                              int64_t length) {
  TERN_RETURN_IF_ERROR(check_transfer(buffer, TERN_HAL_ACCESS_READ, offset, out_data, length));
  if (length == 0) return TERN_OK;
  if (buffer->vtable->read) {
    return buffer->vtable->read(buffer, static_cast<uint64_t>(offset), out_data,
                                static_cast<uint64_t>(length));
  }
  memcpy(out_data, static_cast<const char*>(buffer->host_pointer) + offset, static_cast<size_t>(length));
  return TERN_OK;
}

extern "C" tern_status_t tern_hal_buffer_write(tern_hal_buffer_t* buffer, int64_t offset, const void* data,
                                               int64_t length) {
  TERN_RETURN_IF_ERROR(check_transfer(buffer, TERN_HAL_ACCESS_WRITE, offset, data, length));
  if (length == 0) return TERN_OK;
  if (buffer->vtable->write) {
    return buffer->vtable->write(buffer, static_cast<uint64_t>(offset), data, static_cast<uint64_t>(length));
  }
  memcpy(static_cast<char*>(buffer->host_pointer) + offset, data, static_cast<size_t>(length));
  return TERN_OK;
}
