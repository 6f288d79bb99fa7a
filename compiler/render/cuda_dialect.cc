// NVRTC's C++: vectors and accesses are templates of the prelude.
#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/text.h"
#include "compiler/render/cuda_prelude.h"
#include "compiler/render/dialect.h"

namespace tern::render {

namespace {

using std::string;
using std::string_view;

constexpr string_view kReserved[] = {
    "alignas",      "and",           "catch",      "class",       "const_cast",
    "constexpr",    "decltype",      "delete",     "export",      "explicit",
    "false",        "friend",        "mutable",    "namespace",   "new",
    "noexcept",     "not",           "nullptr",    "operator",    "or",
    "private",      "protected",     "public",     "template",    "this",
    "throw",        "true",          "try",        "typeid",      "typename",
    "using",        "virtual",       "wchar_t",    "xor",         "bitand",
    "bitor",        "compl",         "threadIdx",  "blockIdx",    "blockDim",
    "gridDim",      "warpSize",      "Vec",        "map",         "each",
    "select",       "ramp",          "shuffle",    "reduce",      "bit_cast",
    "gather",       "scatter",       "memcpy",     "fault_word",  "workgroup_memory",
    "load_aligned", "store_aligned", "load_lanes", "store_lanes", "lane_of",
    "Word",         "Words",         "WHOLE",      "flipped",     "uint4",
    "uint2",        "exp",           "log",        "sin",         "cos",
    "Tensor"};

string scalar_definition(string_view name, string_view) {
  // The prelude has all but these; constructors, since a list of doubles does not narrow by itself.
  if (name == "c64" || name == "c128") {
    return fmt::format(
        "struct {0} {{ {1} re, im; {0}() = default; {0}(f64 r, f64 i) : re(({1})r), im(({1})i) {{}} }};\n",
        name, name == "c64" ? "f32" : "f64");
  }
  return "";
}

string vector_definition(string_view scalar, string_view name, int lanes) {
  return fmt::format("typedef Vec<{}, {}> {};\n", scalar, lanes, name);
}

string local_array(string_view element, string_view name, int64_t elements) {
  return fmt::format("alignas(16) {} {}[{}];", element, name, elements);
}

string convert(string_view vector_type, string_view text) {
  return fmt::format("(({})({}))", vector_type, text);
}

string splat_mask(HelperSet&, string_view vector_type, int, string_view text) {
  return convert(vector_type, text);
}

string mask(string_view, string_view comparison) {
  return fmt::format("({})", comparison);
}

string select(HelperSet&, int, int, string_view mask, string_view yes, string_view no) {
  return fmt::format("select({}, {}, {})", mask, yes, no);
}

string literal(string_view type, string_view members) {
  return fmt::format("{}({})", type, members);
}

string ramp(string_view type, string_view base, int64_t stride, int) {
  return fmt::format("ramp<{}>({}, {})", type, base.empty() ? "0" : base, stride);
}

string bitcast(string_view, string_view to_type, string_view text) {
  return fmt::format("bit_cast<{}>({})", to_type, text);
}

string shuffle(const std::vector<string>& operands, int operand_lanes, const std::vector<int>& lanes) {
  if (lanes.size() == 1) {
    int lane = std::max(lanes[0], 0);
    const string& operand = operands[static_cast<size_t>(lane / operand_lanes)];
    return operand_lanes == 1 ? operand : fmt::format("{}[{}]", operand, lane % operand_lanes);
  }
  string picks;
  for (int lane : lanes) picks += fmt::format("{}{}", picks.empty() ? "" : ", ", std::max(lane, 0));
  return fmt::format("shuffle<{}>({}, {})", picks, operands[0], operands.back());
}

string min_max(string_view which, string_view type, string_view a, string_view b) {
  return fmt::format("v_{0}(({1})({2}), ({1})({3}))", which, type, a, b);
}

string_view sign_of(string_view how) {
  return how == "add" ? "+" : how == "mul" ? "*" : how == "and" ? "&" : how == "or" ? "|" : "^";
}

string reduce_mask(HelperSet&, string_view how, int, string_view mask) {
  return fmt::format("reduce({}, [](b1 a, b1 b) {{ return (b1)(a {} b); }})", mask, sign_of(how));
}

string reduce(HelperSet& helpers, string_view how, string_view scalar, int, string_view text) {
  string fold = fmt::format("a {} b", sign_of(how));
  if (how == "min" || how == "max") {
    fold = scalar[0] == 'f' ? helpers.function(how, scalar, 1) + "(a, b)" : fmt::format("v_{}(a, b)", how);
  }
  return fmt::format("reduce({0}, []({1} a, {1} b) {{ return ({1})({2}); }})", text, scalar, fold);
}

string lanes_call(string_view function, int lanes, string_view arguments, bool is_void) {
  for (const string_view type : {"f16", "bf16"}) {
    if (lanes % 2 == 0 && function == fmt::format("encode_{}_f32", type))
      return fmt::format("pairs_{}<{}>([](auto x) {{ return {}(x); }}, {})", type, lanes, function,
                         arguments);
  }
  return fmt::format("{}<{}>([](auto... x) {{ return {}(x...); }}, {})", is_void ? "each" : "map", lanes,
                     function, arguments);
}

string intrinsic(HelperSet&, const kernel::ExprNode& e, const std::vector<string>& a, string_view buffer) {
  string name(kernel::intrinsic_name(e.intrinsic));
  switch (e.intrinsic) {
    case kernel::Intrinsic::kDot4U8I8:
    case kernel::Intrinsic::kDot4I8I8:
      name = "dot4_lanes";
      break;
    case kernel::Intrinsic::kDot2I16:
      name = "dot2_lanes";
      break;
    case kernel::Intrinsic::kDot2BF16:
      name = "dot2_bf16_lanes";
      break;
    case kernel::Intrinsic::kLdmatrixX4:
    case kernel::Intrinsic::kLdmatrixX4Trans:
      return fmt::format("{}({} + {})", name, buffer, a[0]);
    case kernel::Intrinsic::kPeerLoad:
      return fmt::format("{}({} + {}, {})", name, buffer, a[0], a[1]);
    default:
      break;
  }
  string arguments;
  for (const string& argument : a) arguments += (arguments.empty() ? "" : ", ") + argument;
  return fmt::format("{}({})", name, arguments);
}

string limit_of(const MemoryAccess& a) {
  return a.limit.empty() ? "" : ", " + a.limit;
}

// load_… or store_… of consecutive lanes: its name up to the address.
string consecutive(HelperSet& helpers, string_view what, const MemoryAccess& a) {
  string type = helpers.named_type(a.element, a.lanes);
  string how = a.limit.empty() ? (a.is_aligned ? "aligned" : "lanes") : a.is_mask ? "mask" : "count";
  string aligned = how == "count" ? (a.is_aligned ? ", true" : ", false") : "";
  return fmt::format("{}_{}<{}{}>({} + {}", what, how, type, aligned, a.base, a.index);
}

string load(HelperSet& helpers, const MemoryAccess& a) {
  if (a.is_indexed) {
    return fmt::format("gather{}<{}>({}, {}{})", a.limit.empty() ? "" : "_mask",
                       helpers.named_type(a.element, a.lanes), a.base, a.index, limit_of(a));
  }
  if (a.lanes > 1) return fmt::format("{}{})", consecutive(helpers, "load", a), limit_of(a));
  if (a.limit.empty()) return fmt::format("{}[{}]", a.base, a.index);
  return fmt::format("({}{} ? {}[{}] : ({})0)", a.limit, a.is_mask ? "" : " > 0", a.base, a.index, a.element);
}

string store(HelperSet& helpers, const MemoryAccess& a) {
  if (a.is_indexed) {
    return fmt::format("scatter{}<{}>({}, {}, {}{});", a.limit.empty() ? "" : "_mask",
                       helpers.named_type(a.element, a.lanes), a.base, a.index, a.value, limit_of(a));
  }
  if (a.lanes > 1) return fmt::format("{}, {}{});", consecutive(helpers, "store", a), a.value, limit_of(a));
  string assignment = fmt::format("{}[{}] = {};", a.base, a.index, a.value);
  if (a.limit.empty()) return assignment;
  return fmt::format("if ({}{}) {}", a.limit, a.is_mask ? "" : " > 0", assignment);
}

}  // namespace

const Dialect& cuda_dialect() {
  static const Dialect kDialect = {
      .language = "CUDA",
      .prelude = cuda_prelude(),
      .declarations = "extern __shared__ __align__(1024) u8 workgroup_memory[];\n",
      .scalar_helpers = true,
      .narrow_indices = true,
      .raw_copies = true,
      .half_pairs = true,
      .helper_loop = "_Pragma(\"unroll 1\") ",
      .stays_loop = "",
      .four_a_round = "",
      .builtin = "v_",
      .elementwise = "v_",
      .reserved = kReserved,
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
