#include "compiler/toolchain/shaderc.h"

#include <shaderc/shaderc.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <spirv-tools/optimizer.hpp>

#include "compiler/support/parallel.h"
#include "compiler/support/write_text.h"
#include "compiler/toolchain/object_cache.h"

namespace tern::toolchain {

namespace {

struct EnvironmentRow {
  spv_target_env tools;
  shaderc_env_version vulkan;
  shaderc_spirv_version spirv;
};
constexpr EnvironmentRow kEnvironments[] = {
    {SPV_ENV_VULKAN_1_1, shaderc_env_version_vulkan_1_1, shaderc_spirv_version_1_3},
    {SPV_ENV_VULKAN_1_2, shaderc_env_version_vulkan_1_2, shaderc_spirv_version_1_3},
#ifdef TERN_SHADERC_MATRICES
    {SPV_ENV_VULKAN_1_3, shaderc_env_version_vulkan_1_3, shaderc_spirv_version_1_6},
#endif
};

struct CompilerDeleter {
  void operator()(shaderc_compiler_t p) const { shaderc_compiler_release(p); }
};
struct OptionsDeleter {
  void operator()(shaderc_compile_options_t p) const { shaderc_compile_options_release(p); }
};
struct ResultDeleter {
  void operator()(shaderc_compilation_result_t p) const { shaderc_result_release(p); }
};
template <typename T, typename Deleter>
using Owned = std::unique_ptr<std::remove_pointer_t<T>, Deleter>;

// One thread's compiler.
class ShaderCompiler {
 public:
  explicit ShaderCompiler(bool optimize)
      : optimize_(optimize),
        compiler_(shaderc_compiler_initialize()),
        options_(shaderc_compile_options_initialize()) {
    shaderc_compile_options_set_source_language(options_.get(), shaderc_source_language_glsl);
  }

  Result<std::vector<uint32_t>> compile(const Shader& shader) {
    if (static_cast<size_t>(shader.environment) >= std::size(kEnvironments))
      return error("Kernel '{}' needs a Shaderc that knows cooperative matrices (tools/setup vulkan-extra).",
                   shader.name);
    const EnvironmentRow& row = kEnvironments[static_cast<size_t>(shader.environment)];
    shaderc_compile_options_set_target_env(options_.get(), shaderc_target_env_vulkan, row.vulkan);
    shaderc_compile_options_set_target_spirv(options_.get(), row.spirv);
    const Owned<shaderc_compilation_result_t, ResultDeleter> result(
        shaderc_compile_into_spv(compiler_.get(), shader.text.data(), shader.text.size(),
                                 shaderc_glsl_compute_shader, shader.name.c_str(), "main", options_.get()));
    if (shaderc_result_get_compilation_status(result.get()) != shaderc_compilation_status_success) {
      return error("Shaderc refuses the generated code of kernel '{}':\n{}", shader.name,
                   shaderc_result_get_error_message(result.get()));
    }
    const auto* words = reinterpret_cast<const uint32_t*>(shaderc_result_get_bytes(result.get()));
    std::vector<uint32_t> code(words, words + shaderc_result_get_length(result.get()) / 4);
    return finish(shader, code, row.tools);
  }

 private:
  // Through SPIRV-Tools itself, so that what it says can be reported, and what is written is what was
  // validated.
  Result<std::vector<uint32_t>> finish(const Shader& shader, const std::vector<uint32_t>& code,
                                       spv_target_env environment) const {
    std::string said;
    const auto listen = [&](spv_message_level_t level, const char*, const spv_position_t&,
                            const char* message) {
      if (level <= SPV_MSG_ERROR) said += std::string(message) + "\n";
    };
    spvtools::Optimizer optimizer(environment);
    optimizer.SetMessageConsumer(listen);
    if (optimize_) optimizer.RegisterPerformancePasses();
    std::vector<uint32_t> optimized;
    spvtools::OptimizerOptions options;
    options.set_run_validator(true);
    if (!optimizer.Run(code.data(), code.size(), &optimized, options))
      return error("SPIRV-Tools cannot optimise kernel '{}':\n{}", shader.name, said);
    // The optimiser folds conversions to 8 and 16 bits into constants, which modules that have such types in
    // storage only must not have: those stay as they were.
    spvtools::SpirvTools tools(environment);
    return tools.Validate(optimized) ? optimized : code;
  }

  bool optimize_;
  Owned<shaderc_compiler_t, CompilerDeleter> compiler_;
  Owned<shaderc_compile_options_t, OptionsDeleter> options_;
};

std::string recipe(std::string_view optimization) {
  unsigned version = 0, revision = 0;
  shaderc_get_spv_version(&version, &revision);
  return fmt::format("glsl {} {} {} {}\n", optimization, version, revision,
                     spvSoftwareVersionDetailsString());
}

Status dump(const std::string& folder, const Shader& shader, const std::vector<uint8_t>& code) {
  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  const std::string stem = fmt::format("{}/{}", folder, shader.name);
  TERN_TRY(write_text(stem + ".comp", shader.text));
  return write_text(stem + ".spv", {reinterpret_cast<const char*>(code.data()), code.size()});
}

}  // namespace

std::shared_ptr<void> keep_shader_tables() {
  auto compiler = std::make_shared<ShaderCompiler>(false);
  for (size_t e = 0; e < std::size(kEnvironments); ++e)
    (void)compiler->compile({"tables", "#version 450\nvoid main() {}\n", static_cast<ShaderEnvironment>(e)});
  return compiler;
}

bool shaders_have_matrices() {
  return std::size(kEnvironments) > static_cast<size_t>(ShaderEnvironment::kVulkan13);
}

Result<SpirvImage> compile_shaders(const std::vector<Shader>& shaders, const CompileOptions& options) {
  ObjectCache cache(options.use_cache ? ObjectCache::default_directory() : "");
  const std::string prefix = recipe(options.optimization);
  std::vector<std::vector<uint8_t>> codes(shaders.size());
  std::vector<std::optional<Error>> problems(shaders.size());
  std::atomic<size_t> next = 0;
  std::atomic<int> compiled = 0, cached = 0;
  const auto one = [&](ShaderCompiler& compiler, const Shader& shader, std::vector<uint8_t>& code) -> Status {
    const std::string key =
        content_hash(fmt::format("{}{}\n{}", prefix, static_cast<int>(shader.environment), shader.text));
    if (auto hit = cache.find(key)) {
      ++cached;
      code = std::move(*hit);
    } else {
      TERN_ASSIGN(const std::vector<uint32_t> words, compiler.compile(shader));
      const auto* bytes = reinterpret_cast<const uint8_t*>(words.data());
      code.assign(bytes, bytes + words.size() * 4);
      cache.keep(key, code);
      ++compiled;
    }
    return options.dump_dir.empty() ? Ok{} : dump(options.dump_dir, shader, code);
  };
  const auto work = [&] {
    ShaderCompiler compiler(options.optimization != "-O0");
    for (size_t k; (k = next++) < shaders.size();) {
      Status status = one(compiler, shaders[k], codes[k]);
      if (!status.ok()) problems[k] = status.take_error();
    }
  };
  const int workers = std::clamp(options.jobs, 1, static_cast<int>(std::max<size_t>(shaders.size(), 1)));
  parallel_for(static_cast<size_t>(workers), workers, [&](size_t) { work(); });
  SpirvImage image;
  for (size_t k = 0; k < shaders.size(); ++k) {
    if (problems[k]) return std::move(*problems[k]);
    image.offsets.push_back(image.bytes.size());
    image.bytes.insert(image.bytes.end(), codes[k].begin(), codes[k].end());
  }
  image.units_compiled = compiled;
  image.units_cached = cached;
  return image;
}

}  // namespace tern::toolchain
