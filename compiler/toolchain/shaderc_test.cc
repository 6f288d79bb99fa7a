#include "compiler/toolchain/shaderc.h"

#include <doctest/doctest.h>

#include "compiler/toolchain/spirv_facts.h"

namespace tern::toolchain {
namespace {

SpirvImage compiled(const Shader& shader) {
  CompileOptions options;
  options.use_cache = false;
  Result<SpirvImage> image = compile_shaders({shader}, options);
  REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
  return std::move(image).value();
}

TEST_CASE("a constant of a type that only storage has") {
  const Shader shader = {"flags", R"(#version 450
#extension GL_EXT_shader_8bit_storage : require
layout(local_size_x = 1) in;
layout(std430, set = 0, binding = 0) buffer Bytes { uint8_t y[]; };
void main() { y[gl_GlobalInvocationID.x] = uint8_t(1u); }
)",
                         ShaderEnvironment::kVulkan11};
  const SpirvImage image = compiled(shader);
  CHECK(!image.bytes.empty());
  constexpr uint32_t kShader = 1, kStorageBuffer8BitAccess = 4448;
  CHECK(spirv_facts(image.bytes).capabilities == std::vector<uint32_t>{kShader, kStorageBuffer8BitAccess});
}

TEST_CASE("what a shader asks of a device is read from its words") {
  const Shader shader = {"facts", R"(#version 450
layout(local_size_x = 32, local_size_y = 4) in;
layout(constant_id = 0) const uint words = 16;
layout(std430, set = 0, binding = 0) readonly buffer X { float x[]; };
layout(std430, set = 0, binding = 1) buffer Y { vec4 y[]; };
layout(std430, set = 0, binding = 1) buffer View { float each[]; };
layout(push_constant) uniform P { uint tiles, first; uvec2 params[3]; };
shared vec4 stage[100];
shared uint more[words];
void main() {
  stage[gl_LocalInvocationIndex % 100u] = vec4(x[first]);
  more[gl_LocalInvocationIndex % words] = params[2].y;
  barrier();
  y[tiles] = stage[more[0] % 100u];
  each[first] = 1.0;
}
)",
                         ShaderEnvironment::kVulkan11};
  const SpirvImage image = compiled(shader);
  const SpirvFacts facts = spirv_facts(image.bytes);
  CHECK(facts.version == 0x00010300);
  CHECK(facts.capabilities == std::vector<uint32_t>{1});
  CHECK(facts.extensions.empty());
  CHECK(facts.local_size[0] == 32);
  CHECK(facts.local_size[1] == 4);
  CHECK(facts.local_size[2] == 1);
  CHECK(facts.workgroup_bytes == 1600 + 64);
  CHECK(facts.push_bytes == 8 + 24);
  CHECK(facts.storage_buffers == 2);
}

}  // namespace
}  // namespace tern::toolchain
