// Which programs compute the same: for tests that lower a graph in many ways, most of which leave it as it
// is.
#pragma once

#include <string>

#include "compiler/lower/program_ir.h"

namespace tern::lower {

// All that evaluate_program reads of a program at a level. Two of equal keys are one program, which gives the
// same results for the same inputs. Valid in this process alone.
std::string program_key(const LoweredProgram& program, int level);

}  // namespace tern::lower
