// Comparisons, boolean and bitwise operators, Where.
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

template <ScalarOp kOp>
void binary(Op& op) {
  op.ignore({"axis", "broadcast"});
  op.output(0, op.b.map(kOp, {op.tensor(0), op.tensor(1)}));
}

void import_not(Op& op) {
  op.output(0, op.b.unary(ScalarOp::kNot, op.tensor(0)));
}

void import_where(Op& op) {
  op.output(0, op.b.select(op.tensor(0), op.tensor(1), op.tensor(2)));
}

void import_is_nan(Op& op) {
  op.output(0, op.b.unary(ScalarOp::kIsNan, op.tensor(0)));
}

void import_is_inf(Op& op) {
  bool negative = op.i("detect_negative", 1) != 0, positive = op.i("detect_positive", 1) != 0;
  Value* x = op.tensor(0);
  Value* infinite = op.b.unary(ScalarOp::kIsInf, x);
  if (negative && positive) return op.output(0, infinite);
  if (!negative && !positive) return op.output(0, op.b.full(x->type.shape, op.b.integer(DType::kBool, 0)));
  Value* side = op.b.compare(positive ? ScalarOp::kGt : ScalarOp::kLt, x, 0.0);
  op.output(0, op.b.map(ScalarOp::kAnd, {infinite, side}));
}

constexpr OpRow kRows[] = {
    {kOnnx, "Equal", 1, kLatest, binary<ScalarOp::kEq>},
    {kOnnx, "Less", 1, kLatest, binary<ScalarOp::kLt>},
    {kOnnx, "LessOrEqual", 12, kLatest, binary<ScalarOp::kLe>},
    {kOnnx, "Greater", 1, kLatest, binary<ScalarOp::kGt>},
    {kOnnx, "GreaterOrEqual", 12, kLatest, binary<ScalarOp::kGe>},
    {kOnnx, "And", 1, kLatest, binary<ScalarOp::kAnd>},
    {kOnnx, "Or", 1, kLatest, binary<ScalarOp::kOr>},
    {kOnnx, "Xor", 1, kLatest, binary<ScalarOp::kXor>},
    {kOnnx, "Not", 1, kLatest, import_not},
    {kOnnx, "BitwiseAnd", 18, kLatest, binary<ScalarOp::kAnd>},
    {kOnnx, "BitwiseOr", 18, kLatest, binary<ScalarOp::kOr>},
    {kOnnx, "BitwiseXor", 18, kLatest, binary<ScalarOp::kXor>},
    {kOnnx, "BitwiseNot", 18, kLatest, import_not},
    {kOnnx, "Where", 9, kLatest, import_where},
    {kOnnx, "IsNaN", 9, kLatest, import_is_nan},
    {kOnnx, "IsInf", 10, kLatest, import_is_inf},
};

}  // namespace

std::span<const OpRow> logic_rows() {
  return kRows;
}

}  // namespace tern::onnx
