// Growth of a rooted region over the nodes that follow: step 1 of region formation (regions.h).
#pragma once

#include <functional>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compiler/lower/context.h"
#include "compiler/lower/fusion_cost.h"

namespace tern::lower {

// A node that reads a region's values and did not join it.
struct Refusal {
  const graph::Node* node;
  FusionReason reason;
  std::optional<Prediction> predicted = {};
};

struct Growth {
  std::vector<graph::Node*> members;  // root first, in block order
  graph::Value* output = nullptr;     // the one value that leaves
  std::vector<Refusal> refused = {};
};

class RegionGrower {
 public:
  // `positions`: of the block's nodes; `taken`: nodes that belong to another region. `most_reads`: of a
  // region's values that others compute. `cost`: what decides where there is a choice; null: joining does.
  RegionGrower(const graph::UseMap& uses, const std::unordered_map<const graph::Node*, size_t>& positions,
               const std::unordered_set<const graph::Node*>& taken,
               const std::unordered_set<const graph::Value*>& memory_values, size_t most_reads,
               const FusionCost* cost)
      : uses_(uses),
        positions_(positions),
        taken_(taken),
        memory_values_(memory_values),
        most_reads_(most_reads),
        cost_(cost) {}

  // Elementwise nodes of the root result's shape.
  Growth epilogue(graph::Node* root);
  // Reductions over the same axes and what lies between and after them.
  Growth rows(graph::Node* root);
  // The root alone, for a reason that all its readers share.
  Growth alone(graph::Node* root, FusionReason reason);

 private:
  // Why a node may not join, if it may not.
  using Refuse = std::function<std::optional<FusionReason>(
      const graph::Node&, const std::unordered_set<const graph::Value*>& inside)>;
  Growth grow(graph::Node* root, const Refuse& refuse, const std::vector<graph::Node*>& seeds);
  std::optional<FusionReason> refusal(const graph::Node& node,
                                      const std::unordered_set<const graph::Value*>& inside,
                                      const Refuse& refuse) const;
  bool widens_again(const graph::Value* stored, const std::vector<graph::Node*>& members,
                    const graph::Value* out) const;
  // `region` with the nodes of `members` beside its own, which stores `out`, against the region and, as a
  // dispatch of their own, these nodes.
  Prediction predict(const Growth& region, const std::vector<graph::Node*>& members, graph::Value* out) const;
  // The same against readers of `out` that take these nodes in themselves.
  Prediction predict_widening(const Growth& region, const std::vector<graph::Node*>& members,
                              graph::Value* out) const;
  void queue_users(const graph::Value* value, std::vector<graph::Node*>& queue) const;
  // Values of members that are used outside of them.
  size_t open_values(const std::vector<graph::Node*>& members, graph::Value** last) const;

  const graph::UseMap& uses_;
  const std::unordered_map<const graph::Node*, size_t>& positions_;
  const std::unordered_set<const graph::Node*>& taken_;
  const std::unordered_set<const graph::Value*>& memory_values_;
  const size_t most_reads_;
  const FusionCost* const cost_;
};

// What a region that reads the value reads from memory, whatever views lie between; null for a number that
// all elements share.
const graph::Value* read_behind_views(const graph::Value* v);
// The values that such nodes read and do not compute.
std::unordered_set<const graph::Value*> values_read(const std::vector<const graph::Node*>& members);

}  // namespace tern::lower
