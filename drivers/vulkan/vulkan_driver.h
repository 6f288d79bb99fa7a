// The vulkan driver: GPUs (and software) with Vulkan 1.1 or later. The loader is opened when first asked for
// (libvulkan.so.1); nothing of Vulkan is needed to start. docs/drivers-vulkan.md says how it works.
#pragma once

#include "hal/driver_registry.h"

#ifdef __cplusplus
extern "C" {
#endif

// Rows of drivers/vulkan/quirks.def.
enum {
#define TERN_VULKAN_QUIRK(bit, name, condition, reason) TERN_VULKAN_QUIRK_##name = 1 << bit,
#include "drivers/vulkan/quirks.def"
#undef TERN_VULKAN_QUIRK
};

// tern_hal_device_desc_t::driver_options of this driver. Zero is the default.
typedef struct tern_vulkan_options_t {
  // Folder for compiled pipelines, made if it is missing. Null: TERN_CACHE_DIR, else XDG_CACHE_HOME/tern,
  // else
  // ~/.cache/tern; empty: none.
  const char* cache_dir;
  // How long a waiting thread polls before it sleeps, in nanoseconds; 0: 1 ms.
  uint32_t spin_ns;
  // Quirks to turn on, and to leave off where they would be on by themselves (TERN_VULKAN_QUIRK_...).
  uint32_t quirks_on;
  uint32_t quirks_off;
} tern_vulkan_options_t;

TERN_PUBLIC TERN_MUST_USE tern_status_t tern_vulkan_driver_register(tern_hal_driver_registry_t* registry);

#ifdef __cplusplus
}  // extern "C"
#endif
