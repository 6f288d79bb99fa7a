#include "compiler/lower/region.h"

#include <algorithm>

namespace tern::lower {

std::string_view kind_name(RootKind kind) {
  switch (kind) {
    case RootKind::kNone:
      return "elementwise";
    case RootKind::kContraction:
      return "contraction";
    case RootKind::kRows:
      return "rows";
    case RootKind::kWindow:
      return "window";
    case RootKind::kScan:
      return "scan";
    case RootKind::kSpecial:
      return "special";
  }
  TERN_UNREACHABLE("a kind of region without name");
}

std::string op_word(const graph::Node& node) {
  return std::string(node.kind == graph::OpKind::kMap ? scalar::info(node.scalar_op()).name
                                                      : graph::info(node.kind).name);
}

std::string Region::label() const {
  std::string out;
  std::string last;
  int count = 0;
  for (const graph::Node* node : nodes) {
    if (graph::info(node->kind).view && nodes.size() > 1) continue;
    std::string word = op_word(*node);
    if (word == last) continue;
    last = word;
    if (++count > 6) return out + "+more";
    out += out.empty() ? word : "+" + word;
  }
  return out.empty() ? "copy" : out;
}

std::vector<std::shared_ptr<const graph::Source>> Region::sources() const {
  std::vector<std::shared_ptr<const graph::Source>> out;
  for (const graph::Node* node : nodes) {
    if (node->source && std::find(out.begin(), out.end(), node->source) == out.end())
      out.push_back(node->source);
  }
  return out;
}

Region joined(const std::vector<std::unique_ptr<Region>>& chain) {
  Region out;
  out.kind = RootKind::kContraction;
  out.root = chain.back()->root;
  out.outputs = chain.back()->outputs;
  for (const auto& part : chain) {
    out.nodes.insert(out.nodes.end(), part->nodes.begin(), part->nodes.end());
    out.members.insert(part->members.begin(), part->members.end());
  }
  const auto passes_between = [&](const graph::Value* v) {
    return std::any_of(chain.begin(), chain.end() - 1, [&](const auto& part) {
      return std::find(part->outputs.begin(), part->outputs.end(), v) != part->outputs.end();
    });
  };
  for (const auto& part : chain) {
    for (const Neighbour& n : part->neighbours) {
      if (!out.contains(n.node)) out.neighbours.push_back(n);
    }
    for (graph::Value* v : part->inputs) {
      if (!passes_between(v) && std::find(out.inputs.begin(), out.inputs.end(), v) == out.inputs.end())
        out.inputs.push_back(v);
    }
  }
  return out;
}

}  // namespace tern::lower
