// reduce, reduce_window.
#include <algorithm>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/simplify_rules.h"

namespace tern::graph {
namespace {

std::vector<bool> axis_flags(const std::vector<int64_t>& axes, int rank) {
  std::vector<bool> flags(static_cast<size_t>(rank));
  for (const int64_t a : axes) flags[static_cast<size_t>(a)] = true;
  return flags;
}

// reduce(reduce(x)) with one op: the axes of both, as x numbers them.
Value* merge_reduces(const Node& n, const Node& inner, Builder& b) {
  Value* x = inner.operand();
  const std::vector<bool> gone = axis_flags(inner.ints("axes"), x->type.rank());
  const std::vector<bool> outer = axis_flags(n.ints("axes"), n.operand()->type.rank());
  std::vector<int64_t> axes;
  size_t kept = 0;
  for (size_t i = 0; i < gone.size(); ++i)
    if (gone[i] || outer[kept++]) axes.push_back(static_cast<int64_t>(i));
  return b.reduce(n.scalar_op(), x, std::move(axes));
}

// reduce(transpose(x)): reduces x itself; what is left is transposed if its order differs. Not where others
// read the transposed value, too: a norm's sums would have another shape than its elements then, and be a
// region of their own.
Value* reduce_of_transpose(const Node& n, const Node& transpose, Builder& b) {
  Value* x = transpose.operand();
  const std::vector<int64_t>& perm = transpose.ints("perm");
  const std::vector<bool> gone = axis_flags(n.ints("axes"), x->type.rank());
  std::vector<int64_t> axes, kept;
  for (size_t i = 0; i < perm.size(); ++i) (gone[i] ? axes : kept).push_back(perm[i]);
  Value* out = b.reduce(n.scalar_op(), x, std::move(axes));
  std::vector<int64_t> order = kept, result_perm;
  std::sort(order.begin(), order.end());
  for (const int64_t k : kept)
    result_perm.push_back(std::find(order.begin(), order.end(), k) - order.begin());
  return b.transpose(out, std::move(result_perm));
}

bool only_reduced(const Value* v, const SimplifyContext& context) {
  const auto users = context.uses.find(v);
  return users != context.uses.end() &&
         std::all_of(users->second.begin(), users->second.end(),
                     [](const auto& use) { return use.node && use.node->kind == OpKind::kReduce; });
}

}  // namespace

Value* simplify_reduce(Node& n, Builder& b, const SimplifyContext& context) {
  Value* x = n.operand();
  const std::vector<int64_t>& axes = n.ints("axes");
  // Axes of size 1 fold nothing.
  std::vector<int64_t> real;
  Shape squeezed;
  const std::vector<bool> gone = axis_flags(axes, x->type.rank());
  for (size_t i = 0; i < gone.size(); ++i) {
    if (gone[i] && x->type.shape[i] == Dim(1)) continue;
    if (gone[i]) real.push_back(static_cast<int64_t>(squeezed.size()));
    squeezed.push_back(x->type.shape[i]);
  }
  if (axes.empty()) return x;
  if (real.empty()) return b.reshape(x, n.result()->type.shape);
  if (real.size() != axes.size()) return b.reduce(n.scalar_op(), b.reshape(x, squeezed), std::move(real));
  const Node* inner = def_of(x, OpKind::kReduce);
  if (inner && inner->scalar_op() == n.scalar_op()) return merge_reduces(n, *inner, b);
  const Node* transpose = def_of(x, OpKind::kTranspose);
  if (transpose && only_reduced(x, context)) return reduce_of_transpose(n, *transpose, b);
  return nullptr;
}

Value* simplify_window(Node& n, Builder& b) {
  Value* x = n.operand();
  const auto all = [&](std::string_view name, int64_t v) {
    return std::all_of(n.ints(name).begin(), n.ints(name).end(), [&](int64_t i) { return i == v; });
  };
  const DType to = n.result()->type.dtype;  // a wider one, if the window's sums are to be
  if (all("window", 1) && all("strides", 1) && all("low", 0) && all("high", 0)) return b.cast(x, to);
  // The window is the whole axis: a reduction.
  if (all("low", 0) && all("high", 0) && all("dilations", 1)) {
    std::vector<int64_t> axes;
    bool whole = true;
    for (size_t i = 0; i < x->type.shape.size(); ++i) {
      const int64_t w = n.ints("window")[i];
      if (w == 1 && n.ints("strides")[i] == 1) continue;
      whole &= x->type.shape[i].is_const(w);
      axes.push_back(static_cast<int64_t>(i));
    }
    if (whole && !axes.empty()) return b.reduce(n.scalar_op(), b.cast(x, to), std::move(axes), true);
  }
  // Padding with the identity moves into the window op.
  const Node* pad = def_of(x, OpKind::kPad);
  if (!pad || pad->str("mode") != "constant") return nullptr;
  const auto fill = splat_of(pad->operand(1));
  const scalar::ScalarOp op = n.scalar_op();
  if (!fill || !is_float(fill->dtype)) return nullptr;
  const bool identity = (op == scalar::ScalarOp::kAdd && fill->f == 0) ||
                        (op == scalar::ScalarOp::kMax && fill->f == scalar::lowest(fill->dtype).f) ||
                        (op == scalar::ScalarOp::kMin && fill->f == scalar::highest(fill->dtype).f);
  if (!identity) return nullptr;
  std::vector<int64_t> low = n.ints("low"), high = n.ints("high");
  for (size_t i = 0; i < low.size(); ++i) {
    const Dim &l = pad->dims("low")[i], &h = pad->dims("high")[i];
    if (!l.is_const() || !h.is_const() || l.value() < 0 || h.value() < 0 || low[i] < 0 || high[i] < 0)
      return nullptr;
    low[i] += l.value();
    high[i] += h.value();
  }
  auto attrs = n.attrs;
  for (auto& [key, value] : attrs) {
    if (key == "low") value = low;
    if (key == "high") value = high;
  }
  return b.node(OpKind::kReduceWindow, {pad->operand(0)}, std::move(attrs))->result();
}

}  // namespace tern::graph
