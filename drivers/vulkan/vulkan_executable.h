// Executables: SPIR-V modules, and one pipeline an entry. Entries with scratch have a pipeline for each size
// that they were asked for, made then.
#pragma once

#include "drivers/vulkan/vulkan_device.h"

namespace tern::vulkan {

TERN_MUST_USE tern_status_t vulkan_executable_create(tern_hal_device_t* device,
                                                     const tern_hal_executable_desc_t* desc,
                                                     tern_hal_executable_t** out_executable);

const Layout* vulkan_executable_layout(const tern_hal_executable_t* executable, uint32_t entry);

// The pipeline with room for `scratch` bytes. Fails if the device has not as much workgroup memory.
TERN_MUST_USE tern_status_t vulkan_executable_pipeline(tern_hal_executable_t* executable, uint32_t entry,
                                                       uint64_t scratch, VkPipeline* out_pipeline);

}  // namespace tern::vulkan
