// The Vulkan API's declarations without its functions, which are loaded (vulkan_symbols.h), and what headers
// from before 1.4.311 lack.
#pragma once

#define VK_NO_PROTOTYPES 1
#include <vulkan/vulkan_core.h>

namespace tern::vulkan {

// VK_KHR_cooperative_matrix.
constexpr char kCooperativeMatrix[] = "VK_KHR_cooperative_matrix";
constexpr auto kCooperativeMatrixFeaturesType = static_cast<VkStructureType>(1000506000);
constexpr auto kCooperativeMatrixPropertiesType = static_cast<VkStructureType>(1000506001);
constexpr uint32_t kComponentFloat16 = 0, kComponentFloat32 = 1, kComponentSint8 = 3, kComponentSint32 = 5,
                   kComponentBfloat16 = 1000141000, kScopeSubgroup = 3;

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

// VK_KHR_shader_bfloat16.
constexpr char kShaderBfloat16[] = "VK_KHR_shader_bfloat16";
constexpr auto kShaderBfloat16FeaturesType = static_cast<VkStructureType>(1000141000);

struct ShaderBfloat16Features {
  VkStructureType type;
  void* next;
  VkBool32 bfloat16_type;
  VkBool32 dot_product;
  VkBool32 cooperative_matrix;
};

}  // namespace tern::vulkan
