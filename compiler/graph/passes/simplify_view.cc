// reshape, broadcast, transpose.
#include <algorithm>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/simplify_rules.h"

namespace tern::graph {

Value* simplify_reshape(Node& n, Builder& b) {
  Value* x = n.operand();
  const Shape& shape = n.dims("shape");
  if (x->type.shape == shape) return x;
  if (const Node* inner = def_of(x, OpKind::kReshape)) return b.reshape(inner->operand(), shape);
  // All elements are one scalar: no reshape of the spread, a spread of the other shape.
  if (const Node* spread = def_of(x, OpKind::kBroadcast))
    if (product(spread->operand()->type.shape) == Dim(1))
      return b.broadcast(b.reshape(spread->operand(), {}), shape);
  return nullptr;
}

namespace {

// Whether `from` is `to` with 1s in front.
bool adds_leading_ones(const Shape& to, const Shape& from) {
  if (from.size() < to.size()) return false;
  const size_t extra = from.size() - to.size();
  return std::all_of(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(extra),
                     [](const Dim& d) { return d == Dim(1); }) &&
         std::equal(to.begin(), to.end(), from.begin() + static_cast<std::ptrdiff_t>(extra));
}

}  // namespace

Value* simplify_broadcast(Node& n, Builder& b) {
  Value* x = n.operand();
  const Shape& shape = n.dims("shape");
  if (x->type.shape == shape) return x;
  if (const Node* inner = def_of(x, OpKind::kBroadcast)) return b.broadcast(inner->operand(), shape);
  if (const Node* reshape = def_of(x, OpKind::kReshape))
    if (adds_leading_ones(reshape->operand()->type.shape, x->type.shape))
      return b.broadcast(reshape->operand(), shape);
  // Only 1s are added in front: nothing is repeated.
  if (adds_leading_ones(x->type.shape, shape)) return b.reshape(x, shape);
  return nullptr;
}

Value* simplify_transpose(Node& n, Builder& b) {
  Value* x = n.operand();
  const std::vector<int64_t>& perm = n.ints("perm");
  if (std::is_sorted(perm.begin(), perm.end())) return x;
  if (const Node* inner = def_of(x, OpKind::kTranspose)) {
    std::vector<int64_t> both;
    for (const int64_t p : perm) both.push_back(inner->ints("perm")[static_cast<size_t>(p)]);
    return b.transpose(inner->operand(), both);
  }
  // Only axes of size 1 move: no element does.
  std::vector<int64_t> moving;
  for (const int64_t p : perm)
    if (x->type.shape[static_cast<size_t>(p)] != Dim(1)) moving.push_back(p);
  if (std::is_sorted(moving.begin(), moving.end())) return b.reshape(x, n.result()->type.shape);
  // A spread of something small: transpose what is small.
  if (const Node* spread = def_of(x, OpKind::kBroadcast)) {
    Value* small = spread->operand();
    Shape full(x->type.shape.size() - small->type.shape.size(), Dim(1));
    full.insert(full.end(), small->type.shape.begin(), small->type.shape.end());
    return b.broadcast(b.transpose(b.reshape(small, full), perm), n.result()->type.shape);
  }
  return nullptr;
}

}  // namespace tern::graph
