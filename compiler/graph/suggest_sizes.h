// suggest_sizes: gives each symbolic input dimension without a hint a likely value at which the graph makes
// sense: no dimension is negative and every `check` on dimensions holds (a text line 48 pixels high, an image
// whose sides are multiples of 32). Hints steer cost models and the inputs that `tern run` makes; they bind
// nobody.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

void suggest_sizes(Graph& graph);

// What a dimension probably is when nothing else is known of it, within its bounds: a batch of one, an
// image's side, or a sequence.
int64_t likely_size(const Graph& graph, const SymbolInfo& symbol);
inline constexpr int64_t kLikelySize = 64;  // a dimension of which not even the place is known

}  // namespace tern::graph
