#include <algorithm>

#include "compiler/graph/infer.h"

namespace tern::graph {

using Origin = SymbolInfo::Origin;

namespace {

// The larger of two dims, when it is known before the graph runs.
std::optional<Dim> upper_of(Graph& graph, const Dim& a, const Dim& b) {
  std::vector<std::string> symbols;
  a.collect_symbols(symbols);
  b.collect_symbols(symbols);
  for (const std::string& s : symbols) {
    const SymbolInfo* found = graph.find_symbol(s);
    if (!found || found->origin != Origin::kInput) return std::nullopt;
  }
  return max(a, b);
}

Dim fresh_control(Graph& graph, std::optional<Dim> upper) {
  SymbolInfo s;
  s.origin = Origin::kControl;
  s.upper = std::move(upper);
  return Dim::symbol(graph.new_symbol("c", std::move(s)).name);
}

}  // namespace

Result<Type> join_types(Graph& graph, const Type& a, const Type& b, const Type* kept) {
  if (a.kind != b.kind || a.dtype != b.dtype || a.rank() != b.rank())
    return error("The types {} and {} have no common type.", a.text(), b.text());
  if (!a.is_tensor()) {
    TERN_ASSIGN(Type element, join_types(graph, *a.element, *b.element,
                                         kept && kept->element ? kept->element.get() : nullptr));
    Type out = a;
    out.element = std::make_shared<const Type>(std::move(element));
    return out;
  }
  Type out = a;
  for (size_t i = 0; i < a.shape.size(); ++i) {
    const bool has_kept = kept && kept->is_tensor() && i < kept->shape.size();
    if (has_kept && is_symbol_of(graph, kept->shape[i], Origin::kControl)) {
      out.shape[i] = kept->shape[i];
    } else if (a.shape[i] != b.shape[i]) {
      out.shape[i] = fresh_control(graph, upper_of(graph, a.shape[i], b.shape[i]));
    }
  }
  return out;
}

namespace {

Types infer_if(Graph& graph, const Node& node) {
  TERN_TRY(check_scalar(node, 0, DType::kBool));
  const Block &then_block = *node.regions[0], &else_block = *node.regions[1];
  if (!then_block.args.empty() || !else_block.args.empty())
    return error("The regions of 'if' take no arguments.");
  if (then_block.results.size() != else_block.results.size())
    return error("The regions of 'if' yield {} and {} results.", then_block.results.size(),
                 else_block.results.size());
  std::vector<Type> types;
  for (size_t i = 0; i < then_block.results.size(); ++i) {
    const Type* kept = i < node.results.size() ? &node.results[i]->type : nullptr;
    TERN_ASSIGN(Type t, join_types(graph, then_block.results[i]->type, else_block.results[i]->type, kept));
    types.push_back(std::move(t));
  }
  return types;
}

// Carried sizes either stay or are kControl symbols of the region's argument.
Status check_carried(Graph& graph, const Type& arg, const Type& value, std::string_view what, size_t number) {
  bool fits = arg.kind == value.kind && arg.dtype == value.dtype && arg.rank() == value.rank();
  for (size_t i = 0; fits && i < arg.shape.size(); ++i)
    fits = arg.shape[i] == value.shape[i] || is_symbol_of(graph, arg.shape[i], Origin::kControl);
  if (fits) return Ok{};
  return error("Carried value {} of 'loop' has the type {} in the region and its {} has {}.", number,
               arg.text(), what, value.text());
}

std::optional<int64_t> constant_scalar(const Value* v) {
  if (!v->def || v->def->kind != OpKind::kConstant) return std::nullopt;
  const TensorDataPtr& t = v->def->attr<TensorDataPtr>("value");
  if (t->count() != 1) return std::nullopt;
  return t->int_at(0);
}

// How often a loop runs: known when its condition stays true and its trip count is known at entry.
std::optional<Dim> iterations(const Node& node) {
  const Block& body = *node.regions[0];
  const bool stays = constant_scalar(node.operand(1)) == 1 &&
                     (constant_scalar(body.results[0]) == 1 || body.results[0] == body.args[1]);
  if (!stays) return std::nullopt;
  const Value* trip = node.operand(0);
  if (auto n = constant_scalar(trip)) return *n >= 0 ? std::optional<Dim>(*n) : std::nullopt;
  if (trip->def && trip->def->kind == OpKind::kFromDims) return trip->def->dims("dims")[0];
  return std::nullopt;
}

Types infer_loop(Graph& graph, const Node& node) {
  TERN_TRY(check_scalar(node, 0, DType::kI64));
  TERN_TRY(check_scalar(node, 1, DType::kBool));
  const Block& body = *node.regions[0];
  const size_t carried = node.operands.size() - 2;
  const int64_t scans = node.int_attr("scans");
  if (body.args.size() != carried + 2 || scans < 0 ||
      body.results.size() != carried + 1 + static_cast<size_t>(scans))
    return error("'loop' carries {} values with {} scans; its region has {} arguments and {} results.",
                 carried, scans, body.args.size(), body.results.size());
  if (body.args[0]->type != Type::tensor(DType::kI64, {}) ||
      body.args[1]->type != Type::tensor(DType::kBool, {}) || body.results[0]->type != body.args[1]->type)
    return error(
        "The region of 'loop' needs an i64 and a bool scalar argument and a bool scalar result first.");
  std::vector<Type> types;
  for (size_t i = 0; i < carried; ++i) {
    const Type& arg = body.args[i + 2]->type;
    TERN_TRY(check_carried(graph, arg, node.operands[i + 2]->type, "operand", i));
    TERN_TRY(check_carried(graph, arg, body.results[i + 1]->type, "region result", i));
    types.push_back(arg);
  }
  std::optional<Dim> count;
  for (size_t i = 0; i < static_cast<size_t>(scans); ++i) {
    const Type& t = body.results[carried + 1 + i]->type;
    if (!t.is_tensor()) return error("Scan {} of 'loop' has the type {} and must be a tensor.", i, t.text());
    const size_t at = carried + i;
    if (at < node.results.size() && node.results[at]->type.rank() > 0 &&
        is_symbol_of(graph, node.results[at]->type.shape[0], Origin::kControl)) {
      count = node.results[at]->type.shape[0];
    } else if (!count) {
      count = iterations(node);
      if (!count) {
        const auto trip = constant_scalar(node.operand(0));
        count = fresh_control(graph, trip && *trip >= 0 ? std::optional<Dim>(*trip) : std::nullopt);
      }
    }
    Shape shape = {*count};
    shape.insert(shape.end(), t.shape.begin(), t.shape.end());
    types.push_back(Type::tensor(t.dtype, std::move(shape)));
  }
  return types;
}

Status check_position(const Node& node, int operand) {
  const Type& t = node.operand(operand)->type;
  if (t.is_tensor() && t.shape.empty() && (t.dtype == DType::kI64 || t.dtype == DType::kI32)) return Ok{};
  return error("The position of '{}' has the type {} and must be an i64 or i32 scalar.", info(node.kind).name,
               t.text());
}

// The element that is read: sizes that vary within the sequence become fresh symbols.
Type read_element(Graph& graph, const Node& node, const Type& element) {
  Type out = element;
  for (size_t i = 0; i < out.shape.size(); ++i) {
    if (!is_symbol_of(graph, out.shape[i], Origin::kControl)) continue;
    const SymbolInfo* s = graph.find_symbol(out.shape[i].symbol_name());
    out.shape[i] = node.results.empty() ? fresh_control(graph, s->upper) : node.result()->type.shape[i];
  }
  return out;
}

Types infer_sequence(Graph& graph, const Node& node) {
  if (node.kind == OpKind::kSeqConstruct) {
    const Type* kept = node.results.empty() ? nullptr : node.result()->type.element.get();
    if (node.operands.empty())
      return std::vector<Type>{kept ? node.result()->type
                                    : Type::sequence(Type::tensor(node.attr<DType>("dtype"), {}))};
    Type element = node.operand()->type;
    for (size_t i = 1; i < node.operands.size(); ++i) {
      TERN_ASSIGN(element, join_types(graph, element, node.operands[i]->type, kept));
    }
    return std::vector<Type>{Type::sequence(std::move(element))};
  }
  const Type& seq = node.operand()->type;
  if (seq.kind != Type::Kind::kSequence)
    return error("'{}' is given {} and needs a sequence.", info(node.kind).name, seq.text());
  switch (node.kind) {
    case OpKind::kSeqAt:
      TERN_TRY(check_position(node, 1));
      return std::vector<Type>{read_element(graph, node, *seq.element)};
    case OpKind::kSeqInsert: {
      if (node.operands.size() > 2) TERN_TRY(check_position(node, 2));
      const Type& added = node.operand(1)->type;
      // An empty sequence's element type says only the element's dtype.
      const Node* def = node.operand()->def;
      if (def && def->kind == OpKind::kSeqConstruct && def->operands.empty() &&
          seq.element->dtype == added.dtype)
        return std::vector<Type>{Type::sequence(added)};
      const Type* kept = node.results.empty() ? nullptr : node.result()->type.element.get();
      TERN_ASSIGN(Type element, join_types(graph, *seq.element, added, kept));
      return std::vector<Type>{Type::sequence(std::move(element))};
    }
    case OpKind::kSeqErase:
      if (node.operands.size() > 1) TERN_TRY(check_position(node, 1));
      return std::vector<Type>{seq};
    default:
      return std::vector<Type>{Type::tensor(DType::kI64, {})};
  }
}

Types infer_optional(Graph& graph, const Node& node) {
  if (node.kind == OpKind::kOptConstruct) {
    if (!node.operands.empty()) return std::vector<Type>{Type::optional(node.operand()->type)};
    // Which type an empty optional would hold only its maker knows; a node that has results keeps it.
    return std::vector<Type>{node.results.empty() ? Type::optional(Type::tensor(DType::kF32, {}))
                                                  : node.result()->type};
  }
  const Type& t = node.operand()->type;
  if (t.kind != Type::Kind::kOptional)
    return error("'{}' is given {} and needs an optional.", info(node.kind).name, t.text());
  if (node.kind == OpKind::kOptHas) return std::vector<Type>{Type::tensor(DType::kBool, {})};
  return std::vector<Type>{read_element(graph, node, *t.element)};
}

}  // namespace

Types infer_control(Graph& graph, const Node& node) {
  switch (node.kind) {
    case OpKind::kIf:
      return infer_if(graph, node);
    case OpKind::kLoop:
      return infer_loop(graph, node);
    case OpKind::kSeqConstruct:
    case OpKind::kSeqAt:
    case OpKind::kSeqInsert:
    case OpKind::kSeqErase:
    case OpKind::kSeqLength:
      return infer_sequence(graph, node);
    case OpKind::kOptConstruct:
    case OpKind::kOptHas:
    case OpKind::kOptGet:
      return infer_optional(graph, node);
    case OpKind::kCheck:
      if (!node.operands.empty()) {
        TERN_TRY(check_scalar(node, 0, DType::kBool));
      } else if (!node.find("holds") || node.dims("holds").size() != 1) {
        return error("A 'check' has neither an operand nor one expression that holds.");
      }
      return std::vector<Type>{};
    default:
      TERN_UNREACHABLE();
  }
}

}  // namespace tern::graph
