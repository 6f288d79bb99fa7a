// GLSL to SPIR-V, in this process: Shaderc compiles, SPIRV-Tools optimises and validates for Vulkan 1.1.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compiler/support/result.h"
#include "compiler/toolchain/toolchain.h"

namespace tern::toolchain {

struct Shader {
  std::string name;  // of the kernel: for messages
  std::string text;  // GLSL, entry point `main`
};

struct SpirvImage {
  std::vector<uint8_t> bytes;     // the modules, one after the other
  std::vector<uint64_t> offsets;  // where each begins
  int units_compiled = 0, units_cached = 0;
};

// Optimises unless options.optimization is "-O0". Compiles options.jobs shaders at once; each is cached by
// its text. An Error names the kernel, with the compiler's words.
Result<SpirvImage> compile_shaders(const std::vector<Shader>& shaders, const CompileOptions& options);

}  // namespace tern::toolchain
