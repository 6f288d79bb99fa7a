#include "compiler/toolchain/shaderc.h"

#include <doctest/doctest.h>

namespace tern::toolchain {
namespace {

TEST_CASE("a constant of a type that only storage has") {
  const Shader shader = {"flags", R"(#version 450
#extension GL_EXT_shader_8bit_storage : require
layout(local_size_x = 1) in;
layout(std430, set = 0, binding = 0) buffer Bytes { uint8_t y[]; };
void main() { y[gl_GlobalInvocationID.x] = uint8_t(1u); }
)",
                         ShaderEnvironment::kVulkan11};
  CompileOptions options;
  options.use_cache = false;
  const Result<SpirvImage> image = compile_shaders({shader}, options);
  REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
  CHECK(!image.value().bytes.empty());
  constexpr uint32_t kShader = 1, kStorageBuffer8BitAccess = 4448;
  CHECK(spirv_capabilities(image.value().bytes) == std::vector<uint32_t>{kShader, kStorageBuffer8BitAccess});
}

}  // namespace
}  // namespace tern::toolchain
