#include "compiler/graph/passes/simplify.h"

#include "compiler/graph/passes/rewrite.h"
#include "compiler/graph/passes/simplify_rules.h"

namespace tern::graph {
namespace {

Value* apply(Node& n, Builder& b, const SimplifyContext& context) {
  if (n.results.size() != 1) return nullptr;
  if (Value* v = simplify_dims(n, b)) return v;
  switch (n.kind) {
    case OpKind::kMap:
      return simplify_map(n, b, context);
    case OpKind::kCast:
      return simplify_cast(n, b, context);
    case OpKind::kReshape:
      return simplify_reshape(n, b);
    case OpKind::kBroadcast:
      return simplify_broadcast(n, b);
    case OpKind::kTranspose:
      return simplify_transpose(n, b);
    case OpKind::kSlice:
      return simplify_slice(n, b);
    case OpKind::kPad:
      return simplify_pad(n, b);
    case OpKind::kConcat:
      return simplify_concat(n, b);
    case OpKind::kGather:
      return simplify_gather(n, b);
    case OpKind::kScatterElements:
      return simplify_scatter(n, b);
    case OpKind::kReduce:
      return simplify_reduce(n, b, context);
    case OpKind::kReduceWindow:
      return simplify_window(n, b);
    case OpKind::kDot:
      return simplify_dot(n, b, context);
    case OpKind::kConv:
      return simplify_conv(n, b);
    default:
      return nullptr;
  }
}

}  // namespace

bool simplify(Graph& graph) {
  const UseMap uses = compute_uses(graph);
  const SimplifyContext context = {uses};
  return Rewriter(graph, [&](Node& n, Builder& b) { return replace_with(apply(n, b, context)); }).run();
}

}  // namespace tern::graph
