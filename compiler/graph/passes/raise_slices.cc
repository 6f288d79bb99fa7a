#include "compiler/graph/passes/raise_slices.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

// Positions along an axis that are read: start, start + step, …
struct Span {
  Dim start = 0, size = 0;
  int64_t step = 1;
  bool operator==(const Span&) const = default;
};
using Box = std::vector<Span>;

Span whole(const Dim& extent) {
  return {0, extent, 1};
}

Box whole(const Value* v) {
  Box box;
  for (const Dim& d : v->type.shape) box.push_back(whole(d));
  return box;
}

bool is_whole(const Box& box, const Shape& shape) {
  for (size_t i = 0; i < shape.size(); ++i) {
    if (box[i] != whole(shape[i])) return false;
  }
  return true;
}

// Reads fewer elements, forwards.
bool is_smaller(const Box& box, const Shape& shape) {
  bool smaller = false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (box[i].step < 1) return false;
    smaller |= box[i].size != shape[i];
  }
  return smaller;
}

Shape sizes_of(const Box& box) {
  Shape sizes;
  for (const Span& s : box) sizes.push_back(s.size);
  return sizes;
}

// The box of the sliced value whose elements are `box` of the slice.
Box behind_slice(const Node& slice, const Box& box) {
  Box out;
  for (size_t i = 0; i < box.size(); ++i) {
    const int64_t step = slice.ints("steps")[i];
    out.push_back({slice.dims("starts")[i] + box[i].start * Dim(step), box[i].size, step * box[i].step});
  }
  return out;
}

// Along axes that both shapes have in the same place of memory order; nothing where the box cuts another one.
std::optional<Box> behind_reshape(const Value* from, const Value* to, const Box& box) {
  Box out = whole(from);
  const Shape &shape = from->type.shape, &result = to->type.shape;
  Dim before_result(1);
  for (size_t i = 0; i < result.size(); ++i) {
    if (box[i] != whole(result[i])) {
      Dim before(1);
      size_t j = 0;
      while (j < shape.size() && !(before == before_result && shape[j] == result[i]))
        before = before * shape[j++];
      if (j == shape.size()) return std::nullopt;
      out[j] = box[i];
    }
    before_result = before_result * result[i];
  }
  return out;
}

// An operand's axes are the result's last ones; where they differ the operand has one element for all.
Box behind_broadcast(const Value* operand, const Value* result, const Box& box) {
  const Shape& shape = operand->type.shape;
  const size_t shift = box.size() - shape.size();
  Box out;
  for (size_t i = 0; i < shape.size(); ++i)
    out.push_back(shape[i] == result->type.shape[i + shift] ? box[i + shift] : whole(shape[i]));
  return out;
}

Box behind_reduce(const Node& n, const Box& box) {
  const std::vector<int64_t>& axes = n.ints("axes");
  Box out = whole(n.operand());
  size_t kept = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) == axes.end()) out[i] = box[kept++];
  }
  return out;
}

Box behind_dot(const Node& n, size_t operand, const Box& box) {
  const Value* v = n.operands[operand];
  const Shape& result = n.result()->type.shape;
  Box out = whole(v);
  const size_t rank = out.size(), own = operand == 0 ? rank - 2 : rank - 1;
  for (size_t i = 0; i + 2 < rank; ++i) {
    if (v->type.shape[i] == result[i]) out[i] = box[i];
  }
  out[own] = box[own];
  return out;
}

// What of its operand the node reads for `box` of its result; nothing where it cannot be computed for a box
// alone.
std::optional<Box> demand_on(const Node& n, size_t operand, const Box& box) {
  const Value* v = n.operands[operand];
  switch (n.kind) {
    case OpKind::kMap:
    case OpKind::kCast:
    case OpKind::kLookup:
      return box;
    case OpKind::kSlice:
      return behind_slice(n, box);
    case OpKind::kReshape:
      return behind_reshape(v, n.result(), box);
    case OpKind::kBroadcast:
      return behind_broadcast(v, n.result(), box);
    case OpKind::kTranspose: {
      Box out(box.size());
      for (size_t i = 0; i < box.size(); ++i) out[static_cast<size_t>(n.ints("perm")[i])] = box[i];
      return out;
    }
    case OpKind::kReduce:
      return behind_reduce(n, box);
    case OpKind::kDot:
      return behind_dot(n, operand, box);
    default:
      return std::nullopt;
  }
}

bool is_elementwise(const Node& n) {
  return n.kind == OpKind::kMap || n.kind == OpKind::kCast || n.kind == OpKind::kLookup;
}

// What lowering computes elementwise work behind, as long as no view stands between.
bool takes_epilogue(const Node& n) {
  switch (n.kind) {
    case OpKind::kDot:
    case OpKind::kConv:
    case OpKind::kReduce:
    case OpKind::kReduceWindow:
    case OpKind::kScan:
      return true;
    default:
      return is_elementwise(n);
  }
}

class SliceRaiser {
 public:
  explicit SliceRaiser(Graph& graph) {
    for (const SymbolInfo& s : graph.symbols) {
      if (s.value) want_all(s.value);
    }
    demand(graph.body);
    do {
      chosen_.clear();
      choose(graph.body);
    } while (refuse(graph.body));
  }

  std::optional<std::vector<Value*>> rewrite(Node& n, Builder& b) {
    if (n.kind != OpKind::kSlice || !chosen_.contains(n.operand()) ||
        n.operand()->def->kind == OpKind::kSlice)
      return std::nullopt;
    const auto own = demand_.find(n.result());
    if (own == demand_.end() || !is_whole(own->second, n.result()->type.shape)) return std::nullopt;
    return replace_with(part(n.operand(), b));
  }

 private:
  void want(const Value* v, const Box& box) {
    const auto [it, fresh] = demand_.emplace(v, box);
    if (!fresh && it->second != box) it->second = whole(v);
  }
  void want_all(const Value* v) {
    if (v->type.is_tensor()) want(v, whole(v));
  }
  // What an inner block reads a part of is computed outside, once.
  void read(const Block& block, const Value* v, const std::optional<Box>& box) {
    const auto home = home_.find(v);
    box && v->type.is_tensor() && home != home_.end() && home->second == &block ? want(v, *box) : want_all(v);
  }

  // Readers come after what they read, so that a node's demand is known when it is asked for what it reads.
  void demand(const Block& block) {
    for (const auto& n : block.nodes) {
      for (const Value* v : n->results) home_[v] = &block;
    }
    for (const Value* v : block.results) want_all(v);
    for (size_t i = block.nodes.size(); i-- > 0;) {
      const Node& n = *block.nodes[i];
      for (const auto& region : n.regions) demand(*region);
      if (n.results.size() != 1 || !n.result()->type.is_tensor() || !n.regions.empty()) {
        for (const Value* v : n.operands) want_all(v);
        continue;
      }
      const auto it = demand_.find(n.result());
      if (it == demand_.end() && info(n.kind).pure) continue;  // nobody reads it
      if (it == demand_.end()) want_all(n.result());
      Box box = demand_.at(n.result());
      if (!computable(n, box)) box = whole(n.result());
      for (size_t o = 0; o < n.operands.size(); ++o) read(block, n.operands[o], demand_on(n, o, box));
    }
  }

  static bool computable(const Node& n, const Box& box) {
    if (n.operands.empty() || !is_smaller(box, n.result()->type.shape)) return false;
    for (size_t o = 0; o < n.operands.size(); ++o) {
      if (!demand_on(n, o, box)) return false;
    }
    return true;
  }

  // From the first node on: what is computed for its box alone.
  void choose(const Block& block) {
    for (const auto& n : block.nodes) {
      for (const auto& region : n->regions) choose(*region);
      if (n->results.size() != 1 || refused_.contains(n->result())) continue;
      const auto it = demand_.find(n->result());
      if (it == demand_.end() || !computable(*n, it->second)) continue;
      const bool suits =
          !is_elementwise(*n) || std::none_of(n->operands.begin(), n->operands.end(),
                                              [&](Value* v) { return loses_epilogue(v, it->second); });
      if (suits) chosen_.insert(n->result());
    }
  }

  // What a node reads that is computed as a whole after all. Whether there was any.
  bool refuse(const Block& block) {
    bool any = false;
    for (size_t i = block.nodes.size(); i-- > 0;) {
      const Node& n = *block.nodes[i];
      for (const auto& region : n.regions) any |= refuse(*region);
      if (n.results.size() != 1) continue;
      const auto it = demand_.find(n.result());
      if (it == demand_.end() || chosen_.contains(n.result())) continue;
      if (n.kind == OpKind::kSlice && is_whole(it->second, n.result()->type.shape)) continue;
      for (const Value* v : n.operands) {
        if (chosen_.erase(v) == 0) continue;
        refused_.insert(v);
        any = true;
      }
    }
    return any;
  }

  // A slice of it would stand between a node and the elementwise work that nobody else wants of it.
  bool loses_epilogue(const Value* v, const Box& box) const {
    return v->def && takes_epilogue(*v->def) && !chosen_.contains(v) && demand_.at(v) == box;
  }

  // The box of `v` that is read, where the builder stands.
  Value* part(Value* v, Builder& b) {
    const auto made = parts_.find(v);
    if (made != parts_.end()) return made->second;
    return parts_[v] = make(v, b);
  }

  Value* make(Value* v, Builder& b) {
    const Box& box = demand_.at(v);
    const Node& n = *v->def;
    std::vector<Value*> operands;
    for (size_t o = 0; o < n.operands.size(); ++o)
      operands.push_back(piece(n.operands[o], *demand_on(n, o, box), b));
    b.set_source(n.source);
    switch (n.kind) {
      case OpKind::kSlice:
        return operands[0];
      case OpKind::kReshape:
        return b.reshape(operands[0], sizes_of(box));
      case OpKind::kBroadcast:
        return b.broadcast(operands[0], sizes_of(box));
      default:
        return b.node(n.kind, std::move(operands), n.attrs)->result();
    }
  }

  // `box` of `v`: what is made for it, if that is all that anybody reads, or a slice.
  Value* piece(Value* v, const Box& box, Builder& b) {
    if (is_whole(box, v->type.shape)) return v;
    if (chosen_.contains(v) && demand_.at(v) == box) return part(v, b);
    std::vector<Dim> starts;
    std::vector<int64_t> steps;
    for (const Span& s : box) {
      starts.push_back(s.start);
      steps.push_back(s.step);
    }
    return b.slice(v, std::move(starts), sizes_of(box), std::move(steps));
  }

  std::unordered_map<const Value*, const Block*> home_;  // where a node computes it
  std::unordered_map<const Value*, Box> demand_;         // of values that somebody reads
  std::unordered_set<const Value*> chosen_, refused_;
  std::unordered_map<const Value*, Value*> parts_;  // of those, once they are made
};

}  // namespace

bool raise_slices(Graph& graph) {
  SliceRaiser raiser(graph);
  return Rewriter(graph, [&](Node& n, Builder& b) { return raiser.rewrite(n, b); }).run();
}

}  // namespace tern::graph
