#include "compiler/lower/spread_products.h"

#include <algorithm>
#include <numeric>

#include "compiler/graph/passes/constants.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/conv_rewrite.h"
#include "compiler/lower/layout_assignment.h"
#include "compiler/lower/plane_schedule.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

using graph::Builder;
using graph::Node;
using graph::Value;

constexpr int64_t kMostSums = 8;  // rows of the product that meet in an output

struct Axis {
  int64_t step, window, inputs, outputs, first;  // first: the result's first place among all of them
  int64_t taps() const { return ceil_div(window, step); }
  int64_t places() const { return inputs + taps() - 1; }
};

bool has_known_axes(const Shape& shape) {
  return std::all_of(shape.begin() + 2, shape.end(), [](const Dim& d) { return d.is_const(); });
}

std::vector<Axis> axes_of(const Node& n) {
  std::vector<Axis> axes;
  const Shape &x = n.operand()->type.shape, &w = n.operand(1)->type.shape, &y = n.result()->type.shape;
  for (size_t d = 0; d + 2 < w.size(); ++d) {
    const int64_t window = w[d + 2].value();
    axes.push_back({n.ints("lhs_dilations")[d], window, x[d + 2].value(), y[d + 2].value(),
                    window - 1 - n.ints("low")[d]});
  }
  return axes;
}

int64_t product_of(const std::vector<Axis>& axes, int64_t (*extent)(const Axis&)) {
  return std::transform_reduce(axes.begin(), axes.end(), int64_t{1}, std::multiplies<>(), extent);
}

// Cycles of one image: the product, and adding up what it gives.
double cycles_of(const std::vector<Axis>& axes, int64_t channels, int64_t outputs,
                 const MachineModel& machine) {
  constexpr double kDispatch = 2000, kOrdered = 3;  // of an output that is brought in order
  ContractionShape shape;
  shape.m = outputs * product_of(axes, [](const Axis& a) { return a.taps() * a.step; });
  shape.n = product_of(axes, [](const Axis& a) { return a.inputs; });
  shape.k = channels;
  shape.a_row_bytes = channels * 4;
  const ContractionSchedule s = default_contraction_schedule(shape, machine);
  const int64_t all = outputs * product_of(axes, [](const Axis& a) { return a.outputs; });
  return contraction_cycles(shape, s, machine) + static_cast<double>(shape.m * shape.n) / s.lanes * 2 +
         static_cast<double>(all) * kOrdered + kDispatch;
}

bool gains(const Node& n, const std::vector<Axis>& axes, bool by_planes, const Target& target) {
  constexpr double kClearly = 0.9;
  const auto shape = any_plane_shape(n);
  if (!shape) return false;
  const Shape& w = n.operand(1)->type.shape;
  const auto otherwise = [&](const MachineModel& m) {
    if (by_planes) return plane_schedule(*shape, m, DType::kF32).cycles;
    const int64_t pixels = shape->d.extent * shape->h.extent * shape->w.extent;
    return products_cycles(*shape, m, m.vector_bits / 32) + turn_cycles(shape->inputs, pixels);
  };
  return std::all_of(target.levels.begin(), target.levels.end(), [&](Level level) {
    const MachineModel& m = machine(level);
    return cycles_of(axes, w[1].value(), w[0].value(), m) < kClearly * otherwise(m);
  });
}

// [O, C, k...], the last tap first, to [tap / step..., tap % step..., O] rows of C.
Value* rows_of(Value* w, const std::vector<Axis>& axes, Builder& b) {
  const Shape& shape = w->type.shape;
  std::vector<Dim> starts(shape.size(), Dim(0)), none = starts, more = none;
  std::vector<int64_t> steps(shape.size(), 1), order;
  Shape split{shape[0], shape[1]};
  int64_t rows = shape[0].value();
  for (size_t d = 0; d < axes.size(); ++d) {
    const Axis& a = axes[d];
    starts[d + 2] = Dim(a.window - 1), steps[d + 2] = -1;
    more[d + 2] = Dim(a.taps() * a.step - a.window);
    split.insert(split.end(), {Dim(a.taps()), Dim(a.step)});
    rows *= a.taps() * a.step;
  }
  for (const int64_t part : {2, 3}) {
    for (size_t d = 0; d < axes.size(); ++d) order.push_back(part + 2 * static_cast<int64_t>(d));
  }
  order.insert(order.end(), {0, 1});
  Value* turned = b.slice(w, starts, shape, steps);
  Value* out = b.transpose(b.reshape(b.pad(turned, none, more, b.like(w, 0)), split), order);
  return b.reshape(out, {Dim(1), Dim(rows), shape[1]});
}

Value* spread(Node& n, bool by_planes, const Target& target, Builder& b) {
  Value *x = n.operand(0), *w = n.operand(1);
  if (!graph::constant_data(w) || x->type.dtype != DType::kF32 || n.int_attr("groups") != 1) return nullptr;
  const std::vector<int64_t>& up = n.ints("lhs_dilations");
  if (std::all_of(up.begin(), up.end(), [](int64_t step) { return step == 1; })) return nullptr;
  if (!has_known_axes(x->type.shape) || !has_known_axes(n.result()->type.shape)) return nullptr;
  const std::vector<Axis> axes = axes_of(n);
  const bool inside = std::all_of(axes.begin(), axes.end(), [](const Axis& a) {
    return a.first >= 0 && a.first + a.outputs <= a.places() * a.step;
  });
  if (!inside || product_of(axes, [](const Axis& a) { return a.taps(); }) > kMostSums ||
      !gains(n, axes, by_planes, target))
    return nullptr;

  const size_t rank = axes.size();
  const Dim images = x->type.shape[0], outputs = w->type.shape[0];
  Shape flat{images, x->type.shape[1], Dim(1)}, split{images};
  for (const Axis& a : axes) flat[2] = flat[2] * Dim(a.inputs), split.push_back(Dim(a.taps()));
  for (const Axis& a : axes) split.push_back(Dim(a.step));
  split.push_back(outputs);
  for (const Axis& a : axes) split.push_back(Dim(a.inputs));
  Value* rows = b.reshape(b.dot(rows_of(w, axes, b), b.reshape(x, flat)), split);

  // [images, steps..., O, places...]: the rows of each tap, so many inputs further.
  Shape part_shape{images};
  part_shape.insert(part_shape.end(), split.begin() + static_cast<std::ptrdiff_t>(1 + rank), split.end());
  Value* sum = nullptr;
  const int64_t sums = product_of(axes, [](const Axis& a) { return a.taps(); });
  for (int64_t i = 0; i < sums; ++i) {
    std::vector<Dim> starts(split.size(), Dim(0)), low(part_shape.size(), Dim(0)), high = low;
    Shape sizes = split;
    int64_t rest = i;
    for (size_t d = rank; d-- > 0;) {
      const int64_t tap = rest % axes[d].taps();
      rest /= axes[d].taps();
      starts[1 + d] = Dim(tap), sizes[1 + d] = Dim(1);
      low[2 + rank + d] = Dim(tap), high[2 + rank + d] = Dim(axes[d].taps() - 1 - tap);
    }
    Value* part = b.reshape(b.slice(rows, starts, sizes, std::vector<int64_t>(split.size(), 1)), part_shape);
    part = b.pad(part, low, high, b.like(part, 0));
    sum = sum ? b.add(sum, part) : part;
  }

  std::vector<int64_t> order{0, static_cast<int64_t>(rank) + 1};
  Shape joined{images, outputs};
  std::vector<Dim> starts{Dim(0), Dim(0)};
  for (size_t d = 0; d < rank; ++d) {
    order.insert(order.end(), {static_cast<int64_t>(rank + 2 + d), static_cast<int64_t>(1 + d)});
    joined.push_back(Dim(axes[d].places() * axes[d].step));
    starts.push_back(Dim(axes[d].first));
  }
  Value* out = b.reshape(b.transpose(sum, order), joined);
  return b.slice(out, starts, n.result()->type.shape, std::vector<int64_t>(starts.size(), 1));
}

}  // namespace

void spread_products(graph::Graph& graph, const LoweringContext& context) {
  if (is_gpu(context.target().arch) || !context.enabled("channels_last")) return;  // not timed there
  OuterConvolutions outer;
  find_outer_convolutions(graph.body, context.target(), outer);
  rewrite_convolutions(graph, [&](Node& n, Builder& b) {
    if (!outer.outside.contains(&n)) return graph::replace_with(nullptr);
    const bool by_planes = outer.by_planes.contains(&n);
    return graph::replace_with(spread(n, by_planes, context.target(), b));
  });
}

}  // namespace tern::lower
