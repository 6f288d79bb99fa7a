#include "drivers/vulkan/vulkan_executable.h"

#include <string.h>

#include "drivers/vulkan/vulkan_spirv.h"

namespace tern::vulkan {
namespace {

constexpr uint64_t kSmallestScratch = 1024;

// A pipeline for one size of scratch.
struct Variant {
  Variant* next;
  uint32_t scratch;
  VkPipeline pipeline;
};

struct Entry {
  const Layout* layout;
  VkShaderModule module;
  bool owns_module;   // the first entry of its module does
  uint32_t subgroup;  // what its subgroups are told to have; 0: nothing
  uint32_t workgroup_memory;
  char* name;  // of the entry point
  size_t name_size;
  VkPipeline pipeline;  // without scratch
  Variant* variants;
};

struct Executable {
  tern_hal_executable_t head;  // must be first
  Device* device;              // the front sets head.device only after creation
  tern_mutex_t mutex;          // guards variants, and pipelines that are made late
  Entry* entries;
  uint32_t entry_count;
};

Executable* cast(const tern_hal_executable_t* executable) {
  return reinterpret_cast<Executable*>(const_cast<tern_hal_executable_t*>(executable));
}

// Recordings keep their executables, and go only when their work has ended.
void destroy_parts(Executable* executable) {
  Device* device = executable->device;
  const Symbols& symbols = device->symbols;
  tern_allocator_t allocator = device->head.allocator;
  for (uint32_t i = 0; i < executable->entry_count; ++i) {
    Entry& entry = executable->entries[i];
    if (entry.pipeline) symbols.DestroyPipeline(device->handle, entry.pipeline, nullptr);
    while (Variant* variant = entry.variants) {
      entry.variants = variant->next;
      symbols.DestroyPipeline(device->handle, variant->pipeline, nullptr);
      tern_release(allocator, variant, sizeof(Variant));
    }
    if (entry.owns_module) symbols.DestroyShaderModule(device->handle, entry.module, nullptr);
    tern_release(allocator, entry.name, entry.name_size);
  }
  tern_release(allocator, executable->entries, executable->entry_count * sizeof(Entry));
  tern_release(allocator, executable, sizeof(Executable));
}

void destroy(tern_hal_executable_t* base) {
  destroy_parts(cast(base));
}

constexpr tern_hal_executable_vtable_t kVtable = {destroy};

// `scratch` bytes; 0: what the module says.
tern_status_t make_pipeline(Device* device, const Entry& entry, uint32_t scratch, VkPipeline* out_pipeline) {
  const uint32_t words = scratch / 4;
  const VkSpecializationMapEntry row = {TERN_VULKAN_SCRATCH_WORDS, 0, sizeof(words)};
  const VkSpecializationInfo special = {1, &row, sizeof(words), &words};
  VkComputePipelineCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = entry.module;
  info.stage.pName = entry.name;
  info.stage.pSpecializationInfo = scratch ? &special : nullptr;
  // Without these an implementation may cut workgroups into subgroups of other sizes (from SPIR-V 1.6 on) or
  // leave some incomplete.
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroups = {};
  subgroups.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO;
  subgroups.requiredSubgroupSize = entry.subgroup;
  if (entry.subgroup) {
    info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    info.stage.pNext = &subgroups;
  }
  info.layout = entry.layout->pipeline;
  info.basePipelineIndex = -1;
  VkPipelineCreationFeedback feedback = {}, stage_feedback = {};
  VkPipelineCreationFeedbackCreateInfo told = {};
  told.sType = VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO;
  told.pPipelineCreationFeedback = &feedback;
  told.pipelineStageCreationFeedbackCount = 1;
  told.pPipelineStageCreationFeedbacks = &stage_feedback;
  if (device->tells_cache_hits) info.pNext = &told;
  PipelineCache& cache = device->pipelines;
  MutexLock lock(&cache.mutex);
  TERN_VULKAN_TRY(device, CreateComputePipelines, device->handle, cache.handle, 1, &info, nullptr,
                  out_pipeline);
  constexpr VkPipelineCreationFeedbackFlags kHit =
      VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT |
      VK_PIPELINE_CREATION_FEEDBACK_APPLICATION_PIPELINE_CACHE_HIT_BIT;
  if ((feedback.flags & kHit) == kHit) return TERN_OK;
  ++cache.compiled;
  __atomic_store_n(&cache.stale, true, __ATOMIC_RELEASE);
  return TERN_OK;
}

// Whether the device runs workgroups of this size, and the module agrees with the entry on it.
tern_status_t check_launch(Device* device, const tern_hal_launch_t& launch, const SpirvEntry& found) {
  [[maybe_unused]] tern_allocator_t allocator = device->head.allocator;
  const Limits& limits = device->limits;
  uint64_t invocations = 1;
  for (int i = 0; i < 3; ++i) {
    const uint32_t size = launch.workgroup_size[i] ? launch.workgroup_size[i] : 1;
    if (size != found.local_size[i]) {
      return tern_status_make(allocator, TERN_STATUS_MALFORMED,
                              "The entry's workgroup size (%u in dimension %d) is not the module's (%u).",
                              size, i, found.local_size[i]);
    }
    invocations *= size <= limits.workgroup_size[i] ? size : uint64_t{1} << 20;
  }
  if (invocations > limits.workgroup_invocations) {
    return tern_status_make(
        allocator, TERN_STATUS_INCOMPATIBLE,
        "The kernel wants workgroups of %u x %u x %u invocations; the device runs (%u) at most, and "
        "%u x %u x %u.",
        found.local_size[0], found.local_size[1], found.local_size[2], limits.workgroup_invocations,
        limits.workgroup_size[0], limits.workgroup_size[1], limits.workgroup_size[2]);
  }
  if (launch.workgroup_memory > limits.workgroup_memory) {
    return tern_status_make(allocator, TERN_STATUS_INCOMPATIBLE,
                            "The kernel wants (%u) bytes of workgroup memory; the device has (%u) for it.",
                            launch.workgroup_memory, limits.workgroup_memory);
  }
  return TERN_OK;
}

// The size that the entry's kernel relies on, else the device's for kernels that rely on one.
tern_status_t choose_subgroup(Device* device, const tern_hal_launch_t& launch, const SpirvEntry& found,
                              uint32_t* out_size) {
  const uint32_t wanted = (launch.flags & TERN_HAL_ENTRY_SUBGROUP_MASK) >> TERN_HAL_ENTRY_SUBGROUP_SHIFT;
  if (wanted && !(vulkan_tells_subgroups(device->limits, wanted, found.local_size[0]) &&
                  found.local_size[0] % wanted == 0)) {
    return tern_status_make(
        device->head.allocator, TERN_STATUS_INCOMPATIBLE,
        "The kernel relies on subgroups of (%u) in a workgroup of (%u); the device can be "
        "told sizes from %u to %u (0: none), and makes at most (%u) of a workgroup.",
        wanted, found.local_size[0], device->limits.least_subgroup, device->limits.most_subgroup,
        device->limits.most_subgroups);
  }
  const uint32_t size = wanted ? wanted : device->limits.whole_subgroups;
  *out_size = found.subgroups && size && found.local_size[0] % size == 0 ? size : 0;
  return TERN_OK;
}

tern_status_t choose_layout(Device* device, const tern_hal_entry_t& entry, const Layout** out_layout) {
  const bool pushed = entry.param_count <= TERN_VULKAN_PUSHED_PARAMS;
  const bool reports = entry.launch.flags & TERN_HAL_ENTRY_REPORTS_FAULTS;
  const uint64_t bindings = uint64_t{entry.binding_count} + !pushed + reports;
  const uint32_t bytes = 8 + (pushed ? 8 * entry.param_count : 0);
  return vulkan_pipeline_cache_layout(
      device, bindings < UINT32_MAX ? static_cast<uint32_t>(bindings) : UINT32_MAX, bytes, out_layout);
}

// The bytes of the module that begins at the entry's offset: up to the next one.
tern_status_t find_module(Device* device, const tern_hal_executable_desc_t* desc, uint64_t offset,
                          tern_const_bytes_t* out_code) {
  const uint64_t size = desc->code.size;
  if (offset >= size || offset % 4 || size % 4) {
    return tern_status_make(
        device->head.allocator, TERN_STATUS_MALFORMED,
        "The module's offset (%llu) or the code's size (%llu) is no multiple of 4, or not "
        "inside.",
        (unsigned long long)offset, (unsigned long long)size);
  }
  uint64_t end = size;
  for (uint32_t i = 0; i < desc->entry_count; ++i) {
    const uint64_t other = desc->entries[i].offset;
    if (other > offset && other < end) end = other;
  }
  *out_code = tern_const_bytes(desc->code.data + offset, (end - offset) & ~uint64_t{3});
  return TERN_OK;
}

tern_status_t load_entry(Executable* executable, const tern_hal_executable_desc_t* desc, uint32_t index,
                         const uint32_t* words, size_t count) {
  Device* device = executable->device;
  const tern_hal_entry_t& given = desc->entries[index];
  Entry& entry = executable->entries[index];
  SpirvEntry found;
  TERN_RETURN_IF_ERROR(vulkan_spirv_find(device->head.allocator, words, count, device->limits.spirv_version,
                                         given.name, &found));
  TERN_RETURN_IF_ERROR(check_launch(device, given.launch, found));
  TERN_RETURN_IF_ERROR(choose_layout(device, given, &entry.layout));
  entry.workgroup_memory = given.launch.workgroup_memory;
  TERN_RETURN_IF_ERROR(choose_subgroup(device, given.launch, found, &entry.subgroup));
  entry.name_size = strlen(found.name) + 1;
  entry.name = static_cast<char*>(tern_allocate(device->head.allocator, entry.name_size, 1));
  if (!entry.name) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memcpy(entry.name, found.name, entry.name_size);
  for (uint32_t i = 0; i < index && !entry.module; ++i) {
    if (desc->entries[i].offset == given.offset) entry.module = executable->entries[i].module;
  }
  if (!entry.module) {
    VkShaderModuleCreateInfo info = {};
    info.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
    info.codeSize = count * 4;
    info.pCode = words;
    TERN_VULKAN_TRY(device, CreateShaderModule, device->handle, &info, nullptr, &entry.module);
    entry.owns_module = true;
  }
  // An entry that binds nothing is mostly one that the program has another variant of (vm/session/code.cc),
  // which no dispatch asks for.
  return given.binding_count == 0 ? TERN_OK : make_pipeline(device, entry, 0, &entry.pipeline);
}

// The API wants words: modules from unaligned memory are copied.
tern_status_t load_copied(Executable* executable, const tern_hal_executable_desc_t* desc, uint32_t index) {
  tern_allocator_t allocator = executable->device->head.allocator;
  tern_const_bytes_t code;
  TERN_RETURN_IF_ERROR(find_module(executable->device, desc, desc->entries[index].offset, &code));
  if (reinterpret_cast<uintptr_t>(code.data) % alignof(uint32_t) == 0) {
    return load_entry(executable, desc, index, reinterpret_cast<const uint32_t*>(code.data), code.size / 4);
  }
  auto* words = static_cast<uint32_t*>(tern_allocate(allocator, code.size, alignof(uint32_t)));
  if (!words) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memcpy(words, code.data, code.size);
  tern_status_t status = load_entry(executable, desc, index, words, code.size / 4);
  tern_release(allocator, words, code.size);
  return status;
}

tern_status_t load(Executable* executable, const tern_hal_executable_desc_t* desc) {
  const size_t bytes = desc->entry_count * sizeof(Entry);
  executable->entries =
      static_cast<Entry*>(tern_allocate(executable->device->head.allocator, bytes, alignof(Entry)));
  if (bytes && !executable->entries) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  if (bytes) memset(static_cast<void*>(executable->entries), 0, bytes);
  executable->entry_count = desc->entry_count;
  if (desc->entry_count == 0) {  // nothing to run; is it code at all?
    tern_const_bytes_t code;
    TERN_RETURN_IF_ERROR(find_module(executable->device, desc, 0, &code));
  }
  for (uint32_t i = 0; i < desc->entry_count; ++i) {
    TERN_RETURN_IF_ERROR_CONTEXT(load_copied(executable, desc, i), "\n - While loading the kernel '%.*s'",
                                 TERN_SV_ARG(desc->entries[i].name));
  }
  return TERN_OK;
}

}  // namespace

tern_status_t vulkan_executable_create(tern_hal_device_t* device, const tern_hal_executable_desc_t* desc,
                                       tern_hal_executable_t** out_executable) {
  if (desc->format != TERN_HAL_EXECUTABLE_SPIRV) {
    return tern_status_make(device->allocator, TERN_STATUS_INCOMPATIBLE,
                            "The vulkan driver does not take executables of the format (%u).", desc->format);
  }
  auto* executable =
      static_cast<Executable*>(tern_allocate(device->allocator, sizeof(Executable), alignof(Executable)));
  if (!executable) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *executable = {};
  executable->head.vtable = &kVtable;
  executable->device = cast_device(device);
  tern_status_t status = load(executable, desc);
  if (!tern_status_is_ok(status)) {
    destroy_parts(executable);
    return status;
  }
  *out_executable = &executable->head;
  return TERN_OK;
}

const Layout* vulkan_executable_layout(const tern_hal_executable_t* executable, uint32_t entry) {
  return cast(executable)->entries[entry].layout;
}

tern_status_t vulkan_executable_pipeline(tern_hal_executable_t* base, uint32_t index, uint64_t scratch,
                                         VkPipeline* out_pipeline) {
  Executable* executable = cast(base);
  Device* device = executable->device;
  Entry& entry = executable->entries[index];
  if (scratch == 0) {
    MutexLock lock(&executable->mutex);
    if (!entry.pipeline) TERN_RETURN_IF_ERROR(make_pipeline(device, entry, 0, &entry.pipeline));
    *out_pipeline = entry.pipeline;
    return TERN_OK;
  }
  const uint64_t room = device->limits.workgroup_memory - entry.workgroup_memory;
  if (scratch > room) {
    return tern_status_make(
        device->head.allocator, TERN_STATUS_OUT_OF_MEMORY,
        "The kernel's workgroup memory and scratch (%llu bytes) are more than the device has for it (%u).",
        (unsigned long long)(scratch + entry.workgroup_memory), device->limits.workgroup_memory);
  }
  uint64_t size = kSmallestScratch;  // a few sizes, so that few pipelines are made
  while (size < scratch) size *= 2;
  if (size > room) size = room & ~uint64_t{3};
  if (size < scratch) size = scratch;  // the last bytes of a room that is no multiple of a word
  MutexLock lock(&executable->mutex);
  for (const Variant* variant = entry.variants; variant; variant = variant->next) {
    if (variant->scratch != size) continue;
    *out_pipeline = variant->pipeline;
    return TERN_OK;
  }
  auto* variant =
      static_cast<Variant*>(tern_allocate(device->head.allocator, sizeof(Variant), alignof(Variant)));
  if (!variant) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  *variant = {entry.variants, static_cast<uint32_t>(size), nullptr};
  tern_status_t status = make_pipeline(device, entry, variant->scratch, &variant->pipeline);
  if (!tern_status_is_ok(status)) {
    tern_release(device->head.allocator, variant, sizeof(Variant));
    return status;
  }
  entry.variants = variant;
  *out_pipeline = variant->pipeline;
  return TERN_OK;
}

}  // namespace tern::vulkan
