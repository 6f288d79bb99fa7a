// dot and conv: sums of products in double (floats) or wrapping 64-bit integers, rounded once at the end.
#include <algorithm>

#include "compiler/graph/eval.h"
#include "compiler/graph/infer.h"

namespace tern::graph {
namespace {

template <typename T>
std::vector<T> elements(const TensorData& t) {
  if constexpr (std::is_same_v<T, double>) {
    return to_doubles(t);
  } else {
    const std::vector<int64_t> values = to_ints(t);
    return std::vector<T>(values.begin(), values.end());
  }
}

template <typename T>
TensorDataPtr finish(const std::vector<T>& values, DType dtype, Indices shape) {
  auto out = TensorData::make(dtype, std::move(shape));
  const DType wide = std::is_same_v<T, double> ? DType::kF64 : DType::kI64;
  scalar::eval_cast_array(wide, dtype, false, out->count(), reinterpret_cast<const uint8_t*>(values.data()),
                          out->mutable_bytes().data());
  return out;
}

template <typename T>
TensorDataPtr dot(const TensorData& a, const TensorData& b, DType dtype) {
  const size_t rank = a.shape().size();
  const int64_t m = a.shape()[rank - 2], k = a.shape()[rank - 1], n = b.shape()[rank - 1];
  Indices batch_shape, shape;
  for (size_t i = 0; i + 2 < rank; ++i)
    batch_shape.push_back(a.shape()[i] == 1 ? b.shape()[i] : a.shape()[i]);
  shape = batch_shape;
  shape.insert(shape.end(), {m, n});
  const std::vector<T> x = elements<T>(a), y = elements<T>(b);
  std::vector<T> out(static_cast<size_t>(count_of(shape)), T(0));
  if (out.empty()) return finish(out, dtype, shape);
  const Indices a_strides = strides_of(a.shape()), b_strides = strides_of(b.shape());
  Indices position(batch_shape.size(), 0);
  T* sums = out.data();
  do {
    int64_t ax = 0, bx = 0;
    for (size_t i = 0; i < position.size(); ++i) {
      if (a.shape()[i] != 1) ax += position[i] * a_strides[i];
      if (b.shape()[i] != 1) bx += position[i] * b_strides[i];
    }
    for (int64_t i = 0; i < m; ++i, sums += n) {
      for (int64_t p = 0; p < k; ++p) {
        const T left = x[static_cast<size_t>(ax + i * k + p)];
        const T* right = y.data() + bx + p * n;
        for (int64_t j = 0; j < n; ++j) sums[j] += left * right[j];
      }
    }
  } while (advance(position, batch_shape));
  return finish(out, dtype, shape);
}

struct ConvShape {
  Indices x, w, out, padded, strides, dilations;  // spatial only, except x and w
  int64_t groups;
};

// The operand with zeros between its elements and the padding's value around them (cropped where padding is
// negative), so that the main loop needs no bounds.
template <typename T>
std::vector<T> spread(const EvalNode& e, const ConvShape& s) {
  const std::vector<T> values = elements<T>(*e.in[0]);
  const Indices &low = e.node.ints("low"), &lhs = e.node.ints("lhs_dilations");
  const size_t spatial = s.padded.size();
  const Indices spatial_shape(s.x.begin() + 2, s.x.end());
  const int64_t planes = s.x[0] * s.x[1], plane = count_of(s.padded), in_plane = count_of(spatial_shape);
  const Attr* fill = e.node.find("pad_value");
  std::vector<T> out(static_cast<size_t>(planes * plane),
                     fill ? static_cast<T>(std::get<int64_t>(*fill)) : T(0));
  if (in_plane == 0) return out;
  const Indices strides = strides_of(s.padded);
  Indices position(spatial, 0);
  int64_t from = 0;
  do {
    int64_t to = 0;
    bool inside = true;
    for (size_t i = 0; i < spatial; ++i) {
      const int64_t p = position[i] * lhs[i] + low[i];
      inside &= p >= 0 && p < s.padded[i];
      to += p * strides[i];
    }
    if (inside)
      for (int64_t c = 0; c < planes; ++c)
        out[static_cast<size_t>(c * plane + to)] = values[static_cast<size_t>(c * in_plane + from)];
    ++from;
  } while (advance(position, spatial_shape));
  return out;
}

// One output plane: adds weight * input for one channel pair and all window positions.
template <typename T>
void add_channel(const ConvShape& s, const T* x, const T* w, T* out) {
  const size_t spatial = s.out.size();
  const Indices window(s.w.begin() + 2, s.w.end());
  const Indices strides = strides_of(s.padded);
  const int64_t columns = s.out.empty() ? 1 : s.out.back();
  const int64_t step = s.out.empty() ? 1 : s.strides.back();
  Indices rows(s.out.begin(), s.out.end() - (spatial ? 1 : 0));
  Indices tap(spatial, 0);
  do {
    const T weight = *w++;
    int64_t base = 0;
    for (size_t i = 0; i < spatial; ++i) base += tap[i] * s.dilations[i] * strides[i];
    Indices row(rows.size(), 0);
    T* to = out;
    do {
      int64_t from = base;
      for (size_t i = 0; i < rows.size(); ++i) from += row[i] * s.strides[i] * strides[i];
      for (int64_t c = 0; c < columns; ++c) to[c] += weight * x[from + c * step];
      to += columns;
    } while (advance(row, rows));
  } while (advance(tap, window));
}

template <typename T>
TensorDataPtr conv(const EvalNode& e, const ConvShape& s, DType dtype) {
  const int64_t batch = s.x[0], in_channels = s.x[1], out_channels = s.w[0], per_group = s.w[1];
  const int64_t plane = count_of(s.out), padded_plane = count_of(s.padded);
  const Indices window(s.w.begin() + 2, s.w.end());
  const int64_t taps = count_of(window);
  Indices shape = {batch, out_channels};
  shape.insert(shape.end(), s.out.begin(), s.out.end());
  std::vector<T> out(static_cast<size_t>(count_of(shape)), T(0));
  if (out.empty() || taps == 0) return finish(out, dtype, shape);
  const std::vector<T> x = spread<T>(e, s), w = elements<T>(*e.in[1]);
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t o = 0; o < out_channels; ++o) {
      const int64_t group = o / (out_channels / s.groups);
      for (int64_t c = 0; c < per_group; ++c)
        add_channel(s, x.data() + (n * in_channels + group * per_group + c) * padded_plane,
                    w.data() + (o * per_group + c) * taps, out.data() + (n * out_channels + o) * plane);
    }
  }
  return finish(out, dtype, shape);
}

Result<ConvShape> conv_shape(const EvalNode& e) {
  ConvShape s = {e.in[0]->shape(),         e.in[1]->shape(),         {}, {}, e.node.ints("strides"),
                 e.node.ints("dilations"), e.node.int_attr("groups")};
  for (size_t i = 0; i + 2 < s.x.size(); ++i) {
    const int64_t size = s.x[i + 2];
    const int64_t full = (size - 1) * e.node.ints("lhs_dilations")[i] + 1;
    const int64_t padded = full + e.node.ints("low")[i] + e.node.ints("high")[i];
    const int64_t reach = (s.w[i + 2] - 1) * s.dilations[i] + 1;
    if (padded < 0) return error("'conv' crops axis {} to the negative size {}.", i + 2, padded);
    s.padded.push_back(padded);
    s.out.push_back(padded < reach ? 0 : (padded - reach) / s.strides[i] + 1);
  }
  return s;
}

}  // namespace

Result<TensorDataPtr> eval_contract(const EvalNode& e) {
  TERN_ASSIGN(const DType dtype, contraction_type(e.node));
  const bool floats = is_float(e.in[0]->dtype());
  if (is_complex(e.in[0]->dtype()))
    return error("'{}' of complex numbers is not implemented.", info(e.node.kind).name);
  if (e.node.kind == OpKind::kDot)
    return floats ? dot<double>(*e.in[0], *e.in[1], dtype) : dot<uint64_t>(*e.in[0], *e.in[1], dtype);
  TERN_ASSIGN(const ConvShape s, conv_shape(e));
  return floats ? conv<double>(e, s, dtype) : conv<uint64_t>(e, s, dtype);
}

}  // namespace tern::graph
