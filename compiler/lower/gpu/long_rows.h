// Row regions of few long rows on a GPU (instance and group norms of large pictures, means over planes): whole
// rows would leave most of the device idle. Rows are cut into parts: for each reduction in order a dispatch
// whose workgroups fold one part each into a temporary, at last one that writes the outputs. Each dispatch
// begins by folding the parts of the reductions before, in an order that sizes alone decide.
// Test: long_rows_test.cc.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower::gpu {

// False: a workgroup a row, or several, is as good (rows.h), and nothing was emitted.
bool lower_long_rows(const Region& region, LoweringContext& context);

}  // namespace tern::lower::gpu
