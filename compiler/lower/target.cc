#include "compiler/lower/target.h"

#include <algorithm>
#include <array>

#include "compiler/support/check.h"

namespace tern::lower {
namespace {

constexpr int64_t kKiB = 1024, kMiB = 1024 * 1024;

constexpr std::array<MachineModel, 4> kMachines = {{
    {"x86_64_v2", Arch::kX86_64, 128, 16, false, false, 32 * kKiB, 256 * kKiB, 1 * kMiB},
    {"x86_64_v3", Arch::kX86_64, 256, 16, true, false, 32 * kKiB, 512 * kKiB, 2 * kMiB},
    {"x86_64_v4", Arch::kX86_64, 512, 32, true, true, 48 * kKiB, 1 * kMiB, 2 * kMiB},
    {"aarch64", Arch::kAArch64, 128, 32, true, false, 64 * kKiB, 512 * kKiB, 1 * kMiB},
}};

constexpr std::array<Level, 4> kLevels = {Level::kX86V2, Level::kX86V3, Level::kX86V4, Level::kAArch64};

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

std::string known_words() {
  std::string out = "cpu, cpu:x86_64";
  for (const Level level : kLevels) out += fmt::format(", cpu:{}", machine(level).name);
  return out;
}

}  // namespace

const MachineModel& machine(Level level) {
  return kMachines[static_cast<size_t>(level)];
}

Result<std::vector<Target>> parse_targets(const std::string& text) {
  std::vector<Target> out;
  const auto target_of = [&](Arch arch) -> Target& {
    for (Target& t : out) {
      if (t.arch == arch) return t;
    }
    out.push_back({arch, {}});
    return out.back();
  };
  const auto add_level = [&](Level level) {
    Target& t = target_of(machine(level).arch);
    if (std::find(t.levels.begin(), t.levels.end(), level) == t.levels.end()) t.levels.push_back(level);
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
    if (!known) return error("Target '{}' is unknown; targets are {}.", word, known_words());
  }
  return out;
}

}  // namespace tern::lower
