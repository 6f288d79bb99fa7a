#include "hal/allocator.h"

#include "hal/base/atomic.h"
#include "hal/device.h"

namespace {

constexpr uint32_t kImportFlags = TERN_HAL_MEMORY_READ_ONLY | TERN_HAL_MEMORY_DEVICE_ADDRESS;
constexpr uint32_t kMemoryFlags = TERN_HAL_MEMORY_HOST_VISIBLE | TERN_HAL_MEMORY_DEVICE_LOCAL | kImportFlags;

void adopt(tern_hal_device_t* device, tern_hal_buffer_t* buffer, uint32_t memory, uint64_t size) {
  buffer->ref_count = 1;
  buffer->memory = memory;
  buffer->device = device;
  buffer->size = size;
  buffer->accounted = size;
  buffer->id = __atomic_add_fetch(&device->next_buffer_id, 1, __ATOMIC_RELAXED);
  __atomic_fetch_add(&device->stats.allocation_count, 1, __ATOMIC_RELAXED);
  tern_hal_device_retain(device);
}

tern_status_t check_memory(tern_hal_device_t* device, uint32_t memory, int64_t size) {
  if (tern_atomic_load_i32(&device->lost)) return tern_status_from_code(TERN_STATUS_DEVICE_LOST);
  if (memory & ~kMemoryFlags) {
    return tern_status_make(device->allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The memory flags (%u) hold unknown bits (known: %u).", memory, kMemoryFlags);
  }
  if (size < 0) {
    return tern_status_make(device->allocator, TERN_STATUS_OUT_OF_RANGE,
                            "The buffer's size (%lld) is negative.", (long long)size);
  }
  return TERN_OK;
}

// Takes `size` bytes from the limit, or fails.
tern_status_t account(tern_hal_device_t* device, uint64_t size) {
  uint64_t now = __atomic_add_fetch(&device->stats.bytes_now, size, __ATOMIC_RELAXED);
  if (now < size || (device->memory_limit && now > device->memory_limit)) {
    __atomic_fetch_sub(&device->stats.bytes_now, size, __ATOMIC_RELAXED);
    return tern_status_make(device->allocator, TERN_STATUS_OUT_OF_MEMORY,
                            "The buffer's size (%llu) and what is allocated already (%llu) are more than the "
                            "device's limit (%llu).",
                            (unsigned long long)size, (unsigned long long)(now - size),
                            (unsigned long long)device->memory_limit);
  }
  uint64_t peak = __atomic_load_n(&device->stats.bytes_peak, __ATOMIC_RELAXED);
  while (now > peak && !__atomic_compare_exchange_n(&device->stats.bytes_peak, &peak, now, true,
                                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return TERN_OK;
}

}  // namespace

extern "C" tern_status_t tern_hal_device_allocate_buffer(tern_hal_device_t* device, uint32_t memory,
                                                         int64_t size, tern_hal_buffer_t** out_buffer) {
  if (!device || !out_buffer) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_buffer = nullptr;
  TERN_RETURN_IF_ERROR(check_memory(device, memory, size));
  if (memory & kImportFlags) {
    return tern_status_make(device->allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "Only imported memory can be read-only or have a device's address.");
  }
  if ((memory & (TERN_HAL_MEMORY_HOST_VISIBLE | TERN_HAL_MEMORY_DEVICE_LOCAL)) == 0) {
    memory |= TERN_HAL_MEMORY_HOST_VISIBLE;
  }
  const uint64_t bytes = static_cast<uint64_t>(size);
  TERN_RETURN_IF_ERROR(account(device, bytes));
  tern_hal_buffer_t* buffer = nullptr;
  tern_status_t status = device->vtable->allocate_buffer(device, memory, bytes, &buffer);
  if (!tern_status_is_ok(status)) {
    __atomic_fetch_sub(&device->stats.bytes_now, bytes, __ATOMIC_RELAXED);
    return status;
  }
  // Memory that the CPU sees can be mapped whether asked for or not.
  if (buffer->host_pointer) memory |= TERN_HAL_MEMORY_HOST_VISIBLE;
  adopt(device, buffer, memory, bytes);
  *out_buffer = buffer;
  return TERN_OK;
}

extern "C" tern_status_t tern_hal_device_import_buffer(tern_hal_device_t* device,
                                                       const tern_hal_import_t* import,
                                                       tern_hal_buffer_t** out_buffer) {
  if (!device || !import || !out_buffer) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_buffer = nullptr;
  TERN_RETURN_IF_ERROR(check_memory(device, import->memory, import->size));
  if (!import->pointer && import->size) {
    return tern_status_make(device->allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The imported memory (%lld bytes) has no address.", (long long)import->size);
  }
  tern_hal_buffer_t* buffer = nullptr;
  TERN_RETURN_IF_ERROR(device->vtable->import_buffer(device, import, &buffer));
  const bool of_host = buffer->host_pointer || !(import->memory & TERN_HAL_MEMORY_DEVICE_ADDRESS);
  adopt(device, buffer, import->memory | (of_host ? TERN_HAL_MEMORY_HOST_VISIBLE : 0),
        static_cast<uint64_t>(import->size));
  buffer->import_pointer = import->pointer;
  buffer->release_import = import->release;
  buffer->release_import_self = import->release_self;
  if (!import->pointer) buffer->accounted = 0;
  __atomic_fetch_add(&device->stats.bytes_imported, buffer->accounted, __ATOMIC_RELAXED);
  *out_buffer = buffer;
  return TERN_OK;
}

extern "C" tern_status_t tern_hal_buffer_reimport(tern_hal_buffer_t* buffer, void* pointer, int64_t size) {
  if (!buffer || !pointer || size < 0) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  tern_hal_device_t* device = buffer->device;
  if (!buffer->import_pointer || buffer->release_import || tern_atomic_load_i32(&buffer->ref_count) != 1) {
    return tern_status_make(device->allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "Only an imported buffer that nobody else holds can be given other memory.");
  }
  if (buffer->vtable->map) return tern_status_from_code(TERN_STATUS_INCOMPATIBLE);
  const uint64_t bytes = static_cast<uint64_t>(size);
  __atomic_fetch_add(&device->stats.bytes_imported, bytes - buffer->accounted, __ATOMIC_RELAXED);
  buffer->host_pointer = buffer->import_pointer = pointer;
  if (buffer->device_address) buffer->device_address = reinterpret_cast<uintptr_t>(pointer);
  buffer->size = buffer->accounted = bytes;
  buffer->id = __atomic_add_fetch(&device->next_buffer_id, 1, __ATOMIC_RELAXED);
  return TERN_OK;
}

extern "C" tern_hal_allocator_stats_t tern_hal_device_memory_stats(tern_hal_device_t* device) {
  tern_hal_allocator_stats_t stats;
  stats.bytes_now = __atomic_load_n(&device->stats.bytes_now, __ATOMIC_RELAXED);
  stats.bytes_peak = __atomic_load_n(&device->stats.bytes_peak, __ATOMIC_RELAXED);
  stats.bytes_imported = __atomic_load_n(&device->stats.bytes_imported, __ATOMIC_RELAXED);
  stats.allocation_count = __atomic_load_n(&device->stats.allocation_count, __ATOMIC_RELAXED);
  return stats;
}
