#include <algorithm>

#include "compiler/graph/eval.h"

namespace tern::graph {

Indices strides_of(const Indices& shape) {
  Indices strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

int64_t count_of(const Indices& shape) {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

bool advance(Indices& position, const Indices& shape) {
  for (size_t i = shape.size(); i-- > 0;) {
    if (++position[i] < shape[i]) return true;
    position[i] = 0;
  }
  return false;
}

namespace {

struct Plane {  // the two innermost loops of a copy
  int64_t rows, columns;
  int64_t dst_row, dst_column, src_row, src_column;
};

template <typename T>
void copy_plane(const Plane& p, T* dst, const T* src) {
  if (p.dst_column == 1 && p.src_column == 1) {
    for (int64_t r = 0; r < p.rows; ++r)
      std::memcpy(dst + r * p.dst_row, src + r * p.src_row, static_cast<size_t>(p.columns) * sizeof(T));
    return;
  }
  // Tiles, so that a transpose of a large matrix stays in cache.
  constexpr int64_t kTile = 32;
  for (int64_t r0 = 0; r0 < p.rows; r0 += kTile) {
    const int64_t r1 = std::min(r0 + kTile, p.rows);
    for (int64_t c0 = 0; c0 < p.columns; c0 += kTile) {
      const int64_t c1 = std::min(c0 + kTile, p.columns);
      for (int64_t r = r0; r < r1; ++r)
        for (int64_t c = c0; c < c1; ++c)
          dst[r * p.dst_row + c * p.dst_column] = src[r * p.src_row + c * p.src_column];
    }
  }
}

struct Wide {
  uint64_t low, high;
};

struct Axis {
  int64_t size, dst, src;
};

template <typename T>
void copy_axes(const std::vector<Axis>& axes, uint8_t* dst_bytes, const uint8_t* src_bytes) {
  T* dst = reinterpret_cast<T*>(dst_bytes);
  const T* src = reinterpret_cast<const T*>(src_bytes);
  const size_t outer = axes.size() - 2;
  const Axis &row = axes[outer], &column = axes[outer + 1];
  const Plane plane = {row.size, column.size, row.dst, column.dst, row.src, column.src};
  Indices position(outer, 0), shape;
  for (size_t i = 0; i < outer; ++i) shape.push_back(axes[i].size);
  do {
    int64_t d = 0, s = 0;
    for (size_t i = 0; i < outer; ++i) {
      d += position[i] * axes[i].dst;
      s += position[i] * axes[i].src;
    }
    copy_plane(plane, dst + d, src + s);
  } while (advance(position, shape));
}

}  // namespace

void copy_strided(const Indices& shape, size_t width, uint8_t* dst, const Indices& dst_strides,
                  const uint8_t* src, const Indices& src_strides) {
  std::vector<Axis> axes;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return;
    if (shape[i] == 1) continue;
    const Axis a = {shape[i], dst_strides[i], src_strides[i]};
    if (!axes.empty() && axes.back().dst == a.size * a.dst && axes.back().src == a.size * a.src) {
      axes.back() = {axes.back().size * a.size, a.dst, a.src};
    } else {
      axes.push_back(a);
    }
  }
  while (axes.size() < 2) axes.insert(axes.begin(), Axis{1, 0, 0});
  // The axis along which the source is contiguous becomes the plane's row axis, unless it is the column.
  for (size_t i = 0; i + 2 < axes.size(); ++i) {
    if (axes[i].src == 1 && axes.back().src != 1)
      std::rotate(axes.begin() + static_cast<std::ptrdiff_t>(i),
                  axes.begin() + static_cast<std::ptrdiff_t>(i) + 1, axes.end() - 1);
  }
  switch (width) {
    case 1:
      return copy_axes<uint8_t>(axes, dst, src);
    case 2:
      return copy_axes<uint16_t>(axes, dst, src);
    case 4:
      return copy_axes<uint32_t>(axes, dst, src);
    case 8:
      return copy_axes<uint64_t>(axes, dst, src);
    case 16:
      return copy_axes<Wide>(axes, dst, src);
    default:
      TERN_UNREACHABLE("elements of {} bytes", width);
  }
}

TensorDataPtr Movable::enter(const TensorDataPtr& t) {
  if (!needed(t->dtype())) return t;
  if (t->dtype() == DType::kString) {
    auto out = TensorData::make(DType::kI64, t->shape());
    for (int64_t i = 0; i < t->count(); ++i) {
      out->mutable_as<int64_t>()[i] = static_cast<int64_t>(table.size());
      table.push_back(t->string_values()[static_cast<size_t>(i)]);
    }
    return out;
  }
  auto out = TensorData::make(DType::kU8, t->shape());
  for (int64_t i = 0; i < t->count(); ++i)
    out->mutable_as<uint8_t>()[i] =
        static_cast<uint8_t>(load_element_bits(t->bytes().data(), dtype_bits(t->dtype()), i));
  return out;
}

TensorDataPtr Movable::leave(const TensorDataPtr& t, DType original) const {
  if (!needed(original)) return t;
  auto out = TensorData::make(original, t->shape());
  if (original == DType::kString) {
    std::vector<std::string> values;
    for (int64_t i = 0; i < t->count(); ++i)
      values.push_back(table[static_cast<size_t>(t->as<int64_t>()[i])]);
    return TensorData::strings(t->shape(), std::move(values));
  }
  for (int64_t i = 0; i < t->count(); ++i)
    store_element_bits(out->mutable_bytes().data(), dtype_bits(original), i, t->as<uint8_t>()[i]);
  return out;
}

TensorDataPtr transpose_tensor(const TensorData& in, const Indices& perm) {
  const Indices in_strides = strides_of(in.shape());
  Indices shape, src_strides;
  for (const int64_t p : perm) {
    shape.push_back(in.shape()[static_cast<size_t>(p)]);
    src_strides.push_back(in_strides[static_cast<size_t>(p)]);
  }
  auto out = TensorData::make(in.dtype(), shape);
  copy_strided(shape, static_cast<size_t>(dtype_bits(in.dtype()) / 8), out->mutable_bytes().data(),
               strides_of(shape), in.bytes().data(), src_strides);
  return out;
}

namespace {

Result<TensorDataPtr> broadcast(const EvalNode& e, const TensorData& in) {
  TERN_ASSIGN(const Indices shape, e.shape_attr());
  const Indices in_strides = strides_of(in.shape());
  Indices src_strides(shape.size(), 0);
  const size_t shift = shape.size() - in.shape().size();
  for (size_t i = 0; i < in.shape().size(); ++i) {
    if (in.shape()[i] == shape[i + shift]) {
      src_strides[i + shift] = in_strides[i];
    } else if (in.shape()[i] != 1) {
      return error("'broadcast' meets the size {} where the result has {}.", in.shape()[i], shape[i + shift]);
    }
  }
  auto out = TensorData::make(in.dtype(), shape);
  copy_strided(shape, static_cast<size_t>(dtype_bits(in.dtype()) / 8), out->mutable_bytes().data(),
               strides_of(shape), in.bytes().data(), src_strides);
  return TensorDataPtr(out);
}

Result<TensorDataPtr> slice(const EvalNode& e, const TensorData& in) {
  TERN_ASSIGN(const Indices starts, e.resolve(e.node.dims("starts")));
  TERN_ASSIGN(const Indices sizes, e.resolve(e.node.dims("sizes")));
  const Indices& steps = e.node.ints("steps");
  Indices strides = strides_of(in.shape());
  int64_t offset = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int64_t last = starts[i] + (sizes[i] - 1) * steps[i], extent = in.shape()[i];
    if (sizes[i] < 0 ||
        (sizes[i] > 0 && (starts[i] < 0 || starts[i] >= extent || last < 0 || last >= extent)))
      return error("'slice' reads positions {} to {} of axis {}, outside [0, {}).", starts[i], last, i,
                   extent);
    offset += starts[i] * strides[i];
    strides[i] *= steps[i];
  }
  auto out = TensorData::make(in.dtype(), sizes);
  const size_t width = static_cast<size_t>(dtype_bits(in.dtype()) / 8);
  if (out->count() > 0)
    copy_strided(sizes, width, out->mutable_bytes().data(), strides_of(sizes),
                 in.bytes().data() + offset * static_cast<int64_t>(width), strides);
  return TensorDataPtr(out);
}

// Where position i of the padded axis reads, or -1: the fill.
Result<int64_t> pad_source(const std::string& mode, int64_t i, int64_t n) {
  if (i >= 0 && i < n) return i;
  if (mode == "constant") return -1;
  if (n == 0) return error("'pad' with mode {} has nothing to read in an axis of size 0.", mode);
  if (mode == "edge") return i < 0 ? 0 : n - 1;
  if (mode == "wrap") return ((i % n) + n) % n;
  if (n == 1) return 0;
  const int64_t period = 2 * (n - 1);
  const int64_t m = ((i % period) + period) % period;
  return m < n ? m : period - m;
}

Result<TensorDataPtr> pad(const EvalNode& e, const TensorData& in, const TensorData& fill) {
  TERN_ASSIGN(const Indices low, e.resolve(e.node.dims("low")));
  TERN_ASSIGN(const Indices high, e.resolve(e.node.dims("high")));
  const size_t rank = low.size();
  Indices shape;
  std::vector<Indices> source(rank);
  const Indices strides = strides_of(in.shape());
  for (size_t a = 0; a < rank; ++a) {
    shape.push_back(in.shape()[a] + low[a] + high[a]);
    if (shape[a] < 0) return error("'pad' crops axis {} to the negative size {}.", a, shape[a]);
    for (int64_t i = 0; i < shape[a]; ++i) {
      TERN_ASSIGN(const int64_t from, pad_source(e.node.str("mode"), i - low[a], in.shape()[a]));
      source[a].push_back(from < 0 ? -1 : from * strides[a]);
    }
  }
  auto out = TensorData::make(in.dtype(), shape);
  if (out->count() == 0) return TensorDataPtr(out);
  const size_t width = static_cast<size_t>(dtype_bits(in.dtype()) / 8);
  uint8_t* to = out->mutable_bytes().data();
  Indices position(rank, 0);
  do {
    int64_t offset = 0;
    for (size_t a = 0; a < rank && offset >= 0; ++a) {
      const int64_t s = source[a][static_cast<size_t>(position[a])];
      offset = s < 0 ? -1 : offset + s;
    }
    const uint8_t* from =
        offset < 0 ? fill.bytes().data() : in.bytes().data() + offset * static_cast<int64_t>(width);
    std::memcpy(to, from, width);
    to += width;
  } while (advance(position, shape));
  return TensorDataPtr(out);
}

Result<TensorDataPtr> concat(const EvalNode& e, const Tensors& in) {
  const size_t axis = static_cast<size_t>(e.node.int_attr("axis"));
  Indices shape = in[0]->shape();
  for (size_t k = 1; k < in.size(); ++k) {
    for (size_t i = 0; i < shape.size(); ++i)
      if (i != axis && in[k]->shape()[i] != shape[i])
        return error("'concat' along axis {} meets the sizes {} and {} of axis {}.", axis, shape[i],
                     in[k]->shape()[i], i);
    shape[axis] += in[k]->shape()[axis];
  }
  auto out = TensorData::make(in[0]->dtype(), shape);
  const size_t width = static_cast<size_t>(dtype_bits(in[0]->dtype()) / 8);
  const Indices strides = strides_of(shape);
  int64_t at = 0;
  for (const TensorDataPtr& t : in) {
    if (t->count() > 0)
      copy_strided(t->shape(), width,
                   out->mutable_bytes().data() + at * strides[axis] * static_cast<int64_t>(width), strides,
                   t->bytes().data(), strides_of(t->shape()));
    at += t->shape()[axis];
  }
  return TensorDataPtr(out);
}

}  // namespace

Result<TensorDataPtr> eval_view(const EvalNode& e) {
  const DType dtype = e.in[0]->dtype();
  if (e.node.kind == OpKind::kReshape) {
    TERN_ASSIGN(const Indices shape, e.shape_attr());
    if (count_of(shape) != e.in[0]->count())
      return error("'reshape' of {} elements to a shape of {}.", e.in[0]->count(), count_of(shape));
    return TensorDataPtr(e.in[0]->reshaped(shape));
  }
  Movable movable;
  Tensors in;
  for (const TensorDataPtr& t : e.in) in.push_back(movable.enter(t));
  Result<TensorDataPtr> out = [&]() -> Result<TensorDataPtr> {
    switch (e.node.kind) {
      case OpKind::kBroadcast:
        return broadcast(e, *in[0]);
      case OpKind::kTranspose:
        return transpose_tensor(*in[0], e.node.ints("perm"));
      case OpKind::kSlice:
        return slice(e, *in[0]);
      case OpKind::kPad:
        return pad(e, *in[0], *in[1]);
      case OpKind::kConcat:
        return concat(e, in);
      default:
        TERN_UNREACHABLE();
    }
  }();
  if (!out.ok()) return out;
  return movable.leave(out.value(), dtype);
}

}  // namespace tern::graph
