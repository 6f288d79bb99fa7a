#include "compiler/kernels_vulkan.h"

#include "compiler/render/glsl.h"
#include "compiler/toolchain/shaderc.h"

namespace tern {
namespace {

// Capabilities that the kernels use beyond what every Vulkan 1.1 device has.
std::vector<module::Condition> conditions_of(const render::GlslNeeds& needs, int subgroup) {
  enum Capability : uint16_t {
#define TERN_CAPABILITY(id, name, meaning) k_##name = id,
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
  };
  std::vector<module::Condition> out;
  if (needs.int64) out.emplace_back(1, k_vulkan_int64, module::ConditionOp::AtLeast);
  if (needs.float64) out.emplace_back(1, k_vulkan_float64, module::ConditionOp::AtLeast);
  if (needs.shuffle) out.emplace_back(1, k_vulkan_subgroup_shuffle, module::ConditionOp::AtLeast);
  if (subgroup) out.emplace_back(subgroup, k_vulkan_subgroup_size, module::ConditionOp::Equal);
  return out;
}

toolchain::ShaderEnvironment environment_of(lower::Level level) {
  const lower::GpuModel& model = lower::gpu_model(level);
  return model.tiles != DType::kNone ? toolchain::ShaderEnvironment::kVulkan13
         : model.narrow_storage      ? toolchain::ShaderEnvironment::kVulkan12
                                     : toolchain::ShaderEnvironment::kVulkan11;
}

}  // namespace

render::GlslTarget glsl_target(lower::Level level) {
  const lower::GpuModel& model = lower::gpu_model(level);
  return {model.narrow_storage, model.byte_products != lower::ByteProducts::kPairs};
}

Result<pack::ExecutableImage> build_vulkan_kernels(const program::KernelPool::LevelKernels& level,
                                                   const KernelBuildOptions& options,
                                                   KernelBuildResult& counts) {
  pack::ExecutableImage image{level.level, {}, {}, {}};
  std::vector<toolchain::Shader> shaders;
  render::GlslNeeds needs;
  int subgroup = 0;
  for (const auto& kernel : level.kernels) {
    TERN_ASSIGN(render::GlslKernel rendered, render::render_glsl(*kernel, glsl_target(level.level)));
    needs.int64 |= rendered.needs.int64;
    needs.float64 |= rendered.needs.float64;
    needs.shuffle |= rendered.needs.shuffle;
    subgroup = std::max(subgroup, kernel->subgroup);
    shaders.push_back({kernel->name, std::move(rendered.text), environment_of(level.level)});
    image.entry_names.push_back(kernel->name);
  }
  toolchain::CompileOptions compile;
  compile.jobs = options.jobs;
  compile.use_cache = options.use_cache;
  if (!options.dump_dir.empty())
    compile.dump_dir = fmt::format("{}/{}", options.dump_dir, lower::level_name(level.level));
  TERN_ASSIGN(toolchain::SpirvImage spirv, toolchain::compile_shaders(shaders, compile));
  image.image = std::move(spirv.bytes);
  image.entry_offsets = std::move(spirv.offsets);
  // Other sizes are told to the device, entry by entry.
  constexpr int kUsualSubgroup = 32;
  image.conditions = conditions_of(needs, subgroup == kUsualSubgroup ? subgroup : 0);
  counts.units_compiled += spirv.units_compiled;
  counts.units_cached += spirv.units_cached;
  return image;
}

}  // namespace tern
