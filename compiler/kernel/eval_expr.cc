#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/evaluator.h"
#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/text.h"
#include "compiler/scalar/scalars.h"

namespace tern::kernel {

using scalar::ScalarValue;

template <typename F>
ValueRef Evaluator::make(VType type, bool uniform, const EvalMask& mask, F&& f) {
  auto out = std::make_shared<EvalValue>();
  out->type = type;
  out->uniform = uniform || threads_ == 1;
  size_t copies = out->uniform ? 1 : static_cast<size_t>(threads_);
  out->data.assign(copies * static_cast<size_t>(type.lanes), zero_of(type.dtype));
  if (out->uniform) {
    f(0, std::span(out->data));
    return out;
  }
  for (int t = 0; t < threads_; ++t) {
    if (mask.any(t)) f(t, out->of(t));
  }
  return out;
}

ValueRef Evaluator::op_value(const Expr& e, const EvalMask& mask) {
  ValueRef args[3];
  scalar::ScalarOperand operands[3];
  const size_t count = e->args.size();
  bool uniform = true;
  for (size_t a = 0; a < count; ++a) {
    args[a] = expr(e->args[a], mask);
    uniform &= args[a]->uniform;
  }
  const auto lanes = static_cast<size_t>(e->type.lanes);
  // From thread t on, of so many threads: of vectors one at a time.
  const auto operate = [&](int t, size_t threads, ScalarValue* out) {
    for (size_t a = 0; a < count; ++a)
      operands[a] = {std::as_const(*args[a]).of(t).data(), threads > 1 && args[a]->uniform ? 0u : 1u};
    scalar::eval_scalars(e->op, std::span(operands).first(count), threads * lanes, out);
  };
  if (lanes == 1 && !uniform && !e->is_index && mask.lanes == 1 && is_full(mask)) {
    auto out = std::make_shared<EvalValue>(EvalValue{e->type, false, {}});
    out->data.resize(static_cast<size_t>(threads_));
    operate(0, static_cast<size_t>(threads_), out->data.data());
    return out;
  }
  return make(e->type, uniform, mask, [&](int t, std::span<ScalarValue> out) {
    if (e->is_index && lanes == 1) {
      const int64_t x = std::as_const(*args[0]).of(t)[0].i, y = std::as_const(*args[1]).of(t)[0].i;
      if (x < 0 || y <= 0) fault("An index division of {} by {} breaks its contract.", x, y);
    }
    operate(t, 1, out.data());
  });
}

ValueRef Evaluator::select_value(const Expr& e, const EvalMask& mask) {
  ValueRef condition = expr(e->args[0], mask);
  const int lanes = e->type.lanes;
  if (condition->uniform && lanes == 1) return expr(e->args[condition->data[0].i != 0 ? 1 : 2], mask);
  EvalMask arms[2];  // yes, no
  for (EvalMask& arm : arms) arm = {lanes, 0, std::vector<uint8_t>(static_cast<size_t>(threads_ * lanes))};
  const bool by_lane = mask.lanes == lanes;
  for (int t = 0; t < threads_; ++t) {
    LaneValues c = std::as_const(*condition).of(t);
    const bool alive = mask.any(t);
    for (int k = 0; k < lanes; ++k) {
      if (by_lane ? !mask.on(t, k) : !alive) continue;
      arms[c[static_cast<size_t>(k)].i != 0 ? 0 : 1].bits[static_cast<size_t>(t * lanes + k)] = 1;
    }
    for (EvalMask& arm : arms) arm.count += arm.any(t) ? 1 : 0;
  }
  if (arms[1].count == 0 && arms[0].count != 0) return expr(e->args[1], arms[0]);
  if (arms[0].count == 0 && arms[1].count != 0) return expr(e->args[2], arms[1]);
  if (arms[0].count == 0) return make(e->type, true, mask, [](int, std::span<ScalarValue>) {});
  ValueRef yes = expr(e->args[1], arms[0]), no = expr(e->args[2], arms[1]);
  return make(e->type, false, mask, [&](int t, std::span<ScalarValue> out) {
    for (size_t k = 0; k < out.size(); ++k) {
      out[k] = std::as_const(arms[0].on(t, static_cast<int>(k)) ? *yes : *no).of(t)[k];
    }
  });
}

ValueRef Evaluator::cast_value(const Expr& e, const EvalMask& mask) {
  ValueRef in = expr(e->args[0], mask);
  return make(e->type, in->uniform, mask, [&](int t, std::span<ScalarValue> out) {
    for (size_t k = 0; k < out.size(); ++k) {
      out[k] = scalar::eval_cast(std::as_const(*in).of(t)[k], e->type.dtype, e->saturate);
    }
  });
}

ValueRef Evaluator::bitcast_value(const Expr& e, const EvalMask& mask) {
  ValueRef in = expr(e->args[0], mask);
  const DType from = in->type.dtype, to = e->type.dtype;
  std::vector<uint8_t> bytes(static_cast<size_t>(dtype_bits(from) / 8 * in->type.lanes));
  return make(e->type, in->uniform, mask, [&](int t, std::span<ScalarValue> out) {
    int64_t i = 0;
    for (const ScalarValue& v : std::as_const(*in).of(t)) write_element(from, bytes.data(), i++, v);
    i = 0;
    for (ScalarValue& v : out) v = read_element(to, bytes.data(), i++);
  });
}

// Ramps, broadcasts, reductions and shuffles of lanes.
ValueRef Evaluator::lane_value(const Expr& e, const EvalMask& mask) {
  ValueRef a = expr(e->args[0], mask);
  ValueRef b = e->args.size() > 1 ? expr(e->args[1], mask) : nullptr;
  bool uniform = a->uniform && (b == nullptr || b->uniform);
  return make(e->type, uniform, mask, [&](int t, std::span<ScalarValue> out) {
    LaneValues in = std::as_const(*a).of(t);
    if (e->kind == ExprKind::kRamp) {
      int64_t value = in[0].i;
      for (ScalarValue& v : out) {
        v = scalar::scalar_from_int(DType::kI64, value);
        value += e->i;
      }
    } else if (e->kind == ExprKind::kBroadcast) {
      std::fill(out.begin(), out.end(), in[0]);
    } else if (e->kind == ExprKind::kReduce) {
      // A pairwise tree: lane k with lane k + n/2, and so on.
      std::vector<ScalarValue> lanes(in.begin(), in.end());
      for (size_t half = lanes.size() / 2; half > 0; half /= 2) {
        for (size_t k = 0; k < half; ++k) {
          ScalarValue pair[2] = {lanes[k], lanes[k + half]};
          lanes[k] = scalar::eval_scalar(e->op, pair);
        }
      }
      out[0] = lanes[0];
    } else {
      for (size_t k = 0; k < out.size(); ++k) {
        if (e->lanes[k] < 0) continue;
        auto lane = static_cast<size_t>(e->lanes[k]);
        out[k] = lane < in.size() ? in[lane] : std::as_const(*b).of(t)[lane - in.size()];
      }
    }
  });
}

ValueRef Evaluator::intrinsic_value(const Expr& e, const EvalMask& mask) {
  if (is_collective(e)) return collective_value(e, mask);
  if (e->buffer != nullptr) return peer_value(e, mask);
  std::vector<ValueRef> args;
  bool uniform = true;
  for (const Expr& a : e->args) {
    args.push_back(expr(a, mask));
    uniform &= args.back()->uniform;
  }
  return make(e->type, uniform, mask, [&](int t, std::span<ScalarValue> out) {
    std::vector<LaneValues> operands;
    for (const ValueRef& a : args) operands.push_back(std::as_const(*a).of(t));
    eval_lanes_intrinsic(e->intrinsic, operands, e->type, out);
  });
}

ValueRef Evaluator::collective_value(const Expr& e, const EvalMask& mask) {
  std::vector<ValueRef> args;
  if (e->buffer != nullptr) {
    args.push_back(
        expr(load(e->buffer, e->args[0], 128 / dtype_bits(e->buffer->type.dtype)), mask));  // the lane's row
  } else {
    for (const Expr& a : e->args) args.push_back(expr(a, mask));
  }
  auto out = std::make_shared<EvalValue>(EvalValue{e->type, threads_ == 1, {}});
  out->data.assign(static_cast<size_t>(threads_ * e->type.lanes), zero_of(e->type.dtype));
  const int lanes = kernel_.subgroup;
  const bool moves =
      e->intrinsic == Intrinsic::kSubgroupShuffle || e->intrinsic == Intrinsic::kSubgroupShuffleXor;
  if (ends_only_ && !moves) return out;
  for (int first = 0; first < threads_ && !failed_; first += lanes) {
    int active = 0;
    for (int t = first; t < first + lanes; ++t) active += mask.any(t) ? 1 : 0;
    if (active == 0) continue;
    std::string_view name = intrinsic_name(e->intrinsic);
    if (active != lanes) {
      fault("'{}' is reached by {} of the {} threads of subgroup {}.", name, active, lanes, first / lanes);
      break;
    }
    CollectiveOperands operands{lanes,
                                [&](size_t k, int lane) { return std::as_const(*args[k]).of(first + lane); },
                                [&](int lane) { return out->of(first + lane); }};
    if (!eval_collective(e->intrinsic, operands)) {
      fault("'{}' names a lane outside its subgroup of {} threads.", name, lanes);
    }
  }
  return out;
}

ValueRef Evaluator::expr(const Expr& e, const EvalMask& given) {
  EvalMask threads;
  const bool fits = given.lanes == 1 || given.lanes == e->type.lanes;
  if (!fits) {
    threads = {1, given.count, std::vector<uint8_t>(static_cast<size_t>(threads_))};
    for (int t = 0; t < threads_; ++t) threads.bits[static_cast<size_t>(t)] = given.any(t) ? 1 : 0;
  }
  const EvalMask& mask = fits ? given : threads;
  switch (e->kind) {
    case ExprKind::kConst: {
      auto& [kept, value] = constants_[e.get()];
      if (value == nullptr) {
        kept = e;
        value = std::make_shared<EvalValue>(EvalValue{e->type, true, {const_value(e)}});
      }
      return value;
    }
    case ExprKind::kVar: {
      auto it = vars_.find(e->var.get());
      if (it != vars_.end()) return it->second;
      fault("Variable '{}' is read before it has a value.", e->var->name);
      return make(e->type, true, mask, [](int, std::span<ScalarValue>) {});
    }
    case ExprKind::kOp:
      return e->op == ScalarOp::kSelect ? select_value(e, mask) : op_value(e, mask);
    case ExprKind::kCast:
      return cast_value(e, mask);
    case ExprKind::kBitcast:
      return bitcast_value(e, mask);
    case ExprKind::kLoad:
      return load_value(e, mask);
    case ExprKind::kRamp:
    case ExprKind::kBroadcast:
    case ExprKind::kReduce:
    case ExprKind::kShuffle:
      return lane_value(e, mask);
    case ExprKind::kIntrinsic:
      return intrinsic_value(e, mask);
  }
  TERN_UNREACHABLE("expression kind");
}

}  // namespace tern::kernel
