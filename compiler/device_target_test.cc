#include "compiler/device_target.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

namespace tern {
namespace {

std::string device(const std::string& rows) {
  return "[\n  {\n    \"driver\": \"cpu\",\n    \"capabilities\": {\n      \"vulkan_float16\": 0\n    }\n  "
         "},\n  {\n    "
         "\"driver\": \"vulkan\",\n    \"capabilities\": {\n" +
         rows + "\n    }\n  }\n]\n";
}

const std::string kNarrow =
    "\"vulkan_api_version\": 103, \"vulkan_float16\": 1, \"vulkan_storage_16bit\": 1, "
    "\"vulkan_storage_8bit\": 1,\n"
    "\"vulkan_workgroup_invocations\": 1024, \"vulkan_workgroup_memory\": 49152,\n";

std::string levels(const std::string& json) {
  auto target = target_for_device(lower::vulkan_with_all_matrices(), json);
  if (!target.ok()) return target.error().text();
  std::string out;
  for (const lower::Level level : target->levels) out += fmt::format("{} ", lower::level_name(level));
  return out;
}

TEST_CASE("device targets: the levels that a saved device runs") {
  CHECK(levels(device("\"vulkan_api_version\": 101")) == "vulkan_1_1 ");
  CHECK(levels(device(kNarrow + "\"vulkan_subgroup_size\": 8")) == "vulkan_f16 ");
  const std::string dots = kNarrow + "\"vulkan_integer_dot_product\": ";
  CHECK(levels(device(dots + "1")) == "vulkan_f16 ");
  CHECK(levels(device(dots + "2")) == "vulkan_f16 vulkan_dot4_signed ");
  CHECK(levels(device(dots + "3, \"vulkan_subgroup_size\": 64")) == "vulkan_f16 vulkan_dot4 ");
  const std::string shuffles = kNarrow + "\"vulkan_subgroup_size\": 32, \"vulkan_subgroup_shuffle\": 1";
  CHECK(levels(device(shuffles)) == "vulkan_f16 vulkan_subgroup_32 ");
  CHECK(levels(device(shuffles + ", \"vulkan_cooperative_matrix\": 1")) ==
        "vulkan_f16 vulkan_subgroup_32 vulkan_matrix ");
  const std::string bf16 = ", \"vulkan_cooperative_matrix\": 1, \"vulkan_bfloat16_matrix\": 1, ";
  CHECK(levels(device(shuffles + bf16 + "\"vulkan_matrix_rate\": 2")) ==
        "vulkan_f16 vulkan_subgroup_32 vulkan_matrix vulkan_matrix_bf16 ");
  CHECK(levels(device(shuffles + ", \"vulkan_int8\": 1, \"vulkan_int8_matrix\": 1")) ==
        "vulkan_f16 vulkan_subgroup_32 vulkan_matrix_i8 ");
  CHECK(levels(device(shuffles + bf16 + "\"vulkan_matrix_rate\": 16")) ==
        "vulkan_f16 vulkan_subgroup_32 vulkan_matrix vulkan_matrix_bf16 vulkan_bf16 ");
  // The best of each type's shapes.
  CHECK(levels(device(shuffles + ", \"vulkan_cooperative_matrix\": 1, \"vulkan_f16_16x8x16\": 1, "
                                 "\"vulkan_f16_16x8x8\": 1")) ==
        "vulkan_f16 vulkan_subgroup_32 vulkan_matrix ");
  CHECK(levels(device(shuffles + ", \"vulkan_f16_16x8x16\": 1, \"vulkan_f16_16x8x8\": 1")) ==
        "vulkan_f16 vulkan_subgroup_32 vulkan_matrix_16x8x16 ");
  CHECK(levels(device(shuffles + ", \"vulkan_int8\": 1, \"vulkan_i8_16x16x16\": 1")) ==
        "vulkan_f16 vulkan_subgroup_32 vulkan_matrix_i8_16x16x16 ");
  // Subgroups of other sizes are told to the device.
  CHECK(
      levels(device(shuffles + ", \"vulkan_int8\": 1, \"vulkan_f16_8x8x16\": 1, \"vulkan_i8_8x8x32\": 1")) ==
      "vulkan_f16 vulkan_subgroup_32 vulkan_matrix_8x8x16 vulkan_matrix_i8_8x8x32 ");
  CHECK(levels(device(kNarrow + "\"vulkan_subgroup_size\": 8, \"vulkan_subgroup_shuffle\": 1, "
                                "\"vulkan_f16_8x8x8\": 1")) == "vulkan_f16 vulkan_matrix_8x8x8 ");
  // Fewer buffers than the usual levels' kernels may have.
  CHECK(levels(device(shuffles + ", \"vulkan_storage_buffers\": 24")) == "vulkan_f16 vulkan_subgroup_32 ");
  CHECK(levels(device(shuffles + ", \"vulkan_storage_buffers\": 16")) == "vulkan_1_1 ");
  CHECK(levels("[]") == "it has no device of the driver 'vulkan'");
  CHECK(levels("levels: vulkan") == "it is not what `tern devices --json` writes");
  CHECK(levels("") == "it is not what `tern devices --json` writes");
}

TEST_CASE("device targets: what a device lacks of a module's conditions") {
  const TargetDevice phone = {lower::Arch::kVulkan, "phone.json", device("\"vulkan_storage_buffers\": 4")};
  constexpr uint16_t kInt64 = 19, kStorageBuffers = 32;
  const auto unmet = [&](int64_t buffers) {
    return unmet_conditions(phone, {{buffers, kStorageBuffers, module::ConditionOp::AtLeast}});
  };
  CHECK(unmet(4).empty());
  REQUIRE(unmet(5).size() == 1);
  CHECK(
      unmet(5)[0].starts_with("vulkan_storage_buffers must be at least 5 and is 4 (Vulkan: storage buffers"));
  const auto none = unmet_conditions(phone, {{1, kInt64, module::ConditionOp::AtLeast}});
  REQUIRE(none.size() == 1);
  CHECK(none[0] == "vulkan_int64 must be at least 1 and is 0 (Vulkan: 64-bit integers in shaders)");
}

TEST_CASE("device targets: words and files") {
  const std::string path = (std::filesystem::temp_directory_path() / "tern_device_target_test.json").string();
  std::ofstream(path) << device(kNarrow);
  auto both = parse_device_targets("cpu,vulkan:" + path);
  REQUIRE_MESSAGE(both.ok(), both.error().text());
  REQUIRE(both->targets.size() == 2);
  CHECK(both->targets.back().levels == std::vector{lower::Level::kVulkanF16});
  REQUIRE(both->devices.size() == 1);
  CHECK(both->devices[0].path == path);
  CHECK(parse_device_targets("vulkan,vulkan:" + path).error().text().find("name vulkan twice") !=
        std::string::npos);
  CHECK(parse_device_targets("cuda:" + path).error().text().find("which only vulkan takes") !=
        std::string::npos);
  const std::string all = parse_device_targets("tpu,vulkan,vulkan:absent.json,cuda:" + path).error().text();
  for (const char* said :
       {"Target 'tpu' is unknown", "'absent.json' cannot be read", "which only vulkan takes"})
    CHECK_MESSAGE(all.find(said) != std::string::npos, all);
  std::filesystem::remove(path);
  CHECK(parse_device_targets("vulkan:" + path).error().text().find("cannot be read") != std::string::npos);
}

}  // namespace
}  // namespace tern
