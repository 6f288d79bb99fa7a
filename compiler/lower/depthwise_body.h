// Bodies of convolutions whose lanes are channels of their own (depthwise_kernel.h), from a request.
#pragma once

#include "compiler/lower/contraction_body.h"
#include "compiler/lower/contraction_kernel.h"
#include "compiler/lower/depthwise_kernel.h"

namespace tern::lower {

DepthwiseShape depthwise_shape(const graph::Node& conv);
ContractionBody build_depthwise(const ContractionRequest& request);

// Whether a convolution of groups of few channels in f32 runs so on this level: as a matrix product each
// group would gather its windows for a handful of columns.
bool suits_small_groups(const ContractionRequest& request);
ContractionBody build_small_groups(const ContractionRequest& request);

// Rows of A of a product that the depthwise convolution in front of it computes (`r.depthwise`), its epilogue
// included.
decltype(ContractionOperands::gather_a) gather_depthwise(const ContractionRequest& r, int64_t block_rows,
                                                         kernel::ParamTable& params);

}  // namespace tern::lower
