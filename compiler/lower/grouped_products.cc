#include "compiler/lower/grouped_products.h"

#include <algorithm>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/eliminate_dead.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

// y of [.., groups, 1, a, b], whose matrices a right operand [.., groups * each, a, b] repeats `each` times.
struct Repeated {
  Value* y = nullptr;
  Dim each;
  bool transposed = false;  // the operand is its transpose
};

bool swaps_last_two(const Node& transpose) {
  const std::vector<int64_t> perm = transpose.ints("perm");
  const auto rank = static_cast<int64_t>(perm.size());
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t want = i == rank - 2 ? rank - 1 : i == rank - 1 ? rank - 2 : i;
    if (perm[static_cast<size_t>(i)] != want) return false;
  }
  return rank >= 2;
}

std::optional<Repeated> repeated(Value* v) {
  Repeated out;
  if (v->def && v->def->kind == OpKind::kTranspose && swaps_last_two(*v->def)) {
    out.transposed = true;
    v = v->def->operand();
  }
  if (!v->def || v->def->kind != OpKind::kReshape) return std::nullopt;
  const Node* wide = v->def->operand()->def;
  if (!wide || wide->kind != OpKind::kBroadcast) return std::nullopt;
  out.y = wide->operand();
  const Shape &from = out.y->type.shape, &to = wide->result()->type.shape, &joined = v->type.shape;
  const size_t rank = to.size();
  if (rank < 4 || from.size() != rank || joined.size() + 1 != rank) return std::nullopt;
  const size_t each = rank - 3;
  out.each = to[each];
  for (size_t i = 0; i < rank; ++i) {
    if (i == each ? !from[i].is_const(1) : from[i] != to[i]) return std::nullopt;
  }
  for (size_t i = 0; i < rank; ++i) {
    const Dim& want = i + 1 == each ? to[i] * to[each] : to[i];
    if (i != each && joined[i < each ? i : i - 1] != want) return std::nullopt;
  }
  return out;
}

Value* swapped(graph::Builder& b, Value* v) {
  std::vector<int64_t> perm(v->type.shape.size());
  for (size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<int64_t>(i);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return b.transpose(v, perm);
}

Shape without(Shape shape, size_t axis) {
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  return shape;
}

class Rewrite {
 public:
  explicit Rewrite(graph::Graph& graph) : graph_(graph) {}

  void run() {
    visit(graph_.body);
    if (replaced_.empty()) return;
    graph::replace_uses(graph_, replaced_);
    graph::eliminate_dead(graph_);
  }

 private:
  void visit(graph::Block& block) {
    for (size_t i = 0; i < block.nodes.size(); ++i) {
      Node& node = *block.nodes[i];
      for (const auto& region : node.regions) visit(*region);
      if (node.kind != OpKind::kDot || graph::constant_data(node.operand(1))) continue;
      graph::Builder b(graph_, block, i);
      b.set_source(node.source);
      Value *x = node.operand(0), *y = node.operand(1);
      const bool spread = spread_groups(b, x, y), joined = join_rows(b, x, y);
      if (!spread && !joined) continue;
      Value* result = b.node(OpKind::kDot, {x, y}, node.attrs)->result();
      result->name = node.result()->name;
      replaced_[node.result()] = b.reshape(result, node.result()->type.shape);
      i = b.position();
    }
  }

  static bool spread_groups(graph::Builder& b, Value*& x, Value*& y) {
    const std::optional<Repeated> r = repeated(y);
    if (!r || x->type.rank() != y->type.rank()) return false;
    const Shape &whole = r->y->type.shape, &repeats = y->type.shape;
    const size_t rank = whole.size();
    Shape shape = x->type.shape;
    if (shape[rank - 4] != repeats[rank - 4]) return false;
    shape[rank - 4] = whole[rank - 4];
    shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(rank - 3), r->each);
    x = b.reshape(x, shape);
    y = r->transposed ? swapped(b, r->y) : r->y;
    return true;
  }

  // x [.., group, 1, k] by y [.., 1, k, n].
  static bool join_rows(graph::Builder& b, Value*& x, Value*& y) {
    const Shape &xs = x->type.shape, &ys = y->type.shape;
    const size_t rank = xs.size();
    if (rank < 3 || ys.size() != rank || !xs[rank - 2].is_const(1) || !ys[rank - 3].is_const(1) ||
        xs[rank - 3].is_const(1))
      return false;
    x = b.reshape(x, without(xs, rank - 2));
    y = b.reshape(y, without(ys, rank - 3));
    return true;
  }

  graph::Graph& graph_;
  std::unordered_map<const Value*, Value*> replaced_;
};

}  // namespace

void group_products(graph::Graph& graph) {
  Rewrite(graph).run();
}

}  // namespace tern::lower
