#include "drivers/cuda/cuda_driver.h"

#include "drivers/cuda/cuda_device.h"
#include "drivers/cuda/cuda_status.h"

namespace {

using namespace tern::cuda;

tern_status_t list(tern_allocator_t allocator, const Symbols& symbols, tern_hal_device_info_t* out_infos,
                   uint32_t capacity, uint32_t* out_count) {
  int count = 0;
  TERN_RETURN_IF_ERROR(cuda_status(allocator, &symbols, symbols.DeviceGetCount(&count), "cuDeviceGetCount"));
  *out_count = count > 0 ? static_cast<uint32_t>(count) : 0;
  for (uint32_t i = 0; i < *out_count && i < capacity; ++i) {
    CUdevice device = 0;
    TERN_RETURN_IF_ERROR(
        cuda_status(allocator, &symbols, symbols.DeviceGet(&device, static_cast<int>(i)), "cuDeviceGet"));
    out_infos[i] = {};
    out_infos[i].ordinal = i;
    TERN_RETURN_IF_ERROR(cuda_status(
        allocator, &symbols,
        symbols.DeviceGetName(out_infos[i].name, static_cast<int>(sizeof(out_infos[i].name)) - 1, device),
        "cuDeviceGetName"));
  }
  return TERN_OK;
}

// No library and no device are no failure: there are none then. Neither is a driver that is too old, to a
// caller that only asks what there is.
tern_status_t enumerate(tern_allocator_t allocator, tern_hal_device_info_t* out_infos, uint32_t capacity,
                        uint32_t* out_count) {
  *out_count = 0;
  Symbols symbols;
  tern_status_t status = cuda_symbols_load(allocator, &symbols);
  if (!tern_status_is_ok(status)) {
    tern_status_free(status);
    return TERN_OK;
  }
  status = list(allocator, symbols, out_infos, capacity, out_count);
  cuda_symbols_unload(&symbols);
  return status;
}

constexpr tern_hal_driver_t kDriver = {
    "cuda",
    "NVIDIA GPUs",
    enumerate,
    cuda_device_create,
};

}  // namespace

extern "C" tern_status_t tern_cuda_driver_register(tern_hal_driver_registry_t* registry) {
  return tern_hal_driver_registry_add(registry, &kDriver);
}
