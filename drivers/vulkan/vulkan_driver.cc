#include "drivers/vulkan/vulkan_driver.h"

#include <string.h>

#include "drivers/vulkan/vulkan_device.h"

namespace {

using namespace tern::vulkan;

constexpr uint32_t kMostDevices = 16;

tern_status_t list(tern_allocator_t allocator, const Symbols& symbols, tern_hal_device_info_t* out_infos,
                   uint32_t capacity, uint32_t* out_count) {
  VkPhysicalDevice devices[kMostDevices];
  TERN_RETURN_IF_ERROR(vulkan_device_list(allocator, symbols, devices, kMostDevices, out_count));
  for (uint32_t i = 0; i < *out_count && i < capacity; ++i) {
    const VkPhysicalDeviceProperties properties = vulkan_properties(symbols, devices[i]);
    out_infos[i] = {};
    out_infos[i].ordinal = i;
    strncpy(out_infos[i].name, properties.deviceName, sizeof(out_infos[i].name) - 1);
  }
  return TERN_OK;
}

// No library and no driver are no failure: there are no devices then. Neither is a loader that is too old, to
// a caller that only asks what there is.
tern_status_t enumerate(tern_allocator_t allocator, tern_hal_device_info_t* out_infos, uint32_t capacity,
                        uint32_t* out_count) {
  *out_count = 0;
  Symbols symbols;
  tern_status_t status = vulkan_symbols_load(allocator, &symbols);
  if (!tern_status_is_ok(status)) {
    tern_status_free(status);
    return TERN_OK;
  }
  return list(allocator, symbols, out_infos, capacity, out_count);
}

constexpr tern_hal_driver_t kDriver = {
    "vulkan",
    "GPUs with Vulkan 1.1 or later",
    enumerate,
    vulkan_device_create,
};

}  // namespace

extern "C" tern_status_t tern_vulkan_driver_register(tern_hal_driver_registry_t* registry) {
  return tern_hal_driver_registry_add(registry, &kDriver);
}
