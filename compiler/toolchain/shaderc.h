// GLSL to SPIR-V, in this process: Shaderc compiles, SPIRV-Tools optimises and validates.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "compiler/support/result.h"
#include "compiler/toolchain/toolchain.h"

namespace tern::toolchain {

// What a shader is compiled and validated for.
enum class ShaderEnvironment : uint8_t {
  kVulkan11,
  kVulkan12,  // 16-bit floats
  kVulkan13,  // SPIR-V 1.6: cooperative matrices
};

struct Shader {
  std::string name;  // of the kernel: for messages
  std::string text;  // GLSL, entry point `main`
  ShaderEnvironment environment = ShaderEnvironment::kVulkan11;
};

// Whether this build's Shaderc knows cooperative matrices: that of `tools/setup vulkan-extra` does.
bool shaders_have_matrices();

struct SpirvImage {
  std::vector<uint8_t> bytes;     // the modules, one after the other
  std::vector<uint64_t> offsets;  // where each begins
  int units_compiled = 0, units_cached = 0;
};

// Optimises unless options.optimization is "-O0". Compiles options.jobs shaders at once; each is cached by
// its text. An Error names the kernel, with the compiler's words.
Result<SpirvImage> compile_shaders(const std::vector<Shader>& shaders, const CompileOptions& options);

// Makes the tables of GLSL's built-in functions, which the process keeps as long as the result lives: else
// they are made for each module, and take a small one longer than its shaders.
std::shared_ptr<void> keep_shader_tables();

}  // namespace tern::toolchain
