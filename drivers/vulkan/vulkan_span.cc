// Memory under VkBuffers (vulkan_memory.h).
#include "drivers/vulkan/vulkan_device.h"

namespace tern::vulkan {
namespace {

constexpr uint64_t kStrideGranule = 65536;  // more than any alignment that buffers ask for

// The bytes of the span's i-th buffer.
uint64_t size_of(const Span& span, uint32_t i) {
  const uint64_t left = span.size - i * span.stride;
  return span.count == 1 || left < 2 * span.stride ? left : 2 * span.stride;
}

}  // namespace

Region vulkan_region(const Place& place, uint64_t length) {
  const Span& span = *place.span;
  uint64_t index = span.count == 1 ? 0 : place.offset / span.stride;
  if (index >= span.count) index = span.count - 1;
  const auto i = static_cast<uint32_t>(index);
  const uint64_t offset = place.offset - i * span.stride, room = size_of(span, i) - offset;
  return {span.buffers[i], offset, length < room ? length : room};
}

tern_status_t vulkan_span_make(Device* device, uint64_t size, const void* next, Span* span,
                               VkMemoryRequirements* out_needs) {
  *span = {};
  span->size = size;
  span->stride = device->limits.buffer_size / 2 / kStrideGranule * kStrideGranule;
  uint64_t count = 1;
  if (size > device->limits.buffer_size) count += (size - span->stride - 1) / span->stride;
  span->buffers = &span->only;
  if (count > 1) {
    span->buffers = static_cast<VkBuffer*>(
        tern_allocate(device->head.allocator, count * sizeof(VkBuffer), alignof(VkBuffer)));
    if (!span->buffers) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
    for (uint64_t i = 0; i < count; ++i) span->buffers[i] = nullptr;
  }
  span->count = static_cast<uint32_t>(count);
  for (uint32_t i = 0; i < span->count; ++i) {
    VkBufferCreateInfo info = {};
    info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
    info.pNext = next;
    info.size = size_of(*span, i);
    info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT;
    info.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
    TERN_VULKAN_TRY(device, CreateBuffer, device->handle, &info, nullptr, &span->buffers[i]);
    device->symbols.GetBufferMemoryRequirements(device->handle, span->buffers[i], out_needs);
    out_needs->size += i * span->stride;  // the last one's is the end of all
  }
  return TERN_OK;
}

tern_status_t vulkan_span_bind(Device* device, const Span& span, VkDeviceMemory memory) {
  for (uint32_t i = 0; i < span.count; ++i) {
    TERN_VULKAN_TRY(device, BindBufferMemory, device->handle, span.buffers[i], memory, i * span.stride);
  }
  return TERN_OK;
}

void vulkan_span_destroy(Device* device, Span* span) {
  for (uint32_t i = 0; i < span->count; ++i) {
    if (span->buffers[i]) device->symbols.DestroyBuffer(device->handle, span->buffers[i], nullptr);
  }
  if (span->count > 1) tern_release(device->head.allocator, span->buffers, span->count * sizeof(VkBuffer));
  *span = {};
}

}  // namespace tern::vulkan
