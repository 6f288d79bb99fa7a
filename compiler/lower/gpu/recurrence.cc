#include "compiler/lower/gpu/recurrence.h"

#include <algorithm>

#include "compiler/lower/gpu/recurrent_kernel.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/recurrence.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

using graph::Value;

// What a step costs that is launched as dispatches of its own, and what memory gives meanwhile. An LSTM of
// 256 units on an H100: 15 us.
constexpr double kStepSeconds = 12e-6;
// A first level may be worse by this where a later one gains: newer devices take that.
constexpr double kWorseFirst = 3;

// Quads of the depth side by side for each column: [ceil(depth / 4), columns, 4].
TensorDataPtr pack_quads(const TensorData& weights, int64_t depth, int64_t columns, DType stored) {
  const int64_t quads = ceil_div(depth, int64_t{4});
  auto out = TensorData::make(DType::kF32, {quads, columns, 4});
  float* to = out->mutable_as<float>();
  for (int64_t k = 0; k < quads * 4; ++k)
    for (int64_t n = 0; n < columns; ++n)
      to[(k / 4 * columns + n) * 4 + k % 4] =
          k < depth ? static_cast<float>(weights.float_at(k * columns + n)) : 0.0F;
  return stored == DType::kF32 ? out : converted(out, stored);
}

RecurrentShape shape_of(const Recurrence& r, LoweringContext& context) {
  RecurrentShape s;
  s.width = r.width;
  s.rows = context.hint(r.rows);
  s.steps = context.hint(r.steps);
  s.stages.resize(static_cast<size_t>(r.stages));
  for (auto& stage : s.stages) stage.exchanged = 0;
  for (const ExchangedRows& x : r.exchanged) ++s.stages[static_cast<size_t>(x.stage)].exchanged;
  for (const RecurrentProduct& p : r.products)
    s.stages[static_cast<size_t>(p.stage)].columns += static_cast<int64_t>(p.offsets.size());
  s.inputs = static_cast<int>(2 * r.inputs.size() + r.loop->operands.size());
  s.weight_bits = 16;
  for (const RecurrentProduct& p : r.products)
    s.weight_bits = std::max(s.weight_bits, dtype_bits(context.stored_type(p.weights)));
  return s;
}

double steps_seconds(const Recurrence& r, const RecurrentShape& s, const GpuModel& model) {
  double bytes = 0;
  for (const RecurrentProduct& p : r.products)
    bytes += static_cast<double>(p.depth * p.columns * s.weight_bits / 8);
  return kStepSeconds + bytes / model.bandwidth;
}

Region region_of(const graph::Node& loop) {
  Region region;
  region.kind = RootKind::kSpecial;
  region.root = const_cast<graph::Node*>(&loop);
  const graph::Block& body = *loop.regions[0];
  std::unordered_set<const Value*> inside(body.args.begin(), body.args.end());
  const auto read = [&](Value* v) {
    if (!inside.contains(v) &&
        std::find(region.inputs.begin(), region.inputs.end(), v) == region.inputs.end())
      region.inputs.push_back(v);
  };
  for (size_t i = 2; i < loop.operands.size(); ++i) read(loop.operands[i]);
  for (const auto& n : body.nodes) {
    for (Value* v : n->operands) read(v);
    if (n->kind == graph::OpKind::kConstant) continue;
    inside.insert(n->results.begin(), n->results.end());
    region.nodes.push_back(n.get());
    region.members.insert(n.get());
  }
  for (size_t i = 0; i < loop.results.size(); ++i) {
    const bool carried = i + 2 < loop.operands.size();
    if (!carried || body.results[i + 1] != body.args[i + 2]) region.outputs.push_back(loop.results[i]);
  }
  return region;
}

// Whether devices take kernels of the level: where all run a later one's, the first one is there for form's
// sake.
bool runs_on(Level level, LoweringContext& context) {
  const Target& target = context.target();
  if (level != Level::kCudaSm80 || target.levels.back() == level) return true;
  const auto& names = target.architectures;
  return names.empty() ||
         std::any_of(names.begin(), names.end(), [](std::string_view a) { return a != "sm_90a"; });
}

struct Plan {
  Recurrence recurrence;
  std::vector<std::pair<Level, RecurrentSchedule>> schedules;
};

std::optional<Plan> make_plan(const graph::Node& loop, const Dim& steps, LoweringContext& context) {
  if (!is_gpu(context.target().arch) || !runs_to_its_end(loop)) return std::nullopt;
  if (steps.is_const() && (steps.value() < 1 || steps.value() == INT64_MAX)) return std::nullopt;
  std::optional<Recurrence> r = find_recurrence(loop, context.iterations().at(&loop), steps);
  if (!r) return std::nullopt;
  const RecurrentShape shape = shape_of(*r, context);
  const std::vector<Level> levels = context.target().arch == Arch::kCuda
                                        ? context.target().levels
                                        : variant_levels(context.target(), Covers::kFolds);
  Plan plan{std::move(*r), {}};
  double gain = 0;
  for (const Level level : levels) {
    const GpuModel& model = gpu_model(level);
    auto s = default_recurrent_schedule(shape, model);
    if (!s && plan.schedules.empty()) return std::nullopt;
    if (!s) continue;
    const double faster = steps_seconds(plan.recurrence, shape, model) / s->seconds();
    if (plan.schedules.empty() && faster < 1 / kWorseFirst && runs_on(level, context)) return std::nullopt;
    gain = std::max(gain, faster);
    // The same again needs no variant.
    const auto same = [&](const auto& earlier) {
      return earlier.second.text() == s->text() && gpu_model(earlier.first).subgroup == model.subgroup;
    };
    if (std::any_of(plan.schedules.begin(), plan.schedules.end(), same)) continue;
    plan.schedules.emplace_back(level, std::move(*s));
  }
  if (gain <= 1) return std::nullopt;
  return plan;
}

}  // namespace

bool makes_one_dispatch(const graph::Node& loop, const Dim& steps, LoweringContext& context) {
  return make_plan(loop, steps, context).has_value();
}

bool makes_one_dispatch(const graph::Node& loop, LoweringContext& context) {
  if (loop.kind != graph::OpKind::kLoop || !is_gpu(context.target().arch)) return false;
  const std::optional<Dim> steps = known_trips(loop);
  return steps && makes_one_dispatch(loop, *steps, context);
}

void lower_recurrence(const graph::Node& loop, const Dim& steps, LoweringContext& context) {
  const std::optional<Plan> plan = make_plan(loop, steps, context);
  TERN_CHECK(plan.has_value(), "a loop that is no recurrence is lowered as one");
  const Recurrence& r = plan->recurrence;
  const Region region = region_of(loop);
  std::vector<int> weights;
  for (const RecurrentProduct& p : r.products) {
    const DType stored = context.stored_type(p.weights);
    context.note_stored(p.weights, stored);
    const TensorData& values = *LoweringContext::constant_data(p.weights);
    weights.push_back(context.add_constant(p.weights->name, pack_quads(values, p.depth, p.columns, stored)));
  }
  DispatchBuilder dispatch(context, region);
  dispatch.set_label("recurrence");
  Dim flops = 0;
  for (const RecurrentProduct& p : r.products) flops = flops + Dim(2 * p.depth * p.columns);
  dispatch.set_flops(flops * r.rows * steps);
  for (const auto& [level, schedule] : plan->schedules)
    add_recurrent_variant(dispatch, r, schedule, level, weights);
  dispatch.finish();
}

}  // namespace tern::lower::gpu
