#include <algorithm>

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/cache_sets.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/flat_nest.h"
#include "compiler/lower/line_folds.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/nests.h"
#include "compiler/lower/read_ahead.h"
#include "compiler/lower/streams.h"
#include "compiler/lower/window_loops.h"

namespace tern::lower {
namespace {

using graph::OpKind;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;

constexpr int kLineBits = 512;

class WindowNest {
 public:
  WindowNest(const Region& region, LoweringContext& context)
      : region_(region),
        context_(context),
        root_(*region.root),
        arg_(root_.kind == OpKind::kArgReduceWindow) {}

  void run() {
    const Value* out = region_.outputs[0];
    const Shape& shape = out->type.shape;
    std::vector<bool> pinned(shape.size(), false);
    std::vector<AccessStrides> accesses;
    int64_t taps = 1;
    const auto window = root_.ints("window");
    for (size_t d = 0; d < shape.size(); ++d) {
      taps *= window[d];
      pinned[d] = window[d] != 1 || root_.ints("strides")[d] != 1 || root_.ints("low")[d] != 0 ||
                  root_.ints("high")[d] != 0 || arg_;
    }
    const Place& in = context_.place(root_.operand());
    accesses.push_back({root_.operand(), in.strides, false});
    const RegionAccesses epilogue = collect_accesses(region_, context_, out, {root_.result()});
    accesses.insert(accesses.end(), epilogue.loads.begin(), epilogue.loads.end());
    for (size_t d = 0; d < shape.size(); ++d) pinned[d] = pinned[d] || epilogue.pinned[d];
    for (const Value* v : region_.outputs) accesses.push_back({v, context_.place(v).strides, true});
    axes_ = merge_axes(shape, context_.place(out).layout.order, accesses, pinned);

    DispatchBuilder dispatch(context_, region_);
    dispatch.set_flops(product(shape) * Dim(taps));
    for (const Level level : variant_levels(context_.target())) variant(dispatch, level, taps);
    dispatch.finish();
  }

 private:
  void variant(DispatchBuilder& dispatch, Level level, int64_t taps) {
    ElementEmitter emitter(dispatch);
    if (is_gpu(level_arch(level))) {
      gpu::add_flat_variant(
          dispatch, level, axes_, 2 + 2 * taps,
          [&](const std::vector<Expr>& coordinates) { return element(emitter, coordinates, -1, true); },
          fmt::format("window of {} taps", taps));
      return;
    }
    const int lanes = lanes_for(level);
    if (lanes < nest_lanes(region_, level)) dispatch.stream_halves();
    if (by_lines(dispatch, emitter, level, lanes, taps)) return;
    const int64_t row = axes_.empty() ? 1 : axes_.back().extent.maybe_value().value_or(1);
    reads_ahead_ = comes_from_memory(level, context_.hint(product(root_.operand()->type.shape)) * 4) &&
                   (row % lanes == 0 || machine(level).vector_bits < kLineBits);
    const Tiling tiling = choose_tiling(context_, axes_, 2 + 2 * taps);
    const size_t body_axes = axes_.empty() ? 0 : axes_.size() - 1;
    const int streams = reads_ahead_ && lines_of_run(geometry()) > 0 ? streams_of_rows(level, tiling) : 1;
    NestParts parts = build_nest(
        dispatch, axes_, tiling, body_axes,
        [&](std::vector<Expr> coordinates, const std::vector<AxisRange>& ranges) -> std::vector<Stmt> {
          if (axes_.empty()) return element(emitter, coordinates, -1);
          const kernel::Var v = kernel::make_var("i");
          coordinates.back() = kernel::var_expr(v);
          const Stmt loop =
              kernel::loop(v, ranges.back().begin, ranges.back().extent, kernel::LoopKind::kSerial,
                           element(emitter, coordinates, axes_.back().dims.back()));
          return vector_loop(loop, lanes);
        });
    dispatch.add_variant(level, std::move(parts.grid), in_streams(std::move(parts.body), streams),
                         fmt::format("window of {} taps, {} lanes{}", taps, lanes,
                                     streams > 1 ? fmt::format(", in {} streams", streams) : ""));
  }

  // In how many places of the operand the loop around a row of outputs goes on side by side.
  int streams_of_rows(Level level, const Tiling& tiling) const {
    if (static_cast<size_t>(tiling.tiled) + 1 >= axes_.size()) return 1;
    int64_t bytes = dtype_bits(root_.operand()->type.dtype) / 8;
    for (const int64_t window : root_.ints("window")) bytes *= window;
    for (size_t a = static_cast<size_t>(tiling.tiled) + 1; a < axes_.size(); ++a)
      bytes *= context_.hint(axes_[a].extent);
    return streams_of(read_streams(region_, context_, level), tiling.chunk, bytes);
  }

  // Of how many lines of the operand, one behind the other, a row of outputs is made, where windows lie side
  // by side and there is nothing between those lines: one run of memory. Else 0.
  int64_t lines_of_run(const WindowGeometry& g) const {
    if (axes_.size() < 2) return 0;
    const auto along = static_cast<size_t>(axes_.back().dims.back());
    if (along == 0) return 0;
    const std::vector<Dim>& strides = context_.place(root_.operand()).strides;
    for (size_t d = 0; d < g.axes.size(); ++d) {
      const WindowAxis& a = g.axes[d];
      if (d + 1 != along && d != along ? is_windowed(a)
                                       : a.stride != a.window || a.dilation != 1 || !a.inside)
        return 0;
    }
    const WindowAxis& row = g.axes[along];
    if (!strides[along].is_const(1) || strides[along - 1] != row.extent) return 0;
    const int64_t lines = g.axes[along - 1].window;
    const int64_t bytes = lines * row.extent.value() * dtype_bits(root_.operand()->type.dtype) / 8;
    // Places whole pages apart share sets of L1 with what is asked for in each (rows of 4 KB: 10.3 ms line by
    // line in one place, 11.6 so).
    constexpr int64_t kPlaces = 4;
    return lines_of_set(kPlaces, bytes) > 1 ? 0 : lines;
  }

  bool by_lines(DispatchBuilder& dispatch, ElementEmitter& emitter, Level level, int lanes, int64_t taps) {
    if (arg_ || axes_.empty()) return false;
    const auto vectors = static_cast<size_t>(axes_.back().dims.back());
    if (!context_.place(root_.operand()).strides[vectors].is_const(1)) return false;
    const WindowGeometry g = geometry();
    const std::optional<LineFolds> lines = choose_line_folds(root_, g, axes_, lanes);
    if (!lines) return false;
    const std::vector<NestAxis> outer(axes_.begin(),
                                      axes_.begin() + static_cast<std::ptrdiff_t>(lines->axis) + 1);
    const int64_t columns = lines->columns ? axes_.back().extent.value() : 1;
    const Tiling tiling = choose_tiling(context_, outer, (2 + 2 * lines->cost) * columns);
    const bool rows = lines->axis > 0 && static_cast<size_t>(tiling.tiled) < lines->axis;
    NestParts parts =
        build_nest(dispatch, outer, tiling, lines->axis - (rows ? 1 : 0),
                   [&](std::vector<Expr> coordinates, const std::vector<AxisRange>& ranges) {
                     coordinates.resize(axes_.size());
                     return fold_lines(emitter, root_, g, axes_, *lines, std::move(coordinates),
                                       rows ? &ranges[lines->axis - 1] : nullptr, ranges.back(), lanes);
                   });
    dispatch.add_variant(level, std::move(parts.grid), std::move(parts.body),
                         fmt::format("window of {} taps by lines, {} lanes", taps, lanes));
    return true;
  }

  // Rows that are half vectors, not whole ones, can be streamed in such.
  int lanes_for(Level level) const {
    const int lanes = nest_lanes(region_, level);
    if (axes_.empty() || !axes_.back().extent.is_const() || machine(level).vector_bits < kLineBits)
      return lanes;
    const int64_t row = axes_.back().extent.value();
    const bool streams = std::any_of(region_.outputs.begin(), region_.outputs.end(), [&](const Value* v) {
      return dtype_bits(v->type.dtype) == 32 &&
             outgrows_caches(level, context_.hint(product(v->type.shape)) * 4);
    });
    return streams && row % lanes != 0 && row % (lanes / 2) == 0 ? lanes / 2 : lanes;
  }

  std::vector<Stmt> element(ElementEmitter& emitter, const std::vector<Expr>& coordinates, int vector_dim,
                            bool on_gpu = false) {
    const WindowGeometry g = geometry();
    const Index index = axis_index(axes_, g.axes.size(), coordinates);
    if (arg_) return arg_element(emitter, index, g, vector_dim);
    return fold_element(emitter, index, g, vector_dim, on_gpu && has_short_fold(g));
  }

  WindowGeometry geometry() const {
    WindowGeometry g;
    for (size_t d = 0; d < root_.operand()->type.shape.size(); ++d) {
      g.axes.push_back({root_.operand()->type.shape[d], root_.ints("window")[d], root_.ints("strides")[d],
                        root_.ints("low")[d], root_.ints("dilations")[d], 1, false, root_.ints("high")[d]});
      WindowAxis& a = g.axes.back();
      const Dim& outputs = root_.result()->type.shape[d];
      if (a.low == 0 && a.extent.is_const() && outputs.is_const())
        a.inside = (outputs.value() - 1) * a.stride + (a.window - 1) * a.dilation < a.extent.value();
    }
    return g;
  }

  // Few taps over pixels of constant size, none along the innermost axis, which vectors run along.
  bool has_short_fold(const WindowGeometry& g) const {
    constexpr int64_t kMostTaps = 32;
    int64_t taps = 1;
    for (const WindowAxis& a : g.axes) {
      taps *= a.window;
      if (is_windowed(a) && (!a.extent.is_const() || a.extent.value() < 1)) return false;
    }
    return taps <= kMostTaps && !axes_.empty() &&
           !is_windowed(g.axes[static_cast<size_t>(axes_.back().dims.back())]);
  }
  static bool is_windowed(const WindowAxis& a) { return a.window != 1 || a.stride != 1 || a.low != 0; }

  // Every tap is asked for before the first one is used, so that no load waits for another one. Taps outside
  // read what lies nearest and count as nothing.
  Expr short_fold(ElementEmitter& emitter, const Index& index, const WindowGeometry& g,
                  std::vector<Stmt>& out) const {
    struct Point {
      Index at;
      Expr inside;  // null: always
    };
    std::vector<Point> points{{index, nullptr}};
    for (size_t d = 0; d < g.axes.size(); ++d) {
      const WindowAxis& a = g.axes[d];
      if (!is_windowed(a)) continue;
      std::vector<Point> wider, along;
      for (int64_t k = 0; k < a.window; ++k) {
        const Expr at = named(
            "at", kernel::add(kernel::mul(index[d], int_const(a.stride)), int_const(k * a.dilation - a.low)),
            out);
        if (a.inside) {
          along.push_back({{at}, nullptr});
          continue;
        }
        const Expr extent = int_const(a.extent.value()), last = int_const(a.extent.value() - 1);
        along.push_back({{named("nearest", kernel::max(kernel::min(at, last), int_const(0)), out)},
                         named("inside", in_range(at, extent), out)});
      }
      for (const Point& p : points) {
        for (const Point& k : along) {
          wider.push_back({p.at, both(p.inside, k.inside)});
          wider.back().at[d] = k.at[0];
        }
      }
      points = std::move(wider);
    }
    const ScalarOp op = root_.scalar_op();
    const DType wide = accumulator_type(root_.result()->type.dtype);
    std::vector<Expr> taps;
    for (const Point& p : points) {
      const Expr x = kernel::cast(emitter.element(root_.operand(), p.at), wide);
      append(out, emitter.take_checks());
      taps.push_back(named("tap", x, out));
    }
    Expr all = kernel::scalar_const(kernel::reduction_identity(op, wide));
    for (size_t i = 0; i < taps.size(); ++i) {
      const Expr one = kernel::op(op, {all, taps[i]});
      all = named("fold", points[i].inside ? kernel::select(points[i].inside, one, all) : one, out);
    }
    return all;
  }

  std::vector<Stmt> fold_element(ElementEmitter& emitter, const Index& index, const WindowGeometry& g,
                                 int vector_dim, bool is_short) {
    const ScalarOp op = root_.scalar_op();
    const DType dtype = root_.result()->type.dtype, wide = accumulator_type(dtype);
    if (is_short) {
      std::vector<Stmt> out;
      const Expr all = short_fold(emitter, index, g, out);
      emitter.bind(root_.result(), kernel::cast(all, dtype));
      append(out, store_outputs(emitter, index));
      emitter.unbind(root_.result());
      return out;
    }
    const kernel::Var acc = kernel::make_var("acc", {wide, 1});
    std::vector<Stmt> out{kernel::declare(acc, kernel::scalar_const(kernel::reduction_identity(op, wide)))};
    const auto taps =
        window_loops(g, index, vector_dim, emitter.dispatch(), [&](const Index& at, const Index&) {
          const Expr x = kernel::cast(emitter.element(root_.operand(), at), wide);
          std::vector<Stmt> body = emitter.take_checks();
          body.push_back(kernel::assign(acc, kernel::op(op, {kernel::var_expr(acc), x})));
          return body;
        });
    out.insert(out.end(), taps.begin(), taps.end());
    if (reads_ahead_ && vector_dim >= 0) append(out, read_on(emitter, index, g, vector_dim));
    emitter.bind(root_.result(), kernel::cast(kernel::var_expr(acc), dtype));
    const auto stores = store_outputs(emitter, index);
    out.insert(out.end(), stores.begin(), stores.end());
    emitter.unbind(root_.result());
    return out;
  }

  // Windows take single elements of some rows at once, which the processor does not follow fast enough: what
  // lies some KB behind the first tap along the lanes, in each row of the window.
  std::vector<Stmt> read_on(ElementEmitter& emitter, const Index& index, const WindowGeometry& g,
                            int vector_dim) const {
    WindowGeometry rows = g;
    WindowAxis& along = rows.axes[static_cast<size_t>(vector_dim)];
    if (is_windowed(along) && !along.inside) return {};
    along.window = 1;
    const int64_t lines = lines_of_run(g);
    if (lines > 0) rows.axes[static_cast<size_t>(vector_dim) - 1].window = 1;
    const kernel::Buffer from = emitter.dispatch().buffer_of(root_.operand());
    const int bits = dtype_bits(from->type.dtype);
    if (bits < 8) return {};
    return window_loops(rows, index, vector_dim, emitter.dispatch(), [&](const Index& at, const Index&) {
      Expr first = emitter.address(root_.operand(), at);
      // All lines of the run in its order (average pool of 2 x 2 in four places 22 to 26 GB/s).
      if (lines > 1)
        first = kernel::add(first, kernel::mul(index[static_cast<size_t>(vector_dim)],
                                               int_const((lines - 1) * along.stride)));
      return std::vector<Stmt>{
          kernel::prefetch(from, kernel::add(first, int_const(kNearBytesAhead * 8 / bits)), true)};
    });
  }

  std::vector<Stmt> arg_element(ElementEmitter& emitter, const Index& index, const WindowGeometry& g,
                                int vector_dim) {
    const DType dtype = root_.operand()->type.dtype;
    const kernel::Var best = kernel::make_var("best", {dtype, 1}), where = kernel::make_var("where");
    std::vector<Stmt> out{kernel::declare(best, kernel::scalar_const(scalar::lowest(dtype))),
                          kernel::declare(where, int_const(-1))};
    const Shape& shape = root_.operand()->type.shape;
    const auto taps =
        window_loops(g, index, vector_dim, emitter.dispatch(), [&](const Index& at, const Index&) {
          const kernel::Var x = kernel::make_var("x", {dtype, 1});
          const Expr value = emitter.element(root_.operand(), at);
          std::vector<Stmt> body = emitter.take_checks();
          body.push_back(kernel::let(x, value));
          Expr flat = int_const(0);
          for (size_t d = 0; d < shape.size(); ++d)
            flat = kernel::add(kernel::mul(flat, emitter.dispatch().expr(shape[d])), at[d]);
          const Expr xe = kernel::var_expr(x), be = kernel::var_expr(best);
          Expr better = kernel::op(ScalarOp::kOr,
                                   {kernel::compare(ScalarOp::kGt, xe, be),
                                    kernel::compare(ScalarOp::kLt, kernel::var_expr(where), int_const(0))});
          if (is_float(dtype)) {  // a NaN is greater than everything but an earlier NaN
            const Expr first_nan = kernel::op(
                ScalarOp::kAnd, {kernel::op(ScalarOp::kIsNan, {xe}),
                                 kernel::op(ScalarOp::kNot, {kernel::op(ScalarOp::kIsNan, {be})})});
            better = kernel::op(ScalarOp::kOr, {better, first_nan});
          }
          body.push_back(kernel::if_then(better, {kernel::assign(best, xe), kernel::assign(where, flat)}));
          return body;
        });
    out.insert(out.end(), taps.begin(), taps.end());
    emitter.bind(root_.result(), kernel::var_expr(where));
    const auto stores = store_outputs(emitter, index);
    out.insert(out.end(), stores.begin(), stores.end());
    emitter.unbind(root_.result());
    return out;
  }

  const Region& region_;
  LoweringContext& context_;
  const graph::Node& root_;
  const bool arg_;
  bool reads_ahead_ = false;
  std::vector<NestAxis> axes_;
};

}  // namespace

void lower_window(const Region& region, LoweringContext& context) {
  WindowNest(region, context).run();
}

}  // namespace tern::lower
