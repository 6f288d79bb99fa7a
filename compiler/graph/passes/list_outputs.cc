#include "compiler/graph/passes/list_outputs.h"

#include <fmt/format.h>

#include <algorithm>

namespace tern::graph {

std::vector<std::string> name_listed_outputs(Graph& graph) {
  std::vector<std::string> sentences, names;
  std::vector<Value*> results;
  const auto taken = [&](const std::string& name) {
    return std::count(names.begin(), names.end(), name) +
           std::count(graph.output_names.begin(), graph.output_names.end(), name);
  };
  for (size_t i = 0; i < graph.body.results.size(); ++i) {
    const Value* v = graph.body.results[i];
    const std::string& name = graph.output_names[i];
    if (!v->def || v->def->kind != OpKind::kSeqConstruct || v->def->operands.empty()) {
      results.push_back(graph.body.results[i]);
      names.push_back(name);
      continue;
    }
    const size_t first = names.size();
    for (Value* element : v->def->operands) {
      std::string own = fmt::format("{}.{}", name, names.size() - first);
      while (taken(own) > 0) own += "_";
      results.push_back(element);
      names.push_back(own);
    }
    sentences.push_back(
        fmt::format("Output '{}' is a list, which the program has as an output for each element: '{}'.", name,
                    fmt::join(names.begin() + static_cast<ptrdiff_t>(first), names.end(), "', '")));
  }
  graph.body.results = std::move(results);
  graph.output_names = std::move(names);
  return sentences;
}

bool list_outputs(Graph& graph) {
  return !name_listed_outputs(graph).empty();
}

}  // namespace tern::graph
