#include "compiler/graph/passes/constants.h"

#include <cstring>

namespace tern::graph {

std::optional<scalar::ScalarValue> splat_of(const Value* v) {
  while (v->def && (v->def->kind == OpKind::kBroadcast || v->def->kind == OpKind::kReshape))
    v = v->def->operand();
  const TensorDataPtr t = constant_data(v);
  if (!t || t->count() == 0 || t->dtype() == DType::kString) return std::nullopt;
  if (t->count() > 1) {
    const int bits = dtype_bits(t->dtype());
    if (bits < 8) return std::nullopt;
    const size_t width = static_cast<size_t>(bits / 8);
    if (std::memcmp(t->bytes().data(), t->bytes().data() + width, t->bytes().size() - width) != 0)
      return std::nullopt;
  }
  return scalar::load_value(t->dtype(), t->bytes().data(), 0);
}

std::optional<std::vector<Dim>> dims_of(const Value* v) {
  if (const Node* n = def_of(v, OpKind::kFromDims)) return n->dims("dims");
  const TensorDataPtr t = constant_data(v);
  if (!t || !is_int(t->dtype()) || t->count() > 64) return std::nullopt;
  std::vector<Dim> out;
  for (int64_t i = 0; i < t->count(); ++i) out.push_back(Dim(t->int_at(i)));
  return out;
}

TensorDataPtr evaluate_constant(const Value* v, int64_t limit) {
  if (TensorDataPtr t = constant_data(v)) return t;
  const Node* n = v->def;
  if (!n || !is_static(v->type.shape)) return nullptr;
  // Chains only: what has several operands fold_constants has made a constant, if it is one.
  const bool chain = n->kind == OpKind::kBroadcast || n->kind == OpKind::kReshape ||
                     n->kind == OpKind::kIota || n->kind == OpKind::kTranspose || n->kind == OpKind::kSlice;
  if (!chain) return nullptr;
  const int64_t count = product(v->type.shape).value();
  if (v->type.dtype == DType::kString || dtype_storage_bytes(v->type.dtype, count) > limit) return nullptr;
  std::vector<EvalValue> operands;
  for (const Value* o : n->operands) {
    TensorDataPtr t = evaluate_constant(o, limit);
    if (!t) return nullptr;
    operands.push_back({std::move(t), nullptr});
  }
  Result<std::vector<EvalValue>> out =
      evaluate_node(*n, operands, [](const std::string&) { return std::nullopt; });
  return out.ok() ? (*out)[0].tensor : nullptr;
}

bool is_number(const scalar::ScalarValue& v, double number) {
  return is_float(v.dtype) ? v.f == number : !is_complex(v.dtype) && v.i == static_cast<int64_t>(number);
}

}  // namespace tern::graph
