#include "compiler/lower/target.h"

#include <doctest/doctest.h>

namespace tern::lower {
namespace {

std::string described(const std::string& text) {
  auto targets = parse_targets(text);
  if (!targets.ok()) return targets.error().text();
  std::string out;
  for (const Target& t : *targets) {
    out += fmt::format("{}:", arch_name(t.arch));
    for (const Level level : t.levels) {
      out += fmt::format(" {} (", level_name(level));
      for (const ImageKind& image : t.images(level)) out += fmt::format(" {}", image.name);
      out += " )";
    }
    for (const Level level : t.product_levels) out += fmt::format(" +{}", level_name(level));
    out += "\n";
  }
  return out;
}

TEST_CASE("targets: one a class, levels ascending, images best first") {
  CHECK(described("cpu:x86_64_v4,cpu:x86_64_v2") ==
        "x86_64: x86_64_v2 ( x86_64_v2 ) x86_64_v4 ( x86_64_v4 )\n");
  CHECK(described("cpu:x86_64_v4+bf16,cpu:x86_64_v4+vnni") ==
        "x86_64: x86_64_v4 ( x86_64_v4 ) +x86_64_v4+vnni +x86_64_v4+bf16\n");
  CHECK(described("cpu:x86_64_v4+amx,cpu:x86_64_v4+vnni") ==
        "x86_64: x86_64_v4 ( x86_64_v4 ) +x86_64_v4+vnni +x86_64_v4+amx\n");
  CHECK(described("cuda") ==
        "cuda: cuda_sm_80 ( cuda_sm_90a cuda_sm_80 cuda_ptx_80 ) cuda_sm_90 ( cuda_sm_90a_hopper )\n");
  CHECK(described("cuda:sm_80") == "cuda: cuda_sm_80 ( cuda_sm_80 cuda_ptx_80 )\n");
  CHECK(described("cuda:sm_90a") == "cuda: cuda_sm_80 ( cuda_sm_90a ) cuda_sm_90 ( cuda_sm_90a_hopper )\n");
  CHECK(
      described("vulkan,cuda:sm_80,cpu:aarch64") ==
      "vulkan: vulkan_1_1 ( vulkan_1_1 ) vulkan_f16 ( vulkan_f16 ) vulkan_subgroup_32 ( vulkan_subgroup_32 ) "
      "vulkan_dot4_signed ( vulkan_dot4_signed ) vulkan_dot4 ( vulkan_dot4 ) vulkan_matrix ( vulkan_matrix ) "
      "vulkan_matrix_i8_16x16x16 ( vulkan_matrix_i8_16x16x16 ) vulkan_matrix_i8 ( vulkan_matrix_i8 ) "
      "vulkan_matrix_bf16 ( vulkan_matrix_bf16 ) "
      "vulkan_bf16 ( vulkan_bf16 )\ncuda: cuda_sm_80 ( cuda_sm_80 "
      "cuda_ptx_80 )\naarch64: aarch64 ( "
      "aarch64 )\n");
  CHECK(described("vulkan:1.1") == "vulkan: vulkan_1_1 ( vulkan_1_1 )\n");
  CHECK(described("cuda:sm_20").find("Target 'cuda:sm_20' is unknown; targets are cpu,") == 0);
  CHECK(described("cuda:sm_20,cpu,,tpu").find("The targets 'cuda:sm_20', '', 'tpu' are unknown;") == 0);
}

TEST_CASE("targets: the words of --help say what goes with which level") {
  CHECK(
      target_words() ==
      "cpu (this machine's architecture, every level worth having), cpu:x86_64_v2, cpu:x86_64_v3 (also with "
      "+vnni), cpu:x86_64_v4 (also with +vnni or +bf16 or +amx), cpu:aarch64 (also with +dotprod or +i8mm or "
      "+bf16); "
      "cuda (all architectures), vulkan (all levels), cuda:sm_80, cuda:sm_90a, vulkan:1.1");
  CHECK(described("cpu:x86_64_v2+vnni").find("Target 'cpu:x86_64_v2+vnni' is unknown") == 0);
}

}  // namespace
}  // namespace tern::lower
