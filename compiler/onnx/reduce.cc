// Reductions, arg-reductions and running sums.
#include <algorithm>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

using Reduction = Value* (*)(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep);

Value* reduce_sum(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  return b.reduce(ScalarOp::kAdd, x, axes, keep);
}
Value* reduce_prod(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  return b.reduce(ScalarOp::kMul, x, axes, keep);
}
Value* reduce_max(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  return b.reduce(x->type.dtype == DType::kBool ? ScalarOp::kOr : ScalarOp::kMax, x, axes, keep);
}
Value* reduce_min(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  return b.reduce(x->type.dtype == DType::kBool ? ScalarOp::kAnd : ScalarOp::kMin, x, axes, keep);
}
Value* reduce_mean(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  return b.mean(x, axes, keep);
}
Value* reduce_l1(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  return b.reduce(ScalarOp::kAdd, b.unary(ScalarOp::kAbs, x), axes, keep);
}
Value* reduce_sum_square(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  return b.reduce(ScalarOp::kAdd, b.mul(x, x), axes, keep);
}
Value* reduce_l2(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  Value* sum = reduce_sum_square(b, x, axes, keep);
  if (is_float(x->type.dtype)) return b.unary(ScalarOp::kSqrt, sum);
  return b.cast(b.unary(ScalarOp::kSqrt, b.cast(sum, DType::kF64)), x->type.dtype);
}
// By way of f32 where a sum, or what is summed, may be beyond the narrow type (65504 in f16).
template <Reduction kReduction>
Value* in_f32(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  return b.cast(kReduction(b, b.wide(x), axes, keep), x->type.dtype);
}
// An operator on floats, for integers by way of f64.
template <Reduction kReduction>
Value* in_floats(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  DType type = x->type.dtype;
  if (is_float(type)) return in_f32<kReduction>(b, x, axes, keep);
  return b.cast(kReduction(b, b.cast(x, DType::kF64), axes, keep), type);
}
Value* reduce_log_sum(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  return b.unary(ScalarOp::kLog, b.reduce(ScalarOp::kAdd, x, axes, keep));
}
Value* reduce_log_sum_exp(Emit& b, Value* x, const std::vector<int64_t>& axes, bool keep) {
  Value* most = b.reduce(ScalarOp::kMax, x, axes, true);
  // An infinite maximum would give inf - inf.
  most = b.select(b.unary(ScalarOp::kIsInf, most), b.like(most, 0), most);
  Value* sum = b.reduce(ScalarOp::kAdd, b.unary(ScalarOp::kExp, b.sub(x, most)), axes, true);
  Value* result = b.add(b.unary(ScalarOp::kLog, sum), most);
  return keep ? result : b.squeeze(result, axes);
}

// All ways to choose `count` of `rank` axes, ascending.
void choose(int64_t rank, size_t count, std::vector<int64_t>& chosen,
            std::vector<std::vector<int64_t>>& out) {
  if (chosen.size() == count) {
    out.push_back(chosen);
    return;
  }
  for (int64_t a = chosen.empty() ? 0 : chosen.back() + 1; a < rank; ++a) {
    chosen.push_back(a);
    choose(rank, count, chosen, out);
    chosen.pop_back();
  }
}

// Axes that are known at run time only: one `if` for each choice that fits the output's stated shape.
// Of a list whose length is known at run time only, too, each number of axes has its choices.
Value* reduce_at_run_time(Op& op, Value* x, Value* axes_value, bool keep, bool noop, Reduction reduction) {
  Emit& b = op.b;
  int64_t rank = x->type.rank();
  Value* axes = as_i64(b, axes_value);
  if (axes->type.rank() != 1) fail("The axes ({}) are no list of numbers.", axes->type.text());
  const Dim count = dimension(axes, 0);
  if (rank > (count.is_const() ? 8 : 5)) op.constant_ints(1, "axes");
  const pb::TypeProto* type = op.declared(0);
  if (!count.is_const() && !keep && !(type && type->has_tensor_type() && type->tensor_type().has_shape()))
    fail(
        "How many axes are reduced ({}) is known at run time only, and the model does not state the output's "
        "rank.",
        count.text());
  axes = b.select(b.compare(ScalarOp::kLt, axes, 0.0), b.add(axes, b.i64(rank)), axes);
  // The axes as a mask over dimensions do not depend on their order.
  Value* mask =
      b.emit(OpKind::kScatterElements, {b.full({Dim(rank)}, b.i64(0)), axes, b.full({count}, b.i64(1))},
             {{"axis", int64_t{0}}, {"reduction", std::string("none")}});
  auto stated = op.declared_dims(0);
  std::vector<std::vector<int64_t>> choices;
  std::vector<int64_t> chosen;
  for (int64_t n = 0; n <= rank; ++n) {
    const bool all = n == 0 && !noop;  // no axes are all
    const int64_t left = n == 0 && noop ? rank : all ? 0 : rank - n;
    if (count.is_const() ? count.is_const(n) : keep || type->tensor_type().shape().dim_size() == left)
      choose(rank, static_cast<size_t>(n), chosen, choices);
  }
  std::vector<SwitchCase> cases;
  for (const auto& choice : choices) {
    Shape result;
    for (int64_t a = 0; a < rank; ++a) {
      bool gone = choice.empty() ? !noop : std::find(choice.begin(), choice.end(), a) != choice.end();
      if (gone && keep) result.push_back(Dim(1));
      if (!gone) result.push_back(dimension(x, a));
    }
    if (stated && is_static(result) && static_dims(result) != *stated) continue;
    SwitchCase entry{std::vector<int64_t>(static_cast<size_t>(rank), 0), [=](Emit& inner) {
                       std::vector<int64_t> over = choice;
                       for (int64_t a = 0; a < rank && choice.empty() && !noop; ++a) over.push_back(a);
                       return std::vector<Value*>{reduction(inner, x, over, keep || over.empty())};
                     }};
    for (int64_t a : choice) entry.key[static_cast<size_t>(a)] = 1;
    cases.push_back(std::move(entry));
  }
  if (cases.empty()) fail("No axes give the output's stated shape.");
  Value* valid = b.compare(ScalarOp::kEq, mask, b.i64s(cases.back().key));
  if (cases.size() == 1)
    b.check(b.reduce(ScalarOp::kAnd, valid, {0}),
            fmt::format("The output '{}' does not have the dimensions that the model states for it.",
                        op.node.output(0)));
  return switch_over(b, mask, cases)[0];
}

void reduce(Op& op, Reduction reduction, int input_since) {
  Value* x = op.tensor(0);
  bool keep = op.i("keepdims", 1) != 0;
  bool noop = op.i("noop_with_empty_axes", 0) != 0;
  int64_t rank = x->type.rank();
  std::vector<int64_t> axes;
  if (op.version < input_since) {
    axes = op.ints("axes");
  } else if (op.has(1)) {
    Value* given = op.tensor(1);
    auto known = op.b.known_ints(given);
    if (!known) return op.output(0, reduce_at_run_time(op, x, given, keep, noop, reduction));
    axes = *known;
  }
  if (axes.empty() && noop) {
    // Nothing is reduced; what is applied to each element still is, except by the operators that say
    // identity.
    return op.output(0, reduction(op.b, x, {}, true));
  }
  if (axes.empty())
    for (int64_t a = 0; a < rank; ++a) axes.push_back(a);
  op.output(0, reduction(op.b, x, op.axes(axes, rank), keep));
}

template <Reduction kReduction, int kInputSince = 18>
void import_reduce(Op& op) {
  reduce(op, kReduction, kInputSince);
}

template <bool kLargest>
void import_arg(Op& op) {
  Value* x = op.tensor(0);
  int64_t axis = op.axis_attr(0, x->type.rank());
  bool last = op.i("select_last_index", 0) != 0, keep = op.i("keepdims", 1) != 0;
  Value* best = op.b.emit(OpKind::kArgReduce, {x},
                          {{"largest", kLargest}, {"axis", axis}, {"last", last}, {"dtype", DType::kI64}});
  op.output(0, keep ? op.b.unsqueeze(best, {axis}) : best);
}

template <ScalarOp kOp>
void import_running(Op& op) {
  Value* x = op.tensor(0);
  bool exclusive = op.i("exclusive", 0) != 0, reverse = op.i("reverse", 0) != 0;
  int64_t rank = x->type.rank();
  auto scan = [=](Emit& b, int64_t axis) {
    return b.emit(OpKind::kScan, {x},
                  {{"op", kOp}, {"axis", axis}, {"exclusive", exclusive}, {"reverse", reverse}});
  };
  if (const auto known = op.known_number(1, "axis")) return op.output(0, scan(op.b, op.axis(*known, rank)));
  Value* axis = as_i64(op.b, op.tensor(1));
  axis = op.b.select(op.b.compare(ScalarOp::kLt, axis, 0.0), op.b.add(axis, op.b.i64(rank)), axis);
  Value* inside = op.b.map(ScalarOp::kAnd, {op.b.compare(ScalarOp::kGe, axis, 0.0),
                                            op.b.compare(ScalarOp::kLt, axis, static_cast<double>(rank))});
  op.b.check(op.b.reduce(ScalarOp::kAnd, inside, {0}),
             fmt::format("The axis of a sum along a {} lies outside [{}, {}).", x->type.text(), -rank, rank));
  std::vector<SwitchCase> cases;
  for (int64_t a = 0; a < rank; ++a)
    cases.push_back({{a}, [=](Emit& inner) { return std::vector<Value*>{scan(inner, a)}; }});
  op.output(0, switch_over(op.b, axis, cases)[0]);
}

constexpr OpRow kRows[] = {
    {kOnnx, "ReduceSum", 1, kLatest, import_reduce<reduce_sum, 13>},
    {kOnnx, "ReduceMean", 1, kLatest, import_reduce<reduce_mean>},
    {kOnnx, "ReduceMax", 1, kLatest, import_reduce<reduce_max>},
    {kOnnx, "ReduceMin", 1, kLatest, import_reduce<reduce_min>},
    {kOnnx, "ReduceProd", 1, kLatest, import_reduce<reduce_prod>},
    {kOnnx, "ReduceL1", 1, kLatest, import_reduce<reduce_l1>},
    {kOnnx, "ReduceL2", 1, kLatest, import_reduce<in_f32<reduce_l2>>},
    {kOnnx, "ReduceLogSum", 1, kLatest, import_reduce<in_floats<reduce_log_sum>>},
    {kOnnx, "ReduceLogSumExp", 1, kLatest, import_reduce<in_floats<reduce_log_sum_exp>>},
    {kOnnx, "ReduceSumSquare", 1, kLatest, import_reduce<in_f32<reduce_sum_square>>},
    {kOnnx, "ArgMax", 1, kLatest, import_arg<true>},
    {kOnnx, "ArgMin", 1, kLatest, import_arg<false>},
    {kOnnx, "CumSum", 11, kLatest, import_running<ScalarOp::kAdd>},
    {kOnnx, "CumProd", 26, kLatest, import_running<ScalarOp::kMul>},
};

}  // namespace

std::span<const OpRow> reduce_rows() {
  return kRows;
}

}  // namespace tern::onnx
