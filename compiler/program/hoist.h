// Work on constants alone runs once a session and not in every invocation: dispatches that read only
// constants (weights that stay 8-bit in the file and are floats on the device) become init steps, and what
// they write becomes derived memory. After derive_constants.
#pragma once

#include "compiler/lower/program_ir.h"

namespace tern::program {

// Only dispatches of known size that cannot fail, and whose results nothing else writes; not those that are to
// run each time (DispatchStep::each_run).
void hoist_constant_work(lower::LoweredProgram& program);

}  // namespace tern::program
