#include "compiler/lower/region_growth.h"

#include <algorithm>

#include "compiler/lower/regions.h"
#include "compiler/lower/rows.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

constexpr size_t kMaxMembers = 48;
constexpr int kMaxExpression = 400;  // nodes of the output's expression, written out

// Size of the expression tree of each member: shared subexpressions count at each use.
int expression_size(const std::vector<Node*>& members, const Value* output) {
  std::unordered_map<const Value*, int> sizes;
  for (const Node* n : members) {
    int size = 1;
    for (const Value* v : n->operands) {
      auto it = sizes.find(v);
      size += it == sizes.end() ? 1 : it->second;
    }
    if (n->kind == OpKind::kReduce) size = 1;
    sizes[n->result()] = std::min(size, 1 << 20);
  }
  return sizes[output];
}

// Whether broadcasting a row value of this shape to the space gives each element its own row's value, rather
// than laying the rows along a reduced axis.
bool stays_in_row(const RowSpace& space, const Shape& shape) {
  const std::vector<int> dims = row_dims(space, shape);
  for (size_t d = 0; d < dims.size(); ++d) {
    const auto aligned = static_cast<int>(d + space.shape.size()) - static_cast<int>(dims.size());
    if (dims[d] >= 0 && dims[d] != aligned) return false;
  }
  return true;
}

FusionReason not_elementwise(const Node& node) {
  if (is_view(node)) return FusionReason::kView;
  if (is_inlinable(node)) return FusionReason::kMovesData;
  return is_root(node) ? FusionReason::kOwnRoot : FusionReason::kSpecialReader;
}

}  // namespace

const Value* read_behind_views(const Value* v) {
  if (LoweringContext::splat(v)) return nullptr;
  while (v->def && is_view(*v->def)) v = v->def->operand();
  return v;
}

std::unordered_set<const Value*> values_read(const std::vector<const Node*>& members) {
  std::unordered_set<const Value*> out;
  for (const Node* n : members) {
    for (const Value* v : n->operands) {
      if (const Value* read = read_behind_views(v)) out.insert(read);
    }
  }
  for (const Node* n : members) {
    for (const Value* v : n->results) out.erase(v);
  }
  return out;
}

void RegionGrower::queue_users(const Value* value, std::vector<Node*>& queue) const {
  auto it = uses_.find(value);
  if (it == uses_.end()) return;
  for (const graph::Use& use : it->second) {
    if (use.node && positions_.contains(use.node) &&
        std::find(queue.begin(), queue.end(), use.node) == queue.end())
      queue.push_back(use.node);
  }
}

size_t RegionGrower::open_values(const std::vector<Node*>& members, Value** last) const {
  size_t open = 0;
  for (const Node* n : members) {
    for (Value* v : n->results) {
      auto it = uses_.find(v);
      bool outside = memory_values_.contains(v);
      if (it != uses_.end()) {
        for (const graph::Use& use : it->second)
          outside |= !use.node || std::find(members.begin(), members.end(), use.node) == members.end();
      }
      if (!outside) continue;
      ++open;
      *last = v;
    }
  }
  return open;
}

// Whether `out` is no more than a few cheap steps from the narrower `stored`, for one elementwise reader,
// which can take these steps itself: a dequantisation; or 16-bit floats that a softmax, say, reads as f32.
// The narrow ones are stored then.
bool RegionGrower::widens_again(const Value* stored, const std::vector<Node*>& members,
                                const Value* out) const {
  constexpr int kSteps = 6;
  if (dtype_bits(stored->type.dtype) >= dtype_bits(out->type.dtype) || memory_values_.contains(out))
    return false;
  const auto users = uses_.find(out);
  if (users == uses_.end()) return false;
  const bool half = out->def->kind == OpKind::kCast && out->def->operand() == stored &&
                    is_float(stored->type.dtype) && is_float(out->type.dtype);
  if (users->second.size() != 1 && !half) return false;
  for (const graph::Use& use : users->second) {
    const Node* user = use.node;
    if (!user || !positions_.contains(user)) return false;
    const bool elementwise = user->kind == OpKind::kMap || user->kind == OpKind::kCast;
    if (!elementwise && !(half && user->kind == OpKind::kReduce)) return false;
  }
  const Value* v = out;
  for (int step = 0; v != stored; ++step) {
    const Node* n = v->def;
    if (step == kSteps || std::find(members.begin(), members.end(), n) == members.end()) return false;
    if (n->kind == OpKind::kMap && scalar::info(n->scalar_op()).expensive) return false;
    for (size_t i = 1; i < n->operands.size(); ++i) {
      if (std::find_if(members.begin(), members.end(),
                       [&](const Node* m) { return m->result() == n->operands[i]; }) != members.end())
        return false;
    }
    v = n->operand(0);
  }
  return true;
}

namespace {

std::vector<Node*> beyond(const Growth& region, const std::vector<Node*>& members) {
  std::vector<Node*> out;
  for (Node* n : members) {
    if (std::find(region.members.begin(), region.members.end(), n) == region.members.end()) out.push_back(n);
  }
  return out;
}

}  // namespace

Prediction RegionGrower::predict(const Growth& region, const std::vector<Node*>& members, Value* out) const {
  return {cost_->seconds({cost_->work_of(members, {out})}),
          cost_->seconds({cost_->work_of(region.members, {region.output}),
                          cost_->work_of(beyond(region, members), {out})})};
}

Prediction RegionGrower::predict_widening(const Growth& region, const std::vector<Node*>& members,
                                          Value* out) const {
  const std::vector<Node*> steps = beyond(region, members);
  std::vector<DispatchWork> together{cost_->work_of(members, {out})},
      apart{cost_->work_of(region.members, {region.output})};
  std::vector<Node*> readers;
  queue_users(out, readers);
  for (Node* reader : readers) {
    together.push_back(cost_->work_of({reader}, reader->results));
    std::vector<Node*> both = steps;
    both.push_back(reader);
    apart.push_back(cost_->work_of(both, reader->results));
  }
  return {cost_->seconds(together), cost_->seconds(apart)};
}

Growth RegionGrower::grow(Node* root, const Refuse& refuse, const std::vector<Node*>& seeds) {
  Growth best{{root}, root->result()};
  std::vector<Node*> members{root};
  std::unordered_set<const Value*> inside{root->result()};
  std::vector<Node*> queue = seeds;
  queue_users(root->result(), queue);
  std::unordered_set<const Node*> seen;
  std::vector<Refusal> refused;
  std::unordered_map<const Node*, Refusal> decided;  // what a prediction keeps out
  FusionReason end = FusionReason::kManyMembers;     // of what is still in the queue
  while (!queue.empty() && members.size() < kMaxMembers) {
    const auto next = std::min_element(queue.begin(), queue.end(),
                                       [&](Node* a, Node* b) { return positions_.at(a) < positions_.at(b); });
    Node* node = *next;
    queue.erase(next);
    if (node == root || !seen.insert(node).second) continue;
    if (const std::optional<FusionReason> reason = refusal(*node, inside, refuse)) {
      refused.push_back({node, *reason});
      continue;
    }
    members.push_back(node);
    if (values_read({members.begin(), members.end()}).size() > most_reads_) {
      members.pop_back();
      refused.push_back({node, FusionReason::kReadsMuch});
      continue;
    }
    inside.insert(node->result());
    queue_users(node->result(), queue);
    if (is_view(*node)) continue;  // views at the end are places
    Value* out = nullptr;
    std::vector<Node*> sorted = members;
    if (open_values(sorted, &out) != 1 || out != node->result()) continue;
    std::sort(sorted.begin(), sorted.end(),
              [&](Node* a, Node* b) { return positions_.at(a) < positions_.at(b); });
    if (expression_size(sorted, out) > kMaxExpression) {
      end = FusionReason::kLongExpression;
      break;
    }
    const auto is_slower = [&](FusionReason reason, const Prediction& predicted) {
      if (cost_->join(predicted)) return false;
      decided.insert({node, {node, reason, predicted}});
      return true;
    };
    if (widens_again(best.output, members, out)) {
      if (!cost_) decided.insert({node, {node, FusionReason::kWidensAgain}});
      if (!cost_ || is_slower(FusionReason::kWidensAgain, predict_widening(best, sorted, out))) continue;
    }
    if (cost_ && is_slower(FusionReason::kSlowerBehind, predict(best, sorted, out))) continue;
    best = {std::move(sorted), out};
  }
  best.refused = std::move(refused);
  for (const Node* node : queue) {
    if (!seen.contains(node)) best.refused.push_back({node, end});
  }
  // Members beyond the last point where one value leaves.
  const bool too_long = end == FusionReason::kLongExpression;
  for (const Node* node : members) {
    if (std::find(best.members.begin(), best.members.end(), node) != best.members.end()) continue;
    if (const auto at = decided.find(node); at != decided.end()) {
      best.refused.push_back(at->second);
      continue;
    }
    const bool last = too_long && node == members.back();
    const FusionReason cut = is_view(*node) ? FusionReason::kView : FusionReason::kSeveralLeave;
    best.refused.push_back({node, last ? end : cut});
  }
  // Seeds that were refused read nothing of the region.
  std::erase_if(best.refused, [&](const Refusal& r) {
    const auto& reads = r.node->operands;
    return std::none_of(reads.begin(), reads.end(), [&](const Value* v) { return inside.contains(v); });
  });
  return best;
}

std::optional<FusionReason> RegionGrower::refusal(const Node& node,
                                                  const std::unordered_set<const Value*>& inside,
                                                  const Refuse& refuse) const {
  if (node.kind == OpKind::kConcat) return FusionReason::kConcat;
  if (taken_.contains(&node)) return FusionReason::kTaken;
  if (node.results.size() != 1) return not_elementwise(node);
  return refuse(node, inside);
}

Growth RegionGrower::alone(Node* root, FusionReason reason) {
  Growth growth{{root}, root->result()};
  for (const Value* v : root->results) {
    std::vector<Node*> users;
    queue_users(v, users);
    for (const Node* user : users) {
      const bool could = user->kind == OpKind::kMap || user->kind == OpKind::kCast;
      const FusionReason own = user->kind == OpKind::kConcat ? FusionReason::kConcat : not_elementwise(*user);
      growth.refused.push_back({user, could ? reason : own});
    }
  }
  return growth;
}

Growth RegionGrower::epilogue(Node* root) {
  const Shape& shape = root->result()->type.shape;
  const auto refuse = [&](const Node& n,
                          const std::unordered_set<const Value*>&) -> std::optional<FusionReason> {
    if (n.kind != OpKind::kMap && n.kind != OpKind::kCast && n.kind != OpKind::kLookup)
      return not_elementwise(n);
    if (n.result()->type.shape != shape) return FusionReason::kOtherShape;
    return std::nullopt;
  };
  return grow(root, refuse, {});
}

Growth RegionGrower::rows(Node* root) {
  Region probe;
  probe.root = root;
  const RowSpace space = row_space(probe);
  std::unordered_set<const Value*> row_level{root->result()};
  // Other reductions of the same operand, or of an elementwise function of it alone, start rows as well.
  std::vector<Node*> seeds;
  const Value* operand = root->operand();
  const auto reduces = [&](const Node& n) {
    return n.kind == OpKind::kReduce && n.ints("axes") == root->ints("axes") &&
           n.operand()->type.shape == space.shape;
  };
  std::vector<Node*> users;
  queue_users(operand, users);
  for (Node* user : users) {
    if (user == root || taken_.contains(user)) continue;
    if (reduces(*user)) seeds.push_back(user);
    if (user->kind != OpKind::kMap || user->result()->type.shape != space.shape) continue;
    const bool alone = std::all_of(user->operands.begin(), user->operands.end(),
                                   [&](const Value* v) { return v == operand; });
    std::vector<Node*> next;
    queue_users(user->result(), next);
    if (alone && next.size() == 1 && reduces(*next[0]) && !taken_.contains(next[0])) seeds.push_back(user);
  }
  const auto refuse = [&](const Node& n,
                          const std::unordered_set<const Value*>& inside) -> std::optional<FusionReason> {
    const Shape& shape = n.result()->type.shape;
    bool row = false;
    for (const Value* v : n.operands) row |= row_level.contains(v);
    const auto joins_rows = [&]() -> std::optional<FusionReason> {
      row_level.insert(n.result());
      return std::nullopt;
    };
    const auto joins_if = [](bool fits) {
      return fits ? std::nullopt : std::optional(FusionReason::kNotRows);
    };
    switch (n.kind) {
      case OpKind::kReduce:
        return reduces(n) ? joins_rows() : FusionReason::kOtherReduction;
      case OpKind::kMap:
      case OpKind::kCast:
      case OpKind::kLookup:
        return row && is_row_shape(space, shape) ? joins_rows() : joins_if(shape == space.shape);
      case OpKind::kReshape:
        return row && is_row_shape(space, shape) ? joins_rows() : FusionReason::kView;
      case OpKind::kBroadcast:
        return joins_if(row && inside.contains(n.operand()) && shape == space.shape &&
                        stays_in_row(space, n.operand()->type.shape));
      default:
        return not_elementwise(n);
    }
  };
  return grow(root, refuse, seeds);
}

}  // namespace tern::lower
