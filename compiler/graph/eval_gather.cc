#include "compiler/graph/eval.h"

namespace tern::graph {
namespace {

using scalar::ScalarOp;

Result<int64_t> checked_index(const Node& node, int64_t index, int64_t extent) {
  if (index < -extent || index >= extent)
    return error("The index {} of '{}' lies outside [{}, {}).", index, info(node.kind).name, -extent, extent);
  return index < 0 ? index + extent : index;
}

size_t width_of(const TensorData& t) {
  return static_cast<size_t>(dtype_bits(t.dtype()) / 8);
}

Result<TensorDataPtr> gather(const EvalNode& e, const TensorData& in) {
  const size_t axis = static_cast<size_t>(e.node.int_attr("axis"));
  const std::vector<int64_t> indices = to_ints(*e.in[1]);
  Indices shape(in.shape().begin(), in.shape().begin() + static_cast<std::ptrdiff_t>(axis));
  const int64_t outer = count_of(shape), extent = in.shape()[axis];
  const Indices tail(in.shape().begin() + static_cast<std::ptrdiff_t>(axis) + 1, in.shape().end());
  const int64_t inner = count_of(tail);
  shape.insert(shape.end(), e.in[1]->shape().begin(), e.in[1]->shape().end());
  shape.insert(shape.end(), tail.begin(), tail.end());
  auto out = TensorData::make(in.dtype(), shape);
  const size_t block = static_cast<size_t>(inner) * width_of(in);
  uint8_t* to = out->mutable_bytes().data();
  for (int64_t o = 0; o < outer; ++o) {
    for (const int64_t index : indices) {
      TERN_ASSIGN(const int64_t i, checked_index(e.node, index, extent));
      if (block) std::memcpy(to, in.bytes().data() + static_cast<size_t>(o * extent + i) * block, block);
      to += block;
    }
  }
  return TensorDataPtr(out);
}

Result<TensorDataPtr> gather_elements(const EvalNode& e, const TensorData& in) {
  const size_t axis = static_cast<size_t>(e.node.int_attr("axis"));
  const std::vector<int64_t> indices = to_ints(*e.in[1]);
  const Indices& shape = e.in[1]->shape();
  const Indices strides = strides_of(in.shape());
  auto out = TensorData::make(in.dtype(), shape);
  if (out->count() == 0) return TensorDataPtr(out);
  const size_t width = width_of(in);
  Indices position(shape.size(), 0);
  size_t flat = 0;
  do {
    int64_t from = 0;
    for (size_t i = 0; i < shape.size(); ++i) {
      int64_t p = position[i];
      if (i == axis) {
        TERN_ASSIGN(p, checked_index(e.node, indices[flat], in.shape()[axis]));
      } else if (p >= in.shape()[i]) {
        return error("'gather_elements' has indices beyond the operand along axis {}.", i);
      }
      from += p * strides[i];
    }
    std::memcpy(out->mutable_bytes().data() + flat * width,
                in.bytes().data() + static_cast<size_t>(from) * width, width);
    ++flat;
  } while (advance(position, shape));
  return TensorDataPtr(out);
}

// The element offset that an index tuple selects, from axis `first` on.
Result<int64_t> tuple_offset(const Node& node, const int64_t* tuple, size_t length, size_t first,
                             const Indices& shape, const Indices& strides) {
  int64_t offset = 0;
  for (size_t i = 0; i < length; ++i) {
    TERN_ASSIGN(const int64_t p, checked_index(node, tuple[i], shape[first + i]));
    offset += p * strides[first + i];
  }
  return offset;
}

Result<TensorDataPtr> gather_nd(const EvalNode& e, const TensorData& in) {
  const size_t batch = static_cast<size_t>(e.node.int_attr("batch_dims"));
  const std::vector<int64_t> indices = to_ints(*e.in[1]);
  const Indices& index_shape = e.in[1]->shape();
  const size_t length = static_cast<size_t>(index_shape.back());
  const Indices strides = strides_of(in.shape());
  Indices shape(index_shape.begin(), index_shape.end() - 1);
  const int64_t tuples = count_of(shape);
  const Indices batch_shape(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(batch));
  const int64_t batches = count_of(batch_shape);
  const Indices tail(in.shape().begin() + static_cast<std::ptrdiff_t>(batch + length), in.shape().end());
  const size_t block = static_cast<size_t>(count_of(tail)) * width_of(in);
  const int64_t batch_stride = batches ? in.count() / batches : 0;
  shape.insert(shape.end(), tail.begin(), tail.end());
  auto out = TensorData::make(in.dtype(), shape);
  for (int64_t t = 0; t < tuples; ++t) {
    TERN_ASSIGN(const int64_t offset, tuple_offset(e.node, indices.data() + static_cast<size_t>(t) * length,
                                                   length, batch, in.shape(), strides));
    const int64_t from = t / (tuples / batches) * batch_stride + offset;
    if (block)
      std::memcpy(out->mutable_bytes().data() + static_cast<size_t>(t) * block,
                  in.bytes().data() + static_cast<size_t>(from) * width_of(in), block);
  }
  return TensorDataPtr(out);
}

ScalarOp reduction_op(const std::string& name) {
  return name == "add"   ? ScalarOp::kAdd
         : name == "mul" ? ScalarOp::kMul
         : name == "min" ? ScalarOp::kMin
         : name == "max" ? ScalarOp::kMax
                         : ScalarOp::kCount;
}

// out[at] = reduction(out[at], updates[from]).
void update(TensorData& out, int64_t at, const TensorData& updates, int64_t from, ScalarOp op) {
  uint8_t* bytes = out.mutable_bytes().data();
  const size_t width = width_of(out);
  if (op == ScalarOp::kCount) {
    std::memcpy(bytes + static_cast<size_t>(at) * width,
                updates.bytes().data() + static_cast<size_t>(from) * width, width);
    return;
  }
  const scalar::ScalarValue two[2] = {scalar::load_value(out.dtype(), bytes, at),
                                      scalar::load_value(out.dtype(), updates.bytes().data(), from)};
  scalar::store_value(out.dtype(), bytes, at, scalar::eval_scalar(op, two));
}

std::shared_ptr<TensorData> copy_of(const TensorData& in) {
  auto out = TensorData::make(in.dtype(), in.shape());
  if (!in.bytes().empty()) std::memcpy(out->mutable_bytes().data(), in.bytes().data(), in.bytes().size());
  return out;
}

Result<TensorDataPtr> scatter_elements(const EvalNode& e, const TensorData& in, const TensorData& updates) {
  const size_t axis = static_cast<size_t>(e.node.int_attr("axis"));
  const std::vector<int64_t> indices = to_ints(*e.in[1]);
  const Indices& shape = e.in[1]->shape();
  const Indices strides = strides_of(in.shape());
  const ScalarOp op = reduction_op(e.node.str("reduction"));
  auto out = copy_of(in);
  if (indices.empty()) return TensorDataPtr(out);
  Indices position(shape.size(), 0);
  int64_t flat = 0;
  do {
    int64_t to = 0;
    for (size_t i = 0; i < shape.size(); ++i) {
      int64_t p = position[i];
      if (i == axis) {
        TERN_ASSIGN(p, checked_index(e.node, indices[static_cast<size_t>(flat)], in.shape()[axis]));
      } else if (p >= in.shape()[i]) {
        return error("'scatter_elements' has indices beyond the operand along axis {}.", i);
      }
      to += p * strides[i];
    }
    update(*out, to, updates, flat++, op);
  } while (advance(position, shape));
  return TensorDataPtr(out);
}

Result<TensorDataPtr> scatter_nd(const EvalNode& e, const TensorData& in, const TensorData& updates) {
  const std::vector<int64_t> indices = to_ints(*e.in[1]);
  const size_t length = static_cast<size_t>(e.in[1]->shape().back());
  const Indices strides = strides_of(in.shape());
  const Indices tail(in.shape().begin() + static_cast<std::ptrdiff_t>(length), in.shape().end());
  const int64_t block = count_of(tail);
  const ScalarOp op = reduction_op(e.node.str("reduction"));
  const Indices tuple_shape(e.in[1]->shape().begin(), e.in[1]->shape().end() - 1);
  const int64_t tuples = count_of(tuple_shape);
  auto out = copy_of(in);
  for (int64_t t = 0; t < tuples; ++t) {
    TERN_ASSIGN(const int64_t to, tuple_offset(e.node, indices.data() + static_cast<size_t>(t) * length,
                                               length, 0, in.shape(), strides));
    for (int64_t i = 0; i < block; ++i) update(*out, to + i, updates, t * block + i, op);
  }
  return TensorDataPtr(out);
}

}  // namespace

Result<TensorDataPtr> eval_gather(const EvalNode& e) {
  const DType dtype = e.in[0]->dtype();
  Movable movable;
  const TensorDataPtr in = movable.enter(e.in[0]);
  const bool scatters = e.in.size() == 3;
  if (scatters && Movable::needed(dtype) && e.node.str("reduction") != "none")
    return error("'{}' with a reduction does not accept {}.", info(e.node.kind).name, dtype_name(dtype));
  const TensorDataPtr updates = scatters ? movable.enter(e.in[2]) : nullptr;
  Result<TensorDataPtr> out = e.node.kind == OpKind::kGather           ? gather(e, *in)
                              : e.node.kind == OpKind::kGatherElements ? gather_elements(e, *in)
                              : e.node.kind == OpKind::kGatherNd       ? gather_nd(e, *in)
                              : e.node.kind == OpKind::kScatterNd      ? scatter_nd(e, *in, *updates)
                                                                       : scatter_elements(e, *in, *updates);
  if (!out.ok()) return out;
  return movable.leave(out.value(), dtype);
}

}  // namespace tern::graph
