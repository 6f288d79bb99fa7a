#include "compiler/lower/merge_quantised.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "compiler/lower/quantised_weights.h"
#include "compiler/lower/regions.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Use;
using graph::Value;

constexpr size_t kMostProducts = 3;  // as graph/passes/merge_products.cc

class Merger {
 public:
  explicit Merger(graph::Graph& graph) : graph_(graph), uses_(graph::compute_uses(graph)) {}

  void run(graph::Block& block) {
    std::map<std::tuple<int, int, int64_t, int64_t>, std::vector<Node*>> groups;
    std::vector<std::vector<Node*>> whole;
    for (const auto& node : block.nodes) {
      for (const auto& region : node->regions) run(*region);
      const std::optional<QuantisedWeights> w = quantised_weights(*node);
      if (!w || !feeds_views(node->result(), block)) continue;
      auto& group = groups[{node->operand(0)->id, w->bits, w->block, w->k()}];
      group.push_back(node.get());
      if (group.size() == kMostProducts) whole.push_back(std::exchange(group, {}));
    }
    for (auto& [key, group] : groups) whole.push_back(std::move(group));
    for (const std::vector<Node*>& group : whole) {
      if (group.size() > 1) merge(group, block);
    }
  }

 private:
  const std::vector<Use>& uses_of(const Value* v) const {
    static const std::vector<Use> kNone;
    const auto it = uses_.find(v);
    return it == uses_.end() ? kNone : it->second;
  }

  // Whether the value is read by nodes that would not join its product, nor place it in memory of their own.
  bool feeds_views(const Value* v, const graph::Block& block) const {
    const std::vector<Use>& uses = uses_of(v);
    return !uses.empty() && std::all_of(uses.begin(), uses.end(), [&](const Use& use) {
      return use.node && use.block == &block && (use.node->kind == OpKind::kDot || is_view(*use.node)) &&
             !reaches_whole(use, 8);
    });
  }
  bool reaches_whole(const Use& use, int depth) const {
    if (!use.node || use.node->kind == OpKind::kConcat || depth == 0) return true;
    if (!is_view(*use.node)) return false;
    const std::vector<Use>& next = uses_of(use.node->result());
    return std::any_of(next.begin(), next.end(), [&](const Use& u) { return reaches_whole(u, depth - 1); });
  }

  // Rows of the parts side by side.
  static TensorDataPtr joined(const std::vector<TensorDataPtr>& parts) {
    const int64_t rows = parts[0]->shape()[0];
    int64_t columns = 0;
    for (const TensorDataPtr& part : parts) columns += part->shape()[1];
    auto out = TensorData::make(parts[0]->dtype(), {rows, columns});
    uint8_t* to = out->mutable_bytes().data();
    const auto width = static_cast<size_t>(dtype_bits(parts[0]->dtype()) / 8);
    for (int64_t r = 0; r < rows; ++r) {
      for (const TensorDataPtr& part : parts) {
        const size_t bytes = static_cast<size_t>(part->shape()[1]) * width;
        std::memcpy(to, part->bytes().data() + static_cast<size_t>(r) * bytes, bytes);
        to += bytes;
      }
    }
    return out;
  }

  void merge(const std::vector<Node*>& group, graph::Block& block) {
    std::vector<TensorDataPtr> q, scale, zero;
    for (const Node* dot : group) {
      const QuantisedWeights w = *quantised_weights(*dot);
      q.push_back(w.q);
      scale.push_back(w.scale);
      zero.push_back(w.zero);
    }
    const auto at = [&](const Node* node) {
      return std::find_if(block.nodes.begin(), block.nodes.end(),
                          [&](const auto& n) { return n.get() == node; });
    };
    Node& first = *group.front();
    graph::Builder b(graph_, block, static_cast<size_t>(at(&first) - block.nodes.begin()));
    b.set_source(first.source);
    std::vector<int64_t> dims;
    for (const Dim& d : first.operand(1)->type.shape) dims.push_back(d.value());
    const TensorDataPtr weights = joined(q);
    dims.back() = weights->shape()[1];
    Value* constant = b.constant(weights->reshaped(dims));
    constant->name = first.operand(1)->name;
    // A dot as others first: that it takes integers is what this folder makes of it.
    graph::Type floats = constant->type;
    floats.dtype = first.operand(0)->type.dtype;
    Node* merged =
        b.node(OpKind::kDot, {first.operand(0), graph_.new_value(floats, constant->name)}, first.attrs);
    merged->operands[1] = constant;
    merged->set("weight_scale", joined(scale));
    merged->set("weight_zero", joined(zero));
    int64_t start = 0;
    for (size_t i = 0; i < group.size(); ++i) {
      Value* const old = group[i]->result();
      b.set_source(group[i]->source);
      const int64_t columns = q[i]->shape()[1];
      Value* part = b.slice_axis(merged->result(), old->type.rank() - 1, start, columns);
      start += columns;
      for (const Use& use : uses_of(old)) {
        std::replace(use.node->operands.begin(), use.node->operands.end(), old, part);
      }
    }
    for (const Node* dot : group) block.nodes.erase(at(dot));
  }

  graph::Graph& graph_;
  const graph::UseMap uses_;
};

}  // namespace

void merge_quantised_products(graph::Graph& graph) {
  Merger(graph).run(graph.body);
}

}  // namespace tern::lower
