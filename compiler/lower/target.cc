#include "compiler/lower/target.h"

#include <algorithm>
#include <array>

#include "compiler/support/capability_ids.h"
#include "compiler/support/check.h"

namespace tern::lower {
namespace {

constexpr int64_t kKiB = 1024, kMiB = 1024 * 1024;

constexpr std::array<MachineModel, 11> kMachines = {{
    {"x86_64_v2", Arch::kX86_64, 128, 16, false, false, 32 * kKiB, 256 * kKiB, 1 * kMiB, 256, 4, 2},
    {"x86_64_v3", Arch::kX86_64, 256, 16, true, false, 32 * kKiB, 512 * kKiB, 2 * kMiB, 256, 4, 2},
    {"x86_64_v4", Arch::kX86_64, 512, 32, true, true, 48 * kKiB, 1 * kMiB, 2 * kMiB, 64, 1, 1},
    {"x86_64_v3+vnni", Arch::kX86_64, 256, 16, true, false, 32 * kKiB, 512 * kKiB, 2 * kMiB, 256, 4, 2,
     ByteProducts::kDot4, Variants::kBytes},
    {"x86_64_v4+vnni", Arch::kX86_64, 512, 32, true, true, 48 * kKiB, 1 * kMiB, 2 * kMiB, 64, 1, 1,
     ByteProducts::kDot4, Variants::kBytes},
    {"x86_64_v4+bf16", Arch::kX86_64, 512, 32, true, true, 48 * kKiB, 1 * kMiB, 2 * kMiB, 64, 1, 1,
     ByteProducts::kPairs, Variants::kBf16},
    {"x86_64_v4+amx", Arch::kX86_64, 512, 32, true, true, 48 * kKiB, 2 * kMiB, 2 * kMiB, 64, 1, 1,
     ByteProducts::kDot4, Variants::kTiles},
    {"aarch64", Arch::kAArch64, 128, 32, true, false, 64 * kKiB, 512 * kKiB, 1 * kMiB, 64, 1, 1},
    {"aarch64+dotprod", Arch::kAArch64, 128, 32, true, false, 64 * kKiB, 512 * kKiB, 1 * kMiB, 64, 1, 1,
     ByteProducts::kDot4Signed, Variants::kBytes},
    {"aarch64+i8mm", Arch::kAArch64, 128, 32, true, false, 64 * kKiB, 512 * kKiB, 1 * kMiB, 64, 1, 1,
     ByteProducts::kDot4, Variants::kBytes},
    {"aarch64+bf16", Arch::kAArch64, 128, 32, true, false, 64 * kKiB, 512 * kKiB, 1 * kMiB, 64, 1, 1,
     ByteProducts::kPairs, Variants::kBf16},
}};

// Rows of matrix_shapes.def, named for their capabilities.
enum class MatrixShape : uint8_t {
#define TERN_MATRIX_SHAPE(capability, element, m, n, k, subgroup) capability,
#include "schemas/abi/matrix_shapes.def"
#undef TERN_MATRIX_SHAPE
};
struct ShapeRow {
  uint16_t capability;
  kernel::TileUnit unit;
};
constexpr ShapeRow kShapes[] = {
#define TERN_MATRIX_SHAPE(capability, element, m, n, k, subgroup) {k_##capability, {{m, n, k}, subgroup}},
#include "schemas/abi/matrix_shapes.def"
#undef TERN_MATRIX_SHAPE
};

struct Figures {
  int cores;
  double flops, bandwidth, matrix_flops;
};
constexpr GpuModel matrix_level(std::string_view name, DType tiles, MatrixShape shape, int kib,
                                const Figures& figures) {
  const ShapeRow& row = kShapes[static_cast<size_t>(shape)];
  GpuModel model{
      name,  Arch::kVulkan, 512,           row.unit.subgroup, kib * kKiB,           255, false, false,
      false, figures.cores, figures.flops, figures.bandwidth, figures.matrix_flops, 3e-6};
  model.covers = Covers::kContractions;
  model.narrow_storage = true;
  // Intel's: 4 or 8 KB a subgroup.
  if (row.unit.subgroup < 32) model.registers = 128;
  model.tiles = tiles;
  model.tile = row.unit.shape;
  model.tile_capability = row.capability;
  return model;
}

// Workgroup memory: what all devices of the level have, Vulkan's floor. Figures: A100, H100 SXM, a notebook's
// GPU.
constexpr GpuModel kGpus[] = {
    {"cuda_sm_80", Arch::kCuda, 1024, 32, 99 * kKiB, 255, true, true, false, 108, 19.5e12, 1.5e12, 312e12,
     2e-6},
    {"cuda_sm_90", Arch::kCuda, 1024, 32, 227 * kKiB, 255, true, true, true, 132, 66e12, 3.3e12, 989e12, 1e-6,
     Covers::kContractions, false, DType::kNone, true},
    {"vulkan_1_1", Arch::kVulkan, 128, 0, 16 * kKiB, 64, false, false, false, 16, 4e12, 0.2e12, 0, 5e-6},
    {"vulkan_f16", Arch::kVulkan, 512, 0, 32 * kKiB, 255, false, false, false, 100, 20e12, 1e12, 0, 3e-6,
     Covers::kAll, true},
    {"vulkan_subgroup_32", Arch::kVulkan, 512, 32, 32 * kKiB, 255, false, false, false, 100, 20e12, 1e12, 0,
     3e-6, Covers::kFolds, true},
    {"vulkan_dot4_signed", Arch::kVulkan, 512, 0, 32 * kKiB, 255, false, false, false, 100, 20e12, 1e12, 0,
     3e-6, Covers::kBytes, true, DType::kNone, false, ByteProducts::kDot4Signed},
    {"vulkan_dot4", Arch::kVulkan, 512, 0, 32 * kKiB, 255, false, false, false, 100, 20e12, 1e12, 0, 3e-6,
     Covers::kBytes, true, DType::kNone, false, ByteProducts::kDot4},
#define TERN_MATRIX_LEVEL(level, name, tiles, capability, kib, cores, flops, bandwidth, matrix_flops, usual) \
  matrix_level(name, DType::tiles, MatrixShape::capability, kib, {cores, flops, bandwidth, matrix_flops}),
#include "compiler/lower/matrix_levels.def"
#undef TERN_MATRIX_LEVEL
};

struct LevelImage {
  Level level;
  ImageKind kind;
};
// Best first. A cubin runs on later minors of its major only, sm_90a code on 9.0 only; PTX serves the rest.
constexpr LevelImage kImages[] = {
    {Level::kX86V2, {"x86_64_v2", ImageFormat::kElf, ""}},
    {Level::kX86V3, {"x86_64_v3", ImageFormat::kElf, ""}},
    {Level::kX86V4, {"x86_64_v4", ImageFormat::kElf, ""}},
    {Level::kX86V3Vnni, {"x86_64_v3+vnni", ImageFormat::kElf, ""}},
    {Level::kX86V4Vnni, {"x86_64_v4+vnni", ImageFormat::kElf, ""}},
    {Level::kX86V4Bf16, {"x86_64_v4+bf16", ImageFormat::kElf, ""}},
    {Level::kX86V4Amx, {"x86_64_v4+amx", ImageFormat::kElf, ""}},
    {Level::kAArch64Bf16, {"aarch64+bf16", ImageFormat::kElf, ""}},
    {Level::kAArch64I8mm, {"aarch64+i8mm", ImageFormat::kElf, ""}},
    {Level::kAArch64Dot, {"aarch64+dotprod", ImageFormat::kElf, ""}},
    {Level::kAArch64, {"aarch64", ImageFormat::kElf, ""}},
    {Level::kCudaSm90, {"cuda_sm_90a_hopper", ImageFormat::kCubin, "sm_90a"}},
    {Level::kCudaSm80, {"cuda_sm_90a", ImageFormat::kCubin, "sm_90a"}},
    {Level::kCudaSm80, {"cuda_sm_80", ImageFormat::kCubin, "sm_80"}},
    {Level::kCudaSm80, {"cuda_ptx_80", ImageFormat::kPtx, "compute_80"}},
    {Level::kVulkan11, {"vulkan_1_1", ImageFormat::kSpirv, "vulkan1.1"}},
    {Level::kVulkanF16, {"vulkan_f16", ImageFormat::kSpirv, "vulkan1.2"}},
    {Level::kVulkanSubgroup, {"vulkan_subgroup_32", ImageFormat::kSpirv, "vulkan1.2"}},
    {Level::kVulkanDot4Signed, {"vulkan_dot4_signed", ImageFormat::kSpirv, "vulkan1.2"}},
    {Level::kVulkanDot4, {"vulkan_dot4", ImageFormat::kSpirv, "vulkan1.2"}},
#define TERN_MATRIX_LEVEL(level, name, ...) {Level::level, {name, ImageFormat::kSpirv, "vulkan1.3"}},
#include "compiler/lower/matrix_levels.def"
#undef TERN_MATRIX_LEVEL
};

constexpr std::array<Level, 11> kLevels = {Level::kX86V2,       Level::kX86V3,      Level::kX86V4,
                                           Level::kX86V3Vnni,   Level::kX86V4Vnni,  Level::kX86V4Bf16,
                                           Level::kX86V4Amx,    Level::kAArch64,    Level::kAArch64Dot,
                                           Level::kAArch64I8mm, Level::kAArch64Bf16};

std::vector<Level> levels_of(Arch arch) {
  std::vector<Level> out;
  for (const Level level : kLevels) {
    if (machine(level).arch == arch) out.push_back(level);
  }
  return out;
}

Arch host_arch() {
#if defined(__aarch64__)
  return Arch::kAArch64;
#else
  return Arch::kX86_64;
#endif
}

// With the usual shapes of matrices, or with all.
std::vector<Level> vulkan_levels(bool all) {
  std::vector<Level> out = {Level::kVulkan11, Level::kVulkanF16, Level::kVulkanSubgroup,
                            Level::kVulkanDot4Signed, Level::kVulkanDot4};
#define TERN_MATRIX_LEVEL(level, name, tiles, capability, kib, cores, flops, bandwidth, matrix_flops, usual) \
  if (all || usual) out.push_back(Level::level);
#include "compiler/lower/matrix_levels.def"
#undef TERN_MATRIX_LEVEL
  return out;
}

// The words of GPUs: levels and architectures that each adds.
struct GpuWord {
  std::string_view word;
  std::vector<Level> levels;
  std::vector<std::string_view> architectures;
};
std::vector<GpuWord> gpu_words() {
  return {
      {"cuda", {Level::kCudaSm80, Level::kCudaSm90}, {"sm_80", "sm_90a", "compute_80"}},
      {"cuda:sm_80", {Level::kCudaSm80}, {"sm_80", "compute_80"}},
      {"cuda:sm_90a", {Level::kCudaSm80, Level::kCudaSm90}, {"sm_90a"}},
      {"vulkan", vulkan_levels(false), {"vulkan1.1", "vulkan1.2", "vulkan1.3"}},
      {"vulkan:1.1", {Level::kVulkan11}, {"vulkan1.1"}},
  };
}

std::string known_words() {
  std::string out = "cpu, cpu:x86_64";
  for (const Level level : kLevels) out += fmt::format(", cpu:{}", machine(level).name);
  for (const GpuWord& word : gpu_words()) out += fmt::format(", {}", word.word);
  return out;
}

template <typename T>
void add_once(std::vector<T>& to, const T& item) {
  if (std::find(to.begin(), to.end(), item) == to.end()) to.push_back(item);
}

bool is_gpu_level(Level level) {
  return level >= Level::kCudaSm80;
}

}  // namespace

const MachineModel& machine(Level level) {
  TERN_CHECK(!is_gpu_level(level), "{} is no CPU level", level_name(level));
  return kMachines[static_cast<size_t>(level)];
}

const GpuModel& gpu_model(Level level) {
  TERN_CHECK(is_gpu_level(level), "{} is no GPU level", level_name(level));
  return kGpus[static_cast<size_t>(level) - static_cast<size_t>(Level::kCudaSm80)];
}

std::string target_words() {
  std::string out = "cpu (this machine's architecture, every level worth having)";
  for (const Level level : kLevels) {
    if (base_level(level) != level) continue;
    out += fmt::format(", cpu:{}", machine(level).name);
    std::string with;
    for (const Level other : kLevels) {
      if (other == level || base_level(other) != level) continue;
      with += fmt::format("{}{}", with.empty() ? "" : " or ",
                          machine(other).name.substr(machine(level).name.size()));
    }
    if (!with.empty()) out += fmt::format(" (also with {})", with);
  }
  out += "; cuda (all architectures), vulkan (all levels)";
  for (const GpuWord& word : gpu_words()) {
    if (word.word.find(':') != std::string_view::npos) out += fmt::format(", {}", word.word);
  }
  return out;
}

Level base_level(Level level) {
  switch (level) {
    case Level::kX86V3Vnni:
      return Level::kX86V3;
    case Level::kX86V4Vnni:
    case Level::kX86V4Bf16:
    case Level::kX86V4Amx:
      return Level::kX86V4;
    case Level::kAArch64Dot:
    case Level::kAArch64I8mm:
    case Level::kAArch64Bf16:
      return Level::kAArch64;
    default:
      return level;
  }
}

std::string_view level_name(Level level) {
  return is_gpu_level(level) ? gpu_model(level).name : machine(level).name;
}

Arch level_arch(Level level) {
  return is_gpu_level(level) ? gpu_model(level).arch : machine(level).arch;
}

std::string_view arch_name(Arch arch) {
  switch (arch) {
    case Arch::kX86_64:
      return "x86_64";
    case Arch::kAArch64:
      return "aarch64";
    case Arch::kCuda:
      return "cuda";
    case Arch::kVulkan:
      return "vulkan";
  }
  TERN_UNREACHABLE();
}

std::vector<ImageKind> Target::images(Level level) const {
  std::vector<ImageKind> out;
  for (const LevelImage& image : kImages) {
    const bool wanted = architectures.empty() || std::find(architectures.begin(), architectures.end(),
                                                           image.kind.architecture) != architectures.end();
    if (image.level == level && wanted) out.push_back(image.kind);
  }
  TERN_CHECK(!out.empty(), "no image kind for level {}", level_name(level));
  return out;
}

Target vulkan_with_all_matrices() {
  return {Arch::kVulkan, vulkan_levels(true), {}, {"vulkan1.1", "vulkan1.2", "vulkan1.3"}};
}

Result<std::vector<Target>> parse_targets(const std::string& text) {
  std::vector<Target> out;
  std::string unknown;
  const auto target_of = [&](Arch arch) -> Target& {
    for (Target& t : out) {
      if (t.arch == arch) return t;
    }
    out.push_back({arch, {}, {}, {}});
    return out.back();
  };
  const auto add_level = [&](Level level) {
    Target& t = target_of(level_arch(level));
    if (!is_gpu_level(level) && machine(level).variants != Variants::kAll) {
      add_once(t.product_levels, level);
      std::sort(t.product_levels.begin(), t.product_levels.end());
    }
    add_once(t.levels, base_level(level));
    std::sort(t.levels.begin(), t.levels.end());
  };
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    begin = end + 1;
    bool known = false;
    if (word == "cpu" || word == "cpu:x86_64") {
      for (const Level level : levels_of(word == "cpu" ? host_arch() : Arch::kX86_64)) add_level(level);
      known = true;
    }
    for (const Level level : kLevels) {
      if (word != fmt::format("cpu:{}", machine(level).name)) continue;
      add_level(level);
      known = true;
    }
    for (const GpuWord& gpu_word : gpu_words()) {
      if (word != gpu_word.word) continue;
      for (const Level level : gpu_word.levels) {
        add_level(level);
        for (std::string_view a : gpu_word.architectures)
          add_once(target_of(level_arch(level)).architectures, a);
      }
      known = true;
    }
    if (!known) unknown += fmt::format("{}'{}'", unknown.empty() ? "" : ", ", word);
  }
  if (!unknown.empty())
    return error("{} unknown; targets are {}.",
                 unknown.find("', '") == std::string::npos ? "Target " + unknown + " is"
                                                           : "The targets " + unknown + " are",
                 known_words());
  return out;
}

}  // namespace tern::lower
