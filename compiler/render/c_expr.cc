#include "compiler/render/c_expr.h"

#include <bit>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

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

std::string float_literal(std::string_view builtin, double v, bool is_double) {
  std::string_view suffix = is_double ? "" : "f";
  if (std::isnan(v)) return fmt::format("{}nan{}(\"\")", builtin, suffix);
  std::string text;
  if (std::isinf(v)) {
    text = fmt::format("{}inf{}()", builtin, suffix);
  } else {
    text = fmt::format("{}", std::fabs(v));
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    text += suffix;
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
  if (lanes == 1 || !dialect_.scalar_helpers) {
    return fmt::format("{}({})", helpers_.function(helper, scalar, lanes), join(args));
  }
  std::string function = helpers_.function(helper, scalar, 1);
  return dialect_.lanes_call(function, lanes, join(args), helper.starts_with("store_"));
}

std::string CExpr::elementwise(std::string_view which, const std::vector<std::string>& args) const {
  return fmt::format("{}{}({})", dialect_.elementwise, which, join(args));
}

std::string CExpr::number(double v, bool is_double) const {
  return float_literal(dialect_.builtin, v, is_double);
}

std::string CExpr::convert(std::string_view to, int lanes, std::string text) {
  std::string type = helpers_.named_type(to, lanes);
  if (lanes == 1) return fmt::format("(({})({}))", type, text);
  return dialect_.convert(type, text);
}

std::string CExpr::splat(std::string_view scalar, int lanes, const std::string& text) {
  if (lanes == 1) return text;
  std::string type = helpers_.named_type(scalar, lanes);
  if (scalar == "b1") return dialect_.splat_mask(helpers_, type, lanes, text);
  return fmt::format("(({})({}))", type, text);
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
    return dialect_.mask(helpers_.named_type("b1", lanes), text + " != 0");
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
      return number(e->f, scalar == "f64");
    case DTypeKind::kComplex:
      return dialect_.literal(scalar,
                              number(e->f, scalar == "c128") + ", " + number(e->imaginary, scalar == "c128"));
    default:
      break;
  }
  if (scalar == "i32") return e->i == INT32_MIN ? "(-2147483647 - 1)" : fmt::format("{}", e->i);
  if (scalar == "i64" && is_narrow(e)) {
    if (e->i == INT32_MIN) return "(-2147483647 - 1)";
    return e->i < 0 ? fmt::format("({})", e->i) : fmt::format("{}", e->i);
  }
  if (scalar == "i64") {
    if (e->i == INT64_MIN) return "(-9223372036854775807l - 1)";
    return e->i < 0 ? fmt::format("({}l)", e->i) : fmt::format("{}l", e->i);
  }
  if (scalar == "u64") return fmt::format("{}ul", static_cast<uint64_t>(e->i));
  if (scalar == "u32") return fmt::format("{}u", static_cast<uint32_t>(e->i));
  return fmt::format("({})({})", scalar, e->i);
}

bool CExpr::is_narrow(const Expr& e) const {
  return narrow_ != nullptr && !wide_ && narrow_->narrow(e);
}

std::string_view CExpr::scalar_type(const Expr& e) const {
  return is_narrow(e) ? "i32" : carrier(e->type.dtype);
}

std::string CExpr::index_text(const Expr& e) {
  bool outer = std::exchange(wide_, false);
  std::string out = text(e);
  wide_ = outer;
  return out;
}

std::string CExpr::data_text(const Expr& e) {
  bool is_index = narrow_ == nullptr || e->type != VType{DType::kI64, 1} || narrow_->fits(e);
  bool outer = std::exchange(wide_, !is_index);
  std::string out = text(e);
  wide_ = outer;
  return out;
}

std::string CExpr::text(const Expr& e) {
  helpers_.type(e->type);
  switch (e->kind) {
    case ExprKind::kConst:
      return constant(e);
    case ExprKind::kVar: {
      bool widens = wide_ && narrow_->narrow(e->var.get());
      return widens ? fmt::format("((i64){})", name_(e->var)) : name_(e->var);
    }
    case ExprKind::kOp:
      return op_text(e);
    case ExprKind::kCast:
      return cast_text(e);
    case ExprKind::kBitcast:
      return bitcast_text(e);
    case ExprKind::kLoad:
      return load_text(e);
    case ExprKind::kRamp: {
      std::string type = helpers_.type(e->type);
      std::string base = kernel::is_int(e->args[0], 0) ? "" : index_text(e->args[0]);
      return dialect_.ramp(type, base, e->i, e->type.lanes);
    }
    case ExprKind::kBroadcast:
      return splat(carrier(e->type.dtype), e->type.lanes, data_text(e->args[0]));
    case ExprKind::kReduce:
      return reduce_text(e);
    case ExprKind::kShuffle:
      return shuffle_text(e);
    case ExprKind::kIntrinsic:
      return intrinsic_text(e);
  }
  TERN_UNREACHABLE("expression kind");
}

std::string CExpr::op_text(const Expr& e, bool raw) {
  if (e->op == ScalarOp::kSelect) {
    return raw ? encode(e->type.dtype, e->type.lanes, select_text(e)) : select_text(e);
  }
  const bool compares = scalar::info(e->op).rule == scalar::TypeRule::kCompare;
  std::vector<std::string> a;
  for (const Expr& arg : e->args) a.push_back(compares ? index_text(arg) : text(arg));
  VType in = e->args[0]->type;
  std::string scalar(e->type.dtype == DType::kI64 ? scalar_type(e) : carrier(in.dtype));
  switch (dtype_kind(in.dtype)) {
    case DTypeKind::kBool:
      return bool_op(e, a);
    case DTypeKind::kComplex:
      return complex_op(e, scalar, a);
    default:
      break;
  }
  if (compares) return compare_text(e, a);
  if (!is_float(in.dtype)) return int_op(e, scalar, a);
  std::string result = float_op(e, scalar, a);
  bool needs_rounding = !is_exact(e->op) && e->type.dtype != DType::kBool;
  if (raw) return encode(e->type.dtype, e->type.lanes, result);
  return needs_rounding ? rounded(e->type.dtype, e->type.lanes, result) : result;
}

std::string CExpr::compare_text(const Expr& e, const std::vector<std::string>& a) {
  std::string text = fmt::format("({} {} {})", a[0], kernel::infix_text(e->op), a[1]);
  if (e->type.lanes == 1) return text;
  return dialect_.mask(helpers_.named_type("b1", e->type.lanes), text);
}

std::string CExpr::select_text(const Expr& e) {
  std::string yes = text(e->args[1]), no = text(e->args[2]);
  const Expr& condition = scalar_of(e->args[0]);
  const int lanes = e->type.lanes;
  const bool one = condition->type.lanes == 1;
  // Clang's ?: takes no vectors of bool.
  const bool masks = e->type.dtype == DType::kBool && lanes > 1;
  if (one && !masks) return fmt::format("({} ? {} : {})", index_text(condition), yes, no);
  std::string mask = one ? splat("b1", lanes, index_text(condition)) : text(condition);
  if (masks) return fmt::format("(({0} & {1}) | (~{0} & {2}))", mask, yes, no);
  return dialect_.select(helpers_, c_type_bits(carrier(e->type.dtype)), lanes, mask, yes, no);
}

std::string CExpr::min_max(const Expr& e, std::string_view scalar, const std::vector<std::string>& a) {
  // One compare is enough when an operand is a number for certain: the other one, NaN or not, is then the
  // result of the false branch.
  for (int k : {1, 0}) {
    const Expr& c = scalar_of(e->args[k]);
    const bool number = c->kind == kernel::ExprKind::kIntrinsic && c->intrinsic == kernel::Intrinsic::kNumber;
    if (number || (kernel::is_const(c) && !std::isnan(c->f))) {
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
      return elementwise("abs", a);
    case ScalarOp::kFloor:
      return elementwise("floor", a);
    case ScalarOp::kCeil:
      return elementwise("ceil", a);
    case ScalarOp::kTrunc:
      return elementwise("trunc", a);
    case ScalarOp::kRoundEven:
      return elementwise("roundeven", a);
    case ScalarOp::kSqrt:
      return elementwise("sqrt", a);
    case ScalarOp::kFma:
      if (helpers_.target().fma) return elementwise("fma", a);
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
      if (e->op == ScalarOp::kErf && roomy_ && scalar == "f32") return call("erf_pieces", scalar, lanes, a);
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
      return dialect_.min_max("min", type, a[0], a[1]);
    case ScalarOp::kMax:
      return dialect_.min_max("max", type, a[0], a[1]);
    case ScalarOp::kDiv:
    case ScalarOp::kRem: {
      std::string_view sign = kernel::infix_text(e->op);
      const Expr& divisor = scalar_of(e->args[1]);
      if (e->is_index) {
        std::string u = helpers_.named_type(scalar == "i32" ? "u32" : "u64", lanes);
        bool safe = kernel::is_const(divisor);
        // A lane that is off may hold anything: never divide by zero.
        std::string d =
            safe || lanes == 1
                ? fmt::format("({}){}", u, a[1])
                : fmt::format("({}){}", u, dialect_.min_max("max", type, a[1], fmt::format("({})(1)", type)));
        return fmt::format("(({})(({}){} {} {}))", type, u, a[0], sign, d);
      }
      // Clang multiplies 64 bits lane by lane, a helper divides vectors.
      const bool by_lanes = lanes > 1 && dtype_bits(dtype) == 64 &&
                            !std::has_single_bit(static_cast<uint64_t>(divisor->i)) &&
                            helpers_.target().arch == CArch::kX86_64;
      if (kernel::is_const(divisor) && divisor->i != 0 && divisor->i != -1 && !by_lanes) {
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

namespace {

// cast.u8(max(min(round_even(x) + zero, 255), 0)) with a zero that is a whole number: a constant, or a
// widened one of 16 bits at most.
struct Quantisation {
  Expr x;
  Expr zero = nullptr;  // null: 0
};

bool is_small_whole(const Expr& e) {
  if (e->type.lanes != 1) return false;  // a zero point for each lane
  if (kernel::is_const(e)) return e->f == std::nearbyint(e->f) && std::fabs(e->f) < 32768;
  return e->kind == ExprKind::kCast && is_int(e->args[0]->type.dtype) &&
         dtype_bits(e->args[0]->type.dtype) <= 16;
}

bool fits_byte(const Expr& zero) {
  if (kernel::is_const(zero)) return std::fabs(zero->f) < 256;
  return dtype_bits(zero->args[0]->type.dtype) <= 8;
}

std::optional<Quantisation> quantisation(const Expr& e) {
  if (!e || e->kind != ExprKind::kCast || e->type.dtype != DType::kU8 ||
      e->args[0]->type.dtype != DType::kF32)
    return std::nullopt;
  Quantisation q{e->args[0], nullptr};
  for (const auto& [op, bound] : {std::pair{ScalarOp::kMax, 0.0}, std::pair{ScalarOp::kMin, 255.0}}) {
    if (q.x->kind != ExprKind::kOp || q.x->op != op) return std::nullopt;
    const Expr& c = scalar_of(q.x->args[1]);
    if (!kernel::is_const(c) || c->f != bound) return std::nullopt;
    q.x = q.x->args[0];
  }
  if (q.x->kind == ExprKind::kOp && q.x->op == ScalarOp::kAdd) {
    const Expr& added = scalar_of(q.x->args[1]);
    if (!is_small_whole(added)) return std::nullopt;
    q.zero = added;
    q.x = q.x->args[0];
  }
  if (q.x->kind != ExprKind::kOp || q.x->op != ScalarOp::kRoundEven) return std::nullopt;
  q.x = q.x->args[0];
  return q;
}

// b of cast.i32(b) - zero, where the zero is one small whole number, `less`; null for anything else.
Expr less_zero(const Expr& e, Expr& less) {
  if (e->kind != ExprKind::kOp || e->op != ScalarOp::kSub || e->type.dtype != DType::kI32) return nullptr;
  const Expr &wide = e->args[0], &zero = scalar_of(e->args[1]);
  const bool small = kernel::is_const(zero)
                         ? zero->i >= 0 && zero->i < 32768
                         : zero->kind == ExprKind::kCast && is_int(zero->args[0]->type.dtype) &&
                               dtype_bits(zero->args[0]->type.dtype) <= 16;
  if (wide->kind != ExprKind::kCast || zero->type.lanes != 1 || !small) return nullptr;
  less = zero;
  return wide->args[0];
}

}  // namespace

// Whether there is a form of quantise_packed_u8.
bool CExpr::packs_bytes(int lanes) const {
  const CTarget& target = helpers_.target();
  return target.avx512 ? lanes == 32 : target.avx2 && (lanes == 8 || lanes == 16);
}

// A quantisation (`e`), or one that is widened at once: bounded first, where the bounds are whole numbers
// too, then rounded and converted in one instruction. A NaN becomes the lower bound, which is what the cast
// makes of it: 0. Empty for anything else.
std::string CExpr::quantise_text(const Expr& e) {
  const CArch arch = helpers_.target().arch;
  if (arch != CArch::kX86_64 && arch != CArch::kAArch64) return "";
  const DType to = e->type.dtype;
  const bool widened = e->kind == ExprKind::kCast && (to == DType::kI32 || to == DType::kF32);
  std::optional<Quantisation> q = quantisation(widened ? e->args[0] : e);
  Expr less;
  if (widened && !q && to == DType::kF32) q = quantisation(less_zero(e->args[0], less));
  if (!q) return "";
  const int lanes = e->type.lanes;
  const std::string zero = !q->zero                    ? "0"
                           : kernel::is_const(q->zero) ? fmt::format("{}", q->zero->f)
                                                       : fmt::format("(i32){}", text(q->zero->args[0]));
  const std::string low = fmt::format("(0 - {})", zero), high = fmt::format("(255 - {})", zero);
  const std::string ints = helpers_.named_type("i32", lanes), x = text(q->x);
  if (!widened && lanes == 16 && helpers_.target().avx512) {
    helpers_.named_type("u8", lanes);
    return call("quantise_u8", "f32", lanes, {x, low, zero});
  }
  if (!widened && packs_bytes(lanes) && (!q->zero || fits_byte(q->zero)))
    return call("quantise_packed_u8", "f32", lanes, {x, high, zero});
  if (to == DType::kF32) {
    const std::string subtracted = less ? fmt::format("(i32){}", text(less)) : "0";
    return call("whole_between", "f32", lanes, {x, low, high, fmt::format("({} - {})", zero, subtracted)});
  }
  std::string whole = call("round_between", "f32", lanes, {x, low, high});
  if (q->zero) whole = fmt::format("({} + ({})({}))", whole, ints, zero);
  return to == DType::kI32 ? whole : convert(carrier(to), lanes, whole);
}

// `raw`: narrow floats stay encoded.
std::string CExpr::cast_text(const Expr& e, bool raw) {
  if (std::string quantised = quantise_text(e); !quantised.empty()) return quantised;
  DType from = e->args[0]->type.dtype, to = e->type.dtype;
  int lanes = e->type.lanes;
  // Narrow integers want the low bits only, everything else the value.
  std::string x = is_int(to) && dtype_bits(to) <= 32 ? index_text(e->args[0]) : data_text(e->args[0]);
  std::string from_c(carrier(from)), to_c(scalar_type(e));
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
  if (from == DType::kBool) {
    x = convert(to_c, lanes, x);
    return raw ? encode(to, lanes, x) : rounded(to, lanes, x);
  }
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
    x = call(fmt::format("encode_{}{}", dtype_name(to), small ? suffix : ""), "f32", lanes, {x});
    return raw ? x : decode(to, lanes, x);
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

// The bits of a narrow float, as they are where they come from memory or a bitcast.
std::string CExpr::storage_text(const Expr& e) {
  if (dialect_.raw_copies && is_emulated_float(e->type.dtype) && !is_sub_byte(e->type.dtype)) {
    if (e->kind == ExprKind::kBitcast) return bitcast_text(e, true);
    if (e->kind == ExprKind::kCast && !is_complex(e->args[0]->type.dtype)) return cast_text(e, true);
    if (e->kind == ExprKind::kOp) return has_half_pairs(e) ? half_pairs_text(e) : op_text(e, true);
    bool separate = e->kind == ExprKind::kLoad && e->buffer->scope == kernel::Scope::kRegister;
    if (e->kind == ExprKind::kLoad && !separate) return load_text(e, true);
  }
  return encode(e->type.dtype, e->type.lanes, data_text(e));
}

bool CExpr::has_half_pairs(const Expr& e) const {
  const bool has_form = e->op == ScalarOp::kAdd || e->op == ScalarOp::kSub || e->op == ScalarOp::kMul;
  return dialect_.half_pairs && has_form && e->type.dtype == DType::kF16 && e->type.lanes % 2 == 0;
}

std::string CExpr::half_pairs_text(const Expr& e) {
  return fmt::format("halves_{}({}, {})", scalar::info(e->op).name, storage_text(e->args[0]),
                     storage_text(e->args[1]));
}

std::string CExpr::bitcast_text(const Expr& e, bool raw) {
  VType from = e->args[0]->type, to = e->type;
  std::string in = storage_text(e->args[0]);
  if (from.dtype == DType::kI64 && from.lanes == 1 && dialect_.narrow_indices)
    in = fmt::format("((i64){})", in);
  std::string from_type = helpers_.named_type(storage(from.dtype), from.lanes);
  std::string to_type = helpers_.named_type(storage(to.dtype), to.lanes);
  std::string bits = from_type == to_type ? in : dialect_.bitcast(from_type, to_type, in);
  return raw ? bits : decode(to.dtype, to.lanes, bits);
}

std::string CExpr::reduce_text(const Expr& e) {
  VType in = e->args[0]->type;
  std::string x = text(e->args[0]);
  if (in.dtype == DType::kBool) {
    std::string_view how = e->op == ScalarOp::kOr ? "or" : e->op == ScalarOp::kAnd ? "and" : "xor";
    return dialect_.reduce_mask(helpers_, how, in.lanes, x);
  }
  std::string result = dialect_.reduce(helpers_, scalar::info(e->op).name, carrier(in.dtype), in.lanes, x);
  if (is_emulated_float(in.dtype)) fail(fmt::format("lanes of {} are reduced", dtype_name(in.dtype)));
  return rounded(in.dtype, 1, result);
}

std::string CExpr::shuffle_text(const Expr& e) {
  bool is_bool = e->type.dtype == DType::kBool;
  int operand_lanes = e->args[0]->type.lanes;
  std::vector<std::string> a;
  for (const Expr& arg : e->args) {
    std::string t = data_text(arg);
    a.push_back(is_bool ? convert("u8", operand_lanes, t) : t);
  }
  if (operand_lanes == 1 && !dialect_.scalar_helpers) fail("shuffle of a scalar");
  std::string out = dialect_.shuffle(a, operand_lanes, e->lanes);
  // A shuffle of as many lanes has its operand's type, of other numbers a vector type that clang made up: its
  // elementwise builtins take neither const nor mixed ones.
  if (!is_bool && e->type.lanes > 1 &&
      (e->type.lanes != operand_lanes || e->args[0]->kind == ExprKind::kLoad))
    out = fmt::format("(({}){})", helpers_.named_type(carrier(e->type.dtype), e->type.lanes), out);
  if (!is_bool || e->type.lanes == 1) return out;
  return dialect_.mask(helpers_.named_type("b1", e->type.lanes), out + " != 0");
}

std::string CExpr::intrinsic_text(const Expr& e) {
  std::vector<std::string> a;
  for (const Expr& arg : e->args) a.push_back(text(arg));
  std::string buffer = e->buffer == nullptr ? "" : buffers_[e->buffer.get()].name;
  std::string out = dialect_.intrinsic(helpers_, *e, a, buffer);
  if (out.empty()) {
    fail(fmt::format("intrinsic '{}' has no {} form", kernel::intrinsic_name(e->intrinsic),
                     dialect_.language));
  }
  return out;
}

// The limit of an access of this many lanes, for helpers of one lane a mask.
std::string CExpr::limit_text(const Expr& limit, int lanes, bool as_mask) {
  if (!as_mask || limit->type.dtype == DType::kBool) return index_text(limit);
  return text(kernel::compare(ScalarOp::kLt, kernel::ramp(kernel::int_const(0), 1, lanes), limit));
}

std::string CExpr::sub_byte_access(const kernel::Buffer& buffer, const Expr& index, const Expr& limit,
                                   int lanes, const std::string& value) {
  DType dtype = buffer->type.dtype;
  bool as_mask = dialect_.scalar_helpers && limit != nullptr && lanes > 1;
  Expr at = lanes > 1 && index->type.lanes == 1 ? kernel::ramp(index, 1, lanes) : index;
  std::vector<std::string> args = {buffers_[buffer.get()].name, index_text(at)};
  if (!value.empty()) args.push_back(value);
  if (limit != nullptr) args.push_back(limit_text(limit, lanes, as_mask));
  std::string_view suffix = as_mask ? "_mask" : limit_suffix(limit);
  if (!value.empty())
    return call(fmt::format("store_bits{}{}", dtype_bits(dtype), suffix), "u8", lanes, args) + ";";
  return call(fmt::format("load_{}{}", dtype_name(dtype), suffix), carrier(dtype), lanes, args);
}

MemoryAccess CExpr::access(const kernel::Buffer& buffer, const Expr& index, const Expr& limit, int lanes) {
  MemoryAccess a;
  a.element = storage(buffer->type.dtype);
  a.lanes = lanes;
  a.base = buffers_[buffer.get()].name;
  a.index = index_text(index);
  a.is_indexed = index->type.lanes > 1;
  a.is_aligned = !a.is_indexed && known_multiple(index) % lanes == 0;
  if (limit == nullptr) return a;
  a.limit = limit_text(limit, lanes, false);
  a.is_mask = limit->type.dtype == DType::kBool;
  return a;
}

namespace {

// The bytes that look up a whole table: any of them is in range, whatever limits the access. Null for other
// loads.
Expr table_index(const Expr& load) {
  const Expr& index = load->args[0];
  const bool table = load->buffer->type.dtype == DType::kU8 && load->buffer->size == 256;
  if (!table || index->type.lanes < 2 || index->kind != ExprKind::kCast) return nullptr;
  return index->args[0]->type.dtype == DType::kU8 ? index->args[0] : nullptr;
}

bool looks_up_tables(CArch arch) {
  return arch == CArch::kX86_64 || arch == CArch::kAArch64;
}

}  // namespace

std::string CExpr::load_text(const Expr& e, bool raw) {
  const BufferSpelling& spelling = buffers_[e->buffer.get()];
  const Expr& index = e->args[0];
  if (spelling.separate) return fmt::format("{}_{}", spelling.name, *kernel::int_value(index));
  if (e->buffer->type.lanes > 1) return fmt::format("{}[{}]", spelling.name, index_text(index));
  DType dtype = e->type.dtype;
  const Expr limit = e->args.size() > 1 ? e->args[1] : nullptr;
  if (is_sub_byte(dtype)) return sub_byte_access(e->buffer, index, limit, e->type.lanes, "");
  if (const Expr byte = table_index(e); byte && looks_up_tables(helpers_.target().arch)) {
    helpers_.named_type("u8", e->type.lanes);
    return call("lookup", "u8", e->type.lanes, {spelling.name, text(byte)});
  }
  std::string bits = dialect_.load(helpers_, access(e->buffer, index, limit, e->type.lanes));
  return raw ? bits : decode(dtype, e->type.lanes, bits);
}

std::string CExpr::store_text(const kernel::Stmt& s) {
  const BufferSpelling& spelling = buffers_[s->buffer.get()];
  DType dtype = s->buffer->type.dtype;
  int lanes = s->value->type.lanes;
  if (spelling.separate) {
    return fmt::format("{}_{} = {};", spelling.name, *kernel::int_value(s->index), data_text(s->value));
  }
  if (s->buffer->type.lanes > 1) {
    std::string value = data_text(s->value);
    return fmt::format("{}[{}] = {};", spelling.name, index_text(s->index), value);
  }
  if (is_sub_byte(dtype)) {
    std::string value = data_text(s->value);
    value = is_emulated_float(dtype) ? encode(dtype, lanes, value) : convert("u8", lanes, value);
    return sub_byte_access(s->buffer, s->index, s->count, lanes, value);
  }
  // f32 that is rounded to what it is stored as: encoded once, not decoded in between.
  const bool rounds = s->value->kind == ExprKind::kCast && is_emulated_float(dtype) &&
                      dtype_bits(dtype) == 16 && s->value->args[0]->type.dtype == DType::kF32;
  std::string value = rounds ? encode(dtype, lanes, text(s->value->args[0])) : storage_text(s->value);
  MemoryAccess a = access(s->buffer, s->index, s->count, lanes);
  a.value = std::move(value);
  a.is_streaming = s->streaming;
  return dialect_.store(helpers_, a);
}

// A constant that divides the index for certain.
int64_t CExpr::known_multiple(const Expr& e) const {
  constexpr int64_t kMost = int64_t{1} << 32;
  if (auto c = kernel::int_value(e)) return *c == 0 ? kMost : std::gcd(*c, kMost);
  if (e->kind == ExprKind::kVar) {
    auto it = multiples_.find(e->var.get());
    return it == multiples_.end() ? 1 : it->second;
  }
  if (e->kind != ExprKind::kOp || e->type.dtype != DType::kI64) return 1;
  switch (e->op) {
    case ScalarOp::kAdd:
    case ScalarOp::kSub:
    case ScalarOp::kMin:
    case ScalarOp::kMax:
      return std::gcd(known_multiple(e->args[0]), known_multiple(e->args[1]));
    case ScalarOp::kMul:
      return std::min(kMost, known_multiple(e->args[0]) * std::min(kMost >> 2, known_multiple(e->args[1])));
    case ScalarOp::kSelect:
      return std::gcd(known_multiple(e->args[1]), known_multiple(e->args[2]));
    case ScalarOp::kRem:
      return std::gcd(known_multiple(e->args[0]), known_multiple(e->args[1]));
    default:
      return 1;
  }
}

}  // namespace tern::render
