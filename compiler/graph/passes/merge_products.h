// Products side by side become one: dot(x, w1) + b1, dot(x, w2) + b2, … with constant weights are slices of
// dot(x, [w1 w2 …]) + [b1 b2 …] (queries, keys and values of attention). One dispatch then reads x once and
// fills a GPU better than three small ones.
//
// Only where nothing is lost by it: products whose results go through views into other nodes. One that feeds
// an elementwise node would no longer take it in, one that is a part of a concatenation or an output would
// need a copy.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

bool merge_products(Graph& graph);

}  // namespace tern::graph
