// build_loop: a `loop` node whose carried types are those that its body keeps, with what it stacks and
// appends.
#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "compiler/onnx/common.h"
#include "compiler/onnx/growing.h"

namespace tern::onnx {

namespace {

// The type that holds both: dimensions that differ become symbols, which `own` remembers: a symbol of another
// loop is a size like any other. (Symbols of elements of sequences stand for any size.) Fails when they
// differ in more.
Type widen(graph::Graph& graph, const Type& have, const Type& next, std::set<std::string>& own, bool& changed,
           bool element = false) {
  if (have.kind != next.kind || have.dtype != next.dtype || have.rank() != next.rank())
    fail("A loop carries a {} into an iteration that gives a {}.", have.text(), next.text());
  if (!have.is_tensor()) {
    Type inner = widen(graph, *have.element, *next.element, own, changed, true);
    return have.kind == Type::Kind::kSequence ? Type::sequence(inner) : Type::optional(inner);
  }
  Type out = have;
  for (size_t i = 0; i < out.shape.size(); ++i) {
    if (have.shape[i] == next.shape[i]) continue;
    if (have.shape[i].op() == Dim::Op::kSymbol) {
      const std::string name = have.shape[i].symbol_name();
      const graph::SymbolInfo* info = graph.find_symbol(name);
      if (own.count(name) || (element && info && info->origin == graph::SymbolInfo::Origin::kControl))
        continue;
    }
    out.shape[i] = control_symbol(graph);
    own.insert(out.shape[i].symbol_name());
    changed = true;
  }
  return out;
}

bool is_empty_sequence(Value* v) {
  return v->def && v->def->kind == OpKind::kSeqConstruct && v->def->operands.empty();
}

// Whether all symbols are sizes of inputs.
bool is_input_size(const graph::Graph& graph, const Dim& dim) {
  std::vector<std::string> names;
  dim.collect_symbols(names);
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    const auto at = std::find_if(graph.symbols.begin(), graph.symbols.end(),
                                 [&](const graph::SymbolInfo& s) { return s.name == name; });
    return at != graph.symbols.end() && at->origin == graph::SymbolInfo::Origin::kInput;
  });
}

// A carried sequence of known parts, to which each iteration of the loop adds one element in front or behind.
struct Appended {
  size_t carried = 0;
  Value* element = nullptr;
  bool in_front = false;
  int64_t joined = -1;     // the one axis along which elements' sizes are known inside the body only
  Value* added = nullptr;  // whether the iteration does add it, where a condition decides
  std::vector<SequencePart> before = {};
};

bool appends(const Value* v, const Value* argument) {
  return v->def && v->def->kind == OpKind::kSeqInsert && v->def->operand() == argument;
}

// An `if` that appends in one branch and does nothing in the other.
struct Conditional {
  graph::Node* node;
  size_t result;
  size_t branch;  // the one that appends
};

std::optional<Conditional> find_conditional(const Value* carried, const Value* argument) {
  graph::Node* n = carried->def;
  if (!n || n->kind != OpKind::kIf) return std::nullopt;
  const auto r = static_cast<size_t>(carried->index);
  for (size_t branch = 0; branch < 2; ++branch)
    if (appends(n->regions[branch]->results[r], argument) && n->regions[1 - branch]->results[r] == argument)
      return Conditional{n, r, branch};
  return std::nullopt;
}

// The element as a result of the `if`: zeros where the other branch is taken.
void take_out(Emit& inside, const Conditional& c, Appended& out) {
  graph::Graph& graph = inside.graph();
  const Type type = out.element->type;
  Emit other(inside, *c.node->regions[1 - c.branch]);
  c.node->regions[c.branch]->results.push_back(out.element);
  c.node->regions[1 - c.branch]->results.push_back(zeros(other, type.dtype, type.shape));
  out.element = graph.new_value(type);
  out.element->def = c.node;
  out.element->index = static_cast<int>(c.node->results.size());
  c.node->results.push_back(out.element);
  out.added = c.node->operand();
  if (c.branch == 1) out.added = inside.unary(ScalarOp::kNot, out.added);
}

std::optional<Appended> find_appended(Op& op, size_t i, Value* start, Value* argument,
                                      Importer::Region& region, const LoopResult& result) {
  const Value* last = result.carried[i];
  const auto conditional = find_conditional(last, argument);
  if (conditional) last = conditional->node->regions[conditional->branch]->results[conditional->result];
  if (!appends(last, argument)) return std::nullopt;
  const graph::Node* insert = last->def;
  Appended out;
  out.carried = i;
  out.element = insert->operand(1);
  if (insert->operands.size() > 2) {
    const auto at = op.b.known_ints(insert->operand(2));
    if (!at || (*at)[0] != 0) return std::nullopt;
    out.in_front = true;
  }
  if (!out.element->type.is_tensor()) return std::nullopt;
  for (int64_t axis = 0; axis < out.element->type.rank(); ++axis) {
    if (is_input_size(op.b.graph(), dimension(out.element, axis))) continue;
    if (out.joined >= 0 || conditional) return std::nullopt;
    out.joined = axis;
  }
  int uses = 0;
  const auto count = [&](const std::vector<Value*>& values) {
    uses += static_cast<int>(std::count(values.begin(), values.end(), argument));
  };
  graph::walk(*region.block, [&](graph::Node& n) {
    count(n.operands);
    for (const auto& inner : n.regions) count(inner->results);
  });
  if (uses != (conditional ? 2 : 1)) return std::nullopt;
  const auto parts = op.importer.sequence_parts().find(start);
  if (parts != op.importer.sequence_parts().end()) {
    out.before = parts->second;
  } else if (start->def && start->def->kind == OpKind::kSeqConstruct) {
    for (Value* v : start->def->operands) out.before.push_back({v});
  } else {
    return std::nullopt;
  }
  if (conditional) take_out(*region.emit, *conditional, out);
  return out;
}

// Forgets the symbols that an abandoned body made, those of `types` excepted.
void forget_body(Emit& b, size_t symbols, const std::vector<Type>& types) {
  graph::Graph& graph = b.graph();
  std::vector<graph::SymbolInfo> kept;
  auto keep = [&](const Type& type) {
    for (const Dim& d : type.shape) {
      if (d.op() != Dim::Op::kSymbol) continue;
      for (size_t i = symbols; i < graph.symbols.size(); ++i)
        if (graph.symbols[i].name == d.symbol_name()) kept.push_back(graph.symbols[i]);
    }
  };
  for (const Type& type : types) {
    const Type* t = &type;
    while (!t->is_tensor()) t = t->element.get();
    keep(*t);
  }
  b.knowledge().roll_back(symbols);
  for (auto& info : kept)
    if (!graph.find_symbol(info.name)) graph.symbols.push_back(info);
}

// Whether only the condition ends the loop: exporters of `while` write a trip count of 2^63 - 1.
bool is_unlimited(Emit& b, Value* trip) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const auto known = b.known_ints(trip);
  return known && ((*known)[0] < 0 || (*known)[0] > kMost);
}

std::vector<Value*> make_loop(Emit& b, Value* trip, Value* condition, const std::vector<Value*>& carried,
                              Importer::Region region, const LoopResult& result) {
  Block& block = *region.block;
  block.results.push_back(result.condition);
  block.results.insert(block.results.end(), result.carried.begin(), result.carried.end());
  block.results.insert(block.results.end(), result.scans.begin(), result.scans.end());
  std::vector<Value*> operands = {trip, condition};
  operands.insert(operands.end(), carried.begin(), carried.end());
  std::vector<std::unique_ptr<Block>> regions;
  regions.push_back(std::move(region.block));
  auto scans = static_cast<int64_t>(result.scans.size());
  return b.emit_node(OpKind::kLoop, operands, {{"scans", scans}}, std::move(regions))->results;
}

// The loop with what it stacks and appends; `grow` is grow_scans for it. Gives its carried values and scans.
std::vector<Value*> finish_loop(Op& op, Value* trip, Value* condition, std::vector<Value*>& carried,
                                Importer::Region& region, LoopResult result, std::vector<Appended> appended,
                                const std::function<std::vector<GrownScan>(LoopResult&)>& grow) {
  const size_t own = carried.size(), scans = result.scans.size();
  for (const Appended& a : appended) {
    if (a.joined < 0) result.scans.push_back(a.element);
    if (a.added) result.scans.push_back(a.added);
  }
  const auto grown = grow(result);
  size_t joined = carried.size();
  for (const Appended& a : appended)
    if (a.joined >= 0) grow_joined(op.b, region, a.element, a.joined, a.in_front, carried, result);
  const auto all = make_loop(op.b, trip, condition, carried, std::move(region), result);
  std::vector<Value*> stacks(all.begin() + static_cast<int64_t>(carried.size()), all.end());
  for (const GrownScan& g : grown)
    stacks.insert(stacks.begin() + static_cast<int64_t>(g.scan), stacked_scan(op.b, g, all));
  size_t next = scans;
  for (Appended& a : appended) {
    SequencePart part;
    if (a.joined >= 0) {
      part = {all[joined++], false, false, a.joined};
    } else {
      part = {stacks[next++], true, a.in_front};
      if (a.added) part.value = op.b.gather(part.value, true_positions(op.b, stacks[next++]), 0);
    }
    a.before.insert(a.in_front ? a.before.begin() : a.before.end(), part);
    op.importer.sequence_parts()[all[a.carried]] = std::move(a.before);
  }
  std::vector<Value*> results(all.begin(), all.begin() + static_cast<int64_t>(own));
  results.insert(results.end(), stacks.begin(), stacks.begin() + static_cast<int64_t>(scans));
  return results;
}

}  // namespace

// Builds the loop; carried dimensions that change from iteration to iteration become symbols, found by
// building the body until its types are stable.
std::vector<Value*> build_loop(Op& op, Value* trip, Value* condition, std::vector<Value*> carried,
                               const LoopBody& body) {
  graph::Graph& graph = op.b.graph();
  std::vector<Type> types;
  for (Value* v : carried) types.push_back(v->type);
  std::vector<bool> typed_late(carried.size(), false);
  std::set<std::string> own;
  const auto known_trips = is_unlimited(op.b, trip) ? std::nullopt : op.b.known_dims(trip);
  const std::optional<Dim> trips = known_trips ? std::optional(known_trips->front()) : std::nullopt;
  for (int attempt = 0; attempt < 64; ++attempt) {
    size_t symbols = graph.symbols.size();
    Importer::Region region;
    region.block = std::make_unique<Block>();
    region.emit = std::make_unique<Emit>(op.b, *region.block);
    Value* number = region_argument(region, graph, Type::tensor(DType::kI64, {}));
    op.b.knowledge().count_iterations(number, trips);
    Value* again = region_argument(region, graph, Type::tensor(DType::kBool, {}));
    std::vector<Value*> inside;
    for (size_t i = 0; i < types.size(); ++i) {
      inside.push_back(region_argument(region, graph, types[i]));
      bool untyped =
          is_empty_sequence(carried[i]) && types[i].element->is_tensor() && types[i].element->rank() == 0;
      if (untyped && !typed_late[i]) op.importer.untyped_sequences().insert(inside[i]);
    }
    LoopResult result;
    try {
      result = body(region, number, again, inside);
    } catch (SequenceTyped& typed) {
      auto at = std::find(inside.begin(), inside.end(), typed.sequence);
      if (at == inside.end()) throw;
      auto i = static_cast<size_t>(at - inside.begin());
      op.b.knowledge().roll_back(symbols);
      for (Dim& d : typed.element.shape)
        if (!d.is_const()) d = control_symbol(graph);
      typed_late[i] = true;
      types[i] = Type::sequence(typed.element);
      carried[i] = empty_sequence(op.b, typed.element);
      continue;
    }
    if (result.carried.size() != types.size())
      fail("The loop carries {} values and its body gives {}.", types.size(), result.carried.size());
    bool changed = false;
    std::vector<Type> wider;
    for (size_t i = 0; i < types.size(); ++i) {
      const Type& next = result.carried[i]->type;
      wider.push_back(types[i] == next ? types[i] : widen(graph, types[i], next, own, changed));
    }
    if (!changed) {
      std::vector<Appended> appended;
      for (size_t i = 0; i < types.size(); ++i) {
        auto found = find_appended(op, i, carried[i], inside[i], region, result);
        if (found) appended.push_back(std::move(*found));
      }
      const bool unlimited = is_unlimited(op.b, trip);
      const auto grow = [&](LoopResult& all) {
        return grow_scans(op.b, region, number, own, symbols, unlimited, carried, all);
      };
      return finish_loop(op, trip, condition, carried, region, std::move(result), std::move(appended), grow);
    }
    forget_body(op.b, symbols, wider);
    types = wider;
  }
  fail("The types that the loop carries do not settle.");
}

}  // namespace tern::onnx
