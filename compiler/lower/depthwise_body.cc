#include "compiler/lower/depthwise_body.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/contraction_access.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/packing.h"

namespace tern::lower {

using graph::Node;
using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::Var;
using kernel::var_expr;
using Index = std::vector<Expr>;
using Access = ContractionAccess;

namespace {

// One spatial dimension, or two.
Index pixel_index(bool one, const Expr& image, const Expr& c, const Expr& y, const Expr& x) {
  return one ? Index{image, c, x} : Index{image, c, y, x};
}

decltype(DepthwiseOperands::finish) finish_pixel(const Access& access, bool one) {
  return [&access, one](const Expr& image, const Expr& oy, const Expr& ox, const Expr& c, const Expr& value,
                        int lanes, const Expr& count) {
    return access.finish([&](const Expr& at) { return pixel_index(one, image, at, oy, ox); }, c, value, lanes,
                         count);
  };
}

struct Groups {
  int64_t inputs, outputs;  // channels of each
};

Groups groups_of(const Node& conv) {
  const Shape& w = conv.operand(1)->type.shape;
  return {w[1].value(), w[0].value() / conv.int_attr("groups")};
}

}  // namespace

DepthwiseShape depthwise_shape(const Node& conv) {
  const ConvGeometry g = conv_geometry(conv);
  DepthwiseShape s;
  s.images = g.images;
  s.channels = conv.int_attr("groups");
  s.height = g.height;
  s.width = g.width;
  s.out_height = g.out_height;
  s.out_width = g.out_width;
  s.window_h = g.window_h;
  s.window_w = g.window_w;
  s.stride_h = g.stride_h;
  s.stride_w = g.stride_w;
  s.dilation_h = g.dilation_h;
  s.dilation_w = g.dilation_w;
  s.pad_top = g.pad_top;
  s.pad_left = g.pad_left;
  return s;
}

ContractionBody build_depthwise(const ContractionRequest& r) {
  const Node& conv = *r.root;
  const bool one = conv.operand(0)->type.rank() == 3;
  const DepthwiseShape s = depthwise_shape(conv);
  const int64_t channels = conv.int_attr("groups"), taps = s.window_h * s.window_w;
  const int64_t granule = kPanelColumns, padded = (channels + granule - 1) / granule * granule;
  const bool bytes = is_byte_contraction(conv);
  const auto packed = [&] {
    return bytes ? pack_depthwise_bytes(*r.constant_rhs, s)
                 : pack_depthwise(*r.constant_rhs, channels, taps, granule);
  };
  const Buffer weights = r.pack(packed, nullptr);
  const Access access(r);
  const Var lane = kernel::make_var("lane");
  const auto index = [one](const Expr& image, const Expr& c, const Expr& y, const Expr& x) {
    return pixel_index(one, image, c, y, x);
  };
  DepthwiseOperands o;
  o.input = [&](const Expr& image, const Expr& iy, const Expr& ix, const Expr& c, int lanes,
                const Expr& count) {
    return access.vector(0, index(image, kernel::add(c, var_expr(lane)), iy, ix), lane, lanes, count);
  };
  o.weight = [&](const Expr& tap, const Expr& c, int lanes) {
    return kernel::load(weights, kernel::add(kernel::mul(tap, int_const(padded)), c), lanes);
  };
  if (bytes) {
    o.bytes.emplace();
    o.bytes->products = r.machine->byte_products;
    if (const graph::Attr* fill = conv.find("pad_value")) o.bytes->padding = std::get<int64_t>(*fill);
    o.bytes->weight = [&](int64_t ky, int64_t shift, int64_t group, const Expr& c, int lanes) {
      const Expr first = int_const(depthwise_byte_vector(s, ky, shift, group) * padded);
      return kernel::load(weights, kernel::mul(kernel::add(first, c), int_const(kByteGroup)),
                          lanes * kByteGroup);
    };
  }
  o.begin = access.begin([&](const Expr& row, const Expr& c) { return index(row, c, row, row); });
  o.finish = finish_pixel(access, one);
  DepthwiseKernel made = build_depthwise_kernel(s, *r.machine, o, r.hint, *r.params);
  return {std::move(made.grid), std::move(made.body), std::move(made.schedule)};
}

bool suits_small_groups(const ContractionRequest& r) {
  constexpr int64_t kMost = 8;  // channels; of 16 a product takes 0.6 of the time (Zen 3)
  const Node& conv = *r.root;
  if (conv.int_attr("groups") == 1 || conv.operand(0)->type.rank() > 4 || !r.constant_rhs ||
      is_byte_contraction(conv) || r.bf16_pairs || r.machine->vector_registers > 16 ||
      (r.stored && r.stored(1) != DType::kF32))
    return false;
  const Groups g = groups_of(conv);
  const ConvGeometry geometry = conv_geometry(conv);
  const int64_t lanes = r.machine->vector_bits / 32;
  const bool windows = geometry.window_h * geometry.window_w > 1,
             shared = g.outputs % lanes == 0,  // a vector is of one group
      spread = g.inputs == g.outputs && g.inputs < lanes && lanes % g.inputs == 0;
  return g.inputs <= kMost && g.outputs <= kMost && (spread || (shared && windows));
}

ContractionBody build_small_groups(const ContractionRequest& r) {
  const Node& conv = *r.root;
  const bool one = conv.operand(0)->type.rank() == 3;
  DepthwiseShape s = depthwise_shape(conv);
  const Groups g = groups_of(conv);
  const int64_t channels = conv.operand(1)->type.shape[0].value(), taps = s.window_h * s.window_w;
  s.channels = channels;
  s.members = g.inputs;
  // Levels with more registers multiply panels.
  const Buffer weights =
      r.pack_parameter(0, [&] { return pack_groups(*r.constant_rhs, channels, g.inputs, taps); });
  const Access access(r);
  const Var lane = kernel::make_var("lane");
  DepthwiseOperands o;
  o.members.emplace();
  o.members->unrolled = g.outputs < r.machine->vector_bits / 32;
  o.members->input = [&](const Expr& image, const Expr& iy, const Expr& ix, const Expr& c, const Expr& member,
                         int lanes, const Expr& count) {
    if (!o.members->unrolled) {
      const Expr group = kernel::index_div(c, int_const(g.outputs));
      const Expr from = kernel::add(kernel::mul(group, int_const(g.inputs)), member);
      return kernel::broadcast(access.scalar(0, pixel_index(one, image, from, iy, ix)), lanes);
    }
    const Expr all =
        access.vector(0, pixel_index(one, image, kernel::add(c, var_expr(lane)), iy, ix), lane, lanes, count);
    std::vector<int> from;
    for (int l = 0; l < lanes; ++l)
      from.push_back(static_cast<int>(l / g.inputs * g.inputs + *kernel::int_value(member)));
    return kernel::shuffle(all, nullptr, from);
  };
  o.members->weight = [&](const Expr& tap, const Expr& member, const Expr& c, int lanes) {
    const Expr columns = int_const(kPanelColumns),
               block = kernel::mul(kernel::index_div(c, columns), int_const(taps * g.inputs)),
               row = kernel::add(block, kernel::add(kernel::mul(tap, int_const(g.inputs)), member));
    return kernel::load(weights, kernel::add(kernel::mul(row, columns), kernel::index_rem(c, columns)),
                        lanes);
  };
  o.finish = finish_pixel(access, one);
  DepthwiseKernel made = build_depthwise_kernel(s, *r.machine, o, r.hint, *r.params);
  return {std::move(made.grid), std::move(made.body), std::move(made.schedule)};
}

}  // namespace tern::lower
