// Contractions on a GPU: dot and conv regions to dispatches.
#pragma once

#include "compiler/lower/context.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/quantised_weights.h"

namespace tern::lower::gpu {

// False, with nothing added, when the region is none it knows: the caller falls back to the generic nest.
bool lower_contraction(const Region& region, LoweringContext& context);

// Whether a product's weights should stay integers (quantised_weights.h): kernels multiply them as they are.
// `precision`: what the program stores f32 as.
bool keeps_integers(const graph::Node& dot, const QuantisedWeights& weights, DType precision,
                    const Target& target);

// A chain of a depthwise convolution and a product (depthwise_rows.h). False, with nothing added, where two
// dispatches are faster.
bool lower_depthwise_product(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context);

// Where a constant operand's element (step, column) of a batch lies in panels (packing.h: pack_panels).
kernel::Expr panel_address(const ContractionProblem& problem, const kernel::Expr& batch,
                           const kernel::Expr& step, const kernel::Expr& column);

}  // namespace tern::lower::gpu
