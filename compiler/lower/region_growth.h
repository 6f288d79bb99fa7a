// Growth of a rooted region over the nodes that follow: step 1 of region formation (regions.h).
#pragma once

#include <functional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compiler/lower/context.h"

namespace tern::lower {

struct Growth {
  std::vector<graph::Node*> members;  // root first, in block order
  graph::Value* output = nullptr;     // the one value that leaves
};

class RegionGrower {
 public:
  // `positions`: of the block's nodes; `taken`: nodes that belong to another region.
  RegionGrower(const graph::UseMap& uses, const std::unordered_map<const graph::Node*, size_t>& positions,
               const std::unordered_set<const graph::Node*>& taken,
               const std::unordered_set<const graph::Value*>& memory_values)
      : uses_(uses), positions_(positions), taken_(taken), memory_values_(memory_values) {}

  // Elementwise nodes of the root result's shape.
  Growth epilogue(graph::Node* root);
  // Reductions over the same axes and what lies between and after them.
  Growth rows(graph::Node* root);

 private:
  using Accept =
      std::function<bool(const graph::Node&, const std::unordered_set<const graph::Value*>& inside)>;
  Growth grow(graph::Node* root, const Accept& accept, const std::vector<graph::Node*>& seeds);
  bool widens_again(const graph::Value* stored, const std::vector<graph::Node*>& members,
                    const graph::Value* out) const;
  void queue_users(const graph::Value* value, std::vector<graph::Node*>& queue) const;
  // Values of members that are used outside of them.
  size_t open_values(const std::vector<graph::Node*>& members, graph::Value** last) const;

  const graph::UseMap& uses_;
  const std::unordered_map<const graph::Node*, size_t>& positions_;
  const std::unordered_set<const graph::Node*>& taken_;
  const std::unordered_set<const graph::Value*>& memory_values_;
};

}  // namespace tern::lower
