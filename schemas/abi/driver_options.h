// What each driver takes as tern_device_desc_t::driver_options (tern_hal_device_desc_t::driver_options
// inside). A struct of zeros, like none, is the default of every field.
#pragma once

#include <stdint.h>

// "cpu"
typedef struct tern_cpu_options_t {
  uint32_t spin_ns;  // how long a thread looks for work before it sleeps: 0 is the default, 1 sleeps at once
  // What the workers' cores can do beside each other (1 to 1024), the submitting thread's first; those beyond
  // the last weigh the same. None: what the system says of the cores that the process may use (cpu_capacity),
  // largest first; each thread is then kept to cores of its kind. Only the first split of work follows them,
  // never a result.
  const uint32_t* worker_weights;
  uint32_t worker_weight_count;
  // Answer as a CPU of at most this x86-64 level would (tests of variants); 0: as it is.
  uint32_t x86_level_limit;
} tern_cpu_options_t;

// "cuda"
typedef struct tern_cuda_options_t {
  // Freed device memory that stays reserved for this device's next buffers, in bytes; 0: 256 MiB.
  uint64_t pool_bytes;
  // How long a waiting thread polls before it sleeps, in nanoseconds; 0: 1 ms.
  uint32_t spin_ns;
  // Plain edges between dependent kernels, even where both sides can overlap.
  uint32_t no_dependent_launch;
  // Folder for the code that PTX was compiled to, made if it is missing. Null: TERN_CACHE_DIR, else
  // XDG_CACHE_HOME/tern, else ~/.cache/tern; empty: none.
  const char* cache_dir;
} tern_cuda_options_t;

// "vulkan"
typedef struct tern_vulkan_options_t {
  // Folder for compiled pipelines, made if it is missing. Null: TERN_CACHE_DIR, else XDG_CACHE_HOME/tern,
  // else
  // ~/.cache/tern; empty: none.
  const char* cache_dir;
  // How long a waiting thread polls before it sleeps, in nanoseconds; 0: 1 ms.
  uint32_t spin_ns;
  // Quirks to turn on, and to leave off where they would be on by themselves: bits of tern/vulkan_quirks.def.
  uint32_t quirks_on;
  uint32_t quirks_off;
} tern_vulkan_options_t;
