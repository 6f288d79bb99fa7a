#include "drivers/cpu/cpu_device.h"
#include "drivers/cpu/host.h"
#include "hal/base/checked_math.h"

namespace tern::cpu {
namespace {

constexpr uint64_t kAlignment = 64;               // a cache line, and the widest vector
constexpr uint64_t kLargePage = 2 * 1024 * 1024;  // buffers of two of these or more ask for large pages

struct Buffer {
  tern_hal_buffer_t head;
  void* memory;  // null for imports
  uint64_t memory_size;
};

void destroy(tern_hal_buffer_t* base) {
  auto* buffer = reinterpret_cast<Buffer*>(base);
  tern_allocator_t allocator = base->device->allocator;
  tern_release(allocator, buffer->memory, buffer->memory_size);
  tern_release(allocator, buffer, sizeof(Buffer));
}

constexpr tern_hal_buffer_vtable_t kVtable = {destroy, nullptr, nullptr, nullptr, nullptr};

Buffer* make(tern_hal_device_t* device) {
  auto* buffer = static_cast<Buffer*>(tern_allocate(device->allocator, sizeof(Buffer), alignof(Buffer)));
  if (!buffer) return nullptr;
  *buffer = {};
  buffer->head.vtable = &kVtable;
  return buffer;
}

}  // namespace

tern_status_t cpu_buffer_allocate(tern_hal_device_t* device, uint32_t, uint64_t size,
                                  tern_hal_buffer_t** out_buffer) {
  Buffer* buffer = make(device);
  if (!buffer) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  const bool large = size >= 2 * kLargePage;
  buffer->memory_size = tern_align_up(size ? size : 1, kAlignment);
  buffer->memory = tern_allocate(device->allocator, buffer->memory_size, large ? kLargePage : kAlignment);
  if (!buffer->memory) {
    tern_release(device->allocator, buffer, sizeof(Buffer));
    return tern_status_make(device->allocator, TERN_STATUS_OUT_OF_MEMORY,
                            "The allocator has no room for a buffer of (%llu) bytes.",
                            (unsigned long long)size);
  }
  if (large) host_advise_large_pages(buffer->memory, buffer->memory_size);
  buffer->head.host_pointer = buffer->memory;
  buffer->head.device_address = reinterpret_cast<uintptr_t>(buffer->memory);
  *out_buffer = &buffer->head;
  return TERN_OK;
}

tern_status_t cpu_buffer_import(tern_hal_device_t* device, const tern_hal_import_t* import,
                                tern_hal_buffer_t** out_buffer) {
  Buffer* buffer = make(device);
  if (!buffer) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  buffer->head.host_pointer = import->pointer;
  buffer->head.device_address = reinterpret_cast<uintptr_t>(import->pointer);
  *out_buffer = &buffer->head;
  return TERN_OK;
}

}  // namespace tern::cpu
