#include "compiler/graph/passes/unroll_loops.h"

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::graph {
namespace {

constexpr int64_t kMaxTrips = 8;
constexpr int64_t kMaxNodes = 256;  // trips times nodes; a single trip is always unrolled

// Nodes in a block and its regions; -1 where some result has a data-dependent size, whose symbol a copy would
// share.
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
    clone_nodes(body, b, values);
    for (SymbolInfo& s : b.graph().symbols)  // a single trip's symbols read the copies
      if (const auto it = values.find(s.value); s.value && it != values.end()) s.value = it->second;
    const auto mapped = [&](Value* v) {
      const auto it = values.find(v);
      return it == values.end() ? v : it->second;
    };
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
