#include "compiler/graph/passes/unmerge_axes.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

// The axes of which those of two shapes of as many elements are made: axis i of a shape is the next
// `counts[i]` of them, none for an extent of 1.
struct Axes {
  Shape shape;
  std::vector<size_t> counts;
};
struct CommonAxes {
  Shape shape;
  Axes from, to;
};

// Walks both shapes from the left. Nothing where an axis of one straddles an end of the other.
std::optional<CommonAxes> common_axes(const Shape& from, const Shape& to) {
  struct Side {
    explicit Side(const Shape& s) : axes{s, std::vector<size_t>(s.size(), 0)}, rest(s) { skip_ones(); }
    bool done() const { return at == rest.size(); }
    const Dim& dim() const { return rest[at]; }
    void take() { ++axes.counts[at]; }
    void next() {
      ++at;
      skip_ones();
    }
    void skip_ones() {
      while (at < rest.size() && rest[at].is_const(1)) ++at;
    }
    // Takes whole axes whose product is `extent`, if there are such.
    bool take_product(const Dim& extent, Shape& taken) {
      Dim all(1);
      size_t end = at;
      while (end < rest.size() && all != extent) all = all * rest[end++];
      if (all != extent) return false;
      for (; at < end; ++at) {
        if (rest[at].is_const(1)) continue;
        taken.push_back(rest[at]);
        take();
      }
      skip_ones();
      return true;
    }
    Axes axes;
    Shape rest;
    size_t at = 0;
  } a(from), b(to);
  CommonAxes common;
  while (!a.done() && !b.done()) {
    const Dim x = a.dim(), y = b.dim();
    const size_t before = common.shape.size();
    if (x.is_const() && y.is_const()) {
      const int64_t m = x.value(), n = y.value(), part = std::min(m, n);
      if (part <= 0 || std::max(m, n) % part != 0) return std::nullopt;
      common.shape.push_back(part);
      a.take();
      b.take();
      a.rest[a.at] = m / part;
      b.rest[b.at] = n / part;
      a.skip_ones();
      b.skip_ones();
    } else if (a.take_product(y, common.shape)) {
      b.axes.counts[b.at] += common.shape.size() - before;
      b.next();
    } else if (b.take_product(x, common.shape)) {
      a.axes.counts[a.at] += common.shape.size() - before;
      a.next();
    } else {
      return std::nullopt;
    }
  }
  if (!a.done() || !b.done()) return std::nullopt;
  common.from = a.axes;
  common.to = b.axes;
  return common;
}

bool some_are_many(const Axes& axes) {
  return std::any_of(axes.counts.begin(), axes.counts.end(), [](size_t n) { return n > 1; });
}

// The values of a block that are computed on the axes apart.
class Unmerger {
 public:
  explicit Unmerger(Graph& graph) { find(graph.body); }

  std::optional<std::vector<Value*>> rewrite(Node& n, Builder& b) {
    if (n.results.size() != 1) return std::nullopt;
    const auto it = groups_of_.find(n.result());
    if (it == groups_of_.end() || !groups_[it->second].reduced) return std::nullopt;
    const CommonAxes& axes = groups_[it->second].axes;
    const Shape& shape = n.result()->type.shape;
    if (n.kind == OpKind::kReduce) {
      const Axes& own = *axes_of(n.operand()->type.shape, axes);
      Value* sum = b.reduce(n.scalar_op(), apart(n.operand(), axes, b), reduced_axes(n, own));
      return replace_with(b.reshape(sum, shape));
    }
    std::vector<Value*> operands;
    for (Value* v : n.operands) operands.push_back(apart(v, axes, b));
    Value* made =
        n.kind == OpKind::kReshape ? operands[0] : b.node(n.kind, std::move(operands), n.attrs)->result();
    Value* merged = b.reshape(made, shape);
    apart_[merged] = made;
    return replace_with(merged);
  }

 private:
  struct Group {
    CommonAxes axes;
    bool reduced = false;  // along axes that were merged
  };

  static const Axes* axes_of(const Shape& shape, const CommonAxes& axes) {
    if (shape == axes.to.shape) return &axes.to;
    return shape == axes.from.shape ? &axes.from : nullptr;
  }

  void find(const Block& block) {
    for (const auto& n : block.nodes) {
      for (const auto& region : n->regions) find(*region);
      if (n->results.size() == 1 && n->result()->type.is_tensor()) find(*n);
    }
  }

  void find(const Node& n) {
    const Value* result = n.result();
    switch (n.kind) {
      case OpKind::kReshape: {
        if (const auto group = group_of(n.operand())) {
          if (axes_of(result->type.shape, groups_[*group].axes)) groups_of_[result] = *group;
          return;
        }
        const auto axes = common_axes(n.operand()->type.shape, result->type.shape);
        if (!axes || !some_are_many(axes->from) || !some_are_many(axes->to)) return;
        groups_of_[result] = groups_.size();
        groups_.push_back({*axes});
        return;
      }
      case OpKind::kMap:
      case OpKind::kCast:
        for (const Value* v : n.operands) {
          const auto group = group_of(v);
          if (!group) continue;
          groups_of_[result] = *group;
          return;
        }
        return;
      case OpKind::kReduce: {
        const auto group = group_of(n.operand());
        if (!group) return;
        const Axes& own = *axes_of(n.operand()->type.shape, groups_[*group].axes);
        const std::vector<int64_t>& reduced = n.ints("axes");
        groups_[*group].reduced |= own.shape == groups_[*group].axes.to.shape &&
                                   std::any_of(reduced.begin(), reduced.end(), [&](int64_t a) {
                                     return own.counts[static_cast<size_t>(a)] > 1;
                                   });
        groups_of_[result] = *group;
        return;
      }
      default:
        return;
    }
  }

  // Of a value that has all of the group's axes: none of what a reduction has left.
  std::optional<size_t> group_of(const Value* v) const {
    const auto it = groups_of_.find(v);
    if (it == groups_of_.end() || v->def->kind == OpKind::kReduce) return std::nullopt;
    return it->second;
  }

  static std::vector<int64_t> reduced_axes(const Node& reduce, const Axes& own) {
    const std::vector<int64_t>& axes = reduce.ints("axes");
    std::vector<int64_t> out;
    int64_t next = 0;
    for (size_t i = 0; i < own.counts.size(); ++i) {
      for (size_t k = 0; k < own.counts[i]; ++k, ++next) {
        if (std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) != axes.end()) out.push_back(next);
      }
    }
    return out;
  }

  // A value of either shape on the axes apart, where the builder stands.
  Value* apart(Value* v, const CommonAxes& axes, Builder& b) {
    const auto made = apart_.find(v);
    if (made != apart_.end() && made->second->type.shape == axes.shape) return made->second;
    const Node* spread = def_of(v, OpKind::kBroadcast);
    if (!spread) return b.reshape(v, axes.shape);
    Value* small = spread->operand();
    if (product(small->type.shape).is_const(1)) return b.broadcast(b.reshape(small, {}), axes.shape);
    const Axes& own = *axes_of(v->type.shape, axes);
    const Shape& extents = small->type.shape;
    Shape shape;
    size_t next = 0;
    for (size_t i = 0; i < own.counts.size(); ++i) {
      const size_t missing = own.shape.size() - extents.size();
      const bool one = i < missing || extents[i - missing] != own.shape[i];
      for (size_t k = 0; k < own.counts[i]; ++k, ++next) shape.push_back(one ? Dim(1) : axes.shape[next]);
    }
    return b.broadcast(b.reshape(small, shape), axes.shape);
  }

  std::unordered_map<const Value*, size_t> groups_of_;  // of values and of reductions of such
  std::vector<Group> groups_;
  std::unordered_map<const Value*, Value*> apart_;  // by what stands for them elsewhere
};

}  // namespace

bool unmerge_axes(Graph& graph) {
  Unmerger unmerger(graph);
  return Rewriter(graph, [&](Node& n, Builder& b) { return unmerger.rewrite(n, b); }).run();
}

}  // namespace tern::graph
