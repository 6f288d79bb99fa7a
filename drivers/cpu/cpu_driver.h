// The CPU driver: machine code from ELF images or linked into the program, run on the submitting thread, on a
// pool of own threads, or on the host's executor (tern_hal_device_desc_t). Submissions run before
// tern_hal_device_submit returns.
//
// A device may be used from several threads at once: the pool serves one submission at a time, others run
// meanwhile on the thread that submitted them. Results do not depend on which.
#pragma once

#include "hal/driver_registry.h"
#include "schemas/abi/driver_options.h"  // tern_cpu_options_t

#ifdef __cplusplus
extern "C" {
#endif

TERN_PUBLIC TERN_MUST_USE tern_status_t tern_cpu_driver_register(tern_hal_driver_registry_t* registry);

// Physical cores that this process may use: its affinity, not counting two threads of one core twice, and its
// cgroup's quota.
TERN_PUBLIC uint32_t tern_cpu_usable_core_count(void);

#ifdef __cplusplus
}  // extern "C"
#endif
