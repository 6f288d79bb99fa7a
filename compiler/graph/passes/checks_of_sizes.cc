#include "compiler/graph/passes/checks_of_sizes.h"

#include <algorithm>

#include "compiler/graph/passes/constants.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;
using Dims = std::vector<Dim>;

constexpr size_t kMostElements = 16;

// 1 where the comparison holds, else 0.
std::optional<Dim> compared(ScalarOp op, const Dim& a, const Dim& b) {
  const auto at_most = [](const Dim& x, const Dim& y) { return min(Dim(1), max(Dim(0), y - x + Dim(1))); };
  const Dim differ = min(Dim(1), max(a - b, b - a));
  switch (op) {
    case ScalarOp::kEq:
      return Dim(1) - differ;
    case ScalarOp::kNe:
      return differ;
    case ScalarOp::kLe:
      return at_most(a, b);
    case ScalarOp::kLt:
      return at_most(a + Dim(1), b);
    case ScalarOp::kGe:
      return at_most(b, a);
    case ScalarOp::kGt:
      return at_most(b + Dim(1), a);
    default:
      return std::nullopt;
  }
}

// The elements of a small integer value, seen through what repeats one of them.
std::optional<Dims> sizes(const Value* v, size_t count) {
  auto dims = dims_of(v);
  if (!dims && v->def && (v->def->kind == OpKind::kReshape || v->def->kind == OpKind::kBroadcast))
    dims = sizes(v->def->operand(), count);
  if (dims && dims->size() == 1) dims->resize(count, (*dims)[0]);
  return dims && dims->size() == count ? dims : std::nullopt;
}

// 0 or 1 of each element of a truth value; nullopt when data decides it.
std::optional<Dims> truths(const Value* v) {
  if (!is_static(v->type.shape)) return std::nullopt;
  const auto count = static_cast<size_t>(product(v->type.shape).value());
  if (count == 0 || count > kMostElements || !v->def) return std::nullopt;
  if (const auto known = splat_of(v)) return Dims(count, Dim(known->i != 0 ? 1 : 0));
  const Node& n = *v->def;
  if (n.kind == OpKind::kReshape) return truths(n.operand());
  if (n.kind == OpKind::kReduce && n.scalar_op() == ScalarOp::kAnd && count == 1) {
    auto all = truths(n.operand());
    if (!all) return std::nullopt;
    for (const Dim& d : *all) (*all)[0] = min((*all)[0], d);
    all->resize(1);
    return all;
  }
  if (n.kind != OpKind::kMap || n.operands.size() != 2) return std::nullopt;
  const bool all = n.scalar_op() == ScalarOp::kAnd, any = n.scalar_op() == ScalarOp::kOr;
  const auto left = all || any ? truths(n.operand(0)) : sizes(n.operand(0), count);
  const auto right = all || any ? truths(n.operand(1)) : sizes(n.operand(1), count);
  if (!left || !right) return std::nullopt;
  Dims out;
  for (size_t i = 0; i < count; ++i) {
    const Dim &a = (*left)[i], &b = (*right)[i];
    const auto holds = all   ? std::optional(min(a, b))
                       : any ? std::optional(max(a, b))
                             : compared(n.scalar_op(), a, b);
    if (!holds) return std::nullopt;
    out.push_back(*holds);
  }
  return out;
}

}  // namespace

bool checks_of_sizes(Graph& graph) {
  bool changed = false;
  walk(graph.body, [&](Node& n) {
    if (n.kind != OpKind::kCheck || n.operands.empty() || splat_of(n.operand())) return;
    auto holds = truths(n.operand());
    if (!holds) return;
    n.operands.clear();
    n.set("holds", std::move(*holds));
    changed = true;
  });
  return changed;
}

}  // namespace tern::graph
