#include "compiler/device_target.h"

#include <algorithm>
#include <charconv>

#include "compiler/pack/module_writer.h"
#include "compiler/support/capability_ids.h"
#include "compiler/support/read_text.h"

namespace tern {
namespace {

constexpr std::string_view kNames[] = {
#define TERN_CAPABILITY(id, name, meaning) #name,
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
};
constexpr std::string_view kMeanings[] = {
#define TERN_CAPABILITY(id, name, meaning) meaning,
#include "schemas/abi/capabilities.def"
#undef TERN_CAPABILITY
};

// The part of what `tern devices --json` wrote that describes the driver's first device.
Result<std::string> device_of(const std::string& json, std::string_view driver) {
  const size_t begin = json.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos || (json[begin] != '[' && json[begin] != '{'))
    return error("it is not what `tern devices --json` writes");
  const size_t at = json.find(fmt::format("\"driver\": \"{}\"", driver));
  if (at == std::string::npos) return error("it has no device of the driver '{}'", driver);
  return json.substr(at, json.find("\"driver\"", at + 1) - at);
}

// Rows that the file does not have are 0, as those of drivers that do not know them.
int64_t capability(const std::string& device, uint16_t row) {
  const std::string key = fmt::format("\"{}\":", kNames[row]);
  size_t at = device.find(key);
  if (at == std::string::npos) return 0;
  at = std::min(device.find_first_not_of(" \t\r\n", at + key.size()), device.size());
  int64_t value = 0;
  std::from_chars(device.data() + at, device.data() + device.size(), value);
  return value;
}

bool holds(const module::Condition& condition, int64_t value) {
  switch (condition.op()) {
    case module::ConditionOp::AtLeast:
      return value >= condition.value();
    case module::ConditionOp::AtMost:
      return value <= condition.value();
    case module::ConditionOp::Equal:
      return value == condition.value();
  }
  return false;
}

}  // namespace

Result<lower::Target> target_for_device(const lower::Target& all, const std::string& json) {
  TERN_ASSIGN(const std::string device, device_of(json, lower::arch_name(all.arch)));
  lower::Target out = all;
  out.levels.clear();
  for (const lower::Level level : all.levels) {
    const std::vector<module::Condition> conditions =
        pack::image_conditions(level, all.images(level).front());
    if (!std::all_of(conditions.begin(), conditions.end(), [&](const module::Condition& c) {
          return holds(c, capability(device, c.capability()));
        }))
      continue;
    // Nothing is left of a level whose dispatches all have variants of a later one.
    const lower::Covers covers = lower::gpu_model(level).covers;
    if (covers == lower::Covers::kAll) out.levels.clear();
    const DType tiles = lower::gpu_model(level).tiles;
    if (covers == lower::Covers::kBytes || tiles != DType::kNone)
      std::erase_if(out.levels, [&](lower::Level earlier) {
        return lower::gpu_model(earlier).covers == covers && lower::gpu_model(earlier).tiles == tiles;
      });
    out.levels.push_back(level);
  }
  // Where fewer buffers are bound than the usual levels' kernels may have (lower/regions.cc): what is made
  // for the floor alone has few. (0: the file does not say.)
  constexpr int64_t kUsualBuffers = 24;
  const int64_t buffers = capability(device, k_vulkan_storage_buffers);
  if (all.arch == lower::Arch::kVulkan && buffers > 0 && buffers < kUsualBuffers)
    out.levels = {lower::Level::kVulkan11};
  if (out.levels.empty()) return error("no kernels are for such a device");
  return out;
}

std::vector<std::string> unmet_conditions(const TargetDevice& device,
                                          const std::vector<module::Condition>& conditions) {
  std::vector<std::string> out;
  for (const module::Condition& c : conditions) {
    const int64_t value = capability(device.rows, c.capability());
    if (holds(c, value)) continue;
    const char* how = c.op() == module::ConditionOp::AtLeast  ? "at least "
                      : c.op() == module::ConditionOp::AtMost ? "at most "
                                                              : "";
    out.push_back(fmt::format("{} must be {}{} and is {} ({})", kNames[c.capability()], how, c.value(), value,
                              kMeanings[c.capability()]));
  }
  return out;
}

namespace {

// Of "vulkan:device.json": adds the target and its device.
Status add_device(const std::string& word, DeviceTargets& out) {
  const size_t colon = word.find(':');
  if (word.substr(0, colon) != "vulkan")
    return error("Target '{}' is a device, which only vulkan takes: vulkan:FILE.json.", word);
  const std::string path = word.substr(colon + 1);
  constexpr int64_t kMostBytes = 16 << 20;
  TERN_ASSIGN(const std::string json, read_text(path, "device file", kMostBytes));
  Result<lower::Target> target = target_for_device(lower::vulkan_with_all_matrices(), json);
  if (!target.ok())
    return error("The device file '{}' (of `tern devices --json`) does not do: {}.", path,
                 target.error().message);
  TERN_ASSIGN(std::string rows, device_of(json, lower::arch_name(target->arch)));
  out.devices.push_back({target->arch, path, std::move(rows)});
  out.targets.push_back(std::move(target).value());
  return Ok{};
}

}  // namespace

Result<DeviceTargets> parse_device_targets(const std::string& text) {
  std::string plain, problems;
  DeviceTargets devices;
  const auto add_problem = [&](const Error& e) { problems += (problems.empty() ? "" : "\n") + e.text(); };
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    begin = end + 1;
    if (word.find(':') == std::string::npos || !word.ends_with(".json")) {
      plain += (plain.empty() ? "" : ",") + word;
      continue;
    }
    Status added = add_device(word, devices);
    if (!added.ok()) add_problem(added.take_error());
  }
  std::vector<lower::Target> out;
  if (!plain.empty() || (devices.targets.empty() && problems.empty())) {
    Result<std::vector<lower::Target>> targets = lower::parse_targets(plain);
    if (targets.ok()) {
      out = std::move(targets).value();
    } else {
      add_problem(targets.error());
    }
  }
  for (lower::Target& device : devices.targets) {
    const bool twice =
        std::any_of(out.begin(), out.end(), [&](const lower::Target& t) { return t.arch == device.arch; });
    if (twice) add_problem(error("The targets '{}' name {} twice.", text, lower::arch_name(device.arch)));
    out.push_back(std::move(device));
  }
  if (!problems.empty()) return Error{problems, {}};
  return DeviceTargets{std::move(out), std::move(devices.devices)};
}

}  // namespace tern
