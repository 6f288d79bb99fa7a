// Causal masks of attention: keys behind a query's own place count for nothing, so that a block of queries
// need not look at all blocks of keys. A mask is known by what it is made of: comparisons of positions,
// triangular constants (Trilu), and slices and broadcasts of them.
#pragma once

#include <optional>

#include "compiler/lower/attention_chain.h"

namespace tern::lower {

// A number c >= 0: query q sees exactly the keys up to q + c, whatever the inputs are. Weights of the others
// are zero: their scores are -inf, or so low that nothing is left beside the score of a key that is seen.
std::optional<Dim> causal_reach(const graph::Value* softmax_operand, const graph::Value* scores);
// Of a chain whose kernel takes `queries` together: none where those are several heads'.
std::optional<Dim> causal_reach(const AttentionChain& chain, const Dim& queries);

}  // namespace tern::lower
