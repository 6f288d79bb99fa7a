// Targets as ternc's --targets names them, devices among them: "vulkan:device.json" is a device that `tern
// devices
// --json` wrote down, and stands for the levels that it runs.
#pragma once

#include <string>
#include <vector>

#include "compiler/lower/target.h"
#include "schemas/module/module_generated.h"

namespace tern {

// A device that is a target.
struct TargetDevice {
  lower::Arch arch;
  std::string path, rows;  // of the file, its device's part
};
struct DeviceTargets {
  std::vector<lower::Target> targets;
  std::vector<TargetDevice> devices;  // those of them that are
};

// lower::parse_targets, and those words. An Error says what is wrong with a file.
Result<DeviceTargets> parse_device_targets(const std::string& text);

// Of the target the levels whose conditions hold for a device of which `json` tells the capabilities: the
// last one that has a kernel of every dispatch, and those after it.
Result<lower::Target> target_for_device(const lower::Target& all, const std::string& json);

// Those of the conditions that do not hold for the device, each with its meaning and what the device has.
std::vector<std::string> unmet_conditions(const TargetDevice& device,
                                          const std::vector<module::Condition>& conditions);

}  // namespace tern
