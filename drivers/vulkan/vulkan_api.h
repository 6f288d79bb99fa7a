// The Vulkan API's declarations without its functions, which are loaded (vulkan_symbols.h), and what headers
// from before 1.3.255 lack.
#pragma once

#define VK_NO_PROTOTYPES 1
#include <vulkan/vulkan_core.h>

namespace tern::vulkan {

// VK_KHR_cooperative_matrix.
constexpr char kCooperativeMatrix[] = "VK_KHR_cooperative_matrix";
constexpr auto kCooperativeMatrixFeaturesType = static_cast<VkStructureType>(1000506000);
constexpr auto kCooperativeMatrixPropertiesType = static_cast<VkStructureType>(1000506001);
constexpr uint32_t kComponentFloat16 = 0, kComponentFloat32 = 1, kScopeSubgroup = 3;

struct CooperativeMatrixFeatures {
  VkStructureType type;
  void* next;
  VkBool32 cooperative_matrix;
  VkBool32 robust_buffer_access;
};

struct CooperativeMatrixProperties {
  VkStructureType type;
  void* next;
  uint32_t m, n, k;
  uint32_t a_type, b_type, c_type, result_type;
  VkBool32 saturating;
  uint32_t scope;
};

}  // namespace tern::vulkan
