#include "compiler/kernels_vulkan.h"

#include <algorithm>
#include <span>

#include "compiler/kernel/expr_util.h"
#include "compiler/render/glsl.h"
#include "compiler/support/capability_ids.h"
#include "compiler/toolchain/shaderc.h"
#include "compiler/toolchain/spirv_facts.h"
#include "schemas/abi/kernel_abi.h"

namespace tern {
namespace {

// What the kernels of an image take together.
struct Needs {
  render::GlslNeeds glsl;
  int subgroup = 0;
  int64_t storage_buffers = 0;  // the driver's among them

  void add(const kernel::Kernel& kernel, const render::GlslNeeds& of_text) {
    glsl.int64 |= of_text.int64;
    glsl.float64 |= of_text.float64;
    glsl.shuffle |= of_text.shuffle;
    subgroup = std::max(subgroup, kernel.subgroup);
    const bool unpushed = kernel.params.size() > TERN_VULKAN_PUSHED_PARAMS;
    storage_buffers = std::max(
        storage_buffers, static_cast<int64_t>(kernel.bindings.size()) + unpushed + kernel::can_fail(kernel));
  }

  // Beyond what every Vulkan 1.1 device has.
  std::vector<module::Condition> conditions() const {
    constexpr int64_t kStorageBuffers = 4;  // of every device
    // Other sizes are told to the device, entry by entry.
    constexpr int kUsualSubgroup = 32;
    std::vector<module::Condition> out;
    const auto at_least = [&](int64_t value, uint16_t capability) {
      out.emplace_back(value, capability, module::ConditionOp::AtLeast);
    };
    if (glsl.int64) at_least(1, k_vulkan_int64);
    if (glsl.float64) at_least(1, k_vulkan_float64);
    if (glsl.shuffle) at_least(1, k_vulkan_subgroup_shuffle);
    if (subgroup == kUsualSubgroup)
      out.emplace_back(subgroup, k_vulkan_subgroup_size, module::ConditionOp::Equal);
    if (storage_buffers > kStorageBuffers) at_least(storage_buffers, k_vulkan_storage_buffers);
    return out;
  }
};

// Whether devices that meet an image's conditions have what a SPIR-V module declares.
bool covered(uint32_t capability, const lower::GpuModel& model, const render::GlslNeeds& needs) {
  const bool tiles = model.tiles != DType::kNone;
  switch (capability) {  // SPIR-V 1.6, section 3.31
    case 0:              // Matrix
    case 1:              // Shader
      return true;
    case 10:  // Float64
      return needs.float64;
    case 11:  // Int64
      return needs.int64;
    case 61:  // GroupNonUniform
      return needs.shuffle || model.subgroup > 0;
    case 65:  // GroupNonUniformShuffle
      return needs.shuffle;
    case 9:     // Float16
    case 4433:  // StorageBuffer16BitAccess
    case 4448:  // StorageBuffer8BitAccess
      return model.narrow_storage;
    case 39:  // Int8
      return model.tiles == DType::kI8;
    case 6018:  // DotProductInput4x8BitPacked
    case 6019:  // DotProduct
      return model.byte_products != lower::ByteProducts::kPairs;
    case 5345:  // VulkanMemoryModel
    case 6022:  // CooperativeMatrixKHR
      return tiles;
    case 5116:  // BFloat16TypeKHR
    case 5118:  // BFloat16CooperativeMatrixKHR
      return model.tiles == DType::kBF16 || model.tiles == DType::kF32;
    default:
      return false;
  }
}

// What every Vulkan 1.1 device takes without being asked (table 'Required Limits' of its specification),
// which is what the first level's shaders keep to; what they need more of is in the image's conditions.
void check_floor(const toolchain::SpirvFacts& facts, const Needs& needs, const std::string& kernel) {
  const auto check = [&](std::string_view what, int64_t value, int64_t most) {
    TERN_CHECK(value <= most, "kernel {}: {} ({}) is beyond the floor of Vulkan 1.1 ({})", kernel, what,
               value, most);
  };
  const uint32_t* size = facts.local_size;
  check("the SPIR-V version", facts.version, 0x00010300);
  check("the workgroup's width", size[0], 128);
  check("the workgroup's height", size[1], 128);
  check("the workgroup's depth", size[2], 64);
  check("invocations of a workgroup", int64_t{size[0]} * size[1] * size[2], 128);
  check("bytes of workgroup memory", facts.workgroup_bytes, 16384);
  check("bytes of push constants", facts.push_bytes, 128);
  check("storage buffers", facts.storage_buffers, needs.storage_buffers);
  for (const std::string& extension : facts.extensions)
    TERN_CHECK(extension == "SPV_KHR_storage_buffer_storage_class",
               "kernel {}: {} is beyond the floor of Vulkan 1.1", kernel, extension);
  constexpr uint32_t kInput = 1, kWorkgroup = 4, kPrivate = 6, kFunction = 7, kPushConstant = 9,
                     kStorageBuffer = 12;
  for (const uint32_t c : facts.storage_classes)
    TERN_CHECK(c == kInput || c == kWorkgroup || c == kPrivate || c == kFunction || c == kPushConstant ||
                   c == kStorageBuffer,
               "kernel {}: a variable's storage class {} is beyond the floor of Vulkan 1.1", kernel, c);
}

// An image must not be chosen for devices that cannot run it.
void check_shaders(const toolchain::SpirvImage& image, const std::vector<toolchain::Shader>& shaders,
                   const lower::GpuModel& model, const Needs& needs) {
  for (size_t k = 0; k < shaders.size(); ++k) {
    const size_t end = k + 1 < shaders.size() ? image.offsets[k + 1] : image.bytes.size();
    const auto code = std::span(image.bytes).subspan(image.offsets[k], end - image.offsets[k]);
    const toolchain::SpirvFacts facts = toolchain::spirv_facts(code);
    for (const uint32_t capability : facts.capabilities) {
      TERN_CHECK(covered(capability, model, needs.glsl),
                 "kernel {} declares SPIR-V's capability {}, for which no condition of level {} asks",
                 shaders[k].name, capability, model.name);
    }
    if (shaders[k].environment == toolchain::ShaderEnvironment::kVulkan11)
      check_floor(facts, needs, shaders[k].name);
  }
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
  Needs needs;
  for (const auto& kernel : level.kernels) {
    TERN_ASSIGN(render::GlslKernel rendered, render::render_glsl(*kernel, glsl_target(level.level)));
    needs.add(*kernel, rendered.needs);
    shaders.push_back({kernel->name, std::move(rendered.text), environment_of(level.level)});
    image.entry_names.push_back(kernel->name);
  }
  toolchain::CompileOptions compile;
  compile.jobs = options.jobs;
  compile.use_cache = options.use_cache;
  if (!options.dump_dir.empty())
    compile.dump_dir = fmt::format("{}/{}", options.dump_dir, lower::level_name(level.level));
  TERN_ASSIGN(toolchain::SpirvImage spirv, toolchain::compile_shaders(shaders, compile));
  check_shaders(spirv, shaders, lower::gpu_model(level.level), needs);
  image.image = std::move(spirv.bytes);
  image.entry_offsets = std::move(spirv.offsets);
  image.conditions = needs.conditions();
  counts.units_compiled += spirv.units_compiled;
  counts.units_cached += spirv.units_cached;
  return image;
}

}  // namespace tern
