// The Vulkan device: one queue with compute, its memory, pipelines' cache, and the queue of what was
// submitted (vulkan_queue.h). And the makers of its objects.
//
// Submissions run in order: each recording begins with a barrier that waits for all before it.
#pragma once

#include "drivers/vulkan/vulkan_driver.h"
#include "drivers/vulkan/vulkan_memory.h"
#include "drivers/vulkan/vulkan_queue.h"
#include "drivers/vulkan/vulkan_symbols.h"
#include "hal/base/host_sync.h"
#include "hal/device.h"

namespace tern::vulkan {

// Rows of schemas/abi/capabilities.def that are this driver's.
constexpr uint32_t kFirstCapability = 14, kCapabilityCount = 38;

// Two halves of mapped memory through which host transfers go. Made with the first transfer.
constexpr uint64_t kStagingHalf = 2 << 20;
struct Staging {
  tern_mutex_t mutex;
  VkCommandPool pool;
  VkCommandBuffer commands[2];
  Chunk* memory[2];
  uint64_t serial[2];  // of the half's last use
};

// How pipelines see what a dispatch brings (schemas/abi/kernel_abi.h). One for all entries of the same shape.
struct Layout {
  Layout* next;
  uint32_t bindings;    // storage buffers
  uint32_t push_bytes;  // push constants
  VkDescriptorSetLayout set;
  VkPipelineLayout pipeline;
};

struct PipelineCache {
  tern_mutex_t mutex;  // guards all, and the making of pipelines
  VkPipelineCache handle;
  bool stale;         // there are pipelines that the file has not
  char path[512];     // of the file; empty: none
  uint64_t hash;      // of what the file holds
  uint32_t compiled;  // pipelines that were not in the cache
  Layout* layouts;
};

struct Limits {
  uint64_t storage_range;
  uint64_t buffer_size;        // of a VkBuffer
  uint32_t storage_alignment;  // of bindings' offsets; at least 16
  uint32_t import_alignment;   // of imported host memory; 0: no imports
  uint32_t workgroup_memory;
  uint32_t workgroup_invocations;
  uint32_t workgroup_size[3];
  uint32_t whole_subgroups;  // their size in kernels that rely on it; 0: as the device does it
  // Sizes that subgroups can be told to have, and how many a workgroup has then at most; 0: they cannot.
  uint32_t least_subgroup, most_subgroup, most_subgroups;
  uint32_t storage_buffers;
  uint32_t timestamp_bits;  // 0: none
  float timestamp_ns;
  uint32_t spirv_version;  // word 1 of modules that it takes
};

constexpr uint32_t kUsualSubgroup = 32;  // what kernels rely on whose entries do not say another size
// Whether subgroups of workgroups of so many invocations can be told to have this size.
inline bool vulkan_tells_subgroups(const Limits& limits, uint32_t size, uint32_t invocations) {
  return size && !(size & (size - 1)) && size >= limits.least_subgroup && size <= limits.most_subgroup &&
         invocations / size <= limits.most_subgroups;
}

struct Device {
  tern_hal_device_t head;  // must be first
  Symbols symbols;
  VkPhysicalDevice physical;
  VkDevice handle;
  VkQueue queue_handle;
  uint32_t queue_family;
  uint32_t quirks;        // TERN_VULKAN_QUIRK_...
  bool unified;           // the host sees the local pool
  bool host_writes;       // the host sees the written pool, and should only write there
  bool integrated;        // device memory is host memory
  bool tells_cache_hits;  // whether pipelines came from the cache (Vulkan 1.3)
  uint64_t memory_size;   // of the local pool's heap
  Limits limits;
  int64_t capabilities[kCapabilityCount];
  tern_vulkan_options_t options;
  Queue queue;
  Memory memory;
  Staging staging;
  PipelineCache pipelines;
  Chunk*
      placeholders[kPoolCount];  // a little memory, for bindings of no length; keeps each pool's first block
};

inline Device* cast_device(tern_hal_device_t* device) {
  return reinterpret_cast<Device*>(device);
}

// vulkan_status for a device: a result that says so marks the device as lost.
TERN_MUST_USE tern_status_t vulkan_device_status(Device* device, VkResult result, const char* call);

// Calls a row of vulkan_symbols.def and returns from the calling function if it fails.
#define TERN_VULKAN_TRY(device, member, ...) \
  TERN_RETURN_IF_ERROR(                      \
      ::tern::vulkan::vulkan_device_status(device, (device)->symbols.member(__VA_ARGS__), "vk" #member))

TERN_MUST_USE tern_status_t vulkan_device_create(const tern_hal_device_desc_t* desc,
                                                 tern_allocator_t allocator, tern_hal_device_t** out_device);

// The instance's devices that the driver takes, the fastest kind first; *out_count is how many, of which at
// most `capacity` are stored.
TERN_MUST_USE tern_status_t vulkan_device_list(tern_allocator_t allocator, const Symbols& symbols,
                                               VkPhysicalDevice* out_devices, uint32_t capacity,
                                               uint32_t* out_count);

// vulkan_features.cc: asks the device what it can do (limits, capabilities, quirks) and makes the VkDevice
// with all of it on.
TERN_MUST_USE tern_status_t vulkan_features_open(Device* device);

// vulkan_buffer.cc
TERN_MUST_USE tern_status_t vulkan_buffer_allocate(tern_hal_device_t* device, uint32_t memory, uint64_t size,
                                                   tern_hal_buffer_t** out_buffer);
TERN_MUST_USE tern_status_t vulkan_buffer_import(tern_hal_device_t* device, const tern_hal_import_t* import,
                                                 tern_hal_buffer_t** out_buffer);
// Where a byte of the buffer is.
Place vulkan_buffer_place(const tern_hal_buffer_t* buffer, uint64_t offset);

// vulkan_staging.cc: host copies through mapped memory; both return when the host's side is done.
TERN_MUST_USE tern_status_t vulkan_staging_write(Device* device, Place target, const void* source,
                                                 uint64_t length);
TERN_MUST_USE tern_status_t vulkan_staging_read(Device* device, void* target, Place source, uint64_t length);
void vulkan_staging_destroy(Device* device);

// `more`: the first of a chain of structures that are filled as well, or null.
inline VkPhysicalDeviceProperties vulkan_properties(const Symbols& symbols, VkPhysicalDevice device,
                                                    void* more = nullptr) {
  VkPhysicalDeviceProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  properties.pNext = more;
  symbols.GetPhysicalDeviceProperties2(device, &properties);
  return properties.properties;
}

// vulkan_record.cc
void vulkan_record_copy(Device* device, VkCommandBuffer commands, const Place& from, const Place& to,
                        uint64_t length);

// vulkan_pipeline_cache.cc
void vulkan_pipeline_cache_open(Device* device);  // without a file where there is none that does
void vulkan_pipeline_cache_save(Device* device);  // if there is something new
void vulkan_pipeline_cache_destroy(Device* device);
TERN_MUST_USE tern_status_t vulkan_pipeline_cache_layout(Device* device, uint32_t bindings,
                                                         uint32_t push_bytes, const Layout** out_layout);

}  // namespace tern::vulkan
