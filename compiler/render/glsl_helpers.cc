#include "compiler/render/glsl_helpers.h"

#include <cctype>
#include <unordered_map>
#include <vector>

#include "compiler/render/glsl_rows.h"

namespace tern::render {

namespace {

// A function's rows with $T filled in.
struct Instance {
  std::string result, parameters, body;
};

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(separator, at), text.size());
    parts.emplace_back(text.substr(at, end - at));
    at = end + 1;
    while (at < text.size() && text[at] == ' ') ++at;
  }
  return parts;
}

std::string filled(std::string_view text, std::string_view type) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text.substr(at, 2) == "$T") {
      out += type;
      ++at;
    } else {
      out += text[at];
    }
  }
  return out;
}

const std::unordered_map<std::string, Instance>& instances() {
  static const std::unordered_map<std::string, Instance> kAll = [] {
    std::unordered_map<std::string, Instance> all;
    for (std::span<const GlslRow> rows :
         {glsl_basic_rows(), glsl_float_rows(), glsl_math_rows(), glsl_math64_rows()}) {
      for (const GlslRow& row : rows) {
        if (row.types.empty()) {
          all[std::string(row.name)] = {std::string(row.result), std::string(row.parameters),
                                        std::string(row.body)};
        }
        for (const std::string& type : split(row.types, ' ')) {
          all[fmt::format("{}_{}", row.name, type)] = {filled(row.result, type), filled(row.parameters, type),
                                                       filled(row.body, type)};
        }
      }
    }
    return all;
  }();
  return kAll;
}

// Names in a text with a parenthesis behind.
std::vector<std::string> calls(const std::string& text) {
  std::vector<std::string> names;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '(') continue;
    size_t begin = at;
    while (begin > 0 && (std::isalnum(static_cast<unsigned char>(text[begin - 1])) || text[begin - 1] == '_'))
      --begin;
    if (begin < at) names.push_back(text.substr(begin, at - begin));
  }
  return names;
}

}  // namespace

std::string_view glsl_carrier(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return "bool";
    case DType::kF64:
      return "double";
    case DType::kI64:
      return "int64_t";
    case DType::kU64:
      return "uint64_t";
    case DType::kC64:
      return "vec2";
    case DType::kC128:
      return "dvec2";
    default:
      return is_float(dtype) ? "float" : is_signed_int(dtype) ? "int" : "uint";
  }
}

std::string glsl_type(std::string_view scalar, int lanes) {
  if (lanes == 1) return std::string(scalar);
  const std::string_view stem = scalar == "float"      ? "vec"
                                : scalar == "int"      ? "ivec"
                                : scalar == "uint"     ? "uvec"
                                : scalar == "bool"     ? "bvec"
                                : scalar == "int64_t"  ? "i64vec"
                                : scalar == "uint64_t" ? "u64vec"
                                                       : "dvec";
  return fmt::format("{}{}", stem, lanes);
}

std::string GlslHelpers::type(std::string_view scalar, int lanes) {
  if (scalar.find("int64") != std::string_view::npos) needs_.int64 = true;
  if (scalar == "double" || scalar == "dvec2") needs_.float64 = true;
  return glsl_type(scalar, lanes);
}

bool GlslHelpers::emit(const std::string& name) {
  auto at = instances().find(name);
  if (at == instances().end()) return false;
  const auto prefer = [&](bool usable, const char* suffix) {
    const auto other = instances().find(name + suffix);
    if (!usable || other == instances().end()) return false;
    at = other;
    return true;
  };
  prefer(target_.narrow, "_narrow");
  needs_.dots |= prefer(target_.dots, "_dots");
  if (!known_.insert(name).second) return true;
  const Instance& row = at->second;
  for (const std::string& called : calls(row.body)) emit(called);
  for (std::string_view used : {"int64_t", "uint64_t", "double"}) {
    if ((row.result + row.parameters + row.body).find(used) != std::string::npos) type(used);
  }
  text_ += fmt::format("{} {}({}) {{\n  {}\n}}\n", row.result, name, row.parameters, row.body);
  return true;
}

std::string GlslHelpers::define(const std::string& name, std::string_view result,
                                const std::string& parameters, const std::string& value) {
  if (known_.insert(name).second)
    text_ += fmt::format("{} {}({}) {{ return {}; }}\n", result, name, parameters, value);
  return name;
}

std::string GlslHelpers::function(std::string_view name, std::string_view scalar, int lanes) {
  std::string full = scalar.empty() ? std::string(name) : fmt::format("{}_{}", name, scalar);
  if (!emit(full)) return "";
  if (lanes == 1 || !known_.insert(fmt::format("{} x {}", full, lanes)).second) return full;
  // An overload for vectors.
  const Instance& row = instances().at(full);
  std::string parameters, values;
  for (int lane = 0; lane < lanes; ++lane) {
    std::string arguments;
    for (const std::string& parameter : split(row.parameters, ',')) {
      const std::vector<std::string> words = split(parameter, ' ');
      arguments += fmt::format("{}{}.{}", arguments.empty() ? "" : ", ", words[1], component(lane));
      if (lane == 0)
        parameters += fmt::format("{}{} {}", parameters.empty() ? "" : ", ", type(words[0], lanes), words[1]);
    }
    values += fmt::format("{}{}({})", lane ? ", " : "", full, arguments);
  }
  const std::string result = type(row.result, lanes);
  text_ += fmt::format("{} {}({}) {{ return {}({}); }}\n", result, full, parameters, result, values);
  return full;
}

}  // namespace tern::render
