// What changes a part of a value (scatters), and how it does without a copy of the rest: a cache of
// keys and values whose past and present are one memory gets its new rows alone.
//
// Where such a node's result is an output of the program, and what it changes is an input that nobody else
// reads, that input is the output's donor: the program asks whether the caller gave the same memory for both,
// and the dispatches that copy have no tiles then. No command stands between them that would cut their list.
#include "compiler/lower/put_rows.h"

#include <algorithm>

#include "compiler/lower/block_lowering.h"
#include "compiler/lower/donation.h"
#include "compiler/lower/nests.h"

namespace tern::lower {

using graph::Node;
using graph::OpKind;
using graph::Value;

namespace {

bool only_once(const graph::UseMap& uses, const Value* v) {
  const auto it = uses.find(v);
  return it != uses.end() && it->second.size() == 1;
}

struct Donor {
  const Value* input;
  Dim lengthened = 0;  // not 0: what is changed is longer
};

std::optional<Donor> donor_of(const Value* data, const graph::Block& block, const graph::UseMap& uses) {
  Donor out{data};
  if (!only_once(uses, data)) return std::nullopt;
  if (const Node* pad = data->def; pad && pad->kind == OpKind::kPad && pad->str("mode") == "constant") {
    out.input = pad->operand();
    if (!only_once(uses, out.input)) return std::nullopt;
    for (size_t d = 0; d < data->type.shape.size(); ++d) {
      if (!pad->dims("low")[d].is_const(0)) return std::nullopt;
      out.lengthened = max(out.lengthened, pad->dims("high")[d]);
    }
  }
  if (out.input->block != &block) return std::nullopt;
  return out;
}

bool is_scatter(const Node& node) {
  return node.kind == OpKind::kScatterElements || node.kind == OpKind::kScatterNd;
}

bool is_map_of(const Node* n, scalar::ScalarOp op) {
  return n && n->kind == OpKind::kMap && n->scalar_op() == op;
}

// The operand of a view and which of its dimensions is `axis` of the result; -1: none, all elements along it
// are equal.
std::optional<std::pair<const Value*, int>> seen_through(const Node& n, int axis) {
  if (n.kind != OpKind::kCast && n.kind != OpKind::kBroadcast && n.kind != OpKind::kReshape)
    return std::nullopt;
  const Shape &from = n.operand()->type.shape, &to = n.result()->type.shape;
  if (n.kind == OpKind::kCast) return std::pair(n.operand(), axis);
  if (n.kind == OpKind::kBroadcast) {
    const int there = axis - static_cast<int>(to.size() - from.size());
    const bool repeats = there < 0 || from[static_cast<size_t>(there)] != to[static_cast<size_t>(axis)];
    return std::pair(n.operand(), repeats ? -1 : there);
  }
  // Only dimensions of 1 come and go.
  std::vector<int> real_from, real_to;
  for (size_t d = 0; d < from.size(); ++d)
    if (!from[d].is_const(1)) real_from.push_back(static_cast<int>(d));
  for (size_t d = 0; d < to.size(); ++d)
    if (!to[d].is_const(1)) real_to.push_back(static_cast<int>(d));
  if (real_from.size() != real_to.size()) return std::nullopt;
  int there = -1;
  for (size_t i = 0; i < real_to.size(); ++i) {
    if (from[static_cast<size_t>(real_from[i])] != to[static_cast<size_t>(real_to[i])]) return std::nullopt;
    if (real_to[i] == axis) there = real_from[i];
  }
  return std::pair(n.operand(), there);
}

// The elements of a small integer value, in order, that are known when the function is called.
std::vector<Dim> known_elements(const Value* v) {
  if (v->def && v->def->kind == OpKind::kFromDims) return v->def->dims("dims");
  std::vector<Dim> out;
  if (const TensorDataPtr data = LoweringContext::constant_data(v); data && is_int(data->dtype()))
    for (int64_t i = 0; i < data->count(); ++i) out.emplace_back(data->int_at(i));
  return out;
}

// Positions along an axis that follow each other: where they begin, if that is one number that is known in
// front.
struct Run {
  std::optional<Dim> start;
};
Run plus(const Run& a, const Run& b) {
  return {a.start && b.start ? std::optional(*a.start + *b.start) : std::nullopt};
}

// Elements that are all equal along `axis` (or one: -1).
std::optional<Run> equal_along(const Value* v, int axis) {
  if (const std::vector<Dim> known = known_elements(v); !known.empty()) {
    const bool equal = std::all_of(known.begin(), known.end(), [&](const Dim& d) { return d == known[0]; });
    return equal ? std::optional(Run{known[0]}) : std::nullopt;
  }
  if (const Node* n = v->def) {
    if (const auto below = seen_through(*n, axis)) return equal_along(below->first, below->second);
    if (is_map_of(n, scalar::ScalarOp::kAdd)) {
      const auto a = equal_along(n->operand(0), axis), b = equal_along(n->operand(1), axis);
      if (a && b) return plus(*a, *b);
    }
  }
  const bool single = axis < 0 || v->type.shape[static_cast<size_t>(axis)].is_const(1);
  return single ? std::optional(Run{}) : std::nullopt;
}

std::optional<Run> run_along(const Value* v, int axis) {
  if (axis < 0 || v->type.shape[static_cast<size_t>(axis)].is_const(1)) return equal_along(v, axis);
  const std::vector<Dim> known = known_elements(v);
  if (!known.empty() && product(v->type.shape) == v->type.shape[static_cast<size_t>(axis)]) {
    for (size_t i = 0; i < known.size(); ++i)
      if (known[i] != known[0] + Dim(static_cast<int64_t>(i))) return std::nullopt;
    return Run{known[0]};
  }
  const Node* n = v->def;
  if (!n) return std::nullopt;
  if (n->kind == OpKind::kIota && n->int_attr("axis") == axis) return Run{Dim(0)};
  if (const auto below = seen_through(*n, axis)) return run_along(below->first, below->second);
  if (!is_map_of(n, scalar::ScalarOp::kAdd)) return std::nullopt;
  for (const int side : {0, 1}) {
    const auto run = run_along(n->operand(side), axis), shift = equal_along(n->operand(1 - side), axis);
    if (run && shift) return plus(*run, *shift);
  }
  return std::nullopt;
}

// A scatter that puts whole rows side by side into each batch: no two meet.
struct RowsPut {
  Value* positions;  // their dimensions align with the last ones of the data: those of 1, the batch, the rows
  int axis;
  std::optional<Dim> start;  // of all batches, if it is known in front
};

std::optional<RowsPut> rows_put(const Node& node) {
  if (node.kind != OpKind::kScatterElements || node.str("reduction") != "none") return std::nullopt;
  const auto axis = static_cast<int>(node.int_attr("axis"));
  Value* positions = node.operand(1);
  const Shape &data = node.operand()->type.shape, &rows = positions->type.shape;
  if (axis == 0 || dtype_bits(node.result()->type.dtype) < 8) return std::nullopt;
  if (positions->def && positions->def->kind == OpKind::kBroadcast) positions = positions->def->operand();
  const int missing = static_cast<int>(data.size()) - positions->type.rank();
  for (int d = 0; d < static_cast<int>(data.size()); ++d) {
    const auto at = static_cast<size_t>(d);
    const Dim extent = d < missing ? Dim(1) : positions->type.shape[at - static_cast<size_t>(missing)];
    if (d == axis ? extent != rows[at] : rows[at] != data[at] || (d > 0 && !extent.is_const(1)))
      return std::nullopt;
  }
  const auto run = run_along(positions, axis - missing);
  if (!run) return std::nullopt;
  return RowsPut{positions, axis, run->start};
}

void push_check(LoweringContext& context, const Dim& holds, std::string message) {
  if (holds.is_const(1)) return;
  Step step;
  step.kind = Step::Kind::kCheck;
  step.check = std::make_shared<CheckStep>(CheckStep{-1, holds, std::move(message)});
  context.push(std::move(step));
}

// 1 if a <= b, else 0.
Dim at_most(const Dim& a, const Dim& b) {
  return 1 - min(max(a - b, 0), 1);
}

}  // namespace

std::optional<MovedRows> moved_rows(const Region& region) {
  if (region.kind != RootKind::kNone || !region.root) return std::nullopt;
  const std::optional<RowsPut> put = rows_put(*region.root);
  TERN_CHECK(put.has_value(), "the root of an elementwise region puts no rows");
  return MovedRows{put->positions, put->axis,
                   region.root->result()->type.shape[static_cast<size_t>(put->axis)]};
}

// What the node changes is computed where its result lies, if nobody else reads it; rows too, where it is
// known in front where that is.
void BlockLowering::place_changed(const Node& node) {
  if (!is_scatter(node) || !context_.has_place(node.result())) return;
  Value* data = node.operand();
  const Place to = context_.place(node.result());
  if (only_once(uses_, data)) place_at(data, to);
  const std::optional<RowsPut> put = rows_put(node);
  // The data must be there before the rows, which may be computed at any time.
  if (data->def || !data->block || data->block->parent || !put || !put->start ||
      !only_once(uses_, node.operand(2)))
    return;
  std::vector<std::string> needed;
  put->start->collect_symbols(needed);
  for (const Value* v : {data, node.operand(2)})
    for (const Dim& d : v->type.shape) d.collect_symbols(needed);
  const bool given = std::all_of(needed.begin(), needed.end(), [&](const std::string& name) {
    const graph::SymbolInfo* s = context_.graph().find_symbol(name);
    return s &&
           (s->origin == graph::SymbolInfo::Origin::kInput || (s->value && s->value->block == data->block));
  });
  if (!given) return;
  early_.insert(&node);
  place_at(node.operand(2), sub_place(to, put->axis, *put->start));
}

// On GPUs copies stand together: no barriers between them.
void BlockLowering::begin_early(const graph::Block& block) {
  for (const auto& node : block.nodes) {
    if (!is_scatter(*node) || !context_.has_place(node->result())) continue;
    if (early_.contains(node.get())) check_start(*node);
    const bool alone =
        is_gpu(context_.target().arch) && donated_.contains(node->operand()) && !node->operand()->def;
    if (alone || early_.contains(node.get())) begin_with(node->operand(), node->result());
  }
}

// Rows that are computed where they go are not looked at again.
void BlockLowering::check_start(const Node& node) {
  const std::optional<RowsPut> put = rows_put(node);
  const auto axis = static_cast<size_t>(put->axis);
  const Dim& room = node.result()->type.shape[axis];
  const Dim end = *put->start + node.operand(2)->type.shape[axis];
  const Dim holds = at_most(0, *put->start) * at_most(end, room);
  if (std::find(checked_.begin(), checked_.end(), holds) != checked_.end()) return;
  checked_.push_back(holds);
  push_check(context_, holds,
             fmt::format("'{}' has no room for rows from position {} to {}: it has {}.", node.result()->name,
                         put->start->text(), end.text(), room.text()));
}

void BlockLowering::find_donors(const graph::Block& block, const std::vector<Place>& result_places) {
  LoweredProgram& program = context_.program();
  for (size_t r = 0; r < block.results.size(); ++r) {
    const Value* whole = block.results[r];
    const Place& to = result_places[r];
    if (!whole->def || !is_scatter(*whole->def) || to.buffer < 0 ||
        program.buffers[static_cast<size_t>(to.buffer)].kind != BufferKind::kOutput ||
        !context_.has_place(whole) || context_.place(whole).buffer != to.buffer || !has_known_sizes(whole))
      continue;
    const Value* data = whole->def->operand();
    const std::optional<Donor> donor = donor_of(data, block, uses_);
    if (!donor) continue;
    const Donation asked{static_cast<int>(r), donor->input->index};
    const std::string symbol = "_in_place" + std::to_string(r);
    const Dim in_place = Dim::symbol(symbol);
    Step bind;
    bind.kind = Step::Kind::kBind;
    bind.bind = std::make_shared<BindStep>(BindStep{symbol, asked.question()});
    context_.push(std::move(bind));
    donated_.emplace(data, in_place);
    if (donor->lengthened.is_const(0)) continue;
    push_check(
        context_, max(1 - in_place, at_most(donor->lengthened, 0)),
        fmt::format("Output '{}' lies in the memory of input '{}', which has no room for what it must hold.",
                    program.outputs[r].name, program.inputs[static_cast<size_t>(asked.input)].name));
  }
}

// The dispatches since `first_step` compute the value; where it is there already they do nothing.
void BlockLowering::skip_where_donated(const Value* value, size_t first_step) {
  const auto it = donated_.find(value);
  if (it == donated_.end()) return;
  std::vector<Step>& steps = *context_.steps();
  for (size_t i = first_step; i < steps.size(); ++i) {
    if (steps[i].kind != Step::Kind::kDispatch) continue;
    for (KernelVariant& variant : steps[i].dispatch->variants)
      variant.tiles = variant.tiles * (1 - it->second);
  }
}

void BlockLowering::begin_with(Value* data, const Value* result) {
  if (!begun_.insert(result).second) return;
  const Place to = context_.place(result);
  ensure_place(data);
  const Place& at = context_.place(data);
  if (at.buffer == to.buffer && at.offset == to.offset && at.strides == to.strides) return;
  const size_t first_step = context_.steps()->size();
  copy_to(data, to, FusionReason::kCopyTarget);
  skip_where_donated(data, first_step);
}

// Rows that lie somewhere, to where the scatter puts them.
void BlockLowering::store_rows(Node& scatter) {
  Value* rows = scatter.operand(2);
  Node copy;
  copy.kind = OpKind::kCast;
  copy.operands = {rows};
  copy.set("to", rows->type.dtype);
  copy.source = scatter.source;
  Value* stored = context_.graph().new_value(rows->type, rows->name);
  stored->def = &copy;
  copy.results = {stored};
  context_.set_place(stored, context_.place(scatter.result()));
  Region region;
  region.root = &scatter;
  region.nodes = {&copy};
  region.members = {&copy};
  region.inputs = {rows, rows_put(scatter)->positions};
  region.outputs = {stored};
  region.copy_for = FusionReason::kCopyPart;
  lower_elementwise(region, context_);
  stored->def = nullptr;
}

bool BlockLowering::put_rows(Node& node) {
  const std::optional<RowsPut> put = rows_put(node);
  if (!put) return false;
  Value *out = node.result(), *rows = node.operand(2);
  begin_with(node.operand(), out);
  Place at = context_.place(out);
  if (early_.contains(&node)) {
    at = sub_place(at, put->axis, *put->start);
    ensure_place(rows);
    const Place& is = context_.place(rows);
    if (is.buffer == at.buffer && is.offset == at.offset && is.strides == at.strides) return true;
  } else {
    ensure_place(put->positions);
    ensure_place(rows);
    store_rows(node);
    return true;
  }
  copy_to(rows, at, FusionReason::kCopyPart);
  return true;
}

}  // namespace tern::lower
