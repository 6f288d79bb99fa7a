#include "drivers/vulkan/vulkan_device.h"

#include <string.h>

#include "drivers/vulkan/vulkan_command_buffer.h"
#include "drivers/vulkan/vulkan_executable.h"
#include "drivers/vulkan/vulkan_status.h"
#include "hal/base/atomic.h"
#include "hal/point_semaphore.h"

namespace tern::vulkan {
namespace {

constexpr uint32_t kDefaultSpin = 1000000;  // ns
constexpr uint64_t kPlaceholderBytes = 256;
constexpr uint32_t kMostDevices = 16;

// Fine for what is half made.
void destroy(tern_hal_device_t* base) {
  Device* device = cast_device(base);
  tern_allocator_t allocator = base->allocator;
  if (device->handle && device->symbols.DeviceWaitIdle) {
    (void)device->symbols.DeviceWaitIdle(device->handle);
    vulkan_pipeline_cache_save(device);
    vulkan_pipeline_cache_destroy(device);
    vulkan_staging_destroy(device);
    for (uint32_t pool = 0; pool < kPoolCount; ++pool) {
      vulkan_memory_free(device, static_cast<Pool>(pool), device->placeholders[pool]);
    }
    vulkan_memory_destroy(device);
    vulkan_queue_destroy(device);
    device->symbols.DestroyDevice(device->handle, nullptr);
  }
  tern_release(allocator, device, sizeof(Device));
}

tern_status_t query_capability(tern_hal_device_t* base, uint32_t id, int64_t* out_value) {
  if (id >= kFirstCapability && id - kFirstCapability < kCapabilityCount) {
    *out_value = cast_device(base)->capabilities[id - kFirstCapability];
  }
  return TERN_OK;
}

tern_status_t wait_idle(tern_hal_device_t* device) {
  return vulkan_queue_drain(cast_device(device));
}

constexpr tern_hal_device_vtable_t kVtable = {
    destroy,
    query_capability,
    vulkan_buffer_allocate,
    vulkan_buffer_import,
    vulkan_executable_create,
    vulkan_command_buffer_create,
    tern_hal_point_semaphore_create,
    vulkan_queue_submit,
    wait_idle,
};

tern_status_t open(Device* device, uint32_t ordinal) {
  tern_allocator_t allocator = device->head.allocator;
  TERN_RETURN_IF_ERROR(vulkan_symbols_load(allocator, &device->symbols));
  VkPhysicalDevice devices[kMostDevices];
  uint32_t count = 0;
  TERN_RETURN_IF_ERROR(vulkan_device_list(allocator, device->symbols, devices, kMostDevices, &count));
  if (ordinal >= count || ordinal >= kMostDevices) {
    return tern_status_make(allocator, TERN_STATUS_NOT_FOUND,
                            "The device's ordinal (%u) is not below the number of Vulkan devices (%u).",
                            ordinal, count);
  }
  device->physical = devices[ordinal];
  TERN_RETURN_IF_ERROR(vulkan_features_open(device));
  if (device->quirks & TERN_VULKAN_QUIRK_no_polling) device->options.spin_ns = 0;
  TERN_RETURN_IF_ERROR(vulkan_queue_create(device));
  vulkan_pipeline_cache_open(device);
  for (uint32_t pool = 0; pool < kPoolCount; ++pool) {
    TERN_RETURN_IF_ERROR(vulkan_memory_allocate(device, static_cast<Pool>(pool), kPlaceholderBytes,
                                                &device->placeholders[pool]));
  }
  return TERN_OK;
}

}  // namespace

tern_status_t vulkan_device_status(Device* device, VkResult result, const char* call) {
  if (__builtin_expect(result >= 0, 1)) return TERN_OK;
  if (vulkan_status_code(result) == TERN_STATUS_DEVICE_LOST) tern_atomic_store_i32(&device->head.lost, 1);
  return vulkan_status(device->head.allocator, result, call);
}

tern_status_t vulkan_device_create(const tern_hal_device_desc_t* desc, tern_allocator_t allocator,
                                   tern_hal_device_t** out_device) {
  auto* device = static_cast<Device*>(tern_allocate(allocator, sizeof(Device), alignof(Device)));
  if (!device) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memset(static_cast<void*>(device), 0, sizeof(*device));
  tern_hal_device_initialize(&device->head, &kVtable, allocator, tern_string_view("vulkan"), desc);
  if (desc->driver_options)
    device->options = *static_cast<const tern_vulkan_options_t*>(desc->driver_options);
  if (!device->options.spin_ns) device->options.spin_ns = kDefaultSpin;
  tern_status_t status = open(device, desc->ordinal);
  if (!tern_status_is_ok(status)) {
    destroy(&device->head);
    return status;
  }
  *out_device = &device->head;
  return TERN_OK;
}

}  // namespace tern::vulkan
