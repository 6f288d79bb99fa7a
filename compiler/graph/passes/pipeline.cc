// The table of contents: every pass, and the order in which a graph goes through them.
#include <chrono>
#include <filesystem>

#include "compiler/graph/passes.h"
#include "compiler/graph/passes/apply_bounds.h"
#include "compiler/graph/passes/checks_of_sizes.h"
#include "compiler/graph/passes/eliminate_common.h"
#include "compiler/graph/passes/eliminate_dead.h"
#include "compiler/graph/passes/flush_subnormals.h"
#include "compiler/graph/passes/fold_constants.h"
#include "compiler/graph/passes/fold_scale.h"
#include "compiler/graph/passes/hoist_invariants.h"
#include "compiler/graph/passes/hoist_products.h"
#include "compiler/graph/passes/inline_if.h"
#include "compiler/graph/passes/integer_contractions.h"
#include "compiler/graph/passes/list_outputs.h"
#include "compiler/graph/passes/merge_products.h"
#include "compiler/graph/passes/number_strings.h"
#include "compiler/graph/passes/raise_slices.h"
#include "compiler/graph/passes/requantize.h"
#include "compiler/graph/passes/settle_loops.h"
#include "compiler/graph/passes/simplify.h"
#include "compiler/graph/passes/tabulate.h"
#include "compiler/graph/passes/unmerge_axes.h"
#include "compiler/graph/passes/unroll_loops.h"
#include "compiler/support/write_text.h"

namespace tern::graph {
namespace {

constexpr Pass kPasses[] = {
    {"list_outputs", "lists that are outputs become their elements", list_outputs},
    {"number_strings", "strings that are only moved and compared become numbers", number_strings},
    {"apply_bounds", "min and max in dimensions are decided by the symbols' bounds", apply_bounds},
    {"checks_of_sizes", "checks of what sizes decide hold an expression", checks_of_sizes},
    {"inline_if", "an if with a constant condition becomes its branch", inline_if},
    {"settle_loops",
     "what loops only pass on or count is no carried value, a condition that constants decide a count",
     settle_loops},
    {"unroll_loops", "short loops with a constant trip count become copies of their body", unroll_loops},
    {"hoist_invariants", "what a loop computes anew though it never changes moves in front of it",
     hoist_invariants},
    {"hoist_products", "products of a sequence's slices in a loop become slices of one in front of it",
     hoist_products},
    {"integer_contractions", "quantised values by constant weights on integers", integer_contractions},
    {"integer_products", "products of two computed quantised values on integers", integer_products},
    {"fold_constants", "nodes on constants are evaluated", fold_constants},
    {"simplify", "algebra: identities, chains, cheaper forms", simplify},
    {"eliminate_common", "equal nodes and equal constants become one", eliminate_common},
    {"fold_scale", "per-channel scales behind conv and dot go into the weights", fold_scale},
    {"merge_products", "products of one value with constant weights side by side become one", merge_products},
    {"unmerge_axes", "norms of groups keep apart the axes that a reshape would merge", unmerge_axes},
    {"raise_slices", "what nothing but slices of one box reads is computed for that box alone", raise_slices},
    {"requantize", "scales between integer sums and quantised values become one", requantize},
    {"tabulate", "chains from one 8-bit value to another become one table", tabulate},
    {"eliminate_dead", "what nobody uses goes", eliminate_dead},
    {"flush_subnormals", "subnormal weights of products are 0", flush_subnormals},
};

// One round. Bounds and control flow first, since they uncover the most; integers while quantised weights
// still are 8-bit constants, before folding makes floats of them, and quantisations while nothing has moved
// between their operations; folding before algebra, whose rules ask for constants; scales after common
// subexpressions, since they want weights with one user; the dead go, and products are merged when those that
// are left have their biases next to them. Rounds repeat until none of them changes anything.
constexpr std::string_view kRound[] = {
    "apply_bounds",     "eliminate_dead", "integer_contractions", "integer_products", "requantize",
    "fold_constants",   "inline_if",      "settle_loops",         "unroll_loops",     "hoist_invariants",
    "hoist_products",   "simplify",       "unmerge_axes",         "raise_slices",     "fold_constants",
    "eliminate_common", "fold_scale",     "requantize",           "tabulate",         "checks_of_sizes",
    "eliminate_dead",   "merge_products"};
constexpr int kMaxRounds = 12;
// Once, when all weights are what they stay.
constexpr std::string_view kLast[] = {"flush_subnormals"};

class Runner {
 public:
  Runner(Graph& graph, const PassOptions& options) : graph_(graph), options_(options) {}

  Status begin() {
    if (options_.verify_each) check("the input");
    return options_.dump_dir.empty() ? Status(Ok{}) : dump("start");
  }

  Status run(const Pass& pass, bool& changed) {
    for (const std::string& name : options_.disabled)
      if (name == pass.name) return Ok{};
    const CheckContext context(fmt::format("pass {}", pass.name));
    const auto start = std::chrono::steady_clock::now();
    const bool did = pass.run(graph_);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (options_.on_pass) options_.on_pass(pass.name, seconds.count(), did);
    if (options_.verify_each) check(pass.name);
    changed |= did;
    if (did && !options_.dump_dir.empty()) return dump(pass.name);
    return Ok{};
  }

 private:
  void check(std::string_view after) {
    const std::string problems = verify(graph_);
    TERN_CHECK(problems.empty(), "after {} the graph is malformed:\n{}", after, problems);
  }

  Status dump(std::string_view name) {
    std::error_code ec;
    std::filesystem::create_directories(options_.dump_dir, ec);
    const std::string path = fmt::format("{}/{:02}-{}.tg", options_.dump_dir, dumps_++, name);
    return write_text(path, print_graph(graph_));
  }

  Graph& graph_;
  const PassOptions& options_;
  int dumps_ = 0;
};

}  // namespace

std::span<const Pass> passes() {
  return kPasses;
}

const Pass* find_pass(std::string_view name) {
  for (const Pass& p : kPasses)
    if (p.name == name) return &p;
  return nullptr;
}

Status run_passes(Graph& graph, std::span<const std::string_view> names, const PassOptions& options) {
  Runner runner(graph, options);
  TERN_TRY(runner.begin());
  for (const std::string_view name : names) {
    const Pass* pass = find_pass(name);
    if (!pass) return error("The pass '{}' is not known.", name);
    bool changed = false;
    TERN_TRY(runner.run(*pass, changed));
  }
  return Ok{};
}

Status optimize(Graph& graph, const PassOptions& options) {
  Runner runner(graph, options);
  TERN_TRY(runner.begin());
  for (int round = 0; round < kMaxRounds; ++round) {
    bool changed = false;
    for (const std::string_view name : kRound) TERN_TRY(runner.run(*find_pass(name), changed));
    if (!changed) break;
  }
  for (bool changed = false; const std::string_view name : kLast)
    TERN_TRY(runner.run(*find_pass(name), changed));
  return Ok{};
}

}  // namespace tern::graph
