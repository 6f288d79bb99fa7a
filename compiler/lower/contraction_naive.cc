// Any dot or conv as the plain nest: for each output element a loop over the products, vector lanes along the
// innermost output axis. Constant convolution weights are stored with output channels innermost, so that
// channels-last outputs read them as vectors.
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/contraction.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/flat_nest.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/nests.h"
#include "compiler/lower/short_sums.h"
#include "compiler/lower/window_loops.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;

class NaiveContraction {
 public:
  NaiveContraction(const Region& region, LoweringContext& context)
      : region_(region), context_(context), root_(*region.root), conv_(root_.kind == OpKind::kConv) {
    result_ = root_.result()->type.dtype;
    sum_ = accumulator_type(result_);
  }

  void run() {
    const Value* out = region_.outputs[0];
    const Shape& shape = out->type.shape;
    std::vector<AccessStrides> accesses;
    const RegionAccesses epilogue = collect_accesses(region_, context_, out, {root_.result()});
    accesses.insert(accesses.end(), epilogue.loads.begin(), epilogue.loads.end());
    for (const Value* v : region_.outputs) accesses.push_back({v, context_.place(v).strides, true});
    // Coordinates are read one by one: no merging.
    axes_ =
        merge_axes(shape, context_.place(out).layout.order, accesses, std::vector<bool>(shape.size(), true));
    const Shape& rhs = root_.operand(1)->type.shape;
    const Dim depth = conv_ ? product(Shape(rhs.begin() + 1, rhs.end())) : rhs[rhs.size() - 2];
    const TensorDataPtr weights = LoweringContext::constant_data(root_.operand(1));
    if (conv_ && weights && dtype_bits(weights->dtype()) >= 8 && weights->count() > 1)
      filters_.emplace(root_, context_);
    DispatchBuilder dispatch(context_, region_);
    dispatch.set_flops(product(shape) * depth * 2);
    const int64_t cost = 4 + 2 * context_.hint(depth);
    for (const Level level : variant_levels(context_.target())) variant(dispatch, level, cost);
    dispatch.finish();
  }

 private:
  void variant(DispatchBuilder& dispatch, Level level, int64_t cost) {
    ElementEmitter emitter(dispatch);
    if (filters_) filters_->bind(emitter);
    unrolled_ = is_gpu(level_arch(level)) && has_short_sums(root_);
    if (is_gpu(level_arch(level))) {
      gpu::add_flat_variant(
          dispatch, level, axes_, cost,
          [&](const std::vector<Expr>& coordinates) { return element(emitter, coordinates, -1); },
          "naive contraction");
      return;
    }
    const int lanes = nest_lanes(region_, level);
    const Tiling tiling = choose_tiling(context_, axes_, cost);
    const size_t body_axes = axes_.empty() ? 0 : axes_.size() - 1;
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
    dispatch.add_variant(level, std::move(parts.grid), std::move(parts.body),
                         fmt::format("naive contraction, {} lanes", lanes));
  }

  std::vector<Stmt> element(ElementEmitter& emitter, const std::vector<Expr>& coordinates, int vector_dim) {
    const Index index = axis_index(axes_, root_.result()->type.shape.size(), coordinates);
    const kernel::Var acc = kernel::make_var("acc", {sum_, 1});
    std::vector<Stmt> out{
        kernel::declare(acc, kernel::scalar_const(kernel::reduction_identity(ScalarOp::kAdd, sum_)))};
    for (Stmt& s : conv_ ? conv_sum(emitter, index, vector_dim, acc) : dot_sum(emitter, index, acc))
      out.push_back(std::move(s));
    emitter.bind(root_.result(), kernel::cast(kernel::var_expr(acc), result_));
    for (Stmt& s : store_outputs(emitter, index)) out.push_back(std::move(s));
    emitter.unbind(root_.result());
    return out;
  }

  Stmt accumulate(ElementEmitter& emitter, const kernel::Var& acc, const Index& a, const Index& b) {
    Expr x = kernel::cast(emitter.element(root_.operand(0), a), sum_);
    if (const graph::Attr* fill = root_.find("pad_value")) {
      Expr inside;
      for (size_t d = 2; d < a.size(); ++d) {
        const Expr here = in_range(a[d], emitter.dispatch().expr(root_.operand(0)->type.shape[d]));
        inside = inside ? kernel::op(ScalarOp::kAnd, {inside, here}) : here;
      }
      x = kernel::select(inside, x, int_const(std::get<int64_t>(*fill), sum_));
    }
    const Expr w = kernel::cast(emitter.element(root_.operand(1), b), sum_);
    TERN_CHECK(emitter.take_checks().empty(), "a contraction inlines a gather");
    return kernel::assign(acc, kernel::add(kernel::var_expr(acc), kernel::mul(x, w)));
  }

  std::vector<Stmt> dot_sum(ElementEmitter& emitter, const Index& index, const kernel::Var& acc) {
    const size_t rank = index.size();
    const Shape &a_shape = root_.operand(0)->type.shape, &b_shape = root_.operand(1)->type.shape;
    const kernel::Var k = kernel::make_var("k");
    Index a(rank), b(rank);
    for (size_t d = 0; d + 2 < rank; ++d) {
      a[d] = a_shape[d].is_const(1) ? int_const(0) : index[d];
      b[d] = b_shape[d].is_const(1) ? int_const(0) : index[d];
    }
    a[rank - 2] = index[rank - 2];
    a[rank - 1] = kernel::var_expr(k);
    b[rank - 2] = kernel::var_expr(k);
    b[rank - 1] = index[rank - 1];
    return {kernel::loop(k, int_const(0), emitter.dispatch().expr(a_shape[rank - 1]),
                         kernel::LoopKind::kSerial, {accumulate(emitter, acc, a, b)})};
  }

  std::vector<Stmt> conv_sum(ElementEmitter& emitter, const Index& index, int vector_dim,
                             const kernel::Var& acc) {
    if (unrolled_) {
      std::vector<Stmt> out;
      const Expr sum = short_sum(emitter, root_, index, &out);
      out.push_back(kernel::assign(acc, sum));
      return out;
    }
    const Shape &x_shape = root_.operand(0)->type.shape, &w_shape = root_.operand(1)->type.shape;
    WindowGeometry g;
    g.axes.resize(index.size());
    for (size_t d = 2; d < index.size(); ++d) {
      g.axes[d] = {x_shape[d],
                   w_shape[d].value(),
                   root_.ints("strides")[d - 2],
                   root_.ints("low")[d - 2],
                   root_.ints("dilations")[d - 2],
                   root_.ints("lhs_dilations")[d - 2],
                   false,
                   root_.ints("high")[d - 2]};
    }
    const Dim channels = w_shape[1];
    const int64_t groups = root_.int_attr("groups");
    // Padding that holds a number is read like the operand: the windows run over both.
    const bool filled = root_.find("pad_value");
    for (size_t d = 2; d < index.size() && filled; ++d) {
      g.axes[d].extent = g.axes[d].extent + Dim(root_.ints("low")[d - 2] + root_.ints("high")[d - 2]);
      g.axes[d].low = g.axes[d].high = 0;
    }
    return window_loops(
        g, index, vector_dim, emitter.dispatch(), [&](Index at, Index tap) -> std::vector<Stmt> {
          const kernel::Var c = kernel::make_var("c");
          const bool depthwise = channels.is_const(1);
          const Expr ce = depthwise ? int_const(0) : kernel::var_expr(c);
          Expr first = int_const(0);
          if (groups > 1) {
            const Dim per_group = floordiv(w_shape[0], groups);
            first = kernel::mul(kernel::index_div(index[1], emitter.dispatch().expr(per_group)),
                                emitter.dispatch().expr(channels));
          }
          at[1] = kernel::add(first, ce);
          for (size_t d = 2; d < at.size() && filled; ++d)
            at[d] = kernel::sub(at[d], int_const(root_.ints("low")[d - 2]));
          tap[0] = index[1];
          tap[1] = ce;
          const Stmt body = accumulate(emitter, acc, at, tap);
          if (depthwise) return {body};
          return {kernel::loop(c, int_const(0), emitter.dispatch().expr(channels), kernel::LoopKind::kSerial,
                               {body})};
        });
  }

  const Region& region_;
  LoweringContext& context_;
  const Node& root_;
  const bool conv_;
  bool unrolled_ = false;  // of the variant that is built
  DType result_, sum_;
  std::vector<NestAxis> axes_;
  std::optional<PackedFilters> filters_;
};

}  // namespace

void lower_contraction_naive(const Region& region, LoweringContext& context) {
  NaiveContraction(region, context).run();
}

}  // namespace tern::lower
