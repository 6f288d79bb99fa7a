// Results of Vulkan as statuses. The only file that knows which is which.
#pragma once

#include "drivers/vulkan/vulkan_api.h"
#include "hal/base/status.h"

namespace tern::vulkan {

// OK for results that are no errors (VK_SUCCESS, VK_NOT_READY, …). `call` names what was called, for the
// sentence.
TERN_MUST_USE tern_status_t vulkan_status(tern_allocator_t allocator, VkResult result, const char* call);

// The code alone.
tern_status_code_t vulkan_status_code(VkResult result);

}  // namespace tern::vulkan
