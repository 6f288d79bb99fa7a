#include "compiler/lower/depthwise_body.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
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

// The place of a filter's element among blocks of kPanelColumns channels: [block][tap][member][channel].
Expr place_in_blocks(int64_t taps, int64_t members, const Expr& tap, const Expr& member, const Expr& c) {
  const Expr columns = int_const(kPanelColumns),
             block = kernel::mul(kernel::index_div(c, columns), int_const(taps * members)),
             row = kernel::add(block, kernel::add(kernel::mul(tap, int_const(members)), member));
  return kernel::add(kernel::mul(row, columns), kernel::index_rem(c, columns));
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
  const Buffer weights = r.constant_rhs ? r.pack(packed, nullptr) : nullptr;
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
    if (!weights) {
      const Expr line = int_const(s.window_w);
      return access.vector(1,
                           index(kernel::add(c, var_expr(lane)), int_const(0), kernel::index_div(tap, line),
                                 kernel::index_rem(tap, line)),
                           lane, lanes);
    }
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
  const bool bytes = is_byte_contraction(conv);
  if (conv.int_attr("groups") == 1 || conv.operand(0)->type.rank() > 4 || !r.constant_rhs || r.bf16_pairs ||
      r.machine->vector_registers > 16 || (!bytes && r.stored && r.stored(1) != DType::kF32))
    return false;
  const Groups g = groups_of(conv);
  if (bytes && (r.machine->byte_products != ByteProducts::kPairs || g.inputs % 2 != 0)) return false;
  const ConvGeometry geometry = conv_geometry(conv);
  const int64_t lanes = r.machine->vector_bits / 32;
  const bool windows = geometry.window_h * geometry.window_w > 1,
             shared = g.outputs % lanes == 0,  // a vector is of one group
      spread = (bytes ? g.inputs == g.outputs
                      : g.inputs <= g.outputs && std::has_single_bit(static_cast<uint64_t>(g.inputs))) &&
               g.outputs < lanes && lanes % g.outputs == 0;
  return g.inputs <= kMost && g.outputs <= kMost && (spread || (shared && (windows || !bytes)));
}

namespace {

// Small groups of bytes: pairs of members, widened, are multiplied and added in i32 at once. What lies around
// the input is taken off every byte, and the sums begin with what it is worth: the kernel then leaves out
// taps outside, as that of floats does.
void byte_groups(const ContractionRequest& r, const Access& access, DepthwiseShape& s, DepthwiseOperands& o) {
  const Node& conv = *r.root;
  const bool one = conv.operand(0)->type.rank() == 3;
  const Groups g = groups_of(conv);
  const int64_t channels = s.channels.value(), taps = s.window_h * s.window_w;
  const graph::Attr* fill = conv.find("pad_value");
  const int64_t around = fill ? std::get<int64_t>(*fill) : 0;
  s.members = g.inputs / 2;
  const Buffer weights = r.pack_parameter(ContractionRequest::Parameter::kGroupPairs, [&] {
    return pack_group_pairs(*r.constant_rhs, channels, g.inputs, taps);
  });
  o.members.emplace();
  o.members->pairs = o.members->unrolled = true;
  o.members->input = [=, &access](const Expr& image, const Expr& iy, const Expr& ix, const Expr& c,
                                  const Expr& member, int lanes, const Expr& count) {
    const bool shared = g.outputs % lanes == 0;  // a vector is of one group
    const int loaded = shared ? static_cast<int>(g.inputs) : lanes;
    const Expr first =
        shared ? kernel::mul(kernel::index_div(c, int_const(g.outputs)), int_const(g.inputs)) : c;
    const Var lane = kernel::make_var("lane");
    Expr words =
        kernel::cast(access.vector(0, pixel_index(one, image, kernel::add(first, var_expr(lane)), iy, ix),
                                   lane, loaded, shared ? nullptr : count),
                     DType::kI16);
    if (around != 0) words = kernel::sub(words, kernel::broadcast(int_const(around, DType::kI16), loaded));
    std::vector<int> from;
    for (int l = 0; l < lanes; ++l) {
      const int64_t group = shared ? 0 : l / g.inputs * g.inputs;
      for (int64_t half : {0, 1})
        from.push_back(static_cast<int>(group + 2 * *kernel::int_value(member) + half));
    }
    return kernel::shuffle(words, nullptr, from);
  };
  o.members->weight = [=](const Expr& tap, const Expr& member, const Expr& c, int lanes) {
    const Expr at = place_in_blocks(taps, s.members, tap, member, c);
    return kernel::load(weights, kernel::mul(at, int_const(2)), 2 * lanes);
  };
  o.begin =
      access.begin([one](const Expr& row, const Expr& c) { return pixel_index(one, row, c, row, row); });
  if (around == 0) return;
  const Buffer sums = r.pack_parameter(ContractionRequest::Parameter::kChannelSums,
                                       [&] { return pack_channel_sums(*r.constant_rhs, channels, around); });
  o.begin = [=, begin = o.begin](const Expr& c, int lanes, const Expr& count) {
    const Expr sum = kernel::load(sums, c, lanes);
    return begin ? kernel::add(begin(c, lanes, count), sum) : sum;
  };
}

}  // namespace

ContractionBody build_small_groups(const ContractionRequest& r) {
  const Node& conv = *r.root;
  const bool one = conv.operand(0)->type.rank() == 3;
  DepthwiseShape s = depthwise_shape(conv);
  const Groups g = groups_of(conv);
  const int64_t channels = conv.operand(1)->type.shape[0].value(), taps = s.window_h * s.window_w;
  s.channels = channels;
  // Levels with more registers, or products of four bytes, multiply panels.
  const Access access(r);
  const Var lane = kernel::make_var("lane");
  DepthwiseOperands o;
  if (is_byte_contraction(conv)) {
    byte_groups(r, access, s, o);
    o.finish = finish_pixel(access, one);
    DepthwiseKernel made = build_depthwise_kernel(s, *r.machine, o, r.hint, *r.params);
    return {std::move(made.grid), std::move(made.body), std::move(made.schedule)};
  }
  s.members = g.inputs;
  const Buffer weights = r.pack_parameter(ContractionRequest::Parameter::kGroups, [&] {
    return pack_groups(*r.constant_rhs, channels, g.inputs, taps);
  });
  o.members.emplace();
  o.members->unrolled = g.outputs < r.machine->vector_bits / 32;
  o.members->input = [&](const Expr& image, const Expr& iy, const Expr& ix, const Expr& c, const Expr& member,
                         int lanes, const Expr& count) {
    if (!o.members->unrolled) {
      const Expr group = kernel::index_div(c, int_const(g.outputs));
      const Expr from = kernel::add(kernel::mul(group, int_const(g.inputs)), member);
      return kernel::broadcast(access.scalar(0, pixel_index(one, image, from, iy, ix)), lanes);
    }
    // Whole groups, as channels of a vector and what is left of them are.
    const auto inputs = [&](const Expr& outputs) {
      return g.inputs == g.outputs
                 ? outputs
                 : kernel::mul(kernel::index_div(outputs, int_const(g.outputs)), int_const(g.inputs));
    };
    const int loaded = static_cast<int>(lanes / g.outputs * g.inputs);
    const Expr all = access.vector(0, pixel_index(one, image, kernel::add(inputs(c), var_expr(lane)), iy, ix),
                                   lane, loaded, count ? inputs(count) : nullptr);
    std::vector<int> from;
    for (int l = 0; l < lanes; ++l)
      from.push_back(static_cast<int>(l / g.outputs * g.inputs + *kernel::int_value(member)));
    return kernel::shuffle(all, nullptr, from);
  };
  o.members->weight = [&](const Expr& tap, const Expr& member, const Expr& c, int lanes) {
    return kernel::load(weights, place_in_blocks(taps, g.inputs, tap, member, c), lanes);
  };
  o.finish = finish_pixel(access, one);
  DepthwiseKernel made = build_depthwise_kernel(s, *r.machine, o, r.hint, *r.params);
  return {std::move(made.grid), std::move(made.body), std::move(made.schedule)};
}

decltype(ContractionOperands::gather_a) gather_depthwise(const ContractionRequest& r, int64_t block_rows,
                                                         kernel::ParamTable& params) {
  const Node& conv = *r.depthwise;
  const DepthwiseShape s = depthwise_shape(conv);
  const int64_t channels = conv.int_attr("groups"), taps = s.window_h * s.window_w, granule = kPanelColumns,
                padded = (channels + granule - 1) / granule * granule;
  const Buffer weights = r.pack_parameter(ContractionRequest::Parameter::kFilters, [&] {
    return pack_depthwise(*r.depthwise_filters, channels, taps, granule);
  });
  const bool one = conv.operand(0)->type.rank() == 3;
  return [=, &r, &params](const Buffer& block, const Expr& row0, const Expr& rows, const Expr& k0,
                          const Expr& depth, int64_t stride) {
    const Var lane = kernel::make_var("lane");
    const auto along = [&](const Expr& e, int lanes, const Expr& count, const Var* sum, const Expr& value) {
      std::unordered_map<const kernel::VarNode*, Expr> widened;
      if (sum) widened[sum->get()] = value;
      const Expr wide = kernel::vectorize(e, lane, lanes, widened, count);
      return kernel::broadcast(kernel::substitute(wide, {{lane.get(), int_const(0)}}), lanes);
    };
    DepthwiseOperands o;
    o.input = [&](const Expr& image, const Expr& iy, const Expr& ix, const Expr& c, int lanes,
                  const Expr& count) {
      const Expr e = r.depthwise_element(pixel_index(one, image, kernel::add(c, var_expr(lane)), iy, ix));
      return along(kernel::cast(e, DType::kF32), lanes, count, nullptr, nullptr);
    };
    o.weight = [&](const Expr& tap, const Expr& c, int lanes) {
      return kernel::load(weights, kernel::add(kernel::mul(tap, int_const(padded)), c), lanes);
    };
    o.finish = [&](const Expr& image, const Expr& oy, const Expr& ox, const Expr& c, const Expr& value,
                   int lanes, const Expr& count) {
      const Var sum = kernel::make_var("sum", {DType::kF32, 1});
      const Expr e = r.depthwise_result(pixel_index(one, image, kernel::add(c, var_expr(lane)), oy, ox), sum);
      const Expr line = kernel::add(kernel::mul(image, params.expr(s.out_height)), oy);
      const Expr row = kernel::sub(kernel::add(kernel::mul(line, params.expr(s.out_width)), ox), row0);
      const Expr at = kernel::add(kernel::mul(row, int_const(stride)), kernel::sub(c, k0));
      const Expr vector = along(kernel::cast(e, DType::kF32), lanes, count, &sum, value);
      return std::vector<kernel::Stmt>{kernel::store(block, at, vector, count)};
    };
    const bool all = stride >= channels,
               lines = s.out_width.is_const() && block_rows % std::max<int64_t>(s.out_width.value(), 1) == 0;
    return depthwise_rows(s, *r.machine, o,
                          {row0, rows, k0, depth, Dim(all ? channels : std::gcd(channels, stride)), lines},
                          params);
  };
}

}  // namespace tern::lower
