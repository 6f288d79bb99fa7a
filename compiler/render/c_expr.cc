#include "compiler/render/c_expr.h"

#include <cmath>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/text.h"

namespace tern::render {

using kernel::Expr;
using kernel::ExprKind;
using kernel::ScalarOp;
using kernel::VType;

bool is_emulated_float(DType dtype) {
  return is_float(dtype) && dtype != DType::kF32 && dtype != DType::kF64;
}
bool is_sub_byte(DType dtype) {
  return dtype_bits(dtype) < 8;
}

namespace {

// Ops on carriers whose result is already a value of the type.
bool is_exact(ScalarOp op) {
  switch (op) {
    case ScalarOp::kNeg:
    case ScalarOp::kAbs:
    case ScalarOp::kSign:
    case ScalarOp::kFloor:
    case ScalarOp::kTrunc:
    case ScalarOp::kMin:
    case ScalarOp::kMax:
    case ScalarOp::kSelect:
      return true;
    default:
      return false;
  }
}

std::string join(const std::vector<std::string>& args) {
  std::string text;
  for (const std::string& a : args) text += (text.empty() ? "" : ", ") + a;
  return text;
}

std::string float_literal(double v, bool is_double) {
  if (std::isnan(v)) return is_double ? "__builtin_nan(\"\")" : "__builtin_nanf(\"\")";
  std::string text;
  if (std::isinf(v)) {
    text = is_double ? "__builtin_inf()" : "__builtin_inff()";
  } else {
    text = fmt::format("{}", std::fabs(v));
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    if (!is_double) text += "f";
  }
  return std::signbit(v) ? fmt::format("(-{})", text) : text;
}

std::string_view limit_suffix(const Expr& limit) {
  if (limit == nullptr) return "";
  return limit->type.dtype == DType::kBool ? "_mask" : "_count";
}

const Expr& scalar_of(const Expr& e) {
  return e->kind == ExprKind::kBroadcast ? e->args[0] : e;
}

}  // namespace

std::string CExpr::call(std::string_view helper, std::string_view scalar, int lanes,
                        const std::vector<std::string>& args) {
  if (!helpers_.has(helper, scalar)) {
    fail(fmt::format("operation '{}' on {} has no C form", helper, scalar));
    return "0";
  }
  return fmt::format("{}({})", helpers_.function(helper, scalar, lanes), join(args));
}

std::string CExpr::convert(std::string_view to, int lanes, std::string text) {
  std::string type = helpers_.named_type(to, lanes);
  if (lanes == 1) return fmt::format("(({})({}))", type, text);
  return fmt::format("__builtin_convertvector({}, {})", text, type);
}

std::string CExpr::splat(std::string_view scalar, int lanes, const std::string& text) {
  if (lanes == 1) return text;
  std::string type = helpers_.named_type(scalar, lanes);
  if (scalar == "b1") {
    std::string bytes = helpers_.named_type("i8", lanes);
    return fmt::format("__builtin_convertvector(({})((i8)({})) != 0, {})", bytes, text, type);
  }
  return fmt::format("(({})({}))", type, text);
}

// A mask as the integer vector that selects values of `type`.
std::string CExpr::mask_as(const VType& type, std::string mask) {
  std::string ints = fmt::format("i{}", type.dtype == DType::kBool ? 8 : c_type_bits(carrier(type.dtype)));
  return fmt::format("(__builtin_convertvector({}, {}) != 0)", mask, helpers_.named_type(ints, type.lanes));
}

std::string CExpr::rounded(DType dtype, int lanes, std::string text) {
  if (is_emulated_float(dtype)) {
    return decode(dtype, lanes, encode(dtype, lanes, std::move(text)));
  }
  if (!is_sub_byte(dtype)) return text;
  std::string scalar(carrier(dtype));
  std::string type = helpers_.named_type(scalar, lanes);
  int shift = 8 - dtype_bits(dtype);
  if (scalar == "u8") return fmt::format("(({})(({}) & {}))", type, text, (1 << dtype_bits(dtype)) - 1);
  return fmt::format("(({})(({})(({}) << {}) >> {}))", type, type, text, shift, shift);
}

std::string CExpr::decode(DType dtype, int lanes, std::string text) {
  if (is_emulated_float(dtype)) {
    return call(fmt::format("decode_{}", dtype_name(dtype)), storage(dtype), lanes, {text});
  }
  if (dtype == DType::kBool) {
    if (lanes == 1) return fmt::format("({} != 0)", text);
    return fmt::format("__builtin_convertvector({} != 0, {})", text, helpers_.named_type("b1", lanes));
  }
  return text;
}

std::string CExpr::encode(DType dtype, int lanes, std::string text) {
  if (is_emulated_float(dtype)) {
    return call(fmt::format("encode_{}", dtype_name(dtype)), "f32", lanes, {text});
  }
  if (dtype == DType::kBool) return lanes == 1 ? fmt::format("((u8){})", text) : convert("u8", lanes, text);
  return text;
}

std::string CExpr::constant(const Expr& e) {
  std::string scalar(carrier(e->type.dtype));
  helpers_.named_type(scalar, 1);
  switch (dtype_kind(e->type.dtype)) {
    case DTypeKind::kBool:
      return e->i != 0 ? "(b1)1" : "(b1)0";
    case DTypeKind::kFloat:
      return float_literal(e->f, scalar == "f64");
    case DTypeKind::kComplex:
      return fmt::format("(({}){{{}, {}}})", scalar, float_literal(e->f, scalar == "c128"),
                         float_literal(e->imaginary, scalar == "c128"));
    default:
      break;
  }
  if (scalar == "i32") return e->i == INT32_MIN ? "(-2147483647 - 1)" : fmt::format("{}", e->i);
  if (scalar == "i64") {
    if (e->i == INT64_MIN) return "(-9223372036854775807l - 1)";
    return e->i < 0 ? fmt::format("({}l)", e->i) : fmt::format("{}l", e->i);
  }
  if (scalar == "u64") return fmt::format("{}ul", static_cast<uint64_t>(e->i));
  if (scalar == "u32") return fmt::format("{}u", static_cast<uint32_t>(e->i));
  return fmt::format("({})({})", scalar, e->i);
}

std::string CExpr::text(const Expr& e) {
  helpers_.type(e->type);
  switch (e->kind) {
    case ExprKind::kConst:
      return constant(e);
    case ExprKind::kVar:
      return name_(e->var);
    case ExprKind::kOp:
      return op_text(e);
    case ExprKind::kCast:
      return cast_text(e);
    case ExprKind::kBitcast:
      return bitcast_text(e);
    case ExprKind::kLoad:
      return load_text(e);
    case ExprKind::kRamp: {
      std::string lanes;
      for (int l = 0; l < e->type.lanes; ++l) lanes += fmt::format("{}{}", l == 0 ? "" : ", ", l * e->i);
      std::string type = helpers_.type(e->type);
      if (kernel::is_int(e->args[0], 0)) return fmt::format("(({}){{{}}})", type, lanes);
      return fmt::format("(({})({}) + ({}){{{}}})", type, text(e->args[0]), type, lanes);
    }
    case ExprKind::kBroadcast:
      return splat(carrier(e->type.dtype), e->type.lanes, text(e->args[0]));
    case ExprKind::kReduce:
      return reduce_text(e);
    case ExprKind::kShuffle:
      return shuffle_text(e);
    case ExprKind::kIntrinsic:
      return intrinsic_text(e);
  }
  TERN_UNREACHABLE("expression kind");
}

std::string CExpr::op_text(const Expr& e) {
  if (e->op == ScalarOp::kSelect) return select_text(e);
  std::vector<std::string> a;
  for (const Expr& arg : e->args) a.push_back(text(arg));
  VType in = e->args[0]->type;
  std::string scalar(carrier(in.dtype));
  switch (dtype_kind(in.dtype)) {
    case DTypeKind::kBool:
      return bool_op(e, a);
    case DTypeKind::kComplex:
      return complex_op(e, scalar, a);
    default:
      break;
  }
  if (scalar::info(e->op).rule == scalar::TypeRule::kCompare) return compare_text(e, a);
  if (!is_float(in.dtype)) return int_op(e, scalar, a);
  std::string result = float_op(e, scalar, a);
  bool needs_rounding = !is_exact(e->op) && e->type.dtype != DType::kBool;
  return needs_rounding ? rounded(e->type.dtype, e->type.lanes, result) : result;
}

std::string CExpr::compare_text(const Expr& e, const std::vector<std::string>& a) {
  std::string text = fmt::format("({} {} {})", a[0], kernel::infix_text(e->op), a[1]);
  if (e->type.lanes == 1) return text;
  return fmt::format("__builtin_convertvector({}, {})", text, helpers_.named_type("b1", e->type.lanes));
}

std::string CExpr::select_text(const Expr& e) {
  std::string yes = text(e->args[1]), no = text(e->args[2]);
  const Expr& condition = scalar_of(e->args[0]);
  if (condition->type.lanes == 1) return fmt::format("({} ? {} : {})", text(condition), yes, no);
  std::string mask = text(condition);
  if (e->type.dtype == DType::kBool) return fmt::format("(({0} & {1}) | (~{0} & {2}))", mask, yes, no);
  return fmt::format("({} ? {} : {})", mask_as(e->type, mask), yes, no);
}

std::string CExpr::min_max(const Expr& e, std::string_view scalar, const std::vector<std::string>& a) {
  // One compare is enough when an operand is a number for certain: the other one, NaN or not, is then the
  // result of the false branch.
  for (int k : {1, 0}) {
    const Expr& c = scalar_of(e->args[k]);
    if (kernel::is_const(c) && !std::isnan(c->f)) {
      return call(e->op == ScalarOp::kMin ? "min_number" : "max_number", scalar, e->type.lanes,
                  {a[k], a[1 - k]});
    }
  }
  return call(e->op == ScalarOp::kMin ? "min" : "max", scalar, e->type.lanes, a);
}

std::string CExpr::float_op(const Expr& e, std::string_view scalar, const std::vector<std::string>& a) {
  int lanes = e->type.lanes;
  switch (e->op) {
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
    case ScalarOp::kMul:
    case ScalarOp::kDiv:
      return fmt::format("({} {} {})", a[0], kernel::infix_text(e->op), a[1]);
    case ScalarOp::kNeg:
      return fmt::format("(-{})", a[0]);
    case ScalarOp::kAbs:
      return fmt::format("__builtin_elementwise_abs({})", a[0]);
    case ScalarOp::kFloor:
      return fmt::format("__builtin_elementwise_floor({})", a[0]);
    case ScalarOp::kCeil:
      return fmt::format("__builtin_elementwise_ceil({})", a[0]);
    case ScalarOp::kTrunc:
      return fmt::format("__builtin_elementwise_trunc({})", a[0]);
    case ScalarOp::kRoundEven:
      return fmt::format("__builtin_elementwise_roundeven({})", a[0]);
    case ScalarOp::kSqrt:
      return fmt::format("__builtin_elementwise_sqrt({})", a[0]);
    case ScalarOp::kFma:
      if (helpers_.target().fma) return fmt::format("__builtin_elementwise_fma({})", join(a));
      return call("fma", scalar, lanes, a);
    case ScalarOp::kMin:
    case ScalarOp::kMax:
      return min_max(e, scalar, a);
    case ScalarOp::kIsNan:
    case ScalarOp::kIsInf: {
      std::string test = call(e->op == ScalarOp::kIsNan ? "is_nan" : "is_inf", scalar, lanes, a);
      return lanes == 1 ? fmt::format("({} != 0)", test) : convert("b1", lanes, test);
    }
    default:
      return call(scalar::info(e->op).name, scalar, lanes, a);
  }
}

std::string CExpr::int_op(const Expr& e, std::string_view scalar, const std::vector<std::string>& a) {
  int lanes = e->type.lanes;
  DType dtype = e->type.dtype;
  std::string type = helpers_.named_type(scalar, lanes);
  auto narrow = [&](std::string text) {
    if (is_sub_byte(dtype)) return rounded(dtype, lanes, std::move(text));
    // Scalars of less than 32 bits are promoted to int.
    if (lanes == 1 && dtype_bits(dtype) < 32) return fmt::format("(({}){})", type, text);
    return text;
  };
  switch (e->op) {
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
    case ScalarOp::kMul:
    case ScalarOp::kAnd:
    case ScalarOp::kOr:
    case ScalarOp::kXor: {
      std::string_view sign = e->op == ScalarOp::kAnd   ? "&"
                              : e->op == ScalarOp::kOr  ? "|"
                              : e->op == ScalarOp::kXor ? "^"
                                                        : kernel::infix_text(e->op);
      auto constant = kernel::int_value(e->args[1]);
      if (e->op == ScalarOp::kAdd && scalar == "i64" && constant && *constant < 0 && *constant != INT64_MIN) {
        return fmt::format("({} - {}l)", a[0], -*constant);
      }
      return narrow(fmt::format("({} {} {})", a[0], sign, a[1]));
    }
    case ScalarOp::kNeg:
      return narrow(fmt::format("(-{})", a[0]));
    case ScalarOp::kNot:
      return narrow(fmt::format("(~{})", a[0]));
    case ScalarOp::kMin:
      return fmt::format("__builtin_elementwise_min({}, {})", a[0], a[1]);
    case ScalarOp::kMax:
      return fmt::format("__builtin_elementwise_max({}, {})", a[0], a[1]);
    case ScalarOp::kDiv:
    case ScalarOp::kRem: {
      std::string_view sign = kernel::infix_text(e->op);
      const Expr& divisor = scalar_of(e->args[1]);
      if (e->is_index) {
        std::string u = helpers_.named_type("u64", lanes);
        bool safe = kernel::is_const(divisor);
        // A lane that is off may hold anything: never divide by zero.
        std::string d = safe || lanes == 1
                            ? fmt::format("({}){}", u, a[1])
                            : fmt::format("({})__builtin_elementwise_max({}, ({})(1))", u, a[1], type);
        return fmt::format("(({})(({}){} {} {}))", type, u, a[0], sign, d);
      }
      if (kernel::is_const(divisor) && divisor->i != 0 && divisor->i != -1) {
        return narrow(fmt::format("({} {} {})", a[0], sign, a[1]));
      }
      return narrow(call(e->op == ScalarOp::kDiv ? "div" : "rem", scalar, lanes, a));
    }
    case ScalarOp::kShl:
    case ScalarOp::kShr:
      return narrow(call(scalar::info(e->op).name, scalar, lanes, a));
    case ScalarOp::kPopcount:
      if (dtype == DType::kI4 || dtype == DType::kI2) {
        std::string bits = convert("u8", lanes, fmt::format("({} & {})", a[0], (1 << dtype_bits(dtype)) - 1));
        return rounded(dtype, lanes, convert("i8", lanes, call("popcount", "u8", lanes, {bits})));
      }
      return narrow(call("popcount", scalar, lanes, a));
    default:
      return narrow(call(scalar::info(e->op).name, scalar, lanes, a));
  }
}

std::string CExpr::bool_op(const Expr& e, const std::vector<std::string>& a) {
  std::string_view tilde = e->type.lanes == 1 ? "!" : "~";
  switch (e->op) {
    case ScalarOp::kNot:
      return fmt::format("({}{})", tilde, a[0]);
    case ScalarOp::kAnd:
      return fmt::format("({} & {})", a[0], a[1]);
    case ScalarOp::kOr:
      return fmt::format("({} | {})", a[0], a[1]);
    case ScalarOp::kXor:
    case ScalarOp::kNe:
      return fmt::format("({} ^ {})", a[0], a[1]);
    case ScalarOp::kEq:
      return fmt::format("({}({} ^ {}))", tilde, a[0], a[1]);
    default:
      fail(fmt::format("operation '{}' on bool has no C form", scalar::info(e->op).name));
      return "0";
  }
}

std::string CExpr::complex_op(const Expr& e, std::string_view scalar, const std::vector<std::string>& a) {
  if (e->type.lanes != 1 || e->args[0]->type.lanes != 1) fail("vectors of complex numbers have no C form");
  return call(fmt::format("complex_{}", scalar::info(e->op).name), scalar, 1, a);
}

// cast.u8(max(min(round_even(x) + zero, high), low)): bounded first, where the bounds are whole numbers too,
// then rounded and converted at once. A NaN becomes the lower bound, which must be what the cast makes of it:
// 0. Empty for anything else.
std::string CExpr::quantise_text(const Expr& e) {
  if (e->type.dtype != DType::kU8 || e->args[0]->type.dtype != DType::kF32) return "";
  double bounds[2] = {}, zero = 0;  // low, high
  Expr x = e->args[0];
  for (int k = 0; k < 2; ++k) {
    const bool is_max = x->kind == ExprKind::kOp && x->op == ScalarOp::kMax;
    if (x->kind != ExprKind::kOp || (!is_max && x->op != ScalarOp::kMin)) return "";
    const Expr& bound = scalar_of(x->args[1]);
    if (!kernel::is_const(bound)) return "";
    bounds[is_max ? 0 : 1] = bound->f;
    if (is_max != (k == 0)) return "";
    x = x->args[0];
  }
  if (bounds[0] != 0 || bounds[1] != 255) return "";
  if (x->kind == ExprKind::kOp && x->op == ScalarOp::kAdd) {
    const Expr& added = scalar_of(x->args[1]);
    if (!kernel::is_const(added) || added->f != std::nearbyint(added->f) || std::fabs(added->f) > 255)
      return "";
    zero = added->f;
    x = x->args[0];
  }
  if (x->kind != ExprKind::kOp || x->op != ScalarOp::kRoundEven) return "";
  const int lanes = e->type.lanes;
  std::string low = fmt::format("{}", bounds[0] - zero), high = fmt::format("{}", bounds[1] - zero);
  std::string whole = call("round_between", "f32", lanes, {text(x->args[0]), low, high});
  helpers_.named_type("i32", lanes);
  return convert("u8", lanes, fmt::format("({} + ({})({}))", whole, helpers_.named_type("i32", lanes), zero));
}

std::string CExpr::cast_text(const Expr& e) {
  if (std::string quantised = quantise_text(e); !quantised.empty()) return quantised;
  DType from = e->args[0]->type.dtype, to = e->type.dtype;
  int lanes = e->type.lanes;
  std::string x = text(e->args[0]);
  std::string from_c(carrier(from)), to_c(carrier(to));
  if (is_complex(from) || is_complex(to)) {
    if (lanes != 1) fail("vectors of complex numbers have no C form");
    if (is_complex(from) && is_complex(to)) return call("complex_cast", to_c, 1, {x + ".re", x + ".im"});
    if (is_complex(to)) return call("complex_cast", to_c, 1, {x, "0"});
    if (to == DType::kBool) return fmt::format("({0}.re != 0 || {0}.im != 0)", x);
    x += ".re";
    from_c = from_c == "c64" ? "f32" : "f64";
    from = from_c == "f32" ? DType::kF32 : DType::kF64;
    if (from == to) return x;
  }
  if (to == DType::kBool) {
    std::string test = fmt::format("({} != 0)", x);
    return lanes == 1 ? test : convert("b1", lanes, test);
  }
  if (from == DType::kBool) return rounded(to, lanes, convert(to_c, lanes, x));
  if (is_float(to)) {
    if (!is_emulated_float(to)) return from_c == to_c ? x : convert(to_c, lanes, x);
    std::string suffix = e->saturate ? "" : "_overflow";
    bool small = dtype_bits(to) <= 8;
    if (is_float(from) ? from == DType::kF64 : dtype_bits(from) > 16) {
      // Round once: through f64 to an f32 whose last bit is sticky.
      x = call("round_to_odd", "f64", lanes, {from == DType::kF64 ? x : convert("f64", lanes, x)});
    } else if (!is_float(from)) {
      x = convert("f32", lanes, x);
    }
    return decode(to, lanes,
                  call(fmt::format("encode_{}{}", dtype_name(to), small ? suffix : ""), "f32", lanes, {x}));
  }
  if (is_float(from)) {
    if (is_sub_byte(to)) {
      std::string wide = call("to_i32", from_c, lanes, {x});
      int bits = dtype_bits(to);
      int low = is_signed_int(to) ? -(1 << (bits - 1)) : 0;
      int high = is_signed_int(to) ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
      return convert(to_c, lanes,
                     call("clamp", "i32", lanes, {wide, fmt::format("{}", low), fmt::format("{}", high)}));
    }
    return call(fmt::format("to_{}", to_c), from_c, lanes, {x});
  }
  return rounded(to, lanes, from_c == to_c ? x : convert(to_c, lanes, x));
}

std::string CExpr::bitcast_text(const Expr& e) {
  VType from = e->args[0]->type, to = e->type;
  std::string in = encode(from.dtype, from.lanes, text(e->args[0]));
  std::string from_type = helpers_.named_type(storage(from.dtype), from.lanes);
  std::string to_type = helpers_.named_type(storage(to.dtype), to.lanes);
  std::string bits =
      from_type == to_type ? in : fmt::format("((union {{ {} a; {} b; }}){{{}}}).b", from_type, to_type, in);
  return decode(to.dtype, to.lanes, bits);
}

std::string CExpr::reduce_text(const Expr& e) {
  VType in = e->args[0]->type;
  std::string x = text(e->args[0]);
  if (in.dtype == DType::kBool) {
    std::string bytes = convert("u8", in.lanes, x);
    std::string_view how = e->op == ScalarOp::kOr ? "or" : e->op == ScalarOp::kAnd ? "and" : "xor";
    return fmt::format("((b1)(__builtin_reduce_{}({}) & 1))", how, bytes);
  }
  std::string result =
      call(fmt::format("reduce_{}", scalar::info(e->op).name), carrier(in.dtype), in.lanes, {x});
  if (is_emulated_float(in.dtype)) fail(fmt::format("lanes of {} are reduced", dtype_name(in.dtype)));
  return rounded(in.dtype, 1, result);
}

std::string CExpr::shuffle_text(const Expr& e) {
  bool is_bool = e->type.dtype == DType::kBool;
  std::vector<std::string> a;
  for (const Expr& arg : e->args) {
    std::string t = text(arg);
    if (arg->type.lanes == 1)
      t = fmt::format("({} __attribute__((ext_vector_type(1))))({})",
                      helpers_.named_type(carrier(arg->type.dtype), 1), t);
    a.push_back(is_bool ? convert("u8", arg->type.lanes, t) : t);
  }
  if (e->args[0]->type.lanes == 1) fail("shuffle of a scalar");
  if (e->type.lanes == 1) {
    int lane = std::max(e->lanes[0], 0), n = e->args[0]->type.lanes;
    return fmt::format("{}[{}]", a[static_cast<size_t>(lane / n)], lane % n);
  }
  std::string lanes;
  for (int lane : e->lanes) lanes += fmt::format(", {}", lane);
  std::string out = fmt::format("__builtin_shufflevector({}, {}{})", a[0], a.size() > 1 ? a[1] : a[0], lanes);
  return is_bool ? fmt::format("__builtin_convertvector({} != 0, {})", out,
                               helpers_.named_type("b1", e->type.lanes))
                 : out;
}

std::string CExpr::intrinsic_text(const Expr& e) {
  std::vector<std::string> a;
  for (const Expr& arg : e->args) a.push_back(text(arg));
  int lanes = e->type.lanes;
  switch (e->intrinsic) {
    case kernel::Intrinsic::kDot4U8I8:
      helpers_.named_type("u8", 4 * lanes);
      helpers_.named_type("i8", 4 * lanes);
      return call("dot4_u8i8", "i32", lanes, a);
    case kernel::Intrinsic::kDot4I8I8:
      helpers_.named_type("i8", 4 * lanes);
      return call("dot4_i8i8", "i32", lanes, a);
    case kernel::Intrinsic::kDot2I16:
      helpers_.named_type("i16", 2 * lanes);
      return call("dot2_i16", "i32", lanes, a);
    case kernel::Intrinsic::kDot2BF16:
      return call("dot2_bf16", "f32", lanes, a);
    default:
      fail(fmt::format("intrinsic '{}' has no C form", kernel::intrinsic_name(e->intrinsic)));
      return "0";
  }
}

std::string CExpr::load_text(const Expr& e) {
  const BufferSpelling& spelling = buffers_[e->buffer.get()];
  const Expr& index = e->args[0];
  if (spelling.separate) return fmt::format("{}_{}", spelling.name, *kernel::int_value(index));
  DType dtype = e->type.dtype;
  int lanes = e->type.lanes;
  std::string base = spelling.name, at = text(index);
  std::string element(storage(dtype));
  if (e->buffer->type.lanes > 1) return fmt::format("{}[{}]", base, at);
  const Expr limit = e->args.size() > 1 ? e->args[1] : nullptr;
  if (is_sub_byte(dtype)) {
    std::string indices = lanes > 1 && index->type.lanes == 1 ? text(kernel::ramp(index, 1, lanes)) : at;
    std::vector<std::string> args = {base, indices};
    if (limit != nullptr) args.push_back(text(limit));
    return call(fmt::format("load_{}{}", dtype_name(dtype), limit_suffix(limit)), carrier(dtype), lanes,
                args);
  }
  if (index->type.lanes > 1) {
    std::vector<std::string> args = {base, at};
    if (limit != nullptr) args.push_back(text(limit));
    std::string name = helpers_.function(limit != nullptr ? "gather_mask" : "gather", element, lanes);
    return decode(dtype, lanes, fmt::format("{}({})", name, join(args)));
  }
  if (limit != nullptr) {
    std::string_view how = limit->type.dtype == DType::kBool ? "load_mask" : "load_count";
    return decode(
        dtype, lanes,
        fmt::format("{}({} + {}, {})", helpers_.function(how, element, lanes), base, at, text(limit)));
  }
  if (lanes == 1) return decode(dtype, 1, fmt::format("{}[{}]", base, at));
  return decode(dtype, lanes,
                fmt::format("(*(const {}*)({} + {}))", helpers_.memory_type(element, lanes), base, at));
}

std::string CExpr::store_text(const kernel::Stmt& s) {
  const BufferSpelling& spelling = buffers_[s->buffer.get()];
  DType dtype = s->buffer->type.dtype;
  int lanes = s->value->type.lanes;
  // f32 that is rounded to what it is stored as: encoded once, not decoded in between.
  const bool rounds = s->value->kind == ExprKind::kCast && is_emulated_float(dtype) &&
                      dtype_bits(dtype) == 16 && s->value->type.dtype == dtype &&
                      s->value->args[0]->type.dtype == DType::kF32 && s->buffer->type.lanes == 1 &&
                      !spelling.separate;
  std::string value = text(rounds ? s->value->args[0] : s->value);
  if (spelling.separate) {
    return fmt::format("{}_{} = {};", spelling.name, *kernel::int_value(s->index), value);
  }
  std::string base = spelling.name, at = text(s->index), element(storage(dtype));
  if (s->buffer->type.lanes > 1) return fmt::format("{}[{}] = {};", base, at, value);
  if (is_sub_byte(dtype)) {
    std::string indices =
        lanes > 1 && s->index->type.lanes == 1 ? text(kernel::ramp(s->index, 1, lanes)) : at;
    value = is_emulated_float(dtype) ? encode(dtype, lanes, value) : convert("u8", lanes, value);
    std::vector<std::string> args = {base, indices, value};
    if (s->count != nullptr) args.push_back(text(s->count));
    return call(fmt::format("store_bits{}{}", dtype_bits(dtype), limit_suffix(s->count)), "u8", lanes, args) +
           ";";
  }
  value = encode(dtype, lanes, value);
  if (s->index->type.lanes > 1) {
    std::vector<std::string> args = {base, at, value};
    if (s->count != nullptr) args.push_back(text(s->count));
    return fmt::format("{}({});",
                       helpers_.function(s->count != nullptr ? "scatter_mask" : "scatter", element, lanes),
                       join(args));
  }
  if (s->count != nullptr) {
    std::string_view how = s->count->type.dtype == DType::kBool ? "store_mask" : "store_count";
    return fmt::format("{}({} + {}, {}, {});", helpers_.function(how, element, lanes), base, at, value,
                       text(s->count));
  }
  if (lanes == 1) return fmt::format("{}[{}] = {};", base, at, value);
  return fmt::format("*({}*)({} + {}) = {};", helpers_.memory_type(element, lanes), base, at, value);
}

}  // namespace tern::render
