#include "compiler/render/helpers.h"

#include <algorithm>
#include <array>

#include "compiler/render/dialect.h"
#include "compiler/render/helper_table.h"
#include "compiler/render/memory_helpers.h"

namespace tern::render {

std::string_view carrier(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return "b1";
    case DType::kF64:
      return "f64";
    case DType::kI4:
    case DType::kI2:
    case DType::kI8:
      return "i8";
    case DType::kU4:
    case DType::kU2:
    case DType::kU8:
      return "u8";
    case DType::kI16:
      return "i16";
    case DType::kU16:
      return "u16";
    case DType::kI32:
      return "i32";
    case DType::kU32:
      return "u32";
    case DType::kI64:
      return "i64";
    case DType::kU64:
      return "u64";
    case DType::kC64:
      return "c64";
    case DType::kC128:
      return "c128";
    default:
      TERN_CHECK(is_float(dtype), "type {} in a kernel", dtype_name(dtype));
      return "f32";
  }
}

std::string_view storage(DType dtype) {
  if (dtype == DType::kF16 || dtype == DType::kBF16) return "u16";
  bool byte = dtype == DType::kBool || dtype_bits(dtype) < 8 || (is_float(dtype) && dtype_bits(dtype) == 8);
  return byte ? "u8" : carrier(dtype);
}

int c_type_bits(std::string_view scalar) {
  if (scalar == "b1") return 8;
  if (scalar == "c64") return 64;
  if (scalar == "c128") return 128;
  int bits = 0;
  for (char c : scalar.substr(1)) bits = bits * 10 + (c - '0');
  return bits;
}

namespace {

std::string_view scalar_definition(std::string_view name) {
  struct Row {
    std::string_view name, text;
  };
  static constexpr Row kRows[] = {
      {"b1", "typedef _Bool b1;"},
      {"i8", "typedef signed char i8;"},
      {"u8", "typedef unsigned char u8;"},
      {"i16", "typedef short i16;"},
      {"u16", "typedef unsigned short u16;"},
      {"i32", "typedef int i32;"},
      {"u32", "typedef unsigned int u32;"},
      {"i64", "typedef long i64;"},
      {"u64", "typedef unsigned long u64;"},
      {"f16", "typedef _Float16 f16;"},
      {"f32", "typedef float f32;"},
      {"f64", "typedef double f64;"},
      {"c64", "typedef struct c64 { float re, im; } c64;"},
      {"c128", "typedef struct c128 { double re, im; } c128;"},
  };
  for (const Row& r : kRows) {
    if (r.name == name) return r.text;
  }
  TERN_UNREACHABLE("C type {}", name);
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// The row for a name and element type, most special first.
const HelperRow* find_row(std::string_view name, std::string_view scalar) {
  std::array<std::string, 3> wanted = {fmt::format("{}.{}", name, scalar),
                                       fmt::format("{}.{}", name,
                                                   scalar[0] == 'f'   ? "float"
                                                   : scalar[0] == 'i' ? "signed"
                                                                      : "unsigned"),
                                       std::string(name)};
  for (const std::string& key : wanted) {
    for (auto rows : {basic_rows(), float_rows(), math_rows(), math64_rows(), complex_rows(), cuda_rows()}) {
      for (const HelperRow& row : rows) {
        if (row.name == key) return &row;
      }
    }
  }
  return nullptr;
}

}  // namespace

void HelperSet::emit(std::string key, std::string text) {
  if (known_.insert(key).second) helpers_.push_back({std::move(key), std::move(text)});
}

// A helper's text in the dialect's spelling of clang's builtins.
std::string HelperSet::spelled(std::string text) const {
  const Dialect& dialect = *target_.dialect;
  constexpr std::string_view kElementwise = "__builtin_elementwise_", kBuiltin = "__builtin_";
  if (dialect.builtin == kBuiltin) return text;
  for (size_t at = 0; (at = text.find("for (", at)) != std::string::npos;) {
    text.insert(at, dialect.helper_loop);
    at += dialect.helper_loop.size() + 4;
  }
  for (size_t at = 0; (at = text.find(kBuiltin, at)) != std::string::npos;) {
    bool elementwise = text.compare(at, kElementwise.size(), kElementwise) == 0;
    text.replace(at, elementwise ? kElementwise.size() : kBuiltin.size(),
                 elementwise ? dialect.elementwise : dialect.builtin);
  }
  return text;
}

std::string HelperSet::named_type(std::string_view scalar, int lanes) {
  const Dialect& dialect = *target_.dialect;
  emit(std::string(scalar), dialect.scalar_definition(scalar, scalar_definition(scalar)));
  if (lanes == 1) return std::string(scalar);
  TERN_CHECK(scalar[0] != 'c', "vector of complex numbers");
  std::string name = fmt::format("{}x{}", scalar, lanes);
  emit(name, dialect.vector_definition(scalar, name, lanes));
  return name;
}

std::string HelperSet::type(kernel::VType type) {
  return named_type(carrier(type.dtype), type.lanes);
}

std::string HelperSet::memory_type(std::string_view scalar, int lanes) {
  if (lanes == 1) return named_type(scalar, 1);
  std::string name = fmt::format("{}x{}_mem", scalar, lanes);
  named_type(scalar, 1);
  emit(name, fmt::format("typedef {} {} __attribute__((ext_vector_type({}), aligned({}), may_alias));\n",
                         scalar, name, lanes, c_type_bits(scalar) / 8));
  return name;
}

bool HelperSet::has(std::string_view name, std::string_view scalar) const {
  return find_row(name, scalar) != nullptr || is_generated(name);
}

std::string HelperSet::function(std::string_view name, std::string_view scalar, int lanes) {
  std::string self =
      lanes == 1 ? fmt::format("{}_{}", name, scalar) : fmt::format("{}_{}x{}", name, scalar, lanes);
  if (known_.contains("fn " + self)) return self;
  // What helpers themselves use without asking.
  for (std::string_view used : {"u8", "i32", "u32", "i64", "u64", "f32", "f64"}) named_type(used, 1);
  std::string text = memory_helper_text(*this, name, scalar, lanes, self);
  if (text.empty()) text = intrinsic_helper_text(*this, name, scalar, lanes, self);
  if (text.empty()) {
    const HelperRow* row = nullptr;
    if (target_.arch == CArch::kCuda) row = find_row(fmt::format("{}_cuda", name), scalar);
    if (row == nullptr && target_.f16_convert) row = find_row(fmt::format("{}_hw", name), scalar);
    if (row == nullptr) row = find_row(name, scalar);
    TERN_CHECK(row != nullptr, "no C helper '{}' for {}", name, scalar);
    text = row->text.starts_with("LANES ") ? lane_by_lane(row->text, name, scalar, lanes, self)
                                           : expand(row->text, scalar, lanes, self);
  }
  emit("fn " + self, spelled(std::move(text)));
  return self;
}

// "LANES R A B\n<scalar text>": the text itself, or a vector function that calls it for each lane.
std::string HelperSet::lane_by_lane(std::string_view text, std::string_view name, std::string_view scalar,
                                    int lanes, std::string_view self) {
  size_t end = text.find('\n');
  if (lanes == 1) {
    for (std::string_view type : {"i32", "u32", "u8", "f32"}) named_type(type, 1);
    return expand(text.substr(end + 1), scalar, 1, self);
  }
  std::string one = function(name, scalar, 1);
  std::vector<std::string> types;
  for (size_t at = 6; at < end;) {
    size_t stop = std::min(text.find(' ', at), end);
    types.push_back(named_type(text.substr(at, stop - at), lanes));
    at = stop + 1;
  }
  std::string parameters, arguments;
  for (size_t k = 1; k < types.size(); ++k) {
    parameters += fmt::format("{}{} a{}", k == 1 ? "" : ", ", types[k], k);
    arguments += fmt::format("{}a{}[k]", k == 1 ? "" : ", ", k);
  }
  return fmt::format(
      "static inline {0} {1}({2}) {{\n  {0} r = ({0})(0);\n  for (i32 k = 0; k < {3}; ++k) r[k] = {4}({5});\n"
      "  return r;\n}}\n",
      types[0], self, parameters, lanes, one, arguments);
}

std::string HelperSet::expand(std::string_view text, std::string_view scalar, int lanes,
                              std::string_view self) {
  std::string out;
  int bits = c_type_bits(scalar);
  auto word_at = [&](size_t from) {
    size_t end = from;
    while (end < text.size() && (is_word(text[end]) || text[end] == ':')) ++end;
    return text.substr(from, end - from);
  };
  for (size_t k = 0; k < text.size(); ++k) {
    char c = text[k];
    if (c == '@') {
      std::string_view word = word_at(k + 1);
      size_t colon = word.find(':');
      const std::string_view prefix = colon == std::string_view::npos ? "" : word.substr(0, colon);
      const std::string_view helper = colon == std::string_view::npos ? word : word.substr(colon + 1);
      out += prefix == "1" ? function(helper, scalar, 1)
                           : function(helper, prefix.empty() ? scalar : prefix, lanes);
      k += word.size();
    } else if (c == '$' && text[k + 1] == 'T') {
      size_t end = text.find('}', k);
      out += named_type(text.substr(k + 3, end - k - 3), lanes);
      k = end;
    } else if (c == '$' && text[k + 1] == '{') {
      size_t end = text.find('}', k);
      std::string_view what = text.substr(k + 2, end - k - 2);
      out += named_type(fmt::format("{}{}", what == "I" ? 'i' : 'u', bits), lanes);
      k = end;
    } else if (c == '$') {
      switch (text[++k]) {
        case 'V':
          out += named_type(scalar, lanes);
          break;
        case 'M':
          out += memory_type(scalar, lanes);
          break;
        case 'E':
          out += named_type(scalar, 1);
          break;
        case 'N':
          out += fmt::format("{}", lanes);
          break;
        case 'H':
          out += fmt::format("{}", lanes / 2);
          break;
        case 'F':
          out += self;
          break;
        default:
          TERN_UNREACHABLE("helper text ${}", text[k]);
      }
    } else if (text.compare(k, 4, "CVT(") == 0 && (k == 0 || !is_word(text[k - 1]))) {
      out += lanes == 1 ? "CONVERT_1(" : "CONVERT_N(";
      k += 3;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace tern::render
