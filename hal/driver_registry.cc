#include "hal/driver_registry.h"

extern "C" tern_status_t tern_hal_driver_registry_add(tern_hal_driver_registry_t* registry,
                                                      const tern_hal_driver_t* driver) {
  if (!registry || !driver || !driver->name) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  if (tern_hal_driver_registry_find(registry, tern_string_view(driver->name))) {
    return tern_status_from_code(TERN_STATUS_FAILED_PRECONDITION);
  }
  if (registry->count == TERN_HAL_MAX_DRIVERS) return tern_status_from_code(TERN_STATUS_OUT_OF_RANGE);
  registry->drivers[registry->count++] = driver;
  return TERN_OK;
}

extern "C" const tern_hal_driver_t* tern_hal_driver_registry_find(const tern_hal_driver_registry_t* registry,
                                                                  tern_string_view_t name) {
  for (uint32_t i = 0; registry && i < registry->count; ++i) {
    if (tern_string_view_equal(tern_string_view(registry->drivers[i]->name), name))
      return registry->drivers[i];
  }
  return nullptr;
}

extern "C" tern_status_t tern_hal_driver_create_device(const tern_hal_driver_t* driver,
                                                       const tern_hal_device_desc_t* desc,
                                                       tern_allocator_t allocator,
                                                       tern_hal_device_t** out_device) {
  if (!driver || !out_device || !allocator.allocate || !allocator.release) {
    return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  }
  *out_device = nullptr;
  const tern_hal_device_desc_t defaults = {};
  if (!desc) desc = &defaults;
  uint32_t count = 0;
  TERN_RETURN_IF_ERROR(driver->enumerate(allocator, nullptr, 0, &count));
  if (count == 0) {
    return tern_status_make(allocator, TERN_STATUS_NOT_FOUND, "The driver '%s' finds no device.",
                            driver->name);
  }
  if (desc->ordinal >= count) {
    return tern_status_make(allocator, TERN_STATUS_NOT_FOUND,
                            "The device's ordinal (%u) is not below the number of devices (%u) that the "
                            "driver '%s' finds.",
                            desc->ordinal, count, driver->name);
  }
  if (desc->executor && (!desc->executor->parallel_for || desc->executor->worker_count == 0)) {
    return tern_status_make(allocator, TERN_STATUS_INVALID_ARGUMENT,
                            "The host's executor has no parallel_for or no worker (%u).",
                            desc->executor->worker_count);
  }
  return driver->create_device(desc, allocator, out_device);
}
