#include "compiler/lower/pixel_products.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "compiler/graph/passes/constants.h"
#include "compiler/graph/passes/eliminate_dead.h"
#include "compiler/graph/passes/rewrite.h"

namespace tern::lower {
namespace {

using graph::Builder;
using graph::Node;
using graph::OpKind;
using graph::Value;

// Of each output place the offset of its tap in a filter, or -1.
std::vector<int64_t> taps_of(const Node& conv, const std::vector<int64_t>& filters) {
  const Shape& out = conv.result()->type.shape;
  std::vector<int64_t> taps{0};
  for (size_t d = 0; d + 2 < filters.size(); ++d) {
    const int64_t step = conv.ints("strides")[d], dilation = conv.ints("dilations")[d],
                  low = conv.ints("low")[d], window = filters[d + 2];
    std::vector<int64_t> next;
    for (const int64_t outer : taps) {
      for (int64_t place = 0; place < out[d + 2].value(); ++place) {
        const int64_t from = low - place * step, tap = from / dilation;
        const bool meets = from >= 0 && from % dilation == 0 && tap < window;
        next.push_back(outer < 0 || !meets ? -1 : outer * window + tap);
      }
    }
    taps = std::move(next);
  }
  return taps;
}

// [O, C, k...] as [C, places * O].
TensorDataPtr as_columns(const TensorData& filters, const std::vector<int64_t>& taps) {
  const int64_t outputs = filters.shape()[0], channels = filters.shape()[1],
                window = filters.count() / outputs / channels, places = static_cast<int64_t>(taps.size());
  auto out = TensorData::make(filters.dtype(), {channels, places * outputs});
  const auto size = static_cast<size_t>(dtype_bits(filters.dtype()) / 8);
  auto* to = out->mutable_bytes().data();
  std::memset(to, 0, static_cast<size_t>(out->count()) * size);
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t p = 0; p < places; ++p) {
      const int64_t tap = taps[static_cast<size_t>(p)];
      if (tap < 0) continue;
      for (int64_t o = 0; o < outputs; ++o) {
        const int64_t from = (o * channels + c) * window + tap, at = (c * places + p) * outputs + o;
        std::memcpy(to + static_cast<size_t>(at) * size,
                    filters.bytes().data() + static_cast<size_t>(from) * size, size);
      }
    }
  }
  return out;
}

Value* as_product(const Node& conv, Builder& b) {
  Value* x = conv.operand(0);
  const Shape &in = x->type.shape, &out = conv.result()->type.shape;
  const TensorDataPtr filters = graph::constant_data(conv.operand(1));
  if (!filters || !is_float(filters->dtype()) || x->type.dtype != filters->dtype() ||
      conv.int_attr("groups") != 1 || conv.find("pad_value"))
    return nullptr;
  int64_t places = 1;
  for (size_t d = 2; d < in.size(); ++d) {
    if (!in[d].is_const(1) || !out[d].is_const()) return nullptr;
    places *= out[d].value();
  }
  const int64_t outputs = filters->shape()[0], channels = filters->shape()[1];
  if (places < 2 || outputs < 1 || channels < 1 || places * outputs * channels > filters->count())
    return nullptr;
  Value* weights = b.constant(as_columns(*filters, taps_of(conv, filters->shape())));
  weights->name = conv.operand(1)->name;
  Value* rows = b.dot(b.reshape(x, {in[0], Dim(channels)}), weights);
  Shape pixels = out;
  std::rotate(pixels.begin() + 1, pixels.begin() + 2, pixels.end());
  std::vector<int64_t> perm(out.size());
  std::iota(perm.begin(), perm.end(), -1);
  perm[0] = 0;
  perm[1] = static_cast<int64_t>(out.size()) - 1;
  return b.transpose(b.reshape(rows, pixels), perm);
}

}  // namespace

void pixel_products(graph::Graph& graph) {
  const bool changed = graph::Rewriter(graph, [](Node& n, Builder& b) {
                         return graph::replace_with(n.kind == OpKind::kConv ? as_product(n, b) : nullptr);
                       }).run();
  if (changed) graph::eliminate_dead(graph);
}

}  // namespace tern::lower
