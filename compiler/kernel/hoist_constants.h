// Loads of GPU kernels that can be done early.
//
// hoist_constants: in a GPU kernel without a grid_wait of its own, loads of constants whose places are known
// at entry move to its front, and the wait for earlier dispatches stands behind them: what they bring from
// memory arrives while the kernel waits. Only loads that every thread does, outside loops, branches and the
// arms of selects.
#pragma once

#include <unordered_map>
#include <unordered_set>

#include "compiler/kernel/ir.h"

namespace tern::kernel {

inline constexpr size_t kMostHoisted = 16;  // each of them occupies registers from the entry on

// `constants`: bindings that no dispatch writes.
void hoist_constants(Kernel& kernel, const std::unordered_set<const BufferNode*>& constants);

// In a GPU kernel that has loops, what is read behind the first of them moves to the front likewise: loads of
// the bindings in `elements`, none of which the kernel writes. They arrive while the loops run; `most` of
// them, since they occupy registers for so long. Loads in branches move too where the branches' conditions
// are known at entry; where a branch is not taken they read what the binding begins with, so it must be known
// to have as many elements as they read: `elements` says how many there are at least, 0 where nobody knows.
// Behind::kWaits: what stands behind the first wait for other threads, a barrier or a shuffle, moves too.
enum class Behind : uint8_t { kLoops, kWaits };
void hoist_last_loads(Kernel& kernel, const std::unordered_map<const BufferNode*, int64_t>& elements,
                      size_t most, Behind behind = Behind::kLoops);

}  // namespace tern::kernel
