// What a device can do, and the VkDevice with all of it switched on.
#include <string.h>

#include "drivers/vulkan/vulkan_device.h"
#include "drivers/vulkan/vulkan_status.h"

namespace tern::vulkan {
namespace {

enum CapabilityId : uint32_t {
#define TERN_CAPABILITY(id, name, meaning) name = id,
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
};
static_assert(vulkan_api_version == kFirstCapability &&
                  vulkan_i8_8x16x32 == kFirstCapability + kCapabilityCount - 1,
              "the rows of this driver");

// Extensions that are used where the device has them.
enum Extension : uint32_t {
  kStorage8,
  kFloat16Int8,
  kDotProduct,
  kSubgroupSize,
  kDeviceAddress,
  kExternalMemoryHost,
  kMatrices,
  kMemoryModel,
  kBfloat16,
  kSmBuiltins,
  kPortabilitySubset,
  kExtensionCount,
};
struct ExtensionRow {
  const char* name;
  uint32_t core;  // the version that has it without the extension; 0: none
};
constexpr ExtensionRow kExtensions[kExtensionCount] = {
    {VK_KHR_8BIT_STORAGE_EXTENSION_NAME, VK_API_VERSION_1_2},
    {VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME, VK_API_VERSION_1_2},
    {VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME, VK_API_VERSION_1_3},
    {VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, VK_API_VERSION_1_3},
    {VK_KHR_BUFFER_DEVICE_ADDRESS_EXTENSION_NAME, VK_API_VERSION_1_2},
    {VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME, 0},
    {kCooperativeMatrix, 0},
    {VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME, VK_API_VERSION_1_2},  // shaders with matrices use it
    {kShaderBfloat16, 0},
    {VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME, 0},  // asked only
    {"VK_KHR_portability_subset", 0},              // must be on where it is there
};

// The structures of vkGetPhysicalDeviceFeatures2, which vkCreateDevice takes as they were answered.
struct Features {
  VkPhysicalDeviceFeatures2 head;
  VkPhysicalDevice16BitStorageFeatures storage16;
  VkPhysicalDevice8BitStorageFeatures storage8;
  VkPhysicalDeviceShaderFloat16Int8Features float16;
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot_product;
  VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size;
  VkPhysicalDeviceBufferDeviceAddressFeatures device_address;
  CooperativeMatrixFeatures matrices;
  ShaderBfloat16Features bfloat16;
  VkPhysicalDeviceVulkanMemoryModelFeatures memory_model;
};

// Matrices of a subgroup, as the device lists them.
constexpr uint32_t kMostMatrices = 64;

struct Found {
  VkPhysicalDeviceProperties properties;
  VkPhysicalDeviceSubgroupProperties subgroup;
  VkPhysicalDeviceSubgroupSizeControlProperties subgroup_size;
  bool listed[kExtensionCount];
  bool usable[kExtensionCount];  // listed, or in the core of the device's version
  Features features;
  CooperativeMatrixProperties matrices[kMostMatrices];
  uint32_t matrix_count;
};

template <typename T>
void chain(Features* features, T* structure, VkStructureType type) {
  structure->sType = type;
  structure->pNext = features->head.pNext;
  features->head.pNext = structure;
}

// Names of extensions come in hundreds: in a heap block.
tern_status_t find_extensions(Device* device, Found* found) {
  const Symbols& symbols = device->symbols;
  uint32_t count = 0;
  TERN_VULKAN_TRY(device, EnumerateDeviceExtensionProperties, device->physical, nullptr, &count, nullptr);
  const size_t bytes = count * sizeof(VkExtensionProperties);
  auto* list = static_cast<VkExtensionProperties*>(
      tern_allocate(device->head.allocator, bytes, alignof(VkExtensionProperties)));
  if (bytes && !list) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  uint32_t filled = count;
  const VkResult result =
      symbols.EnumerateDeviceExtensionProperties(device->physical, nullptr, &filled, list);
  for (uint32_t e = 0; e < kExtensionCount; ++e) {
    for (uint32_t i = 0; i < filled && result >= 0; ++i) {
      found->listed[e] |= strcmp(list[i].extensionName, kExtensions[e].name) == 0;
    }
    found->usable[e] =
        found->listed[e] || (kExtensions[e].core && found->properties.apiVersion >= kExtensions[e].core);
  }
  tern_release(device->head.allocator, list, bytes);
  return vulkan_device_status(device, result, "vkEnumerateDeviceExtensionProperties");
}

void query_features(Device* device, Found* found) {
  Features& f = found->features;
  f.head.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  chain(&f, &f.storage16, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES);
  if (found->usable[kStorage8])
    chain(&f, &f.storage8, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES);
  if (found->usable[kFloat16Int8])
    chain(&f, &f.float16, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);
  if (found->usable[kDotProduct])
    chain(&f, &f.dot_product, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
  if (found->usable[kSubgroupSize])
    chain(&f, &f.subgroup_size, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
  if (found->usable[kDeviceAddress])
    chain(&f, &f.device_address, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES);
  if (found->usable[kMemoryModel])
    chain(&f, &f.memory_model, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES);
  if (found->usable[kMatrices]) {
    f.matrices.type = kCooperativeMatrixFeaturesType;
    f.matrices.next = f.head.pNext;
    f.head.pNext = &f.matrices;
  }
  if (found->usable[kBfloat16]) {
    f.bfloat16.type = kShaderBfloat16FeaturesType;
    f.bfloat16.next = f.head.pNext;
    f.head.pNext = &f.bfloat16;
  }
  device->symbols.GetPhysicalDeviceFeatures2(device->physical, &f.head);
  // Of the core features only what rows report; bounds checks would cost time and are the HAL's to make.
  const VkPhysicalDeviceFeatures all = f.head.features;
  f.head.features = {};
  f.head.features.shaderInt64 = all.shaderInt64;
  f.head.features.shaderInt16 = all.shaderInt16;
  f.head.features.shaderFloat64 = all.shaderFloat64;
  f.device_address.bufferDeviceAddressCaptureReplay = VK_FALSE;
  f.device_address.bufferDeviceAddressMultiDevice = VK_FALSE;
}

void query_matrices(Device* device, Found* found) {
  using Query = VkResult(VKAPI_PTR*)(VkPhysicalDevice, uint32_t*, CooperativeMatrixProperties*);
  const auto query = reinterpret_cast<Query>(device->symbols.GetInstanceProcAddr(
      device->symbols.instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  for (CooperativeMatrixProperties& row : found->matrices) row.type = kCooperativeMatrixPropertiesType;
  uint32_t count = kMostMatrices;
  const Features& f = found->features;
  if (f.matrices.cooperative_matrix && f.memory_model.vulkanMemoryModel && query &&
      query(device->physical, &count, found->matrices) >= 0) {
    found->matrix_count = count;
  }
}

// A row of matrix_shapes.def.
struct MatrixShape {
  uint32_t capability, element, m, n, k, subgroup;
};
constexpr uint32_t kElementF16 = kComponentFloat16, kElementBF16 = kComponentBfloat16,
                   kElementI8 = kComponentSint8;
constexpr MatrixShape kMatrixShapes[] = {
#define TERN_MATRIX_SHAPE(capability, element, m, n, k, subgroup) \
  {capability, kElement##element, m, n, k, subgroup},
#include "schemas/abi/matrix_shapes.def"
#undef TERN_MATRIX_SHAPE
};

bool has_matrix(const Found& found, const Limits& limits, const MatrixShape& shape) {
  if (shape.element == kElementBF16 && !found.features.bfloat16.cooperative_matrix) return false;
  // Of those of 32 a row of its own tells.
  if (shape.subgroup != kUsualSubgroup && !vulkan_tells_subgroups(limits, shape.subgroup, shape.subgroup))
    return false;
  const uint32_t sums = shape.element == kElementI8 ? kComponentSint32 : kComponentFloat32;
  for (uint32_t i = 0; i < found.matrix_count; ++i) {
    const CooperativeMatrixProperties& row = found.matrices[i];
    if (row.m == shape.m && row.n == shape.n && row.k == shape.k && row.a_type == shape.element &&
        row.b_type == shape.element && row.c_type == sums && row.result_type == sums && !row.saturating &&
        row.scope == kScopeSubgroup) {
      return true;
    }
  }
  return false;
}

// Row vulkan_integer_dot_product.
int64_t dot_products(Device* device, const Found& found) {
  if (!found.features.dot_product.shaderIntegerDotProduct) return 0;
  if (device->quirks & TERN_VULKAN_QUIRK_emulated_dot_products) return 3;
  VkPhysicalDeviceShaderIntegerDotProductProperties fast = {};
  fast.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES;
  (void)vulkan_properties(device->symbols, device->physical, &fast);
  return fast.integerDotProduct4x8BitPackedMixedSignednessAccelerated ? 3
         : fast.integerDotProduct4x8BitPackedSignedAccelerated        ? 2
                                                                      : 1;
}

// How many multiplications of 16-bit matrices NVIDIA's processors make in the time of one of f32: those of
// data centres (A100, H100, B200), which hold 64 subgroups, 16 and more; others (GeForce, with f32 sums)
// some 2.
int64_t matrix_rate(Device* device, const Found& found) {
  constexpr uint32_t kSubgroupsOfDataCentres = 64;
  if (!found.usable[kSmBuiltins]) return 0;
  VkPhysicalDeviceShaderSMBuiltinsPropertiesNV processors = {};
  processors.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV;
  (void)vulkan_properties(device->symbols, device->physical, &processors);
  return processors.shaderWarpsPerSM >= kSubgroupsOfDataCentres ? 16 : 2;
}

// Which sizes subgroups can be told to have.
void find_subgroups(const Found& found, Limits* limits) {
  const Features& f = found.features;
  const VkPhysicalDeviceSubgroupSizeControlProperties& sizes = found.subgroup_size;
  if (!f.subgroup_size.subgroupSizeControl || !f.subgroup_size.computeFullSubgroups ||
      !(sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT)) {
    return;
  }
  limits->least_subgroup = sizes.minSubgroupSize;
  limits->most_subgroup = sizes.maxSubgroupSize;
  limits->most_subgroups = sizes.maxComputeWorkgroupSubgroups;
}

// How many invocations each subgroup of a kernel is told to have: what kernels rely on where the device can,
// else what it says of itself. 0: it cannot be told, or not of workgroups as large as it runs.
uint32_t whole_subgroups(const Found& found, const Limits& limits) {
  const uint32_t most = limits.workgroup_invocations, own = found.subgroup.subgroupSize;
  if (vulkan_tells_subgroups(limits, kUsualSubgroup, most)) return kUsualSubgroup;
  return vulkan_tells_subgroups(limits, own, most) ? own : 0;
}

// The longest VkBuffer: known from Vulkan 1.3 on.
uint64_t buffer_size_of(Device* device, const Found& found) {
  if (device->quirks & TERN_VULKAN_QUIRK_small_buffers) return 256 << 10;
  VkPhysicalDeviceMaintenance4Properties maintenance = {};
  maintenance.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES;
  if (found.properties.apiVersion >= VK_API_VERSION_1_3)
    (void)vulkan_properties(device->symbols, device->physical, &maintenance);
  return maintenance.maxBufferSize ? maintenance.maxBufferSize : UINT64_MAX;
}

void fill_limits(Device* device, const Found& found, uint32_t import_alignment) {
  const VkPhysicalDeviceLimits& given = found.properties.limits;
  Limits& limits = device->limits;
  limits.storage_range = given.maxStorageBufferRange;
  constexpr uint64_t kLongRange = 1 << 30;
  if ((device->quirks & TERN_VULKAN_QUIRK_long_ranges) && limits.storage_range < kLongRange)
    limits.storage_range = kLongRange;
  limits.buffer_size = buffer_size_of(device, found);
  limits.storage_alignment = static_cast<uint32_t>(given.minStorageBufferOffsetAlignment);
  if (limits.storage_alignment < 16) limits.storage_alignment = 16;
  if (device->quirks & TERN_VULKAN_QUIRK_storage_alignment_256) limits.storage_alignment = 256;
  limits.workgroup_memory = given.maxComputeSharedMemorySize;
  limits.workgroup_invocations = given.maxComputeWorkGroupInvocations;
  for (int i = 0; i < 3; ++i) limits.workgroup_size[i] = given.maxComputeWorkGroupSize[i];
  find_subgroups(found, &limits);
  limits.whole_subgroups = whole_subgroups(found, limits);
  limits.storage_buffers = given.maxPerStageDescriptorStorageBuffers;
  if (given.maxDescriptorSetStorageBuffers < limits.storage_buffers)
    limits.storage_buffers = given.maxDescriptorSetStorageBuffers;
  limits.timestamp_ns = given.timestampPeriod;
  // Rounding to pages larger than the host's would reach into memory that is not there.
  constexpr uint32_t kPage = 4096;
  const bool imports = found.usable[kExternalMemoryHost] && import_alignment <= kPage &&
                       !(device->quirks & TERN_VULKAN_QUIRK_no_host_import);
  limits.import_alignment = imports ? import_alignment : 0;
  limits.spirv_version = found.properties.apiVersion >= VK_API_VERSION_1_3   ? 0x10600
                         : found.properties.apiVersion >= VK_API_VERSION_1_2 ? 0x10500
                                                                             : 0x10300;
}

void fill_capabilities(Device* device, const Found& found) {
  const Limits& limits = device->limits;
  const Features& f = found.features;
  auto set = [&](uint32_t id, int64_t value) { device->capabilities[id - kFirstCapability] = value; };
  const uint32_t version = found.properties.apiVersion;
  const bool subgroups = found.subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
  const VkSubgroupFeatureFlags operations = subgroups ? found.subgroup.supportedOperations : 0;
  set(vulkan_api_version, VK_API_VERSION_MAJOR(version) * 100 + VK_API_VERSION_MINOR(version));
  set(vulkan_subgroup_size, limits.whole_subgroups ? limits.whole_subgroups : found.subgroup.subgroupSize);
  set(vulkan_subgroup_arithmetic, (operations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT) != 0);
  set(vulkan_subgroup_shuffle, (operations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT) != 0);
  set(vulkan_subgroup_ballot, (operations & VK_SUBGROUP_FEATURE_BALLOT_BIT) != 0);
  set(vulkan_int64, f.head.features.shaderInt64);
  set(vulkan_float64, f.head.features.shaderFloat64);
  set(vulkan_int16, f.head.features.shaderInt16);
  set(vulkan_int8, f.float16.shaderInt8);
  set(vulkan_float16, f.float16.shaderFloat16);
  set(vulkan_storage_16bit, f.storage16.storageBuffer16BitAccess);
  set(vulkan_storage_8bit, f.storage8.storageBuffer8BitAccess);
  set(vulkan_integer_dot_product, dot_products(device, found));
  set(vulkan_buffer_device_address, f.device_address.bufferDeviceAddress);
  for (const MatrixShape& shape : kMatrixShapes) set(shape.capability, has_matrix(found, limits, shape));
  set(vulkan_matrix_rate, found.matrix_count ? matrix_rate(device, found) : 0);
  set(vulkan_workgroup_memory, limits.workgroup_memory);
  set(vulkan_workgroup_invocations, limits.workgroup_invocations);
  set(vulkan_storage_range, static_cast<int64_t>(limits.storage_range));
  set(vulkan_storage_buffers, limits.storage_buffers);
  set(vulkan_storage_alignment, limits.storage_alignment);
  set(vulkan_push_constants, found.properties.limits.maxPushConstantsSize);
  set(vulkan_unified, device->integrated);
  set(vulkan_software, found.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU);
}

uint32_t quirks_of(const VkPhysicalDeviceProperties& properties, const tern_vulkan_options_t& options) {
  const char* name = properties.deviceName;
  uint32_t on = 0;
#define TERN_VULKAN_QUIRK(bit, name, condition, reason) on |= (condition) ? 1u << bit : 0;
#include "drivers/vulkan/quirks.def"
#undef TERN_VULKAN_QUIRK
  return (on & ~options.quirks_off) | options.quirks_on;
}

// The memory type with all of `wanted` that has most of `liked`; VK_MAX_MEMORY_TYPES if there is none.
uint32_t find_type(const VkPhysicalDeviceMemoryProperties& memory, VkMemoryPropertyFlags wanted,
                   VkMemoryPropertyFlags liked) {
  uint32_t best = VK_MAX_MEMORY_TYPES;
  int best_score = -1;
  for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    const VkMemoryPropertyFlags flags = memory.memoryTypes[i].propertyFlags;
    if ((flags & wanted) != wanted || (flags & VK_MEMORY_PROPERTY_PROTECTED_BIT)) continue;
    const int score = __builtin_popcount(flags & liked);
    if (score > best_score) {
      best = i;
      best_score = score;
    }
  }
  return best;
}

tern_status_t choose_memory(Device* device) {
  VkPhysicalDeviceMemoryProperties memory;
  device->symbols.GetPhysicalDeviceMemoryProperties(device->physical, &memory);
  constexpr VkMemoryPropertyFlags kHost =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  const uint32_t host = find_type(memory, kHost, VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
  const uint32_t both =
      find_type(memory, kHost | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
  // Memory over a bus can be visible too, but is slow to read: only where it is the host's own.
  const bool in_reach = !(device->quirks & TERN_VULKAN_QUIRK_staged_transfers);
  device->unified = device->integrated && both != VK_MAX_MEMORY_TYPES && in_reach &&
                    !(device->quirks & TERN_VULKAN_QUIRK_written_by_host);
  const uint32_t local = device->unified ? both : find_type(memory, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0);
  if (local == VK_MAX_MEMORY_TYPES || host == VK_MAX_MEMORY_TYPES) {
    return tern_status_make(device->head.allocator, TERN_STATUS_INCOMPATIBLE,
                            "The device has no memory of its own or none that the host can see.");
  }
  // Where the host sees only a window of the device's memory, that is a heap of its own, and small.
  const uint32_t written = find_type(memory, kHost | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0);
  device->host_writes = !device->unified && in_reach && written != VK_MAX_MEMORY_TYPES &&
                        memory.memoryTypes[written].heapIndex == memory.memoryTypes[local].heapIndex;
  device->memory.types[kLocalPool] = local;
  device->memory.types[kWrittenPool] = device->host_writes ? written : local;
  device->memory.types[kHostPool] = host;
  device->memory_size = memory.memoryHeaps[memory.memoryTypes[local].heapIndex].size;
  return TERN_OK;
}

// The queue family with compute that has least else: not in the way of what draws.
bool find_queue_family(const Symbols& symbols, VkPhysicalDevice device, uint32_t* out_family,
                       uint32_t* out_timestamp_bits) {
  constexpr uint32_t kMostFamilies = 16;
  VkQueueFamilyProperties families[kMostFamilies];
  uint32_t count = kMostFamilies;
  symbols.GetPhysicalDeviceQueueFamilyProperties(device, &count, families);
  bool found = false;
  int best = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || families[i].queueCount == 0) continue;
    const int score = families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT ? 1 : 2;
    if (score <= best) continue;
    best = score;
    found = true;
    *out_family = i;
    *out_timestamp_bits = families[i].timestampValidBits;
  }
  return found;
}

tern_status_t make_device(Device* device, const Found& found) {
  const char* names[kExtensionCount];
  uint32_t name_count = 0;
  for (uint32_t e = 0; e < kExtensionCount; ++e) {
    if (found.listed[e]) names[name_count++] = kExtensions[e].name;
  }
  const float priority = 1;
  VkDeviceQueueCreateInfo queue = {};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = device->queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  VkDeviceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = &found.features.head;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = name_count;
  info.ppEnabledExtensionNames = names;
  TERN_VULKAN_TRY(device, CreateDevice, device->physical, &info, nullptr, &device->handle);
  return vulkan_symbols_load_device(device->head.allocator, &device->symbols, device->handle);
}

int rank_of(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return 2;
    default:
      return 3;
  }
}

}  // namespace

tern_status_t vulkan_device_list(tern_allocator_t allocator, const Symbols& symbols,
                                 VkPhysicalDevice* out_devices, uint32_t capacity, uint32_t* out_count) {
  constexpr uint32_t kMost = 16;
  VkPhysicalDevice all[kMost];
  uint32_t count = kMost;
  TERN_RETURN_IF_ERROR(vulkan_status(allocator,
                                     symbols.EnumeratePhysicalDevices(symbols.instance, &count, all),
                                     "vkEnumeratePhysicalDevices"));
  *out_count = 0;
  for (int rank = 0; rank <= 3; ++rank) {
    for (uint32_t i = 0; i < count; ++i) {
      const VkPhysicalDeviceProperties properties = vulkan_properties(symbols, all[i]);
      uint32_t family = 0, bits = 0;
      if (rank_of(properties.deviceType) != rank || properties.apiVersion < VK_API_VERSION_1_1 ||
          !find_queue_family(symbols, all[i], &family, &bits)) {
        continue;
      }
      if (*out_count < capacity) out_devices[*out_count] = all[i];
      ++*out_count;
    }
  }
  return TERN_OK;
}

tern_status_t vulkan_features_open(Device* device) {
  Found found = {};
  found.properties = vulkan_properties(device->symbols, device->physical);
  TERN_RETURN_IF_ERROR(find_extensions(device, &found));
  found.subgroup.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES;
  VkPhysicalDeviceExternalMemoryHostPropertiesEXT external = {};
  external.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT;
  if (found.usable[kExternalMemoryHost]) found.subgroup.pNext = &external;
  if (found.usable[kSubgroupSize]) {
    found.subgroup_size.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES;
    found.subgroup_size.pNext = found.subgroup.pNext;
    found.subgroup.pNext = &found.subgroup_size;
  }
  (void)vulkan_properties(device->symbols, device->physical, &found.subgroup);
  query_features(device, &found);
  query_matrices(device, &found);
  device->tells_cache_hits = found.properties.apiVersion >= VK_API_VERSION_1_3;
  device->quirks = quirks_of(found.properties, device->options);
  device->integrated = found.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU ||
                       found.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  TERN_RETURN_IF_ERROR(choose_memory(device));
  fill_limits(device, found, static_cast<uint32_t>(external.minImportedHostPointerAlignment));
  (void)find_queue_family(device->symbols, device->physical, &device->queue_family,
                          &device->limits.timestamp_bits);
  fill_capabilities(device, found);
  return make_device(device, found);
}

}  // namespace tern::vulkan
