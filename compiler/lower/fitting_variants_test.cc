#include "compiler/lower/fitting_variants.h"

#include <doctest/doctest.h>

namespace tern::lower {
namespace {

KernelVariant variant(Level level, int64_t workgroup_bytes) {
  auto k = std::make_shared<kernel::Kernel>();
  k->workgroup_bytes = workgroup_bytes;
  k->schedule = "tiles";
  return {level, std::move(k), 1, 0};
}

TEST_CASE("a kernel of more workgroup memory than its level has leaves its place to a lower level's") {
  std::vector<KernelVariant> variants = {variant(Level::kVulkan11, 8192), variant(Level::kVulkanF16, 32768),
                                         variant(Level::kVulkanMatrix, 49156)};
  keep_fitting(variants);
  REQUIRE(variants.size() == 2);
  CHECK(variants[1].kernel->schedule ==
        "tiles, on vulkan_matrix too (its own would take 49156 bytes of workgroup memory, the limit is 49152)");
  variants.push_back(variant(Level::kVulkanMatrix, 49152));
  keep_fitting(variants);
  CHECK(variants.size() == 3);
}

TEST_CASE("CUDA's kernels ask for their memory, and a dispatch keeps its only kernel") {
  std::vector<KernelVariant> cuda = {variant(Level::kCudaSm80, 0), variant(Level::kCudaSm90, 1 << 20)};
  keep_fitting(cuda);
  CHECK(cuda.size() == 2);
  std::vector<KernelVariant> alone = {variant(Level::kVulkan11, 1 << 20)};
  keep_fitting(alone);
  CHECK(alone.size() == 1);
}

}  // namespace
}  // namespace tern::lower
