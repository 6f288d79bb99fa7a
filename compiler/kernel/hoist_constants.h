// Loads of GPU kernels that can be done early.
//
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

// In a GPU kernel that has loops, what is read behind the first of them moves to the front likewise: loads of
// bindings that are only read, in branches too where their conditions are known at entry. They arrive while
// the loops run; `most` of them, since they occupy registers for so long.
void hoist_last_loads(Kernel& kernel, size_t most);

}  // namespace tern::kernel
