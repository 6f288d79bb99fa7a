#include <algorithm>
#include <numeric>

#include "compiler/graph/ir.h"

namespace tern::graph {

namespace {

// Which result of a data-dependent op holds the number that its fresh symbol reads.
int count_result(OpKind kind) {
  switch (kind) {
    case OpKind::kNonZero:
    case OpKind::kNms:
      return 1;
    case OpKind::kUnique:
      return 4;
    default:
      return -1;
  }
}

}  // namespace

Node* Builder::node(OpKind kind, std::vector<Value*> operands,
                    std::vector<std::pair<std::string, Attr>> attrs,
                    std::vector<std::unique_ptr<Block>> regions) {
  auto made = std::make_unique<Node>();
  made->kind = kind;
  made->operands = std::move(operands);
  made->attrs = std::move(attrs);
  made->regions = std::move(regions);
  made->source = source_;
  for (const Value* v : made->operands)
    TERN_CHECK(v, "an operand of the new {} node is null", info(kind).name);
  for (const auto& region : made->regions) region->parent = made.get();
  Result<std::vector<Type>> types = infer(*graph_, *made);
  TERN_CHECK(types.ok(), "{} (source node '{}', {})", types.error().text(), source_ ? source_->node : "",
             source_ ? source_->op : "");
  for (size_t i = 0; i < types->size(); ++i) {
    Value* v = graph_->new_value(std::move((*types)[i]));
    v->def = made.get();
    v->index = static_cast<int>(i);
    made->results.push_back(v);
  }
  if (const int count = count_result(kind); count >= 0) {
    for (SymbolInfo& s : graph_->symbols) {
      if (s.origin == SymbolInfo::Origin::kElement && !s.value) s.value = made->result(count);
    }
  }
  return append(std::move(made));
}

Node* Builder::append(std::unique_ptr<Node> made) {
  Node* raw = made.get();
  block_->nodes.insert(block_->nodes.begin() + static_cast<std::ptrdiff_t>(position_), std::move(made));
  ++position_;
  return raw;
}

Value* Builder::constant(TensorDataPtr data) {
  return node(OpKind::kConstant, {}, {{"value", std::move(data)}})->result();
}

Value* Builder::scalar_constant(DType dtype, double value) {
  auto data = TensorData::make(dtype, {});
  scalar::store_value(dtype, data->mutable_bytes().data(), 0, scalar::scalar_from_double(dtype, value));
  return constant(std::move(data));
}

Value* Builder::int_constant(DType dtype, int64_t value) {
  auto data = TensorData::make(dtype, {});
  scalar::store_value(dtype, data->mutable_bytes().data(), 0, scalar::scalar_from_int(dtype, value));
  return constant(std::move(data));
}

Value* Builder::i64s(const std::vector<int64_t>& values) {
  auto data = TensorData::make(DType::kI64, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), data->mutable_as<int64_t>());
  return constant(std::move(data));
}

Value* Builder::from_dims(std::vector<Dim> dims, Shape shape, DType dtype) {
  return node(OpKind::kFromDims, {},
              {{"dims", std::move(dims)}, {"shape", std::move(shape)}, {"dtype", dtype}})
      ->result();
}

Value* Builder::iota(Shape shape, int axis, DType dtype) {
  return node(OpKind::kIota, {},
              {{"shape", std::move(shape)}, {"axis", static_cast<int64_t>(axis)}, {"dtype", dtype}})
      ->result();
}

Value* Builder::map(scalar::ScalarOp op, std::vector<Value*> operands) {
  Shape shape;
  for (size_t i = 0; i < operands.size(); ++i) {
    Result<Shape> common = broadcast_shapes(shape, operands[i]->type.shape);
    TERN_CHECK(common.ok(), "{} (operand {} of '{}', source node '{}')", common.error().message, i,
               scalar::info(op).name, source_ ? source_->node : "");
    shape = std::move(common).value();
  }
  for (Value*& v : operands) v = broadcast(v, shape);
  return node(OpKind::kMap, std::move(operands), {{"op", op}})->result();
}

Value* Builder::cast(Value* v, DType to, bool saturate) {
  if (v->type.dtype == to) return v;
  std::vector<std::pair<std::string, Attr>> attrs = {{"to", to}};
  if (!saturate) attrs.emplace_back("saturate", false);
  return node(OpKind::kCast, {v}, std::move(attrs))->result();
}

Value* Builder::lookup(Value* v, TensorDataPtr table) {
  return node(OpKind::kLookup, {v}, {{"table", std::move(table)}})->result();
}

Value* Builder::bitcast(Value* v, DType to) {
  if (v->type.dtype == to) return v;
  return node(OpKind::kBitcast, {v}, {{"to", to}})->result();
}

Value* Builder::reshape(Value* v, Shape shape) {
  if (v->type.shape == shape) return v;
  return node(OpKind::kReshape, {v}, {{"shape", std::move(shape)}})->result();
}

Value* Builder::broadcast(Value* v, Shape shape) {
  if (v->type.shape == shape) return v;
  return node(OpKind::kBroadcast, {v}, {{"shape", std::move(shape)}})->result();
}

Value* Builder::transpose(Value* v, std::vector<int64_t> perm) {
  bool identity = true;
  for (size_t i = 0; i < perm.size(); ++i) identity &= perm[i] == static_cast<int64_t>(i);
  if (identity) return v;
  return node(OpKind::kTranspose, {v}, {{"perm", std::move(perm)}})->result();
}

Value* Builder::slice(Value* v, std::vector<Dim> starts, std::vector<Dim> sizes, std::vector<int64_t> steps) {
  bool whole = sizes == v->type.shape;
  for (size_t i = 0; i < starts.size(); ++i) whole &= starts[i] == Dim(0) && steps[i] == 1;
  if (whole) return v;
  return node(OpKind::kSlice, {v},
              {{"starts", std::move(starts)}, {"sizes", std::move(sizes)}, {"steps", std::move(steps)}})
      ->result();
}

Value* Builder::slice_axis(Value* v, int axis, Dim start, Dim size, int64_t step) {
  const size_t rank = v->type.shape.size();
  std::vector<Dim> starts(rank, Dim(0)), sizes = v->type.shape;
  std::vector<int64_t> steps(rank, 1);
  TERN_CHECK(axis >= 0 && static_cast<size_t>(axis) < rank);
  starts[static_cast<size_t>(axis)] = start;
  sizes[static_cast<size_t>(axis)] = size;
  steps[static_cast<size_t>(axis)] = step;
  return slice(v, std::move(starts), std::move(sizes), std::move(steps));
}

Value* Builder::pad(Value* v, std::vector<Dim> low, std::vector<Dim> high, Value* fill, std::string mode) {
  bool none = true;
  for (size_t i = 0; i < low.size(); ++i) none &= low[i] == Dim(0) && high[i] == Dim(0);
  if (none) return v;
  return node(OpKind::kPad, {v, fill},
              {{"low", std::move(low)}, {"high", std::move(high)}, {"mode", std::move(mode)}})
      ->result();
}

Value* Builder::concat(std::vector<Value*> values, int axis) {
  if (values.size() == 1) return values[0];
  return node(OpKind::kConcat, std::move(values), {{"axis", static_cast<int64_t>(axis)}})->result();
}

Value* Builder::gather(Value* v, Value* indices, int axis) {
  return node(OpKind::kGather, {v, indices}, {{"axis", static_cast<int64_t>(axis)}})->result();
}

Value* Builder::reduce(scalar::ScalarOp op, Value* v, std::vector<int64_t> axes, bool keep_dims) {
  if (axes.empty()) return v;
  std::sort(axes.begin(), axes.end());
  Shape kept = v->type.shape;
  for (int64_t a : axes) {
    TERN_CHECK(a >= 0 && a < v->type.rank());
    kept[static_cast<size_t>(a)] = Dim(1);
  }
  Value* out = node(OpKind::kReduce, {v}, {{"op", op}, {"axes", std::move(axes)}})->result();
  return keep_dims ? reshape(out, std::move(kept)) : out;
}

Value* Builder::dot(Value* a, Value* b) {
  return node(OpKind::kDot, {a, b}, {})->result();
}

Value* Builder::unsqueeze(Value* v, std::vector<int64_t> axes) {
  std::sort(axes.begin(), axes.end());
  Shape shape = v->type.shape;
  for (int64_t a : axes) {
    TERN_CHECK(a >= 0 && a <= static_cast<int64_t>(shape.size()), "unsqueeze axis {} of {}", a,
               v->type.text());
    shape.insert(shape.begin() + a, Dim(1));
  }
  return reshape(v, std::move(shape));
}

Value* Builder::squeeze(Value* v, std::vector<int64_t> axes) {
  std::sort(axes.begin(), axes.end());
  Shape shape = v->type.shape;
  for (auto a = axes.rbegin(); a != axes.rend(); ++a) {
    TERN_CHECK(*a >= 0 && *a < static_cast<int64_t>(shape.size()), "squeeze axis {} of {}", *a,
               v->type.text());
    shape.erase(shape.begin() + *a);
  }
  return reshape(v, std::move(shape));
}

}  // namespace tern::graph
