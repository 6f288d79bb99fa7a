// The cuda driver: NVIDIA GPUs through the driver API, which is loaded when first asked for (libcuda.so.1;
// nothing of CUDA is needed to build or to start). docs/drivers-cuda.md says how it works.
#pragma once

#include "hal/driver_registry.h"

#ifdef __cplusplus
extern "C" {
#endif

// tern_hal_device_desc_t::driver_options of this driver. Zero is the default.
typedef struct tern_cuda_options_t {
  // Freed device memory that stays reserved for this device's next buffers, in bytes; 0: 256 MiB.
  uint64_t pool_bytes;
  // How long a waiting thread polls before it sleeps, in nanoseconds; 0: 1 ms.
  uint32_t spin_ns;
  // Plain edges between dependent kernels, even where both sides can overlap (TERN_HAL_ENTRY_WAITS_FOR_GRID).
  uint32_t no_dependent_launch;
} tern_cuda_options_t;

TERN_PUBLIC TERN_MUST_USE tern_status_t tern_cuda_driver_register(tern_hal_driver_registry_t* registry);

#ifdef __cplusplus
}  // extern "C"
#endif
