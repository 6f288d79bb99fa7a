// libvulkan.so.1, loaded when devices are enumerated or made: a table of the entry points in
// vulkan_symbols.def, and the instance that they belong to.
#pragma once

#include "drivers/vulkan/vulkan_api.h"
#include "hal/base/status.h"

namespace tern::vulkan {

struct Symbols {
  void* library;  // of dlopen
  VkInstance instance;
  PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define TERN_VULKAN_GLOBAL(name) PFN_vk##name name;
#define TERN_VULKAN_INSTANCE(name) PFN_vk##name name;
#define TERN_VULKAN_DEVICE(name) PFN_vk##name name;
#define TERN_VULKAN_OPTIONAL(name) PFN_vk##name name;
#include "drivers/vulkan/vulkan_symbols.def"
#undef TERN_VULKAN_GLOBAL
#undef TERN_VULKAN_INSTANCE
#undef TERN_VULKAN_DEVICE
#undef TERN_VULKAN_OPTIONAL
};

// Loads the library and makes an instance, once a process, which keeps them. NOT_FOUND: there is no library
// or no driver behind it; INCOMPATIBLE: it is older than Vulkan 1.1.
TERN_MUST_USE tern_status_t vulkan_symbols_load(tern_allocator_t allocator, Symbols* out_symbols);
// Fills in the device's functions.
TERN_MUST_USE tern_status_t vulkan_symbols_load_device(tern_allocator_t allocator, Symbols* symbols,
                                                       VkDevice device);

}  // namespace tern::vulkan
