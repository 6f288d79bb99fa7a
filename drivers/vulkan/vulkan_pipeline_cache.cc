// Compiled pipelines on disk, one file a device and driver version, and the layouts that pipelines share.
//
// The file is ours: a head with the length and a checksum, then Vulkan's own data. What is damaged or of
// another driver is ignored, and written anew. It is written beside itself and renamed, so that nobody reads
// half of one.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/vulkan/vulkan_device.h"

namespace tern::vulkan {
namespace {

constexpr uint64_t kMagic = 0x31434c5056524554;  // "TERVPLC1"
constexpr uint64_t kLargestFile = uint64_t{1} << 30;

struct FileHead {
  uint64_t magic;
  uint64_t size;  // bytes behind the head
  uint64_t hash;  // of them
};

// FNV-1a.
uint64_t hash_of(const void* data, size_t size, uint64_t hash = 0xcbf29ce484222325) {
  for (size_t i = 0; i < size; ++i) {
    hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3;
  }
  return hash;
}

// The folder, made if need be; false: there is none to use.
bool find_folder(const tern_vulkan_options_t& options, char* out, size_t size) {
  int written = 0;
  if (options.cache_dir) {
    written = snprintf(out, size, "%s", options.cache_dir);
  } else if (const char* folder = getenv("TERN_CACHE_DIR"); folder && *folder) {
    written = snprintf(out, size, "%s", folder);
  } else if (const char* base = getenv("XDG_CACHE_HOME"); base && *base) {
    written = snprintf(out, size, "%s/tern", base);
  } else if (const char* home = getenv("HOME"); home && *home) {
    written = snprintf(out, size, "%s/.cache/tern", home);
  }
  if (written <= 0 || static_cast<size_t>(written) >= size) return false;
  for (char* slash = out + 1; *slash; ++slash) {
    if (*slash != '/') continue;
    *slash = 0;
    (void)mkdir(out, 0755);
    *slash = '/';
  }
  (void)mkdir(out, 0755);
  return access(out, W_OK) == 0;
}

// Named for what makes the data unusable elsewhere.
void find_path(Device* device) {
  PipelineCache& cache = device->pipelines;
  char folder[sizeof(cache.path) - 64];
  if (!find_folder(device->options, folder, sizeof(folder))) return;
  VkPhysicalDeviceIDProperties ids = {};
  ids.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES;
  const VkPhysicalDeviceProperties p = vulkan_properties(device->symbols, device->physical, &ids);
  const uint32_t numbers[] = {p.vendorID, p.deviceID, p.driverVersion, p.apiVersion};
  uint64_t hash = hash_of(numbers, sizeof(numbers));
  hash = hash_of(p.pipelineCacheUUID, VK_UUID_SIZE, hash);
  hash = hash_of(ids.deviceUUID, VK_UUID_SIZE, hash);
  hash = hash_of(ids.driverUUID, VK_UUID_SIZE, hash);
  snprintf(cache.path, sizeof(cache.path), "%s/vulkan-%016llx.pipelines", folder, (unsigned long long)hash);
}

// The file's data, if it is whole: *out_size bytes to be released; null if not.
uint8_t* read_file(Device* device, size_t* out_size) {
  FILE* file = fopen(device->pipelines.path, "rb");
  if (!file) return nullptr;
  FileHead head;
  uint8_t* data = nullptr;
  if (fread(&head, sizeof(head), 1, file) == 1 && head.magic == kMagic && head.size &&
      head.size < kLargestFile) {
    const auto size = static_cast<size_t>(head.size);
    data = static_cast<uint8_t*>(tern_allocate(device->head.allocator, size, 16));
    if (data && (fread(data, 1, size, file) != size || hash_of(data, size) != head.hash)) {
      tern_release(device->head.allocator, data, size);
      data = nullptr;
    }
    *out_size = size;
  }
  fclose(file);
  return data;
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

void write_file(const char* path, const uint8_t* data, size_t size, uint64_t hash) {
  char temporary[600];
  snprintf(temporary, sizeof(temporary), "%s.%d", path, static_cast<int>(getpid()));
  FILE* file = fopen(temporary, "wb");
  if (!file) return;
  const FileHead head = {kMagic, size, hash};
  const bool written = fwrite(&head, sizeof(head), 1, file) == 1 && fwrite(data, 1, size, file) == size;
  if (fclose(file) != 0 || !written || rename(temporary, path) != 0) (void)unlink(temporary);
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
  uint8_t* data = cache.path[0] ? read_file(device, &size) : nullptr;
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
  if (data) cache.hash = hash_of(data, size);
  tern_release(device->head.allocator, data, size);
}

void vulkan_pipeline_cache_save(Device* device) {
  PipelineCache& cache = device->pipelines;
  if (!__atomic_load_n(&cache.stale, __ATOMIC_ACQUIRE)) return;
  MutexLock lock(&cache.mutex);
  if (!cache.stale) return;
  cache.stale = false;
  size_t size = 0;
  if (!cache.handle || !cache.path[0] ||
      device->symbols.GetPipelineCacheData(device->handle, cache.handle, &size, nullptr) < 0 || !size) {
    return;
  }
  auto* data = static_cast<uint8_t*>(tern_allocate(device->head.allocator, size, 16));
  if (!data) return;
  size_t filled = size;
  if (device->symbols.GetPipelineCacheData(device->handle, cache.handle, &filled, data) == VK_SUCCESS) {
    const uint64_t hash = hash_of(data, filled);
    if (hash != cache.hash) write_file(cache.path, data, filled, hash);
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
