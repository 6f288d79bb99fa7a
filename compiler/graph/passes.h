// Graph passes: each rewrites a graph in place and tells whether it changed it; each keeps the meaning (the
// evaluator's results; float rounding only where a pass's header says so), the source of nodes and the names
// of values. passes/pipeline.cc is the table of contents; passes/NAME.h says what a pass does.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/graph/ir.h"

namespace tern::graph {

struct Pass {
  std::string_view name;     // for --passes and --disable-pass
  std::string_view summary;  // one line
  bool (*run)(Graph& graph);
};
std::span<const Pass> passes();
const Pass* find_pass(std::string_view name);  // null when unknown

struct PassOptions {
  std::vector<std::string> disabled;
  bool verify_each = false;  // a violation is an internal error that names the pass
  std::string dump_dir;      // not empty: every pass that changed the graph writes NN-name.tg there
  std::function<void(std::string_view pass, double seconds, bool changed)> on_pass;
};

// The named passes in order. An unknown name or an unwritable dump folder is an error.
Status run_passes(Graph& graph, std::span<const std::string_view> names, const PassOptions& options);
// Everything that a graph goes through between import and lowering, until nothing changes.
Status optimize(Graph& graph, const PassOptions& options = {});

}  // namespace tern::graph
