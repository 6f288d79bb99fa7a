// Clang's C with vector extensions.
#include <algorithm>

#include "compiler/kernel/text.h"
#include "compiler/render/dialect.h"

namespace tern::render {

namespace {

using std::string;
using std::string_view;

constexpr string_view kPrelude =
    "#define CONVERT_1(T, x) ((T)(x))\n"
    "#define CONVERT_N(T, x) __builtin_convertvector(x, T)\n"
    "#ifdef TERN_FMA\n"
    "#define FMA(a, b, c) __builtin_elementwise_fma(a, b, c)\n"
    "#else\n"
    "#define FMA(a, b, c) ((a) * (b) + (c))\n"
    "#endif\n";

string scalar_definition(string_view, string_view c_definition) {
  return string(c_definition) + "\n";
}

string vector_definition(string_view scalar, string_view name, int lanes) {
  return fmt::format("typedef {} {} __attribute__((ext_vector_type({})));\n", scalar, name, lanes);
}

string local_array(string_view element, string_view name, int64_t elements) {
  return fmt::format("{} {}[{}] __attribute__((aligned(64)));", element, name, elements);
}

string convert(string_view vector_type, string_view text) {
  return fmt::format("__builtin_convertvector({}, {})", text, vector_type);
}

string splat_mask(HelperSet& helpers, string_view vector_type, int lanes, string_view text) {
  string bytes = helpers.named_type("i8", lanes);
  return fmt::format("__builtin_convertvector(({})((i8)({})) != 0, {})", bytes, text, vector_type);
}

string mask(string_view vector_type, string_view comparison) {
  return fmt::format("__builtin_convertvector({}, {})", comparison, vector_type);
}

// The mask as the integer vector that selects values of that many bits.
string select(HelperSet& helpers, int bits, int lanes, string_view mask, string_view yes, string_view no) {
  string ints = helpers.named_type(fmt::format("i{}", bits), lanes);
  return fmt::format("((__builtin_convertvector({}, {}) != 0) ? {} : {})", mask, ints, yes, no);
}

string literal(string_view type, string_view members) {
  return fmt::format("(({}){{{}}})", type, members);
}

string ramp(string_view type, string_view base, int64_t stride, int lanes) {
  string offsets;
  for (int l = 0; l < lanes; ++l) offsets += fmt::format("{}{}", l == 0 ? "" : ", ", l * stride);
  if (base.empty()) return fmt::format("(({}){{{}}})", type, offsets);
  return fmt::format("(({})({}) + ({}){{{}}})", type, base, type, offsets);
}

string bitcast(string_view from_type, string_view to_type, string_view text) {
  return fmt::format("((union {{ {} a; {} b; }}){{{}}}).b", from_type, to_type, text);
}

string shuffle(const std::vector<string>& operands, int operand_lanes, const std::vector<int>& lanes) {
  if (lanes.size() == 1) {
    int lane = std::max(lanes[0], 0);
    return fmt::format("{}[{}]", operands[static_cast<size_t>(lane / operand_lanes)], lane % operand_lanes);
  }
  string picks;
  for (int lane : lanes) picks += fmt::format(", {}", lane);
  return fmt::format("__builtin_shufflevector({}, {}{})", operands[0], operands.back(), picks);
}

string min_max(string_view which, string_view, string_view a, string_view b) {
  return fmt::format("__builtin_elementwise_{}({}, {})", which, a, b);
}

string reduce_mask(HelperSet& helpers, string_view how, int lanes, string_view mask) {
  string bytes = convert(helpers.named_type("u8", lanes), mask);
  return fmt::format("((b1)(__builtin_reduce_{}({}) & 1))", how, bytes);
}

string reduce(HelperSet& helpers, string_view how, string_view scalar, int lanes, string_view text) {
  return fmt::format("{}({})", helpers.function(fmt::format("reduce_{}", how), scalar, lanes), text);
}

string lanes_call(string_view function, int, string_view arguments, bool) {
  return fmt::format("{}({})", function, arguments);
}

string intrinsic(HelperSet& helpers, const kernel::ExprNode& e, const std::vector<string>& a, string_view) {
  const int lanes = e.type.lanes;
  string_view scalar = "i32";
  switch (e.intrinsic) {
    case kernel::Intrinsic::kDot4U8I8:
      helpers.named_type("u8", 4 * lanes);
      helpers.named_type("i8", 4 * lanes);
      break;
    case kernel::Intrinsic::kDot4I8I8:
      helpers.named_type("i8", 4 * lanes);
      break;
    case kernel::Intrinsic::kDot2I16:
      helpers.named_type("i16", 2 * lanes);
      break;
    case kernel::Intrinsic::kPairsU8I8:
      return fmt::format("{}({}, {})", helpers.function("pairs_u8i8", "i16", lanes), a[0], a[1]);
    case kernel::Intrinsic::kDot2BF16:
      helpers.named_type("u32", lanes);
      scalar = "f32";
      break;
    case kernel::Intrinsic::kExp2Approx:
      return fmt::format("{}({})", helpers.function("exp2_approx", "f32", lanes), a[0]);
    case kernel::Intrinsic::kExpBelow:
      return fmt::format("{}({})", helpers.function("exp_below", "f32", lanes), a[0]);
    case kernel::Intrinsic::kLogisticDivisor:
      return fmt::format("{}({})", helpers.function("logistic_divisor", "f32", lanes), a[0]);
    case kernel::Intrinsic::kErfPlusOne:
      return fmt::format("{}({})", helpers.function("erf_plus_one", "f32", lanes), a[0]);
    case kernel::Intrinsic::kNormalCdf:
      return fmt::format("{}({})", helpers.function("normal_cdf", "f32", lanes), a[0]);
    case kernel::Intrinsic::kGelu:
      return fmt::format("{}({})", helpers.function("gelu", "f32", lanes), a[0]);
    case kernel::Intrinsic::kNumber:
      return a[0];
    case kernel::Intrinsic::kInOrder:
      if (e.type.dtype != DType::kI16) return a[0];
      return fmt::format("{}({})", helpers.function("in_order", "i16", lanes), a[0]);
    default:
      return "";
  }
  string function = helpers.function(kernel::intrinsic_name(e.intrinsic), scalar, lanes);
  return fmt::format("{}({}, {}, {})", function, a[0], a[1], a[2]);
}

string limit_suffix(const MemoryAccess& access) {
  return access.limit.empty() ? "" : access.is_mask ? "_mask" : "_count";
}

string load(HelperSet& helpers, const MemoryAccess& a) {
  const string limit = a.limit.empty() ? "" : ", " + a.limit;
  if (a.is_indexed) {
    string name = helpers.function(a.limit.empty() ? "gather" : "gather_mask", a.element, a.lanes);
    return fmt::format("{}({}, {}{})", name, a.base, a.index, limit);
  }
  if (!a.limit.empty()) {
    string name = helpers.function("load" + limit_suffix(a), a.element, a.lanes);
    return fmt::format("{}({} + {}{})", name, a.base, a.index, limit);
  }
  if (a.lanes == 1) return fmt::format("{}[{}]", a.base, a.index);
  return fmt::format("(*(const {}*)({} + {}))", helpers.memory_type(a.element, a.lanes), a.base, a.index);
}

string store(HelperSet& helpers, const MemoryAccess& a) {
  const string limit = a.limit.empty() ? "" : ", " + a.limit;
  if (a.is_indexed) {
    string name = helpers.function(a.limit.empty() ? "scatter" : "scatter_mask", a.element, a.lanes);
    return fmt::format("{}({}, {}, {}{});", name, a.base, a.index, a.value, limit);
  }
  if (!a.limit.empty()) {
    string name = helpers.function("store" + limit_suffix(a), a.element, a.lanes);
    return fmt::format("{}({} + {}, {}{});", name, a.base, a.index, a.value, limit);
  }
  if (a.lanes == 1) return fmt::format("{}[{}] = {};", a.base, a.index, a.value);
  // Lines that are written in part by such stores and in part by others cost more than either.
  if (a.is_streaming && a.is_aligned) {
    string name = helpers.function("stream", a.element, a.lanes);
    return fmt::format("{}({} + {}, {});", name, a.base, a.index, a.value);
  }
  return fmt::format("*({}*)({} + {}) = {};", helpers.memory_type(a.element, a.lanes), a.base, a.index,
                     a.value);
}

}  // namespace

const Dialect& c_dialect() {
  static constexpr Dialect kDialect = {
      .language = "C",
      .prelude = kPrelude,
      .declarations =
          "typedef struct kernel_args { void* const* bindings; const i64* params; } kernel_args;\n",
      .scalar_helpers = false,
      .narrow_indices = false,
      .raw_copies = true,
      .half_pairs = false,
      .helper_loop = "",
      .stays_loop = "_Pragma(\"clang loop unroll(disable)\")",
      .four_a_round = "_Pragma(\"clang loop unroll_count(4)\")",
      .builtin = "__builtin_",
      .elementwise = "__builtin_elementwise_",
      .reserved = {},
      .scalar_definition = scalar_definition,
      .vector_definition = vector_definition,
      .local_array = local_array,
      .convert = convert,
      .splat_mask = splat_mask,
      .mask = mask,
      .select = select,
      .literal = literal,
      .ramp = ramp,
      .bitcast = bitcast,
      .shuffle = shuffle,
      .min_max = min_max,
      .reduce_mask = reduce_mask,
      .reduce = reduce,
      .lanes_call = lanes_call,
      .intrinsic = intrinsic,
      .load = load,
      .store = store,
  };
  return kDialect;
}

}  // namespace tern::render
