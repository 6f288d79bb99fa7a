#include "compiler/onnx/common.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace tern::onnx {

Value* sigmoid(Emit& b, Value* x) {
  Value* power = b.unary(ScalarOp::kExp, b.unary(ScalarOp::kNeg, x));
  return b.div(b.like(x, 1), b.add(power, 1.0));
}

Value* hard_sigmoid(Emit& b, Value* x, double alpha, double beta) {
  Value* line = b.add(b.mul(x, alpha), beta);
  return b.min(b.max(line, b.like(x, 0)), b.like(x, 1));
}

Value* softplus(Emit& b, Value* x) {
  // max(x, 0) + log(1 + exp(-|x|)): no overflow.
  Value* power = b.unary(ScalarOp::kExp, b.unary(ScalarOp::kNeg, b.unary(ScalarOp::kAbs, x)));
  return b.add(b.max(x, b.like(x, 0)), b.unary(ScalarOp::kLog1p, power));
}

Value* softsign(Emit& b, Value* x) {
  return b.div(x, b.add(b.unary(ScalarOp::kAbs, x), 1.0));
}

Value* leaky_relu(Emit& b, Value* x, double alpha) {
  Value* slope = b.mul(x, alpha);
  return b.select(b.compare(ScalarOp::kLt, x, 0.0), slope, x);
}

Value* elu(Emit& b, Value* x, double alpha) {
  Value* low = b.mul(b.unary(ScalarOp::kExpm1, x), alpha);
  return b.select(b.compare(ScalarOp::kLt, x, 0.0), low, x);
}

Value* thresholded_relu(Emit& b, Value* x, double alpha) {
  return b.select(b.compare(ScalarOp::kGt, x, alpha), x, b.like(x, 0));
}

Value* gelu(Emit& b, Value* x) {
  Value* error = b.unary(ScalarOp::kErf, b.mul(x, std::sqrt(0.5)));
  return b.mul(b.mul(x, 0.5), b.add(error, 1.0));
}

Value* gelu_tanh(Emit& b, Value* x) {
  Value* cubic = b.mul(b.mul(b.mul(x, x), x), 0.044715);
  Value* inner = b.mul(b.add(x, cubic), std::sqrt(2.0 / std::numbers::pi));
  return b.mul(b.mul(x, 0.5), b.add(b.unary(ScalarOp::kTanh, inner), 1.0));
}

Value* log_softmax(Emit& b, Value* x, const std::vector<int64_t>& axes) {
  Value* scores = b.wide(x);
  Value* shifted = b.sub(scores, b.reduce(ScalarOp::kMax, scores, axes, true));
  Value* sum = b.reduce(ScalarOp::kAdd, b.unary(ScalarOp::kExp, shifted), axes, true);
  return b.cast(b.sub(shifted, b.unary(ScalarOp::kLog, sum)), x->type.dtype);
}

Normalised normalise(Emit& b, Value* x, const std::vector<int64_t>& axes, double epsilon, bool centre) {
  DType type = x->type.dtype;
  DType wide = dtype_bits(type) < 32 ? DType::kF32 : type;
  Value* wide_x = b.cast(x, wide);
  Value* mean = centre ? b.mean(wide_x, axes, true) : nullptr;
  Value* centred = centre ? b.sub(wide_x, mean) : wide_x;
  Value* variance = b.mean(b.mul(centred, centred), axes, true);
  Value* deviation = b.unary(ScalarOp::kSqrt, b.add(variance, epsilon));
  Value* inverse = b.div(b.like(deviation, 1), deviation);
  return {b.cast(b.mul(centred, inverse), type), mean, inverse};
}

Value* matmul(Emit& b, Value* x, Value* y, DType accumulate) {
  int64_t x_rank = x->type.rank(), y_rank = y->type.rank();
  if (x_rank == 0 || y_rank == 0)
    fail("A matrix product's operands ({}, {}) have at least one dimension.", x->type.text(), y->type.text());
  Value* left = x_rank == 1 ? b.unsqueeze(x, {0}) : x;
  Value* right = y_rank == 1 ? b.unsqueeze(y, {1}) : y;
  int64_t rank = std::max(left->type.rank(), right->type.rank());
  // [.., M, K] x [K, N]: the rows of all batches are one matrix's.
  const Shape rows = dimensions(left, 0, -1);
  bool joined = right->type.rank() == 2 && left->type.rank() > 2;
  if (joined) {
    const Dim inner = last_dimension(left);
    left = b.reshape(left, {product(rows), inner});
  } else {
    auto lift = [&](Value* v) {
      Shape shape(static_cast<size_t>(rank - v->type.rank()), Dim(1));
      shape.append(v->type.shape);
      return b.reshape(v, shape);
    };
    left = lift(left);
    right = lift(right);
  }
  Value* result = b.dot(left, right, accumulate);
  if (joined) {
    Shape shape = rows;
    shape.push_back(last_dimension(result));
    result = b.reshape(result, shape);
  }
  std::vector<int64_t> drop;
  int64_t result_rank = result->type.rank();
  if (x_rank == 1) drop.push_back(result_rank - 2);
  if (y_rank == 1) drop.push_back(result_rank - 1);
  return drop.empty() ? result : b.squeeze(result, drop);
}

Value* fitted(Emit& b, Value* v, const char* what, const Shape& shape) {
  bool fits = v->type.shape.size() == shape.size();
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = !shape[i].is_const() || !dimension(v, i).is_const() || dimension(v, i) == shape[i];
  if (!fits) fail("The {} ({}) should be [{}].", what, v->type.text(), shape_text(shape));
  return b.adapt(v, shape);
}

Value* flatten(Emit& b, Value* x, int64_t axis) {
  return b.reshape(x, {product(dimensions(x, 0, axis)), product(dimensions(x, axis))});
}

Value* row_numbers(Emit& b, int64_t rank, int64_t n) {
  Shape column(static_cast<size_t>(rank), Dim(1));
  column[static_cast<size_t>(rank) - 2] = Dim(n);
  return b.reshape(b.iota({Dim(n)}, 0, DType::kI64), column);
}

Value* column_of(Emit& b, Value* matrices, int64_t i) {
  return b.slice_axis(matrices, matrices->type.rank() - 1, Dim(i), Dim(1));
}

Pivot take_pivot(Emit& b, Value* matrices, Value* numbers, int64_t i) {
  const int64_t rows = matrices->type.rank() - 2;
  Value* candidates = b.compare(ScalarOp::kGe, numbers, b.i64(i));
  Value* size = b.unary(ScalarOp::kAbs, column_of(b, matrices, i));
  size = b.select(candidates, size, b.like(size, -1));
  Value* best = b.emit(OpKind::kArgReduce, {size},
                       {{"largest", true}, {"axis", rows}, {"last", false}, {"dtype", DType::kI64}});
  best = b.unsqueeze(best, {rows});
  Value* is_best = b.compare(ScalarOp::kEq, numbers, best);
  Value* row = b.reduce(ScalarOp::kAdd, b.select(is_best, matrices, b.like(matrices, 0)), {rows}, true);
  return {b.select(is_best, b.slice_axis(matrices, rows, Dim(i), Dim(1)), matrices), row, best};
}

Value* true_positions(Emit& b, Value* condition) {
  Value* positions = b.emit_node(OpKind::kNonZero, {condition}, {})->result(0);
  return b.reshape(positions, {dimension(positions, 1)});
}

Dim divide_products(const Shape& a, const Shape& b) {
  Shape above, below;
  int64_t top = 1, bottom = 1;
  auto collect = [](const Shape& from, Shape& factors, int64_t& constant) {
    auto add = [&](const Dim& d) {
      if (d.is_const()) {
        if (__builtin_mul_overflow(constant, d.value(), &constant))
          fail("A product of dimensions overflows.");
      } else {
        factors.push_back(d);
      }
    };
    for (const Dim& d : from) {
      if (d.op() == Dim::Op::kMul) {
        for (const Dim& part : d.args()) add(part);
      } else {
        add(d);
      }
    }
  };
  collect(a, above, top);
  collect(b, below, bottom);
  for (auto d = below.begin(); d != below.end();) {
    auto same = std::find(above.begin(), above.end(), *d);
    if (same == above.end()) {
      ++d;
      continue;
    }
    above.erase(same);
    d = below.erase(d);
  }
  int64_t common = std::gcd(top, bottom);
  if (common > 1) {
    top /= common;
    bottom /= common;
  }
  Dim numerator = product(above) * Dim(top), denominator = product(below) * Dim(bottom);
  if (denominator.is_const(1)) return numerator;
  if (denominator.is_const(0)) return Dim(0);
  return floordiv(numerator, denominator);
}

Value* as_i64(Emit& b, Value* v) {
  Value* wide = b.cast(v, DType::kI64);
  return wide->type.rank() == 1 ? wide : b.reshape(wide, {product(wide->type.shape)});
}

std::vector<int64_t> axis_to_front(int64_t rank, int64_t axis) {
  std::vector<int64_t> perm = {axis};
  for (int64_t a = 0; a < rank; ++a)
    if (a != axis) perm.push_back(a);
  return perm;
}

std::vector<int64_t> axis_to_end(int64_t rank, int64_t axis, bool back) {
  std::vector<int64_t> perm, inverse(static_cast<size_t>(rank));
  for (int64_t a = 0; a < rank; ++a)
    if (a != axis) perm.push_back(a);
  perm.push_back(axis);
  for (size_t i = 0; i < perm.size(); ++i) inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return back ? inverse : perm;
}

Value* element(Emit& b, Value* v, int64_t index) {
  Value* flat = v->type.rank() == 1 ? v : b.reshape(v, {product(v->type.shape)});
  return b.reshape(b.slice_axis(flat, 0, Dim(index), Dim(1)), {});
}

std::vector<Value*> make_if(Emit& b, Value* condition,
                            const std::function<std::vector<Value*>(Emit&)>& then_branch,
                            const std::function<std::vector<Value*>(Emit&)>& else_branch) {
  if (auto known = b.known_ints(condition)) return (*known)[0] != 0 ? then_branch(b) : else_branch(b);
  std::vector<std::unique_ptr<Block>> regions;
  for (const auto* branch : {&then_branch, &else_branch}) {
    auto block = std::make_unique<Block>();
    Emit inner(b, *block);
    block->results = (*branch)(inner);
    regions.push_back(std::move(block));
  }
  return finish_if(b, condition, std::move(regions));
}

std::vector<Value*> switch_over(Emit& b, Value* selector, const std::vector<SwitchCase>& cases, size_t from) {
  if (cases.empty()) fail("No value of the run-time axes fits the shapes.");
  if (from + 1 >= cases.size()) return cases[from].build(b);
  Value* same = b.compare(ScalarOp::kEq, selector, b.i64s(cases[from].key));
  Value* all = b.reduce(ScalarOp::kAnd, same, {0});
  return make_if(b, all, cases[from].build,
                 [&](Emit& inner) { return switch_over(inner, selector, cases, from + 1); });
}

}  // namespace tern::onnx
