#include "compiler/lower/winograd_body.h"

#include "compiler/lower/contraction_access.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/packing.h"
#include "compiler/lower/weight_encoding.h"
#include "compiler/lower/winograd_bytes.h"
#include "compiler/lower/winograd_kernel.h"
#include "compiler/lower/winograd_transform.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::Var;
using kernel::var_expr;
using Index = std::vector<Expr>;

WinogradShape winograd_shape(const Node& conv, const std::function<int64_t(const Dim&)>& hint) {
  const ConvGeometry g = conv_geometry(conv);
  WinogradShape s;
  s.images = hint(g.images * g.out_depth);
  s.out_height = hint(g.out_height);
  s.out_width = hint(g.out_width);
  s.channels = g.window_d * g.channels;
  s.columns = conv.operand(1)->type.shape[0].value();
  s.is_static =
      g.images.is_const() && g.out_depth.is_const() && g.out_height.is_const() && g.out_width.is_const();
  s.stride = static_cast<int>(g.stride_h);
  s.dilation_h = g.dilation_h, s.dilation_w = g.dilation_w;
  if (const double outside = share_outside(g); outside >= kOutsideWorth) s.multiplied = 1 - outside;
  s.windows = g;
  return s;
}

// The blocks of winograd_bytes.h where a convolution of bytes suits it.
std::optional<WinogradSchedule> byte_winograd(const ContractionRequest& r) {
  // A step of the direct way: words in scratch, or dots. Chains take what is counted, and their turning.
  constexpr double kWords = 1.25, kDots = 0.54, kTurning = 1.07;
  const Node& conv = *r.root;
  if (!r.bytes_by_winograd || conv.kind != OpKind::kConv || !is_byte_contraction(conv) ||
      conv.operand(0)->type.rank() != 4 || conv.int_attr("groups") != 1)
    return std::nullopt;
  const ConvGeometry g = conv_geometry(conv);
  if (g.window_h != 3 || g.window_w != 3 || g.stride_h != 1 || g.stride_w != 1) return std::nullopt;
  double direct = kDots;
  if (r.machine->byte_products != ByteProducts::kDot4) {
    const ContractionProblem p = conv_problem(conv, *r.params);
    const PanelSource source{1, p.k.value(), p.n.value(), p.b_element};
    const bool chains =
        r.machine->arch == Arch::kX86_64 && r.chains && suits_chains(*r.chains, *r.constant_rhs, source);
    direct = chains ? kTurning * r.chains->cycles_a_step : kWords;
  }
  const int most = byte_winograd_fits(*r.constant_rhs, 4)   ? 4
                   : byte_winograd_fits(*r.constant_rhs, 2) ? 2
                                                            : 0;
  return winograd_bytes_schedule(winograd_shape(conv, r.hint), most, direct, *r.machine);
}

}  // namespace

ContractionBody build_winograd(const ContractionRequest& r) {
  const Node& conv = *r.root;
  const WinogradShape shape = winograd_shape(conv, r.hint);
  const auto schedule = winograd_schedule(shape, r.winograd, *r.machine);
  TERN_CHECK(schedule.has_value(), "a convolution of {} channels does not fit Winograd's algorithm",
             shape.channels);
  const ContractionAccess access(r);
  const Var lane = kernel::make_var("lane");
  const bool volume = conv.operand(0)->type.rank() == 5;
  const auto index = [volume](const Expr& image, const Expr& c, const Expr& z, const Expr& y, const Expr& x) {
    return volume ? Index{image, c, z, y, x} : Index{image, c, y, x};
  };
  WinogradOperands o;
  o.pixel = [&](const Expr& image, const Expr& iz, const Expr& iy, const Expr& ix, const Expr& c, int lanes) {
    return access.vector(0, index(image, kernel::add(c, var_expr(lane)), iz, iy, ix), lane, lanes);
  };
  o.weights = r.winograd_weights();
  o.finish = [&](const Expr& image, const Expr& oz, const Expr& oy, const Expr& ox, const Expr& n,
                 const Expr& value, int lanes, const Expr& count) {
    return access.finish([&](const Expr& at) { return index(image, at, oz, oy, ox); }, n, value, lanes,
                         count);
  };
  WinogradKernel made =
      build_winograd_kernel(conv_geometry(conv), shape.columns, *schedule, r.machine->has_fma, o, *r.params);
  return {std::move(made.grid), std::move(made.body), schedule->text(), schedule->cycles};
}

std::optional<ContractionBody> build_byte_winograd(const ContractionRequest& r) {
  const std::optional<WinogradSchedule> schedule = byte_winograd(r);
  if (!schedule) return std::nullopt;
  const Node& conv = *r.root;
  const ConvGeometry g = conv_geometry(conv);
  const ContractionAccess access(r);
  const Var lane = kernel::make_var("lane");
  const ContractionProblem p = conv_problem(conv, *r.params);
  const PanelSource source{1, p.k.value(), p.n.value(), p.b_element};
  const Buffer weights = r.pack([&] { return pack_byte_panels(*r.constant_rhs, source); },
                                [&] { return byte_encoding(r.constant_rhs, source); });
  const int64_t steps = g.channels / kByteGroup;
  WinogradOperands o;
  o.pixel = [&](const Expr& image, const Expr&, const Expr& iy, const Expr& ix, const Expr& c, int lanes) {
    return access.vector(0, {image, kernel::add(c, var_expr(lane)), iy, ix}, lane, lanes);
  };
  o.bytes.emplace();
  if (const graph::Attr* fill = conv.find("pad_value")) o.bytes->padding = std::get<int64_t>(*fill);
  o.bytes->weight = [&](int64_t tap, const Expr& step, const Expr& n, int lanes) {
    const Expr panel = kernel::index_div(n, int_const(kPanelColumns)),
               inside = kernel::index_rem(n, int_const(kPanelColumns));
    const Expr row =
        kernel::add(kernel::mul(panel, int_const(9 * steps)), kernel::add(int_const(tap * steps), step));
    const Expr at = kernel::add(kernel::mul(row, int_const(kPanelColumns)), inside);
    return kernel::load(weights, kernel::mul(at, int_const(kByteGroup)), lanes * kByteGroup);
  };
  o.finish_in_pairs = r.stores_bytes && r.machine->vector_bits > 128;
  o.finish = [&](const Expr& image, const Expr&, const Expr& oy, const Expr& ox, const Expr& n,
                 const Expr& value, int lanes, const Expr& count) {
    return access.finish([&](const Expr& at) { return Index{image, at, oy, ox}; }, n, value, lanes, count);
  };
  WinogradKernel made = build_winograd_kernel(g, p.n.value(), *schedule, r.machine->has_fma, o, *r.params);
  return ContractionBody{std::move(made.grid), std::move(made.body), "bytes, " + schedule->text(),
                         schedule->cycles};
}

int winograd_outputs(const Node& root, const std::vector<const MachineModel*>& machines,
                     const std::function<int64_t(const Dim&)>& hint) {
  const int rank = root.operand(0)->type.rank();
  if (root.kind != OpKind::kConv || (rank != 4 && rank != 5) || root.int_attr("groups") != 1) return 0;
  for (const graph::Value* v : {root.operand(0), root.operand(1), root.result()}) {
    if (v->type.dtype != DType::kF32) return 0;
  }
  const ConvGeometry g = conv_geometry(root);
  if (g.channels == 0 || g.window_h != 3 || g.window_w != 3 || g.stride_h != g.stride_w || g.stride_h > 2 ||
      (g.stride_h > 1 && (g.dilation_h > 1 || g.dilation_w > 1)))
    return 0;
  return choose_winograd(winograd_shape(root, hint), machines);
}

Dim winograd_flops(const Node& root, int outputs) {
  const ConvGeometry g = conv_geometry(root);
  const WinogradTransform& transform = winograd_transform(outputs, static_cast<int>(g.stride_h));
  const WinogradOperations operations = winograd_operations(transform);
  const int64_t points = int64_t{transform.size()} * transform.size(), channels = g.window_d * g.channels,
                columns = root.operand(1)->type.shape[0].value();
  const auto along = [&](const Dim& extent, int64_t dilation) {
    return winograd_phases(extent, dilation) * ceildiv(ceildiv(extent, dilation), outputs);
  };
  return g.images * g.out_depth * along(g.out_height, g.dilation_h) * along(g.out_width, g.dilation_w) *
         Dim(2 * points * channels * columns + operations.input * channels + operations.output * columns);
}

}  // namespace tern::lower
