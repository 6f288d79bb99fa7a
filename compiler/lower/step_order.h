// The order of commands on a device that pays for barriers (GPUs): commands that do not depend on each other
// stand together, so that one barrier serves them all. There are as many groups as the longest chain of
// dependent commands has links, and a command stands as late as that allows: what it computes then waits in
// memory for the shortest time.
//
// Only runs of commands between control steps are reordered, and only by what they touch: a step that reads
// what another wrote, writes what it read, or writes the same bytes stays behind it.
#pragma once

#include "compiler/lower/program_ir.h"

namespace tern::lower {

void share_barriers(LoweredProgram& program);

}  // namespace tern::lower
