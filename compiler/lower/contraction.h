// Contractions: dot and conv regions to dispatches.
#pragma once

#include "compiler/lower/context.h"

namespace tern::lower {

// The fast path: packed weights, register tiles (contraction_kernel.h, depthwise_kernel.h). False when the
// region is none it knows (element types, dilated transposed convolution, …): nothing was added then.
bool lower_contraction(const Region& region, LoweringContext& context);
// A depthwise convolution and the product that reads its rows (depthwise_chain.h) as one dispatch: a tile
// computes its rows into worker scratch, epilogue included. False: nothing was added.
bool lower_depthwise_product(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context);
// How often such rows are then computed, at the level that does so most often: once a block of columns.
int64_t computations_of_rows(const graph::Node& root, const LoweringContext& context);

// Whether a convolution by computed filters is a product that fast kernels know, once `lies_in_steps`:
// filters lie channels last.
bool takes_computed_filters(const Region& region, const LoweringContext& context);
bool lies_in_steps(const graph::Node& conv, LoweringContext& context);
// The order in which its filters lie in steps.
Layout filter_layout(const graph::Node& conv);

// Any contraction, as the plain loop nest, vectorised over output channels where their memory allows.
void lower_contraction_naive(const Region& region, LoweringContext& context);

// Whether the epilogue is worth a loop of its own instead of a copy in every register tile: any expensive
// function, or more than `limit` operations. (Bytes have few products for each result: 16 there.)
bool epilogue_is_long(const Region& region, int limit = 6);
// 2 * multiply-adds.
Dim contraction_flops(const graph::Node& root);

}  // namespace tern::lower
