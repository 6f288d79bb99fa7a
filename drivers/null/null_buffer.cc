#include "drivers/null/null_device.h"

namespace tern::null {
namespace {

// Buffers have memory, so that callers can map, read and write them.
// (Skeleton: a device with memory of its own leaves host_pointer null and implements map, unmap, read and
// write.)
struct Buffer {
  tern_hal_buffer_t head;  // must be first
  void* memory;            // null for imports
};

void destroy(tern_hal_buffer_t* base) {
  auto* buffer = reinterpret_cast<Buffer*>(base);
  Line(cast_device(base->device)->sink).add("buffer %llu destroyed", (unsigned long long)base->id);
  tern_allocator_t allocator = base->device->allocator;
  tern_release(allocator, buffer->memory, base->size);
  tern_release(allocator, buffer, sizeof(Buffer));
}

constexpr tern_hal_buffer_vtable_t kVtable = {destroy, nullptr, nullptr, nullptr, nullptr};

// (Skeleton: the front fills in everything but vtable and host_pointer after the maker returned.)
Buffer* make(tern_hal_device_t* device) {
  auto* buffer = static_cast<Buffer*>(tern_allocate(device->allocator, sizeof(Buffer), alignof(Buffer)));
  if (!buffer) return nullptr;
  *buffer = {};
  buffer->head.vtable = &kVtable;
  return buffer;
}

}  // namespace

tern_status_t null_buffer_allocate(tern_hal_device_t* device, uint32_t, uint64_t size,
                                   tern_hal_buffer_t** out_buffer) {
  Buffer* buffer = make(device);
  if (!buffer) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  buffer->memory = tern_allocate(device->allocator, size, 64);
  if (size && !buffer->memory) {
    tern_release(device->allocator, buffer, sizeof(Buffer));
    return tern_status_make(device->allocator, TERN_STATUS_OUT_OF_MEMORY,
                            "The allocator has no room for a buffer of (%llu) bytes.",
                            (unsigned long long)size);
  }
  buffer->head.host_pointer = buffer->memory;
  buffer->head.device_address = reinterpret_cast<uintptr_t>(buffer->memory);
  Line(cast_device(device)->sink).add("buffer allocated: %llu bytes", (unsigned long long)size);
  *out_buffer = &buffer->head;
  return TERN_OK;
}

tern_status_t null_buffer_import(tern_hal_device_t* device, const tern_hal_import_t* import,
                                 tern_hal_buffer_t** out_buffer) {
  Buffer* buffer = make(device);
  if (!buffer) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  buffer->head.host_pointer = import->pointer;
  buffer->head.device_address = reinterpret_cast<uintptr_t>(import->pointer);
  Line(cast_device(device)->sink)
      .add("buffer imported: %lld bytes%s", (long long)import->size,
           import->memory & TERN_HAL_MEMORY_READ_ONLY ? ", read-only" : "");
  *out_buffer = &buffer->head;
  return TERN_OK;
}

}  // namespace tern::null
