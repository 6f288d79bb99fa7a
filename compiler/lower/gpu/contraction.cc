#include "compiler/lower/gpu/contraction.h"

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/contraction.h"
#include "compiler/lower/contraction_body.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/depthwise_rows.h"
#include "compiler/lower/gpu/mma_contraction.h"
#include "compiler/lower/gpu/simt_kernel.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/packing.h"

namespace tern::lower::gpu {
namespace {

using graph::Node;
using graph::OpKind;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::var_expr;
using Order = TileOperands::Order;

// One contraction region as the operands of a tile kernel.
class ContractionSource {
 public:
  // panels: the buffer of the packed weights, -1 as long as there is none.
  ContractionSource(DispatchBuilder& dispatch, ElementEmitter& emitter, ContractionProblem problem,
                    int& panels)
      : dispatch_(dispatch),
        emitter_(emitter),
        region_(dispatch.region()),
        root_(*region_.root),
        p_(std::move(problem)),
        params_(dispatch.params()),
        buffer_(panels) {}

  TileOperands operands() {
    TileOperands o;
    o.m = p_.m;
    o.n = p_.n;
    o.k = p_.k;
    b_ = int_const(0);
    if (!p_.batch.is_const(1)) {
      const kernel::Var batch = kernel::make_var("batch");
      b_ = var_expr(batch);
      o.batch = {batch, p_.batch, params_.expr(p_.batch)};
    }
    o.a = [this](const Expr& m, const Expr& k) {
      return p_.windows ? window_element(m, k) : f32(0, p_.a_index(b_, m, k));
    };
    const kernel::Var m = kernel::make_var("m"), k = kernel::make_var("k"), n = kernel::make_var("n");
    if (!p_.windows && runs_along(f32(0, p_.a_index(b_, var_expr(m), var_expr(k))), m))
      o.a_order = Order::kOthers;
    if (LoweringContext::constant_data(root_.operand(1))) {
      o.b_order = Order::kPanels;
      o.b = [this](const Expr& step, const Expr& column) {
        return kernel::cast(kernel::load(panels(), panel_at(step, column)), DType::kF32);
      };
      o.b_vector = [this](const Expr& step, const Expr& column, int lanes) {
        return kernel::cast(kernel::load(panels(), panel_at(step, column), lanes), DType::kF32);
      };
    } else {
      o.b = [this](const Expr& step, const Expr& column) { return f32(1, p_.b_index(b_, step, column)); };
      o.b_order = runs_along(o.b(var_expr(k), var_expr(n)), k) ? Order::kSteps : Order::kOthers;
    }
    o.finish_is_long = epilogue_is_long(region_);
    o.finish = [this](const Expr& row, const Expr& column, const Expr& value, int lanes, const Expr& count) {
      const DType type = root_.result()->type.dtype;
      return store_epilogue(
          emitter_, [&](const Expr& at) { return p_.out_index(b_, row, at); }, column,
          type == DType::kF32 ? value : kernel::cast(value, type), lanes, count);
    };
    return o;
  }

  SimtShape shape() const {
    const LoweringContext& context = dispatch_.context();
    SimtShape s;
    s.batch = context.hint(p_.batch);
    s.m = context.hint(p_.m);
    s.n = context.hint(p_.n);
    s.k = context.hint(p_.k);
    s.m_static = p_.m.is_const();
    s.b_panels = LoweringContext::constant_data(root_.operand(1)) != nullptr;
    s.finish_is_long = epilogue_is_long(region_);
    s.windows = root_.kind != OpKind::kDot;
    return s;
  }

  // Constant weights, packed once for all variants.
  kernel::Buffer panels() {
    if (buffer_ < 0) {
      const TensorDataPtr weights = LoweringContext::constant_data(root_.operand(1));
      const PanelSource source{p_.b_batches, p_.k.value(), p_.n.value(), p_.b_element};
      LoweringContext& context = dispatch_.context();
      const DType stored = context.stored_type(root_.operand(1));
      buffer_ = context.add_constant(root_.operand(1)->name, pack_panels(*weights, source, stored));
      context.note_stored(root_.operand(1), stored);
    }
    return dispatch_.bind(buffer_);
  }

 private:
  Expr f32(int operand, const Index& index) {
    const Expr e = emitter_.element(root_.operand(static_cast<size_t>(operand)), index);
    TERN_CHECK(emitter_.take_checks().empty(), "a contraction inlines a gather");
    return e->type.dtype == DType::kF32 ? e : kernel::cast(e, DType::kF32);
  }

  // Step k of output pixel m's window: k = (kz, ky, kx, channel); 0 outside the image.
  Expr window_element(const Expr& m, const Expr& k) {
    const ConvGeometry& g = p_.geometry;
    const auto div = [&](const Expr& x, const Dim& by) { return kernel::index_div(x, params_.expr(by)); };
    const auto rem = [&](const Expr& x, const Dim& by) { return kernel::index_rem(x, params_.expr(by)); };
    const size_t rank = root_.operand(0)->type.shape.size();
    const Dim plane = g.out_height * g.out_width, volume = g.out_depth * plane;
    const Expr image = div(m, volume), in_volume = rem(m, volume);
    const Expr pixel = rank == 5 ? rem(in_volume, plane) : in_volume;
    const Expr tap = div(k, g.channels), channel = rem(k, g.channels);
    const auto position = [](const Expr& out, int64_t stride, const Expr& in, int64_t dilation, int64_t pad) {
      return kernel::sub(
          kernel::add(kernel::mul(out, int_const(stride)), kernel::mul(in, int_const(dilation))),
          int_const(pad));
    };
    const Dim taps = g.window_h * g.window_w;
    const Expr flat = rank == 5 ? rem(tap, taps) : tap;
    const Expr iz = position(div(in_volume, plane), g.stride_d, div(tap, taps), g.dilation_d, g.pad_front);
    const Expr iy =
        position(div(pixel, g.out_width), g.stride_h, div(flat, g.window_w), g.dilation_h, g.pad_top);
    const Expr ix =
        position(rem(pixel, g.out_width), g.stride_w, rem(flat, g.window_w), g.dilation_w, g.pad_left);
    const Expr c = kernel::add(kernel::mul(b_, int_const(g.channels)), channel);
    const Expr value = f32(0, spatial_index(rank, image, c, iz, iy, ix));
    Expr inside = in_range(ix, params_.expr(g.width));
    if (rank > 3) inside = both(in_range(iy, params_.expr(g.height)), inside);
    if (rank > 4) inside = both(in_range(iz, params_.expr(g.depth)), inside);
    return kernel::select(inside, value, kernel::float_const(0.0));
  }

  Expr panel_at(const Expr& step, const Expr& column) const { return panel_address(p_, b_, step, column); }

  DispatchBuilder& dispatch_;
  ElementEmitter& emitter_;
  const Region& region_;
  const Node& root_;
  const ContractionProblem p_;
  kernel::ParamTable& params_;
  Expr b_;
  int& buffer_;
};

}  // namespace

Expr panel_address(const ContractionProblem& p, const Expr& batch, const Expr& step, const Expr& column) {
  const int64_t k = p.k.value(), panels = (p.n.value() + kPanelColumns - 1) / kPanelColumns;
  const Expr panel = kernel::index_div(column, int_const(kPanelColumns)),
             inside = kernel::index_rem(column, int_const(kPanelColumns));
  const Expr row = kernel::add(kernel::mul(panel, int_const(k)), step);
  const Expr at = kernel::add(kernel::mul(row, int_const(kPanelColumns)), inside);
  return kernel::add(p.b_start(batch, panels * k * kPanelColumns), at);
}

bool runs_along(Expr element, const kernel::Var& v) {
  if (element->kind == kernel::ExprKind::kCast) element = element->args[0];
  if (element->kind != kernel::ExprKind::kLoad) return false;
  const Expr wide = kernel::vectorize(element, v, 4);
  return wide->kind == kernel::ExprKind::kLoad && wide->args[0]->type.lanes == 1;
}

namespace {

// `rows`: computes the left operand, or null.
void lower_products(const Region& region, LoweringContext& context, const DepthwiseRows* rows) {
  const Node& root = *region.root;
  const TensorDataPtr constant = LoweringContext::constant_data(root.operand(1));
  if (root.result()->type.dtype == DType::kF32) context.note_product(root, false);
  DispatchBuilder dispatch(context, region);
  dispatch.set_label(region.label());
  const ContractionProblem problem = root.kind == OpKind::kDot
                                         ? dot_problem(root, dispatch.params(), constant != nullptr)
                                         : conv_problem(root, dispatch.params());
  Dim flops = contraction_flops(root);
  if (rows) flops = flops + problem.m * problem.k * Dim(2 * rows->taps());
  dispatch.set_flops(flops);
  int panels = -1;
  for (const Level level : variant_levels(context.target(), Covers::kContractions)) {
    const GpuModel& model = gpu_model(level);
    ElementEmitter emitter(dispatch);
    if (rows) rows->bind(emitter);
    ContractionSource source(dispatch, emitter, problem, panels);
    const TileOperands operands = source.operands();
    if (model.uses_tiles()) {
      add_matrix_variant(dispatch, level, problem, constant ? source.panels() : nullptr, rows);
      continue;
    }
    if (model.fast_tf32) {
      add_tf32x3_variant(dispatch, level, problem, constant ? source.panels() : nullptr);
      continue;
    }
    SimtSchedule schedule = default_simt_schedule(source.shape(), model);
    // The first of two stages is read whatever k is.
    if (!operands.k.is_const() || operands.k.is_const(0)) schedule.buffers = 1;
    TileKernel made = schedule.gemv ? build_gemv_kernel(operands, schedule, dispatch.params())
                                    : build_simt_kernel(operands, schedule, dispatch.params());
    dispatch.add_variant(level, std::move(made.grid), std::move(made.body), schedule.text(),
                         {made.threads, made.thread, made.subgroup});
  }
  dispatch.finish();
}

}  // namespace

bool lower_contraction(const Region& region, LoweringContext& context) {
  const Node& root = *region.root;
  if (lower_integer_product(region, context)) return true;
  if (!contraction_fits(root, LoweringContext::constant_data(root.operand(1)))) return false;
  // Depthwise: every output is a short sum of its own, and neighbouring threads have neighbouring channels.
  // So is a pixel shuffle's.
  if (root.kind == OpKind::kConv && (is_depthwise(root) || is_pixel_shuffle(root))) return false;

  if (lower_mma_contraction(region, context)) return true;
  if (!is_float(root.result()->type.dtype)) return false;
  lower_products(region, context, nullptr);
  return true;
}

bool lower_depthwise_product(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context) {
  const Node &conv = *chain[0]->root, &root = *chain[1]->root;
  if (!contraction_fits(root, LoweringContext::constant_data(root.operand(1))) ||
      !is_float(root.result()->type.dtype) || !has_resident_form(root, context))
    return false;
  const Region region = joined(chain);
  const DepthwiseRows rows(conv, context);
  lower_products(region, context, &rows);
  return true;
}

}  // namespace tern::lower::gpu
