#include "drivers/vulkan/vulkan_device.h"
#include "hal/base/atomic.h"

namespace tern::vulkan {
namespace {

constexpr uint64_t kSmallBuffer = 1 << 20;  // inputs that the host may write itself
constexpr uint64_t kMostWritten = 1 << 16;  // at once: longer transfers are faster through staging

// A range that the host has mapped: host memory in place of the device's.
struct Mapping {
  Mapping* next;
  Chunk* chunk;
  uint64_t offset, length;
  uint32_t access;
};

struct Buffer {
  tern_hal_buffer_t head;  // must be first
  Chunk* chunk;            // null: imported
  Pool pool;               // the chunk's
  VkDeviceMemory imported;
  Span span;        // imports: over whole pages
  uint64_t offset;  // imports: of the first byte
  tern_mutex_t mutex;
  Mapping* mappings;
};

Buffer* cast(const tern_hal_buffer_t* buffer) {
  return reinterpret_cast<Buffer*>(const_cast<tern_hal_buffer_t*>(buffer));
}

void drop_mapping(Device* device, Mapping* mapping) {
  vulkan_memory_free(device, kHostPool, mapping->chunk);
  tern_release(device->head.allocator, mapping, sizeof(Mapping));
}

void drop_import(Device* device, Buffer* buffer) {
  vulkan_span_destroy(device, &buffer->span);
  if (buffer->imported) device->symbols.FreeMemory(device->handle, buffer->imported, nullptr);
}

// The front keeps the device alive meanwhile. Work that uses the memory may be under way.
void destroy(tern_hal_buffer_t* base) {
  Buffer* buffer = cast(base);
  Device* device = cast_device(base->device);
  while (Mapping* mapping = buffer->mappings) {
    buffer->mappings = mapping->next;
    drop_mapping(device, mapping);
  }
  if (buffer->chunk) {
    vulkan_memory_free(device, buffer->pool, buffer->chunk);
  } else if (buffer->imported) {
    vulkan_queue_settle(device, vulkan_queue_submitted(device));
    drop_import(device, buffer);
  }
  tern_release(device->head.allocator, buffer, sizeof(Buffer));
}

tern_status_t map(tern_hal_buffer_t* base, uint32_t access, uint64_t offset, uint64_t length,
                  void** out_pointer) {
  Buffer* buffer = cast(base);
  Device* device = cast_device(base->device);
  if (base->host_pointer) {
    TERN_RETURN_IF_ERROR(vulkan_queue_drain(device));
    *out_pointer = static_cast<char*>(base->host_pointer) + offset;
    return TERN_OK;
  }
  auto* mapping =
      static_cast<Mapping*>(tern_allocate(base->device->allocator, sizeof(Mapping), alignof(Mapping)));
  if (!mapping) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *mapping = {nullptr, nullptr, offset, length, access};
  tern_status_t status = vulkan_memory_allocate(device, kHostPool, length, &mapping->chunk);
  // Who writes a part of the range must not lose the rest: contents are fetched in any case.
  if (tern_status_is_ok(status) && length) {
    status = vulkan_staging_read(device, vulkan_chunk_pointer(mapping->chunk),
                                 vulkan_buffer_place(base, offset), length);
  }
  if (!tern_status_is_ok(status)) {
    drop_mapping(device, mapping);
    return status;
  }
  MutexLock lock(&buffer->mutex);
  mapping->next = buffer->mappings;
  buffer->mappings = mapping;
  *out_pointer = vulkan_chunk_pointer(mapping->chunk);
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
  Device* device = cast_device(base->device);
  if (base->host_pointer) return TERN_OK;
  Mapping* mapping = take_mapping(cast(base), offset, length);
  if (!mapping) {
    return tern_status_make(base->device->allocator, TERN_STATUS_FAILED_PRECONDITION,
                            "The range at offset (%llu) of length (%llu) is not mapped.",
                            (unsigned long long)offset, (unsigned long long)length);
  }
  tern_status_t status = TERN_OK;
  if ((mapping->access & TERN_HAL_ACCESS_WRITE) && length) {
    status = vulkan_staging_write(device, vulkan_buffer_place(base, offset),
                                  vulkan_chunk_pointer(mapping->chunk), length);
  }
  drop_mapping(device, mapping);
  return status;
}

tern_status_t read(tern_hal_buffer_t* base, uint64_t offset, void* out_data, uint64_t length) {
  Device* device = cast_device(base->device);
  if (!base->host_pointer) {
    return vulkan_staging_read(device, out_data, vulkan_buffer_place(base, offset), length);
  }
  TERN_RETURN_IF_ERROR(vulkan_queue_drain(device));
  __builtin_memcpy(out_data, static_cast<const char*>(base->host_pointer) + offset, length);
  return TERN_OK;
}

// Whether the host may write the buffer's memory itself: nothing that runs can use it, and what is submitted
// from now on sees it (vkQueueSubmit orders the host's writes before it).
bool can_write(Device* device, const Buffer* buffer, uint64_t length) {
  return device->host_writes && buffer->pool == kWrittenPool && length <= kMostWritten &&
         !tern_atomic_load_i32(&device->head.lost) &&
         vulkan_queue_completed(device) == vulkan_queue_submitted(device);
}

tern_status_t write(tern_hal_buffer_t* base, uint64_t offset, const void* data, uint64_t length) {
  Device* device = cast_device(base->device);
  if (!base->host_pointer && can_write(device, cast(base), length)) {
    __builtin_memcpy(vulkan_chunk_pointer(cast(base)->chunk) + offset, data, length);
    return TERN_OK;
  }
  if (!base->host_pointer) {
    return vulkan_staging_write(device, vulkan_buffer_place(base, offset), data, length);
  }
  TERN_RETURN_IF_ERROR(vulkan_queue_drain(device));
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

// The memory types that can be made of the pages, of those that a buffer takes: one of them, or
// VK_MAX_MEMORY_TYPES.
uint32_t import_type(Device* device, void* pages, uint32_t buffer_types) {
  VkMemoryHostPointerPropertiesEXT properties = {};
  properties.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT;
  if (device->symbols.GetMemoryHostPointerPropertiesEXT(
          device->handle, VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT, pages, &properties) < 0) {
    return VK_MAX_MEMORY_TYPES;
  }
  const uint32_t types = properties.memoryTypeBits & buffer_types;
  for (uint32_t type : device->memory.types) {
    if (types >> type & 1) return type;
  }
  return types ? static_cast<uint32_t>(__builtin_ctz(types)) : VK_MAX_MEMORY_TYPES;
}

// Makes the whole pages around the memory a buffer of the device.
tern_status_t attach(Device* device, const tern_hal_import_t* import, Buffer* buffer) {
  const uint64_t page = device->limits.import_alignment;
  const uint64_t skipped = reinterpret_cast<uintptr_t>(import->pointer) % page;
  const uint64_t size = (skipped + static_cast<uint64_t>(import->size) + page - 1) / page * page;
  char* pages = static_cast<char*>(import->pointer) - skipped;
  VkExternalMemoryBufferCreateInfo external = {};
  external.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO;
  external.handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
  VkMemoryRequirements needs;
  TERN_RETURN_IF_ERROR(vulkan_span_make(device, size, &external, &buffer->span, &needs));
  buffer->offset = skipped;
  VkImportMemoryHostPointerInfoEXT host = {};
  host.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT;
  host.handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
  host.pHostPointer = pages;
  VkMemoryAllocateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  info.pNext = &host;
  info.allocationSize = size;
  info.memoryTypeIndex = import_type(device, pages, needs.memoryTypeBits);
  if (info.memoryTypeIndex == VK_MAX_MEMORY_TYPES || needs.size > size) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                            "The host memory cannot be made memory of the device.");
  }
  TERN_VULKAN_TRY(device, AllocateMemory, device->handle, &info, nullptr, &buffer->imported);
  return vulkan_span_bind(device, buffer->span, buffer->imported);
}

tern_status_t import_memory(Device* device, const tern_hal_import_t* import, Buffer* buffer) {
  if (import->memory & TERN_HAL_MEMORY_DEVICE_ADDRESS) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                            "Memory of a Vulkan device has no address to import.");
  }
  if ((import->memory & TERN_HAL_MEMORY_DEVICE_LOCAL) && !device->unified) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                            "Host memory is not local to this device.");
  }
  if (!device->limits.import_alignment) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                            "The device cannot import host memory.");
  }
  if (!import->size) return TERN_OK;
  tern_status_t status = attach(device, import, buffer);
  const tern_status_code_t code = tern_status_code(status);
  if (code == TERN_STATUS_OK || code == TERN_STATUS_DEVICE_LOST || code == TERN_STATUS_INCOMPATIBLE)
    return status;
  // Whatever the driver has against these pages, a copy will do.
  tern_status_free(status);
  return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                          "The host memory cannot be made visible to the device (%s).",
                          tern_status_code_name(code));
}

}  // namespace

tern_status_t vulkan_buffer_allocate(tern_hal_device_t* device, uint32_t, uint64_t size,
                                     tern_hal_buffer_t** out_buffer) {
  Buffer* buffer = make(device);
  if (!buffer) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  buffer->pool = size <= kSmallBuffer ? kWrittenPool : kLocalPool;
  tern_status_t status = vulkan_memory_allocate(cast_device(device), buffer->pool, size, &buffer->chunk);
  if (!tern_status_is_ok(status)) {
    tern_release(device->allocator, buffer, sizeof(Buffer));
    return status;
  }
  if (cast_device(device)->unified) buffer->head.host_pointer = vulkan_chunk_pointer(buffer->chunk);
  *out_buffer = &buffer->head;
  return TERN_OK;
}

tern_status_t vulkan_buffer_import(tern_hal_device_t* device, const tern_hal_import_t* import,
                                   tern_hal_buffer_t** out_buffer) {
  Buffer* buffer = make(device);
  if (!buffer) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  tern_status_t status = import_memory(cast_device(device), import, buffer);
  if (!tern_status_is_ok(status)) {
    drop_import(cast_device(device), buffer);
    tern_release(device->allocator, buffer, sizeof(Buffer));
    return status;
  }
  buffer->head.host_pointer = import->pointer;
  *out_buffer = &buffer->head;
  return TERN_OK;
}

Place vulkan_buffer_place(const tern_hal_buffer_t* base, uint64_t offset) {
  const Buffer* buffer = cast(base);
  return buffer->chunk ? vulkan_chunk_place(buffer->chunk, offset)
                       : Place{&buffer->span, buffer->offset + offset};
}

}  // namespace tern::vulkan
