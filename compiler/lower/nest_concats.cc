#include "compiler/lower/nest_concats.h"

#include <algorithm>
#include <unordered_map>

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

bool begins_with(const Node& later, const Node& earlier) {
  return earlier.operands.size() >= 2 && earlier.operands.size() < later.operands.size() &&
         earlier.int_attr("axis") == later.int_attr("axis") &&
         std::equal(earlier.operands.begin(), earlier.operands.end(), later.operands.begin());
}

void nest(graph::Block& block) {
  std::unordered_map<const Value*, std::vector<Node*>> earlier;  // by their first part
  struct Nested {
    Node *whole, *first;
    size_t parts;  // of the first
  };
  std::vector<Nested> found;
  for (const auto& node : block.nodes) {
    for (const auto& region : node->regions) nest(*region);
    if (node->kind != OpKind::kConcat || node->operands.empty()) continue;
    std::vector<Node*>& known = earlier[node->operand()];
    Node* best = nullptr;
    for (Node* e : known) {
      if (begins_with(*node, *e) && (!best || e->operands.size() > best->operands.size())) best = e;
    }
    if (best) found.push_back({node.get(), best, best->operands.size()});
    known.push_back(node.get());
  }
  for (const Nested& n : found) {
    std::vector<Value*>& parts = n.whole->operands;
    parts.erase(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(n.parts));
    parts.insert(parts.begin(), n.first->result());
  }
}

}  // namespace

void nest_concats(graph::Graph& graph) {
  nest(graph.body);
}

}  // namespace tern::lower
