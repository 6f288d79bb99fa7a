// Reading constants in rules.
#pragma once

#include <optional>

#include "compiler/graph/ir.h"

namespace tern::graph {

// The node that makes v when it is of this kind, else null.
inline Node* def_of(const Value* v, OpKind kind) {
  return v->def && v->def->kind == kind ? v->def : nullptr;
}
// The contents of a `constant` node, else null.
inline TensorDataPtr constant_data(const Value* v) {
  const Node* n = def_of(v, OpKind::kConstant);
  return n ? n->attr<TensorDataPtr>("value") : nullptr;
}
// The one value that all elements of v have, seen through broadcasts and reshapes.
std::optional<scalar::ScalarValue> splat_of(const Value* v);
// The contents of a small integer tensor as dims: a constant's numbers or a from_dims's expressions.
std::optional<std::vector<Dim>> dims_of(const Value* v);
// v's elements when they are constants, through broadcasts, reshapes and other foldable nodes, if they have
// at most `limit` bytes; else null.
TensorDataPtr evaluate_constant(const Value* v, int64_t limit);

bool is_number(const scalar::ScalarValue& v, double number);

}  // namespace tern::graph
