#include "compiler/lower/layout_assignment.h"

#include <algorithm>
#include <unordered_set>

#include "compiler/lower/plane_conv.h"
#include "compiler/lower/regions.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

class Orders {
 public:
  explicit Orders(const Target& target) : target_(target) {}

  ConvolutionOrders of(const graph::Block& block) {
    for (const auto& node : block.nodes) follow_convolutions(*node);
    for (size_t i = block.nodes.size(); i-- > 0;) want(*block.nodes[i]);
    return std::move(orders_);
  }

 private:
  // Convolutions that may take planes as they lie (plane_conv.h): nothing that they are computed from has its
  // channels innermost already.
  void follow_convolutions(const Node& n) {
    const bool behind = std::any_of(n.operands.begin(), n.operands.end(),
                                    [&](const Value* v) { return behind_convolution_.contains(v); });
    const bool chosen = std::any_of(n.operands.begin(), n.operands.end(),
                                    [&](const Value* v) { return behind_planes_.contains(v); });
    if (n.kind == OpKind::kConv && !behind) orders_.outside.insert(&n);
    if (n.kind == OpKind::kConv && !behind && suits_planes(n, target_, {chosen, false})) {
      orders_.by_planes.emplace(&n, chosen);
      for (const Value* v : n.results) behind_planes_.insert(v);
    } else if (behind || n.kind == OpKind::kConv) {
      for (const Value* v : n.results) behind_convolution_.insert(v);
    } else if (chosen) {
      for (const Value* v : n.results) behind_planes_.insert(v);
    }
  }

  // Values that a convolution will read, directly or through elementwise work.
  void want(const Node& n) {
    const bool wanted = !n.results.empty() && orders_.wanted.contains(n.result());
    switch (n.kind) {
      case OpKind::kConv:
        if (auto it = orders_.by_planes.find(&n);
            wanted && it != orders_.by_planes.end() && !suits_planes(n, target_, {it->second, true}))
          orders_.by_planes.erase(it);
        if (!orders_.by_planes.contains(&n)) orders_.wanted.insert(n.operand());
        return;
      case OpKind::kMap:
      case OpKind::kCast:
      case OpKind::kLookup:
      case OpKind::kPad:
      case OpKind::kConcat:
      case OpKind::kSlice:
      case OpKind::kReduceWindow:
        if (!wanted) return;
        for (const Value* v : n.operands) {
          if (v->type.rank() == n.result()->type.rank()) orders_.wanted.insert(v);
        }
        return;
      default:
        return;
    }
  }

  const Target& target_;
  ConvolutionOrders orders_;
  std::unordered_set<const Value*> behind_convolution_, behind_planes_;
};

class Assigner {
 public:
  Assigner(LoweringContext& context, LayoutMap& layouts)
      : layouts_(layouts), target_(context.target()), channels_last_(context.enabled("channels_last")) {}

  void run(const graph::Block& block) {
    if (channels_last_) orders_ = convolution_orders(block, target_);
    for (const Value* v : block.results) readers_[v].push_back(nullptr);
    graph::walk(block, [this](const Node& n) {
      for (const Value* v : n.operands) readers_[v].push_back(&n);
    });
    for (const auto& node : block.nodes) note_transpose(*node);
    for (const Value* v : block.args) layouts_[v] = Layout::dense(v->type.rank());
    for (const auto& node : block.nodes) assign(*node);
  }

 private:
  Layout of(const Value* v) {
    auto it = layouts_.find(v);
    return it == layouts_.end() ? Layout::dense(v->type.rank()) : it->second;
  }

  static bool is_constant(const Value* v) {
    while (v->def && is_view(*v->def)) v = v->def->operand();
    return v->def && v->def->kind == OpKind::kConstant;
  }

  // A product that is only read through a transpose which keeps its columns: stored as the transpose wants
  // it, so that the heads of an attention are merged without a copy.
  void note_transpose(const Node& n) {
    if (n.kind != OpKind::kTranspose) return;
    const Value* from = n.operand();
    const bool product = from->def && from->def->kind == OpKind::kDot;
    const std::vector<int64_t>& perm = n.ints("perm");
    if (!product || perm.back() != static_cast<int64_t>(perm.size()) - 1) return;
    Layout l;
    for (const int64_t d : perm) l.order.push_back(static_cast<int>(d));
    transposed_[from] = l;
  }

  // The order of the first operand of the result's rank that is not dense and not broadcast; else of the
  // first real one.
  Layout follow(const Node& n) {
    const Value* result = n.result();
    Layout out = Layout::dense(result->type.rank());
    for (const Value* v : n.operands) {
      if (v->type.shape != result->type.shape && n.kind == OpKind::kMap) continue;
      if (v->type.rank() != result->type.rank() || is_constant(v)) continue;
      if (v->def && v->def->kind == OpKind::kBroadcast) continue;
      const Layout l = of(v);
      if (!l.is_dense()) return l;
    }
    if (orders_.wanted.contains(result)) return Layout::channels_last(result->type.rank());
    return out;
  }

  // Whether nothing but reshapes that need it dense read an elementwise result: it is stored that way at
  // once.
  bool reshaped_only(const Value* v, const Layout& layout) const {
    const auto it = readers_.find(v);
    return it != readers_.end() && std::all_of(it->second.begin(), it->second.end(), [&](const Node* n) {
             return n && n->kind == OpKind::kReshape &&
                    !view_place(*n, dense_place(0, layout, v->type.shape));
           });
  }

  // Work on a convolution's result, which its kernel does. Its vectors, and a GPU's threads, have
  // neighbouring channels: a copy that turns squares costs less than stores across memory (65,536 pixels of
  // 128 channels to a GroupNorm: 108 us for 36 on a GPU, 31 ms for 12 on a CPU).
  static bool ends_convolution(const Node& n, int depth = 0) {
    return depth < 8 && std::any_of(
                            n.operands.begin(), n.operands.end(),
                            [&](const Value* v) {
                              if (!v->def || v->type.shape != n.result()->type.shape) return false;
                              const bool elementwise =
                                  v->def->kind == OpKind::kMap || v->def->kind == OpKind::kCast;
                              return v->def->kind == OpKind::kConv ||
                                     (elementwise && ends_convolution(*v->def, depth + 1));
                            });
  }

  void assign(const Node& n) {
    for (const Value* v : n.results) {
      if (v->type.is_tensor()) layouts_[v] = Layout::dense(v->type.rank());
    }
    if (n.results.empty() || !n.result()->type.is_tensor()) return;
    Layout& out = layouts_[n.result()];
    const int rank = n.result()->type.rank();
    switch (n.kind) {
      case OpKind::kConv:
        if (channels_last_ && !(orders_.by_planes.contains(&n) && of(n.operand()).is_dense()))
          out = Layout::channels_last(rank);
        return;
      case OpKind::kDot:
        if (auto it = transposed_.find(n.result()); it != transposed_.end()) out = it->second;
        return;
      case OpKind::kMap:
      case OpKind::kCast:
      case OpKind::kLookup:
      case OpKind::kBitcast:
        out = follow(n);
        if (!out.is_dense() && reshaped_only(n.result(), out) && !ends_convolution(n))
          out = Layout::dense(rank);
        return;
      case OpKind::kPad:
      case OpKind::kConcat:
      case OpKind::kReduceWindow:
      case OpKind::kArgReduceWindow:
      case OpKind::kScan:
      case OpKind::kGatherElements:
        out = follow(n);
        return;
      case OpKind::kGather:
        if (n.operand()->type.rank() == rank && !is_constant(n.operand())) out = of(n.operand());
        return;
      case OpKind::kReduce:
        out = without(of(n.operand()), n.ints("axes"));
        return;
      case OpKind::kTranspose:
      case OpKind::kSlice:
      case OpKind::kBroadcast:
      case OpKind::kReshape: {
        const Value* from = n.operand();
        const auto view = view_place(n, dense_place(0, of(from), from->type.shape));
        if (view) out = view->layout;
        if (view || !orders_.wanted.contains(n.result())) return;
        if (is_repeat(n) || layout_below(n, Layout::channels_last(rank))) out = Layout::channels_last(rank);
        return;
      }
      default:
        return;
    }
  }

  static Layout without(const Layout& layout, const std::vector<int64_t>& axes) {
    const auto removed = [&](int d) {
      for (const int64_t a : axes) {
        if (a == d) return true;
      }
      return false;
    };
    Layout out;
    for (const int d : layout.order) {
      if (removed(d)) continue;
      int shifted = d;
      for (const int64_t a : axes) shifted -= a < d ? 1 : 0;
      out.order.push_back(shifted);
    }
    return out;
  }

  LayoutMap& layouts_;
  const Target& target_;
  const bool channels_last_;
  ConvolutionOrders orders_;
  std::unordered_map<const Value*, Layout> transposed_;
  std::unordered_map<const Value*, std::vector<const Node*>> readers_;  // null: a result of the block
};

}  // namespace

ConvolutionOrders convolution_orders(const graph::Block& block, const Target& target) {
  return Orders(target).of(block);
}

void assign_layouts(const graph::Block& block, LoweringContext& context, LayoutMap& layouts) {
  Assigner(context, layouts).run(block);
}

void find_outer_convolutions(const graph::Block& block, const Target& target, OuterConvolutions& found) {
  const ConvolutionOrders orders = convolution_orders(block, target);
  found.outside.insert(orders.outside.begin(), orders.outside.end());
  for (const auto& [conv, chosen] : orders.by_planes) found.by_planes.insert(conv);
  for (const auto& node : block.nodes) {
    for (const auto& region : node->regions) find_outer_convolutions(*region, target, found);
  }
}

}  // namespace tern::lower
