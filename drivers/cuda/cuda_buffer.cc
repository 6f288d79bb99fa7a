#include "drivers/cuda/cuda_device.h"

namespace tern::cuda {
namespace {

// A range that the host has mapped: pinned memory in place of the device's.
struct Mapping {
  Mapping* next;
  void* pointer;
  uint64_t offset, length;
  uint32_t access;
};

struct Buffer {
  tern_hal_buffer_t head;  // must be first
  CUdeviceptr address;
  void* registered;  // imports: what cuMemHostRegister took; null: none, or memory that needed none
  bool foreign;      // the application's device memory
  tern_mutex_t mutex;
  Mapping* mappings;
};

Buffer* cast(const tern_hal_buffer_t* buffer) {
  return reinterpret_cast<Buffer*>(const_cast<tern_hal_buffer_t*>(buffer));
}

void drop_mapping(Device* device, Mapping* mapping) {
  if (mapping->pointer) (void)device->symbols.MemFreeHost(mapping->pointer);
  tern_release(device->head.allocator, mapping, sizeof(Mapping));
}

// The front keeps the device alive meanwhile. Work that uses the memory may be under way.
void destroy(tern_hal_buffer_t* base) {
  Buffer* buffer = cast(base);
  Device* device = cast_device(base->device);
  {
    ContextScope scope(device);
    while (Mapping* mapping = buffer->mappings) {
      buffer->mappings = mapping->next;
      drop_mapping(device, mapping);
    }
    if (base->host_pointer || buffer->foreign) {
      (void)device->symbols.StreamSynchronize(device->stream);
      if (buffer->registered) (void)device->symbols.MemHostUnregister(buffer->registered);
    } else if (buffer->address && device->pool) {
      (void)device->symbols.MemFreeAsync(buffer->address, device->stream);
    } else if (buffer->address) {
      (void)device->symbols.MemFree(buffer->address);  // waits for the device
    }
  }
  tern_release(device->head.allocator, buffer, sizeof(Buffer));
}

// Imported memory is the host's already; the stream may still be writing it.
tern_status_t settle(Device* device) {
  ContextScope scope(device);
  TERN_CUDA_TRY(device, StreamSynchronize, device->stream);
  return TERN_OK;
}

tern_status_t map(tern_hal_buffer_t* base, uint32_t access, uint64_t offset, uint64_t length,
                  void** out_pointer) {
  Buffer* buffer = cast(base);
  Device* device = cast_device(base->device);
  if (base->host_pointer) {
    TERN_RETURN_IF_ERROR(settle(device));
    *out_pointer = static_cast<char*>(base->host_pointer) + offset;
    return TERN_OK;
  }
  auto* mapping =
      static_cast<Mapping*>(tern_allocate(base->device->allocator, sizeof(Mapping), alignof(Mapping)));
  if (!mapping) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *mapping = {nullptr, nullptr, offset, length, access};
  ContextScope scope(device);
  // Who writes a part of the range must not lose the rest: contents are fetched in any case.
  tern_status_t status = cuda_device_status(
      device, device->symbols.MemHostAlloc(&mapping->pointer, length ? length : 1, 0), "cuMemHostAlloc");
  if (tern_status_is_ok(status) && length) {
    status = cuda_device_status(
        device,
        device->symbols.MemcpyDtoHAsync(mapping->pointer, buffer->address + offset, length, device->stream),
        "cuMemcpyDtoHAsync");
    if (tern_status_is_ok(status)) status = settle(device);
  }
  if (!tern_status_is_ok(status)) {
    drop_mapping(device, mapping);
    return status;
  }
  MutexLock lock(&buffer->mutex);
  mapping->next = buffer->mappings;
  buffer->mappings = mapping;
  *out_pointer = mapping->pointer;
  return TERN_OK;
}

Mapping* take_mapping(Buffer* buffer, uint64_t offset, uint64_t length) {
  MutexLock lock(&buffer->mutex);
  for (Mapping** link = &buffer->mappings; *link; link = &(*link)->next) {
    Mapping* mapping = *link;
    if (mapping->offset != offset || mapping->length != length) continue;
    *link = mapping->next;
    return mapping;
  }
  return nullptr;
}

tern_status_t unmap(tern_hal_buffer_t* base, uint64_t offset, uint64_t length) {
  Buffer* buffer = cast(base);
  Device* device = cast_device(base->device);
  if (base->host_pointer) return TERN_OK;
  Mapping* mapping = take_mapping(buffer, offset, length);
  if (!mapping) {
    return tern_status_make(base->device->allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "The range at offset (%llu) of length (%llu) is not mapped.",
                            (unsigned long long)offset, (unsigned long long)length);
  }
  ContextScope scope(device);
  tern_status_t status = TERN_OK;
  if ((mapping->access & TERN_HAL_ACCESS_WRITE) && length) {
    status = cuda_device_status(
        device,
        device->symbols.MemcpyHtoDAsync(buffer->address + offset, mapping->pointer, length, device->stream),
        "cuMemcpyHtoDAsync");
    if (tern_status_is_ok(status)) status = settle(device);
  }
  drop_mapping(device, mapping);
  return status;
}

tern_status_t read(tern_hal_buffer_t* base, uint64_t offset, void* out_data, uint64_t length) {
  Device* device = cast_device(base->device);
  if (!base->host_pointer) return cuda_staging_read(device, out_data, cast(base)->address + offset, length);
  TERN_RETURN_IF_ERROR(settle(device));
  __builtin_memcpy(out_data, static_cast<const char*>(base->host_pointer) + offset, length);
  return TERN_OK;
}

tern_status_t write(tern_hal_buffer_t* base, uint64_t offset, const void* data, uint64_t length) {
  Device* device = cast_device(base->device);
  if (!base->host_pointer) return cuda_staging_write(device, cast(base)->address + offset, data, length);
  TERN_RETURN_IF_ERROR(settle(device));
  __builtin_memcpy(static_cast<char*>(base->host_pointer) + offset, data, length);
  return TERN_OK;
}

constexpr tern_hal_buffer_vtable_t kVtable = {destroy, map, unmap, read, write};

Buffer* make(tern_hal_device_t* device) {
  auto* buffer = static_cast<Buffer*>(tern_allocate(device->allocator, sizeof(Buffer), alignof(Buffer)));
  if (!buffer) return nullptr;
  *buffer = {};
  buffer->head.vtable = &kVtable;
  return buffer;
}

tern_status_t allocate_memory(Device* device, uint64_t size, CUdeviceptr* out_address) {
  if (size > device->limits.memory) {
    return tern_status_make(device->head.allocator, TERN_STATUS_OUT_OF_MEMORY,
                            "The buffer's size (%llu) is larger than the device's memory (%llu).",
                            (unsigned long long)size, (unsigned long long)device->limits.memory);
  }
  ContextScope scope(device);
  if (!size) size = 1;
  const CUresult result =
      device->pool ? device->symbols.MemAllocFromPoolAsync(out_address, size, device->pool, device->stream)
                   : device->symbols.MemAlloc(out_address, size);
  TERN_RETURN_IF_ERROR_CONTEXT(cuda_device_status(device, result, "Allocating device memory"),
                               "\n - While allocating a buffer of (%llu) bytes", (unsigned long long)size);
  return TERN_OK;
}

// What kernels take for granted of a binding (schemas/abi/kernel_abi.h).
constexpr uintptr_t kBindingAlignment = 16;

// Takes an address of the application's in this device's memory, or one that the device sees.
tern_status_t adopt(Device* device, const tern_hal_import_t* import, Buffer* buffer) {
  buffer->foreign = true;
  buffer->address = reinterpret_cast<uintptr_t>(import->pointer);
  if (!import->size) return TERN_OK;
  if (buffer->address % kBindingAlignment) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The device address (0x%llx) is not a multiple of %u.", buffer->address,
                            (unsigned)kBindingAlignment);
  }
  ContextScope scope(device);
  int ordinal = -1;
  const CUresult result =
      device->symbols.PointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, buffer->address);
  if (result == CUDA_SUCCESS && ordinal == device->device) return TERN_OK;
  if (result != CUDA_SUCCESS && result != CUDA_ERROR_INVALID_VALUE)
    return cuda_device_status(device, result, "cuPointerGetAttribute");
  return tern_status_make(device->head.allocator, TERN_STATUS_INVALID_ARGUMENT,
                          "The address (0x%llx) is not of memory of the CUDA device (%d).", buffer->address,
                          device->device);
}

// Makes host memory visible to the device, at the address *out_address.
tern_status_t attach(Device* device, const tern_hal_import_t* import, Buffer* buffer) {
  const Limits& limits = device->limits;
  const auto size = static_cast<uint64_t>(import->size);
  if ((import->memory & TERN_HAL_MEMORY_DEVICE_LOCAL) && !limits.integrated) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                            "Host memory is not local to this device.");
  }
  if (!size) return TERN_OK;
  if (reinterpret_cast<uintptr_t>(import->pointer) % kBindingAlignment) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                            "The host memory (%p) does not begin at a multiple of 16 bytes.",
                            import->pointer);
  }
  ContextScope scope(device);
  unsigned flags = CU_MEMHOSTREGISTER_DEVICEMAP;
  if ((import->memory & TERN_HAL_MEMORY_READ_ONLY) && limits.read_only_register)
    flags |= CU_MEMHOSTREGISTER_READ_ONLY;
  CUresult result = device->symbols.MemHostRegister(import->pointer, size, flags);
  if (result == CUDA_SUCCESS) {
    buffer->registered = import->pointer;
    result = device->symbols.MemHostGetDevicePointer(&buffer->address, import->pointer, 0);
    if (result == CUDA_SUCCESS) return TERN_OK;
    (void)device->symbols.MemHostUnregister(import->pointer);
    buffer->registered = nullptr;
  }
  if (limits.pageable_access) {
    buffer->address = reinterpret_cast<CUdeviceptr>(import->pointer);
    return TERN_OK;
  }
  tern_status_t status = cuda_device_status(device, result, "cuMemHostRegister");
  if (tern_status_code(status) == TERN_STATUS_DEVICE_LOST) return status;
  tern_status_free(status);
  return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                          "The host memory cannot be made visible to the device (error %d).", result);
}

}  // namespace

tern_status_t cuda_buffer_allocate(tern_hal_device_t* device, uint32_t, uint64_t size,
                                   tern_hal_buffer_t** out_buffer) {
  Buffer* buffer = make(device);
  if (!buffer) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  tern_status_t status = allocate_memory(cast_device(device), size, &buffer->address);
  if (!tern_status_is_ok(status)) {
    tern_release(device->allocator, buffer, sizeof(Buffer));
    return status;
  }
  buffer->head.device_address = buffer->address;
  *out_buffer = &buffer->head;
  return TERN_OK;
}

tern_status_t cuda_buffer_import(tern_hal_device_t* device, const tern_hal_import_t* import,
                                 tern_hal_buffer_t** out_buffer) {
  Buffer* buffer = make(device);
  if (!buffer) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  const bool of_device = import->memory & TERN_HAL_MEMORY_DEVICE_ADDRESS;
  tern_status_t status =
      of_device ? adopt(cast_device(device), import, buffer) : attach(cast_device(device), import, buffer);
  if (!tern_status_is_ok(status)) {
    tern_release(device->allocator, buffer, sizeof(Buffer));
    return status;
  }
  if (!of_device) buffer->head.host_pointer = import->pointer;
  buffer->head.device_address = buffer->address;
  *out_buffer = &buffer->head;
  return TERN_OK;
}

CUdeviceptr cuda_buffer_address(const tern_hal_buffer_t* buffer) {
  return cast(buffer)->address;
}

}  // namespace tern::cuda
