#include "compiler/render/glsl_expr.h"

#include <cmath>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/text.h"

namespace tern::render {

using kernel::Expr;
using kernel::ExprKind;
using kernel::ScalarOp;
using kernel::VType;

namespace {

bool is_narrow_float(DType dtype) {
  return is_float(dtype) && dtype != DType::kF32 && dtype != DType::kF64;
}

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::string float_literal(double v, bool is_double) {
  if (std::isnan(v))
    return is_double ? "packDouble2x32(uvec2(0u, 0x7ff80000u))" : "uintBitsToFloat(0x7fc00000u)";
  if (std::isinf(v)) {
    const std::string_view high = std::signbit(v) ? "fff" : "7ff";
    if (is_double) return fmt::format("packDouble2x32(uvec2(0u, 0x{}00000u))", high);
    return fmt::format("uintBitsToFloat(0x{}800000u)", std::signbit(v) ? "ff" : "7f");
  }
  std::string text =
      is_double ? fmt::format("{}", std::fabs(v)) : fmt::format("{}", static_cast<float>(std::fabs(v)));
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  if (is_double) text += "lf";
  return std::signbit(v) ? fmt::format("(-{})", text) : text;
}

std::string int_literal(int64_t value) {
  if (value == INT32_MIN) return "(-2147483647 - 1)";
  return value < 0 ? fmt::format("({})", value) : fmt::format("{}", value);
}

const Expr& scalar_of(const Expr& e) {
  return e->kind == ExprKind::kBroadcast ? e->args[0] : e;
}

bool is_index_type(const Expr& e) {
  return e->type == VType{DType::kI64, 1};
}

}  // namespace

// Whether an index is a multiple of n (a power of two) whatever its variables are.
bool GlslExpr::is_multiple(const Expr& e, int64_t n) const {
  if (auto value = kernel::int_value(e)) return *value % n == 0;
  if (e->kind == ExprKind::kVar) {
    const auto known = multiples_.find(e->var.get());
    return known != multiples_.end() && known->second % n == 0;
  }
  if (e->kind != ExprKind::kOp) return false;
  const auto all = [&](size_t first) {
    return is_multiple(e->args[first], n) && is_multiple(e->args[first + 1], n);
  };
  if (e->op == ScalarOp::kAdd || e->op == ScalarOp::kSub || e->op == ScalarOp::kMin ||
      e->op == ScalarOp::kMax)
    return all(0);
  if (e->op == ScalarOp::kRem && e->is_index) return all(0);
  if (e->op == ScalarOp::kSelect) return all(1);
  if (e->op == ScalarOp::kMul) return is_multiple(e->args[0], n) || is_multiple(e->args[1], n);
  return false;
}

void GlslExpr::note_let(const kernel::Var& var, const Expr& value) {
  constexpr int64_t kMost = 16;
  if (value->type != VType{DType::kI64, 1}) return;
  for (int64_t n = kMost; n > 1; n /= 2) {
    if (!is_multiple(value, n)) continue;
    multiples_[var.get()] = n;
    return;
  }
}

std::string GlslExpr::call(std::string_view helper, std::string_view scalar, int lanes,
                           const Texts& arguments) {
  const std::string name = helpers_.function(helper, scalar, lanes);
  if (name.empty()) {
    fail(fmt::format("operation '{}' on {} has no form", helper, scalar));
    return "0";
  }
  return fmt::format("{}({})", name, join(arguments));
}

// Narrow integers are carried with 32 bits.
std::string GlslExpr::wrapped(DType dtype, std::string text) {
  const int bits = dtype_bits(dtype);
  if (bits >= 32) return text;
  if (is_signed_int(dtype)) return fmt::format("bitfieldExtract({}, 0, {})", text, bits);
  return fmt::format("({} & {}u)", text, (1u << bits) - 1);
}

std::string GlslExpr::rounded(DType dtype, int lanes, std::string text) {
  if (is_narrow_float(dtype)) {
    const std::string bits = call(fmt::format("encode_{}", dtype_name(dtype)), "", lanes, {text});
    return call(fmt::format("decode_{}", dtype_name(dtype)), "", lanes, {bits});
  }
  return is_int(dtype) ? wrapped(dtype, std::move(text)) : text;
}

std::string GlslExpr::constant(const Expr& e) {
  const std::string_view scalar = glsl_carrier(e->type.dtype);
  helpers_.type(scalar);
  switch (dtype_kind(e->type.dtype)) {
    case DTypeKind::kBool:
      return e->i != 0 ? "true" : "false";
    case DTypeKind::kFloat:
      return float_literal(e->f, scalar == "double");
    case DTypeKind::kComplex:
      return fmt::format("{}({}, {})", scalar, float_literal(e->f, scalar == "dvec2"),
                         float_literal(e->imaginary, scalar == "dvec2"));
    default:
      break;
  }
  if (scalar == "int") return int_literal(e->i);
  if (scalar == "uint") return fmt::format("{}u", static_cast<uint32_t>(e->i));
  if (scalar == "uint64_t") return fmt::format("{}UL", static_cast<uint64_t>(e->i));
  if (e->i == INT64_MIN) return "(-9223372036854775807L - 1L)";
  return e->i < 0 ? fmt::format("({}L)", e->i) : fmt::format("{}L", e->i);
}

std::string GlslExpr::index(const Expr& e) {
  if (e->type.dtype != DType::kI64) return text(e);
  if (e->type.lanes == 1 && narrow_.narrow(e)) return narrow_text(e);
  if (e->type.lanes == 1) return fmt::format("int({})", text(e));
  // Vectors of indices: ramps and broadcasts of what is narrow.
  if (e->kind == ExprKind::kBroadcast) return fmt::format("ivec{}({})", e->type.lanes, index(e->args[0]));
  if (e->kind == ExprKind::kRamp) {
    Texts lanes;
    for (int lane = 0; lane < e->type.lanes; ++lane) lanes.push_back(fmt::format("{}", lane * e->i));
    return fmt::format("(ivec{0}({1}) + ivec{0}({2}))", e->type.lanes, index(e->args[0]), join(lanes));
  }
  if (e->kind == ExprKind::kOp &&
      (e->op == ScalarOp::kAdd || e->op == ScalarOp::kSub || e->op == ScalarOp::kMul)) {
    return fmt::format("({} {} {})", index(e->args[0]), kernel::infix_text(e->op), index(e->args[1]));
  }
  return fmt::format("ivec{}({})", e->type.lanes, text(e));
}

// A scalar i64 that narrow_indices says can be computed with 32 bits.
std::string GlslExpr::narrow_text(const Expr& e) {
  switch (e->kind) {
    case ExprKind::kConst:
      return int_literal(e->i);
    case ExprKind::kVar:
      return name_(e->var);
    case ExprKind::kCast:
      return fmt::format("int({})", text(e->args[0]));
    case ExprKind::kIntrinsic:
      return intrinsic_text(e);
    default:
      break;
  }
  if (e->op == ScalarOp::kSelect)
    return fmt::format("({} ? {} : {})", text(e->args[0]), narrow_text(e->args[1]), narrow_text(e->args[2]));
  Texts a;
  for (const Expr& arg : e->args) a.push_back(narrow_text(arg));
  switch (e->op) {
    case ScalarOp::kNeg:
      return fmt::format("(-{})", a[0]);
    case ScalarOp::kMin:
    case ScalarOp::kMax:
      return fmt::format("{}({}, {})", e->op == ScalarOp::kMin ? "min" : "max", a[0], a[1]);
    case ScalarOp::kAnd:
    case ScalarOp::kOr:
    case ScalarOp::kXor:
      return int_op(e, "int", a);
    case ScalarOp::kDiv:
    case ScalarOp::kRem:
      if (!e->is_index) return call(e->op == ScalarOp::kDiv ? "div" : "rem", "int", 1, a);
      return fmt::format("int(uint({}) {} uint({}))", a[0], e->op == ScalarOp::kDiv ? "/" : "%", a[1]);
    default:
      return fmt::format("({} {} {})", a[0], kernel::infix_text(e->op), a[1]);
  }
}

std::string GlslExpr::text(const Expr& e) {
  const int lanes = e->type.lanes;
  if (lanes > 4) {
    fail(fmt::format("a vector of {} lanes has no form", lanes));
    return "0";
  }
  if (is_index_type(e) && narrow_.fits(e) && e->kind != ExprKind::kConst)
    return fmt::format("{}({})", helpers_.type("int64_t"), narrow_text(e));
  const std::string type = helpers_.type(glsl_carrier(e->type.dtype), lanes);
  switch (e->kind) {
    case ExprKind::kConst:
      return constant(e);
    case ExprKind::kVar:
      return is_index_type(e) && narrow_.narrow(e->var.get()) ? fmt::format("int64_t({})", name_(e->var))
                                                              : name_(e->var);
    case ExprKind::kOp:
      return op_text(e);
    case ExprKind::kCast:
      return cast_text(e);
    case ExprKind::kBitcast:
      return bitcast_text(e);
    case ExprKind::kLoad:
      return load_text(e);
    case ExprKind::kRamp:
      return fmt::format("{}({})", type, index(e));
    case ExprKind::kBroadcast:
      return fmt::format("{}({})", type, text(e->args[0]));
    case ExprKind::kReduce:
      return reduce_text(e);
    case ExprKind::kShuffle:
      return shuffle_text(e);
    case ExprKind::kIntrinsic:
      return intrinsic_text(e);
  }
  TERN_UNREACHABLE("expression kind");
}

std::string GlslExpr::op_text(const Expr& e) {
  if (e->op == ScalarOp::kSelect) return select_text(e);
  if (scalar::info(e->op).rule == scalar::TypeRule::kCompare) return compare_text(e);
  Texts a;
  for (const Expr& arg : e->args) a.push_back(text(arg));
  const DType in = e->args[0]->type.dtype;
  const std::string_view scalar = glsl_carrier(in);
  switch (dtype_kind(in)) {
    case DTypeKind::kBool:
      return bool_op(e, a);
    case DTypeKind::kComplex:
      return complex_op(e, scalar, a);
    case DTypeKind::kFloat: {
      const std::string result = float_op(e, scalar, a);
      return e->type.dtype == DType::kBool ? result : rounded(e->type.dtype, e->type.lanes, result);
    }
    default:
      return int_op(e, scalar, a);
  }
}

std::string GlslExpr::compare_text(const Expr& e) {
  const Expr &x = e->args[0], &y = e->args[1];
  const int lanes = e->type.lanes;
  const bool narrow = is_index_type(x) && narrow_.narrow(x) && narrow_.narrow(y);
  const bool lanes_narrow = narrow_.narrow_lanes(x) && narrow_.narrow_lanes(y);
  const auto operand = [&](const Expr& o) {
    return narrow ? narrow_text(o) : lanes_narrow ? index(o) : text(o);
  };
  const std::string a = operand(x), b = operand(y);
  if (is_complex(x->type.dtype) && lanes > 1) fail("vectors of complex numbers have no form");
  if (lanes == 1) return fmt::format("({} {} {})", a, kernel::infix_text(e->op), b);
  const std::string_view function = e->op == ScalarOp::kEq   ? "equal"
                                    : e->op == ScalarOp::kNe ? "notEqual"
                                    : e->op == ScalarOp::kLt ? "lessThan"
                                    : e->op == ScalarOp::kLe ? "lessThanEqual"
                                    : e->op == ScalarOp::kGt ? "greaterThan"
                                                             : "greaterThanEqual";
  return fmt::format("{}({}, {})", function, a, b);
}

std::string GlslExpr::select_text(const Expr& e) {
  const std::string yes = text(e->args[1]), no = text(e->args[2]);
  const Expr& condition = scalar_of(e->args[0]);
  if (condition->type.lanes == 1) return fmt::format("({} ? {} : {})", text(condition), yes, no);
  return fmt::format("mix({}, {}, {})", no, yes, text(condition));
}

std::string GlslExpr::bool_op(const Expr& e, const Texts& a) {
  const int lanes = e->type.lanes;
  switch (e->op) {
    case ScalarOp::kNot:
      return lanes == 1 ? fmt::format("(!{})", a[0]) : fmt::format("not({})", a[0]);
    case ScalarOp::kAnd:
      return lanes == 1 ? fmt::format("({} && {})", a[0], a[1]) : call("and", "bool", lanes, a);
    case ScalarOp::kOr:
      return lanes == 1 ? fmt::format("({} || {})", a[0], a[1]) : call("or", "bool", lanes, a);
    case ScalarOp::kXor:
      return lanes == 1 ? fmt::format("({} != {})", a[0], a[1]) : call("xor", "bool", lanes, a);
    default:
      fail(fmt::format("operation '{}' on bool has no form", scalar::info(e->op).name));
      return "false";
  }
}

std::string GlslExpr::complex_op(const Expr& e, std::string_view scalar, const Texts& a) {
  if (e->type.lanes != 1) fail("vectors of complex numbers have no form");
  switch (e->op) {
    case ScalarOp::kNeg:
      return fmt::format("(-{})", a[0]);
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
      return fmt::format("({} {} {})", a[0], kernel::infix_text(e->op), a[1]);
    default:
      return call(fmt::format("complex_{}", scalar::info(e->op).name), scalar, 1, a);
  }
}

std::string GlslExpr::float_op(const Expr& e, std::string_view scalar, const Texts& a) {
  const int lanes = e->type.lanes;
  switch (e->op) {
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
    case ScalarOp::kMul:
    case ScalarOp::kDiv:
      if (e->op == ScalarOp::kDiv && scalar == "float" && exact_quotients_)
        return call("quotient", scalar, lanes, a);
      return fmt::format("({} {} {})", a[0], kernel::infix_text(e->op), a[1]);
    case ScalarOp::kNeg:
      return fmt::format("(-{})", a[0]);
    case ScalarOp::kAbs:
    case ScalarOp::kFloor:
    case ScalarOp::kCeil:
    case ScalarOp::kTrunc:
    case ScalarOp::kSqrt:
    case ScalarOp::kFma:
      return fmt::format("{}({})", scalar::info(e->op).name, join(a));
    case ScalarOp::kRoundEven:
      return fmt::format("roundEven({})", a[0]);
    default:
      return call(scalar::info(e->op).name, scalar, lanes, a);
  }
}

std::string GlslExpr::int_op(const Expr& e, std::string_view scalar, const Texts& a) {
  const int lanes = e->type.lanes;
  const DType dtype = e->type.dtype;
  switch (e->op) {
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
    case ScalarOp::kMul:
      return wrapped(dtype, fmt::format("({} {} {})", a[0], kernel::infix_text(e->op), a[1]));
    case ScalarOp::kAnd:
      return fmt::format("({} & {})", a[0], a[1]);
    case ScalarOp::kOr:
      return fmt::format("({} | {})", a[0], a[1]);
    case ScalarOp::kXor:
      return fmt::format("({} ^ {})", a[0], a[1]);
    case ScalarOp::kNeg:
      return wrapped(dtype, fmt::format("(-{})", a[0]));
    case ScalarOp::kNot:
      return wrapped(dtype, fmt::format("(~{})", a[0]));
    case ScalarOp::kDiv:
    case ScalarOp::kRem:
      if (e->is_index && lanes == 1) {
        const std::string u = helpers_.type(scalar == "int" ? "uint" : "uint64_t");
        return fmt::format("{0}({1}({2}) {3} {1}({4}))", scalar, u, a[0], e->op == ScalarOp::kDiv ? "/" : "%",
                           a[1]);
      }
      return wrapped(dtype, call(scalar::info(e->op).name, scalar, lanes, a));
    case ScalarOp::kPopcount:
      if (dtype_bits(dtype) < 32 && is_signed_int(dtype))
        return wrapped(dtype, call("popcount", scalar, lanes,
                                   {fmt::format("({} & {})", a[0], (1 << dtype_bits(dtype)) - 1)}));
      return wrapped(dtype, call("popcount", scalar, lanes, a));
    default:
      return wrapped(dtype, call(scalar::info(e->op).name, scalar, lanes, a));
  }
}

std::string GlslExpr::cast_complex(const Expr& e) {
  const DType from = e->args[0]->type.dtype, to = e->type.dtype;
  if (e->type.lanes != 1) fail("vectors of complex numbers have no form");
  const std::string x = text(e->args[0]), type = helpers_.type(glsl_carrier(to));
  if (is_complex(from) && is_complex(to)) return fmt::format("{}({})", type, x);
  if (is_complex(to)) return fmt::format("{0}({1}({2}), 0)", type, to == DType::kC64 ? "float" : "double", x);
  if (to == DType::kBool) return fmt::format("({} != {}(0))", x, glsl_carrier(from));
  const DType part = from == DType::kC64 ? DType::kF32 : DType::kF64;
  return cast_from_float(e, glsl_carrier(part), x + ".x");
}

// x: of the scalar type `from`, float or double.
std::string GlslExpr::cast_from_float(const Expr& e, std::string_view from, const std::string& x) {
  const DType to = e->type.dtype;
  const int lanes = e->type.lanes;
  const std::string type = helpers_.type(glsl_carrier(to), lanes);
  if (is_float(to)) {
    const std::string value = from == glsl_carrier(to) ? x : fmt::format("{}({})", type, x);
    if (!is_narrow_float(to)) return value;
    const bool overflow = !e->saturate && dtype_bits(to) == 8;
    const std::string bits =
        call(fmt::format("encode_{}{}", dtype_name(to), overflow ? "_overflow" : ""), "", lanes, {value});
    return call(fmt::format("decode_{}", dtype_name(to)), "", lanes, {bits});
  }
  const int bits = dtype_bits(to);
  const std::string wide = call(fmt::format("to_{}", glsl_carrier(to)), from, lanes, {x});
  if (bits >= 32) return wide;
  if (!is_signed_int(to)) return fmt::format("min({}, {}({}u))", wide, type, (1u << bits) - 1);
  return fmt::format("clamp({0}, {1}({2}), {1}({3}))", wide, type, -(1 << (bits - 1)), (1 << (bits - 1)) - 1);
}

std::string GlslExpr::cast_text(const Expr& e) {
  const DType from = e->args[0]->type.dtype, to = e->type.dtype;
  const int lanes = e->type.lanes;
  if (is_complex(from) || is_complex(to)) return cast_complex(e);
  // An index that becomes a narrower number need not be 64 bits wide first, nor one whose value fits 32 bits
  // that becomes a float.
  const bool narrow = is_index_type(e->args[0]) &&
                      (is_int(to) && dtype_bits(to) <= 32 ? narrow_.narrow(e->args[0])
                                                          : to == DType::kF32 && narrow_.fits(e->args[0]));
  const std::string x = narrow ? narrow_text(e->args[0]) : text(e->args[0]);
  const std::string type = helpers_.type(glsl_carrier(to), lanes);
  if (to == DType::kBool) {
    const std::string zero = fmt::format("{}(0)", glsl_type(glsl_carrier(from), lanes));
    return lanes == 1 ? fmt::format("({} != {})", x, zero) : fmt::format("notEqual({}, {})", x, zero);
  }
  if (from != DType::kBool && is_float(from)) return cast_from_float(e, glsl_carrier(from), x);
  if (is_narrow_float(to)) {
    const std::string value = fmt::format("{}({})", type, x);
    const bool overflow = !e->saturate && dtype_bits(to) == 8;
    const std::string bits =
        call(fmt::format("encode_{}{}", dtype_name(to), overflow ? "_overflow" : ""), "", lanes, {value});
    return call(fmt::format("decode_{}", dtype_name(to)), "", lanes, {bits});
  }
  const std::string value = glsl_carrier(from) == glsl_carrier(to) ? x : fmt::format("{}({})", type, x);
  return is_int(to) && from != DType::kBool ? wrapped(to, value) : value;
}

// Narrow elements of a buffer, as words: one access.
std::string GlslExpr::raw_load_text(const Expr& e) {
  const Expr& load = e->args[0];
  const int words = e->type.lanes;
  if (e->type.dtype != DType::kU32 || (words != 1 && words != 2 && words != 4) ||
      load->kind != ExprKind::kLoad || load->type.lanes <= words || load->args.size() != 1 ||
      !is_multiple(load->args[0], load->type.lanes))
    return "";
  return memory_.raw_load(load->buffer.get(), index(load->args[0]), words);
}

std::string GlslExpr::raw_store_text(const kernel::Stmt& s) {
  if (s->value->kind != ExprKind::kBitcast || s->count || s->buffer->scope == kernel::Scope::kRegister)
    return "";
  const Expr& words = s->value->args[0];
  const int lanes = s->value->type.lanes;
  if (words->type.dtype != DType::kU32 || lanes <= words->type.lanes || !is_multiple(s->index, lanes))
    return "";
  return memory_.raw_store(s->buffer.get(), index(s->index), words->type.lanes, text(words));
}

std::string GlslExpr::bitcast_text(const Expr& e) {
  if (std::string raw = raw_load_text(e); !raw.empty()) return raw;
  const VType from = e->args[0]->type, to = e->type;
  const std::string x = text(e->args[0]);
  const int bits = dtype_bits(from.dtype);
  const std::string_view a = glsl_carrier(from.dtype), b = glsl_carrier(to.dtype);
  if (from.lanes == to.lanes && bits == dtype_bits(to.dtype)) {
    if (a == b && !is_narrow_float(from.dtype) && !is_narrow_float(to.dtype)) return x;
    if (bits == 32) {
      if (a == "float") return fmt::format("floatBitsTo{}({})", b == "int" ? "Int" : "Uint", x);
      if (b == "float") return fmt::format("{}BitsToFloat({})", a, x);
      return fmt::format("{}({})", glsl_type(b, to.lanes), x);
    }
    if (bits == 64 && to.lanes == 1) {
      if (a == "double") return fmt::format("{}(packUint2x32(unpackDouble2x32({})))", helpers_.type(b), x);
      if (b == "double") return fmt::format("packDouble2x32(unpackUint2x32(uint64_t({})))", x);
      return fmt::format("{}({})", helpers_.type(b), x);
    }
    if (bits < 32) {  // through the pattern
      std::string raw = x;
      if (is_narrow_float(from.dtype)) {
        raw = call(fmt::format("encode_{}", dtype_name(from.dtype)), "", from.lanes, {x});
      } else if (is_int(from.dtype)) {
        raw = fmt::format("({}({}) & {}u)", glsl_type("uint", from.lanes), x, (1u << bits) - 1);
      }
      if (is_narrow_float(to.dtype))
        return call(fmt::format("decode_{}", dtype_name(to.dtype)), "", to.lanes, {raw});
      if (is_int(to.dtype)) return wrapped(to.dtype, fmt::format("{}({})", glsl_type(b, to.lanes), raw));
    }
  }
  if (from == VType{DType::kF16, 2} && to == VType{DType::kU32, 1}) {
    if (const std::string pair = halves_text(e->args[0]); !pair.empty())
      return fmt::format("packFloat2x16({})", pair);
    const std::string encode = helpers_.function("encode_f16", "");
    return fmt::format(
        "{}({})",
        helpers_.define("pack_halves", "uint", "vec2 x", fmt::format("{0}(x.x) | {0}(x.y) << 16", encode)),
        x);
  }
  if (from == VType{DType::kU32, 1} && to == VType{DType::kF16, 2}) {
    const std::string decode = helpers_.function("decode_f16", "");
    return fmt::format("{}({})",
                       helpers_.define("unpack_halves", "vec2", "uint x",
                                       fmt::format("vec2({0}(x & 0xffffu), {0}(x >> 16))", decode)),
                       x);
  }
  const bool to_bytes = from == VType{DType::kU32, 1} && to.lanes == 4, to_word = to == VType{DType::kU32, 1};
  const DType byte = to_bytes ? to.dtype : from.dtype;
  if ((to_bytes || (to_word && from.lanes == 4)) && (byte == DType::kU8 || byte == DType::kI8)) {
    if (to_word) return call("pack_bytes", "", 1, {byte == DType::kU8 ? x : fmt::format("uvec4({})", x)});
    return call(byte == DType::kU8 ? "unpack_u8" : "unpack_i8", "", 1, {x});
  }
  fail(fmt::format("a bitcast from {} to {} has no form", kernel::type_text(from), kernel::type_text(to)));
  return "0";
}

// The words that bytes were, or "".
std::string GlslExpr::words_text(const Expr& e) {
  const Expr& words = e->args.empty() ? e : e->args[0];
  return e->kind == ExprKind::kBitcast && words->type.dtype == DType::kU32 ? text(words) : "";
}

// Two f16 in the device's own arithmetic, where it has that and what they are made of has such a form; else
// "".
std::string GlslExpr::halves_text(const Expr& e) {
  if (!helpers_.target().narrow || e->type != VType{DType::kF16, 2}) return "";
  const Expr& first = e->args.empty() ? e : e->args[0];
  if (e->kind == ExprKind::kBitcast && first->type == VType{DType::kU32, 1})
    return fmt::format("unpackFloat2x16({})", text(first));
  if (e->kind == ExprKind::kCast && first->type == VType{DType::kF32, 2})
    return fmt::format("f16vec2({})", text(first));
  if (e->kind == ExprKind::kBroadcast && first->kind == ExprKind::kConst)
    return fmt::format("f16vec2({})", float_literal(first->f, false));
  if (e->kind != ExprKind::kOp || e->op != ScalarOp::kSub) return "";
  const std::string a = halves_text(first), b = halves_text(e->args[1]);
  return a.empty() || b.empty() ? "" : fmt::format("({} - {})", a, b);
}

std::string GlslExpr::reduce_text(const Expr& e) {
  const VType in = e->args[0]->type;
  const std::string x = text(e->args[0]);
  if (in.dtype == DType::kBool) {
    if (e->op == ScalarOp::kAnd) return fmt::format("all({})", x);
    if (e->op == ScalarOp::kOr) return fmt::format("any({})", x);
  }
  if (in.lanes == 3 || is_narrow_float(in.dtype) || dtype_bits(in.dtype) < 32 || is_complex(in.dtype)) {
    fail(fmt::format("a reduction of {} has no form", kernel::type_text(in)));
    return "0";
  }
  // Lane k with lane k + n / 2: the evaluator's order. Through a function, so that x is computed once.
  const std::string_view scalar = glsl_carrier(in.dtype);
  const std::string_view infix = kernel::infix_text(e->op);
  const std::string name = fmt::format("{}{}", scalar::info(e->op).name, in.lanes);
  const auto pair = [&](const std::string& a, const std::string& b) {
    if (e->op == ScalarOp::kAnd) return fmt::format("({} & {})", a, b);
    if (e->op == ScalarOp::kOr) return fmt::format("({} | {})", a, b);
    if (e->op == ScalarOp::kXor) return fmt::format("({} ^ {})", a, b);
    return infix.empty() ? call(scalar::info(e->op).name, scalar, 1, {a, b})
                         : fmt::format("({} {} {})", a, infix, b);
  };
  const std::string body = in.lanes == 2 ? pair("x.x", "x.y") : pair(pair("x.x", "x.z"), pair("x.y", "x.w"));
  return fmt::format("{}({})",
                     helpers_.define(fmt::format("reduce_{}_{}", name, scalar), scalar,
                                     fmt::format("{} x", glsl_type(scalar, in.lanes)), body),
                     x);
}

std::string GlslExpr::shuffle_text(const Expr& e) {
  const std::string type = helpers_.type(glsl_carrier(e->type.dtype), e->type.lanes);
  const int from = e->args[0]->type.lanes;
  const auto pick = [&](int lane) {
    const int k = std::max(lane, 0);
    const Expr& source = e->args[static_cast<size_t>(k / from)];
    return source->type.lanes == 1 ? text(source) : fmt::format("{}.{}", text(source), component(k % from));
  };
  if (e->type.lanes == 1) return pick(e->lanes[0]);
  // One source: a swizzle.
  if (e->args.size() == 1 && from > 1) {
    std::string picks;
    for (int lane : e->lanes) picks += component(std::max(lane, 0));
    return fmt::format("({}).{}", text(e->args[0]), picks);
  }
  Texts lanes;
  for (int lane : e->lanes) lanes.push_back(pick(lane));
  return fmt::format("{}({})", type, join(lanes));
}

std::string GlslExpr::intrinsic_text(const Expr& e) {
  using kernel::Intrinsic;
  const auto shuffled = [&](std::string_view function) {
    helpers_.need_shuffle();
    const Expr& value = e->args[0];
    const DType type = value->type.dtype;
    if (value->type.lanes == 1 && dtype_bits(type) == 64 && !is_complex(type) &&
        !(type == DType::kI64 && narrow_.narrow(value))) {  // in halves
      const std::string_view kind = is_float(type) ? "Double" : is_signed_int(type) ? "Int" : "Uint";
      return fmt::format("pack{0}2x32({1}(unpack{0}2x32({2}), uint({3})))", kind, function, text(value),
                         index(e->args[1]));
    }
    if (value->type.lanes > 1 || value->type.dtype == DType::kI64 ? !narrow_.narrow(value)
                                                                  : dtype_bits(value->type.dtype) > 32)
      fail(fmt::format("a subgroup shuffle of {} has no form", kernel::type_text(value->type)));
    return fmt::format("{}({}, uint({}))", function, is_index_type(value) ? narrow_text(value) : text(value),
                       index(e->args[1]));
  };
  switch (e->intrinsic) {
    case Intrinsic::kSubgroupShuffleXor:
      return shuffled("subgroupShuffleXor");
    case Intrinsic::kSubgroupShuffle:
      return shuffled("subgroupShuffle");
    case Intrinsic::kDot4U8I8:
    case Intrinsic::kDot4I8I8:
      if (const std::string a = words_text(e->args[1]), b = words_text(e->args[2]); !a.empty() && !b.empty())
        return call(fmt::format("{}_words", kernel::intrinsic_name(e->intrinsic)), "int", e->type.lanes,
                    {text(e->args[0]), a, b});
      if (e->type.lanes == 1)
        return call(kernel::intrinsic_name(e->intrinsic), "int", 1,
                    {text(e->args[0]), text(e->args[1]), text(e->args[2])});
      break;
    case Intrinsic::kExp2Approx:
      if (e->type.lanes == 1) return call("exp2_approx", "float", 1, {text(e->args[0])});
      break;
    case Intrinsic::kDot2BF16:
      if (e->type.lanes == 1)
        return call("dot2_bf16", "float", 1, {text(e->args[0]), text(e->args[1]), text(e->args[2])});
      break;
    default:
      break;
  }
  fail(fmt::format("intrinsic '{}' has no form", kernel::intrinsic_name(e->intrinsic)));
  return "0";
}

// The limit of an access, written to it.
std::string GlslExpr::limit(const Expr& e, GlslAccess& access) {
  if (e == nullptr) return "";
  access.is_mask = e->type.dtype == DType::kBool;
  return access.is_mask ? text(e) : index(e);
}

std::string GlslExpr::load_text(const Expr& e) {
  const Expr& at = e->args[0];
  if (e->buffer->scope == kernel::Scope::kRegister) {
    if (e->type.lanes != e->buffer->type.lanes) fail("a part of a register has no form");
    return fmt::format("{}[{}]", memory_.register_name(e->buffer.get()), index(at));
  }
  GlslAccess access{e->buffer.get(), e->type.lanes, index(at)};
  access.is_indexed = at->type.lanes > 1;
  access.is_aligned = !access.is_indexed && access.lanes > 1 && is_multiple(at, access.lanes);
  access.limit = limit(e->args.size() > 1 ? e->args[1] : nullptr, access);
  return memory_.load(access);
}

std::string GlslExpr::store_text(const kernel::Stmt& s) {
  if (std::string raw = raw_store_text(s); !raw.empty()) return raw;
  if (s->buffer->scope == kernel::Scope::kRegister) {
    if (s->value->type.lanes != s->buffer->type.lanes) fail("a part of a register has no form");
    return fmt::format("{}[{}] = {};", memory_.register_name(s->buffer.get()), index(s->index),
                       text(s->value));
  }
  GlslAccess access{s->buffer.get(), s->value->type.lanes, index(s->index)};
  access.is_indexed = s->index->type.lanes > 1;
  access.is_aligned = !access.is_indexed && access.lanes > 1 && is_multiple(s->index, access.lanes);
  access.limit = limit(s->count, access);
  access.value = text(s->value);
  return memory_.store(access);
}

}  // namespace tern::render
