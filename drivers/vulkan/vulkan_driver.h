// The vulkan driver: GPUs (and software) with Vulkan 1.1 or later. The loader is opened when first asked for
// (libvulkan.so.1); nothing of Vulkan is needed to start. docs/drivers-vulkan.md says how it works.
#pragma once

#include "hal/driver_registry.h"
#include "schemas/abi/driver_options.h"  // tern_vulkan_options_t

#ifdef __cplusplus
extern "C" {
#endif

// Rows of drivers/vulkan/quirks.def.
enum {
#define TERN_VULKAN_QUIRK(bit, name, condition, reason) TERN_VULKAN_QUIRK_##name = 1 << bit,
#include "drivers/vulkan/quirks.def"
#undef TERN_VULKAN_QUIRK
};

TERN_PUBLIC TERN_MUST_USE tern_status_t tern_vulkan_driver_register(tern_hal_driver_registry_t* registry);

#ifdef __cplusplus
}  // extern "C"
#endif
