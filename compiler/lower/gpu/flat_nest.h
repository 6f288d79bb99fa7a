// Nests whose threads need nothing from each other: every thread computes elements of its own. Elementwise
// regions, windows, scans, contractions without a faster schedule.
//
// Neighbouring threads compute neighbouring elements of the innermost axis, so that a subgroup's accesses are
// consecutive where memory is. Elements of less than a byte share bytes: a thread then computes whole bytes,
// or, where their memory is no one run, one thread computes everything.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "compiler/lower/nest_axes.h"

namespace tern::lower::gpu {

struct FlatSchedule {
  int threads = 1;     // of a workgroup
  int per_thread = 1;  // elements of a thread, `threads` apart
  std::string text() const;
};
// `elements`, `element_cost`: likely figures.
FlatSchedule default_flat_schedule(int64_t elements, int64_t element_cost, const GpuModel& model);

// The statements of one element; coordinates of the axes.
using ElementBody = std::function<std::vector<kernel::Stmt>(const std::vector<kernel::Expr>& coordinates)>;

// Adds the level's variant: body for every point of the axes, in any order.
void add_flat_variant(DispatchBuilder& dispatch, Level level, const std::vector<NestAxis>& axes,
                      int64_t element_cost, const ElementBody& body, const std::string& what);

// Coordinates of a linear position over the axes, last axis fastest; the lets they need go to `out`.
std::vector<kernel::Expr> split_position(DispatchBuilder& dispatch, const std::vector<NestAxis>& axes,
                                         const kernel::Expr& position, std::vector<kernel::Stmt>& out);
// The number of points.
Dim point_count(const std::vector<NestAxis>& axes);

}  // namespace tern::lower::gpu
