// Operators on shapes: what changes dimensions only, and tensors made from dimensions.
#include <algorithm>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

void import_shape(Op& op) {
  const Shape& shape = op.tensor(0)->type.shape;
  auto rank = static_cast<int64_t>(shape.size());
  auto clamp = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  int64_t start = clamp(op.i("start", 0)), end = clamp(op.i("end", rank));
  Shape part;
  for (int64_t i = start; i < end; ++i) part.push_back(shape[static_cast<size_t>(i)]);
  Dim count(static_cast<int64_t>(part.size()));
  op.output(0, op.b.from_dims(std::move(part), {count}));
}

void import_size(Op& op) {
  op.output(0, op.b.dim(product(op.tensor(0)->type.shape)));
}

// Zeros and minus ones resolved at run time, for a shape whose elements are not all known. A minus one that
// is known stays: the others may be none.
Value* resolve_at_run_time(Emit& b, Value* shape, const Shape& from, bool allow_zero) {
  int64_t rank = dimension(shape, 0).value();
  const Contents* contents = b.knowledge().find(shape);
  const bool inferred_known =
      contents && std::any_of(contents->begin(), contents->end(),
                              [](const Element& e) { return e.is_dim() && e.number.is_const(-1); });
  Value* sizes = as_i64(b, shape);
  if (!allow_zero) {
    Shape copied(from.begin(), from.begin() + std::min<int64_t>(rank, static_cast<int64_t>(from.size())));
    copied.resize(static_cast<size_t>(rank), Dim(0));
    sizes = b.select(b.compare(ScalarOp::kEq, sizes, 0.0), b.from_dims(copied, {Dim(rank)}), sizes);
  }
  if (inferred_known) return sizes;
  Value* inferred = b.compare(ScalarOp::kEq, sizes, -1.0);
  Value* others = b.reduce(ScalarOp::kMul, b.select(inferred, b.i64(1), sizes), {0});
  return b.select(inferred, b.div(b.dim(product(from)), b.max(others, b.i64(1))), sizes);
}

// The reshapes by one shape of operands of one shape have the same sizes, as expressions too.
Value* resolved_once(Emit& b, Value* shape, const Shape& from, bool allow_zero) {
  Value*& resolved = b.resolved(shape, fmt::format("{} {}", shape_text(from), allow_zero));
  if (resolved) return resolved;
  const Contents* given = b.knowledge().find(shape);
  const Contents before = given ? *given : Contents{};
  resolved = resolve_at_run_time(b, shape, from, allow_zero);
  // Sizes that are known stay expressions.
  if (const Contents* computed = b.knowledge().find(resolved);
      computed && before.size() == computed->size()) {
    Contents merged = *computed;
    for (size_t i = 0; i < merged.size(); ++i)
      if (before[i].is_dim() && !before[i].number.is_const(0) && !before[i].number.is_const(-1))
        merged[i] = before[i];
    b.knowledge().set(resolved, std::move(merged));
  }
  return resolved;
}

// The size that has minus one.
Dim inferred_size(Emit& b, const Value& x, const Shape& others) {
  Dim size = divide_products(x.type.shape, others);
  const Dim count = product(others);
  if (!decide(b.graph(), ScalarOp::kNe, count, Dim(0)).value_or(false) && size.op() == Dim::Op::kFloorDiv)
    b.require(ScalarOp::kNe, size.args()[1], Dim(0),
              fmt::format("The size that the shape leaves out (-1) is the number of elements of a {} divided "
                          "by the other sizes ({}), one of which is 0.",
                          x.type.text(), shape_text(others)));
  return size;
}

Shape reshape_target(Op& op, Value* x, Value* shape, bool allow_zero) {
  if (shape->type.rank() != 1 || !dimension(shape, 0).is_const())
    fail("The shape ({}) must be a list whose length is known.", shape->type.text());
  auto known = op.b.known_dims(shape);
  Shape target = known ? *known : op.sizes(resolved_once(op.b, shape, x->type.shape, allow_zero), 0);
  int inferred = -1;
  Shape others;
  for (size_t i = 0; i < target.size(); ++i) {
    Dim& d = target[i];
    if (d.is_const(0) && !allow_zero) {
      if (i >= x->type.shape.size())
        fail("The shape's element {} (0) copies a dimension that {} does not have.", i, x->type.text());
      d = dimension(x, i);
    }
    if (d.is_const(-1)) {
      if (inferred >= 0) fail("The shape has two elements that are -1.");
      inferred = static_cast<int>(i);
      continue;
    }
    if (d.is_const() && d.value() < 0) fail("The shape's element {} ({}) is negative.", i, d.value());
    others.push_back(d);
  }
  if (inferred >= 0) target[static_cast<size_t>(inferred)] = inferred_size(op.b, *x, others);
  return target;
}

void import_reshape(Op& op) {
  op.ignore({"consumed_inputs"});
  Value* x = op.tensor(0);
  bool allow_zero = op.i("allowzero", 0) != 0;
  if (op.version < 5) {
    std::vector<int64_t> shape = op.ints("shape");
    return op.output(0, op.b.reshape(x, reshape_target(op, x, op.b.i64s(shape), false)));
  }
  op.output(0, op.b.reshape(x, reshape_target(op, x, op.tensor(1), allow_zero)));
}

void import_flatten(Op& op) {
  Value* x = op.tensor(0);
  int64_t rank = x->type.rank(), axis = op.i("axis", 1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis > rank) fail("Axis {} lies outside [{}, {}].", op.i("axis", 1), -rank, rank);
  op.output(0, flatten(op.b, x, axis));
}

// Axes from the attribute or, since opset 13, from input 1. Nullopt: the input is not known while compiling.
std::optional<std::vector<int64_t>> squeeze_axes(Op& op) {
  if (op.version < 13) return op.ints("axes");
  return op.b.known_ints(op.tensor(1));
}

Shape declared_shape(Op& op) {
  auto dims = op.declared_dims(0);
  if (!dims) op.constant_ints(1, "axes");
  return Shape(dims->begin(), dims->end());
}

// Axes that are known at run time only: `sizes` ([rank]) are 1 there, and each is another axis.
void check_axes(Op& op, Value* sizes) {
  Emit& b = op.b;
  const Dim rank = dimension(sizes, 0);
  Value* axes = b.cast(op.tensor(1), DType::kI64);
  if (axes->type.rank() > 1) fail("The axes ({}) are no list.", axes->type.text());
  axes = b.reshape(axes, {axes->type.rank() == 0 ? Dim(1) : dimension(axes, 0), Dim(1)});
  axes = b.select(b.compare(ScalarOp::kLt, axes, 0.0), b.add(axes, b.dim(rank)), axes);
  Value* here = b.reduce(ScalarOp::kOr, b.compare(ScalarOp::kEq, axes, b.iota({rank}, 0, DType::kI64)), {0});
  Value* ones = b.map(ScalarOp::kAnd, {here, b.compare(ScalarOp::kEq, sizes, 1.0)});
  Value* count = b.reduce(ScalarOp::kAdd, b.cast(ones, DType::kI64), {0});
  b.check(b.compare(ScalarOp::kEq, count, b.dim(dimension(axes, 0))),
          fmt::format("The output '{}' does not have the dimensions that the model states for it.",
                      op.node.output(0)));
}

// What Squeeze without axes takes away. The result's rank cannot change with sizes: what may turn out to be 1
// goes if the model states a result of so few dimensions, stays if it states them, and is else checked to be
// another size.
std::vector<int64_t> axes_of_size_one(Op& op, Value* x) {
  std::vector<int64_t> ones, open;
  for (int64_t a = 0; a < x->type.rank(); ++a) {
    const Dim& size = dimension(x, a);
    if (size.is_const(1)) ones.push_back(a);
    if (!size.is_const()) open.push_back(a);
  }
  const pb::TypeProto* stated = op.declared(0);
  if (stated && stated->has_tensor_type() && stated->tensor_type().has_shape()) {
    const auto rank = static_cast<size_t>(x->type.rank()),
               kept = static_cast<size_t>(stated->tensor_type().shape().dim_size());
    if (kept + ones.size() == rank) return ones;
    if (kept + ones.size() + open.size() == rank) {
      ones.insert(ones.end(), open.begin(), open.end());
      std::sort(ones.begin(), ones.end());
      return ones;
    }
  }
  for (int64_t a : open) {
    const Dim& size = dimension(x, a);
    op.b.require(
        ScalarOp::kNe, size, Dim(1),
        fmt::format("Dimension {} ({}) of a {} is 1 for these input shapes, and Squeeze without axes "
                    "takes such a dimension away only where that is known when the model is compiled "
                    "(--shape, --dim).",
                    a, size.text(), x->type.text()));
  }
  return ones;
}

// No axes at all are those of size 1, as if the list were not given: so ONNX Runtime and the frameworks whose
// exporters hand their own empty list on (TensorFlow, Paddle) read it.
void import_squeeze(Op& op) {
  Value* x = op.tensor(0);
  bool given = op.version < 13 ? op.has_attr("axes") : op.has(1);
  std::optional<std::vector<int64_t>> known;
  if (given && !(known = squeeze_axes(op))) {
    const Shape stated = declared_shape(op);
    check_axes(op, op.b.shape_of(x));
    return op.output(0, op.b.reshape(x, stated));
  }
  const bool listed = known && !known->empty();
  std::vector<int64_t> axes = listed ? op.axes(*known, x->type.rank()) : axes_of_size_one(op, x);
  for (int64_t a : axes) x = op.b.adapt(x, a, Dim(1));
  op.output(0, op.b.squeeze(x, axes));
}

void import_unsqueeze(Op& op) {
  Value* x = op.tensor(0);
  auto known = squeeze_axes(op);
  if (!known) {
    const Shape stated = declared_shape(op);
    check_axes(op, op.b.from_dims(stated, {Dim(static_cast<int64_t>(stated.size()))}));
    return op.output(0, op.b.reshape(x, stated));
  }
  int64_t rank = x->type.rank() + static_cast<int64_t>(known->size());
  op.output(0, op.b.unsqueeze(x, op.axes(*known, rank)));
}

// The shape of Expand's input 1, or, when it is not known, the stated result's, which its elements may only
// restate or be 1.
Shape expand_target(Op& op, Value* shape) {
  Emit& b = op.b;
  if (auto known = b.known_dims(shape)) return *known;
  auto stated = op.declared_dims(0);
  if (!stated || shape->type.rank() != 1 || !dimension(shape, 0).is_const()) return b.dims(shape);
  auto count = dimension(shape, 0).value(), rank = static_cast<int64_t>(stated->size());
  if (count > rank) return b.dims(shape);
  Value* wide = b.cast(shape, DType::kI64);
  Value* same = b.compare(ScalarOp::kEq, wide, b.i64s({stated->end() - count, stated->end()}));
  Value* fits = b.map(ScalarOp::kOr, {same, b.compare(ScalarOp::kEq, wide, 1.0)});
  b.check(b.reduce(ScalarOp::kAnd, fits, {0}),
          fmt::format("The output '{}' does not have the dimensions that the model states for it.",
                      op.node.output(0)));
  return {stated->begin(), stated->end()};
}

// x with axis `axis` expanded to a size that is 1, the axis's, or, if the axis has one element, any other:
// which of these is known at run time alone. What is never more than 1 is held to be 1 or the axis's size: an
// axis of one element does not vanish.
Value* expand_axis(Emit& b, Value* x, int64_t axis, const Dim& wanted) {
  const Dim have = dimension(x, axis);
  const auto is_one = [&](const Dim& d) { return decide(b.graph(), ScalarOp::kEq, d, Dim(1)); };
  const auto equal = [&](const Dim& p, const Dim& q) { return b.compare(ScalarOp::kEq, b.dim(p), b.dim(q)); };
  Value* fits = equal(wanted, have);
  if (is_one(wanted).value_or(true)) fits = b.map(ScalarOp::kOr, {fits, equal(wanted, Dim(1))});
  if (!is_one(have).value_or(true) || decide(b.graph(), ScalarOp::kLe, wanted, Dim(1)).value_or(false)) {
    b.check(fits, fmt::format("An axis ({}) is expanded to {}, which is neither 1 nor the axis's size.",
                              have.text(), wanted.text()));
    return wanted.is_const() && !wanted.is_const(1) ? b.adapt(x, axis, wanted) : x;
  }
  fits = b.map(ScalarOp::kOr, {fits, equal(have, Dim(1))});
  b.check(fits,
          fmt::format("An axis ({}) is expanded to {}, but neither of these sizes is 1 and they differ.",
                      have.text(), wanted.text()));
  // One of both is 1, or they are equal.
  const Dim size = is_one(wanted).value_or(true)
                       ? b.min_dim(have, Dim(1)) * b.min_dim(wanted, Dim(1)) * b.max_dim(have, wanted)
                       : wanted;
  Value* last = b.dim(have - Dim(1));
  return b.gather(x, b.min(b.iota({size}, 0, DType::kI64), last), axis);
}

void import_expand(Op& op) {
  Value* x = op.tensor(0);
  Shape target = expand_target(op, op.tensor(1));
  Shape shape(std::max(target.size(), x->type.shape.size()), Dim(1));
  for (size_t i = 0; i < target.size(); ++i) shape[shape.size() - target.size() + i] = target[i];
  for (size_t i = 0; i < x->type.shape.size(); ++i) {
    const Dim& from = dimension(x, i);
    Dim& to = shape[shape.size() - x->type.shape.size() + i];
    if (from.is_const(1) || (from.is_const() && to.is_const() && !to.is_const(1))) continue;
    if (decide(op.b.graph(), ScalarOp::kEq, to, Dim(1)).value_or(false)) {
      to = from;
    } else if (to != from) {
      x = expand_axis(op.b, x, static_cast<int64_t>(i), to);
      to = dimension(x, i);
    }
  }
  op.output(0, op.b.expand_to(x, shape));
}

void import_constant_of_shape(Op& op) {
  TensorDataPtr value = op.tensor_attr("value");
  if (value && value->count() != 1) fail("Attribute 'value' has {} elements instead of one.", value->count());
  Value* scalar = value ? op.b.constant(value->reshaped({})) : op.b.scalar(DType::kF32, 0);
  Value* shape = op.tensor(0);
  if (shape->type.rank() != 1) fail("The shape ({}) is no list.", shape->type.text());
  op.output(0, op.b.full(op.sizes(shape, 0), scalar));
}

void import_constant(Op& op) {
  TensorDataPtr data;
  if (op.has_attr("value")) {
    data = op.tensor_attr("value");
  } else if (op.has_attr("value_float")) {
    return op.output(0, op.b.scalar(DType::kF32, op.f("value_float", 0)));
  } else if (op.has_attr("value_floats")) {
    std::vector<double> values = op.floats("value_floats");
    return op.output(0, op.b.floats(DType::kF32, values, {static_cast<int64_t>(values.size())}));
  } else if (op.has_attr("value_int")) {
    return op.output(0, op.b.i64(op.i("value_int", 0)));
  } else if (op.has_attr("value_ints")) {
    return op.output(0, op.b.i64s(op.ints("value_ints")));
  } else if (op.has_attr("value_string")) {
    data = TensorData::strings({}, {op.s("value_string", "")});
  } else if (op.has_attr("value_strings")) {
    std::vector<std::string> values = op.strings("value_strings");
    auto count = static_cast<int64_t>(values.size());
    data = TensorData::strings({count}, std::move(values));
  } else if (const pb::AttributeProto* sparse = op.attribute("sparse_value")) {
    data = unwrap(op.importer.file().sparse_tensor(sparse->sparse_tensor()));
  } else {
    fail("The constant has no value.");
  }
  op.output(0, op.b.constant(std::move(data)));
}

void import_transpose(Op& op) {
  Value* x = op.tensor(0);
  int64_t rank = x->type.rank();
  std::vector<int64_t> perm = op.ints("perm");
  if (!op.has_attr("perm"))
    for (int64_t i = rank; i-- > 0;) perm.push_back(i);
  for (int64_t& p : perm) p = op.axis(p, rank);
  std::vector<int64_t> sorted = op.axes(perm, rank);
  if (static_cast<int64_t>(sorted.size()) != rank)
    fail("Attribute 'perm' has {} elements for rank {}.", perm.size(), rank);
  op.output(0, op.b.transpose(x, perm));
}

// The number of steps from start to limit, as a tensor.
Value* range_count(Emit& b, Value* start, Value* limit, Value* delta) {
  if (is_float(start->type.dtype)) {
    Value* steps = b.unary(ScalarOp::kCeil, b.div(b.sub(limit, start), delta));
    return b.cast(b.max(steps, b.like(steps, 0)), DType::kI64);
  }
  Value* step = b.cast(delta, DType::kI64);
  Value* distance = b.sub(b.cast(limit, DType::kI64), b.cast(start, DType::kI64));
  Value* rounded = b.add(distance, b.sub(step, b.unary(ScalarOp::kSign, step)));
  return b.max(b.div(rounded, step), b.i64(0));
}

void import_range(Op& op) {
  Emit& b = op.b;
  Value *start = op.tensor(0), *limit = op.tensor(1);
  Value* delta =
      op.has(2) ? op.tensor(2) : b.integer(start->type.dtype, 1);  // com.microsoft may leave it out
  for (Value** v : {&start, &limit, &delta}) {
    if (!product((*v)->type.shape).is_const(1))
      fail("A range's bound is a {} instead of one number.", (*v)->type.text());
    *v = b.reshape(*v, {});
  }
  auto from = b.known_dims(start), to = b.known_dims(limit);
  auto step = b.known_ints(delta);
  b.check(b.compare(ScalarOp::kNe, delta, 0.0), "The step of the range is 0.");
  Dim count;
  if (from && to && step && (*step)[0] != 0) {
    int64_t s = (*step)[0];
    Dim distance = s > 0 ? (*to)[0] - (*from)[0] : (*from)[0] - (*to)[0];
    count = op.b.max_dim(ceildiv(distance, Dim(s > 0 ? s : -s)), Dim(0));
  } else {
    count = op.sizes(b.reshape(range_count(b, start, limit, delta), {Dim(1)}), 0)[0];
  }
  Value* steps = b.iota({count}, 0, DType::kI64);
  op.output(0, b.add(start, b.mul(b.cast(steps, delta->type.dtype), delta)));
}

void import_eye_like(Op& op) {
  Value* x = op.tensor(0);
  if (x->type.rank() != 2) fail("The operand ({}) is no matrix.", x->type.text());
  DType type = op.dtype_attr("dtype").value_or(x->type.dtype);
  Value* row = op.b.add(op.b.iota(x->type.shape, 0, DType::kI64), op.b.i64(op.i("k", 0)));
  Value* column = op.b.iota(x->type.shape, 1, DType::kI64);
  op.output(0, op.b.cast(op.b.compare(ScalarOp::kEq, row, column), type));
}

void import_trilu(Op& op) {
  Value* x = op.tensor(0);
  if (x->type.rank() < 2) fail("The operand ({}) has less than two dimensions.", x->type.text());
  bool upper = op.i("upper", 1) != 0;
  Value* k = op.has(1) ? op.b.reshape(op.b.cast(op.tensor(1), DType::kI64), {}) : op.b.i64(0);
  k = op.b.max(op.b.min(k, op.b.i64(kFar)), op.b.i64(-kFar));
  const Shape matrix = dimensions(x, -2);
  Value* row = op.b.add(op.b.iota(matrix, 0, DType::kI64), k);
  Value* column = op.b.iota(matrix, 1, DType::kI64);
  Value* keep = op.b.compare(upper ? ScalarOp::kLe : ScalarOp::kGe, row, column);
  Value* zero = x->type.dtype == DType::kBool ? op.b.integer(DType::kBool, 0) : op.b.like(x, 0);
  op.output(0, op.b.select(keep, x, zero));
}

constexpr OpRow kRows[] = {
    {kOnnx, "Shape", 1, kLatest, import_shape},
    {kOnnx, "Size", 1, kLatest, import_size},
    {kOnnx, "Reshape", 1, kLatest, import_reshape},
    {kOnnx, "Flatten", 1, kLatest, import_flatten},
    {kOnnx, "Squeeze", 1, kLatest, import_squeeze},
    {kOnnx, "Unsqueeze", 1, kLatest, import_unsqueeze},
    {kOnnx, "Expand", 8, kLatest, import_expand},
    {kOnnx, "ConstantOfShape", 9, kLatest, import_constant_of_shape},
    {kOnnx, "Constant", 1, kLatest, import_constant},
    {kOnnx, "Transpose", 1, kLatest, import_transpose},
    {kOnnx, "Range", 11, kLatest, import_range},
    {kOnnx, "EyeLike", 9, kLatest, import_eye_like},
    {kOnnx, "Trilu", 14, kLatest, import_trilu},
};

}  // namespace

std::span<const OpRow> shape_rows() {
  return kRows;
}

}  // namespace tern::onnx
