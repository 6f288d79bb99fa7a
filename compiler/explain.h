// What `ternc --explain` prints of a lowered program: each dispatch with the nodes it computes, its
// schedules, its work and predicted times, and why its neighbours are no part of it. docs/explain.md says how
// to read it.
#pragma once

#include <string>

#include "compiler/lower/program_ir.h"

namespace tern {

std::string explain(const lower::LoweredProgram& program, const lower::Target& target);

}  // namespace tern
