// Inside simplify: the rules by the op that they start from. Each returns what to put in the node's place, or
// null. A rule may only look at operands (final already) and never asks who uses a value, except through
// `uses`: the users at the walk's start.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

struct SimplifyContext {
  const UseMap& uses;
  bool used_once(const Value* v) const {
    const auto it = uses.find(v);
    return it != uses.end() && it->second.size() == 1;
  }
};

Value* simplify_map(Node& n, Builder& b, const SimplifyContext& context);     // simplify_map.cc
Value* simplify_cast(Node& n, Builder& b, const SimplifyContext& context);    // simplify_map.cc
Value* simplify_reshape(Node& n, Builder& b);                                 // simplify_view.cc
Value* simplify_broadcast(Node& n, Builder& b);                               // simplify_view.cc
Value* simplify_transpose(Node& n, Builder& b);                               // simplify_view.cc
Value* simplify_slice(Node& n, Builder& b);                                   // simplify_slice.cc
Value* simplify_pad(Node& n, Builder& b);                                     // simplify_slice.cc
Value* simplify_concat(Node& n, Builder& b);                                  // simplify_slice.cc
Value* simplify_gather(Node& n, Builder& b);                                  // simplify_slice.cc
Value* simplify_scatter(Node& n, Builder& b);                                 // simplify_slice.cc
Value* simplify_reduce(Node& n, Builder& b, const SimplifyContext& context);  // simplify_reduce.cc
Value* simplify_window(Node& n, Builder& b);                                  // simplify_reduce.cc
Value* simplify_dot(Node& n, Builder& b, const SimplifyContext& context);     // simplify_dot.cc
Value* simplify_conv(Node& n, Builder& b);                                    // simplify_dot.cc
// Integer tensors whose elements are known expressions of the input sizes.
Value* simplify_dims(Node& n, Builder& b);  // simplify_dims.cc

}  // namespace tern::graph
