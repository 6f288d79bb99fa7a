// If, Loop, Scan.
#include <algorithm>
#include <optional>

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

// A result that both branches give as a list of as many values, or as an optional with one, becomes those
// values.
struct Unpacked {
  OpKind kind;
  size_t count;
};

bool is_list(const Value* v) {
  return v->def && !v->def->operands.empty() &&
         (v->def->kind == OpKind::kSeqConstruct || v->def->kind == OpKind::kOptConstruct);
}

std::optional<Unpacked> unpack(const Value* a, const Value* b) {
  if (!is_list(a) || !is_list(b) || a->def->kind != b->def->kind) return std::nullopt;
  const auto &left = a->def->operands, &right = b->def->operands;
  if (!std::equal(left.begin(), left.end(), right.begin(), right.end(),
                  [](const Value* x, const Value* y) { return joinable(x->type, y->type); }))
    return std::nullopt;
  return Unpacked{a->def->kind, left.size()};
}

std::vector<std::optional<Unpacked>> unpack_results(std::vector<std::unique_ptr<Block>>& regions) {
  std::vector<std::optional<Unpacked>> unpacked;
  for (size_t i = 0; i < regions[0]->results.size(); ++i)
    unpacked.push_back(unpack(regions[0]->results[i], regions[1]->results[i]));
  for (auto& region : regions) {
    std::vector<Value*> results;
    for (size_t i = 0; i < unpacked.size(); ++i) {
      Value* v = region->results[i];
      if (unpacked[i])
        results.insert(results.end(), v->def->operands.begin(), v->def->operands.end());
      else
        results.push_back(v);
    }
    region->results = std::move(results);
  }
  return unpacked;
}

std::vector<Value*> pack_results(Emit& b, const std::vector<std::optional<Unpacked>>& unpacked,
                                 const std::vector<Value*>& values) {
  std::vector<Value*> results;
  auto at = values.begin();
  for (const auto& u : unpacked) {
    if (!u) {
      results.push_back(*at++);
      continue;
    }
    const std::vector<Value*> list(at, at + static_cast<int64_t>(u->count));
    at += static_cast<int64_t>(u->count);
    std::vector<std::pair<std::string, Attr>> attrs;
    if (u->kind == OpKind::kSeqConstruct) attrs.emplace_back("dtype", list[0]->type.dtype);
    results.push_back(b.emit_node(u->kind, list, std::move(attrs))->result());
  }
  return results;
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
      const auto unpacked = same ? unpack_results(regions) : std::vector<std::optional<Unpacked>>();
      results = finish_if(b, condition, std::move(regions));
      if (same) results = pack_results(b, unpacked, results);
    }
  }
  if (static_cast<int>(results.size()) < op.output_count())
    fail("The branches give {} results, the node takes {}.", results.size(), op.output_count());
  for (int i = 0; i < op.output_count(); ++i) op.output(i, results[static_cast<size_t>(i)]);
}

// The number of the iteration and the condition have one dimension in bodies that say so (keras2onnx's do).
Value* as_stated(Emit& b, const pb::GraphProto& body, int input, Value* scalar) {
  const pb::TypeProto& type = body.input(input).type();
  const bool list = type.has_tensor_type() && type.tensor_type().shape().dim_size() == 1;
  return list ? b.reshape(scalar, {Dim(1)}) : scalar;
}

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
        std::vector<Value*> arguments = {as_stated(*region.emit, body, 0, number),
                                         as_stated(*region.emit, body, 1, again)};
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
