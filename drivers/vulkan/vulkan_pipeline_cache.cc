// Compiled pipelines on disk, one file a device and driver version, and the layouts that pipelines share.
//
// What is another driver's in a file is ignored, as what is damaged is (hal/base/cache_file.h), and written
// anew.
#include <stdio.h>
#include <string.h>

#include "drivers/vulkan/vulkan_device.h"
#include "hal/base/cache_file.h"

namespace tern::vulkan {
namespace {

// Named for what makes the data unusable elsewhere.
void find_path(Device* device) {
  PipelineCache& cache = device->pipelines;
  char folder[sizeof(cache.path) - 64];
  if (!cache_folder(device->options.cache_dir, folder, sizeof(folder))) return;
  VkPhysicalDeviceIDProperties ids = {};
  ids.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES;
  const VkPhysicalDeviceProperties p = vulkan_properties(device->symbols, device->physical, &ids);
  const uint32_t numbers[] = {p.vendorID, p.deviceID, p.driverVersion, p.apiVersion};
  uint64_t hash = cache_hash(numbers, sizeof(numbers));
  hash = cache_hash(p.pipelineCacheUUID, VK_UUID_SIZE, hash);
  hash = cache_hash(ids.deviceUUID, VK_UUID_SIZE, hash);
  hash = cache_hash(ids.driverUUID, VK_UUID_SIZE, hash);
  snprintf(cache.path, sizeof(cache.path), "%s/vulkan-%016llx.pipelines", folder, (unsigned long long)hash);
}

// Whether the data's own head names this device and driver: not all drivers look.
bool is_own(Device* device, const uint8_t* data, size_t size) {
  VkPipelineCacheHeaderVersionOne head;
  if (size < sizeof(head)) return false;
  memcpy(&head, data, sizeof(head));
  const VkPhysicalDeviceProperties p = vulkan_properties(device->symbols, device->physical);
  return head.headerSize >= sizeof(head) && head.headerSize <= size &&
         head.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE && head.vendorID == p.vendorID &&
         head.deviceID == p.deviceID &&
         memcmp(head.pipelineCacheUUID, p.pipelineCacheUUID, VK_UUID_SIZE) == 0;
}

tern_status_t make_layout(Device* device, Layout* layout) {
  constexpr uint32_t kMost = 64;
  VkDescriptorSetLayoutBinding bindings[kMost] = {};
  if (layout->bindings > kMost || layout->bindings > device->limits.storage_buffers) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                            "The kernel has (%u) storage buffers; the device takes (%u).", layout->bindings,
                            device->limits.storage_buffers < kMost ? device->limits.storage_buffers : kMost);
  }
  for (uint32_t i = 0; i < layout->bindings; ++i) {
    bindings[i].binding = i;
    bindings[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    bindings[i].descriptorCount = 1;
    bindings[i].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  }
  VkDescriptorSetLayoutCreateInfo set = {};
  set.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
  set.bindingCount = layout->bindings;
  set.pBindings = bindings;
  TERN_VULKAN_TRY(device, CreateDescriptorSetLayout, device->handle, &set, nullptr, &layout->set);
  const VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, layout->push_bytes};
  VkPipelineLayoutCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  info.setLayoutCount = 1;
  info.pSetLayouts = &layout->set;
  info.pushConstantRangeCount = 1;
  info.pPushConstantRanges = &push;
  TERN_VULKAN_TRY(device, CreatePipelineLayout, device->handle, &info, nullptr, &layout->pipeline);
  return TERN_OK;
}

void drop_layout(Device* device, Layout* layout) {
  if (layout->pipeline) device->symbols.DestroyPipelineLayout(device->handle, layout->pipeline, nullptr);
  if (layout->set) device->symbols.DestroyDescriptorSetLayout(device->handle, layout->set, nullptr);
  tern_release(device->head.allocator, layout, sizeof(Layout));
}

}  // namespace

void vulkan_pipeline_cache_open(Device* device) {
  PipelineCache& cache = device->pipelines;
  find_path(device);
  size_t size = 0;
  uint8_t* data = cache.path[0] ? cache_read(device->head.allocator, cache.path, &size) : nullptr;
  if (data && !is_own(device, data, size)) {
    tern_release(device->head.allocator, data, size);
    data = nullptr;
  }
  VkPipelineCacheCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  info.initialDataSize = data ? size : 0;
  info.pInitialData = data;
  if (device->symbols.CreatePipelineCache(device->handle, &info, nullptr, &cache.handle) < 0)
    cache.handle = nullptr;
  if (data) cache.hash = cache_hash(data, size);
  tern_release(device->head.allocator, data, size);
}

void vulkan_pipeline_cache_save(Device* device) {
  PipelineCache& cache = device->pipelines;
  if (!__atomic_load_n(&cache.stale, __ATOMIC_ACQUIRE)) return;
  MutexLock lock(&cache.mutex);
  if (!cache.stale) return;
  __atomic_store_n(&cache.stale, false, __ATOMIC_RELAXED);  // others look without the lock
  size_t size = 0;
  if (!cache.handle || !cache.path[0] ||
      device->symbols.GetPipelineCacheData(device->handle, cache.handle, &size, nullptr) < 0 || !size) {
    return;
  }
  auto* data = static_cast<uint8_t*>(tern_allocate(device->head.allocator, size, 16));
  if (!data) return;
  size_t filled = size;
  if (device->symbols.GetPipelineCacheData(device->handle, cache.handle, &filled, data) == VK_SUCCESS) {
    const uint64_t hash = cache_hash(data, filled);
    if (hash != cache.hash) cache_write(cache.path, data, filled);
    cache.hash = hash;
  }
  tern_release(device->head.allocator, data, size);
}

void vulkan_pipeline_cache_destroy(Device* device) {
  PipelineCache& cache = device->pipelines;
  while (Layout* layout = cache.layouts) {
    cache.layouts = layout->next;
    drop_layout(device, layout);
  }
  if (cache.handle) device->symbols.DestroyPipelineCache(device->handle, cache.handle, nullptr);
}

tern_status_t vulkan_pipeline_cache_layout(Device* device, uint32_t bindings, uint32_t push_bytes,
                                           const Layout** out_layout) {
  PipelineCache& cache = device->pipelines;
  MutexLock lock(&cache.mutex);
  for (const Layout* layout = cache.layouts; layout; layout = layout->next) {
    if (layout->bindings != bindings || layout->push_bytes != push_bytes) continue;
    *out_layout = layout;
    return TERN_OK;
  }
  auto* layout = static_cast<Layout*>(tern_allocate(device->head.allocator, sizeof(Layout), alignof(Layout)));
  if (!layout) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *layout = {};
  layout->bindings = bindings;
  layout->push_bytes = push_bytes;
  tern_status_t status = make_layout(device, layout);
  if (!tern_status_is_ok(status)) {
    drop_layout(device, layout);
    return status;
  }
  layout->next = cache.layouts;
  cache.layouts = layout;
  *out_layout = layout;
  return TERN_OK;
}

}  // namespace tern::vulkan
