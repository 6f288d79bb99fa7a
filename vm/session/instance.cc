#include "vm/session/instance.h"

#include <string.h>

#include "hal/device.h"

// tern.h repeats two tables for its users; these are the same.
#define TERN_STATUS_CODE(id, name, meaning) static_assert(TERN_STATUS_##name == id);
#include "hal/base/status_codes.def"
#undef TERN_STATUS_CODE
#define TERN_DTYPE(id, name, text, bits, kind) static_assert(TERN_DTYPE_##name == id);
#include "schemas/abi/dtypes.def"
#undef TERN_DTYPE
static_assert(sizeof(tern_host_executor_t) == sizeof(tern_hal_host_executor_t));

tern_status_t tern_instance_create(const tern_instance_desc_t* desc, tern_instance_t** out_instance) {
  if (!out_instance) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_instance = nullptr;
  const bool own = desc && desc->allocator.allocate;
  if (desc && own != (desc->allocator.release != nullptr))
    return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  const tern_allocator_t allocator = own ? desc->allocator : tern_allocator_system();
  void* memory = tern_allocate(allocator, sizeof(tern_instance_t), alignof(tern_instance_t));
  if (!memory) return tern_status_from_code(TERN_STATUS_OUT_OF_MEMORY);
  memset(memory, 0, sizeof(tern_instance_t));
  *out_instance = static_cast<tern_instance_t*>(memory);
  (*out_instance)->allocator = allocator;
  return TERN_OK;
}

void tern_instance_destroy(tern_instance_t* instance) {
  if (instance) tern_release(instance->allocator, instance, sizeof(*instance));
}

struct tern_hal_driver_registry_t* tern_instance_drivers(tern_instance_t* instance) {
  return instance ? &instance->drivers : nullptr;
}

tern_status_t tern_device_enumerate(tern_instance_t* instance, tern_device_info_t* out_infos,
                                    uint32_t capacity, uint32_t* out_count) {
  if (!instance || !out_count || (!out_infos && capacity))
    return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_count = 0;
  for (uint32_t i = 0; i < instance->drivers.count; ++i) {
    const tern_hal_driver_t* driver = instance->drivers.drivers[i];
    tern_hal_device_info_t infos[16];
    uint32_t found = 0;
    TERN_RETURN_IF_ERROR(driver->enumerate(instance->allocator, infos, 16, &found));
    for (uint32_t k = 0; k < found && k < 16; ++k, ++*out_count) {
      if (*out_count >= capacity) continue;
      tern_device_info_t* out = &out_infos[*out_count];
      out->driver = driver->name;
      out->ordinal = infos[k].ordinal;
      memcpy(out->name, infos[k].name, sizeof(out->name));
    }
  }
  return TERN_OK;
}

tern_status_t tern_device_create(tern_instance_t* instance, const tern_device_desc_t* desc,
                                 tern_device_t** out_device) {
  if (!instance || !out_device) return tern_status_from_code(TERN_STATUS_INVALID_ARGUMENT);
  *out_device = nullptr;
  const tern_device_desc_t defaults = {};
  if (!desc) desc = &defaults;
  const tern_hal_driver_t* driver = instance->drivers.count ? instance->drivers.drivers[0] : nullptr;
  if (desc->driver)
    driver = tern_hal_driver_registry_find(&instance->drivers, tern_string_view(desc->driver));
  if (!driver) {
    return tern_status_make(instance->allocator, TERN_STATUS_NOT_FOUND,
                            "There is no driver '%s' in this program: register it before use.",
                            desc->driver ? desc->driver : "(first)");
  }
  tern_hal_device_desc_t hal = {};
  tern_hal_host_executor_t executor = {};
  if (desc->executor) {
    executor.self = desc->executor->self;
    executor.parallel_for = desc->executor->parallel_for;
    executor.worker_count = desc->executor->worker_count;
    hal.executor = &executor;
  }
  hal.ordinal = desc->ordinal;
  hal.thread_count = desc->thread_count;
  hal.memory_limit = desc->memory_limit;
  hal.driver_options = desc->driver_options;
  return tern_hal_driver_create_device(driver, &hal, instance->allocator, out_device);
}

tern_status_t tern_device_query_capability(tern_device_t* device, uint32_t id, int64_t* out_value) {
  return tern_hal_device_query_capability(device, id, out_value);
}

void tern_device_release(tern_device_t* device) {
  tern_hal_device_release(device);
}
