#include "compiler/lower/contraction_problem.h"

#include <algorithm>
#include <array>

namespace tern::lower {
namespace {

using graph::Node;
using kernel::Expr;
using kernel::int_const;
using Index = std::vector<Expr>;

bool all_are(const std::vector<int64_t>& values, int64_t v) {
  return std::all_of(values.begin(), values.end(), [v](int64_t x) { return x == v; });
}

// Row-major coordinates of a linear index.
Index delinearize(const Expr& linear, const Shape& shape, kernel::ParamTable& params) {
  Index out(shape.size());
  Dim below(1);
  size_t outermost = 0;  // the first that can be other than 0
  while (outermost + 1 < shape.size() && shape[outermost].is_const(1)) ++outermost;
  for (size_t d = shape.size(); d-- > 0;) {
    Expr c = kernel::index_div(linear, params.expr(below));
    if (d > outermost) c = kernel::index_rem(c, params.expr(shape[d]));
    out[d] = shape[d].is_const(1) ? int_const(0) : c;
    below = below * shape[d];
  }
  return out;
}

// Spatial attributes of a convolution as three numbers, depth and height being `missing` where there are
// fewer.
std::array<int64_t, 3> spatial(const std::vector<int64_t>& v, int64_t missing) {
  std::array<int64_t, 3> out = {missing, missing, missing};
  std::copy(v.begin(), v.end(), out.end() - static_cast<std::ptrdiff_t>(v.size()));
  return out;
}

}  // namespace

Index spatial_index(size_t rank, const Expr& image, const Expr& channel, const Expr& z, const Expr& y,
                    const Expr& x) {
  if (rank == 3) return {image, channel, x};
  if (rank == 4) return {image, channel, y, x};
  return {image, channel, z, y, x};
}

std::vector<size_t> step_dimensions(size_t rank) {
  std::vector<size_t> out{1};
  for (size_t d = rank; d-- > 2;) out.push_back(d);
  return out;
}

bool is_depthwise(const Node& conv) {
  const Shape& w = conv.operand(1)->type.shape;
  const int64_t groups = conv.int_attr("groups");
  return groups > 1 && w[1].is_const(1) && w[0].is_const(groups);
}

ContractionProblem dot_problem(const Node& dot, kernel::ParamTable& param_table, bool constant_rhs) {
  const Shape a = dot.operand(0)->type.shape, b = dot.operand(1)->type.shape, out = dot.result()->type.shape;
  const size_t rank = out.size();
  const Shape batch(out.begin(), out.end() - 2);
  ContractionProblem p;
  p.batch = product(batch);
  p.m = out[rank - 2];
  p.n = out[rank - 1];
  p.k = a[rank - 1];
  kernel::ParamTable* params = &param_table;
  const auto with_batch = [=](const Shape& shape, const Expr& at, const Expr& x, const Expr& y) {
    Index index = delinearize(at, batch, *params);
    for (size_t d = 0; d < batch.size(); ++d) {
      if (shape[d].is_const(1)) index[d] = int_const(0);
    }
    index.push_back(x);
    index.push_back(y);
    return index;
  };
  p.out_index = [=](const Expr& at, const Expr& m, const Expr& n) { return with_batch(out, at, m, n); };
  p.a_index = [=](const Expr& at, const Expr& m, const Expr& k) { return with_batch(a, at, m, k); };
  p.b_index = [=](const Expr& at, const Expr& k, const Expr& n) { return with_batch(b, at, k, n); };
  if (constant_rhs) {
    const int64_t k = p.k.value(), n = p.n.value();
    p.b_batches = product(Shape(b.begin(), b.end() - 2)).value();
    p.b_element = [k, n](int64_t at, int64_t kk, int64_t column) { return (at * k + kk) * n + column; };
    const Shape own(b.begin(), b.end() - 2);
    if (own != batch) {  // some axes of the batch share their matrices
      p.b_batch = [=](const Expr& at) {
        const Index index = delinearize(at, batch, *params);
        Expr which = int_const(0);
        for (size_t d = 0; d < own.size(); ++d)
          if (!own[d].is_const(1))
            which = kernel::add(kernel::mul(which, int_const(own[d].value())), index[d]);
        return which;
      };
    }
  }
  return p;
}

ConvGeometry conv_geometry(const Node& conv) {
  const Shape& x = conv.operand(0)->type.shape;
  const Shape& w = conv.operand(1)->type.shape;
  const Shape& out = conv.result()->type.shape;
  const auto extents = [](const Shape& shape, size_t first) {
    Shape all(3, Dim(1));
    std::copy(shape.begin() + static_cast<std::ptrdiff_t>(first), shape.end(),
              all.end() - static_cast<std::ptrdiff_t>(shape.size() - first));
    return all;
  };
  const Shape in = extents(x, 2), to = extents(out, 2), window = extents(w, 2);
  ConvGeometry g;
  g.images = x[0];
  g.channels = w[1].value();
  g.depth = in[0], g.height = in[1], g.width = in[2];
  g.out_depth = to[0], g.out_height = to[1], g.out_width = to[2];
  g.window_d = window[0].value(), g.window_h = window[1].value(), g.window_w = window[2].value();
  const auto strides = spatial(conv.ints("strides"), 1), dilations = spatial(conv.ints("dilations"), 1),
             low = spatial(conv.ints("low"), 0);
  g.stride_d = strides[0], g.stride_h = strides[1], g.stride_w = strides[2];
  g.dilation_d = dilations[0], g.dilation_h = dilations[1], g.dilation_w = dilations[2];
  g.pad_front = low[0], g.pad_top = low[1], g.pad_left = low[2];
  return g;
}

ContractionProblem conv_problem(const Node& conv, kernel::ParamTable& param_table) {
  const ConvGeometry g = conv_geometry(conv);
  const Shape& w = conv.operand(1)->type.shape;
  const int64_t groups = conv.int_attr("groups"), columns = w[0].value() / groups,
                taps = g.window_d * g.window_h * g.window_w;
  const size_t rank = conv.operand(0)->type.shape.size();
  kernel::ParamTable* params = &param_table;
  const Shape pixels{g.images, g.out_depth, g.out_height, g.out_width};
  ContractionProblem p;
  p.geometry = g;
  p.batch = groups;
  p.m = product(pixels);
  p.n = columns;
  p.k = g.channels * taps;
  const auto at_pixel = [=](const Expr& m, const Expr& channel) {
    const Index i = delinearize(m, pixels, *params);
    return spatial_index(rank, i[0], channel, i[1], i[2], i[3]);
  };
  p.out_index = [=](const Expr& b, const Expr& m, const Expr& n) {
    return at_pixel(m, kernel::add(kernel::mul(b, int_const(columns)), n));
  };
  // A window of one pixel, without padding or stride: rows of pixels are rows of A.
  p.windows = !(taps == 1 && all_are(conv.ints("strides"), 1) && all_are(conv.ints("low"), 0) &&
                all_are(conv.ints("high"), 0));
  p.a_index = [=](const Expr& b, const Expr& m, const Expr& k) {
    return at_pixel(m, kernel::add(kernel::mul(b, int_const(g.channels)), k));
  };
  // Steps follow each other in memory: counting on along the innermost dimension is counting all of them. (An
  // index into a dimension of extent 1 is taken for 0.)
  size_t innermost = 1;
  for (const size_t d : step_dimensions(rank)) {
    innermost = d;
    if (!w[d].is_const(1)) break;
  }
  p.b_index = [=](const Expr& b, const Expr& k, const Expr& n) {
    Index index(rank, int_const(0));
    index[0] = kernel::add(kernel::mul(b, int_const(columns)), n);
    index[innermost] = k;
    return index;
  };
  // w[o, c, tap]; k = (tap, c).
  p.b_batches = groups;
  const int64_t channels = g.channels;
  p.b_element = [=](int64_t b, int64_t k, int64_t n) {
    return ((b * columns + n) * channels + k % channels) * taps + k / channels;
  };
  return p;
}

bool is_pixel_shuffle(const Node& conv) {
  const std::vector<int64_t>& steps = conv.ints("lhs_dilations");
  const Shape& w = conv.operand(1)->type.shape;
  if (all_are(steps, 1) || steps.size() > 2 || conv.int_attr("groups") != 1 ||
      !all_are(conv.ints("strides"), 1) || !all_are(conv.ints("dilations"), 1))
    return false;
  for (size_t d = 0; d < steps.size(); ++d) {
    if (!w[d + 2].is_const(steps[d]) || conv.ints("low")[d] != steps[d] - 1 ||
        conv.ints("high")[d] != steps[d] - 1)
      return false;
  }
  return true;
}

// out[m, (dy, dx, o)]: rows are the input's pixels, columns the places inside a block and its channels.
ContractionProblem pixel_shuffle_problem(const Node& conv, kernel::ParamTable& param_table) {
  const Shape &x = conv.operand(0)->type.shape, &w = conv.operand(1)->type.shape;
  const bool one = x.size() == 3;
  const auto steps = spatial(conv.ints("lhs_dilations"), 1);
  const int64_t channels = w[1].value(), outputs = w[0].value(), sh = steps[1], sw = steps[2];
  kernel::ParamTable* params = &param_table;
  const Shape pixels{x[0], one ? Dim(1) : x[2], x.back()};
  ContractionProblem p;
  p.m = product(pixels);
  p.n = sh * sw * outputs;
  p.k = channels;
  p.a_index = [=](const Expr&, const Expr& m, const Expr& k) {
    const Index i = delinearize(m, pixels, *params);
    return one ? Index{i[0], k, i[2]} : Index{i[0], k, i[1], i[2]};
  };
  p.out_index = [=](const Expr&, const Expr& m, const Expr& n) {
    const Index i = delinearize(m, pixels, *params),
                inside = delinearize(n, {Dim(sh), Dim(sw), Dim(outputs)}, *params);
    const Expr y = kernel::add(kernel::mul(i[1], int_const(sh)), inside[0]),
               column = kernel::add(kernel::mul(i[2], int_const(sw)), inside[1]);
    return one ? Index{i[0], inside[2], column} : Index{i[0], inside[2], y, column};
  };
  p.b_element = [=](int64_t, int64_t k, int64_t n) {
    const int64_t o = n % outputs, dx = n / outputs % sw, dy = n / outputs / sw;
    return ((o * channels + k) * sh + (sh - 1 - dy)) * sw + (sw - 1 - dx);
  };
  return p;
}

}  // namespace tern::lower
