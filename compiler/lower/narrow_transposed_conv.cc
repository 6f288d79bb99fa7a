#include "compiler/lower/narrow_transposed_conv.h"

#include <algorithm>

#include "compiler/graph/passes/constants.h"
#include "compiler/lower/conv_rewrite.h"
#include "compiler/lower/layout_assignment.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

using graph::Builder;
using graph::Node;
using graph::OpKind;
using graph::Value;

constexpr int64_t kLanes = 16;         // columns that a product has for the price of one
constexpr double kLeastGain = 0.75;    // of the products: the order of the places may cost a copy
constexpr int64_t kNaiveChannels = 3;  // fewer have no phases of their own

struct Axis {
  int64_t step, window, low, high;
  int64_t taps() const { return ceil_div(window, step); }
  // Padding of the ordinary convolution, and where the result begins in its places.
  int64_t low_inputs() const { return floor_div(low, step); }
  int64_t high_inputs() const { return -floor_div(window - 1 - high, step) + taps() - 1; }
  int64_t first_place() const { return step - 1 - (low - low_inputs() * step); }
};

std::vector<Axis> axes_of(const Node& n) {
  std::vector<Axis> axes;
  const Shape& w = n.operand(1)->type.shape;
  for (size_t d = 0; d + 2 < w.size(); ++d)
    axes.push_back({n.ints("lhs_dilations")[d], w[d + 2].value(), n.ints("low")[d], n.ints("high")[d]});
  return axes;
}

bool gains(const std::vector<Axis>& axes, int64_t outputs) {
  int64_t places = 1, taps = 1;
  double phase_taps = 1;
  for (const Axis& a : axes) {
    places *= a.step;
    taps *= a.taps();
    phase_taps *= static_cast<double>(a.window) / static_cast<double>(a.step);
  }
  if (outputs < kNaiveChannels) return true;
  const auto cost = static_cast<double>(ceil_div(places * outputs, kLanes) * taps);
  return cost <= kLeastGain * static_cast<double>(places * ceil_div(outputs, kLanes)) * phase_taps;
}

// [O, C, k...] to [s..., O, C, taps...] as one dimension of columns: the last place of a block is tap 0.
Value* column_weights(Value* w, const std::vector<Axis>& axes, Builder& b) {
  const Shape& shape = w->type.shape;
  const size_t rank = axes.size();
  std::vector<Dim> none(shape.size(), Dim(0)), more = none;
  Shape split{shape[0], shape[1]}, columns{shape[0], shape[1]};
  std::vector<int64_t> order;
  for (size_t d = 0; d < rank; ++d) {
    more[d + 2] = Dim(axes[d].taps() * axes[d].step - axes[d].window);
    split.insert(split.end(), {Dim(axes[d].taps()), Dim(axes[d].step)});
    order.push_back(static_cast<int64_t>(3 + 2 * d));
    columns[0] = columns[0] * Dim(axes[d].step);
    columns.push_back(Dim(axes[d].taps()));
  }
  order.insert(order.end(), {0, 1});
  for (size_t d = 0; d < rank; ++d) order.push_back(static_cast<int64_t>(2 + 2 * d));
  Value* out = b.transpose(b.reshape(b.pad(w, none, more, b.like(w, 0)), split), order);
  std::vector<Dim> starts(out->type.shape.size(), Dim(0));
  std::vector<int64_t> steps(out->type.shape.size(), 1);
  for (size_t d = 0; d < rank; ++d) {
    starts[d] = Dim(axes[d].step - 1);
    steps[d] = -1;
  }
  return b.reshape(b.slice(out, starts, out->type.shape, steps), columns);
}

Value* narrowed(Node& n, Builder& b) {
  Value *x = n.operand(0), *w = n.operand(1);
  const auto is_one = [](int64_t v) { return v == 1; };
  const auto ones = [&](const char* name) {
    return std::all_of(n.ints(name).begin(), n.ints(name).end(), is_one);
  };
  if (ones("lhs_dilations") || !ones("strides") || !ones("dilations") || n.int_attr("groups") != 1 ||
      n.find("pad_value") || !graph::constant_data(w) || !is_float(w->type.dtype))
    return nullptr;
  const std::vector<Axis> axes = axes_of(n);
  const int64_t outputs = w->type.shape[0].value();
  const bool blocks = std::all_of(axes.begin(), axes.end(), [](const Axis& a) { return a.window == a.step; });
  if (blocks || !gains(axes, outputs)) return nullptr;
  for (const Axis& a : axes) {
    if (a.low < 0 || a.high_inputs() < 0) return nullptr;
  }

  std::vector<int64_t> low, high, all_ones(axes.size(), 1), order{0, static_cast<int64_t>(axes.size()) + 1};
  for (const Axis& a : axes) {
    low.push_back(a.low_inputs());
    high.push_back(a.high_inputs());
  }
  auto attrs = n.attrs;
  for (auto& [key, value] : attrs) {
    if (key == "low") value = low;
    if (key == "high") value = high;
    if (key == "lhs_dilations") value = all_ones;
  }
  Value* conv = b.node(OpKind::kConv, {x, column_weights(w, axes, b)}, std::move(attrs))->result();
  const Shape& made = conv->type.shape;
  Shape split{made[0]}, joined{made[0], Dim(outputs)};
  for (const Axis& a : axes) split.push_back(Dim(a.step));
  split.push_back(Dim(outputs));
  std::vector<Dim> starts{Dim(0), Dim(0)};
  for (size_t d = 0; d < axes.size(); ++d) {
    split.push_back(made[d + 2]);
    joined.push_back(made[d + 2] * Dim(axes[d].step));
    order.insert(order.end(), {static_cast<int64_t>(axes.size() + 2 + d), static_cast<int64_t>(1 + d)});
    starts.push_back(Dim(axes[d].first_place()));
  }
  Value* out = b.reshape(b.transpose(b.reshape(conv, split), order), joined);
  return b.slice(out, starts, n.result()->type.shape, std::vector<int64_t>(starts.size(), 1));
}

}  // namespace

void narrow_transposed_convs(graph::Graph& graph, const LoweringContext& context) {
  OuterConvolutions outer;
  if (context.enabled("channels_last")) find_outer_convolutions(graph.body, context.target(), outer);
  rewrite_convolutions(graph, [&](Node& n, Builder& b) {
    const bool stays = n.kind != OpKind::kConv || outer.by_planes.contains(&n);
    return graph::replace_with(stays ? nullptr : narrowed(n, b));
  });
}

}  // namespace tern::lower
