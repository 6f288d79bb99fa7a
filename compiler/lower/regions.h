// Region formation: which nodes of a block share a dispatch.
//
// 1. Roots (contractions, reductions, windows, …) take the elementwise nodes after them, up to the last point
//    where a single value leaves. Reductions also take further reductions over the same axes (rows).
// 2. The other elementwise and data movement nodes, from the last to the first, are inlined into the one
//    region that reads them, or stored by a region of their own.
// Views are neither: they have places (place.h), or are inlined when what they look at is.
#pragma once

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compiler/lower/context.h"

namespace tern::lower {

// What happens to a node.
enum class Fate : uint8_t {
  kView,     // transpose, slice, broadcast, reshape: a place, or inlined with its operand
  kInline,   // computed inside every region that reads it
  kStore,    // output of an elementwise region of its own
  kClaimed,  // root or epilogue of a rooted region
  kConcat,   // operands are computed or copied into its parts
  kSpecial,  // a kernel, or a step, of its own
  kNothing,  // constants
};

// What the regions of a chain are to each other.
enum class ChainKind : uint8_t {
  kNone,
  kAttention,         // scores, their softmax, weighted sums
  kDepthwiseProduct,  // a depthwise convolution and the product that reads its rows
};

struct BlockItem {
  size_t position = 0;             // in the block: items are in this order
  graph::Node* node = nullptr;     // kConcat, kSpecial
  std::unique_ptr<Region> region;  // otherwise
  // Regions that may become one dispatch; else they are lowered one after the other.
  std::vector<std::unique_ptr<Region>> chain = {};
  ChainKind chain_kind = ChainKind::kNone;
};

struct BlockPlan {
  std::vector<BlockItem> items;
  std::unordered_map<const graph::Node*, Fate> fates;
};

// `memory_values`: values that must be in memory for reasons outside the block's nodes (symbols read them).
BlockPlan form_regions(graph::Block& block, const graph::UseMap& uses, LoweringContext& context,
                       const std::unordered_set<const graph::Value*>& memory_values);

bool is_view(const graph::Node& node);
// A reshape that lays repeated elements in line (nearest neighbours): no strides describe it, but an element
// is one of its operand's. Inlined or stored, where other reshapes are places.
bool is_repeat(const graph::Node& node);
// map, cast, bitcast, iota, from_dims, pad, gather…: an element is an expression of operands' elements.
bool is_inlinable(const graph::Node& node);
// dot, conv, reduce, reduce_window, scan, arg_reduce: a region grows from it.
bool is_root(const graph::Node& node);

}  // namespace tern::lower
