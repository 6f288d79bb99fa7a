// Packs intervals of known size into one arena: the static heart of the memory plan.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "compiler/program/liveness.h"

namespace tern::program {

struct PackItem {
  int64_t bytes = 0;  // a multiple of the arena's alignment
  LiveRange range;
};
struct Packing {
  std::vector<int64_t> offsets;  // one an item
  int64_t bytes = 0;
  std::string_view name;  // the order that won
};

// Most bytes alive at one tick.
int64_t packing_lower_bound(const std::vector<PackItem>& items, int ticks);
// Tries several orders, each by lowest free place and by tightest gap; the smallest result wins, the first of
// equals. Deterministic.
Packing pack_items(const std::vector<PackItem>& items, int ticks);

}  // namespace tern::program
