#include "compiler/graph/passes/merge_products.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <unordered_map>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

// Encoders whose states many layers read would otherwise keep all of their keys and values at once.
constexpr size_t kMostProducts = 3;
constexpr int64_t kMostBiasBytes = 1 << 22;

// dot(x, w), or dot(x, w) + bias; a reshape that keeps the columns may stand before the sum.
struct Product {
  Node* dot = nullptr;
  Value* end = nullptr;  // what is replaced: the dot's result, or the sum
  TensorDataPtr weights;
  TensorDataPtr bias;  // null: none; one element or one a column
  int64_t columns() const { return weights->shape().back(); }
};

struct Group {
  std::vector<Product> products;
  Value* merged = nullptr;  // made when the first of the ends is reached
};

class ProductMerger {
 public:
  explicit ProductMerger(Graph& graph) : uses_(compute_uses(graph)) {
    find_groups(graph.body);
    index_groups();
  }

  std::optional<std::vector<Value*>> rewrite(Node& n, Builder& b) {
    if (n.results.size() != 1) return std::nullopt;
    const auto at = group_of_.find(n.result());
    if (at == group_of_.end()) return std::nullopt;
    Group& group = groups_[at->second];
    if (!group.merged) group.merged = merge(group, b);
    int64_t start = 0;
    for (const Product& p : group.products) {
      if (p.end == n.result()) {
        b.set_source(p.dot->source);
        Value* part = b.slice_axis(group.merged, group.merged->type.rank() - 1, start, p.columns());
        return replace_with(b.reshape(part, n.result()->type.shape));
      }
      start += p.columns();
    }
    return std::nullopt;
  }

 private:
  void find_groups(const Block& block) {
    std::map<std::pair<int, std::vector<int64_t>>, size_t>
        open;  // x's id, the weights' shape but for columns
    for (const auto& n : block.nodes) {
      for (const auto& region : n->regions) find_groups(*region);
      const std::optional<Product> product = product_of(*n, block);
      if (!product) continue;
      std::vector<int64_t> shape = product->weights->shape();
      shape.back() = static_cast<int64_t>(product->weights->dtype());
      const auto [group, fresh] = open.try_emplace({n->operand(0)->id, shape}, groups_.size());
      if (fresh || groups_[group->second].products.size() == kMostProducts) {
        group->second = groups_.size();
        groups_.emplace_back();
      }
      groups_[group->second].products.push_back(*product);
    }
  }

  void index_groups() {
    for (size_t i = 0; i < groups_.size(); ++i) {
      if (groups_[i].products.size() < 2) continue;
      for (const Product& p : groups_[i].products) group_of_[p.end] = i;
    }
  }

  std::optional<Product> product_of(Node& n, const Block& block) const {
    if (n.kind != OpKind::kDot || n.find("accumulate") || constant_data(n.operand(0))) return std::nullopt;
    Product p{&n, n.result(), constant_data(n.operand(1)), nullptr};
    if (!p.weights || !is_float(p.weights->dtype()) || dtype_bits(p.weights->dtype()) % 8 != 0)
      return std::nullopt;
    for (size_t i = 0; i + 2 < p.weights->shape().size(); ++i)
      if (p.weights->shape()[i] != 1) return std::nullopt;
    take_bias(p, block);
    return feeds_views(p.end, block) ? std::optional(p) : std::nullopt;
  }

  // The node that alone reads v, or null.
  const Use* only_use(const Value* v, const Block& block) const {
    const std::vector<Use>& uses = uses_of(v);
    return uses.size() == 1 && uses[0].node && uses[0].block == &block ? &uses[0] : nullptr;
  }

  void take_bias(Product& p, const Block& block) const {
    const Use* use = only_use(p.end, block);
    if (use && use->node->kind == OpKind::kReshape && use->node->result()->type.rank() > 0 &&
        use->node->result()->type.shape.back() == Dim(p.columns()))
      use = only_use(use->node->result(), block);
    if (!use) return;
    const Node& sum = *use->node;
    if (sum.kind != OpKind::kMap || sum.scalar_op() != scalar::ScalarOp::kAdd) return;
    const Value* other = sum.operand(use->operand == 0 ? 1 : 0);
    const Node* spread = def_of(other, OpKind::kBroadcast);
    const TensorDataPtr bias = evaluate_constant(spread ? spread->operand() : other, kMostBiasBytes);
    if (!bias || (bias->count() != 1 && bias->count() != p.columns())) return;
    if (bias->count() != 1 && bias->shape().back() != p.columns()) return;
    p.bias = bias;
    p.end = sum.result();
  }

  // Whether the value is read by nodes that would not join its product, nor place it in memory of their own.
  bool feeds_views(const Value* v, const Block& block) const {
    const std::vector<Use>& uses = uses_of(v);
    return !uses.empty() && std::all_of(uses.begin(), uses.end(), [&](const Use& use) {
      return use.node && use.block == &block &&
             (use.node->kind == OpKind::kDot || is_view_of_one(*use.node)) && !reaches_whole(use, 8);
    });
  }

  static bool is_view_of_one(const Node& n) {
    return n.kind == OpKind::kReshape || n.kind == OpKind::kTranspose || n.kind == OpKind::kSlice;
  }

  // Whether a chain of views ends in a concatenation or a block's result, which v would be computed in.
  bool reaches_whole(const Use& use, int depth) const {
    if (!use.node || use.node->kind == OpKind::kConcat || depth == 0) return true;
    if (!is_view_of_one(*use.node)) return false;
    const std::vector<Use>& next = uses_of(use.node->result());
    return std::any_of(next.begin(), next.end(), [&](const Use& u) { return reaches_whole(u, depth - 1); });
  }

  const std::vector<Use>& uses_of(const Value* v) const {
    static const std::vector<Use> kNone;
    const auto it = uses_.find(v);
    return it == uses_.end() ? kNone : it->second;
  }

  static Value* merge(const Group& group, Builder& b) {
    const Product& first = group.products.front();
    b.set_source(first.dot->source);
    Value* weights = b.constant(joined_weights(group));
    weights->name = first.dot->operand(1)->name;
    Value* out = b.node(OpKind::kDot, {first.dot->operand(0), weights}, first.dot->attrs)->result();
    const bool biased =
        std::any_of(group.products.begin(), group.products.end(), [](const Product& p) { return p.bias; });
    return biased ? b.add(out, b.constant(joined_bias(group, out->type.dtype))) : out;
  }

  static int64_t columns_of(const Group& group) {
    int64_t columns = 0;
    for (const Product& p : group.products) columns += p.columns();
    return columns;
  }

  static TensorDataPtr joined_weights(const Group& group) {
    const TensorData& like = *group.products.front().weights;
    std::vector<int64_t> shape = like.shape();
    shape.back() = columns_of(group);
    auto joined = TensorData::make(like.dtype(), shape);
    const size_t width = static_cast<size_t>(dtype_bits(like.dtype()) / 8);
    const size_t row = static_cast<size_t>(shape.back()) * width;
    uint8_t* to = joined->mutable_bytes().data();
    for (const Product& p : group.products) {
      const size_t part = static_cast<size_t>(p.columns()) * width;
      const std::span<const uint8_t> from = p.weights->bytes();
      for (size_t r = 0; part && r < from.size() / part; ++r)
        std::memcpy(to + r * row, from.data() + r * part, part);
      to += part;
    }
    return joined;
  }

  static TensorDataPtr joined_bias(const Group& group, DType dtype) {
    auto joined = TensorData::make(dtype, {columns_of(group)});
    int64_t at = 0;
    for (const Product& p : group.products) {
      for (int64_t i = 0; i < p.columns(); ++i, ++at)
        if (p.bias) joined->set_float(at, p.bias->float_at(p.bias->count() == 1 ? 0 : i));
    }
    return joined;
  }

  UseMap uses_;
  std::vector<Group> groups_;
  std::unordered_map<const Value*, size_t> group_of_;
};

}  // namespace

bool merge_products(Graph& graph) {
  ProductMerger merger(graph);
  return Rewriter(graph, [&](Node& n, Builder& b) { return merger.rewrite(n, b); }).run();
}

}  // namespace tern::graph
