// The CPU driver: machine code from ELF images or linked into the program, run on the submitting thread, on a
// pool of own threads, or on the host's executor (tern_hal_device_desc_t). Submissions run before
// tern_hal_device_submit returns.
//
// A device may be used from several threads at once: the pool serves one submission at a time, others run
// meanwhile on the thread that submitted them. Results do not depend on which.
#pragma once

#include "hal/driver_registry.h"

#ifdef __cplusplus
extern "C" {
#endif

// tern_hal_device_desc_t::driver_options of this driver. Zero is the default of every field.
typedef struct tern_cpu_options_t {
  uint32_t spin_ns;  // how long a thread looks for work before it sleeps: 0 is the default, 1 sleeps at once
  // What the workers' cores can do beside each other (1 to 1024), the submitting thread's first; those beyond
  // the last weigh the same. None: what the system says of the cores that the process may use (cpu_capacity),
  // largest first; each thread is then kept to cores of its kind. Only the first split of work follows them,
  // never a result.
  const uint32_t* worker_weights;
  uint32_t worker_weight_count;
  uint32_t
      x86_level_limit;  // answer as a CPU of at most this x86-64 level would (tests of variants); 0: as it is
} tern_cpu_options_t;

TERN_PUBLIC TERN_MUST_USE tern_status_t tern_cpu_driver_register(tern_hal_driver_registry_t* registry);

// Physical cores that this process may use: its affinity, not counting two threads of one core twice, and its
// cgroup's quota.
TERN_PUBLIC uint32_t tern_cpu_usable_core_count(void);

#ifdef __cplusplus
}  // extern "C"
#endif
