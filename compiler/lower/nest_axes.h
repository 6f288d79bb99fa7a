// The loops of a generic nest: the iteration axes of an output in its memory order, neighbouring dimensions
// merged where every access allows, and the cut into grid tiles.
#pragma once

#include <vector>

#include "compiler/lower/emitter.h"

namespace tern::lower {

// How one memory access of a region moves with the dimensions of the iteration space.
struct AccessStrides {
  const graph::Value* value = nullptr;
  std::vector<Dim> strides;  // elements, one a dimension
  bool identity = false;     // reads exactly the element that is computed
};

struct RegionAccesses {
  std::vector<AccessStrides> loads;
  std::vector<bool> pinned;  // dimensions whose coordinate itself matters (concat, pad, iota): never merged
  int ops = 0, expensive_ops = 0;
};

// The accesses that computing `value` over its own shape needs. `stops`: values bound to something else.
RegionAccesses collect_accesses(const Region& region, LoweringContext& context, const graph::Value* value,
                                const std::vector<const graph::Value*>& stops = {});

// One loop: dimensions `dims` of the space (outermost first), whose coordinates all but the last are 0 while
// the last runs over the whole extent.
struct NestAxis {
  std::vector<int> dims;
  Dim extent;
};
// Axes over the dimensions in `order` (outermost first); extents of 1 are dropped.
std::vector<NestAxis> merge_axes(const Shape& shape, const std::vector<int>& order,
                                 const std::vector<AccessStrides>& accesses, const std::vector<bool>& pinned);

// Grid of a nest: axes outside `tiled` are grid axes of one step a tile; `tiled` is cut into chunks; axes
// inside it run whole in each tile. Decided from sizes alone.
struct Tiling {
  int tiled = 0;
  int64_t chunk = 1;
};
Tiling choose_tiling(const LoweringContext& context, const std::vector<NestAxis>& axes, int64_t element_cost,
                     int64_t target_cost = 1 << 18);

// The nest around `innermost`: grid axes and the tiled loop and all loops inside except those from
// `body_axes` on, which innermost(...) writes itself. It gets the coordinate of each axis (null for the ones
// it loops over) and the bounds of the tiled axis, when that one is its own.
struct NestParts {
  std::vector<kernel::GridAxis> grid;
  std::vector<kernel::Stmt> body;
};
struct AxisRange {
  kernel::Expr begin, extent;
};
NestParts build_nest(
    DispatchBuilder& dispatch, const std::vector<NestAxis>& axes, const Tiling& tiling, size_t body_axes,
    const std::function<std::vector<kernel::Stmt>(const std::vector<kernel::Expr>& coordinates,
                                                  const std::vector<AxisRange>& ranges)>& innermost);

// Logical coordinates from axis coordinates (null ones count as 0).
Index axis_index(const std::vector<NestAxis>& axes, size_t rank,
                 const std::vector<kernel::Expr>& coordinates);

// The levels that get a variant of a nest's own: all of a CPU; of a GPU its first one, whose kernels serve
// the others, and those after it that cover such nests (contractions of bytes: and those of contractions).
std::vector<Level> variant_levels(const Target& target, Covers nest = Covers::kAll);
// Lanes for a nest over values of these types on a level.
int nest_lanes(const Region& region, Level level);
// A serial loop as vector code when that is possible, else as it is.
std::vector<kernel::Stmt> vector_loop(const kernel::Stmt& loop, int lanes, int interleave = 1);
// The same with a last vector that ends with the loop, so that it computes some elements again instead of
// masking them.
std::vector<kernel::Stmt> overlapping_vectors(const kernel::Stmt& loop, int lanes);

}  // namespace tern::lower
