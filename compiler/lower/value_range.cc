#include "compiler/lower/value_range.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "compiler/lower/context.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using scalar::ScalarOp;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Bounds beyond this are none: sums and products of two within it are exact in f64.
constexpr double kMost = 1099511627776.0;  // 2^40
constexpr int64_t kMostElements = 65536;   // of a constant that is looked through

// Of any number; NaN may come besides.
struct Range {
  double low = -kInfinity, high = kInfinity;
};

Range united(const Range& a, const Range& b) {
  return {std::min(a.low, b.low), std::max(a.high, b.high)};
}

// What an integer type can hold of it: beyond its ends integers wrap.
Range within(const Range& r, DType type) {
  const double most = type == DType::kI64 ? kMost : std::ldexp(1.0, std::min(dtype_bits(type), 32) - 1);
  const bool fits = r.high < most && r.low >= (is_signed_int(type) ? -most : 0);
  return fits ? r : Range{};
}

// The same numbers as a float type's: beyond its significant bits they are rounded, maybe past the range's
// ends.
Range exactly(const Range& r, DType type) {
  int bits = 0;
  if (type == DType::kF16) bits = 11;
  if (type == DType::kBF16) bits = 8;
  if (type == DType::kF32) bits = 24;
  if (type == DType::kF64) bits = 53;
  const double most = bits ? std::ldexp(1.0, bits) : 0;
  return r.low >= -most && r.high <= most ? r : Range{};
}

Range held(const Range& r, DType type) {
  return is_int(type) ? within(r, type) : is_float(type) ? exactly(r, type) : Range{};
}

class Ranges {
 public:
  Range of(const Value* v) {
    if (const auto known = known_.find(v); known != known_.end()) return known->second;
    known_[v] = {};  // a value that is carried around a loop
    const Range r = compute(v);
    known_[v] = r;
    return r;
  }

 private:
  Range compute(const Value* v) {
    if (const auto splat = LoweringContext::splat(v)) {
      if (!is_float(splat->dtype) && unreadable(splat->dtype, splat->i)) return {};
      const double x = is_float(splat->dtype) ? splat->f : static_cast<double>(splat->i);
      return std::isnan(x) ? Range{} : Range{x, x};
    }
    if (!v->def) return {};
    const Node& n = *v->def;
    switch (n.kind) {
      case OpKind::kConstant:
        return constant(*n.attr<TensorDataPtr>("value"));
      case OpKind::kReshape:
      case OpKind::kBroadcast:
      case OpKind::kTranspose:
      case OpKind::kSlice:
      case OpKind::kGather:  // what an index beyond the operand would give, nobody gets
      case OpKind::kGatherElements:
      case OpKind::kGatherNd:
        return of(n.operand());
      case OpKind::kConcat: {
        Range r = of(n.operand());
        for (const Value* part : n.operands) r = united(r, of(part));
        return r;
      }
      case OpKind::kIota: {
        const Dim& extent = v->type.shape[static_cast<size_t>(n.int_attr("axis"))];
        if (!extent.is_const()) return {};
        return held({0, std::max(0.0, static_cast<double>(extent.value() - 1))}, v->type.dtype);
      }
      case OpKind::kTopK:
      case OpKind::kArgReduce: {  // of the second result and the only one: positions along the axis
        const Dim& extent = n.operand()->type.shape[static_cast<size_t>(n.int_attr("axis"))];
        return is_int(v->type.dtype) && v == n.results.back() && extent.is_const() && extent.value() > 0
                   ? within({0, static_cast<double>(extent.value() - 1)}, v->type.dtype)
                   : Range{};
      }
      case OpKind::kCast:
        return cast(n, v->type.dtype);
      case OpKind::kMap:
        return map(n, v->type.dtype);
      default:
        return {};
    }
  }

  // Numbers of 64 bits without sign that are no i64's, and what has no order.
  static bool unreadable(DType type, int64_t value) {
    return is_complex(type) || (type == DType::kU64 && value < 0);
  }

  static Range constant(const TensorData& data) {
    if (!is_int(data.dtype()) || data.count() == 0 || data.count() > kMostElements) return {};
    Range r{kInfinity, -kInfinity};
    for (int64_t i = 0; i < data.count(); ++i) {
      if (unreadable(data.dtype(), data.int_at(i))) return {};
      const auto x = static_cast<double>(data.int_at(i));
      r = united(r, {x, x});
    }
    return r;
  }

  Range cast(const Node& n, DType to) {
    const DType from = n.operand()->type.dtype;
    const Range r = of(n.operand());
    if (!is_int(to)) return is_int(from) && is_float(to) ? exactly(r, to) : Range{};
    if (is_int(from)) return within(r, to);
    // Toward zero, and NaN is 0.
    return is_float(from) ? within(united({std::trunc(r.low), std::trunc(r.high)}, {0, 0}), to) : Range{};
  }

  Range map(const Node& n, DType type) {
    if (n.scalar_op() == ScalarOp::kSelect) return united(of(n.operand(1)), of(n.operand(2)));
    const Range a = of(n.operand(0));
    if (n.operands.size() == 1) {
      // Those that never turn around: the ends of what comes out are made of the ends of what goes in.
      if (n.scalar_op() == ScalarOp::kFloor) return {std::floor(a.low), std::floor(a.high)};
      if (n.scalar_op() == ScalarOp::kTrunc) return {std::trunc(a.low), std::trunc(a.high)};
      return {};
    }
    if (n.operands.size() != 2) return {};
    const Range b = of(n.operand(1));
    switch (n.scalar_op()) {
      case ScalarOp::kMin:
        return {std::min(a.low, b.low), std::min(a.high, b.high)};
      case ScalarOp::kMax:
        return {std::max(a.low, b.low), std::max(a.high, b.high)};
      case ScalarOp::kAdd:
        return is_int(type) ? within({a.low + b.low, a.high + b.high}, type) : Range{};
      case ScalarOp::kMul:
        // Of what is not negative; infinity times nothing is not asked for.
        if (!is_int(type) || a.low < 0 || b.low < 0 || a.high > kMost || b.high > kMost) return {};
        return within({a.low * b.low, a.high * b.high}, type);
      default:
        return {};
    }
  }

  std::unordered_map<const Value*, Range> known_;
};

}  // namespace

std::optional<IntegerRange> integer_range(const Value* value) {
  const Range r = Ranges().of(value);
  if (!is_int(value->type.dtype) || r.low < -kMost || r.high > kMost) return std::nullopt;
  return IntegerRange{static_cast<int64_t>(r.low), static_cast<int64_t>(r.high)};
}

}  // namespace tern::lower
