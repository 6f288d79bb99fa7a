// Iterations of a loop whose body is a row of loops of equal extent, each of which needs what the one before
// has left (a softmax's maximum, its exponentials and their sum, the quotients): neighbouring iterations are
// staggered, so that one loop makes the last stage of an iteration, the stage before of the next one, and so
// on. Chains of different stages run side by side, what a sum's end costs is paid once an iteration, and the
// first stage loads an iteration's memory while the others compute.
//
// Iterations are as independent as jam wants them. Local buffers are allocated in the body.
#pragma once

#include <optional>
#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

// The statements instead of the loop; none where its body is not such a row of two or three stages.
std::optional<std::vector<Stmt>> stagger(const Stmt& loop);

}  // namespace tern::kernel
