#include "compiler/graph/eval.h"

namespace tern::graph {
namespace {

using List = std::vector<EvalValue>;

EvalValue make_list(List items) {
  return {nullptr, std::make_shared<List>(std::move(items))};
}

TensorDataPtr scalar_tensor(DType dtype, int64_t v) {
  auto t = TensorData::make(dtype, {});
  t->set_int(0, v);
  return t;
}

// Position `operand` in a list of `size`; negative counts from the end. `room`: 1 where one past the end is
// allowed.
Result<size_t> position(const Node& node, const EvalValue& v, size_t size, int64_t room) {
  const int64_t n = static_cast<int64_t>(size), at = v.tensor->int_at(0);
  if (at < -n || at >= n + room)
    return error("The position {} of '{}' lies outside [{}, {}).", at, info(node.kind).name, -n, n + room);
  return static_cast<size_t>(at < 0 ? at + n : at);
}

}  // namespace

Result<std::vector<EvalValue>> eval_sequence(const Node& node, const std::vector<EvalValue>& operands) {
  const auto single = [](EvalValue v) { return std::vector<EvalValue>{std::move(v)}; };
  switch (node.kind) {
    case OpKind::kSeqConstruct:
    case OpKind::kOptConstruct:
      return single(make_list(operands));
    case OpKind::kSeqLength:
      return single({scalar_tensor(DType::kI64, static_cast<int64_t>(operands[0].list->size())), nullptr});
    case OpKind::kOptHas:
      return single({scalar_tensor(DType::kBool, !operands[0].list->empty()), nullptr});
    case OpKind::kOptGet:
      if (operands[0].list->empty()) return error("'opt_get' reads an empty optional.");
      return single((*operands[0].list)[0]);
    case OpKind::kSeqAt: {
      TERN_ASSIGN(const size_t at, position(node, operands[1], operands[0].list->size(), 0));
      return single((*operands[0].list)[at]);
    }
    case OpKind::kSeqInsert: {
      List items = *operands[0].list;
      size_t at = items.size();
      if (operands.size() > 2) {
        TERN_ASSIGN(at, position(node, operands[2], items.size(), 1));
      }
      items.insert(items.begin() + static_cast<std::ptrdiff_t>(at), operands[1]);
      return single(make_list(std::move(items)));
    }
    case OpKind::kSeqErase: {
      List items = *operands[0].list;
      if (items.empty()) return error("'seq_erase' on an empty sequence.");
      size_t at = items.size() - 1;
      if (operands.size() > 1) {
        TERN_ASSIGN(at, position(node, operands[1], items.size(), 0));
      }
      items.erase(items.begin() + static_cast<std::ptrdiff_t>(at));
      return single(make_list(std::move(items)));
    }
    default:
      return error("'{}' has no evaluation.", info(node.kind).name);
  }
}

}  // namespace tern::graph
