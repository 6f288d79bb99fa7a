#include "compiler/graph/ir.h"

#include <algorithm>
#include <charconv>

namespace tern::graph {
namespace {

constexpr bool has_flag(std::string_view flags, char c) {
  return flags.find(c) != std::string_view::npos;
}

constexpr OpInfo kInfos[] = {
#define TERN_GRAPH_OP(name, text, min, max, regions, flags, attributes, meaning) \
  {text, min, max, regions, has_flag(flags, 'P'), has_flag(flags, 'V'), has_flag(flags, 'E'), attributes},
#include "compiler/graph/ops.def"
#undef TERN_GRAPH_OP
};

}  // namespace

const OpInfo& info(OpKind kind) {
  TERN_CHECK(kind < OpKind::kCount);
  return kInfos[static_cast<size_t>(kind)];
}

OpKind op_from_name(std::string_view name) {
  for (size_t i = 0; i < std::size(kInfos); ++i)
    if (kInfos[i].name == name) return static_cast<OpKind>(i);
  return OpKind::kCount;
}

Type Type::sequence(Type element) {
  return {Kind::kSequence, DType::kNone, {}, std::make_shared<const Type>(std::move(element))};
}
Type Type::optional(Type element) {
  return {Kind::kOptional, DType::kNone, {}, std::make_shared<const Type>(std::move(element))};
}

bool Type::operator==(const Type& other) const {
  if (kind != other.kind) return false;
  if (kind == Kind::kTensor) return dtype == other.dtype && shape == other.shape;
  return *element == *other.element;
}

std::string Type::text() const {
  if (kind == Kind::kSequence) return "seq<" + element->text() + ">";
  if (kind == Kind::kOptional) return "opt<" + element->text() + ">";
  std::string out = std::string(dtype_name(dtype)) + "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? "," : "") + shape[i].text();
  return out + "]";
}

const Attr* Node::find(std::string_view name) const {
  for (const auto& [key, value] : attrs)
    if (key == name) return &value;
  return nullptr;
}

void Node::set(std::string_view name, Attr value) {
  for (auto& [key, old] : attrs) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  attrs.emplace_back(std::string(name), std::move(value));
}

Value* Graph::new_value(Type type, std::string value_name) {
  Value& v = values_.emplace_back();
  v.id = next_id_++;
  v.type = std::move(type);
  v.name = std::move(value_name);
  return &v;
}

SymbolInfo* Graph::find_symbol(std::string_view symbol) {
  for (SymbolInfo& s : symbols)
    if (s.name == symbol) return &s;
  return nullptr;
}

SymbolInfo& Graph::new_symbol(std::string_view stem, SymbolInfo info) {
  std::vector<bool> taken(symbols.size());  // numbers; of as many names one more is free
  for (const SymbolInfo& s : symbols) {
    if (!s.name.starts_with(stem)) continue;
    const std::string_view digits = std::string_view(s.name).substr(stem.size());
    size_t number = 0;
    const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (problem == std::errc() && end == digits.data() + digits.size() && number < taken.size() &&
        (digits == "0" || digits[0] != '0'))
      taken[number] = true;
  }
  const auto number = std::find(taken.begin(), taken.end(), false) - taken.begin();
  info.name = fmt::format("{}{}", stem, number);
  symbols.push_back(std::move(info));
  return symbols.back();
}

void walk(const Block& block, const std::function<void(Node&)>& f) {
  for (const auto& node : block.nodes) {
    f(*node);
    for (const auto& region : node->regions) walk(*region, f);
  }
}

namespace {

void collect_uses(const Block& block, UseMap& uses) {
  for (const auto& node : block.nodes) {
    for (size_t i = 0; i < node->operands.size(); ++i)
      uses[node->operands[i]].push_back({node.get(), const_cast<Block*>(&block), static_cast<int>(i)});
    for (const auto& region : node->regions) collect_uses(*region, uses);
  }
  for (size_t i = 0; i < block.results.size(); ++i)
    uses[block.results[i]].push_back({nullptr, const_cast<Block*>(&block), static_cast<int>(i)});
}

using Replacements = std::unordered_map<const Value*, Value*>;

// Follows chains a -> b -> c, so that callers may collect replacements of replaced values.
Value* replaced(Value* v, const Replacements& replacements) {
  for (auto it = replacements.find(v); it != replacements.end(); it = replacements.find(v)) v = it->second;
  return v;
}

void replace_in_block(Block& block, const Replacements& replacements) {
  for (const auto& node : block.nodes) {
    for (Value*& operand : node->operands) operand = replaced(operand, replacements);
    for (const auto& region : node->regions) replace_in_block(*region, replacements);
  }
  for (Value*& result : block.results) result = replaced(result, replacements);
}

}  // namespace

UseMap compute_uses(const Graph& graph) {
  UseMap uses;
  collect_uses(graph.body, uses);
  return uses;
}

void replace_uses(Graph& graph, const Replacements& replacements) {
  if (replacements.empty()) return;
  replace_in_block(graph.body, replacements);
  for (SymbolInfo& s : graph.symbols)
    if (s.value) s.value = replaced(s.value, replacements);
}

}  // namespace tern::graph
