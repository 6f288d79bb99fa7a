// Region: the nodes of a graph that one dispatch computes (regions.h forms them). Nodes are inlined at the
// element level: producers into the root's reads, the epilogue into its writes. What a region reads from
// memory are its inputs, what it writes are its outputs; all have places (context.h).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "compiler/graph/ir.h"
#include "compiler/lower/fusion_reason.h"

namespace tern::lower {

enum class RootKind : uint8_t {
  kNone,         // elementwise and data movement
  kContraction,  // dot, conv
  kRows,         // one or more reductions over the same axes, with elementwise work between
  kWindow,       // reduce_window
  kScan,
  kSpecial,  // one node with a kernel of its own: top_k, scatter, nonzero, …; no epilogue
};

struct Region {
  RootKind kind = RootKind::kNone;
  graph::Node* root = nullptr;         // kRows: the first reduction; kNone: null
  std::vector<graph::Node*> nodes;     // everything inlined, the root too, in topological order
  std::vector<graph::Value*> inputs;   // values read from memory (constants too), each once
  std::vector<graph::Value*> outputs;  // values written
  std::unordered_set<const graph::Node*> members;
  int split = 1;  // kContraction: parts of its depth, each of which leaves a plane of sums (place.h)
  std::vector<Neighbour> neighbours;     // what touches it, and why it is no part of it
  std::optional<FusionReason> copy_for;  // the region is a copy that lowering needs

  bool contains(const graph::Node* node) const { return members.contains(node); }
  std::string label() const;  // "conv+add+max", for reports and kernel names
  std::vector<std::shared_ptr<const graph::Source>> sources() const;  // distinct, in node order
};

// All that a chain of regions computes, as one with the last one's root: what passes between them is computed
// inside.
Region joined(const std::vector<std::unique_ptr<Region>>& chain);

std::string_view kind_name(RootKind kind);     // "elementwise", "contraction"
std::string op_word(const graph::Node& node);  // "conv"; of a map its scalar op: "max"

}  // namespace tern::lower
