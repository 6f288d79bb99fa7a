// Walks a graph once and lets a rule replace nodes: the frame of every local pass. Nodes are visited in
// order, so a node's operands are final when the rule sees it and their `def`s are nodes that stay. Linear in
// the graph.
#pragma once

#include <functional>
#include <optional>

#include "compiler/graph/ir.h"

namespace tern::graph {

class Rewriter {
 public:
  // What stands for the node's results, or nullopt to keep the node. New nodes go through the builder, which
  // appends them where the node stood and gives them its source.
  using Rule = std::function<std::optional<std::vector<Value*>>(Node&, Builder&)>;

  Rewriter(Graph& graph, Rule rule) : graph_(graph), rule_(std::move(rule)) {}
  // Whether anything was replaced. Replacements must have the old types, after substitute(). One that has not
  // is an internal error in debug builds and where TERN_STRICT is set (all tests); else it is not made, and
  // the rule's new nodes go.
  bool run();
  // For rules: everywhere in the graph, the symbol becomes `dim` when the walk is over.
  void substitute(const std::string& symbol, const Dim& dim) { substitutions_[symbol] = dim; }

 private:
  void block(Block& b);
  Value* current(Value* v) const;
  Type substituted(const Type& type) const;
  bool accept(const Node& node, const std::vector<Value*>& replacement);

  Graph& graph_;
  Rule rule_;
  bool changed_ = false;
  std::unordered_map<const Value*, Value*> replacements_;
  std::unordered_map<std::string, Dim> substitutions_;
  std::vector<std::unique_ptr<Node>> replaced_;  // alive until the walk is over: rules may hold pointers
};

// One-result rules.
inline std::optional<std::vector<Value*>> replace_with(Value* v) {
  if (!v) return std::nullopt;
  return std::vector<Value*>{v};
}

using Substitutions = std::unordered_map<std::string, Dim>;  // expressions by symbols' names

Dim substituted_dim(const Dim& d, const Substitutions& map);

// Replaces symbols by expressions in every type and attribute, and forgets the symbols.
void substitute_symbols(Graph& graph, const Substitutions& substitutions);

// Copies a block's nodes through the builder. `values` maps the block's arguments (and outer values that are
// to be renamed) and gains every copied result. Symbols stand for themselves where `symbols` gives nothing
// else for them: a block that defines symbols of its own may be copied once, if the original goes away, or
// needs others for each copy.
void clone_nodes(const Block& from, Builder& to, std::unordered_map<const Value*, Value*>& values,
                 const Substitutions& symbols = {});

}  // namespace tern::graph
