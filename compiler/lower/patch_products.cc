#include "compiler/lower/patch_products.h"

#include <algorithm>
#include <numeric>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/eliminate_dead.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

constexpr int64_t kFewChannels = 8;     // matrix units take as many at once from a pixel
constexpr int64_t kFewestOutputs = 64;  // fewer are not worth the copy

// The filters [O, C, window…] as the right operand of a product [C * window, O].
TensorDataPtr as_columns(const TensorData& filters) {
  const int64_t outputs = filters.shape()[0], steps = filters.count() / outputs;
  auto out = TensorData::make(filters.dtype(), {steps, outputs});
  const auto* from = filters.as<float>();
  auto* to = out->mutable_as<float>();
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t s = 0; s < steps; ++s) to[s * outputs + o] = from[o * steps + s];
  }
  return out;
}

bool is_patches(const Node& conv) {
  const Value *x = conv.operand(0), *w = conv.operand(1);
  const TensorDataPtr filters = graph::constant_data(w);
  if (!filters || filters->dtype() != DType::kF32 || x->type.dtype != DType::kF32 ||
      conv.result()->type.dtype != DType::kF32 || conv.int_attr("groups") != 1 || conv.find("pad_value"))
    return false;
  const std::vector<int64_t>& shape = filters->shape();
  int64_t window = 1;
  for (size_t i = 2; i < shape.size(); ++i) {
    const Dim &extent = x->type.shape[i], &outputs = conv.result()->type.shape[i];
    if (!extent.is_const() || !outputs.is_const() || outputs.value() * shape[i] != extent.value() ||
        conv.ints("strides")[i - 2] != shape[i] || conv.ints("dilations")[i - 2] != 1 ||
        conv.ints("lhs_dilations")[i - 2] != 1 || conv.ints("low")[i - 2] != 0 ||
        conv.ints("high")[i - 2] != 0)
      return false;
    window *= shape[i];
  }
  return window > 1 && shape[1] < kFewChannels && shape[1] * window % kFewChannels == 0 &&
         shape[0] >= kFewestOutputs;
}

// Rows of windows, channel by channel as the filters lie.
Value* rows_of(Value* x, const std::vector<int64_t>& filters, graph::Builder& b) {
  const size_t rank = x->type.shape.size();
  Shape split = {x->type.shape[0], x->type.shape[1]};
  std::vector<int64_t> perm = {0}, inside = {1};
  Dim rows = x->type.shape[0];
  int64_t steps = filters[1];
  for (size_t i = 2; i < rank; ++i) {
    const int64_t outputs = x->type.shape[i].value() / filters[i];
    perm.push_back(static_cast<int64_t>(split.size()));
    inside.push_back(static_cast<int64_t>(split.size()) + 1);
    split.insert(split.end(), {Dim(outputs), Dim(filters[i])});
    rows = rows * Dim(outputs);
    steps *= filters[i];
  }
  perm.insert(perm.end(), inside.begin(), inside.end());
  Value* windows = b.transpose(b.reshape(x, split), perm);
  // A value of its own, so that it is stored as the precision says.
  Value* copy = b.node(OpKind::kCast, {windows}, {{"to", DType::kF32}})->result();
  return b.reshape(copy, {rows, Dim(steps)});
}

class Rewrite {
 public:
  explicit Rewrite(graph::Graph& graph) : graph_(graph), uses_(graph::compute_uses(graph)) {}

  void run() {
    visit(graph_.body);
    if (replaced_.empty()) return;
    graph::replace_uses(graph_, replaced_);
    graph::eliminate_dead(graph_);
  }

 private:
  void visit(graph::Block& block) {
    std::unordered_map<const Node*, const Node*> convolutions;  // by the node that is replaced
    for (size_t i = 0; i < block.nodes.size(); ++i) {
      Node& node = *block.nodes[i];
      for (const auto& region : node.regions) visit(*region);
      if (node.kind == OpKind::kConv && is_patches(node)) {
        const Node* bias = bias_of(node, block);
        convolutions[bias ? bias : &node] = &node;
      }
      const auto it = convolutions.find(&node);
      if (it == convolutions.end()) continue;
      graph::Builder b(graph_, block, i);
      replaced_[node.result()] = as_image(product(*it->second, node, b), node.result(), b);
      i = b.position();  // the node
    }
  }

  // The product of the windows, with what `end` adds.
  static Value* product(const Node& conv, const Node& end, graph::Builder& b) {
    b.set_source(conv.source);
    const TensorDataPtr filters = graph::constant_data(conv.operand(1));
    Value* weights = b.constant(as_columns(*filters));
    weights->name = conv.operand(1)->name;
    Value* out = b.dot(rows_of(conv.operand(0), filters->shape(), b), weights);
    if (&end == &conv) return out;
    b.set_source(end.source);
    Value* bias = b.reshape(spread_of(end, conv.result())->def->operand(), {Dim(filters->shape()[0])});
    return b.add(out, b.broadcast(bias, out->type.shape));
  }

  // A sum with a constant per channel, if that is all that reads the convolution.
  const Node* bias_of(const Node& conv, const graph::Block& block) const {
    const auto it = uses_.find(conv.result());
    if (it == uses_.end() || it->second.size() != 1 || !it->second[0].node || it->second[0].block != &block)
      return nullptr;
    const Node* sum = it->second[0].node;
    if (sum->kind != OpKind::kMap || sum->scalar_op() != scalar::ScalarOp::kAdd) return nullptr;
    return spread_of(*sum, conv.result()) ? sum : nullptr;
  }

  // The constant per channel that is added to `value`, as it is broadcast.
  static Value* spread_of(const Node& sum, const Value* value) {
    Value* other = sum.operand(0) == value ? sum.operand(1) : sum.operand(0);
    if (!other->def || other->def->kind != OpKind::kBroadcast) return nullptr;
    const Value* channels = other->def->operand();
    const Shape &from = channels->type.shape, &to = other->type.shape;
    if (!graph::constant_data(channels) || from.size() + 1 < to.size()) return nullptr;
    for (size_t i = 0; i < from.size(); ++i) {
      const bool channel = i + to.size() - from.size() == 1;
      if (channel ? from[i] != to[1] : !from[i].is_const(1)) return nullptr;
    }
    return other;
  }

  // [rows, channels] as [images, channels, …].
  static Value* as_image(Value* product, const Value* like, graph::Builder& b) {
    Shape last = like->type.shape;
    std::rotate(last.begin() + 1, last.begin() + 2, last.end());
    std::vector<int64_t> perm(last.size());
    std::iota(perm.begin(), perm.end(), -1);
    perm[0] = 0;
    perm[1] = static_cast<int64_t>(last.size()) - 1;
    return b.transpose(b.reshape(product, last), perm);
  }

  graph::Graph& graph_;
  const graph::UseMap uses_;
  std::unordered_map<const Value*, Value*> replaced_;
};

}  // namespace

void patch_products(graph::Graph& graph) {
  Rewrite(graph).run();
}

}  // namespace tern::lower
