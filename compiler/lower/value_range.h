// What is known of the elements of a value from the ops that make it: clamps, counts, sums and products of
// them. An index that cannot leave its table needs no check.
#pragma once

#include <cstdint>
#include <optional>

#include "compiler/graph/ir.h"

namespace tern::lower {

struct IntegerRange {
  int64_t low = 0, high = 0;
};

// Of an integer value; nullopt when nothing useful is known.
std::optional<IntegerRange> integer_range(const graph::Value* value);

}  // namespace tern::lower
