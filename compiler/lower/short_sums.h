// Depthwise convolutions over few taps, as expressions: every tap is asked for at once, so that no load waits
// for another one. The plain nest and what computes such a convolution inside another kernel share this.
#pragma once

#include "compiler/lower/emitter.h"

namespace tern::lower {

// A depthwise convolution of up to 64 taps over pixels of constant size.
bool has_short_sums(const graph::Node& conv);

// Constant filters with the output channels innermost, as channels-last outputs read them as vectors.
class PackedFilters {
 public:
  PackedFilters(const graph::Node& conv, LoweringContext& context);
  // The filters' elements come from there.
  void bind(ElementEmitter& emitter) const;

 private:
  const graph::Node& conv_;
  std::vector<int> order_;
  int buffer_;
};

// The sum of an element of a convolution that has_short_sums, in its accumulator type. Taps outside read what
// lies nearest and count as nothing. What repeats is named by statements that `lets` takes; null: it stands
// in the expression as often as it is needed.
kernel::Expr short_sum(ElementEmitter& emitter, const graph::Node& conv, const Index& index,
                       std::vector<kernel::Stmt>* lets);

}  // namespace tern::lower
