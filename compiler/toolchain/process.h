// Runs a program and waits for it; what it writes to standard output and error is returned.
#pragma once

#include <string>
#include <vector>

#include "compiler/support/result.h"

namespace tern::toolchain {

struct ProcessResult {
  int exit_code = 0;  // 128 + signal when killed
  std::string output;
};

// arguments[0] is the program's path.
Result<ProcessResult> run_process(const std::vector<std::string>& arguments);

// The value of `variable` if set (a name without a folder: where PATH has it), else the first of `names`
// found in PATH; empty when none is there.
std::string find_program(const char* variable, const std::vector<std::string>& names);

}  // namespace tern::toolchain
