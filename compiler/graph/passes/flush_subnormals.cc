#include "compiler/graph/passes/flush_subnormals.h"

#include <algorithm>
#include <cstring>

#include "compiler/graph/passes/constants.h"

namespace tern::graph {
namespace {

bool is_product(const Node* n) {
  return n && (n->kind == OpKind::kDot || n->kind == OpKind::kConv);
}

bool is_view(const Node& n) {
  return n.operands.size() == 1 && info(n.kind).view;
}

// The node whose elements v has, in another order or shape.
const Node* behind_views(const Value* v) {
  while (v->def && is_view(*v->def)) v = v->def->operand();
  return v->def;
}

// Whether nothing but products and sums with products reads v.
bool feeds_products(const Value* v, const UseMap& uses) {
  const auto at = uses.find(v);
  if (at == uses.end()) return true;
  return std::all_of(at->second.begin(), at->second.end(), [&](const Use& use) {
    if (!use.node) return false;  // an output
    if (is_product(use.node)) return true;
    if (is_view(*use.node)) return feeds_products(use.node->result(), uses);
    const bool sum = use.node->kind == OpKind::kMap && use.node->scalar_op() == scalar::ScalarOp::kAdd;
    return sum && is_product(behind_views(use.node->operand(1 - use.operand)));
  });
}

// `mantissa`: the bits below the exponent's in a float type of T's width.
template <typename T>
bool is_subnormal(T bits, int mantissa) {
  constexpr T kSign = T{1} << (sizeof(T) * 8 - 1);
  const T magnitude = bits & static_cast<T>(~kSign);
  return magnitude != 0 && (magnitude >> mantissa) == 0;
}

// The constant without its subnormal numbers; null where it has none.
template <typename T>
TensorDataPtr flushed(const TensorData& data, int mantissa) {
  const T* from = data.as<T>();
  int64_t found = 0;  // counted, not searched: a loop without an exit is vectorised
  for (int64_t i = 0; i < data.count(); ++i) found += is_subnormal(from[i], mantissa);
  if (found == 0) return nullptr;
  auto out = TensorData::make(data.dtype(), data.shape());
  T* to = out->mutable_as<T>();
  for (int64_t i = 0; i < data.count(); ++i) to[i] = is_subnormal(from[i], mantissa) ? T{0} : from[i];
  return out;
}

TensorDataPtr flushed(const TensorData& data) {
  switch (data.dtype()) {
    case DType::kBF16:
      return flushed<uint16_t>(data, 7);
    case DType::kF32:
      return flushed<uint32_t>(data, 23);
    case DType::kF64:
      return flushed<uint64_t>(data, 52);
    default:
      return nullptr;
  }
}

}  // namespace

bool flush_subnormals(Graph& graph) {
  const UseMap uses = compute_uses(graph);
  bool changed = false;
  walk(graph.body, [&](Node& n) {
    if (n.kind != OpKind::kConstant || !feeds_products(n.result(), uses)) return;
    if (TensorDataPtr data = flushed(*n.attr<TensorDataPtr>("value"))) {
      n.set("value", std::move(data));
      changed = true;
    }
  });
  return changed;
}

}  // namespace tern::graph
