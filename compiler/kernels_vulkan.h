// The Vulkan part of build_kernels: each kernel one SPIR-V module, all of a level in one image.
#pragma once

#include "compiler/kernels.h"
#include "compiler/render/glsl.h"

namespace tern {

// What the level's kernels are written for.
render::GlslTarget glsl_target(lower::Level level);

Result<pack::ExecutableImage> build_vulkan_kernels(const program::KernelPool::LevelKernels& level,
                                                   const KernelBuildOptions& options,
                                                   KernelBuildResult& counts);

}  // namespace tern
