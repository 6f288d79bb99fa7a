#include "drivers/null/null_driver.h"

#include <stdio.h>

#include "drivers/null/null_device.h"

namespace {

// (Skeleton: load the vendor's library here, lazily and by name; when it is not there, there are no devices,
// which is no failure.)
tern_status_t enumerate(tern_allocator_t, tern_hal_device_info_t* out_infos, uint32_t capacity,
                        uint32_t* out_count) {
  *out_count = 1;
  if (capacity == 0) return TERN_OK;
  out_infos[0].ordinal = 0;
  snprintf(out_infos[0].name, sizeof(out_infos[0].name), "%s", "null");
  return TERN_OK;
}

constexpr tern_hal_driver_t kDriver = {
    "null",
    "checks and records commands, computes nothing",
    enumerate,
    tern::null::null_device_create,
};

}  // namespace

extern "C" tern_status_t tern_null_driver_register(tern_hal_driver_registry_t* registry) {
  return tern_hal_driver_registry_add(registry, &kDriver);
}
