// Scatters that put whole rows side by side into a larger value: new keys and values into a cache. Their rows
// are stored by an elementwise region whose root is the scatter: the one kind of such region that has a root.
#pragma once

#include <optional>

#include "compiler/lower/region.h"

namespace tern::lower {

// What an elementwise region stores goes to other rows: its coordinate along `axis` is an element of
// `positions`, which has a place and is broadcast over the rows, wrapped as a scatter's and checked against
// `extent`.
struct MovedRows {
  const graph::Value* positions;
  int axis;
  Dim extent;
};
std::optional<MovedRows> moved_rows(const Region& region);

}  // namespace tern::lower
