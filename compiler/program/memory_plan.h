// The memory plan: where in the arena each temporary lives.
//
// Buffers whose live ranges meet never overlap; an output that may be computed in place shares its dying
// input's memory. Static sizes: several packings are tried, the smallest arena wins. Symbolic sizes: the
// packing is made at the symbols' hints and then turned into formulas that hold for every value: a buffer
// begins behind all buffers that live at the same time and lie below it at the hints. So the arena is as
// small at the hints as if all were static, and correct everywhere.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "compiler/lower/program_ir.h"
#include "compiler/program/liveness.h"
#include "compiler/support/result.h"

namespace tern::program {

inline constexpr int64_t kArenaAlignment = 64;

struct MemoryPlan {
  std::vector<Resolved> resolved;  // one a buffer: its root and the offset in it
  Liveness live;
  // Arena offset of each root in the arena; unset (has_place false) for others. A root that a swap step names
  // has a symbol as its offset, defined below, which the swap rebinds.
  std::vector<Dim> offsets;
  std::vector<bool> has_place;
  // Symbols that formulas use, in order: each definition uses entry symbols and earlier definitions only.
  std::vector<std::pair<std::string, Dim>> definitions;
  Dim arena_bytes;
  int64_t bytes_at_hints = 0;
  int64_t lower_bound = 0;  // most bytes alive at one tick, at the hints: no plan can be smaller
  std::string packing;      // which packing won

  std::vector<int> groups;  // by root: roots of equal group share memory by in-place computation; -1: none
  bool shares_memory(int root_a, int root_b) const {
    return groups[static_cast<size_t>(root_a)] == groups[static_cast<size_t>(root_b)];
  }
  // arena_bytes with the definitions put in; long formulas are cut.
  std::string formula() const;
};

// The value to plan for: the symbol's hint, or a usual one within its bounds.
int64_t symbol_hint(const graph::SymbolInfo& symbol);
// A dimension expression at the hints; unknown symbols count as 1, impossible values as 0.
int64_t at_hints(const Dim& dim, const lower::LoweredProgram& program);

// Fails if a temporary's size uses a symbol that is not known at entry.
// `alignment`: of offsets, a multiple of kArenaAlignment.
Result<MemoryPlan> plan_memory(const lower::LoweredProgram& program, int64_t alignment = kArenaAlignment);

}  // namespace tern::program
