#include "compiler/lower/regions.h"

#include <algorithm>

#include "compiler/lower/place.h"
#include "compiler/lower/region_growth.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Use;
using graph::Value;

RootKind root_kind(const Node& node) {
  switch (node.kind) {
    case OpKind::kDot:
    case OpKind::kConv:
      return RootKind::kContraction;
    case OpKind::kReduce:
      return RootKind::kRows;
    case OpKind::kReduceWindow:
    case OpKind::kArgReduceWindow:
      return RootKind::kWindow;
    case OpKind::kScan:
    case OpKind::kArgReduce:
      return RootKind::kScan;
    default:
      return RootKind::kSpecial;
  }
}

int node_cost(const Node& node) {
  if (node.kind == OpKind::kMap) return scalar::info(node.scalar_op()).expensive ? 10 : 1;
  if (node.kind == OpKind::kGather || node.kind == OpKind::kGatherElements || node.kind == OpKind::kGatherNd)
    return 3;
  return is_view(node) ? 0 : 1;
}

// A shape vector and the like: no dispatch of its own is worth it.
bool is_tiny(const Value* v) {
  const Dim n = product(v->type.shape);
  return n.is_const() && n.value() <= 16;
}

class Former {
 public:
  Former(graph::Block& block, const graph::UseMap& uses, LoweringContext& context,
         const std::unordered_set<const Value*>& memory_values)
      : block_(block), uses_(uses), context_(context), memory_values_(memory_values) {
    for (size_t i = 0; i < block.nodes.size(); ++i) positions_[block.nodes[i].get()] = i;
  }

  BlockPlan run() {
    claim_roots();
    for (size_t i = block_.nodes.size(); i-- > 0;) decide(block_.nodes[i].get());
    assemble();
    return std::move(plan_);
  }

 private:
  Fate& fate(const Node* n) { return plan_.fates[n]; }

  void claim_roots() {
    RegionGrower grower(uses_, positions_, taken_, memory_values_);
    for (const auto& owned : block_.nodes) {
      Node* node = owned.get();
      if (taken_.contains(node)) continue;
      if (node->kind == OpKind::kConstant) {
        fate(node) = Fate::kNothing;
        continue;
      }
      if (is_repeat(*node)) continue;
      if (is_view(*node)) {
        fate(node) = Fate::kView;
        continue;
      }
      if (node->kind == OpKind::kConcat || is_inlinable(*node)) continue;
      const RootKind kind = root_kind(*node);
      if (kind == RootKind::kSpecial) {
        fate(node) = Fate::kSpecial;
        continue;
      }
      Growth growth{{node}, node->result()};
      const bool epilogues = context_.enabled("fuse_epilogue");
      if (kind == RootKind::kRows && context_.enabled("fuse_rows")) {
        growth = grower.rows(node);
      } else if (node->kind != OpKind::kArgReduce && kind != RootKind::kRows && epilogues) {
        growth = grower.epilogue(node);
      }
      for (Node* member : growth.members) {
        taken_.insert(member);
        fate(member) = Fate::kClaimed;
      }
      Claim claim{kind, node, std::move(growth)};
      claims_.push_back(std::move(claim));
    }
  }

  // ---- Step 2

  // What reads a value, seen through views.
  struct Readers {
    bool memory = false;              // something needs it in memory
    bool reshaped = false;            // through a reshape that is more than unit dimensions
    bool repeated = false;            // through a broadcast, or several times by one element
    std::vector<const Node*> owners;  // distinct regions, named by their store or root node
  };

  static bool unit_reshape(const Node& n) {
    const auto real = [](const Shape& s) {
      Shape out;
      for (const Dim& d : s) {
        if (!d.is_const(1)) out.push_back(d);
      }
      return out;
    };
    return real(n.operand()->type.shape) == real(n.result()->type.shape);
  }

  void add_owner(Readers& r, const Node* owner) {
    if (std::find(r.owners.begin(), r.owners.end(), owner) == r.owners.end()) r.owners.push_back(owner);
  }

  void look(const Value* v, Readers& r, int depth = 0) {
    if (memory_values_.contains(v)) r.memory = true;
    auto it = uses_.find(v);
    if (it == uses_.end()) return;
    if (depth > 32) r.memory = true;
    for (const Use& use : it->second) {
      if (r.memory) return;
      if (!use.node || !positions_.contains(use.node)) {
        r.memory = true;
        return;
      }
      look_at_user(*use.node, use.operand, r, depth);
    }
  }

  void look_at_user(const Node& user, int operand, Readers& r, int depth) {
    switch (plan_.fates.at(&user)) {
      case Fate::kView:
        if (user.kind == OpKind::kReshape && !unit_reshape(user)) r.reshaped = true;
        if (user.kind == OpKind::kBroadcast) r.repeated = true;
        look(user.result(), r, depth + 1);
        return;
      case Fate::kSpecial:
      case Fate::kConcat:
        r.memory = true;
        return;
      case Fate::kClaimed: {
        const Claim& claim = claim_of(&user);
        const bool contraction = claim.kind == RootKind::kContraction || claim.kind == RootKind::kWindow;
        if (&user == claim.root && contraction) r.memory = true;
        add_owner(r, claim.root);
        return;
      }
      case Fate::kStore:
        if ((is_gather(user) && operand == 0) || is_repeat(user)) r.repeated = true;
        add_owner(r, &user);
        return;
      case Fate::kInline:
        if ((is_gather(user) && operand == 0) || is_repeat(user)) r.repeated = true;
        for (const Node* owner : owners_[&user]) add_owner(r, owner);
        return;
      case Fate::kNothing:
        return;
    }
  }

  static bool is_contraction(const Node& n) { return n.kind == OpKind::kDot || n.kind == OpKind::kConv; }

  static bool is_gather(const Node& n) {
    return n.kind == OpKind::kGather || n.kind == OpKind::kGatherElements || n.kind == OpKind::kGatherNd;
  }

  // Cost of an element with everything that will be inlined below it, as far as it is known.
  int chain_cost(const Node& n, int depth = 0) {
    int total = node_cost(n);
    if (depth > 6) return total;
    for (const Value* v : n.operands) {
      if (v->def && positions_.contains(v->def) && is_inlinable(*v->def) && !taken_.contains(v->def))
        total += chain_cost(*v->def, depth + 1);
    }
    return std::min(total, 1000);
  }

  void decide(Node* node) {
    if (plan_.fates.contains(node)) return;
    Readers r;
    look(node->result(), r);
    const bool used = r.memory || !r.owners.empty();
    if (!used) {
      fate(node) = Fate::kNothing;  // dead: inlined nowhere
      return;
    }
    bool inlined = !r.memory && !r.reshaped && context_.enabled("fuse_producers");
    const bool tiny = is_tiny(node->result());
    if (node->kind == OpKind::kConcat) {
      inlined = inlined && tiny;
    } else {
      const int cost = chain_cost(*node);
      const bool free = node->kind == OpKind::kIota || node->kind == OpKind::kFromDims;
      if (r.owners.size() > 1) inlined = inlined && (free || (cost <= 1 && r.owners.size() <= 3));
      if (r.repeated) inlined = inlined && (free || cost <= 2);
      if (r.owners.size() == 1 && sizes_[r.owners[0]] > 40) inlined = false;
      // Checked indices need statements of their own; a contraction's epilogue has room for expressions only.
      for (const Node* owner : r.owners) inlined = inlined && !(is_gather(*node) && is_contraction(*owner));
    }
    if (inlined) {
      fate(node) = Fate::kInline;
      owners_[node] = r.owners;
      for (const Node* owner : r.owners) ++sizes_[owner];
      return;
    }
    fate(node) = node->kind == OpKind::kConcat ? Fate::kConcat : Fate::kStore;
  }

  // ---- Assembly

  struct Claim {
    RootKind kind;
    Node* root;
    Growth growth;
  };

  const Claim& claim_of(const Node* node) {
    for (const Claim& c : claims_) {
      if (std::find(c.growth.members.begin(), c.growth.members.end(), node) != c.growth.members.end())
        return c;
    }
    TERN_UNREACHABLE("a claimed node without claim");
  }

  // Whether the value is computed inside regions: an inlined node, or a view of one.
  bool is_inlined(const Value* v) {
    if (!v->def || !positions_.contains(v->def)) return false;
    const Fate f = plan_.fates.at(v->def);
    if (f == Fate::kInline) return true;
    return f == Fate::kView && is_inlined(v->def->operand());
  }

  void add_member(Region& region, Node* node) {
    if (!region.members.insert(node).second) return;
    region.nodes.push_back(node);
    for (Value* v : node->operands) reach(region, v);
  }

  void reach(Region& region, Value* v) {
    if (v->def && region.contains(v->def)) return;
    if (is_inlined(v)) return add_member(region, v->def);
    if (std::find(region.inputs.begin(), region.inputs.end(), v) == region.inputs.end())
      region.inputs.push_back(v);
  }

  void add_region(RootKind kind, Node* root, const std::vector<Node*>& members, Value* output) {
    auto region = std::make_unique<Region>();
    region->kind = kind;
    region->root = root;
    region->outputs = {output};
    for (Node* n : members) {
      region->members.insert(n);
      region->nodes.push_back(n);
    }
    for (Node* n : members) {
      for (Value* v : n->operands) reach(*region, v);
    }
    std::sort(region->nodes.begin(), region->nodes.end(),
              [&](Node* a, Node* b) { return positions_.at(a) < positions_.at(b); });
    BlockItem item;
    item.position = positions_.at(output->def);
    item.region = std::move(region);
    plan_.items.push_back(std::move(item));
  }

  void assemble() {
    for (const Claim& c : claims_) add_region(c.kind, c.root, c.growth.members, c.growth.output);
    for (const auto& owned : block_.nodes) {
      Node* node = owned.get();
      switch (fate(node)) {
        case Fate::kStore:
          add_region(RootKind::kNone, nullptr, {node}, node->result());
          break;
        case Fate::kConcat:
        case Fate::kSpecial: {
          BlockItem item;
          item.position = positions_.at(node);
          item.node = node;
          plan_.items.push_back(std::move(item));
          break;
        }
        default:
          break;
      }
    }
    std::sort(plan_.items.begin(), plan_.items.end(),
              [](const BlockItem& a, const BlockItem& b) { return a.position < b.position; });
  }

  graph::Block& block_;
  const graph::UseMap& uses_;
  LoweringContext& context_;
  const std::unordered_set<const Value*>& memory_values_;
  std::unordered_map<const Node*, size_t> positions_;
  std::unordered_set<const Node*> taken_;
  std::vector<Claim> claims_;
  std::unordered_map<const Node*, std::vector<const Node*>> owners_;
  std::unordered_map<const Node*, int> sizes_;
  BlockPlan plan_;
};

}  // namespace

bool is_view(const Node& node) {
  switch (node.kind) {
    case OpKind::kTranspose:
    case OpKind::kSlice:
    case OpKind::kBroadcast:
    case OpKind::kReshape:
      return true;
    default:
      return false;
  }
}

bool is_repeat(const Node& node) {
  if (node.kind != OpKind::kReshape || !node.operand()->def) return false;
  const Node& broadcast = *node.operand()->def;
  if (broadcast.kind != OpKind::kBroadcast) return false;
  const Value* base = broadcast.operand();
  const auto repeated =
      view_place(broadcast, dense_place(0, Layout::dense(base->type.rank()), base->type.shape));
  return repeated && !view_place(node, *repeated);
}

bool is_inlinable(const Node& node) {
  switch (node.kind) {
    case OpKind::kMap:
    case OpKind::kCast:
    case OpKind::kBitcast:
    case OpKind::kIota:
    case OpKind::kFromDims:
    case OpKind::kPad:
    case OpKind::kGather:
    case OpKind::kGatherElements:
    case OpKind::kGatherNd:
      return true;
    default:
      return false;
  }
}

BlockPlan form_regions(graph::Block& block, const graph::UseMap& uses, LoweringContext& context,
                       const std::unordered_set<const Value*>& memory_values) {
  return Former(block, uses, context, memory_values).run();
}

}  // namespace tern::lower
