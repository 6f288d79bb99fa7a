// The text form's printer; parse.cc reads it back. docs/graph-ir.md shows the grammar.
#include <cctype>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "compiler/graph/ir.h"

namespace tern::graph {
namespace {

bool is_identifier(const std::string& name) {
  if (name.empty() || !(std::isalpha(static_cast<unsigned char>(name[0])) || name[0] == '_')) return false;
  for (const char c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.') return false;
  return true;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string float_text(double v, bool single) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  return single ? fmt::format("{}", static_cast<float>(v)) : fmt::format("{}", v);
}

std::string element_text(const TensorData& t, int64_t i) {
  if (t.dtype() == DType::kString) return quoted(t.string_values()[static_cast<size_t>(i)]);
  const scalar::ScalarValue v = scalar::load_value(t.dtype(), t.bytes().data(), i);
  switch (dtype_kind(t.dtype())) {
    case DTypeKind::kBool:
      return v.i ? "true" : "false";
    case DTypeKind::kFloat:
      return float_text(v.f, t.dtype() != DType::kF64);
    case DTypeKind::kComplex: {
      const bool single = t.dtype() == DType::kC64;
      return "(" + float_text(v.f, single) + " " + float_text(v.imaginary, single) + ")";
    }
    case DTypeKind::kUint:
      return fmt::format("{}", static_cast<uint64_t>(v.i));
    default:
      return fmt::format("{}", v.i);
  }
}

bool is_splat(const TensorData& t) {
  if (t.count() < 5 || t.dtype() == DType::kString || dtype_bits(t.dtype()) < 8) return false;
  const size_t width = static_cast<size_t>(dtype_bits(t.dtype()) / 8);
  // Equal to itself shifted by one element: all elements are the first.
  return std::memcmp(t.bytes().data(), t.bytes().data() + width, t.bytes().size() - width) == 0;
}

std::string tensor_text(const TensorData& t, int64_t inline_limit) {
  std::string out = Type::tensor(t.dtype(), Shape(t.shape().begin(), t.shape().end())).text();
  if (is_splat(t)) return out + " splat " + element_text(t, 0);
  if (t.count() > inline_limit) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const uint8_t b : t.bytes()) hash = (hash ^ b) * 0x100000001b3u;
    for (const std::string& s : t.string_values())
      for (const char c : s + '\0') hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
    return out + fmt::format(" hash {:016x}", hash);
  }
  out += " {";
  for (int64_t i = 0; i < t.count(); ++i) out += (i ? ", " : "") + element_text(t, i);
  return out + "}";
}

template <typename T, typename F>
std::string list_text(const std::vector<T>& items, F f) {
  std::string out = "[";
  for (size_t i = 0; i < items.size(); ++i) out += (i ? "," : "") + f(items[i]);
  return out + "]";
}

struct AttrText {
  int64_t inline_limit;
  std::string operator()(int64_t v) const { return fmt::format("{}", v); }
  std::string operator()(const std::vector<int64_t>& v) const {
    return list_text(v, [](int64_t i) { return fmt::format("{}", i); });
  }
  std::string operator()(double v) const { return float_text(v, false); }
  std::string operator()(const std::vector<double>& v) const {
    return list_text(v, [](double d) { return float_text(d, false); });
  }
  std::string operator()(const std::string& v) const { return quoted(v); }
  std::string operator()(const std::vector<std::string>& v) const { return list_text(v, quoted); }
  std::string operator()(DType v) const { return std::string(dtype_name(v)); }
  std::string operator()(const std::vector<Dim>& v) const {
    return list_text(v, [](const Dim& d) { return d.text(); });
  }
  std::string operator()(const TensorDataPtr& v) const { return tensor_text(*v, inline_limit); }
  std::string operator()(scalar::ScalarOp v) const { return std::string(scalar::info(v).name); }
  std::string operator()(bool v) const { return v ? "true" : "false"; }
};

class Printer {
 public:
  Printer(const Graph& graph, int64_t inline_limit) : graph_(graph), attr_text_{inline_limit} {
    number_block(graph.body);
  }

  std::string print() {
    out_ = "graph " + quoted(graph_.name) + " {\n";
    for (const SymbolInfo& s : graph_.symbols) print_symbol(s);
    for (size_t i = 0; i < graph_.body.args.size(); ++i) {
      const Value* v = graph_.body.args[i];
      out_ += "  input " + declared(v) + ": " + v->type.text();
      if (i < graph_.input_names.size()) out_ += " as " + quoted(graph_.input_names[i]);
      out_ += "\n";
    }
    for (const auto& node : graph_.body.nodes) print_node(*node, 2);
    for (size_t i = 0; i < graph_.body.results.size(); ++i) {
      out_ += "  output " + ref(graph_.body.results[i]);
      if (i < graph_.output_names.size()) out_ += " as " + quoted(graph_.output_names[i]);
      out_ += "\n";
    }
    return out_ + "}\n";
  }

 private:
  void name_value(const Value* v) {
    if (is_identifier(v->name) && taken_.insert(v->name).second) {
      names_[v] = v->name;
    } else {
      names_[v] = fmt::format("{}", next_++);
      if (!v->name.empty()) spelled_.insert(v);
    }
  }
  void number_block(const Block& block) {
    for (const Value* v : block.args) name_value(v);
    for (const auto& node : block.nodes) {
      for (const auto& region : node->regions) number_block(*region);
      for (const Value* v : node->results) name_value(v);
    }
  }
  std::string ref(const Value* v) const {
    const auto it = names_.find(v);
    return it == names_.end() ? "%<undefined>" : "%" + it->second;
  }
  std::string declared(const Value* v) const {
    return ref(v) + (spelled_.count(v) ? " " + quoted(v->name) : "");
  }

  void print_symbol(const SymbolInfo& s) {
    out_ += "  symbol " + s.name + ": ";
    switch (s.origin) {
      case SymbolInfo::Origin::kInput:
        out_ += fmt::format("input {} axis {}", s.input, s.axis);
        break;
      case SymbolInfo::Origin::kElement:
        out_ += "element " + (s.value ? ref(s.value) : "%<undefined>") + fmt::format("[{}]", s.element);
        break;
      case SymbolInfo::Origin::kControl:
        out_ += "control";
        break;
    }
    if (s.min != 0) out_ += fmt::format(", min {}", s.min);
    if (s.max != INT64_MAX) out_ += fmt::format(", max {}", s.max);
    if (s.hint != 0) out_ += fmt::format(", hint {}", s.hint);
    if (s.upper) out_ += ", upper " + s.upper->text();
    out_ += "\n";
  }

  void print_node(const Node& node, size_t indent) {
    out_.append(indent, ' ');
    for (size_t i = 0; i < node.results.size(); ++i) out_ += (i ? ", " : "") + declared(node.results[i]);
    if (!node.results.empty()) out_ += " = ";
    const Attr* value = node.kind == OpKind::kConstant ? node.find("value") : nullptr;
    if (value) {
      out_ += "constant " + std::visit(attr_text_, *value);
    } else {
      print_call(node);
    }
    if (!node.regions.empty()) {
      out_ += " {\n";
      for (const auto& region : node.regions) print_region(*region, indent + 2);
      out_.append(indent, ' ');
      out_ += "}";
    }
    if (node.source) out_ += " from " + quoted(node.source->op) + " " + quoted(node.source->node);
    out_ += "\n";
  }

  void print_call(const Node& node) {
    const bool is_map = node.kind == OpKind::kMap;
    out_ += is_map ? scalar::info(node.scalar_op()).name : info(node.kind).name;
    out_ += "(";
    for (size_t i = 0; i < node.operands.size(); ++i) out_ += (i ? ", " : "") + ref(node.operands[i]);
    out_ += ")";
    std::string attrs;
    for (const auto& [key, attr] : node.attrs) {
      if (is_map && key == "op") continue;
      attrs += (attrs.empty() ? "" : ", ") + key + "=" + std::visit(attr_text_, attr);
    }
    if (!attrs.empty()) out_ += " <" + attrs + ">";
    for (size_t i = 0; i < node.results.size(); ++i)
      out_ += (i ? ", " : " : ") + node.results[i]->type.text();
  }

  void print_region(const Block& block, size_t indent) {
    out_.append(indent, ' ');
    out_ += "region (";
    for (size_t i = 0; i < block.args.size(); ++i)
      out_ += (i ? ", " : "") + declared(block.args[i]) + ": " + block.args[i]->type.text();
    out_ += ")\n";
    for (const auto& node : block.nodes) print_node(*node, indent + 2);
    out_.append(indent + 2, ' ');
    out_ += "yield";
    for (size_t i = 0; i < block.results.size(); ++i) out_ += (i ? ", " : " ") + ref(block.results[i]);
    out_ += "\n";
  }

  const Graph& graph_;
  AttrText attr_text_;
  std::unordered_map<const Value*, std::string> names_;
  std::unordered_set<const Value*> spelled_;
  std::unordered_set<std::string> taken_;
  int next_ = 0;
  std::string out_;
};

}  // namespace

std::string print_tensor(const TensorData& tensor, int64_t inline_limit) {
  return tensor_text(tensor, inline_limit);
}

std::string print_graph(const Graph& graph, int64_t inline_limit) {
  return Printer(graph, inline_limit).print();
}

}  // namespace tern::graph
