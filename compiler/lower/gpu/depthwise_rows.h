// A depthwise convolution in front of a product along its channels (MobileNet's inverted residual, separable
// convolutions), which nothing else reads: one dispatch on cooperative matrices. A workgroup computes the
// rows of its block, epilogue included, into workgroup memory, and multiplies from there.
#pragma once

#include "compiler/lower/context.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/regions.h"
#include "compiler/lower/short_sums.h"

namespace tern::lower::gpu {

// The convolution as the left operand of a contraction kernel.
class DepthwiseRows {
 public:
  DepthwiseRows(const graph::Node& conv, LoweringContext& context) : conv_(conv), filters_(conv, context) {}

  int64_t taps() const;
  // The convolution's elements are sums in place, wherever they are read.
  void bind(ElementEmitter& emitter) const;

  struct Block {
    kernel::Expr batch, m0, thread;
    int threads, rows;
    kernel::Buffer to;  // workgroup memory
    int pitch, depth;   // elements from a row to the next one; steps of a row, zeros included
  };
  // The block's rows of the product's left operand, which the convolution's region gives.
  std::vector<kernel::Stmt> fill(ElementEmitter& emitter, const graph::Node& product,
                                 const ContractionProblem& problem, const Block& block) const;

 private:
  std::vector<kernel::Stmt> filters_of(ElementEmitter& emitter, const kernel::Expr& c) const;

  const graph::Node& conv_;
  PackedFilters filters_;
};

}  // namespace tern::lower::gpu
