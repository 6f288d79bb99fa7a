#include "compiler/lower/regions.h"

#include <algorithm>
#include <limits>

#include "compiler/lower/arithmetic_cost.h"
#include "compiler/lower/fusion_cost.h"
#include "compiler/lower/place.h"
#include "compiler/lower/region_growth.h"
#include "compiler/lower/value_range.h"

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

// Limits of one kernel's text, which clang compiles in time and keeps in registers (docs/lowering.md).
constexpr int kMostPlaces = 64, kMostInlined = 40;
// Of a region on Vulkan. Devices bind 24 buffers (Adreno), 31 (over Metal), 32 (lavapipe), others thousands;
// results, parameters and the fault word need some. What is compiled for the floor alone keeps to the four
// buffers that every device binds.
constexpr size_t kMostReads = 20, kFloorReads = 3;

int node_cost(const Node& node) {
  if (node.kind == OpKind::kMap) return rough_operations_of(node);
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
      : block_(block), uses_(uses), context_(context), memory_values_(memory_values), cost_(context) {
    for (size_t i = 0; i < block.nodes.size(); ++i) positions_[block.nodes[i].get()] = i;
  }

  BlockPlan run() {
    claim_roots();
    for (size_t i = block_.nodes.size(); i-- > 0;) decide(block_.nodes[i].get());
    assemble();
    return std::move(plan_);
  }

 private:
  // Why two nodes are not in one region.
  struct Why {
    FusionReason reason;
    std::optional<Prediction> predicted = {};
  };

  Fate& fate(const Node* n) { return plan_.fates[n]; }

  void claim_roots() {
    RegionGrower grower(uses_, positions_, taken_, memory_values_, most_reads(),
                        is_gpu(context_.target().arch) ? nullptr : &cost_);
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
      Growth growth = grow(grower, kind, node);
      for (Node* member : growth.members) {
        taken_.insert(member);
        fate(member) = Fate::kClaimed;
      }
      Claim claim{kind, node, std::move(growth)};
      claims_.push_back(std::move(claim));
    }
  }

  Growth grow(RegionGrower& grower, RootKind kind, Node* node) const {
    if (node->kind == OpKind::kArgReduce) return grower.alone(node, FusionReason::kNoEpilogue);
    if (!context_.enabled(kind == RootKind::kRows ? "fuse_rows" : "fuse_epilogue"))
      return grower.alone(node, FusionReason::kSwitchedOff);
    return kind == RootKind::kRows ? grower.rows(node) : grower.epilogue(node);
  }

  // ---- Step 2

  // How often an element is evaluated in each region that reads it; regions are named by their store or root
  // node.
  using Evaluations = std::vector<std::pair<const Node*, double>>;

  // What reads a value, seen through views.
  struct Readers {
    std::optional<FusionReason> memory = {};  // something needs it in memory
    bool reshaped = false;                    // through a reshape that is more than unit dimensions
    bool repeated = false;                    // through a broadcast, or several times by one element
    int64_t gathered = 0;                     // elements, by all gathers
    Evaluations owners;
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

  static void combine(Evaluations& into, const Evaluations& more, bool add) {
    for (const auto& reader : more) {
      const auto at = std::find_if(into.begin(), into.end(),
                                   [&](const auto& known) { return known.first == reader.first; });
      if (at == into.end())
        into.push_back(reader);
      else
        at->second = add ? at->second + reader.second : std::max(at->second, reader.second);
    }
  }

  // Readers of an element at its own place evaluate it once together, those at others (views, gathers) each.
  Evaluations look(const Value* v, Readers& r, int depth = 0) {
    Evaluations same, others;
    if (memory_values_.contains(v)) r.memory = FusionReason::kSizeValue;
    auto it = uses_.find(v);
    if (it == uses_.end()) return same;
    if (depth > 32) r.memory = FusionReason::kDeepViews;
    for (const Use& use : it->second) {
      if (r.memory) break;
      const bool gathers = use.node && use.operand == 0 && is_gather(*use.node);
      if (gathers) r.gathered += elements(use.node->result());
      if (!use.node || !positions_.contains(use.node)) {
        r.memory = use.node ? FusionReason::kOtherBlock : FusionReason::kBlockResult;
        break;
      }
      const bool elsewhere = gathers || is_view(*use.node);
      combine(elsewhere ? others : same, look_at_user(v, *use.node, use.operand, r, depth), elsewhere);
    }
    combine(same, others, true);
    return same;
  }

  Evaluations look_at_user(const Value* v, const Node& user, int operand, Readers& r, int depth) {
    const double read = cost_.elements(operand == 0 && is_gather(user) ? user.result() : v);
    switch (plan_.fates.at(&user)) {
      case Fate::kView: {
        if (user.kind == OpKind::kReshape && !unit_reshape(user)) r.reshaped = true;
        if (user.kind == OpKind::kBroadcast) r.repeated = true;
        Evaluations out = look(user.result(), r, depth + 1);
        for (auto& [owner, count] : out) count /= lanes_alike(user);
        return out;
      }
      case Fate::kSpecial:
        r.memory = FusionReason::kSpecialReader;
        return {};
      case Fate::kConcat:
        r.memory = FusionReason::kConcat;
        return {};
      case Fate::kClaimed: {
        const Claim& claim = claim_of(&user);
        const bool contraction = claim.kind == RootKind::kContraction || claim.kind == RootKind::kWindow;
        if (&user == claim.root && contraction && !read_in_place(v, user, operand))
          r.memory = FusionReason::kContractionOperand;
        return {{claim.root, read}};
      }
      case Fate::kStore:
        if ((operand == 0 && reads_repeatedly(user)) || is_repeat(user)) r.repeated = true;
        return {{&user, read}};
      case Fate::kInline: {
        if ((operand == 0 && reads_repeatedly(user)) || is_repeat(user)) r.repeated = true;
        Evaluations out = evaluations_.at(&user);
        for (auto& [owner, count] : out) count *= read / cost_.elements(user.result());
        return out;
      }
      case Fate::kNothing:
        return {};
    }
    TERN_UNREACHABLE("a fate that no reader has");
  }

  // So many neighbouring elements are one: a vector of them is evaluated once.
  static double lanes_alike(const Node& view) {
    constexpr int64_t kLanes = 8;
    if (view.kind != OpKind::kBroadcast || view.result()->type.rank() == 0) return 1;
    const Dim& after = view.result()->type.shape.back();
    const Shape& from = view.operand()->type.shape;
    if (!from.empty() && !from.back().is_const(1)) return 1;
    return static_cast<double>(after.is_const() ? std::min(after.value(), kLanes) : kLanes);
  }

  static bool is_contraction(const Node& n) { return n.kind == OpKind::kDot || n.kind == OpKind::kConv; }

  static bool is_gather(const Node& n) {
    return n.kind == OpKind::kGather || n.kind == OpKind::kGatherElements || n.kind == OpKind::kGatherNd;
  }

  // Matrices that a batch of products picks out of a table (the experts of a mixture): each is read where it
  // lies, as far as indices need no checks, for which a contraction has no room.
  bool read_in_place(const Value* v, const Node& dot, int operand) {
    if (dot.kind != OpKind::kDot || operand != 1 || is_gpu(context_.target().arch)) return false;
    const Node* n = v->def;
    if (!n || n->kind != OpKind::kGather || n->int_attr("axis") != 0) return false;
    const Value *table = n->operand(0), *indices = n->operand(1);
    const Dim& matrices = table->type.shape[0];
    if (table->type.rank() != 3 || v->type.rank() != indices->type.rank() + 2 || dot.operand(0) == v ||
        !LoweringContext::constant_data(table) || context_.stored_type(table) != DType::kF32 ||
        context_.stored_type(v) != DType::kF32 || !matrices.is_const())
      return false;
    const std::optional<IntegerRange> range = integer_range(indices);
    return range && range->low >= 0 && range->high < matrices.value();
  }

  // Whether a gather reads more elements than its table has; few rows of a large table are computed where
  // they are read.
  bool reads_repeatedly(const Node& n) {
    return is_gather(n) && elements(n.result()) > elements(n.operand(0));
  }
  int64_t elements(const Value* v) const { return context_.hint(product(v->type.shape)); }

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
    r.owners = look(node->result(), r);
    const bool used = r.memory || !r.owners.empty();
    if (!used) {
      fate(node) = Fate::kNothing;  // dead: inlined nowhere
      return;
    }
    const std::optional<Why> refused = why_stored(*node, r);
    if (!refused) {
      fate(node) = Fate::kInline;
      for (const auto& [owner, count] : r.owners) {
        ++sizes_[owner];
        reads_[owner] = reads_with(*node, owner);
        if (!is_gpu(context_.target().arch)) cost_.take(work_of(owner), *node, count);
      }
      evaluations_[node] = std::move(r.owners);
      return;
    }
    places_.erase(node);
    stored_[node] = *refused;
    fate(node) = node->kind == OpKind::kConcat ? Fate::kConcat : Fate::kStore;
  }

  // Why a node is not computed inside the regions that read it, if it is not.
  std::optional<Why> why_stored(const Node& node, const Readers& r) {
    if (r.memory) return Why{*r.memory};
    if (r.reshaped) return Why{FusionReason::kReshaped};
    if (!context_.enabled("fuse_producers")) return Why{FusionReason::kProducersOff};
    if (node.kind == OpKind::kConcat)
      return is_tiny(node.result()) ? std::nullopt : std::optional(Why{FusionReason::kConcatResult});
    const bool free = node.kind == OpKind::kIota || node.kind == OpKind::kFromDims;
    const Node* only = r.owners.size() == 1 ? r.owners[0].first : nullptr;
    if (only && only->kind == OpKind::kDot && only->operands.size() == 2 &&
        read_in_place(node.result(), *only, 1) && only->operand(1) == node.result())
      return std::nullopt;
    const std::optional<Why> slower =
        is_gpu(context_.target().arch) ? beyond_limits(node, r, free) : slower_together(node, r);
    if (slower) return slower;
    // Each lane of a vector gathers alone: a third gather of gathered indices multiplies the code.
    if (!free && gathers_above(node.result()) > 1 && computes_by_gather(node))
      return Why{FusionReason::kGatherChain};
    if (!free && node_cost(node) > 0 && places_of(node) > kMostPlaces) return Why{FusionReason::kManyPlaces};
    if (only && sizes_[only] > kMostInlined) return Why{FusionReason::kLargeReader};
    for (const auto& [owner, count] : r.owners) {
      if (reads_with(node, owner).size() > most_reads()) return Why{FusionReason::kReaderReadsMuch};
    }
    // Checked indices need statements of their own; a contraction's epilogue has room for expressions only.
    const auto no_room = [&](const auto& reader) { return is_gather(node) && is_contraction(*reader.first); };
    if (std::any_of(r.owners.begin(), r.owners.end(), no_room)) return Why{FusionReason::kCheckedIndex};
    return std::nullopt;
  }

  // GPUs, whose choices were timed as limits.
  std::optional<Why> beyond_limits(const Node& node, const Readers& r, bool free) {
    if (free) return std::nullopt;
    const RecomputeLimits& limits = kGpuRecomputes;
    const int cost = chain_cost(node);
    if (r.owners.size() > 1 && (cost > limits.operations_each_reader || r.owners.size() > limits.readers))
      return Why{FusionReason::kSeveralReaders};
    // Several gathers (the taps of a filter) read an element several times together.
    const bool repeated = r.repeated || r.gathered > 2 * elements(node.result());
    if (repeated && cost > limits.operations_repeated) return Why{FusionReason::kRepeatedly};
    return std::nullopt;
  }

  // Computed inside each region that reads it, or once, stored, and read by each.
  std::optional<Why> slower_together(const Node& node, const Readers& r) {
    const Value* v = node.result();
    DispatchWork alone;
    const bool gathers_join = std::none_of(r.owners.begin(), r.owners.end(),
                                           [](const auto& reader) { return is_contraction(*reader.first); });
    compute(node, cost_.elements(v), alone, gathers_join);
    // A number that follows from sizes stands in front of all loops.
    const bool is_number = alone.read.empty() && product(v->type.shape).is_const(1);
    std::vector<DispatchWork> together, apart{alone};
    cost_.write(apart[0], v);
    for (const auto& [owner, count] : r.owners) {
      const DispatchWork& work = work_of(owner);
      together.push_back(work);
      together.back().read.erase(v);
      together.back().add(alone, is_number ? 1 : count / cost_.elements(v));
      apart.push_back(work);
      cost_.read(apart.back(), v, count);
    }
    const Prediction predicted{cost_.seconds(together), cost_.seconds(apart)};
    if (cost_.join(predicted)) return std::nullopt;
    return Why{FusionReason::kFasterApart, predicted};
  }

  // So many evaluations of the node, with all that will be inlined below it, as far as that is known.
  void compute(const Node& node, double evaluations, DispatchWork& work, bool gathers_join, int depth = 0) {
    constexpr int kDeep = 6;
    cost_.evaluate(work, node, evaluations);
    for (const Value* v : node.operands) {
      const Value* base = read_behind_views(v);
      if (!base) continue;
      const Node* below = base->def;
      const double read = std::min(evaluations, cost_.elements(base));
      if (below && depth < kDeep && (gathers_join || !is_gather(*below)) && positions_.contains(below) &&
          is_inlinable(*below) && !taken_.contains(below) && !memory_values_.contains(base) &&
          uses_.at(base).size() == 1)
        compute(*below, read, work, gathers_join, depth + 1);
      else
        cost_.read(work, v, read);
    }
  }

  // What a region does with all that it has taken in so far.
  DispatchWork& work_of(const Node* owner) {
    const auto [at, fresh] = work_.try_emplace(owner);
    if (!fresh) return at->second;
    DispatchWork& work = at->second;
    if (fate(owner) == Fate::kClaimed) {
      const Growth& growth = claim_of(owner).growth;
      work = cost_.work_of(growth.members, {growth.output});
    } else {
      work = cost_.work_of({owner->results[0]->def}, owner->results);
    }
    return work;
  }

  size_t most_reads() const {
    const Target& target = context_.target();
    if (target.arch != Arch::kVulkan) return std::numeric_limits<size_t>::max();
    return target.levels == std::vector<Level>{Level::kVulkan11} ? kFloorReads : kMostReads;
  }

  // What the owner's region reads once it has taken the node in. (On Vulkan: others may read what they like.)
  std::unordered_set<const Value*> reads_with(const Node& node, const Node* owner) {
    if (context_.target().arch != Arch::kVulkan) return {};
    auto at = reads_.find(owner);
    if (at == reads_.end()) {
      std::vector<const Node*> members{owner};
      if (fate(owner) == Fate::kClaimed) {
        const Growth& growth = claim_of(owner).growth;
        members.assign(growth.members.begin(), growth.members.end());
      }
      at = reads_.emplace(owner, values_read(members)).first;
    }
    std::unordered_set<const Value*> reads = at->second;
    reads.erase(node.result());
    for (const Value* v : node.operands) {
      if (const Value* read = read_behind_views(v)) reads.insert(read);
    }
    return reads;
  }

  // At how many places one element of a region reads the node's result, at most: where a chain of nodes reads
  // each at two, they double with every node.
  int places_of(const Node& node) { return places_[&node] = places_of(node.result()); }

  int places_of(const Value* v, int depth = 0) {
    const auto uses = uses_.find(v);
    if (uses == uses_.end() || depth > 32) return 1;
    int same = 0, others = 0;
    for (const Use& use : uses->second) {
      if (!use.node) continue;
      int here = 1;
      if (const auto known = places_.find(use.node); known != places_.end())
        here = known->second;
      else if (is_view(*use.node))
        here = places_of(use.node->result(), depth + 1);
      const bool elsewhere = is_view(*use.node) || (is_gather(*use.node) && use.operand == 0);
      if (elsewhere)
        others = std::min(others + here, 2 * kMostPlaces);
      else
        same = std::max(same, here);
    }
    return same + others;
  }

  // Gathers on the longest way from the value to the region that computes it, by way of indices.
  int gathers_above(const Value* v, int depth = 0) {
    int most = 0;
    const auto uses = uses_.find(v);
    if (uses == uses_.end() || depth > 64) return 0;
    for (const graph::Use& use : uses->second) {
      if (!use.node) continue;
      const auto fate = plan_.fates.find(use.node);
      const bool inlined = is_view(*use.node) || (fate != plan_.fates.end() && fate->second == Fate::kInline);
      const int above = inlined && use.node->results.size() == 1 ? memo_above(*use.node, depth + 1) : 0;
      most = std::max(most, above + (is_gather(*use.node) && use.operand == 1 ? 1 : 0));
    }
    return most;
  }
  int memo_above(const Node& n, int depth) {
    const auto [at, fresh] = above_.try_emplace(&n, 0);
    if (fresh) above_[&n] = gathers_above(n.result(), depth);
    return above_[&n];
  }

  // Whether computing the node gathers something, as far as one looks.
  static bool computes_by_gather(const Node& node, int depth = 0) {
    if (is_gather(node)) return true;
    if (depth == 6 || !is_inlinable(node)) return false;
    return std::any_of(node.operands.begin(), node.operands.end(), [&](const Value* v) {
      return v->def && v->def->results.size() == 1 && computes_by_gather(*v->def, depth + 1);
    });
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
    for (BlockItem& item : plan_.items) {
      if (item.region) note_neighbours(*item.region);
    }
  }

  // ---- What touches a region

  void note_neighbours(Region& region) {
    for (Value* v : region.inputs) note_before(region, v);
    for (const Value* v : region.outputs) note_after(region, *v->def, v);
  }

  static void note(Region& region, bool before, const Node& node, const Why& why) {
    for (const Neighbour& known : region.neighbours) {
      if (known.before == before && known.node == &node) return;
    }
    region.neighbours.push_back({before, op_word(node), node.source, why.reason, why.predicted, &node});
  }

  // Why what begins with `user` is not in the region that computes `made`.
  Why edge(const Node& made, const Node& user) {
    if (auto it = stored_.find(&made); it != stored_.end()) return it->second;
    if (fate(&made) == Fate::kSpecial) return {FusionReason::kSpecialResult};
    for (const Refusal& r : claim_of(&made).growth.refused) {
      if (r.node == &user) return {r.reason, r.predicted};
    }
    return {is_view(user) ? FusionReason::kView : FusionReason::kTaken};
  }

  void note_before(Region& region, Value* v) {
    const Node* user = nullptr;  // the first view behind the node that computes the value
    while (v->def && positions_.contains(v->def) && fate(v->def) == Fate::kView) {
      user = v->def;
      v = v->def->operand();
    }
    const Node* made = v->def;
    if (!made || !positions_.contains(made) || fate(made) == Fate::kNothing || fate(made) == Fate::kInline)
      return;
    for (size_t i = 0; !user && i < region.nodes.size(); ++i) {
      const auto& reads = region.nodes[i]->operands;
      if (std::find(reads.begin(), reads.end(), v) != reads.end()) user = region.nodes[i];
    }
    if (user) note(region, true, *made, edge(*made, *user));
  }

  // Readers, seen through views; `first` is the first of those.
  void note_after(Region& region, const Node& made, const Value* v, const Node* first = nullptr,
                  int depth = 0) {
    auto it = uses_.find(v);
    if (it == uses_.end() || depth > 32) return;
    for (const Use& use : it->second) {
      if (!use.node || !positions_.contains(use.node)) continue;
      const Node& user = *use.node;
      const Node& step = first ? *first : user;
      if (fate(&user) == Fate::kView) {
        note_after(region, made, user.result(), &step, depth + 1);
      } else if (fate(&user) != Fate::kNothing && !region.contains(&user)) {
        note(region, false, user, edge(made, step));
      }
    }
  }

  graph::Block& block_;
  const graph::UseMap& uses_;
  LoweringContext& context_;
  const std::unordered_set<const Value*>& memory_values_;
  std::unordered_map<const Node*, size_t> positions_;
  std::unordered_set<const Node*> taken_;
  std::vector<Claim> claims_;
  const FusionCost cost_;
  std::unordered_map<const Node*, Evaluations> evaluations_;  // of what is inlined
  std::unordered_map<const Node*, DispatchWork> work_;        // of regions that something was asked for
  std::unordered_map<const Node*, int> sizes_;
  std::unordered_map<const Node*, std::unordered_set<const Value*>>
      reads_;  // of regions that took something in
  std::unordered_map<const Node*, int> above_;
  std::unordered_map<const Node*, int> places_;  // of nodes that are not stored
  std::unordered_map<const Node*, Why> stored_;  // of each kStore and kConcat
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

bool is_root(const Node& node) {
  return root_kind(node) != RootKind::kSpecial;
}

bool is_inlinable(const Node& node) {
  switch (node.kind) {
    case OpKind::kMap:
    case OpKind::kCast:
    case OpKind::kBitcast:
    case OpKind::kLookup:
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
