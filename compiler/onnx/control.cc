// If, Loop, Scan.
#include <algorithm>
#include <set>
#include <string>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

std::vector<Value*> finish_if(Emit& b, Value* condition, std::vector<std::unique_ptr<Block>> regions) {
  graph::Node* node = b.emit_node(OpKind::kIf, {condition}, {}, std::move(regions));
  return node->results;
}

namespace {

Value* bool_scalar(Emit& b, Value* v, const char* what) {
  if (!v->type.is_tensor() || v->type.dtype != DType::kBool)
    fail("The {} ({}) is no bool.", what, v->type.text());
  if (!product(v->type.shape).is_const(1)) fail("The {} ({}) is not one value.", what, v->type.text());
  return b.reshape(v, {});
}

bool joinable(const Type& a, const Type& b) {
  if (a.kind != b.kind || a.dtype != b.dtype) return false;
  return a.is_tensor() ? a.rank() == b.rank() : joinable(*a.element, *b.element);
}

// PyTorch exports x.squeeze(axis) as `if dimension == 1: Squeeze else: Identity`, whose branches differ in
// rank.
bool is_optional_squeeze(const pb::GraphProto& then_graph, const pb::GraphProto& else_graph) {
  auto last_op = [](const pb::GraphProto& graph) {
    return graph.node_size() ? graph.node(graph.node_size() - 1).op_type() : std::string();
  };
  if (last_op(then_graph) != "Squeeze" || else_graph.node_size() != 1 || last_op(else_graph) != "Identity")
    return false;
  const pb::NodeProto& squeeze = then_graph.node(then_graph.node_size() - 1);
  return squeeze.input_size() == 2 || squeeze.attribute_size() == 1;
}

void import_if(Op& op) {
  Emit& b = op.b;
  Value* condition = bool_scalar(b, op.tensor(0), "condition");
  const pb::GraphProto *then_graph = op.graph_attr("then_branch"), *else_graph = op.graph_attr("else_branch");
  std::vector<Value*> results;
  if (auto known = b.known_ints(condition)) {
    results = op.importer.import_into(op.scope, b, (*known)[0] != 0 ? *then_graph : *else_graph, {});
  } else {
    size_t symbols = b.graph().symbols.size();
    std::vector<std::unique_ptr<Block>> regions;
    for (const pb::GraphProto* graph : {then_graph, else_graph}) {
      Importer::Region region = op.importer.import_region(op.scope, *graph);
      region.block->results = region.outputs;
      regions.push_back(std::move(region.block));
    }
    bool same = regions[0]->results.size() == regions[1]->results.size();
    for (size_t i = 0; same && i < regions[0]->results.size(); ++i)
      same = joinable(regions[0]->results[i]->type, regions[1]->results[i]->type);
    if (!same && is_optional_squeeze(*then_graph, *else_graph)) {
      regions.clear();
      b.knowledge().roll_back(symbols);
      // Squeeze checks that the dimension is 1.
      results = op.importer.import_into(op.scope, b, *then_graph, {});
    } else {
      results = finish_if(b, condition, std::move(regions));
    }
  }
  if (static_cast<int>(results.size()) < op.output_count())
    fail("The branches give {} results, the node takes {}.", results.size(), op.output_count());
  for (int i = 0; i < op.output_count(); ++i) op.output(i, results[static_cast<size_t>(i)]);
}

Dim control_symbol(graph::Graph& graph) {
  graph::SymbolInfo info;
  info.origin = graph::SymbolInfo::Origin::kControl;
  return Dim::symbol(graph.new_symbol("c", info).name);
}

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

}  // namespace

namespace {

bool is_empty_sequence(Value* v) {
  return v->def && v->def->kind == OpKind::kSeqConstruct && v->def->operands.empty();
}

Value* region_argument(Importer::Region& region, graph::Graph& graph, const Type& type) {
  Value* v = graph.new_value(type);
  v->block = region.block.get();
  v->index = static_cast<int>(region.block->args.size());
  region.block->args.push_back(v);
  return v;
}

bool has_input_sizes(const graph::Graph& graph, const Type& type) {
  if (!type.is_tensor()) return false;
  for (const Dim& d : type.shape) {
    std::vector<std::string> names;
    d.collect_symbols(names);
    for (const std::string& name : names) {
      const auto at = std::find_if(graph.symbols.begin(), graph.symbols.end(),
                                   [&](const graph::SymbolInfo& s) { return s.name == name; });
      if (at == graph.symbols.end() || at->origin != graph::SymbolInfo::Origin::kInput) return false;
    }
  }
  return true;
}

// A carried sequence of known parts, to which each iteration of the loop adds one element in front or behind.
struct Appended {
  size_t carried;
  Value* element;
  bool in_front;
  std::vector<SequencePart> before;
};

std::optional<Appended> find_appended(Op& op, size_t i, Value* start, Value* argument, Block& body,
                                      const LoopResult& result) {
  const graph::Node* insert = result.carried[i]->def;
  if (!insert || insert->kind != OpKind::kSeqInsert || insert->operand() != argument) return std::nullopt;
  Appended out{i, insert->operand(1), false, {}};
  if (insert->operands.size() > 2) {
    const auto at = op.b.known_ints(insert->operand(2));
    if (!at || (*at)[0] != 0) return std::nullopt;
    out.in_front = true;
  }
  if (!has_input_sizes(op.b.graph(), out.element->type)) return std::nullopt;
  int uses = 0;
  const auto count = [&](const std::vector<Value*>& values) {
    uses += static_cast<int>(std::count(values.begin(), values.end(), argument));
  };
  graph::walk(body, [&](graph::Node& n) {
    count(n.operands);
    for (const auto& region : n.regions) count(region->results);
  });
  if (uses != 1) return std::nullopt;
  const auto parts = op.importer.sequence_parts().find(start);
  if (parts != op.importer.sequence_parts().end()) {
    out.before = parts->second;
  } else if (start->def && start->def->kind == OpKind::kSeqConstruct) {
    for (Value* v : start->def->operands) out.before.push_back({v});
  } else {
    return std::nullopt;
  }
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
  for (int attempt = 0; attempt < 64; ++attempt) {
    size_t symbols = graph.symbols.size();
    Importer::Region region;
    region.block = std::make_unique<Block>();
    region.emit = std::make_unique<Emit>(op.b, *region.block);
    Value* number = region_argument(region, graph, Type::tensor(DType::kI64, {}));
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
        auto found = find_appended(op, i, carried[i], inside[i], *region.block, result);
        if (found) appended.push_back(std::move(*found));
      }
      for (const Appended& a : appended) result.scans.push_back(a.element);
      auto results = make_loop(op.b, trip, condition, carried, std::move(region), result);
      for (size_t k = 0; k < appended.size(); ++k) {
        Appended& a = appended[k];
        Value* run = results[results.size() - appended.size() + k];
        a.before.insert(a.in_front ? a.before.begin() : a.before.end(), {run, true, a.in_front});
        op.importer.sequence_parts()[results[a.carried]] = std::move(a.before);
      }
      return results;
    }
    forget_body(op.b, symbols, wider);
    types = wider;
  }
  fail("The types that the loop carries do not settle.");
}

namespace {

void import_loop(Op& op) {
  Emit& b = op.b;
  Value* trip = op.has(0) ? b.reshape(b.cast(op.tensor(0), DType::kI64), {}) : b.i64(-1);
  Value* condition = op.has(1) ? bool_scalar(b, op.tensor(1), "condition") : b.integer(DType::kBool, 1);
  const pb::GraphProto& body = *op.graph_attr("body");
  std::vector<Value*> carried;
  for (int i = 2; i < op.input_count(); ++i) carried.push_back(op.input(i));
  size_t count = carried.size();
  if (body.input_size() != static_cast<int>(count) + 2 || body.output_size() < static_cast<int>(count) + 1)
    fail("The body has {} inputs and {} outputs; {} values are carried.", body.input_size(),
         body.output_size(), count);
  auto results = build_loop(
      op, trip, condition, carried,
      [&](Importer::Region& region, Value* number, Value* again, const std::vector<Value*>& inside) {
        std::vector<Value*> arguments = {number, again};
        arguments.insert(arguments.end(), inside.begin(), inside.end());
        auto outputs = op.importer.import_into(op.scope, *region.emit, body, arguments);
        LoopResult result;
        result.condition = bool_scalar(*region.emit, outputs[0], "condition");
        result.carried.assign(outputs.begin() + 1, outputs.begin() + 1 + static_cast<int64_t>(count));
        result.scans.assign(outputs.begin() + 1 + static_cast<int64_t>(count), outputs.end());
        return result;
      });
  if (static_cast<int>(results.size()) < op.output_count())
    fail("The loop gives {} results, the node takes {}.", results.size(), op.output_count());
  for (int i = 0; i < op.output_count(); ++i) op.output(i, results[static_cast<size_t>(i)]);
}

std::vector<int64_t> per_scan(Op& op, const char* name, size_t count) {
  std::vector<int64_t> values = op.ints(name);
  if (values.empty()) return std::vector<int64_t>(count, 0);
  if (values.size() != count)
    fail("Attribute '{}' has {} elements instead of {}.", name, values.size(), count);
  return values;
}

Value* move_axis(Emit& b, Value* v, int64_t from, int64_t to) {
  std::vector<int64_t> perm;
  for (int64_t a = 0; a < v->type.rank(); ++a)
    if (a != from) perm.push_back(a);
  perm.insert(perm.begin() + to, from);
  return b.transpose(v, perm);
}

Value* reversed(Emit& b, Value* v) {
  const Dim extent = dimension(v, 0);
  return b.slice_axis(v, 0, extent - Dim(1), extent, -1);
}

struct ScanPlan {
  std::vector<Value*> state, sequences;
  std::vector<int64_t> output_axes, output_directions;
};

// The scan over axis 0 of the sequences: a loop that takes one slice of each per iteration.
std::vector<Value*> scan_loop(Op& op, Emit& outer, const pb::GraphProto& body, const ScanPlan& plan) {
  Dim length = dimension(plan.sequences[0], 0);
  size_t states = plan.state.size();
  auto results =
      build_loop(op, outer.dim(length), outer.integer(DType::kBool, 1), plan.state,
                 [&](Importer::Region& region, Value* number, Value*, const std::vector<Value*>& inside) {
                   Emit& b = *region.emit;
                   std::vector<Value*> arguments = inside;
                   for (Value* sequence : plan.sequences) arguments.push_back(b.gather(sequence, number, 0));
                   auto outputs = op.importer.import_into(op.scope, b, body, arguments);
                   LoopResult result;
                   result.condition = b.integer(DType::kBool, 1);
                   result.carried.assign(outputs.begin(), outputs.begin() + static_cast<int64_t>(states));
                   result.scans.assign(outputs.begin() + static_cast<int64_t>(states), outputs.end());
                   return result;
                 });
  for (size_t i = states; i < results.size(); ++i) {
    if (plan.output_directions[i - states] != 0) results[i] = reversed(outer, results[i]);
    int64_t axis = op.axis(plan.output_axes[i - states], results[i]->type.rank());
    results[i] = move_axis(outer, results[i], 0, axis);
  }
  return results;
}

void import_scan(Op& op) {
  Emit& b = op.b;
  const pb::GraphProto& body = *op.graph_attr("body");
  int64_t scans = op.i("num_scan_inputs", 0);
  int first = 0;
  bool batched = op.version < 9;
  if (batched) {
    if (op.has(0)) fail("Sequence lengths (input 0) are not supported.");
    first = 1;
  }
  const int64_t operands = op.input_count() - first;
  const int64_t states = scans >= 1 && scans <= operands ? operands - scans : -1;
  if (states < 0 || body.output_size() < states)
    fail("Attribute 'num_scan_inputs' ({}) does not fit the inputs.", scans);
  auto count = static_cast<size_t>(scans), outputs = static_cast<size_t>(body.output_size() - states);
  std::vector<int64_t> directions = per_scan(op, batched ? "directions" : "scan_input_directions", count);
  std::vector<int64_t> axes =
      batched ? std::vector<int64_t>(count, 0) : per_scan(op, "scan_input_axes", count);
  ScanPlan plan;
  plan.output_axes = batched ? std::vector<int64_t>(outputs, 0) : per_scan(op, "scan_output_axes", outputs);
  plan.output_directions =
      batched ? std::vector<int64_t>(outputs, 0) : per_scan(op, "scan_output_directions", outputs);
  for (int64_t i = 0; i < states; ++i) plan.state.push_back(op.tensor(first + static_cast<int>(i)));
  for (size_t i = 0; i < count; ++i) {
    Value* v = op.tensor(first + static_cast<int>(states) + static_cast<int>(i));
    if (!batched) v = move_axis(b, v, op.axis(axes[i], v->type.rank()), 0);
    plan.sequences.push_back(v);
  }
  std::vector<Value*> results;
  if (!batched) {
    for (size_t i = 0; i < count; ++i)
      if (directions[i] != 0) plan.sequences[i] = reversed(b, plan.sequences[i]);
    results = scan_loop(op, b, body, plan);
  } else {
    // Opset 8: every operand has a batch dimension in front; the batch elements are scanned one by one.
    const Dim batch = dimension(plan.sequences[0], 0);
    if (!batch.is_const()) fail("A batch of unknown size ({}) is not supported.", batch.text());
    std::vector<std::vector<Value*>> parts;
    for (int64_t n = 0; n < batch.value(); ++n) {
      ScanPlan one = plan;
      auto pick = [&](Value* v) { return b.squeeze(b.slice_axis(v, 0, Dim(n), Dim(1)), {0}); };
      for (Value*& v : one.state) v = pick(v);
      for (size_t i = 0; i < count; ++i) {
        one.sequences[i] = pick(one.sequences[i]);
        if (directions[i] != 0) one.sequences[i] = reversed(b, one.sequences[i]);
      }
      parts.push_back(scan_loop(op, b, body, one));
    }
    for (size_t i = 0; !parts.empty() && i < parts[0].size(); ++i) {
      std::vector<Value*> each;
      for (auto& part : parts) each.push_back(b.unsqueeze(part[i], {0}));
      results.push_back(b.concat(each, 0));
    }
  }
  if (static_cast<int>(results.size()) < op.output_count())
    fail("The scan gives {} results, the node takes {}.", results.size(), op.output_count());
  for (int i = 0; i < op.output_count(); ++i) op.output(i, results[static_cast<size_t>(i)]);
}

constexpr OpRow kRows[] = {
    {kOnnx, "If", 1, kLatest, import_if},
    {kOnnx, "Loop", 1, kLatest, import_loop},
    {kOnnx, "Scan", 8, kLatest, import_scan},
};

}  // namespace

std::span<const OpRow> control_rows() {
  return kRows;
}

}  // namespace tern::onnx
