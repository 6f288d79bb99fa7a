// The cuda driver: NVIDIA GPUs through the driver API, which is loaded when first asked for (libcuda.so.1;
// nothing of CUDA is needed to build or to start). docs/drivers-cuda.md says how it works.
#pragma once

#include "hal/driver_registry.h"
#include "schemas/abi/driver_options.h"  // tern_cuda_options_t

#ifdef __cplusplus
extern "C" {
#endif

TERN_PUBLIC TERN_MUST_USE tern_status_t tern_cuda_driver_register(tern_hal_driver_registry_t* registry);

#ifdef __cplusplus
}  // extern "C"
#endif
