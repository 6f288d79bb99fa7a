// Weights in integers (quantised_weights.h) as constants of the program, once for all dispatches that
// multiply by them.
#pragma once

#include "compiler/lower/context.h"
#include "compiler/lower/quantised_weights.h"

namespace tern::lower::gpu {

class QuantisedConstants {
 public:
  // kSteps: words of steps that follow each other (pack_quantised_words); kFragments: pack_fragment_words.
  enum class Order : uint8_t { kSteps, kFragments };

  // Of a dot that has such weights.
  QuantisedConstants(const graph::Node& dot, Order order, LoweringContext& context);

  const QuantisedWeights& weights() const { return weights_; }
  // What a dispatch's kernels read them by.
  QuantisedPanels bind(DispatchBuilder& dispatch) const;

 private:
  const QuantisedWeights weights_;
  const Order order_;
  int words_, scales_, zeros_ = -1;  // buffers; -1: zero points are uniform
};

}  // namespace tern::lower::gpu
