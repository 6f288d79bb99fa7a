// How rows of memory share the sets of a core's first cache of the usual kind: ways of 4 KB, lines of 64
// bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "compiler/lower/target.h"
#include "compiler/support/rounding.h"

namespace tern::lower {

inline constexpr int64_t kL1Way = 4096, kCacheLine = 64;  // bytes

inline int64_t l1_ways(const MachineModel& machine) {
  return machine.l1_bytes / kL1Way;
}

// Of one line of each of `rows` rows, `row_bytes` apart (not 0), how many meet in a set: those a multiple of
// 4 KB apart all do.
inline int64_t lines_of_set(int64_t rows, int64_t row_bytes) {
  return ceil_div(rows, kL1Way / std::max(std::gcd(row_bytes, kL1Way), kCacheLine));
}

}  // namespace tern::lower
