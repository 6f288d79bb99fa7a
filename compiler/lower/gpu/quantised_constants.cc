#include "compiler/lower/gpu/quantised_constants.h"

#include "compiler/support/rounding.h"

namespace tern::lower::gpu {

QuantisedConstants::QuantisedConstants(const graph::Node& dot, Order order, LoweringContext& context)
    : weights_(*quantised_weights(dot)), order_(order) {
  const bool fragments = order == Order::kFragments;
  const std::string& name = dot.operand(1)->name;
  const QuantisedWeights& w = weights_;
  words_ = context.add_constant(name, fragments ? pack_fragment_words(w) : pack_quantised_words(w));
  scales_ =
      context.add_constant(name + ".scale", fragments ? pack_fragment_scales(w) : pack_quantised_scales(w));
  if (const TensorDataPtr zeros = fragments ? pack_fragment_zeros(w) : pack_quantised_zeros(w))
    zeros_ = context.add_constant(name + ".zero", zeros);
}

QuantisedPanels QuantisedConstants::bind(DispatchBuilder& dispatch) const {
  const QuantisedWeights& w = weights_;
  const bool fragments = order_ == Order::kFragments;
  QuantisedPanels panels;
  panels.bits = w.bits;
  panels.steps = ceil_div(fragments ? round_up(w.k(), kFragmentSteps) : w.k(), int64_t{w.per_word()});
  panels.blocks = fragments ? fragment_blocks(w) : w.blocks();
  panels.block = w.block;
  panels.words = dispatch.bind(words_);
  panels.scales = dispatch.bind(scales_);
  if (zeros_ >= 0) {
    panels.zeros = dispatch.bind(zeros_);
  } else {
    panels.zero = *uniform_zero(w);
  }
  return panels;
}

}  // namespace tern::lower::gpu
