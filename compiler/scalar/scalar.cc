#include "compiler/scalar/scalar.h"

#include <array>
#include <complex>
#include <limits>

#include "compiler/scalar/apply.h"
#include "compiler/scalar/scalars.h"
#include "compiler/support/check.h"
#include "compiler/support/small_float.h"
#include "compiler/support/tensor_data.h"

namespace tern::scalar {
namespace {

constexpr bool has_flag(std::string_view flags, char c) {
  return flags.find(c) != std::string_view::npos;
}

constexpr ScalarOpInfo kInfos[] = {
#define TERN_SCALAR_OP(name, text, arity, rule, domain, flags, meaning) \
  {text,                                                                \
   arity,                                                               \
   TypeRule::k##rule,                                                   \
   Domain::k##domain,                                                   \
   has_flag(flags, 'C'),                                                \
   has_flag(flags, 'A'),                                                \
   has_flag(flags, 'R'),                                                \
   has_flag(flags, 'X')},
#include "compiler/scalar/ops.def"
#undef TERN_SCALAR_OP
};

bool domain_accepts(ScalarOp op, DType t) {
  const DTypeKind kind = dtype_kind(t);
  if (kind == DTypeKind::kNone) return false;
  const bool integer = kind == DTypeKind::kInt || kind == DTypeKind::kUint;
  switch (info(op).domain) {
    case Domain::kAny:
      return true;
    case Domain::kNumber:
      if (kind == DTypeKind::kComplex)
        return op == ScalarOp::kNeg || op == ScalarOp::kAdd || op == ScalarOp::kSub || op == ScalarOp::kMul ||
               op == ScalarOp::kDiv || op == ScalarOp::kPow;
      return integer || kind == DTypeKind::kFloat;
    case Domain::kFloat:
      return kind == DTypeKind::kFloat;
    case Domain::kInt:
      return integer;
    case Domain::kBool:
      return kind == DTypeKind::kBool;
    case Domain::kIntOrBool:
      return integer || kind == DTypeKind::kBool;
  }
  return false;
}

int64_t wrap_to(DType dtype, int64_t v) {
  const int shift = 64 - dtype_bits(dtype);
  if (dtype_kind(dtype) == DTypeKind::kBool) return v != 0;
  const auto shifted = static_cast<uint64_t>(v) << shift;
  return dtype_kind(dtype) == DTypeKind::kInt ? static_cast<int64_t>(shifted) >> shift
                                              : static_cast<int64_t>(shifted >> shift);
}

ScalarValue make_bool(bool b) {
  ScalarValue v;
  v.dtype = DType::kBool;
  v.i = b;
  return v;
}

// `count` results of one operation: which one it is gets found once.
template <typename T>
void eval_floats(ScalarOp op, DType dtype, const ScalarOperand (&in)[3], size_t count, ScalarValue* out) {
  const auto at = [&](size_t operand, size_t i) {
    return static_cast<T>(in[operand].first[i * in[operand].step].f);
  };
  const auto rounded = [&](size_t i, double r) {
    out[i] = {dtype, 0,
              dtype == DType::kF64   ? r
              : dtype == DType::kF32 ? static_cast<double>(static_cast<float>(r))
                                     : decode_small_float(dtype, encode_small_float(dtype, r)),
              0};
  };
  const auto each = [&](auto&& f) {
    for (size_t i = 0; i < count; ++i) f(i);
  };
  if (visit_float_unary<T>(
          op, [&](auto f) { each([&](size_t i) { rounded(i, static_cast<double>(f(at(0, i)))); }); }))
    return;
  if (visit_float_binary<T>(op, [&](auto f) {
        each([&](size_t i) { rounded(i, static_cast<double>(f(at(0, i), at(1, i)))); });
      }))
    return;
  if (op == ScalarOp::kFma)
    return each([&](size_t i) { rounded(i, static_cast<double>(std::fma(at(0, i), at(1, i), at(2, i)))); });
  if (visit_float_test<T>(op, [&](auto f) { each([&](size_t i) { out[i] = make_bool(f(at(0, i))); }); }))
    return;
  if (visit_compare<T>(op,
                       [&](auto f) { each([&](size_t i) { out[i] = make_bool(f(at(0, i), at(1, i))); }); }))
    return;
  TERN_UNREACHABLE("{} on {}", info(op).name, dtype_name(dtype));
}

template <typename T>
void eval_ints(ScalarOp op, DType dtype, const ScalarOperand (&in)[3], size_t count, ScalarValue* out) {
  const int bits = dtype_bits(dtype);
  const auto at = [&](size_t operand, size_t i) {
    return static_cast<T>(in[operand].first[i * in[operand].step].i);
  };
  const auto wrapped = [&](size_t i, T r) {
    out[i] = {dtype, wrap_to(dtype, static_cast<int64_t>(r)), 0, 0};
  };
  const auto each = [&](auto&& f) {
    for (size_t i = 0; i < count; ++i) f(i);
  };
  if (visit_int_unary<T>(op, bits, [&](auto f) { each([&](size_t i) { wrapped(i, f(at(0, i))); }); })) return;
  if (visit_int_binary<T>(op, bits,
                          [&](auto f) { each([&](size_t i) { wrapped(i, f(at(0, i), at(1, i))); }); }))
    return;
  if (visit_compare<T>(op,
                       [&](auto f) { each([&](size_t i) { out[i] = make_bool(f(at(0, i), at(1, i))); }); }))
    return;
  TERN_UNREACHABLE("{} on {}", info(op).name, dtype_name(dtype));
}

ScalarValue eval_complex(ScalarOp op, std::span<const ScalarValue> operands) {
  using C = std::complex<double>;
  const C x(operands[0].f, operands[0].imaginary);
  const C y = operands.size() > 1 ? C(operands[1].f, operands[1].imaginary) : C();
  const DType dtype = operands[0].dtype;
  const auto value = [&](C r) {
    ScalarValue out;
    out.dtype = dtype;
    const bool narrow = dtype == DType::kC64;
    out.f = narrow ? static_cast<double>(static_cast<float>(r.real())) : r.real();
    out.imaginary = narrow ? static_cast<double>(static_cast<float>(r.imag())) : r.imag();
    return out;
  };
  switch (op) {
    case ScalarOp::kNeg:
      return value(-x);
    case ScalarOp::kAdd:
      return value(x + y);
    case ScalarOp::kSub:
      return value(x - y);
    case ScalarOp::kMul:
      return value(x * y);
    case ScalarOp::kDiv:
      return value(x / y);
    case ScalarOp::kPow:
      return value(std::pow(x, y));
    case ScalarOp::kEq:
      return make_bool(x == y);
    case ScalarOp::kNe:
      return make_bool(x != y);
    default:
      TERN_UNREACHABLE("{} on complex numbers", info(op).name);
  }
}

}  // namespace

const ScalarOpInfo& info(ScalarOp op) {
  TERN_CHECK(op < ScalarOp::kCount);
  return kInfos[static_cast<size_t>(op)];
}

ScalarOp scalar_op_from_name(std::string_view name) {
  for (size_t i = 0; i < std::size(kInfos); ++i)
    if (kInfos[i].name == name) return static_cast<ScalarOp>(i);
  return ScalarOp::kCount;
}

Result<DType> result_type(ScalarOp op, std::span<const DType> operands) {
  const ScalarOpInfo& row = info(op);
  if (static_cast<int>(operands.size()) != row.arity)
    return error("The scalar op '{}' takes {} operands and is given {}.", row.name, row.arity,
                 operands.size());
  const size_t first = row.rule == TypeRule::kSelect ? 1 : 0;
  if (first == 1 && operands[0] != DType::kBool)
    return error("The condition of 'select' has the type {} and must be bool.", dtype_name(operands[0]));
  for (size_t i = first; i < operands.size(); ++i) {
    if (!domain_accepts(op, operands[i]))
      return error("The scalar op '{}' does not accept operands of type {}.", row.name,
                   dtype_name(operands[i]));
    if (operands[i] != operands[first])
      return error("The operands of '{}' have different types, {} and {}.", row.name,
                   dtype_name(operands[first]), dtype_name(operands[i]));
  }
  const bool is_test = row.rule == TypeRule::kCompare || row.rule == TypeRule::kTest;
  return is_test ? DType::kBool : operands[first];
}

void eval_scalars(ScalarOp op, std::span<const ScalarOperand> operands, size_t count, ScalarValue* out) {
  if (count == 0) return;
  ScalarOperand in[3] = {operands[0], operands[0], operands[0]};
  std::copy(operands.begin(), operands.end(), in);
  const auto at = [&](size_t operand, size_t i) -> const ScalarValue& {
    return in[operand].first[i * in[operand].step];
  };
  if (op == ScalarOp::kSelect) {
    for (size_t i = 0; i < count; ++i) out[i] = at(at(0, i).i != 0 ? 1 : 2, i);
    return;
  }
  const DType dtype = in[0].first->dtype;
  switch (dtype_kind(dtype)) {
    case DTypeKind::kFloat:
      if (dtype == DType::kF64) return eval_floats<double>(op, dtype, in, count, out);
      return eval_floats<float>(op, dtype, in, count, out);
    case DTypeKind::kInt:
      return eval_ints<int64_t>(op, dtype, in, count, out);
    case DTypeKind::kUint:
      return eval_ints<uint64_t>(op, dtype, in, count, out);
    case DTypeKind::kBool: {
      const bool known = visit_bool(op, [&](auto f) {
        for (size_t i = 0; i < count; ++i) out[i] = make_bool(f(at(0, i).i != 0, at(1, i).i != 0));
      });
      TERN_CHECK(known, "{} on bool", info(op).name);
      return;
    }
    case DTypeKind::kComplex:
      for (size_t i = 0; i < count; ++i) {
        const ScalarValue pair[] = {at(0, i), at(1, i)};
        out[i] = eval_complex(op, std::span(pair).first(std::min<size_t>(operands.size(), 2)));
      }
      return;
    default:
      TERN_UNREACHABLE("{} on {}", info(op).name, dtype_name(dtype));
  }
}

ScalarValue eval_scalar(ScalarOp op, std::span<const ScalarValue> operands) {
  ScalarOperand in[3];
  for (size_t k = 0; k < operands.size(); ++k) in[k] = {&operands[k], 0};
  ScalarValue out;
  eval_scalars(op, std::span(in).first(operands.size()), 1, &out);
  return out;
}

ScalarValue scalar_from_double(DType dtype, double value) {
  ScalarValue v;
  v.dtype = DType::kF64;
  v.f = value;
  return eval_cast(v, dtype, false);
}

ScalarValue scalar_from_int(DType dtype, int64_t value) {
  ScalarValue v;
  v.dtype = DType::kI64;
  v.i = value;
  return eval_cast(v, dtype, false);
}

ScalarValue lowest(DType dtype) {
  ScalarValue v;
  v.dtype = dtype;
  const int bits = dtype_bits(dtype);
  switch (dtype_kind(dtype)) {
    case DTypeKind::kFloat:
      // Types without infinity take their most negative finite value.
      v.f = -std::numeric_limits<double>::infinity();
      if (bits <= 8) v.f = dtype == DType::kF8E8M0 ? decode_float(dtype, 0) : -highest(dtype).f;
      break;
    case DTypeKind::kInt:
      v.i = static_cast<int64_t>(~uint64_t{0} << (bits - 1));
      break;
    default:
      break;
  }
  return v;
}

ScalarValue highest(DType dtype) {
  ScalarValue v;
  v.dtype = dtype;
  const int bits = dtype_bits(dtype);
  switch (dtype_kind(dtype)) {
    case DTypeKind::kFloat:
      v.f = std::numeric_limits<double>::infinity();
      if (bits <= 8 && dtype != DType::kF8E5M2) v.f = decode_float(dtype, encode_float(dtype, v.f, true));
      break;
    case DTypeKind::kInt:
      v.i = static_cast<int64_t>((uint64_t{1} << (bits - 1)) - 1);
      break;
    case DTypeKind::kUint:
      v.i = bits == 64 ? -1 : static_cast<int64_t>((uint64_t{1} << bits) - 1);
      break;
    case DTypeKind::kBool:
      v.i = 1;
      break;
    default:
      break;
  }
  return v;
}

double decode_float(DType dtype, uint64_t bits) {
  return decode_small_float(dtype, bits);
}
uint64_t encode_float(DType dtype, double value, bool saturate) {
  return encode_small_float(dtype, value, saturate);
}

}  // namespace tern::scalar
