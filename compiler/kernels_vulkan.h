// The Vulkan part of build_kernels: each kernel one SPIR-V module, all of a level in one image.
#pragma once

#include "compiler/kernels.h"

namespace tern {

Result<pack::ExecutableImage> build_vulkan_kernels(const program::KernelPool::LevelKernels& level,
                                                   const KernelBuildOptions& options,
                                                   KernelBuildResult& counts);

}  // namespace tern
