// What a target cannot do of a lowered model: kernels that have no form in its language. ternc --require
// lists all of them; without it, a target that lacks something is left out with a warning.
#pragma once

#include <string>
#include <vector>

#include "compiler/lower/program_ir.h"
#include "compiler/lower/target.h"

namespace tern {

// A sentence a kernel, each once.
std::vector<std::string> target_problems(const lower::LoweredProgram& program, lower::Arch arch);

}  // namespace tern
