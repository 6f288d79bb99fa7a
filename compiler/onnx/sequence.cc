// Sequences and optionals. A sequence whose elements are known while importing is only a list of values; what
// cannot be known becomes seq_* and opt_* ops.
#include <algorithm>
#include <map>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

Value* sequence_input(Op& op, int i) {
  Value* v = op.input(i);
  if (v->type.kind != Type::Kind::kSequence) fail("Input {} ({}) is no sequence.", i, v->type.text());
  return v;
}

// The elements, when the sequence was built from known values.
const std::vector<Value*>* elements(Value* sequence) {
  if (!sequence->def || sequence->def->kind != OpKind::kSeqConstruct) return nullptr;
  return &sequence->def->operands;
}

bool is_joined(const SequencePart& part) {
  return part.joined >= 0;
}

// The same for a sequence that loops appended to; nothing when neither is known, or when elements cannot be
// told apart and are not `joined` anyway.
std::vector<SequencePart> parts_of(Op& op, Value* sequence, bool joined = false) {
  std::vector<SequencePart> parts;
  if (const auto* list = elements(sequence)) {
    for (Value* v : *list) parts.push_back({v});
  } else if (auto known = op.importer.sequence_parts().find(sequence);
             known != op.importer.sequence_parts().end()) {
    parts = known->second;
    if (!joined && std::any_of(parts.begin(), parts.end(), is_joined)) parts.clear();
  }
  return parts;
}

// All elements along a new axis 0.
Value* stacked(Emit& b, const std::vector<SequencePart>& parts) {
  const auto element = [](const SequencePart& part) {
    Shape shape = part.value->type.shape;
    if (part.is_run) shape.erase(shape.begin());
    return shape;
  };
  const Shape first = element(parts[0]);
  std::vector<Value*> runs;
  for (const SequencePart& part : parts) {
    const Shape shape = element(part);
    bool fits = shape.size() == first.size();
    for (size_t i = 0; fits && i < shape.size(); ++i)
      fits = decide(b.graph(), ScalarOp::kEq, shape[i], first[i]).value_or(true);
    if (!fits)
      fail(
          "The sequence has elements of the shapes [{}] and [{}]; one that a loop appends to, or that is "
          "asked for a position computed at run time, needs elements of one shape.",
          shape_text(first), shape_text(shape));
    if (!part.is_run) {
      runs.push_back(b.unsqueeze(part.value, {0}));
    } else if (part.backwards) {
      const Dim count = dimension(part.value, 0);
      runs.push_back(b.slice_axis(part.value, 0, count - Dim(1), count, -1));
    } else {
      runs.push_back(part.value);
    }
  }
  return b.concat(runs, 0);
}

// A position that is known at run time only, from the front of `count` elements; one outside [0, count), or
// outside [0, count] with `end`, fails the run.
Value* position_at_run_time(Emit& b, Value* position, const Dim& count, bool end = false) {
  Value* at = b.cast(position, DType::kI64);
  at = b.select(b.compare(ScalarOp::kLt, at, b.i64(0)), b.add(at, b.dim(count)), at);
  Value* below = b.compare(end ? ScalarOp::kLe : ScalarOp::kLt, at, b.dim(count));
  b.check(b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kGe, at, b.i64(0)), below}),
          fmt::format("A position lies outside the sequence of {} elements.", count.text()));
  return at;
}

// The run without, or with, an element at a position that is known at run time only.
Value* erased(Emit& b, Value* run, Value* position) {
  const Dim count = dimension(run, 0);
  Value* number = b.iota({count - Dim(1)}, 0, DType::kI64);
  Value* behind = b.compare(ScalarOp::kGe, number, position_at_run_time(b, position, count));
  return b.gather(run, b.add(number, b.cast(behind, DType::kI64)), 0);
}
Value* inserted(Emit& b, Value* run, Value* value, Value* position) {
  const Dim count = dimension(run, 0);
  Value* at = position_at_run_time(b, position, count, true);
  Value* number = b.iota({count + Dim(1)}, 0, DType::kI64);
  Value* old = b.sub(number, b.cast(b.compare(ScalarOp::kGt, number, at), DType::kI64));
  Value* index = b.select(b.compare(ScalarOp::kEq, number, at), b.dim(count), old);
  return b.gather(b.concat({run, b.unsqueeze(value, {0})}, 0), index, 0);
}

bool has_run(const std::vector<SequencePart>& parts) {
  return std::any_of(parts.begin(), parts.end(), [](const SequencePart& p) { return p.is_run; });
}

Value* construct(Emit& b, const std::vector<Value*>& values, DType dtype) {
  return b.emit_node(OpKind::kSeqConstruct, values, {{"dtype", dtype}})->result();
}

}  // namespace

Value* empty_sequence(Emit& b, const Type& element) {
  Value* v = construct(b, {}, element.dtype);
  v->type = Type::sequence(element);
  return v;
}

namespace {

DType element_dtype(Value* sequence) {
  const Type* t = sequence->type.element.get();
  while (!t->is_tensor()) t = t->element.get();
  return t->dtype;
}

Value* position_input(Op& op, int i) {
  Value* v = op.tensor(i);
  if (v->type.dtype != DType::kI32 && v->type.dtype != DType::kI64)
    fail("The position ({}) is no integer.", v->type.text());
  return op.b.reshape(v, {});
}

// The position as an index into a list of `count`, when it is known; checked.
std::optional<size_t> known_position(Op& op, Value* position, size_t count) {
  auto known = op.b.known_ints(position);
  if (!known) return std::nullopt;
  auto size = static_cast<int64_t>(count);
  int64_t at = (*known)[0] < 0 ? (*known)[0] + size : (*known)[0];
  if (at < 0 || at > size) fail("Position {} lies outside a sequence of {} elements.", (*known)[0], count);
  return static_cast<size_t>(at);
}

void import_empty(Op& op) {
  op.output(0, construct(op.b, {}, op.dtype_attr("dtype").value_or(DType::kF32)));
}

void import_construct(Op& op) {
  std::vector<Value*> values;
  for (int i = 0; i < op.input_count(); ++i) values.push_back(op.tensor(i));
  if (values.empty()) fail("The node has no inputs.");
  op.output(0, construct(op.b, values, values[0]->type.dtype));
}

void import_at(Op& op) {
  Value *sequence = sequence_input(op, 0), *position = position_input(op, 1);
  if (auto* list = elements(sequence)) {
    if (auto at = known_position(op, position, list->size()); at && *at < list->size())
      return op.output(0, (*list)[*at]);
  }
  if (auto parts = parts_of(op, sequence); !parts.empty()) {
    Value* all = stacked(op.b, parts);
    return op.output(0, op.b.gather(all, position_at_run_time(op.b, position, dimension(all, 0)), 0));
  }
  op.output(0, op.b.emit_node(OpKind::kSeqAt, {sequence, position}, {})->result());
}

void import_insert(Op& op) {
  Value *sequence = sequence_input(op, 0), *value = op.tensor(1);
  Value* position = op.has(2) ? position_input(op, 2) : nullptr;
  if (auto* list = elements(sequence)) {
    std::optional<size_t> at = position ? known_position(op, position, list->size()) : list->size();
    if (at) {
      std::vector<Value*> values = *list;
      values.insert(values.begin() + static_cast<int64_t>(*at), value);
      return op.output(0, construct(op.b, values, value->type.dtype));
    }
  }
  if (op.importer.untyped_sequences().count(sequence)) throw SequenceTyped{sequence, value->type};
  std::vector<Value*> operands = {sequence, value};
  if (position) operands.push_back(position);
  Value* longer = op.b.emit_node(OpKind::kSeqInsert, operands, {})->result();
  if (auto parts = parts_of(op, sequence); !position && has_run(parts)) {
    parts.push_back({value});
    op.importer.sequence_parts()[longer] = std::move(parts);
  } else if (position && !parts.empty()) {
    op.importer.sequence_parts()[longer] = {{inserted(op.b, stacked(op.b, parts), value, position), true}};
  }
  op.output(0, longer);
}

void import_erase(Op& op) {
  Value* sequence = sequence_input(op, 0);
  Value* position = op.has(1) ? position_input(op, 1) : nullptr;
  if (auto* list = elements(sequence); list && !list->empty()) {
    std::optional<size_t> at = position ? known_position(op, position, list->size()) : list->size() - 1;
    if (at && *at < list->size()) {
      std::vector<Value*> values = *list;
      values.erase(values.begin() + static_cast<int64_t>(*at));
      return op.output(0, construct(op.b, values, element_dtype(sequence)));
    }
  }
  std::vector<Value*> operands = {sequence};
  if (position) operands.push_back(position);
  Value* shorter = op.b.emit_node(OpKind::kSeqErase, operands, {})->result();
  const auto parts = parts_of(op, sequence);
  const auto at = position ? op.b.known_ints(position) : std::vector<int64_t>{-1};
  if (at && parts.size() == 1 && parts[0].is_run && !parts[0].backwards) {
    Value* run = parts[0].value;
    const Dim count = dimension(run, 0), gone = (*at)[0] < 0 ? count + Dim((*at)[0]) : Dim((*at)[0]);
    const std::string message = fmt::format("Position {} lies outside the sequence.", (*at)[0]);
    op.b.require(ScalarOp::kLe, Dim(0), gone, message);
    op.b.require(ScalarOp::kLt, gone, count, message);
    op.importer.sequence_parts()[shorter] = {
        {op.b.slice_axis(run, 0, Dim(0), gone), true},
        {op.b.slice_axis(run, 0, gone + Dim(1), count - gone - Dim(1)), true}};
  } else if (position && !parts.empty()) {
    op.importer.sequence_parts()[shorter] = {{erased(op.b, stacked(op.b, parts), position), true}};
  }
  op.output(0, shorter);
}

void import_length(Op& op) {
  Value* sequence = sequence_input(op, 0);
  if (auto* list = elements(sequence)) return op.output(0, op.b.i64(static_cast<int64_t>(list->size())));
  if (auto parts = parts_of(op, sequence); has_run(parts))
    return op.output(0, op.b.dim(dimension(stacked(op.b, parts), 0)));
  op.output(0, op.b.emit_node(OpKind::kSeqLength, {sequence}, {})->result());
}

// Elements along axis 0 side by side along `axis` of theirs, or of the result's if it is a fresh one.
Value* join_stacked(Emit& b, Value* all, int64_t axis, bool fresh) {
  std::vector<int64_t> order;
  for (int64_t a = 1; a < all->type.rank(); ++a) order.push_back(a);
  order.insert(order.begin() + axis, 0);
  all = b.transpose(all, order);
  if (fresh) return all;
  Shape shape = all->type.shape;
  const auto at = shape.begin() + axis;
  *at = *at * *(at + 1);
  shape.erase(at + 1);
  return b.reshape(all, shape);
}

void import_concat_from(Op& op) {
  Value* sequence = sequence_input(op, 0);
  const std::vector<SequencePart> parts = parts_of(op, sequence, true);
  if (parts.empty())
    fail("Joining a sequence whose elements are not known while compiling is not supported.");
  const bool fresh = op.i("new_axis", 0) != 0;
  const int64_t rank = parts[0].value->type.rank() - (parts[0].is_run ? 1 : 0);
  const int64_t axis = op.axis_attr(0, rank + (fresh ? 1 : 0));
  const bool joined = std::any_of(parts.begin(), parts.end(), is_joined);
  if (has_run(parts) && !joined) return op.output(0, join_stacked(op.b, stacked(op.b, parts), axis, fresh));
  std::vector<Value*> values;
  for (const SequencePart& part : parts) {
    if (is_joined(part) && (fresh || part.joined != axis))
      fail(
          "Elements whose size along axis {} is known at run time only are joined along {} {}; they can be "
          "along that axis alone.",
          part.joined, fresh ? "a new axis" : "axis", axis);
    if (part.is_run)
      values.push_back(join_stacked(op.b, stacked(op.b, {part}), axis, fresh));
    else
      values.push_back(fresh ? op.b.unsqueeze(part.value, {axis}) : part.value);
  }
  op.output(0, op.b.concat(values, axis));
}

constexpr int64_t kMostParts = 1 << 14;  // that are known one by one

Shape part_sizes(Op& op, const Dim& extent) {
  auto chunks = [&](int64_t size) {
    Shape sizes;
    for (int64_t at = 0; at < extent.value(); at += size)
      sizes.push_back(Dim(std::min(size, extent.value() - at)));
    return sizes;
  };
  if (!op.has(1)) return chunks(1);
  Value* split = op.tensor(1);
  if (split->type.rank() == 0) return chunks(op.constant_ints(1, "split")[0]);
  return op.b.dims(split);
}

// Parts of a size that is known at run time only: a loop that cuts and appends.
Value* split_at_run_time(Op& op, Value* x, int64_t axis, Value* size) {
  Emit& b = op.b;
  const Dim extent = dimension(x, axis);
  size = b.cast(size, DType::kI64);
  Value* count = b.div(b.sub(b.add(b.dim(extent), size), b.i64(1)), size);
  graph::SymbolInfo info;
  info.origin = graph::SymbolInfo::Origin::kControl;
  info.upper = extent;
  Type element = x->type;
  element.shape[static_cast<size_t>(axis)] = Dim::symbol(b.graph().new_symbol("s", info).name);
  return build_loop(op, count, b.integer(DType::kBool, 1), {empty_sequence(b, element)},
                    [&](Importer::Region& region, Value* number, Value*, const std::vector<Value*>& inside) {
                      Emit& e = *region.emit;
                      Value* start = e.mul(number, size);
                      Value* length = e.min(size, e.sub(e.dim(extent), start));
                      Dim part = e.dims(e.reshape(length, {Dim(1)}))[0];
                      Value* piece = e.gather(x, e.add(e.iota({part}, 0, DType::kI64), start), axis);
                      Value* longer = e.emit_node(OpKind::kSeqInsert, {inside[0], piece}, {})->result();
                      return LoopResult{e.integer(DType::kBool, 1), {longer}, {}};
                    })[0];
}

// Parts of one each, of an axis whose size is known at run time only: what needs no sequence reads the run.
Value* split_in_ones(Op& op, Value* x, int64_t axis, bool keep) {
  Emit& b = op.b;
  const Dim extent = dimension(x, axis);
  Value* run = b.transpose(x, axis_to_front(x->type.rank(), axis));
  if (keep) run = b.unsqueeze(run, {axis + 1});
  const Type element = Type::tensor(x->type.dtype, dimensions(run, 1));
  Value* sequence = build_loop(
      op, b.dim(extent), b.integer(DType::kBool, 1), {empty_sequence(b, element)},
      [&](Importer::Region& region, Value* number, Value*, const std::vector<Value*>& inside) {
        Emit& e = *region.emit;
        Value* longer = e.emit_node(OpKind::kSeqInsert, {inside[0], e.gather(run, number, 0)}, {})->result();
        return LoopResult{e.integer(DType::kBool, 1), {longer}, {}};
      })[0];
  op.importer.sequence_parts()[sequence] = {{run, true}};
  return sequence;
}

void import_split(Op& op) {
  Value* x = op.tensor(0);
  int64_t axis = op.axis_attr(0, x->type.rank());
  bool keep = op.i("keepdims", 1) != 0 || op.has(1);
  const Dim extent = dimension(x, axis);
  if (!op.has(1) || op.tensor(1)->type.rank() == 0) {
    const auto known = op.has(1) ? op.b.known_ints(op.tensor(1)) : std::vector<int64_t>{1};
    if (known && (*known)[0] < 1) fail("The size ({}) of a part is below 1.", (*known)[0]);
    // A node a part is more than memory holds where a constant says so.
    const bool many = known && extent.is_const() && extent.value() / (*known)[0] > kMostParts;
    if (known && (*known)[0] == 1 && (many || !extent.is_const()))
      return op.output(0, split_in_ones(op, x, axis, keep));
    if (known && !extent.is_const())
      fail("An axis of unknown size ({}) cannot be split into a sequence of parts of {}.", extent.text(),
           (*known)[0]);
    if (!known || many) return op.output(0, split_at_run_time(op, x, axis, op.tensor(1)));
  }
  std::vector<Value*> parts;
  const Shape sizes = part_sizes(op, extent);
  Dim start(0);
  for (const Dim& size : sizes) start = start + size;
  op.b.require(
      ScalarOp::kEq, start, extent,
      fmt::format("The parts ({}) of axis {} are not what it has ({}).", start.text(), axis, extent.text()));
  start = Dim(0);
  for (const Dim& size : sizes) {
    Value* part = op.b.slice_axis(x, axis, start, size);
    parts.push_back(keep ? part : op.b.squeeze(part, {axis}));
    start = start + size;
  }
  op.output(0, construct(op.b, parts, x->type.dtype));
}

// The subgraph's nodes once for each element, where the sequences are lists of a few known values. Whether
// they were.
bool map_each(Op& op, const pb::GraphProto& body, const std::vector<Value*>& inputs) {
  constexpr size_t kMost = 64;
  const std::vector<Value*>* first = elements(inputs[0]);
  if (!first || first->empty() || first->size() > kMost) return false;
  for (Value* v : inputs) {
    if (v->type.kind != Type::Kind::kSequence) continue;
    const std::vector<Value*>* list = elements(v);
    if (!list) return false;
    if (list->size() != first->size())
      fail("The sequences have {} and {} elements.", first->size(), list->size());
  }
  std::vector<std::vector<Value*>> results;
  for (size_t i = 0; i < first->size(); ++i) {
    std::vector<Value*> arguments;
    for (Value* v : inputs) arguments.push_back(elements(v) ? (*elements(v))[i] : v);
    const std::vector<Value*> outputs = op.importer.import_into(op.scope, op.b, body, arguments);
    results.resize(outputs.size());
    for (size_t k = 0; k < outputs.size(); ++k) results[k].push_back(outputs[k]);
  }
  for (int k = 0; k < op.output_count() && k < static_cast<int>(results.size()); ++k) {
    const std::vector<Value*>& values = results[static_cast<size_t>(k)];
    if (!values[0]->type.is_tensor())
      fail("The subgraph gives a {} for each element.", values[0]->type.text());
    op.output(k, construct(op.b, values, values[0]->type.dtype));
  }
  return true;
}

// The subgraph for each element of the sequences: a loop that appends, where they are not known.
void import_map(Op& op) {
  Emit& b = op.b;
  const pb::GraphProto& body = *op.graph_attr("body");
  std::vector<Value*> inputs;
  for (int i = 0; i < op.input_count(); ++i) inputs.push_back(op.input(i));
  if (inputs.empty() || inputs[0]->type.kind != Type::Kind::kSequence)
    fail("The first input is no sequence.");
  auto is_sequence = [](Value* v) { return v->type.kind == Type::Kind::kSequence; };
  if (map_each(op, body, inputs)) return;
  std::map<Value*, Value*> runs;  // of sequences whose elements can be one tensor's rows
  for (Value* v : inputs)
    if (const auto parts = parts_of(op, v); !parts.empty()) runs[v] = stacked(b, parts);
  auto arguments = [&](Emit& e, Value* number) {
    std::vector<Value*> out;
    for (Value* v : inputs) {
      if (const auto run = runs.find(v); run != runs.end())
        out.push_back(e.gather(run->second, number, 0));
      else
        out.push_back(is_sequence(v) ? e.emit_node(OpKind::kSeqAt, {v, number}, {})->result() : v);
    }
    return out;
  };
  // Once to see which types come out.
  size_t symbols = b.graph().symbols.size();
  std::vector<Type> types;
  {
    Importer::Region scratch;
    scratch.block = std::make_unique<Block>();
    Emit inner(b, *scratch.block);
    Value* number = inner.i64(0);
    for (Value* v : op.importer.import_into(op.scope, inner, body, arguments(inner, number)))
      types.push_back(v->type);
    b.knowledge().roll_back(symbols);
  }
  for (Type& type : types) {
    if (!type.is_tensor()) fail("The subgraph gives a {} for each element.", type.text());
    for (Dim& d : type.shape) {
      if (d.is_const()) continue;
      graph::SymbolInfo info;
      info.origin = graph::SymbolInfo::Origin::kControl;
      d = Dim::symbol(b.graph().new_symbol("s", info).name);
    }
  }
  std::vector<Value*> carried;
  for (const Type& type : types) carried.push_back(empty_sequence(b, type));
  Value* length = runs.count(inputs[0]) ? b.dim(dimension(runs[inputs[0]], 0))
                                        : b.emit_node(OpKind::kSeqLength, {inputs[0]}, {})->result();
  auto results = build_loop(
      op, length, b.integer(DType::kBool, 1), carried,
      [&](Importer::Region& region, Value* number, Value*, const std::vector<Value*>& inside) {
        Emit& e = *region.emit;
        auto outputs = op.importer.import_into(op.scope, e, body, arguments(e, number));
        LoopResult result{e.integer(DType::kBool, 1), {}, {}};
        for (size_t i = 0; i < outputs.size(); ++i)
          result.carried.push_back(e.emit_node(OpKind::kSeqInsert, {inside[i], outputs[i]}, {})->result());
        return result;
      });
  for (int i = 0; i < op.output_count() && i < static_cast<int>(results.size()); ++i)
    op.output(i, results[static_cast<size_t>(i)]);
}

void import_optional(Op& op) {
  if (op.has(0)) return op.output(0, op.b.emit_node(OpKind::kOptConstruct, {op.input(0)}, {})->result());
  const pb::AttributeProto* type = op.attribute("type");
  if (!type || !type->has_tp()) fail("An optional without element needs the attribute 'type'.");
  Value* v = op.b.emit_node(OpKind::kOptConstruct, {}, {})->result();
  v->type = Type::optional(op.importer.type_from_proto(type->tp(), [&](int, const std::string&) {
    graph::SymbolInfo info;
    info.origin = graph::SymbolInfo::Origin::kControl;
    return Dim::symbol(op.b.graph().new_symbol("s", info).name);
  }));
  op.output(0, v);
}

bool is_constructed(const Value* optional) {
  return optional->def && optional->def->kind == OpKind::kOptConstruct;
}

void import_has_element(Op& op) {
  if (!op.has(0)) return op.output(0, op.b.integer(DType::kBool, 0));
  Value* v = op.input(0);
  if (v->type.kind != Type::Kind::kOptional) return op.output(0, op.b.integer(DType::kBool, 1));
  if (is_constructed(v)) return op.output(0, op.b.integer(DType::kBool, v->def->operands.empty() ? 0 : 1));
  op.output(0, op.b.emit_node(OpKind::kOptHas, {v}, {})->result());
}

void import_get_element(Op& op) {
  Value* v = op.input(0);
  if (v->type.kind != Type::Kind::kOptional) return op.output(0, v);
  if (is_constructed(v) && !v->def->operands.empty()) return op.output(0, v->def->operand());
  op.output(0, op.b.emit_node(OpKind::kOptGet, {v}, {})->result());
}

constexpr OpRow kRows[] = {
    {kOnnx, "SequenceEmpty", 11, kLatest, import_empty},
    {kOnnx, "SequenceConstruct", 11, kLatest, import_construct},
    {kOnnx, "SequenceAt", 11, kLatest, import_at},
    {kOnnx, "SequenceInsert", 11, kLatest, import_insert},
    {kOnnx, "SequenceErase", 11, kLatest, import_erase},
    {kOnnx, "SequenceLength", 11, kLatest, import_length},
    {kOnnx, "ConcatFromSequence", 11, kLatest, import_concat_from},
    {kOnnx, "SplitToSequence", 11, kLatest, import_split},
    {kOnnx, "SequenceMap", 17, kLatest, import_map},
    {kOnnx, "Optional", 15, kLatest, import_optional},
    {kOnnx, "OptionalHasElement", 15, kLatest, import_has_element},
    {kOnnx, "OptionalGetElement", 15, kLatest, import_get_element},
};

}  // namespace

std::span<const OpRow> sequence_rows() {
  return kRows;
}

}  // namespace tern::onnx
