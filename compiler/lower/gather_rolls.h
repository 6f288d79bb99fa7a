// gather_rolls: a concatenation of slices of one value along their axis (a roll, as windows are shifted by)
// becomes a gather by constant indices on GPUs, which the readers compute where they read: parts of a
// concatenation are stored, a dispatch each. Test: gather_rolls_test.cc.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::lower {

void gather_rolls(graph::Graph& graph);

}  // namespace tern::lower
