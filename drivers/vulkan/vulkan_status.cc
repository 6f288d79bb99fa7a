#include "drivers/vulkan/vulkan_status.h"

namespace tern::vulkan {
namespace {

struct Row {
  VkResult result;
  tern_status_code_t code;
  const char* name;
  const char* text;
};
#define ROW(result, code, text) {result, TERN_STATUS_##code, #result, text}
constexpr Row kRows[] = {
    ROW(VK_ERROR_OUT_OF_HOST_MEMORY, OUT_OF_MEMORY, "host memory is short"),
    ROW(VK_ERROR_OUT_OF_DEVICE_MEMORY, OUT_OF_MEMORY, "device memory is short"),
    ROW(VK_ERROR_OUT_OF_POOL_MEMORY, OUT_OF_MEMORY, "a pool is exhausted"),
    ROW(VK_ERROR_FRAGMENTED_POOL, OUT_OF_MEMORY, "a pool is fragmented"),
    ROW(VK_ERROR_FRAGMENTATION, OUT_OF_MEMORY, "descriptor memory is fragmented"),
    ROW(VK_ERROR_TOO_MANY_OBJECTS, OUT_OF_MEMORY, "there are too many objects of the kind"),
    ROW(VK_ERROR_INITIALIZATION_FAILED, INCOMPATIBLE, "the driver could not start"),
    ROW(VK_ERROR_DEVICE_LOST, DEVICE_LOST, "the device was lost"),
    ROW(VK_ERROR_MEMORY_MAP_FAILED, OUT_OF_MEMORY, "the memory could not be mapped"),
    ROW(VK_ERROR_LAYER_NOT_PRESENT, NOT_FOUND, "a layer that was asked for is missing"),
    ROW(VK_ERROR_EXTENSION_NOT_PRESENT, INCOMPATIBLE, "the driver lacks an extension"),
    ROW(VK_ERROR_FEATURE_NOT_PRESENT, INCOMPATIBLE, "the device lacks a feature"),
    ROW(VK_ERROR_INCOMPATIBLE_DRIVER, INCOMPATIBLE, "the driver's version does not do"),
    ROW(VK_ERROR_INVALID_EXTERNAL_HANDLE, INCOMPATIBLE, "the host memory cannot be imported"),
    ROW(VK_ERROR_INVALID_SHADER_NV, MALFORMED, "the shader does not compile"),
    ROW(VK_ERROR_UNKNOWN, INTERNAL, "the driver does not say why"),
};
#undef ROW

const Row* find(VkResult result) {
  for (const Row& row : kRows) {
    if (row.result == result) return &row;
  }
  return nullptr;
}

}  // namespace

tern_status_code_t vulkan_status_code(VkResult result) {
  if (result >= 0) return TERN_STATUS_OK;
  const Row* row = find(result);
  return row ? row->code : TERN_STATUS_INTERNAL;
}

tern_status_t vulkan_status([[maybe_unused]] tern_allocator_t allocator, VkResult result,
                            [[maybe_unused]] const char* call) {
  if (__builtin_expect(result >= 0, 1)) return TERN_OK;
  [[maybe_unused]] const Row* row = find(result);
  return tern_status_make(allocator, vulkan_status_code(result), "%s failed with %s (%d): %s.", call,
                          row ? row->name : "an unknown result", static_cast<int>(result),
                          row ? row->text : "no description");
}

}  // namespace tern::vulkan
