#include "compiler/lower/contraction_body.h"

#include <doctest/doctest.h>

#include <cmath>

#include "compiler/kernel/assign_scratch.h"
#include "compiler/kernel/simplify.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/winograd_weights.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using Index = std::vector<Expr>;

// Address of a logical index in memory ordered as `order`.
Expr address(const std::vector<int64_t>& shape, const std::vector<int>& order, const Index& index) {
  Expr at = int_const(0);
  for (const int d : order)
    at =
        kernel::add(kernel::mul(at, int_const(shape[static_cast<size_t>(d)])), index[static_cast<size_t>(d)]);
  return at;
}

int64_t address(const std::vector<int64_t>& shape, const std::vector<int>& order,
                const std::vector<int64_t>& index) {
  int64_t at = 0;
  for (const int d : order) at = at * shape[static_cast<size_t>(d)] + index[static_cast<size_t>(d)];
  return at;
}

struct Operand {
  std::vector<int64_t> shape;
  std::vector<int> order;
  std::vector<float> data;
};

Operand make(std::vector<int64_t> shape, std::vector<int> order, int seed) {
  Operand o{std::move(shape), std::move(order), {}};
  int64_t count = 1;
  for (const int64_t d : o.shape) count *= d;
  for (int64_t i = 0; i < count; ++i) o.data.push_back(static_cast<float>((i * 7 + seed) % 11 - 5));
  return o;
}

kernel::EvalBinding bytes(std::vector<float>& v) {
  return {reinterpret_cast<uint8_t*>(v.data()), static_cast<int64_t>(v.size() * 4)};
}

// What the dispatch before a convolution by Winograd's algorithm makes of its weights.
TensorDataPtr transformed_weights(const graph::Node& conv, const TensorData& weights, int outputs,
                                  Level level) {
  kernel::ParamTable unused;
  const ContractionProblem problem = conv_problem(conv, unused);
  WinogradWeights w;
  w.transform = &winograd_transform(outputs, static_cast<int>(problem.geometry.stride_h));
  w.columns = problem.n.value();
  w.planes = problem.geometry.window_d;
  w.channels = problem.geometry.channels;
  const TensorDataPtr panels = pack_panels(weights, {1, problem.k.value(), w.columns, problem.b_element});
  kernel::Kernel k;
  k.name = "weights";
  k.bindings = {kernel::make_buffer("from", {DType::kF32, 1}, kernel::Scope::kGlobal, kernel::Access::kRead),
                kernel::make_buffer("to", {DType::kF32, 1}, kernel::Scope::kGlobal, kernel::Access::kWrite)};
  ContractionBody body = build_winograd_weights(w, machine(level), k.bindings[0], k.bindings[1]);
  k.grid = body.grid;
  k.body = body.body;
  k.schedule = body.schedule;
  kernel::simplify(k);
  REQUIRE_MESSAGE(kernel::verify(k).empty(), kernel::verify(k));
  std::vector<float> from(panels->as<float>(), panels->as<float>() + panels->count());
  auto to = TensorData::make(DType::kF32, {w.elements()});
  int64_t tiles = 1;
  for (const kernel::GridAxis& axis : k.grid) tiles *= axis.extent.value();
  const kernel::EvalBinding result{to->mutable_bytes().data(), w.elements() * 4};
  const Result<int32_t> status = kernel::evaluate(k, {bytes(from), result}, {}, 0, tiles);
  REQUIRE_MESSAGE(status.ok(), status.error().text());
  return to;
}

// Runs the kernel of `root` and returns the output in `order`.
std::vector<float> run(const graph::Node& root, Operand& a, Operand& b, bool constant_rhs,
                       const std::vector<int>& out_order, Level level, int winograd = 0) {
  const kernel::Buffer ab =
      kernel::make_buffer("a", {DType::kF32, 1}, kernel::Scope::kGlobal, kernel::Access::kRead);
  const kernel::Buffer bb =
      kernel::make_buffer("b", {DType::kF32, 1}, kernel::Scope::kGlobal, kernel::Access::kRead);
  const kernel::Buffer ob =
      kernel::make_buffer("out", {DType::kF32, 1}, kernel::Scope::kGlobal, kernel::Access::kWrite);
  kernel::ParamTable params;
  TensorDataPtr packed;
  ContractionRequest r;
  r.root = &root;
  r.machine = &machine(level);
  r.winograd = winograd;
  r.params = &params;
  r.hint = [](const Dim& d) { return d.value(); };
  r.element = [&](int operand, const Index& index) {
    const Operand& o = operand == 0 ? a : b;
    return kernel::load(operand == 0 ? ab : bb, address(o.shape, o.order, index));
  };
  if (constant_rhs) {
    auto data = TensorData::make(DType::kF32, b.shape);
    std::copy(b.data.begin(), b.data.end(), data->mutable_as<float>());
    r.constant_rhs = data;
  }
  r.pack = [&](const std::function<TensorDataPtr()>& make_packed, const auto&) {
    packed = make_packed();
    return bb;
  };
  r.pack_parameter = [&](ContractionRequest::Parameter, const std::function<TensorDataPtr()>& make_packed) {
    packed = make_packed();
    return bb;
  };
  r.winograd_weights = [&] {
    packed = transformed_weights(root, *r.constant_rhs, winograd, level);
    return bb;
  };
  const std::vector<int64_t> out_shape = static_dims(root.result()->type.shape);
  r.finish = [&](const std::function<Index(const Expr&)>& index_at, const Expr& n, const Expr& value,
                 int lanes, const Expr& count) {
    // Columns may be strided in the output: one store a lane then.
    std::vector<kernel::Stmt> out;
    for (int l = 0; l < lanes; ++l) {
      const Expr one = lanes == 1 ? value : kernel::shuffle(value, nullptr, {l});
      kernel::Stmt s =
          kernel::store(ob, address(out_shape, out_order, index_at(kernel::add(n, int_const(l)))), one);
      out.push_back(count ? kernel::if_then(kernel::compare(kernel::ScalarOp::kLt, int_const(l), count), {s})
                          : s);
    }
    return out;
  };
  REQUIRE(contraction_fits(root, r.constant_rhs));
  ContractionBody body = build_contraction(r);
  kernel::Kernel k;
  k.name = "contraction";
  k.bindings = {ab, bb, ob};
  k.params = params.params();
  k.grid = body.grid;
  k.body = body.body;
  k.schedule = body.schedule;
  kernel::simplify(k);
  kernel::assign_scratch(k);
  REQUIRE_MESSAGE(kernel::verify(k).empty(), kernel::verify(k));
  std::vector<float> packed_data;
  if (packed) packed_data.assign(packed->as<float>(), packed->as<float>() + packed->count());
  int64_t count = 1, tiles = 1;
  for (const int64_t d : out_shape) count *= d;
  for (const kernel::GridAxis& axis : k.grid) tiles *= axis.extent.value();
  std::vector<float> out(static_cast<size_t>(count), -999);
  const Result<int32_t> status =
      kernel::evaluate(k, {bytes(a.data), bytes(packed ? packed_data : b.data), bytes(out)}, {}, 0, tiles);
  REQUIRE_MESSAGE(status.ok(), status.error().text());
  return out;
}

graph::Value* input(graph::Graph& g, const std::vector<int64_t>& shape) {
  graph::Value* v = g.new_value(graph::Type::tensor(DType::kF32, Shape(shape.begin(), shape.end())));
  v->block = &g.body;
  g.body.args.push_back(v);
  return v;
}

void check_dot(const std::vector<int64_t>& as, const std::vector<int64_t>& bs, bool constant,
               bool transposed_b, Level level, bool transposed_a = false) {
  graph::Graph g;
  graph::Builder builder(g, g.body);
  const graph::Value* result = builder.dot(input(g, as), input(g, bs));
  std::vector<int> dense(as.size());
  for (size_t i = 0; i < dense.size(); ++i) dense[i] = static_cast<int>(i);
  std::vector<int> b_order = dense, a_order = dense;
  if (transposed_b) std::swap(b_order[b_order.size() - 1], b_order[b_order.size() - 2]);
  if (transposed_a) std::swap(a_order[a_order.size() - 1], a_order[a_order.size() - 2]);
  Operand a = make(as, a_order, 1), b = make(bs, constant ? dense : b_order, 2);
  const std::vector<float> out = run(*result->def, a, b, constant, dense, level);
  const std::vector<int64_t> shape = static_dims(result->type.shape);
  const size_t r = shape.size();
  const int64_t m_count = shape[r - 2], n_count = shape[r - 1], k_count = as[r - 1];
  int64_t batches = 1;
  for (size_t d = 0; d + 2 < r; ++d) batches *= shape[d];
  for (int64_t at = 0; at < batches; ++at) {
    std::vector<int64_t> ia(r), ibx(r), io(r);
    int64_t rest = at;
    for (size_t d = r - 2; d-- > 0; rest /= shape[d]) {
      io[d] = rest % shape[d];
      ia[d] = as[d] == 1 ? 0 : io[d];
      ibx[d] = bs[d] == 1 ? 0 : io[d];
    }
    for (int64_t m = 0; m < m_count; ++m) {
      for (int64_t n = 0; n < n_count; ++n) {
        float want = 0;
        for (int64_t k = 0; k < k_count; ++k) {
          ia[r - 2] = m, ia[r - 1] = k, ibx[r - 2] = k, ibx[r - 1] = n;
          want += a.data[static_cast<size_t>(address(as, a.order, ia))] *
                  b.data[static_cast<size_t>(address(bs, b.order, ibx))];
        }
        io[r - 2] = m, io[r - 1] = n;
        REQUIRE(out[static_cast<size_t>(address(shape, dense, io))] == want);
      }
    }
  }
}

struct ConvCase {
  int64_t images, channels, height, width, outputs, window, stride, pad, dilation, groups;
  int winograd = 0;  // outputs of its tile; the results are not exact then
  // Of volumes: `depth` planes, of which a window has `window_d`.
  int64_t depth = 0, window_d = 1, stride_d = 1, pad_d = 0, dilation_d = 1;
};

void check_conv(const ConvCase& c, Level level) {
  CAPTURE(c.channels);
  CAPTURE(c.outputs);
  CAPTURE(c.window);
  CAPTURE(c.groups);
  graph::Graph g;
  graph::Builder builder(g, g.body);
  using Ints = std::vector<int64_t>;
  const bool volume = c.depth > 0;
  const int64_t depth = volume ? c.depth : 1;
  // Depth goes where it is of volumes, and nowhere else.
  const auto with_depth = [&](Ints dims, size_t at, int64_t d) {
    if (volume) dims.insert(dims.begin() + static_cast<std::ptrdiff_t>(at), d);
    return dims;
  };
  const Ints xs = with_depth({c.images, c.channels, c.height, c.width}, 2, depth),
             ws = with_depth({c.outputs, c.channels / c.groups, c.window, c.window}, 2, c.window_d);
  const graph::Node* conv =
      builder.node(graph::OpKind::kConv, {input(g, xs), input(g, ws)},
                   {{"strides", with_depth({c.stride, c.stride}, 0, c.stride_d)},
                    {"low", with_depth({c.pad, c.pad}, 0, c.pad_d)},
                    {"high", with_depth({c.pad, c.pad}, 0, c.pad_d)},
                    {"dilations", with_depth({c.dilation, c.dilation}, 0, c.dilation_d)},
                    {"lhs_dilations", with_depth({1, 1}, 0, 1)},
                    {"groups", c.groups}});
  using Order = std::vector<int>;
  const Order out_order = volume ? Order{0, 2, 3, 4, 1} : Order{0, 2, 3, 1};
  Operand x = make(xs, out_order, 3), w = make(ws, volume ? Order{0, 1, 2, 3, 4} : Order{0, 1, 2, 3}, 4);
  const std::vector<float> out = run(*conv, x, w, true, out_order, level, c.winograd);
  const Ints os = static_dims(conv->result()->type.shape);
  const int64_t in_group = c.channels / c.groups, out_group = c.outputs / c.groups;
  const auto check = [&](int64_t n, int64_t o, int64_t d, int64_t y, int64_t z) {
    float want = 0, size = 0;
    const auto tap = [&](int64_t i, int64_t kz, int64_t ky, int64_t kx) {
      const int64_t iz = d * c.stride_d + kz * c.dilation_d - c.pad_d,
                    iy = y * c.stride + ky * c.dilation - c.pad, ix = z * c.stride + kx * c.dilation - c.pad;
      if (iz < 0 || iz >= depth || iy < 0 || ix < 0 || iy >= c.height || ix >= c.width) return;
      const Ints at = with_depth({n, o / out_group * in_group + i, iy, ix}, 2, iz),
                 weight = with_depth({o, i, ky, kx}, 2, kz);
      const float product = x.data[static_cast<size_t>(address(xs, x.order, at))] *
                            w.data[static_cast<size_t>(address(ws, w.order, weight))];
      want += product;
      size += std::abs(product);
    };
    for (int64_t i = 0; i < in_group; ++i) {
      for (int64_t t = 0; t < c.window_d * c.window * c.window; ++t)
        tap(i, t / (c.window * c.window), t / c.window % c.window, t % c.window);
    }
    const float got = out[static_cast<size_t>(address(os, out_order, with_depth({n, o, y, z}, 2, d)))];
    if (c.winograd == 0) {
      REQUIRE(got == want);
    } else {
      REQUIRE(std::abs(got - want) <= 4e-6F * (size + 25.0F * 9));
    }
  };
  int64_t count = 1;
  for (const int64_t d : os) count *= d;
  const int64_t width = os.back(), height = os[os.size() - 2], planes = volume ? os[2] : 1;
  for (int64_t i = 0; i < count; ++i)
    check(i / (width * height * planes * os[1]), i / (width * height * planes) % os[1],
          i / (width * height) % planes, i / width % height, i % width);
}

const Level kLevels[] = {Level::kX86V2, Level::kX86V3, Level::kX86V4, Level::kAArch64};

TEST_CASE("dot: packed, in place and transposed right operands, shared and separate batches") {
  for (const Level level : kLevels) {
    check_dot({5, 7}, {7, 33}, true, false, level);
    check_dot({1, 40}, {40, 20}, true, false, level);
    check_dot({13, 9}, {9, 17}, false, false, level);
    check_dot({13, 9}, {9, 17}, false, true, level);
    check_dot({2, 3, 4, 6}, {2, 3, 6, 5}, false, true, level);
    check_dot({2, 3, 4, 6}, {1, 3, 6, 5}, false, false, level);
    check_dot({3, 4, 6}, {3, 6, 18}, true, false, level);
  }
}

TEST_CASE("dot: a right operand whose rows crowd the caches is copied by panels") {
  for (const Level level : kLevels) {
    check_dot({31, 36}, {36, 1024}, false, false, level);
    check_dot({31, 36}, {36, 1008}, false, false, level);  // other rows: in place
  }
}

TEST_CASE("dot: a transposed left operand is turned in squares, rows and steps left over") {
  for (const Level level : kLevels) {
    check_dot({37, 21}, {21, 17}, true, false, level, true);
    check_dot({2, 16, 35}, {2, 35, 9}, false, false, level, true);
    check_dot({3, 5, 6}, {3, 6, 18}, false, true, level, true);
    check_dot({20, 1100}, {1100, 5}, true, false, level, true);  // two blocks of the depth
  }
}

TEST_CASE("conv: pointwise, windows, strides, padding, dilation, groups, few channels, depthwise") {
  for (const Level level : kLevels) {
    check_conv({1, 24, 5, 5, 20, 1, 1, 0, 1, 1}, level);
    check_conv({2, 8, 6, 5, 18, 3, 1, 1, 1, 1}, level);
    check_conv({1, 3, 9, 11, 16, 3, 2, 1, 1, 1}, level);
    check_conv({1, 1, 9, 11, 16, 3, 1, 1, 1, 1}, level);
    check_conv({1, 5, 9, 9, 7, 3, 1, 2, 2, 1}, level);
    check_conv({1, 12, 6, 6, 8, 3, 1, 1, 1, 2}, level);
    check_conv({1, 19, 9, 10, 19, 3, 1, 1, 1, 19}, level);
    check_conv({2, 8, 9, 9, 8, 5, 2, 2, 1, 8}, level);
    check_conv({1, 40, 3, 3, 20, 3, 1, 1, 1, 1}, level);
  }
}

TEST_CASE("depthwise conv: lines of known length in uneven tiles, whose ends leave taps out") {
  for (const Level level : kLevels) {
    // images, channels, height, width, outputs, window, stride, pad, dilation, groups
    check_conv({1, 19, 4, 23, 19, 3, 1, 1, 1, 19}, level);  // tiles of 8, 8 and 7
    check_conv({2, 16, 3, 40, 16, 3, 1, 1, 1, 16}, level);  // a loop between the ends
    check_conv({1, 17, 5, 41, 17, 3, 1, 0, 1, 17}, level);  // no ends, two loops
    check_conv({1, 8, 6, 14, 8, 5, 1, 2, 1, 8}, level);     // no tile inside
    check_conv({1, 9, 7, 33, 9, 5, 2, 2, 1, 9}, level);
    check_conv({1, 8, 14, 13, 8, 3, 1, 6, 6, 8}, level);    // taps of which a tile has none
    check_conv({1, 16, 9, 20, 16, 7, 1, 3, 1, 16}, level);  // a window's line in two parts
    check_conv({1, 8, 3, 30, 8, 13, 1, 6, 1, 8}, level);    // lines of a window in a loop
    check_conv({1, 19, 9, 20, 19, 9, 2, 4, 1, 19}, level);
    check_conv({1, 8, 3, 101, 8, 31, 1, 15, 1, 8}, level);    // too many taps: columns at the ends one by one
    check_conv({1, 8, 3, 2, 8, 5, 1, 2, 1, 8}, level);        // narrower than the window
    check_conv({1, 300, 2, 9, 300, 3, 1, 1, 1, 300}, level);  // one vector of channels after the other
  }
}

TEST_CASE("depthwise conv: whole cache lines at once where pixels share sets of L1, or outgrow L2") {
  for (const Level level : kLevels) {
    check_conv({1, 512, 2, 7, 512, 3, 1, 1, 1, 512}, level);  // all channels of a tile of pixels
    check_conv({2, 512, 3, 12, 512, 3, 2, 1, 1, 512}, level);
    check_conv({1, 768, 2, 7, 768, 5, 1, 2, 1, 768}, level);      // filters beyond their share of L2
    check_conv({1, 1100, 1, 22, 1100, 3, 1, 2, 2, 1100}, level);  // a vector and a half are left
  }
}

TEST_CASE("few columns: lanes of the depth, what is left of it and of the rows, batches, groups, windows") {
  for (const Level level : kLevels) {
    check_dot({13, 200}, {200, 3}, true, false, level);
    check_dot({1, 403}, {403, 1}, true, false, level);
    check_dot({3, 11, 301}, {3, 301, 2}, true, false, level);  // other columns in each batch
    check_dot({37, 256}, {256, 4}, true, false, level, true);  // A is turned first
    check_dot({29, 320}, {320, 8}, true, false, level);        // half of a vector of 512 bits
    check_dot({2, 9000}, {9000, 2}, true, false, level);
    // images, channels, height, width, outputs, window, stride, pad, dilation, groups
    check_conv({1, 40, 7, 9, 3, 3, 1, 1, 1, 1}, level);
    check_conv({2, 13, 6, 8, 4, 5, 2, 2, 1, 1}, level);
    check_conv({1, 300, 5, 7, 2, 1, 1, 0, 1, 1}, level);
    check_conv({1, 96, 5, 6, 6, 3, 1, 1, 1, 3}, level);
  }
}

TEST_CASE("conv of small groups: members spread over lanes, or shared by a vector") {
  for (const Level level : kLevels) {
    // images, channels, height, width, outputs, window, stride, pad, dilation, groups
    check_conv({1, 24, 5, 17, 24, 3, 1, 1, 1, 6}, level);    // of 4: a vector and two groups
    check_conv({2, 36, 4, 9, 36, 3, 2, 1, 1, 9}, level);     // the last vector is half a one
    check_conv({1, 10, 6, 23, 10, 3, 1, 2, 2, 5}, level);    // of 2
    check_conv({1, 16, 3, 6, 16, 1, 1, 0, 1, 4}, level);     // no windows
    check_conv({1, 24, 5, 19, 24, 3, 1, 1, 1, 3}, level);    // of 8
    check_conv({1, 10, 5, 12, 16, 5, 2, 2, 1, 2}, level);    // 5 inputs, 8 outputs
    check_conv({1, 9, 5, 12, 12, 3, 1, 1, 1, 3}, level);     // 3 inputs, 4 outputs
    check_conv({1, 15, 5, 13, 30, 3, 1, 1, 1, 15}, level);   // 1 input, 2 outputs; the last vector is 6
    check_conv({2, 9, 5, 9, 36, 3, 2, 1, 1, 9}, level);      // 1 input, 4 outputs
    check_conv({1, 14, 4, 11, 28, 3, 1, 1, 1, 7}, level);    // 2 inputs, 4 outputs
    check_conv({1, 16, 3, 6, 16, 1, 1, 0, 1, 2}, level);     // of 8, no windows
    check_conv({1, 12, 3, 6, 24, 1, 1, 0, 1, 3}, level);     // 4 inputs, 8 outputs, no windows
    check_conv({1, 512, 3, 5, 512, 3, 1, 1, 1, 64}, level);  // one vector of channels after the other
    check_conv({1, 64, 3, 5, 64, 3, 1, 1, 1, 4}, level);     // of 16: a product
  }
}

TEST_CASE("conv by Winograd: edges, odd sizes, any padding, blocks of tiles and columns, rest columns") {
  for (const Level level : kLevels) {
    for (const int outputs : {2, 4}) {
      check_conv({1, 16, 8, 8, 16, 3, 1, 1, 1, 1, outputs}, level);
      check_conv({2, 5, 7, 5, 18, 3, 1, 1, 1, 1, outputs}, level);
      check_conv({1, 20, 9, 6, 40, 3, 1, 0, 1, 1, outputs}, level);
      check_conv({3, 3, 5, 13, 33, 3, 1, 2, 1, 1, outputs}, level);
      check_conv({1, 1, 3, 3, 1, 3, 1, 1, 1, 1, outputs}, level);
    }
    for (const int outputs : {3, 4}) {
      check_conv({1, 16, 12, 16, 16, 3, 2, 1, 1, 1, outputs}, level);
      check_conv({2, 5, 11, 9, 18, 3, 2, 1, 1, 1, outputs}, level);
      check_conv({1, 20, 9, 14, 40, 3, 2, 0, 1, 1, outputs}, level);
      check_conv({1, 3, 5, 13, 33, 3, 2, 2, 1, 1, outputs}, level);
    }
    check_conv({1, 200, 30, 34, 16, 3, 1, 1, 1, 1, 4}, level);
  }
}

TEST_CASE("conv of volumes: windows, and by Winograd their planes; padding, steps and dilations in depth") {
  for (const Level level : kLevels) {
    for (const int outputs : {0, 2, 4}) {
      check_conv({1, 16, 8, 8, 16, 3, 1, 1, 1, 1, outputs, 3, 3, 1, 1}, level);
      check_conv({2, 5, 7, 5, 18, 3, 1, 1, 1, 1, outputs, 5, 3, 2, 1}, level);
      check_conv({1, 3, 5, 6, 17, 3, 1, 0, 1, 1, outputs, 6, 2, 1, 2, 3}, level);
      check_conv({2, 20, 4, 5, 16, 3, 1, 1, 1, 1, outputs, 3, 1, 1, 0}, level);
      check_conv({1, 4, 4, 5, 16, 3, 1, 1, 1, 1, outputs, 5, 1, 2, 1}, level);
    }
    for (const int outputs : {0, 3, 4})
      check_conv({1, 17, 9, 12, 33, 3, 2, 1, 1, 1, outputs, 5, 3, 2, 1}, level);
  }
}

}  // namespace
}  // namespace tern::lower
