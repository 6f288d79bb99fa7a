#include "compiler/graph/passes/unroll_loops.h"

#include <algorithm>
#include <unordered_set>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

constexpr int64_t kMaxTrips = 8;
constexpr int64_t kMaxNodes = 256;  // trips times nodes; a single trip is always unrolled

// Nodes in a block and its regions; -1 where some node makes the symbol of its result's size, which a copy
// would share.
int64_t count_nodes(const Block& block) {
  int64_t n = 0;
  bool shares = false;
  walk(block, [&](Node& node) {
    ++n;
    shares |= node.kind == OpKind::kNonZero || node.kind == OpKind::kUnique || node.kind == OpKind::kNms ||
              node.kind == OpKind::kIf || node.kind == OpKind::kLoop || node.kind == OpKind::kSeqAt;
  });
  return shares ? -1 : n;
}

std::optional<int64_t> trips_of(const Node& n) {
  const auto trip = splat_of(n.operand(0)), condition = splat_of(n.operand(1));
  const Block& body = *n.regions[0];
  if (!condition) return std::nullopt;
  if (!condition->i) return 0;
  const auto stays = splat_of(body.results[0]);
  if (trip && trip->i == 1) return 1;  // whatever the condition becomes
  if (!trip || trip->i < 0 || !((stays && stays->i) || body.results[0] == body.args[1])) return std::nullopt;
  return trip->i;
}

// The symbols that are elements of values in the loop's body: each iteration reads its own.
std::vector<SymbolInfo> symbols_of(const Graph& graph, const Block& body) {
  std::unordered_set<const Value*> inside(body.args.begin(), body.args.end());
  walk(body, [&](Node& node) { inside.insert(node.results.begin(), node.results.end()); });
  std::vector<SymbolInfo> out;
  for (const SymbolInfo& s : graph.symbols)
    if (s.value && inside.count(s.value)) out.push_back(s);
  return out;
}

bool uses(const Type& type, const std::vector<SymbolInfo>& symbols) {
  std::vector<std::string> names;
  for (const Dim& d : type.shape) d.collect_symbols(names);
  return std::any_of(symbols.begin(), symbols.end(), [&](const SymbolInfo& s) {
    return std::find(names.begin(), names.end(), s.name) != names.end();
  });
}

std::optional<std::vector<Value*>> unroll(Node& n, Builder& b, Rewriter& rewriter) {
  if (n.kind != OpKind::kLoop) return std::nullopt;
  const std::optional<int64_t> trips = trips_of(n);
  const Block& body = *n.regions[0];
  const int64_t nodes = count_nodes(body);
  if (!trips || *trips > kMaxTrips) return std::nullopt;
  if (*trips > 1 && (nodes < 0 || *trips * nodes > kMaxNodes)) return std::nullopt;
  const size_t carried = n.operands.size() - 2, scans = body.results.size() - 1 - carried;
  if (*trips == 0 && scans > 0) return std::nullopt;
  for (size_t i = 0; i < carried; ++i) {
    const Type& arg = body.args[i + 2]->type;
    if (arg != n.operands[i + 2]->type || arg != body.results[i + 1]->type) return std::nullopt;
  }
  const std::vector<SymbolInfo> symbols = symbols_of(b.graph(), body);
  for (size_t i = 0; i < scans && *trips > 1; ++i)
    if (uses(body.results[carried + 1 + i]->type, symbols)) return std::nullopt;
  for (size_t i = 0; i < scans; ++i) {
    const Dim& count = n.results[carried + i]->type.shape[0];
    if (count.is_const(*trips)) continue;
    if (count.op() != Dim::Op::kSymbol) return std::nullopt;
    rewriter.substitute(count.symbol_name(), Dim(*trips));
  }
  std::vector<Value*> state(n.operands.begin() + 2, n.operands.end());
  std::vector<std::vector<Value*>> stacks(scans);
  for (int64_t trip = 0; trip < *trips; ++trip) {
    std::unordered_map<const Value*, Value*> values;
    values[body.args[0]] = b.int_constant(DType::kI64, trip);
    values[body.args[1]] = b.int_constant(DType::kBool, 1);
    for (size_t i = 0; i < carried; ++i) values[body.args[i + 2]] = state[i];
    const auto mapped = [&](Value* v) {
      const auto it = values.find(v);
      return it == values.end() ? v : it->second;
    };
    // The last copy keeps the symbols; those of nodes that make some are of a single trip.
    Substitutions renamed;
    for (const SymbolInfo& s : symbols)
      if (trip + 1 < *trips) renamed[s.name] = Dim::symbol(b.graph().new_symbol("u", s).name);
    clone_nodes(body, b, values, renamed);
    for (const SymbolInfo& s : symbols) {
      const auto it = renamed.find(s.name);
      SymbolInfo& own = *b.graph().find_symbol(it == renamed.end() ? s.name : it->second.symbol_name());
      own.value = mapped(s.value);
      if (own.upper) own.upper = substituted_dim(*own.upper, renamed);
    }
    for (size_t i = 0; i < carried; ++i) state[i] = mapped(body.results[i + 1]);
    for (size_t i = 0; i < scans; ++i)
      stacks[i].push_back(b.unsqueeze(mapped(body.results[carried + 1 + i]), {0}));
  }
  for (auto& parts : stacks) state.push_back(b.concat(std::move(parts), 0));
  return state;
}

}  // namespace

bool unroll_loops(Graph& graph) {
  Rewriter* current = nullptr;
  Rewriter rewriter(graph, [&](Node& n, Builder& b) { return unroll(n, b, *current); });
  current = &rewriter;
  return rewriter.run();
}

}  // namespace tern::graph
