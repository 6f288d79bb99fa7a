// Products with few blocks and long sums on GPUs without clusters: the depth is split over workgroups, each
// part leaves a plane of sums (place.h), and what reads the product adds them up. Chosen where the cost model
// of the schedules says so (gpu/matrix_schedule.h: matrix_split), the epilogue only adds, and every reader
// takes single elements: rows, elementwise regions, epilogues of other products.
// Test: gpu/split_products_test.cc.
#pragma once

#include "compiler/lower/regions.h"

namespace tern::lower {

// Sets Region::split. Regions are final, and no value that a region computes has a place yet, except those
// that lie in results or concatenations.
void split_products(BlockPlan& plan, const graph::UseMap& uses, LoweringContext& context);

}  // namespace tern::lower
