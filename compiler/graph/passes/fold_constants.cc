#include "compiler/graph/passes/fold_constants.h"

#include <algorithm>
#include <unordered_set>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

constexpr int64_t kFreeBytes = 64 * 1024;

bool is_spread(const Value* v) {
  return v->def && (v->def->kind == OpKind::kBroadcast || v->def->kind == OpKind::kIota);
}

int64_t bytes_of(const Type& type) {
  return dtype_storage_bytes(type.dtype, product(type.shape).value());
}

// An operand's contents: a constant, or a broadcast of one, or an iota. `stored` gains the constant's bytes.
TensorDataPtr operand_data(const Value* v, int64_t& stored) {
  if (TensorDataPtr t = constant_data(v)) {
    stored += t->dtype() == DType::kString ? 0 : static_cast<int64_t>(t->bytes().size());
    return t;
  }
  if (!is_spread(v) || !is_static(v->type.shape)) return nullptr;
  if (v->def->kind == OpKind::kBroadcast && !constant_data(v->def->operand())) return nullptr;
  return evaluate_constant(v, INT64_MAX);
}

// Nodes that lead to the filters of a transposed convolution: one that takes no integers, and that has no
// fast kernel for filters that are not constants.
class Filters {
 public:
  explicit Filters(const Block& block) { look(block); }
  bool contains(const Node& node) const { return nodes_.contains(&node); }

 private:
  void look(const Block& block) {
    for (const auto& node : block.nodes) {
      for (const auto& region : node->regions) look(*region);
      if (node->kind != OpKind::kConv) continue;
      const std::vector<int64_t>& steps = node->ints("lhs_dilations");
      if (std::any_of(steps.begin(), steps.end(), [](int64_t s) { return s != 1; })) add(node->operand(1));
    }
  }
  void add(const Value* v) {
    if (!v->def || v->def->kind == OpKind::kConstant || is_spread(v) || !nodes_.insert(v->def).second) return;
    for (const Value* operand : v->def->operands) add(operand);
  }

  std::unordered_set<const Node*> nodes_;
};

// Looked at before anything is evaluated: whether the operands can be had at all, and at what size.
bool may_fold(const Node& node, const Filters& filters) {
  int64_t stored = 0, largest = 0;
  for (const Value* v : node.operands) {
    if (!v->type.is_tensor()) return false;
    if (const TensorDataPtr t = constant_data(v)) {
      stored += static_cast<int64_t>(t->bytes().size());
      continue;
    }
    if (!is_spread(v) || !is_static(v->type.shape)) return false;
    if (v->def->kind == OpKind::kBroadcast && !constant_data(v->def->operand())) return false;
    largest = std::max(largest, bytes_of(v->type));
  }
  for (const Value* v : node.results)
    if (v->type.is_tensor() && is_static(v->type.shape) && v->type.dtype != DType::kString)
      largest = std::max(largest, bytes_of(v->type));
  // From four bits to f32.
  const int64_t growth = filters.contains(node) ? 8 : 2;
  return largest <= std::max(kFreeBytes, growth * stored);
}

bool is_countable(OpKind kind) {
  return kind == OpKind::kNonZero || kind == OpKind::kUnique || kind == OpKind::kNms;
}

class Folder {
 public:
  explicit Folder(const Graph& graph) : filters_(graph.body) {}
  bool run(Graph& graph) {
    Rewriter rewriter(graph, [this](Node& n, Builder& b) { return fold(n, b); });
    rewriter_ = &rewriter;
    return rewriter.run();
  }

 private:
  std::optional<std::vector<Value*>> fold(Node& node, Builder& b) {
    if (!info(node.kind).pure || node.kind == OpKind::kConstant || !node.regions.empty()) return std::nullopt;
    if (node.kind == OpKind::kBroadcast || node.kind == OpKind::kIota) return std::nullopt;
    for (const Value* v : node.results)
      if (!v->type.is_tensor() || (!is_static(v->type.shape) && !is_countable(node.kind)))
        return std::nullopt;
    for (const auto& [key, attr] : node.attrs)
      if (const auto* dims = std::get_if<std::vector<Dim>>(&attr))
        if (!is_static(*dims)) return std::nullopt;
    if (!may_fold(node, filters_)) return std::nullopt;
    std::vector<EvalValue> operands;
    int64_t stored = 0;
    for (const Value* v : node.operands) {
      TensorDataPtr t = operand_data(v, stored);
      if (!t) return std::nullopt;
      operands.push_back({std::move(t), nullptr});
    }
    Result<std::vector<EvalValue>> out =
        evaluate_node(node, operands, [](const std::string&) { return std::nullopt; });
    if (!out.ok()) return std::nullopt;  // an error of the model's: it stays for run time to report
    std::vector<Value*> values;
    for (size_t i = 0; i < out->size(); ++i) {
      const TensorDataPtr& t = (*out)[i].tensor;
      const Shape& shape = node.results[i]->type.shape;
      for (size_t axis = 0; axis < shape.size(); ++axis)
        if (shape[axis].op() == Dim::Op::kSymbol)
          rewriter_->substitute(shape[axis].symbol_name(), Dim(t->shape()[axis]));
      values.push_back(b.constant(t));
    }
    return values;
  }

  Filters filters_;
  Rewriter* rewriter_ = nullptr;
};

}  // namespace

bool fold_constants(Graph& graph) {
  return Folder(graph).run(graph);
}

}  // namespace tern::graph
