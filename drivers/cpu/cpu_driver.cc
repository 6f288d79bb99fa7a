#include "drivers/cpu/cpu_driver.h"

#include "drivers/cpu/cpu_device.h"
#include "drivers/cpu/host.h"

namespace {

tern_status_t enumerate(tern_allocator_t, tern_hal_device_info_t* out_infos, uint32_t capacity,
                        uint32_t* out_count) {
  *out_count = 1;
  if (capacity == 0) return TERN_OK;
  out_infos[0].ordinal = 0;
  tern::cpu::host_processor_name(out_infos[0].name, sizeof(out_infos[0].name));
  return TERN_OK;
}

constexpr tern_hal_driver_t kDriver = {
    "cpu",
    "this machine's processor",
    enumerate,
    tern::cpu::cpu_device_create,
};

}  // namespace

extern "C" tern_status_t tern_cpu_driver_register(tern_hal_driver_registry_t* registry) {
  return tern_hal_driver_registry_add(registry, &kDriver);
}

extern "C" uint32_t tern_cpu_usable_core_count(void) {
  return tern::cpu::host_usable_core_count();
}
