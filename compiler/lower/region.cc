#include "compiler/lower/region.h"

#include <algorithm>

namespace tern::lower {

std::string Region::label() const {
  std::string out;
  std::string last;
  int count = 0;
  for (const graph::Node* node : nodes) {
    if (graph::info(node->kind).view && nodes.size() > 1) continue;
    std::string word(graph::info(node->kind).name);
    if (node->kind == graph::OpKind::kMap) word = std::string(scalar::info(node->scalar_op()).name);
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

}  // namespace tern::lower
