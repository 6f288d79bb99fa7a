#include "compiler/lower/gpu/contraction.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/contraction.h"
#include "compiler/lower/contraction_body.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/chunk_words.h"
#include "compiler/lower/gpu/depthwise_rows.h"
#include "compiler/lower/gpu/few_rows.h"
#include "compiler/lower/gpu/mma_contraction.h"
#include "compiler/lower/gpu/quantised_constants.h"
#include "compiler/lower/gpu/simt_kernel.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/packing.h"
#include "compiler/lower/weight_encoding.h"

namespace tern::lower::gpu {
namespace {

using graph::Node;
using graph::OpKind;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::var_expr;
using Order = TileOperands::Order;

// Of a contraction of bytes: of how many steps the sum is exact in f32 whatever they are. 0: it is of others.
int64_t exact_steps(const Node& root) {
  constexpr int64_t kExact = int64_t{1} << 24;
  const auto largest = [](DType dtype) { return dtype == DType::kU8 ? 255 : dtype == DType::kI8 ? 128 : 0; };
  const int64_t product =
      int64_t{largest(root.operand(0)->type.dtype)} * largest(root.operand(1)->type.dtype);
  return product > 0 && root.result()->type.dtype == DType::kI32 ? kExact / product : 0;
}

// One contraction region as the operands of a tile kernel.
class ContractionSource {
 public:
  // panels: the buffer of the packed weights, -1 as long as there is none. words: weights in integers, or
  // null.
  ContractionSource(DispatchBuilder& dispatch, ElementEmitter& emitter, ContractionProblem problem,
                    int& panels, const QuantisedPanels* words = nullptr)
      : dispatch_(dispatch),
        emitter_(emitter),
        region_(dispatch.region()),
        root_(*region_.root),
        p_(std::move(problem)),
        params_(dispatch.params()),
        buffer_(panels),
        words_(words) {}

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
    o.exact_steps = exact_steps(root_);
    if (words_) {
      o.panels = words_;
      o.b_order = Order::kFours;
      o.b = [this](const Expr& step, const Expr& column) { return words_->steps_from(step, column, 1); };
      o.b_vector = [this](const Expr& step, const Expr& column, int lanes) {
        return words_->steps_from(step, column, lanes);
      };
    } else if (has_byte_panels()) {
      o.b_order = Order::kFours;
      o.b = [this](const Expr& step, const Expr& column) {
        return kernel::cast(kernel::load(panels(), byte_at(step, column)), DType::kF32);
      };
      o.b_vector = [this](const Expr& step, const Expr& column, int lanes) {
        return kernel::cast(kernel::load(panels(), byte_at(step, column), lanes), DType::kF32);
      };
    } else if (LoweringContext::constant_data(root_.operand(1))) {
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
          type == value->type.dtype ? value : kernel::cast(value, type), lanes, count);
    };
    return o;
  }

  // Whether words() has a form: B's bytes are i8.
  bool has_words() const { return exact_steps(root_) > 0 && root_.operand(1)->type.dtype == DType::kI8; }
  // Operands for dot products.
  TileOperands words(ByteProducts how) {
    TileOperands o = operands();
    const bool is_signed = how == ByteProducts::kDot4Signed,
               fits = (root_.operand(0)->type.dtype == DType::kI8) == is_signed;
    o.dots = {is_signed ? kernel::Intrinsic::kDot4I8I8 : kernel::Intrinsic::kDot4U8I8, fits        ? 0
                                                                                       : is_signed ? kFlip
                                                                                                   : -kFlip};
    o.exact_steps = 0;
    o.k = ceildiv(p_.k, kFour);
    o.a = [this, fits](const Expr& m, const Expr& at) {
      const Expr first = kernel::mul(at, int_const(kFour));
      const Expr bytes = p_.windows
                             ? window_word(m, first)
                             : word(first, [&](const Expr& k) { return element(0, p_.a_index(b_, m, k)); });
      return fits ? bytes : kernel::op(ScalarOp::kXor, {bytes, every_byte(kFlip)});
    };
    if (has_byte_panels()) {
      o.b_order = Order::kPanels;
      o.b_vector = [this](const Expr& at, const Expr& column, int columns) {
        // Of whose columns nothing else shows that they are a multiple of so many.
        const Expr first = byte_at(kernel::mul(at, int_const(kFour)), column);
        const int64_t bytes = int64_t{kFour} * columns;
        const Expr aligned = kernel::mul(kernel::index_div(first, int_const(bytes)), int_const(bytes));
        return kernel::bitcast(kernel::load(panels(), aligned, static_cast<int>(bytes)),
                               {DType::kU32, columns});
      };
      o.b = [wide = o.b_vector](const Expr& at, const Expr& column) { return wide(at, column, 1); };
    } else {
      o.b = [this](const Expr& at, const Expr& column) {
        return word(kernel::mul(at, int_const(kFour)),
                    [&](const Expr& k) { return element(1, p_.b_index(b_, k, column)); });
      };
      const kernel::Var n = kernel::make_var("n");
      const bool along =
          four_from([&](const Expr& k) { return element(1, p_.b_index(b_, k, var_expr(n))); }) != nullptr;
      o.b_order = along ? Order::kSteps : Order::kOthers;
    }
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
    s.exact_steps = exact_steps(root_);
    return s;
  }

  // Constant weights, packed once for all variants.
  kernel::Buffer panels() {
    if (buffer_ < 0) {
      const TensorDataPtr weights = LoweringContext::constant_data(root_.operand(1));
      const PanelSource source{p_.b_batches, p_.k.value(), p_.n.value(), p_.b_element};
      LoweringContext& context = dispatch_.context();
      if (has_byte_panels()) {
        buffer_ = context.add_constant(root_.operand(1)->name, pack_byte_panels(*weights, source),
                                       byte_encoding(weights, source));
        return dispatch_.bind(buffer_);
      }
      const DType stored = context.stored_type(root_.operand(1));
      buffer_ = context.add_constant(root_.operand(1)->name, pack_panels(*weights, source, stored));
      context.note_stored(root_.operand(1), stored);
    }
    return dispatch_.bind(buffer_);
  }

 private:
  static constexpr int kFour = 4;  // bytes of a word
  static constexpr int kFlip = 128;

  Expr element(int operand, const Index& index) {
    const Expr e = emitter_.element(root_.operand(static_cast<size_t>(operand)), index);
    TERN_CHECK(emitter_.take_checks().empty(), "a contraction inlines a gather");
    return e;
  }
  Expr f32(int operand, const Index& index) {
    const Expr e = element(operand, index);
    return e->type.dtype == DType::kF32 ? e : kernel::cast(e, DType::kF32);
  }

  bool has_byte_panels() const {
    const TensorDataPtr weights = LoweringContext::constant_data(root_.operand(1));
    return weights && weights->dtype() == DType::kI8;
  }
  Expr byte_at(const Expr& step, const Expr& column) const {
    const auto div = [](const Expr& x, int64_t by) { return kernel::index_div(x, int_const(by)); };
    const auto rem = [](const Expr& x, int64_t by) { return kernel::index_rem(x, int_const(by)); };
    const int64_t steps = (p_.k.value() + kFour - 1) / kFour,
                  panels = (p_.n.value() + kPanelColumns - 1) / kPanelColumns;
    const Expr row = kernel::add(kernel::mul(div(column, kPanelColumns), int_const(steps)), div(step, kFour));
    const Expr word = kernel::add(kernel::mul(row, int_const(kPanelColumns)), rem(column, kPanelColumns));
    return kernel::add(p_.b_start(b_, panels * steps * kPanelColumns * kFour),
                       kernel::add(kernel::mul(word, int_const(kFour)), rem(step, kFour)));
  }

  static Expr every_byte(int64_t byte) { return int_const((byte & 0xff) * 0x01010101, DType::kU32); }
  // Steps first to first + 3 of what has such bytes; zeros behind the last step.
  Expr word(const Expr& first, const std::function<Expr(const Expr& step)>& byte_of) const {
    const bool whole = p_.k.is_const() && p_.k.value() % kFour == 0;
    if (whole) {
      const Expr four = four_from([&](const Expr& lane) { return byte_of(kernel::add(first, lane)); });
      if (four) return four;
    }
    std::vector<Expr> bytes;
    for (int i = 0; i < kFour; ++i) {
      const Expr step = kernel::add(first, int_const(i));
      Expr byte = kernel::cast(kernel::bitcast(byte_of(step), {DType::kU8, 1}), DType::kU32);
      if (!whole && i > 0)
        byte = kernel::select(kernel::compare(ScalarOp::kLt, step, params_.expr(p_.k)), byte,
                              int_const(0, DType::kU32));
      bytes.push_back(byte);
    }
    return word_of_bytes(bytes);
  }
  // Four neighbours in memory as a word; null where they are none.
  static Expr four_from(const std::function<Expr(const Expr& lane)>& byte_of) {
    const kernel::Var lane = kernel::make_var("lane");
    return four_of(byte_of(var_expr(lane)), lane);
  }
  static Expr four_of(const Expr& byte, const kernel::Var& lane) {
    if (byte->kind == kernel::ExprKind::kBitcast) return four_of(byte->args[0], lane);
    if (byte->kind == kernel::ExprKind::kOp && byte->op == ScalarOp::kXor) {  // the other kind of bytes
      const std::optional<int64_t> flips = kernel::int_value(byte->args[1]);
      const Expr four = flips ? four_of(byte->args[0], lane) : nullptr;
      return four ? kernel::op(ScalarOp::kXor, {four, every_byte(*flips)}) : nullptr;
    }
    if (byte->kind != kernel::ExprKind::kLoad || !runs_along(byte, lane)) return nullptr;
    const Expr bytes = kernel::substitute(kernel::vectorize(byte, lane, kFour), {{lane.get(), int_const(0)}});
    return kernel::bitcast(bytes, {DType::kU32, 1});
  }

  // Step k of output pixel m's window: k = (kz, ky, kx, channel).
  struct WindowStep {
    std::function<Index(const Expr& more)> index;  // of the channel so many further
    Expr inside;                                   // the image
  };
  Expr window_element(const Expr& m, const Expr& k) {
    const WindowStep step = window_step(m, k);
    const Expr value = f32(0, step.index(int_const(0)));
    return kernel::select(step.inside, value, kernel::float_const(static_cast<double>(padding())));
  }
  Expr window_word(const Expr& m, const Expr& first) {
    if (p_.geometry.channels % kFour == 0) {
      const WindowStep step = window_step(m, first);
      const Expr four = four_from([&](const Expr& lane) { return element(0, step.index(lane)); });
      if (four) return kernel::select(step.inside, four, every_byte(padding()));
    }
    return word(first, [&](const Expr& k) {
      const WindowStep step = window_step(m, k);
      const DType dtype = root_.operand(0)->type.dtype;
      return kernel::select(step.inside, element(0, step.index(int_const(0))), int_const(padding(), dtype));
    });
  }
  int64_t padding() const {
    const graph::Attr* padding = root_.find("pad_value");
    return padding ? std::get<int64_t>(*padding) : 0;
  }
  WindowStep window_step(const Expr& m, const Expr& k) const {
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
    Expr inside = in_range(ix, params_.expr(g.width));
    if (rank > 3) inside = both(in_range(iy, params_.expr(g.height)), inside);
    if (rank > 4) inside = both(in_range(iz, params_.expr(g.depth)), inside);
    const auto index = [=](const Expr& more) {
      return spatial_index(rank, image, kernel::add(c, more), iz, iy, ix);
    };
    return {index, inside};
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
  const QuantisedPanels* words_;
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
  const bool bytes = exact_steps(root) > 0;
  for (const Level level : variant_levels(context.target(), bytes ? Covers::kBytes : Covers::kContractions)) {
    const GpuModel& model = gpu_model(level);
    ElementEmitter emitter(dispatch);
    if (rows) rows->bind(emitter);
    ContractionSource source(dispatch, emitter, problem, panels);
    const bool dots = model.byte_products != ByteProducts::kPairs;
    if (dots && !source.has_words()) continue;
    const TileOperands operands = dots ? source.words(model.byte_products) : source.operands();
    if (model.tiles != DType::kNone) {
      add_matrix_variant(dispatch, level, problem, constant ? source.panels() : nullptr, rows);
      continue;
    }
    if (model.fast_tf32) {
      if (exact_steps(root) > 0) continue;
      add_tf32x3_variant(dispatch, level, problem, constant ? source.panels() : nullptr);
      continue;
    }
    SimtShape shape = source.shape();
    if (dots) {
      shape.k = context.hint(operands.k);
      shape.exact_steps = 0;
    }
    SimtSchedule schedule = default_simt_schedule(shape, model);
    // The first of two stages is read whatever k is.
    if (!operands.k.is_const() || operands.k.is_const(0)) schedule.buffers = 1;
    TileKernel made = schedule.gemv ? build_gemv_kernel(operands, schedule, dispatch.params())
                                    : build_simt_kernel(operands, schedule, dispatch.params());
    const std::string text = schedule.text() + (dots ? ", dot products of four" : "");
    dispatch.add_variant(level, std::move(made.grid), std::move(made.body), text,
                         {made.threads, made.thread, made.subgroup});
  }
  dispatch.finish();
}

constexpr int64_t kFewRows = 8;

// A product by weights in integers. Where the number of its rows is a symbol, one row has a dispatch of its
// own; the grid of one of the two is empty.
void lower_by_words(const Region& region, LoweringContext& context) {
  const Node& root = *region.root;
  const QuantisedConstants constants(root, QuantisedConstants::Order::kSteps, context);
  kernel::ParamTable unused;
  const Dim rows = dot_problem(root, unused, false).m;
  const auto lower = [&](int64_t usual, const Dim& factor) {
    DispatchBuilder dispatch(context, region);
    dispatch.set_label(region.label());
    dispatch.set_flops(contraction_flops(root));
    const ContractionProblem problem = dot_problem(root, dispatch.params(), false);
    const QuantisedPanels panels = constants.bind(dispatch);
    LevelsBefore before;
    for (const Level level : variant_levels(context.target(), Covers::kContractions)) {
      if (gpu_model(level).tiles != DType::kNone) {
        add_matrix_words_variant(dispatch, level, problem, panels, usual, factor);
        continue;
      }
      ElementEmitter emitter(dispatch);
      int none = -1;
      ContractionSource source(dispatch, emitter, problem, none, &panels);
      SimtShape shape = source.shape();
      shape.m = usual;
      shape.m_static = usual <= kFewRows;
      const TileOperands operands = source.operands();
      const SimtSchedule schedule = default_simt_schedule(shape, gpu_model(level));
      if (before.repeats(schedule.text(), gpu_model(level))) continue;
      TileKernel made = schedule.gemv ? build_gemv_kernel(operands, schedule, dispatch.params())
                                      : build_simt_kernel(operands, schedule, dispatch.params());
      if (!factor.is_const(1)) limit_grid(made.grid, factor, dispatch.params());
      dispatch.add_variant(level, std::move(made.grid), std::move(made.body),
                           fmt::format("{}, {} bits", schedule.text(), panels.bits),
                           {made.threads, made.thread, made.subgroup});
    }
    dispatch.finish();
  };
  if (rows.is_const()) return lower(rows.value(), 1);
  lower(1, has_at_most(rows, 1));
  lower(usual_many(rows, context), Dim(1) - has_at_most(rows, 1));
}

}  // namespace

bool keeps_integers(const Node& dot, const QuantisedWeights& w, DType precision, const Target& target) {
  if (multiplies_integers(dot, w, precision, target)) return true;
  const DType dtype = dot.result()->type.dtype;
  if (dot.result()->type.rank() < 1 || !is_float(dtype) || dtype_bits(dtype) > 32) return false;
  kernel::ParamTable unused;
  const ContractionProblem p = dot_problem(dot, unused, false);
  // CUDA multiplies more rows, known to be so many, faster by weights that `init` has widened.
  return p.batch.is_const(1) && p.n.is_const() && p.k.is_const() &&
         (target.arch == Arch::kVulkan || !p.m.is_const() || p.m.value() <= kFewRows);
}

bool lower_contraction(const Region& region, LoweringContext& context) {
  const Node& root = *region.root;
  if (const std::optional<QuantisedWeights> w = quantised_weights(root)) {
    multiplies_integers(root, *w, context.precision().narrow_type(), context.target())
        ? lower_integer_product(region, context)
        : lower_by_words(region, context);
    return true;
  }
  if (!contraction_fits(root, LoweringContext::constant_data(root.operand(1))) &&
      !(takes_computed_filters(region, context) && lies_in_steps(root, context)))
    return false;
  // Depthwise: every output is a short sum of its own, and neighbouring threads have neighbouring channels.
  // So is a pixel shuffle's.
  if (root.kind == OpKind::kConv && (is_depthwise(root) || is_pixel_shuffle(root))) return false;

  if (lower_mma_contraction(region, context)) return true;
  if (!is_float(root.result()->type.dtype)) {
    const TensorDataPtr weights = LoweringContext::constant_data(root.operand(1));
    if (exact_steps(root) == 0 || (weights && weights->dtype() != DType::kI8)) return false;
  }
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
