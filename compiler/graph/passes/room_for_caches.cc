#include "compiler/graph/passes/room_for_caches.h"

#include <algorithm>

namespace tern::graph {
namespace {

struct Cache {
  size_t result;  // of the graph's body
  Node* concat;
  size_t axis;
  std::string filled;  // the symbol of its input's dimension

  Value* past() const { return concat->operand(0); }
  Value* rows() const { return concat->operand(1); }
  const Dim& count() const { return rows()->type.shape[axis]; }
};

// Whether inputs say what the dimension is.
bool is_given(Graph& graph, const Dim& dim) {
  std::vector<std::string> names;
  dim.collect_symbols(names);
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    const SymbolInfo* s = graph.find_symbol(name);
    return s && s->origin == SymbolInfo::Origin::kInput;
  });
}

std::vector<Cache> find_caches(Graph& graph) {
  const UseMap uses = compute_uses(graph);
  std::vector<Cache> out;
  for (size_t r = 0; r < graph.body.results.size(); ++r) {
    Node* node = graph.body.results[r]->def;
    if (!node || node->kind != OpKind::kConcat || node->operands.size() != 2) continue;
    const auto axis = static_cast<size_t>(node->int_attr("axis"));
    const Value* past = node->operand(0);
    const auto used = uses.find(past);
    if (axis == 0 || past->block != &graph.body || used == uses.end() || used->second.size() != 1) continue;
    const Dim& filled = past->type.shape[axis];
    if (filled.op() != Dim::Op::kSymbol || !is_given(graph, filled + node->operand(1)->type.shape[axis]))
      continue;
    if (std::any_of(out.begin(), out.end(), [&](const Cache& c) { return c.concat == node; })) continue;
    out.push_back({r, node, axis, filled.symbol_name()});
  }
  return out;
}

// Who says from now on what the symbol is: another input that has it for a dimension, or one of its own.
void give_symbol(Graph& graph, const std::string& name, const Dim& room) {
  for (size_t i = 0; i < graph.body.args.size(); ++i) {
    const Shape& shape = graph.body.args[i]->type.shape;
    const auto at = std::find(shape.begin(), shape.end(), Dim::symbol(name));
    if (at == shape.end()) continue;
    SymbolInfo& symbol = *graph.find_symbol(name);
    symbol.input = static_cast<int>(i);
    symbol.axis = static_cast<int>(at - shape.begin());
    return;
  }
  std::string input = name;
  while (std::find(graph.input_names.begin(), graph.input_names.end(), input) != graph.input_names.end())
    input += "_";
  Value* number = graph.new_value(Type::tensor(DType::kI64, {}), input);
  number->block = &graph.body;
  number->index = static_cast<int>(graph.body.args.size());
  graph.body.args.push_back(number);
  graph.input_names.push_back(input);
  SymbolInfo& symbol = *graph.find_symbol(name);
  symbol.origin = SymbolInfo::Origin::kElement;
  symbol.value = number;
  symbol.min = std::max<int64_t>(symbol.min, 0);
  symbol.upper = room;
}

size_t position_of(const Block& block, const Node* node) {
  const auto at = std::find_if(block.nodes.begin(), block.nodes.end(),
                               [&](const std::unique_ptr<Node>& n) { return n.get() == node; });
  return static_cast<size_t>(at - block.nodes.begin());
}

void put(Graph& graph, const Cache& cache) {
  Block& body = graph.body;
  Value *past = cache.past(), *grown = cache.concat->result();
  const Dim filled = Dim::symbol(cache.filled);
  Builder b(graph, body, position_of(body, cache.concat));
  b.set_source(cache.concat->source);
  const Shape& shape = cache.rows()->type.shape;
  Shape row(shape.size(), Dim(1));
  row[cache.axis] = cache.count();
  Value* number = b.iota(row, static_cast<int>(cache.axis), DType::kI64);
  Value* first = b.broadcast(b.from_dims({filled}, {Dim(1)}), row);
  Value* whole =
      b.node(OpKind::kScatterElements, {past, b.broadcast(b.add(number, first), shape), cache.rows()},
             {{"axis", static_cast<int64_t>(cache.axis)}, {"reduction", std::string("none")}})
          ->result();
  whole->name = grown->name;
  Value* seen = b.slice_axis(whole, static_cast<int>(cache.axis), Dim(0), filled + cache.count());
  replace_uses(graph, {{grown, seen}});
  body.results[cache.result] = whole;
  body.nodes.erase(body.nodes.begin() + static_cast<std::ptrdiff_t>(position_of(body, cache.concat)));
}

}  // namespace

Result<int> room_for_caches(Graph& graph, const SymbolInfo& positions) {
  const std::vector<Cache> caches = find_caches(graph);
  if (caches.empty())
    return error(
        "No output is an input of symbolic length with new rows behind it: there is no cache to give "
        "room to.");
  const bool fixed = positions.min == positions.max;
  const Dim room = fixed ? Dim(positions.min) : Dim::symbol(positions.name);
  if (!fixed) {
    if (graph.find_symbol(positions.name))
      return error("The model has a dimension '{}' already.", positions.name);
    SymbolInfo info = positions;
    info.input = caches[0].past()->index;
    info.axis = static_cast<int>(caches[0].axis);
    graph.symbols.push_back(info);
  }
  for (const Cache& cache : caches) cache.past()->type.shape[cache.axis] = room;
  std::vector<std::string> named;
  std::vector<Dim> needed;
  for (const Cache& cache : caches) {
    if (std::find(named.begin(), named.end(), cache.filled) == named.end()) {
      named.push_back(cache.filled);
      give_symbol(graph, cache.filled, room);
    }
    const Dim length = Dim::symbol(cache.filled) + cache.count();
    if (std::find(needed.begin(), needed.end(), length) == needed.end()) needed.push_back(length);
  }
  for (const Cache& cache : caches) put(graph, cache);
  // In front of all: sizes of memory rely on it.
  Builder b(graph, graph.body, 0);
  for (const Dim& length : needed)
    b.node(
        OpKind::kCheck, {},
        {{"message", fmt::format("The caches have no room for the new keys and values: {} are more than {}.",
                                 length.text(), room.text())},
         {"holds", std::vector<Dim>{Dim(1) - min(max(length - room, Dim(0)), Dim(1))}}});
  return static_cast<int>(caches.size());
}

}  // namespace tern::graph
