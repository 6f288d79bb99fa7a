#include "compiler/onnx/emit.h"

#include <algorithm>

#include "compiler/support/dim_sum.h"

namespace tern::onnx {

using graph::Node;

namespace {

constexpr int64_t kMaxFoldElements = 4096;  // constants above are folded by the optimiser, if at all
constexpr int64_t kMaxElements = int64_t{1} << 46;
// Tensors of more sizes than this are computed: each one of a `from_dims` is a choice in the kernel that
// reads it.
constexpr size_t kMaxDims = 32;

// Quantised weights stay bytes until the optimiser has seen whether integers can use them.
bool widens_bytes(const Node& node) {
  if (node.kind != OpKind::kCast) return false;
  const Type& from = node.operand()->type;
  return (from.dtype == DType::kI8 || from.dtype == DType::kU8) && product(from.shape) != Dim(1);
}

bool foldable(const Node& node, const Type& result) {
  if (widens_bytes(node)) return false;
  if (!result.is_tensor() || !is_static(result.shape) || node.operands.empty()) return false;
  if (result.dtype == DType::kString || dtype_bits(result.dtype) < 8) return false;
  int64_t count = 1;
  for (const Dim& d : result.shape) {
    if (d.value() > kMaxFoldElements) return false;
    count *= d.value();
    if (count > kMaxFoldElements) return false;
  }
  return std::all_of(node.operands.begin(), node.operands.end(), [](const Value* v) {
    return v->def && v->def->kind == OpKind::kConstant && v->type.dtype != DType::kString &&
           v->def->attr<TensorDataPtr>("value")->count() <= kMaxFoldElements;
  });
}

}  // namespace

void check_size(const Type& type) {
  if (!type.is_tensor()) return;
  int64_t count = 1;
  for (const Dim& d : type.shape) {
    if (!d.is_const() || d.value() == 0) continue;
    if (d.value() < 0) fail("A dimension ({}) is negative.", d.value());
    if (count > kMaxElements / d.value())
      fail("A tensor of shape {} has more than {} elements.", shape_text(type.shape), kMaxElements);
    count *= d.value();
  }
}

Value* Emit::materialise(const Node& probe, const Type& type, std::optional<Contents>& contents) {
  bool integer = type.dtype == DType::kI64 || type.dtype == DType::kI32;
  bool all_dims = contents.has_value(), constant = contents.has_value();
  if (contents) {
    for (const Element& e : *contents) {
      all_dims &= e.is_dim();
      constant &= e.is_dim() && e.number.is_const();
    }
  }
  if (all_dims && integer && (constant || contents->size() <= kMaxDims)) {
    Shape elements;
    for (const Element& e : *contents) elements.push_back(e.number);
    return from_dims(std::move(elements), type.shape, type.dtype);
  }
  if (constant && type.dtype == DType::kBool) {
    auto data = TensorData::make(type.dtype, static_dims(type.shape));
    for (size_t i = 0; i < contents->size(); ++i)
      data->set_int(static_cast<int64_t>(i), (*contents)[i].number.value());
    return builder_.constant(std::move(data));
  }
  if (foldable(probe, type)) {
    std::vector<graph::EvalValue> operands;
    for (Value* v : probe.operands) operands.push_back({v->def->attr<TensorDataPtr>("value"), nullptr});
    auto folded = graph::evaluate_node(probe, operands, [](const std::string&) { return std::nullopt; });
    if (folded.ok() && folded.value().size() == 1 && folded.value()[0].tensor)
      return builder_.constant(folded.value()[0].tensor);
  }
  return nullptr;
}

Value* Emit::emit(OpKind kind, std::vector<Value*> operands,
                  std::vector<std::pair<std::string, Attr>> attrs) {
  Node probe;
  probe.kind = kind;
  probe.operands = std::move(operands);
  probe.attrs = std::move(attrs);
  for (const auto& [name, attr] : probe.attrs)
    if (auto dims = std::get_if<std::vector<Dim>>(&attr); dims && (name == "shape" || name == "sizes"))
      check_size(Type::tensor(DType::kI64, *dims));
  auto types = unwrap(graph::infer(graph(), probe));
  TERN_CHECK(types.size() == 1, "{} has {} results", info(kind).name, types.size());
  check_size(types[0]);
  std::optional<Contents> contents = knowledge_->propagate(probe, types[0]);
  if (info(kind).pure) {
    if (Value* known = materialise(probe, types[0], contents)) return known;
  }
  Value* result = builder_.node(kind, std::move(probe.operands), std::move(probe.attrs))->result();
  if (contents && result->type.is_tensor()) {
    bool integer = is_int(result->type.dtype) || result->type.dtype == DType::kBool;
    bool complete = true;
    for (size_t i = 0; i < contents->size(); ++i) {
      Element& e = (*contents)[i];
      if (e.known() || e.source) continue;
      if (!integer) complete = false;
      e.source = result;
      e.index = static_cast<int64_t>(i);
    }
    if (complete) knowledge_->set(result, std::move(*contents));
  }
  return result;
}

graph::Node* Emit::emit_node(OpKind kind, std::vector<Value*> operands,
                             std::vector<std::pair<std::string, Attr>> attrs,
                             std::vector<std::unique_ptr<Block>> regions) {
  Node probe;
  probe.kind = kind;
  probe.operands = operands;
  probe.attrs = attrs;
  probe.regions = std::move(regions);
  for (auto& region : probe.regions) region->parent = &probe;
  size_t symbols = graph().symbols.size();
  auto types = unwrap(graph::infer(graph(), probe));
  graph().symbols.resize(symbols);  // those that the probe made
  for (const Type& type : types) check_size(type);
  return builder_.node(kind, std::move(operands), std::move(attrs), std::move(probe.regions));
}

Value* Emit::floats(DType dtype, const std::vector<double>& values, std::vector<int64_t> shape) {
  if (shape.empty()) shape = {static_cast<int64_t>(values.size())};
  auto data = TensorData::make(dtype, std::move(shape));
  for (size_t i = 0; i < values.size(); ++i) data->set_float(static_cast<int64_t>(i), values[i]);
  return builder_.constant(std::move(data));
}

Value* Emit::from_dims(Shape dims, Shape shape, DType dtype) {
  if (is_static(dims)) {
    auto data = TensorData::make(dtype, static_dims(shape));
    for (size_t i = 0; i < dims.size(); ++i) data->set_int(static_cast<int64_t>(i), dims[i].value());
    return builder_.constant(std::move(data));
  }
  Contents contents;
  for (const Dim& d : dims) contents.push_back(Element::of(d));
  Value* value = builder_.from_dims(std::move(dims), std::move(shape), dtype);
  knowledge_->set(value, std::move(contents));
  return value;
}

Value* Emit::iota(Shape shape, int axis, DType dtype) {
  return emit(OpKind::kIota, {}, {{"shape", shape}, {"axis", int64_t{axis}}, {"dtype", dtype}});
}

Value* Emit::map(ScalarOp op, std::vector<Value*> operands) {
  for (Value* v : operands)
    if (!v->type.is_tensor()) fail("'{}' is not a tensor ({}).", v->name, v->type.text());
  Shape shape = common_shape(operands);
  for (Value*& v : operands) v = expand_to(v, shape);
  return emit(OpKind::kMap, std::move(operands), {{"op", op}});
}

Value* Emit::cast(Value* v, DType to, bool saturate) {
  if (v->type.dtype == to) return v;
  if (saturate) return emit(OpKind::kCast, {v}, {{"to", to}});
  return emit(OpKind::kCast, {v}, {{"to", to}, {"saturate", false}});
}

Value* Emit::bitcast(Value* v, DType to) {
  if (v->type.dtype == to) return v;
  return emit(OpKind::kBitcast, {v}, {{"to", to}});
}

Value* Emit::reshape(Value* v, Shape shape) {
  if (v->type.shape == shape) return v;
  if (!is_static(v->type.shape) || !is_static(shape)) {
    check_size(Type::tensor(v->type.dtype, shape));
    require(ScalarOp::kEq, product(v->type.shape), product(shape),
            fmt::format("A {} cannot have the shape {}: the numbers of elements differ.", v->type.text(),
                        shape_text(shape)));
  }
  return emit(OpKind::kReshape, {v}, {{"shape", std::move(shape)}});
}

Value* Emit::broadcast(Value* v, Shape shape) {
  if (v->type.shape == shape) return v;
  return emit(OpKind::kBroadcast, {v}, {{"shape", std::move(shape)}});
}

Value* Emit::transpose(Value* v, std::vector<int64_t> perm) {
  if (std::is_sorted(perm.begin(), perm.end())) return v;
  return emit(OpKind::kTranspose, {v}, {{"perm", std::move(perm)}});
}

Value* Emit::slice(Value* v, Shape starts, Shape sizes, std::vector<int64_t> steps) {
  bool whole = sizes == v->type.shape;
  for (size_t i = 0; i < starts.size(); ++i) whole &= starts[i].is_const(0) && steps[i] == 1;
  if (whole) return v;
  return emit(OpKind::kSlice, {v},
              {{"starts", std::move(starts)}, {"sizes", std::move(sizes)}, {"steps", std::move(steps)}});
}

Value* Emit::slice_axis(Value* v, int64_t axis, Dim start, Dim size, int64_t step) {
  dimension(v, axis);  // or a refusal
  Shape starts(v->type.shape.size(), Dim(0)), sizes = v->type.shape;
  std::vector<int64_t> steps(v->type.shape.size(), 1);
  auto a = static_cast<size_t>(axis);
  starts[a] = start;
  sizes[a] = size;
  steps[a] = step;
  return slice(v, std::move(starts), std::move(sizes), std::move(steps));
}

Value* Emit::pad(Value* v, Shape low, Shape high, Value* fill, std::string mode) {
  bool nothing = true;
  for (size_t i = 0; i < low.size(); ++i) nothing &= low[i].is_const(0) && high[i].is_const(0);
  if (nothing) return v;
  return emit(OpKind::kPad, {v, fill},
              {{"low", std::move(low)}, {"high", std::move(high)}, {"mode", std::move(mode)}});
}

Value* Emit::concat(std::vector<Value*> values, int64_t axis) {
  if (values.empty()) fail("The node has no inputs.");
  if (values.size() == 1) return values[0];
  Shape common = values[0]->type.shape;
  auto at = static_cast<size_t>(axis);
  for (Dim& d : common) d = canonical(d);
  for (Value*& v : values) {
    if (v->type.shape.size() != common.size()) continue;  // infer refuses
    for (size_t i = 0; i < common.size(); ++i)
      if (i != at && dimension(v, i).is_const()) common[i] = dimension(v, i);
  }
  for (Value*& v : values) {
    if (v->type.shape.size() != common.size()) continue;
    Shape shape = common;
    shape[at] = dimension(v, at);
    v = adapt(v, shape);
  }
  return emit(OpKind::kConcat, std::move(values), {{"axis", axis}});
}

Value* Emit::gather(Value* v, Value* indices, int64_t axis) {
  return emit(OpKind::kGather, {v, indices}, {{"axis", axis}});
}

Value* Emit::reduce(ScalarOp op, Value* v, std::vector<int64_t> axes, bool keep_dims) {
  if (axes.empty()) return v;
  std::sort(axes.begin(), axes.end());
  Shape kept = v->type.shape;
  for (int64_t a : axes) {
    dimension(v, a);  // or a refusal
    kept[static_cast<size_t>(a)] = Dim(1);
  }
  Value* reduced = emit(OpKind::kReduce, {v}, {{"op", op}, {"axes", std::move(axes)}});
  return keep_dims ? reshape(reduced, std::move(kept)) : reduced;
}

Value* Emit::dot(Value* a, Value* b, DType accumulate) {
  size_t rank = a->type.shape.size();
  if (rank < 2 || b->type.shape.size() != rank)
    fail("A matrix product needs operands of equal rank of at least 2, given {} and {}.", a->type.text(),
         b->type.text());
  // The known one of two depths is kept: weights stay constants.
  if (dimension(b, rank - 2).is_const()) a = adapt(a, static_cast<int64_t>(rank) - 1, dimension(b, rank - 2));
  b = adapt(b, static_cast<int64_t>(rank) - 2, dimension(a, rank - 1));
  for (size_t i = 0; i + 2 < rank; ++i) {
    Dim x = dimension(a, i), y = dimension(b, i);
    if (x == y || x.is_const(1) || y.is_const(1)) continue;
    if (y.is_const()) {
      a = adapt(a, static_cast<int64_t>(i), y);
    } else {
      b = adapt(b, static_cast<int64_t>(i), x);
    }
  }
  if (accumulate == DType::kNone) return emit(OpKind::kDot, {a, b});
  return emit(OpKind::kDot, {a, b}, {{"accumulate", accumulate}});
}

Value* Emit::unsqueeze(Value* v, const std::vector<int64_t>& axes) {
  Shape shape = v->type.shape;
  for (int64_t a : axes) {
    if (a < 0 || a > static_cast<int64_t>(shape.size()))
      fail("The operand ({}) has too few dimensions for a new one at {}.", v->type.text(), a);
    shape.insert(shape.begin() + a, Dim(1));
  }
  return reshape(v, std::move(shape));
}

Value* Emit::squeeze(Value* v, const std::vector<int64_t>& axes) {
  Shape shape;
  for (int64_t i = 0; i < v->type.rank(); ++i) {
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) shape.push_back(dimension(v, i));
  }
  return reshape(v, std::move(shape));
}

Value* Emit::wide(Value* v) {
  const DType type = v->type.dtype;
  return is_float(type) && dtype_bits(type) < 32 ? cast(v, DType::kF32) : v;
}

Value* Emit::mean(Value* v, const std::vector<int64_t>& axes, bool keep_dims) {
  Dim count(1);
  for (int64_t a : axes) count = count * dimension(v, a);
  Value* sum = reduce(ScalarOp::kAdd, wide(v), axes, keep_dims);
  return cast(div(sum, cast(dim(count), sum->type.dtype)), v->type.dtype);
}

Value* Emit::softmax(Value* v, const std::vector<int64_t>& axes) {
  Value* x = wide(v);
  Value* powers = unary(ScalarOp::kExp, sub(x, reduce(ScalarOp::kMax, x, axes, true)));
  return cast(div(powers, reduce(ScalarOp::kAdd, powers, axes, true)), v->type.dtype);
}

void Emit::check(Value* condition, std::string message) {
  if (auto known = known_ints(condition)) {
    if (known->size() == 1 && (*known)[0] == 0) fail("{}", message);
    return;
  }
  emit_node(OpKind::kCheck, {condition}, {{"message", std::move(message)}}, {});
}

void Emit::require(ScalarOp op, const Dim& a, const Dim& b, std::string message) {
  const Dim x = canonical(a), y = canonical(b);
  const auto holds = decide(graph(), op, x, y);
  if (holds && !*holds) fail("{}", message);
  if (!holds) check(compare(op, dim(x), dim(y)), std::move(message));
}

namespace {

bool is_at_most_one(const graph::Graph& graph, const Dim& d) {
  return !d.is_const() && decide(graph, ScalarOp::kLe, d, Dim(1)).value_or(false);
}

}  // namespace

Shape Emit::common_shape(const std::vector<Value*>& values) {
  size_t rank = 0;
  for (Value* v : values) rank = std::max(rank, v->type.shape.size());
  Shape shape(rank, Dim(1));
  for (Value* v : values) {
    const Shape& from = v->type.shape;
    for (size_t i = 0; i < from.size(); ++i) {
      Dim& to = shape[rank - from.size() + i];
      if (from[i] == to || from[i].is_const(1)) continue;
      // The last one of an axis: one, or none at all.
      if (!to.is_const(1) && is_at_most_one(graph(), from[i])) continue;
      if (!to.is_const(1) && is_at_most_one(graph(), to)) to = Dim(1);
      if (to.is_const(1) || from[i].is_const()) {
        if (to.is_const() && !to.is_const(1)) {
          std::string shapes;
          for (Value* each : values) shapes += (shapes.empty() ? "" : " and ") + each->type.text();
          fail("The shapes {} do not broadcast.", shapes);
        }
        to = from[i];
      } else if (!to.is_const() && canonical(from[i]).text().size() < canonical(to).text().size()) {
        to = from[i];
      }
    }
  }
  for (Dim& d : shape) d = canonical(d);
  return shape;
}

Dim Emit::canonical(const Dim& dim) const {
  if (facts_.empty() || dim.is_const()) return dim;
  switch (dim.op()) {
    case Dim::Op::kAdd: {
      Shape terms;
      for (const Dim& a : dim.args()) terms.push_back(canonical(a));
      return sum(terms);
    }
    case Dim::Op::kMul: {
      Dim result(1);
      for (const Dim& a : dim.args()) result = result * canonical(a);
      return result;
    }
    default: {
      auto found = facts_.find(dim.text());
      return found == facts_.end() ? dim : found->second;
    }
  }
}

std::optional<int64_t> Emit::only_size(const std::string& symbol) const {
  auto found = facts_.find(Dim::symbol(symbol).text());
  if (found == facts_.end() || !found->second.is_const()) return std::nullopt;
  return found->second.value();
}

// a == b from here on. One atom that occurs with the factor 1 or -1 is stated by the rest: the longest one,
// so that expressions become shorter.
void Emit::learn(const Dim& a, const Dim& b) {
  Dim difference = a - b;
  Shape terms = difference.op() == Dim::Op::kAdd ? difference.args() : Shape{difference};
  Dim best, rest;
  for (const Dim& term : terms) {
    int64_t factor = 1;
    Dim atom = term;
    if (term.op() == Dim::Op::kMul) {
      if (term.args().size() != 2 || !term.args()[1].is_const()) continue;
      factor = term.args()[1].value();
      atom = term.args()[0];
    }
    if (atom.is_const() || (factor != 1 && factor != -1)) continue;
    if (!best.is_const() && atom.text().size() <= best.text().size()) continue;
    best = atom;
    rest = factor == 1 ? atom - difference : difference + atom;
  }
  if (best.is_const()) return;
  for (auto& [text, value] : facts_)
    if (value == best) value = rest;
  facts_[best.text()] = rest;
  // min(512, N) == N bounds N.
  if (best.op() != Dim::Op::kMin || rest.op() != Dim::Op::kSymbol) return;
  for (const Dim& arg : best.args()) {
    graph::SymbolInfo* info = graph().find_symbol(rest.symbol_name());
    if (arg.is_const() && info && info->origin == graph::SymbolInfo::Origin::kInput)
      info->max = std::max(info->min, std::min(info->max, arg.value()));
  }
}

Value* Emit::adapt(Value* v, int64_t axis, Dim want) {
  Dim have = dimension(v, axis);
  if (have == want) return v;
  Dim known = canonical(have), wanted = canonical(want);
  if (known != wanted) {
    auto equal = decide(graph(), ScalarOp::kEq, known, wanted);
    if (equal && !*equal) fail("Dimension {} of a {} should be {}.", axis, v->type.text(), want.text());
    if (!equal) {
      check(compare(ScalarOp::kEq, dim(known), dim(wanted)),
            fmt::format(
                "The dimensions {} and {} are equal in this model's operators (node '{}'), but not for these "
                "input shapes; a size of 1 broadcasts only where it is known when the model is compiled "
                "(--shape).",
                known.text(), wanted.text(), source_ ? source_->node : ""));
      learn(known, wanted);
    }
  }
  return slice_axis(v, axis, Dim(0), want);
}

Value* Emit::adapt(Value* v, const Shape& shape) {
  TERN_CHECK(shape.size() == v->type.shape.size(), "ranks differ");
  for (size_t i = 0; i < shape.size(); ++i) v = adapt(v, static_cast<int64_t>(i), shape[i]);
  return v;
}

Value* Emit::expand_to(Value* v, const Shape& shape) {
  size_t rank = v->type.shape.size();
  if (rank > shape.size()) fail("A {} does not broadcast to {}.", v->type.text(), shape_text(shape));
  for (size_t i = 0; i < rank; ++i) {
    if (dimension(v, i).is_const(1)) continue;
    const Dim& want = shape[shape.size() - rank + i];
    const bool spreads = dimension(v, i) != want && is_at_most_one(graph(), dimension(v, i)) &&
                         !want.is_const(0) && !is_at_most_one(graph(), want);
    v = adapt(v, static_cast<int64_t>(i), spreads ? Dim(1) : want);
  }
  return broadcast(v, shape);
}

TensorDataPtr Emit::constant_data(Value* v) {
  if (!v->def || v->def->kind != OpKind::kConstant) return nullptr;
  return v->def->attr<TensorDataPtr>("value");
}

std::optional<Shape> Emit::known_dims(Value* v) {
  const Contents* contents = knowledge_->find(v);
  if (!contents) return std::nullopt;
  Shape out;
  for (const Element& e : *contents) {
    if (!e.is_dim()) return std::nullopt;
    out.push_back(e.number);
  }
  return out;
}

std::optional<std::vector<int64_t>> Emit::known_ints(Value* v) {
  auto known = known_dims(v);
  if (!known || !is_static(*known)) return std::nullopt;
  return static_dims(*known);
}

Shape Emit::dims(Value* v, bool sizes) {
  const Contents* contents = knowledge_->find(v);
  if (!contents || is_float(v->type.dtype))
    fail("A shape is given by a tensor ({}) that is no small integer tensor of static shape.",
         v->type.text());
  Contents copy = *contents;
  Shape out;
  for (const Element& e : copy) out.push_back(sizes ? knowledge_->dim_of(e, true) : knowledge_->place_of(e));
  return out;
}

Dim Emit::min_dim(const Dim& a, const Dim& b) {
  if (auto first = smaller(graph(), a, b)) return *first ? a : b;
  if (smaller(graph(), knowledge_->at_most(a), b).value_or(false)) return a;
  if (smaller(graph(), knowledge_->at_most(b), a).value_or(false)) return b;
  return tern::min(a, b);
}

Dim Emit::max_dim(const Dim& a, const Dim& b) {
  if (auto first = smaller(graph(), a, b)) return *first ? b : a;
  return tern::max(a, b);
}

}  // namespace tern::onnx
