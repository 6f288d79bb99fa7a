#include "compiler/lower/strided_constant.h"

#include "compiler/graph/eval.h"

namespace tern::lower {

using graph::Node;
using graph::OpKind;

TensorDataPtr evaluated(const Node& node, const std::vector<TensorDataPtr>& operands) {
  std::vector<graph::EvalValue> values;
  for (const TensorDataPtr& t : operands) values.push_back({t, nullptr});
  auto out = graph::evaluate_node(node, values, [](const std::string&) { return std::nullopt; });
  return out.ok() ? (*out)[0].tensor : nullptr;
}

StridedConstant::StridedConstant(TensorDataPtr data) : data_(std::move(data)) {
  const std::vector<int64_t> strides = graph::strides_of(data_->shape());
  for (size_t d = 0; d < strides.size(); ++d) dims_.push_back({{data_->shape()[d], strides[d]}});
}

StridedConstant StridedConstant::splat(double value, const std::vector<int64_t>& shape) {
  auto one = TensorData::make(DType::kF32, {1});
  one->set_float(0, value);
  StridedConstant out{TensorDataPtr(one)};
  out.dims_.clear();
  for (const int64_t size : shape) out.dims_.push_back({{size, 0}});
  return out;
}

std::vector<int64_t> StridedConstant::shape() const {
  std::vector<int64_t> out;
  for (const Factors& dim : dims_) {
    out.push_back(1);
    for (const Factor& f : dim) out.back() *= f.size;
  }
  return out;
}

StridedConstant StridedConstant::with_data(TensorDataPtr data) const {
  StridedConstant out = *this;
  out.data_ = std::move(data);
  return out;
}

std::optional<StridedConstant> StridedConstant::reshaped(const std::vector<int64_t>& shape) const {
  Factors all;
  for (const Factors& dim : dims_) {
    for (const Factor& f : dim) {
      if (f.size == 0) return std::nullopt;
      if (f.size != 1) all.push_back(f);
    }
  }
  StridedConstant out = *this;
  out.dims_.clear();
  size_t next = 0;
  for (const int64_t size : shape) {
    Factors dim;
    for (int64_t left = size; left != 1;) {
      if (next == all.size()) return std::nullopt;
      Factor& f = all[next];
      if (left % f.size == 0) {
        dim.push_back(f);
        left /= f.size;
        ++next;
      } else if (left > 0 && f.size % left == 0) {
        f.size /= left;
        dim.push_back({left, f.size * f.stride});
        left = 1;
      } else {
        return std::nullopt;
      }
    }
    out.dims_.push_back(std::move(dim));
  }
  return next == all.size() ? std::optional(out) : std::nullopt;
}

std::optional<StridedConstant> StridedConstant::viewed(const Node& view) const {
  const auto by_places = [&]() -> std::optional<StridedConstant> {
    StridedConstant out = *this;
    if (view.kind == OpKind::kTranspose) {
      const std::vector<int64_t>& perm = view.ints("perm");
      for (size_t d = 0; d < perm.size(); ++d) out.dims_[d] = dims_[static_cast<size_t>(perm[d])];
      return out;
    }
    if (view.kind != OpKind::kReshape && view.kind != OpKind::kBroadcast) return std::nullopt;
    std::vector<int64_t> to;
    for (const Dim& d : view.dims("shape")) {
      if (!d.is_const()) return std::nullopt;
      to.push_back(d.value());
    }
    if (view.kind == OpKind::kReshape) return reshaped(to);
    const std::vector<int64_t> from = shape();
    out.dims_.clear();
    for (size_t d = 0; d < to.size(); ++d) {
      const size_t outer = to.size() - from.size();
      const bool same = d >= outer && from[d - outer] == to[d];
      out.dims_.push_back(same ? dims_[d - outer] : Factors{{to[d], 0}});
    }
    return out;
  };
  if (const auto out = by_places()) return out;
  // The view of what it is made of now.
  graph::Graph g;
  graph::Builder b(g, g.body);
  const TensorDataPtr elements = dense();
  const Node* node = b.node(view.kind, {b.constant(elements)}, view.attrs);
  TensorDataPtr made = evaluated(*node, {elements});
  return made ? std::optional(StridedConstant(std::move(made))) : std::nullopt;
}

TensorDataPtr StridedConstant::dense() const {
  std::vector<int64_t> sizes, strides;
  for (const Factors& dim : dims_) {
    for (const Factor& f : dim) {
      sizes.push_back(f.size);
      strides.push_back(f.stride);
    }
  }
  if (strides == graph::strides_of(sizes)) return data_->reshaped(shape());
  const int bits = dtype_bits(data_->dtype());
  auto out = TensorData::make(data_->dtype(), shape());
  TERN_CHECK(bits >= 8, "places of elements of {} bits", bits);
  graph::copy_strided(sizes, static_cast<size_t>(bits / 8), out->mutable_bytes().data(),
                      graph::strides_of(sizes), data_->bytes().data(), strides);
  return out;
}

std::vector<int64_t> StridedConstant::places(size_t dim) const {
  std::vector<int64_t> out = {0};
  for (const Factor& f : dims_[dim]) {
    std::vector<int64_t> finer;
    finer.reserve(out.size() * static_cast<size_t>(f.size));
    for (const int64_t at : out) {
      for (int64_t i = 0; i < f.size; ++i) finer.push_back(at + i * f.stride);
    }
    out = std::move(finer);
  }
  return out;
}

int64_t StridedConstant::repeats(size_t dim) const {
  int64_t out = 1;
  for (auto f = dims_[dim].rbegin(); f != dims_[dim].rend() && (f->stride == 0 || f->size == 1); ++f)
    out *= f->size;
  return out;
}

}  // namespace tern::lower
