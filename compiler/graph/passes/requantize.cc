#include "compiler/graph/passes/requantize.h"

#include <algorithm>
#include <cmath>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/quantised.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

constexpr int kMaxDepth = 24;

const Node* map_of(const Value* v, ScalarOp op) {
  const Node* n = def_of(v, OpKind::kMap);
  return n && n->scalar_op() == op ? n : nullptr;
}

bool is_integer_cast(const Value* v) {
  const Node* n = def_of(v, OpKind::kCast);
  return n && v->type.dtype == DType::kF32 && is_int(n->operand()->type.dtype);
}

// round(scaled), + zero, bounded: what stands in front of a quantisation's cast.
struct Quantisation {
  double low = 0, high = 0, zero = 0;
  Node* round = nullptr;
};

std::optional<Quantisation> quantisation(Value* v) {
  const Node* bounds[2] = {};
  Quantisation q;
  for (const Node*& bound : bounds) {
    const Node* n = def_of(v, OpKind::kMap);
    if (!n || (n->scalar_op() != ScalarOp::kMax && n->scalar_op() != ScalarOp::kMin)) return std::nullopt;
    const auto c = splat_of(n->operand(1));
    if (!c || !is_float(c->dtype)) return std::nullopt;
    (n->scalar_op() == ScalarOp::kMax ? q.low : q.high) = c->f;
    bound = n;
    v = n->operand(0);
  }
  if (bounds[0]->scalar_op() == bounds[1]->scalar_op() || q.low > q.high) return std::nullopt;
  if (const Node* n = map_of(v, ScalarOp::kAdd)) {
    const auto c = splat_of(n->operand(1));
    if (!c) return std::nullopt;
    q.zero = c->f;
    v = n->operand(0);
  }
  if (!map_of(v, ScalarOp::kRoundEven)) return std::nullopt;
  q.round = v->def;
  return q;
}

class Requantizer {
 public:
  explicit Requantizer(Graph& graph) : uses_(compute_uses(graph)) {}

  std::optional<std::vector<Value*>> rewrite(Node& n, Builder& b) {
    if (n.kind == OpKind::kCast) {
      Value* before = undo(n, b);
      return replace_with(before ? before : part_by_part(n, b));
    }
    if (n.kind != OpKind::kMap) return std::nullopt;
    switch (n.scalar_op()) {
      case ScalarOp::kAdd:
        return replace_with(bias(n, b));
      case ScalarOp::kRoundEven:
        return replace_with(divide(n, b));
      case ScalarOp::kMax:
      case ScalarOp::kMin:
        return replace_with(drop_bound(n, b));
      default:
        return std::nullopt;
    }
  }

 private:
  bool used_once(const Value* v) const {
    const auto it = uses_.find(v);
    return it != uses_.end() && it->second.size() == 1;
  }

  // ---- Biases

  Value* bias(const Node& n, Builder& b) {
    for (int side : {0, 1}) {
      const Node* product = map_of(n.operand(side), ScalarOp::kMul);
      if (!product || !used_once(n.operand(side))) continue;
      Value* sums = product->operand(0);
      if (!is_integer_cast(sums) || sums->def->operand()->type.dtype != DType::kI32) continue;
      const auto scale = constant_parameter(product->operand(1)),
                 added = constant_parameter(n.operand(1 - side));
      if (!scale || !added || (!scale->is_scalar() && !added->is_scalar() && scale->axis != added->axis))
        continue;
      const size_t count = std::max(scale->known.size(), added->known.size());
      std::vector<double> steps(count);
      bool whole = true;
      for (size_t i = 0; i < count && whole; ++i) {
        const auto c = static_cast<float>(scale->at(i, 1)), offset = static_cast<float>(added->at(i, 0));
        steps[i] = std::nearbyint(static_cast<double>(offset) / static_cast<double>(c));
        whole = std::fabs(steps[i]) < 1073741824.0;
        // The bias is a multiple of the scale, up to its own rounding.
        const double back = steps[i] * static_cast<double>(c);
        whole = whole && std::fabs(back - static_cast<double>(offset)) <= std::fabs(back) * 1.2e-7;
      }
      if (!whole) continue;
      const int axis = scale->is_scalar() ? added->axis : scale->axis;
      Value* moved = b.cast(plus(sums->def->operand(), steps, count == 1 ? -1 : axis, b), DType::kF32);
      return b.map(ScalarOp::kMul, {moved, product->operand(1)});
    }
    return nullptr;
  }

  // x + entries, one addition with a constant that x ends with.
  static Value* plus(Value* x, std::vector<double> entries, int axis, Builder& b) {
    if (const Node* n = map_of(x, ScalarOp::kAdd)) {
      const auto before = constant_parameter(n->operand(1));
      if (before && (axis < 0 || before->is_scalar() || before->axis == axis)) {
        const size_t count = std::max(entries.size(), before->known.size());
        std::vector<double> both(count);
        for (size_t i = 0; i < count; ++i) both[i] = before->at(i, 0) + entries[entries.size() == 1 ? 0 : i];
        axis = axis < 0 ? before->axis : axis;
        entries = std::move(both);
        x = n->operand(0);
      }
    }
    return b.add(x, along_axis(entries, DType::kI32, x->type.rank(), entries.size() == 1 ? -1 : axis, b));
  }

  // ---- Scales

  bool can_scale(Value* v, int depth = 0) const {
    if (depth > kMaxDepth) return false;
    if (is_integer_cast(v)) return true;
    if (depth > 0 && constant_parameter(v)) return true;
    if (is_moved(v)) return used_once(v) && can_scale(v->def->operand(), depth + 1);
    const Node* n = def_of(v, OpKind::kMap);
    if (!n || n->operands.size() != 2) return false;
    const bool product = n->scalar_op() == ScalarOp::kMul || n->scalar_op() == ScalarOp::kDiv;
    // A dequantisation may be done again for each reader: it reads memory anyway.
    if (product && is_integer_cast(n->operand(0)) && constant_parameter(n->operand(1))) {
      const Value* from = n->operand(0)->def->operand();
      const bool sum = from->type.dtype == DType::kI32 && !is_widened(from);
      return !sum || used_once(v);
    }
    if (!used_once(v)) return false;
    switch (n->scalar_op()) {
      case ScalarOp::kMul:
      case ScalarOp::kDiv:
        return constant_parameter(n->operand(1)).has_value();
      case ScalarOp::kAdd:
      case ScalarOp::kSub:
        return can_scale(n->operand(0), depth + 1) && can_scale(n->operand(1), depth + 1);
      case ScalarOp::kMax:
      case ScalarOp::kMin:
        return splat_of(n->operand(1)) && can_scale(n->operand(0), depth + 1);
      default:
        return false;
    }
  }
  static bool is_moved(const Value* v) {
    return v->def && (v->def->kind == OpKind::kReshape || v->def->kind == OpKind::kTranspose);
  }
  // Whether an i32 value is an 8-bit one less its zero point.
  static bool is_widened(const Value* v) {
    if (const Node* n = map_of(v, ScalarOp::kSub)) v = n->operand(0);
    const Node* n = def_of(v, OpKind::kCast);
    return n && dtype_bits(n->operand()->type.dtype) <= 8;
  }

  Value* times(const QuantParameter& c, double factor, int rank, Builder& b) {
    std::vector<double> entries = c.known;
    for (double& x : entries) x *= factor;
    return along_axis(entries, DType::kF32, rank, c.axis, b);
  }

  Value* scaled(Value* v, double factor, Builder& b) {
    const int rank = v->type.rank();
    if (is_integer_cast(v)) return b.mul(v, along_axis({factor}, DType::kF32, 0, -1, b));
    if (const auto c = constant_parameter(v)) return times(*c, factor, rank, b);
    const Node* n = v->def;
    if (is_moved(v)) return b.node(n->kind, {scaled(n->operand(), factor, b)}, n->attrs)->result();
    Value *x = n->operand(0), *y = n->operand(1);
    switch (n->scalar_op()) {
      case ScalarOp::kMul:
        return b.mul(x, times(*constant_parameter(y), factor, rank, b));
      case ScalarOp::kDiv: {
        QuantParameter c = *constant_parameter(y);
        for (double& entry : c.known) entry = 1 / entry;
        return b.mul(x, times(c, factor, rank, b));
      }
      case ScalarOp::kAdd:
        return b.add(scaled(x, factor, b), scaled(y, factor, b));
      case ScalarOp::kSub:
        return b.sub(scaled(x, factor, b), scaled(y, factor, b));
      default:
        return b.map(n->scalar_op(), {scaled(x, factor, b), b.like(x, splat_of(y)->f * factor)});
    }
  }

  Value* divide(const Node& n, Builder& b) {
    if (n.result()->type.dtype != DType::kF32) return nullptr;
    const Node* scale = def_of(n.operand(), OpKind::kMap);
    if (!scale || !used_once(n.operand())) return nullptr;
    const bool div = scale->scalar_op() == ScalarOp::kDiv;
    if (!div && scale->scalar_op() != ScalarOp::kMul) return nullptr;
    const auto c = splat_of(scale->operand(1));
    Value* x = scale->operand(0);
    if (!c || !(c->f > 0) || !std::isnormal(c->f) || !can_scale(x)) return nullptr;
    if (!div && is_integer_cast(x)) return nullptr;  // one multiplication already
    return b.map(ScalarOp::kRoundEven, {scaled(x, div ? 1 / c->f : c->f, b)});
  }

  // ---- Bounds

  Value* drop_bound(const Node& n, Builder& b) {
    const auto q = quantisation(n.result());
    if (!q) return nullptr;
    const Node* inner = def_of(q->round->operand(), OpKind::kMap);
    if (!inner || inner->operands.size() != 2) return nullptr;
    const auto c = splat_of(inner->operand(1));
    if (!c) return nullptr;
    const double step = std::nearbyint(c->f) + q->zero;
    const bool implied = (inner->scalar_op() == ScalarOp::kMax && step <= q->low) ||
                         (inner->scalar_op() == ScalarOp::kMin && step >= q->high);
    if (!implied) return nullptr;
    Value* x = b.map(ScalarOp::kRoundEven, {inner->operand(0)});
    if (q->zero != 0) x = b.add(x, b.like(x, q->zero));
    return b.map(ScalarOp::kMax, {b.map(ScalarOp::kMin, {x, b.like(x, q->high)}), b.like(x, q->low)});
  }

  // ---- Quantising what was dequantised

  Value* undo(const Node& n, Builder& b) {
    if (n.result()->type.dtype != DType::kU8) return nullptr;
    const auto q = quantisation(n.operand());
    if (!q || q->low != 0 || q->high != 255) return nullptr;
    Value* x = q->round->operand();
    double divisor = 1;
    if (const Node* div = map_of(x, ScalarOp::kDiv)) {
      const auto c = splat_of(div->operand(1));
      if (!c) return nullptr;
      divisor = c->f;
      x = div->operand(0);
    }
    std::optional<Quantised> from = quantised(x, b);
    if (!from && is_integer_cast(x)) from = quantised(x->def->operand(), b);
    if (!from || from->q->type.dtype != DType::kU8) return nullptr;
    if (!from->scale.is_scalar() || !from->zero.is_scalar() || from->scale.dynamic || from->zero.dynamic)
      return nullptr;
    const bool same = std::fabs(from->scale.at(0, 1) / divisor - 1) < 1e-5 && from->zero.at(0, 0) == q->zero;
    return same ? from->q : nullptr;
  }

  // ---- Quantising what was joined

  // A concatenation that only a quantisation reads becomes one of quantised parts: its floats were stored,
  // four bytes each, to be read once. What makes a part quantises it now, and a part that was dequantised in
  // the same scale is its bytes.
  Value* part_by_part(const Node& n, Builder& b) {
    if (n.result()->type.dtype != DType::kU8 || !quantisation(n.operand())) return nullptr;
    std::vector<const Node*> maps, views;  // from the last to the first
    Value* v = n.operand();
    for (; used_once(v); v = v->def->operand(0)) {
      const bool steps = v->def && v->def->kind == OpKind::kMap && v->def->operands.size() <= 2 &&
                         (v->def->operands.size() == 1 || splat_of(v->def->operand(1)));
      if (!steps && !is_moved(v)) break;
      (steps ? maps : views).push_back(v->def);
    }
    const Node* joined = def_of(v, OpKind::kConcat);
    if (!joined || !used_once(v) || v->type.dtype != DType::kF32) return nullptr;
    std::vector<Value*> parts;
    for (Value* part : joined->operands) {
      for (auto step = maps.rbegin(); step != maps.rend(); ++step) {
        std::vector<Value*> operands = {part};
        if ((*step)->operands.size() == 2) operands.push_back(b.like(part, splat_of((*step)->operand(1))->f));
        part = b.map((*step)->scalar_op(), std::move(operands));
      }
      parts.push_back(b.node(OpKind::kCast, {part}, n.attrs)->result());
    }
    Value* whole = b.node(OpKind::kConcat, std::move(parts), joined->attrs)->result();
    for (auto view = views.rbegin(); view != views.rend(); ++view)
      whole = b.node((*view)->kind, {whole}, (*view)->attrs)->result();
    return whole;
  }

  UseMap uses_;
};

}  // namespace

bool requantize(Graph& graph) {
  Requantizer requantizer(graph);
  return Rewriter(graph, [&](Node& n, Builder& b) { return requantizer.rewrite(n, b); }).run();
}

}  // namespace tern::graph
