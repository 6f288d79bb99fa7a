// hoist_constants: in a GPU kernel without a grid_wait of its own, loads of constants whose places are known
// at entry move to its front, and the wait for earlier dispatches stands behind them: what they bring from
// memory arrives while the kernel waits. Only loads that every thread does, outside loops, branches and the
// arms of selects.
#pragma once

#include <unordered_set>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

inline constexpr size_t kMostHoisted = 16;  // each of them occupies registers from the entry on

// `constants`: bindings that no dispatch writes.
void hoist_constants(Kernel& kernel, const std::unordered_set<const BufferNode*>& constants);

}  // namespace tern::kernel
