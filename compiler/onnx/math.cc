// Elementwise arithmetic: one scalar op each, or a few.
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

template <ScalarOp kOp>
void unary(Op& op) {
  op.output(0, op.b.unary(kOp, op.tensor(0)));
}

template <ScalarOp kOp>
void binary(Op& op) {
  op.ignore({"axis", "broadcast", "consumed_inputs"});
  op.output(0, op.b.map(kOp, {op.tensor(0), op.tensor(1)}));
}

template <ScalarOp kOp>
void variadic(Op& op) {
  op.ignore({"consumed_inputs"});
  Value* result = op.tensor(0);
  for (int i = 1; i < op.input_count(); ++i) result = op.b.map(kOp, {result, op.tensor(i)});
  op.output(0, result);
}

Value* sum_of(Op& op) {
  Value* sum = op.b.wide(op.tensor(0));
  for (int i = 1; i < op.input_count(); ++i) sum = op.b.add(sum, op.b.wide(op.tensor(i)));
  return sum;
}

void import_sum(Op& op) {
  op.ignore({"consumed_inputs"});
  op.output(0, op.b.cast(sum_of(op), op.tensor(0)->type.dtype));
}

void import_mean(Op& op) {
  op.ignore({"consumed_inputs"});
  op.output(0, op.b.cast(op.b.div(sum_of(op), op.input_count()), op.tensor(0)->type.dtype));
}

// floor and its kin leave integers as they are.
template <ScalarOp kOp>
void rounding(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, is_float(x->type.dtype) ? op.b.unary(kOp, x) : x);
}

void import_mod(Op& op) {
  bool c_rule = op.i("fmod", 0) != 0;
  Value* x = op.tensor(0);
  if (!c_rule && is_float(x->type.dtype))
    fail("Attribute 'fmod' must be 1 for {} operands.", dtype_name(x->type.dtype));
  op.output(0, op.b.map(c_rule ? ScalarOp::kRem : ScalarOp::kFloorMod, {x, op.tensor(1)}));
}

void import_pow(Op& op) {
  Value* x = op.tensor(0);
  Value* y = op.tensor(1);
  DType type = x->type.dtype;
  if (TensorDataPtr exponent = op.b.constant_data(y); exponent && exponent->count() == 1 && is_float(type)) {
    Shape shape = op.b.common_shape({x, y});
    double value = exponent->float_at(0);
    if (value == 1.0) return op.output(0, op.b.expand_to(x, shape));
    if (value == 2.0) return op.output(0, op.b.expand_to(op.b.mul(x, x), shape));
    if (value == 3.0) return op.output(0, op.b.expand_to(op.b.mul(op.b.mul(x, x), x), shape));
    if (value == -1.0) return op.output(0, op.b.expand_to(op.b.div(op.b.like(x, 1), x), shape));
  }
  if (!is_float(type) && is_float(y->type.dtype)) {
    Value* power = op.b.map(ScalarOp::kPow, {op.b.cast(x, y->type.dtype), y});
    return op.output(0, op.b.cast(power, type));
  }
  op.output(0, op.b.map(ScalarOp::kPow, {x, op.b.cast(y, type)}));
}

void import_reciprocal(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, op.b.div(op.b.like(x, 1), x));
}

void import_clip(Op& op) {
  op.ignore({"consumed_inputs"});
  Value* x = op.tensor(0);
  if (op.version < 11) {
    if (op.has_attr("min")) x = op.b.max(x, op.b.like(x, op.f("min", 0)));
    if (op.has_attr("max")) x = op.b.min(x, op.b.like(x, op.f("max", 0)));
    return op.output(0, x);
  }
  if (op.has(1)) x = op.b.max(x, op.tensor(1));
  if (op.has(2)) x = op.b.min(x, op.tensor(2));
  op.output(0, x);
}

// Powers of two as 8-bit exponents: rounded up (or down, or to the nearest) from the bits of a f32.
Value* cast_to_exponent(Emit& b, Value* x, const std::string& mode) {
  Value* bits = b.bitcast(b.cast(x, DType::kF32), DType::kI32);
  Value* exponent = b.map(ScalarOp::kAnd, {b.map(ScalarOp::kShr, {bits, b.integer(DType::kI32, 23)}),
                                           b.integer(DType::kI32, 255)});
  Value* fraction = b.map(ScalarOp::kAnd, {bits, b.integer(DType::kI32, 0x7fffff)});
  double threshold = mode == "up" ? 0 : mode == "nearest" ? 0x3fffff : 0x7fffff;
  Value* more = b.cast(b.compare(ScalarOp::kGt, fraction, threshold), DType::kI32);
  Value* finite = b.compare(ScalarOp::kLt, exponent, 254.0);
  Value* rounded = b.add(exponent, b.select(finite, more, b.integer(DType::kI32, 0)));
  return b.bitcast(b.cast(rounded, DType::kU8), DType::kF8E8M0);
}

void cast_to(Op& op, DType to, bool saturate, const std::string& round_mode) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  DType from = x->type.dtype;
  if ((from == DType::kString) != (to == DType::kString))
    fail("Casting {} to {} is not supported.", dtype_name(from), dtype_name(to));
  if (to == DType::kF8E8M0 && is_float(from) && from != to)
    return op.output(0, cast_to_exponent(b, x, round_mode));
  // Sub-byte integers keep the low bits.
  if (is_int(to) && dtype_bits(to) < 8 && is_float(from)) x = b.cast(x, DType::kI32);
  op.output(0, b.cast(x, to, saturate));
}

std::string round_mode(Op& op) {
  std::string mode = op.s("round_mode", "up");
  if (mode != "up" && mode != "down" && mode != "nearest")
    fail("Attribute 'round_mode' ('{}') must be up, down or nearest.", mode);
  return mode;
}

void import_cast(Op& op) {
  auto to = op.dtype_attr("to");
  if (!to) fail("Attribute 'to' is missing.");
  cast_to(op, *to, op.i("saturate", 1) != 0, round_mode(op));
}

void import_cast_like(Op& op) {
  cast_to(op, op.tensor(1)->type.dtype, op.i("saturate", 1) != 0, round_mode(op));
}

void import_bit_cast(Op& op) {
  auto to = op.dtype_attr("to");
  if (!to) fail("Attribute 'to' is missing.");
  op.output(0, op.b.bitcast(op.tensor(0), *to));
}

void import_bit_shift(Op& op) {
  std::string direction = op.s("direction", "");
  if (direction != "LEFT" && direction != "RIGHT")
    fail("Attribute 'direction' ('{}') must be LEFT or RIGHT.", direction);
  op.output(0, op.b.map(direction == "LEFT" ? ScalarOp::kShl : ScalarOp::kShr, {op.tensor(0), op.tensor(1)}));
}

void import_identity(Op& op) {
  op.output(0, op.input(0));
}

constexpr OpRow kRows[] = {
    {kOnnx, "Add", 1, kLatest, binary<ScalarOp::kAdd>},
    {kOnnx, "Sub", 1, kLatest, binary<ScalarOp::kSub>},
    {kOnnx, "Mul", 1, kLatest, binary<ScalarOp::kMul>},
    {kOnnx, "Div", 1, kLatest, binary<ScalarOp::kDiv>},
    {kOnnx, "Mod", 10, kLatest, import_mod},
    {kOnnx, "Pow", 1, kLatest, import_pow},
    {kOnnx, "Sum", 1, kLatest, import_sum},
    {kOnnx, "Min", 1, kLatest, variadic<ScalarOp::kMin>},
    {kOnnx, "Max", 1, kLatest, variadic<ScalarOp::kMax>},
    {kOnnx, "Mean", 1, kLatest, import_mean},
    {kOnnx, "Neg", 1, kLatest, unary<ScalarOp::kNeg>},
    {kOnnx, "Abs", 1, kLatest, unary<ScalarOp::kAbs>},
    {kOnnx, "Sign", 9, kLatest, unary<ScalarOp::kSign>},
    {kOnnx, "Floor", 1, kLatest, rounding<ScalarOp::kFloor>},
    {kOnnx, "Ceil", 1, kLatest, rounding<ScalarOp::kCeil>},
    {kOnnx, "Round", 11, kLatest, rounding<ScalarOp::kRoundEven>},
    {kOnnx, "Sqrt", 1, kLatest, unary<ScalarOp::kSqrt>},
    {kOnnx, "Exp", 1, kLatest, unary<ScalarOp::kExp>},
    {kOnnx, "Log", 1, kLatest, unary<ScalarOp::kLog>},
    {kOnnx, "Sin", 7, kLatest, unary<ScalarOp::kSin>},
    {kOnnx, "Cos", 7, kLatest, unary<ScalarOp::kCos>},
    {kOnnx, "Tan", 7, kLatest, unary<ScalarOp::kTan>},
    {kOnnx, "Asin", 7, kLatest, unary<ScalarOp::kAsin>},
    {kOnnx, "Acos", 7, kLatest, unary<ScalarOp::kAcos>},
    {kOnnx, "Atan", 7, kLatest, unary<ScalarOp::kAtan>},
    {kOnnx, "Sinh", 9, kLatest, unary<ScalarOp::kSinh>},
    {kOnnx, "Cosh", 9, kLatest, unary<ScalarOp::kCosh>},
    {kOnnx, "Tanh", 1, kLatest, unary<ScalarOp::kTanh>},
    {kOnnx, "Asinh", 9, kLatest, unary<ScalarOp::kAsinh>},
    {kOnnx, "Acosh", 9, kLatest, unary<ScalarOp::kAcosh>},
    {kOnnx, "Atanh", 9, kLatest, unary<ScalarOp::kAtanh>},
    {kOnnx, "Erf", 9, kLatest, unary<ScalarOp::kErf>},
    {kOnnx, "Reciprocal", 1, kLatest, import_reciprocal},
    {kOnnx, "Clip", 1, kLatest, import_clip},
    {kOnnx, "Cast", 6, kLatest, import_cast},
    {kOnnx, "CastLike", 15, kLatest, import_cast_like},
    {kOnnx, "BitCast", 1, kLatest, import_bit_cast},
    {kOnnx, "BitShift", 11, kLatest, import_bit_shift},
    {kOnnx, "Identity", 1, kLatest, import_identity},
};

}  // namespace

std::span<const OpRow> math_rows() {
  return kRows;
}

}  // namespace tern::onnx
