// Targets as ternc's --targets names them, devices among them: "vulkan:device.json" is a device that `tern
// devices
// --json` wrote down, and stands for the levels that it runs.
#pragma once

#include <string>
#include <vector>

#include "compiler/lower/target.h"

namespace tern {

// lower::parse_targets, and those words. An Error says what is wrong with a file.
Result<std::vector<lower::Target>> parse_device_targets(const std::string& text);

// Of the target the levels whose conditions hold for a device of which `json` tells the capabilities: the
// last one that has a kernel of every dispatch, and those after it.
Result<lower::Target> target_for_device(const lower::Target& all, const std::string& json);

}  // namespace tern
