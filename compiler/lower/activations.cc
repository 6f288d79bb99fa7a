// ElementEmitter's functions that are added to 1: sigmoid, SiLU, GELU.
#include <algorithm>
#include <cmath>

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/wide_arithmetic.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using kernel::Expr;
using kernel::ScalarOp;

bool is_splat(const Value* v, double wanted, double error = 0) {
  const auto splat = LoweringContext::splat(v);
  return splat && std::abs(splat->f - wanted) <= error;
}

}  // namespace

const Node* ElementEmitter::only_for_reader(const Value* value, ScalarOp op) const {
  const Region& region = dispatch_.region();
  const Node* n = value->def;
  if (!n || !region.contains(n) || n->kind != OpKind::kMap || n->scalar_op() != op || bound_.contains(value))
    return nullptr;
  int64_t readers = std::count(region.outputs.begin(), region.outputs.end(), value);
  for (const Node* m : region.nodes) readers += std::count(m->operands.begin(), m->operands.end(), value);
  return readers == 1 ? n : nullptr;
}

// x where `value` is 1 + erf(x / sqrt(2)), else null.
const Value* ElementEmitter::normal_argument(const Value* value) const {
  const Node* sum = only_for_reader(value, ScalarOp::kAdd);
  for (size_t side = 0; sum && side < 2; ++side) {
    const Node* erf = only_for_reader(sum->operand(side), ScalarOp::kErf);
    const Node* scaled = erf ? only_for_reader(erf->operand(), ScalarOp::kMul) : nullptr;
    if (!scaled || !is_splat(sum->operand(1 - side), 1.0)) continue;
    for (size_t k : {0u, 1u}) {
      if (is_splat(scaled->operand(k), std::sqrt(0.5), half_unit(value->type.dtype)))
        return scaled->operand(1 - k);
    }
  }
  return nullptr;
}

// A product of 1/2, 1 + erf(x / sqrt(2)) and more (x, as a rule), in any order.
Expr ElementEmitter::gelu(const Node& node, const Index& index) {
  constexpr size_t kMost = 4;
  std::vector<const Value*> factors{node.operand(0), node.operand(1)};
  for (size_t k = 0; k < factors.size() && factors.size() < kMost;) {
    const Node* product = only_for_reader(factors[k], ScalarOp::kMul);
    if (product) {
      factors[k] = product->operand(0);
      factors.push_back(product->operand(1));
    } else {
      ++k;
    }
  }
  const auto half = std::find_if(factors.begin(), factors.end(), [](auto v) { return is_splat(v, 0.5); });
  if (half == factors.end()) return nullptr;
  factors.erase(half);
  const auto sum = std::find_if(factors.begin(), factors.end(), [&](auto v) { return normal_argument(v); });
  if (sum == factors.end()) return nullptr;
  const Value* x = normal_argument(*sum);
  factors.erase(sum);
  const auto again = std::find(factors.begin(), factors.end(), x);
  const bool whole = again != factors.end();
  if (whole) factors.erase(again);
  Expr out = kernel::intrinsic(whole ? kernel::Intrinsic::kGelu : kernel::Intrinsic::kNormalCdf,
                               {unrounded(element(x, index))}, {DType::kF32, 1});
  for (const Value* v : factors) out = kernel::op(ScalarOp::kMul, {unrounded(element(v, index)), out});
  return kernel::cast(out, node.result()->type.dtype);
}

Expr ElementEmitter::activation(const Node& node, const Index& index) {
  const bool sum = node.scalar_op() == ScalarOp::kAdd;
  const Arch arch = dispatch_.context().target().arch;
  const DType type = node.result()->type.dtype;
  if (is_gpu(arch) || (type != DType::kF32 && !is_computed_wide(type, arch)) ||
      (!sum && node.scalar_op() != ScalarOp::kMul))
    return nullptr;
  const auto one_more = [&](const Value* value) -> Expr {  // than what a function gives
    const auto call = [](kernel::Intrinsic f, Expr x) {
      return kernel::intrinsic(f, {std::move(x)}, {DType::kF32, 1});
    };
    if (const Node* n = only_for_reader(value, ScalarOp::kExp)) {
      const Node* less = only_for_reader(n->operand(), ScalarOp::kNeg);
      return call(kernel::Intrinsic::kLogisticDivisor,
                  less ? unrounded(element(less->operand(), index))
                       : kernel::op(ScalarOp::kNeg, {unrounded(element(n->operand(), index))}));
    }
    if (const Node* n = only_for_reader(value, ScalarOp::kErf))
      return call(kernel::Intrinsic::kErfPlusOne, unrounded(element(n->operand(), index)));
    const Node* n = only_for_reader(value, ScalarOp::kTanh);
    if (!n) return nullptr;
    const Expr x = unrounded(element(n->operand(), index));
    return kernel::op(ScalarOp::kDiv, {kernel::float_const(2.0), call(kernel::Intrinsic::kLogisticDivisor,
                                                                      kernel::op(ScalarOp::kAdd, {x, x}))});
  };
  if (!sum) {
    if (Expr e = gelu(node, index)) return e;
  }
  for (size_t side : {0u, 1u}) {
    const Value *value = node.operand(side), *other = node.operand(1 - side);
    if (sum) {
      if (!is_splat(other, 1.0)) continue;
      if (Expr e = one_more(value)) return kernel::cast(e, type);
      continue;
    }
    const Node* quotient = only_for_reader(value, ScalarOp::kDiv);
    if (!quotient || !is_splat(quotient->operand(), 1.0)) continue;
    const Node* below = only_for_reader(quotient->operand(1), ScalarOp::kAdd);
    if (below && (only_for_reader(below->operand(), ScalarOp::kExp) ||
                  only_for_reader(below->operand(1), ScalarOp::kExp)))
      return kernel::cast(kernel::op(ScalarOp::kDiv, {unrounded(element(other, index)),
                                                      unrounded(element(below->result(), index))}),
                          type);
  }
  return nullptr;
}

}  // namespace tern::lower
