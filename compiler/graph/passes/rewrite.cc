#include "compiler/graph/passes/rewrite.h"

#include <algorithm>
#include <cstdlib>

namespace tern::graph {

Dim substituted_dim(const Dim& d, const Substitutions& map) {
  if (d.is_const()) return d;
  return d.substitute([&](const std::string& s) -> std::optional<Dim> {
    const auto it = map.find(s);
    return it == map.end() ? std::nullopt : std::optional<Dim>(it->second);
  });
}

namespace {

Type substituted_type(const Type& type, const Substitutions& map) {
  Type out = type;
  for (Dim& d : out.shape) d = substituted_dim(d, map);
  if (type.element) out.element = std::make_shared<const Type>(substituted_type(*type.element, map));
  return out;
}

void substitute_in_attrs(Node& n, const Substitutions& map) {
  for (auto& [key, attr] : n.attrs)
    if (auto* dims = std::get_if<std::vector<Dim>>(&attr))
      for (Dim& d : *dims) d = substituted_dim(d, map);
}

void substitute_in_block(Block& b, const Substitutions& map) {
  for (Value* v : b.args) v->type = substituted_type(v->type, map);
  for (const auto& n : b.nodes) {
    for (Value* v : n->results) v->type = substituted_type(v->type, map);
    substitute_in_attrs(*n, map);
    for (const auto& region : n->regions) substitute_in_block(*region, map);
  }
}

// Whether a rule's mistake is an internal error. For users the node stays as it is, which is right, too.
bool is_strict() {
#ifdef NDEBUG
  return std::getenv("TERN_STRICT") != nullptr;
#else
  return true;
#endif
}

}  // namespace

void substitute_symbols(Graph& graph, const Substitutions& given) {
  if (given.empty()) return;
  // An expression may itself use substituted symbols.
  Substitutions map = given;
  for (size_t round = 0; round < map.size(); ++round)
    for (auto& [name, dim] : map) dim = substituted_dim(dim, map);
  substitute_in_block(graph.body, map);
  std::erase_if(graph.symbols, [&](const SymbolInfo& s) { return map.count(s.name) != 0; });
  for (SymbolInfo& s : graph.symbols)
    if (s.upper) s.upper = substituted_dim(*s.upper, map);
}

void clone_nodes(const Block& from, Builder& to, std::unordered_map<const Value*, Value*>& values,
                 const Substitutions& symbols) {
  const auto mapped = [&](Value* v) {
    const auto it = values.find(v);
    return it == values.end() ? v : it->second;
  };
  for (const auto& n : from.nodes) {
    auto copy = std::make_unique<Node>();
    copy->kind = n->kind;
    copy->attrs = n->attrs;
    substitute_in_attrs(*copy, symbols);
    copy->source = n->source;
    for (Value* v : n->operands) copy->operands.push_back(mapped(v));
    for (const auto& region : n->regions) {
      auto block = std::make_unique<Block>();
      block->parent = copy.get();
      for (Value* v : region->args) {
        Value* arg = to.graph().new_value(substituted_type(v->type, symbols), v->name);
        arg->block = block.get();
        arg->index = v->index;
        block->args.push_back(arg);
        values[v] = arg;
      }
      Builder inner(to.graph(), *block);
      clone_nodes(*region, inner, values, symbols);
      for (Value* v : region->results) block->results.push_back(mapped(v));
      copy->regions.push_back(std::move(block));
    }
    for (Value* v : n->results) {
      Value* result = to.graph().new_value(substituted_type(v->type, symbols), v->name);
      result->def = copy.get();
      result->index = v->index;
      copy->results.push_back(result);
      values[v] = result;
    }
    to.append(std::move(copy));
  }
}

Value* Rewriter::current(Value* v) const {
  for (auto it = replacements_.find(v); it != replacements_.end(); it = replacements_.find(v)) v = it->second;
  return v;
}

Type Rewriter::substituted(const Type& type) const {
  return substitutions_.empty() ? type : substituted_type(type, substitutions_);
}

bool Rewriter::accept(const Node& node, const std::vector<Value*>& replacement) {
  TERN_CHECK(replacement.size() == node.results.size(), "a rewrite of '{}' gives {} values for {} results",
             info(node.kind).name, replacement.size(), node.results.size());
  for (size_t i = 0; i < replacement.size(); ++i) {
    const Type have = substituted(replacement[i]->type), want = substituted(node.results[i]->type);
    if (have == want) continue;
    TERN_CHECK(!is_strict(), "a rewrite of '{}' ({}) gives a {} instead of a {}", info(node.kind).name,
               node.source ? node.source->node : "", have.text(), want.text());
    return false;
  }
  return true;
}

void Rewriter::block(Block& b) {
  std::vector<std::unique_ptr<Node>> old = std::move(b.nodes);
  b.nodes.clear();
  b.nodes.reserve(old.size());
  for (std::unique_ptr<Node>& n : old) {
    for (Value*& v : n->operands) v = current(v);
    for (const auto& region : n->regions) block(*region);
    Builder builder(graph_, b);
    builder.set_source(n->source);
    const size_t before = b.nodes.size();
    std::optional<std::vector<Value*>> replacement = rule_(*n, builder);
    if (!replacement || !accept(*n, *replacement)) {
      b.nodes.resize(before);  // what the rule made on the way
      b.nodes.push_back(std::move(n));
      continue;
    }
    for (size_t i = 0; i < replacement->size(); ++i) {
      Value* v = (*replacement)[i];
      if (v->name.empty()) v->name = n->results[i]->name;
      replacements_[n->results[i]] = v;
    }
    replaced_.push_back(std::move(n));
    changed_ = true;
  }
  for (Value*& v : b.results) v = current(v);
}

bool Rewriter::run() {
  block(graph_.body);
  for (SymbolInfo& s : graph_.symbols)
    if (s.value) s.value = current(s.value);
  substitute_symbols(graph_, substitutions_);
  for (const auto& n : replaced_)
    for (Value* v : n->results) v->def = nullptr;
  replaced_.clear();
  return changed_;
}

}  // namespace tern::graph
