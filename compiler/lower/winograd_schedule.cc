#include "compiler/lower/winograd_schedule.h"

#include <algorithm>
#include <cmath>

#include "compiler/lower/window_parts.h"
#include "compiler/lower/winograd_transform.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

// Measured on Zen 5 (AVX-512 and AVX2), in cycles; docs/lowering.md says how well they predict.
// One vector of channels of one patch, one direction.
double transform_cycles(int outputs, int stride) {
  if (stride == 1) return outputs == 2 ? 30 : 95;
  return outputs == 3 ? 75 : 130;
}
constexpr double kGridTile = 2000;       // a tile of the grid
constexpr double kRegisterTile = 20;     // a register tile, besides its accumulators
constexpr double kMultiplyShare = 0.93;  // of the peak, in the inner loops
// Weights come from memory: the other layers' have replaced them since the last run. They are transformed
// first, into memory that the last cache holds at best (winograd_weights.h).
constexpr double kTransformedBytes = 12;  // that are written, a cycle

// A layer must gain this much, or the larger weights are not worth their memory.
constexpr double kLeastGain = 0.88;
// A larger square must gain this much over a smaller one, whose weights are about half as large.
constexpr double kLeastGainLarger = 0.97;

// Few tiles leave cores idle, however many there are.
double with_idle(double cycles, double grid_tiles) {
  return cycles * (1 + 1 / grid_tiles);
}

double direct_cycles(const WinogradShape& shape, const MachineModel& machine) {
  ContractionShape c;
  c.m = shape.images * shape.out_height * shape.out_width;
  c.n = shape.columns;
  c.k = shape.channels * 9;
  c.packs_a = true;
  c.depth_granule = shape.channels;
  const ContractionSchedule s = default_contraction_schedule(c, machine);
  const double weights = static_cast<double>(c.k * c.n) * 4 / machine.memory_bytes_a_cycle;
  double products = contraction_cycles(c, s, machine) * shape.multiplied;
  if (shape.windows) {
    if (const auto w = window_schedule(*shape.windows, c.n, shape.images, machine))
      products = std::min(products, w->cycles);
  }
  return with_idle(products + weights, 16);
}

double winograd_cycles(const WinogradShape& shape, const WinogradSchedule& s, int64_t patches,
                       const MachineModel& machine) {
  const ContractionSchedule& p = s.product;
  const WinogradTransform& t = winograd_transform(s.outputs, shape.stride);
  const double points = t.size() * t.size();
  const auto patch_blocks = static_cast<double>(ceil_div(patches, p.block_rows)),
             column_blocks = static_cast<double>(ceil_div(shape.columns, p.block_columns));
  const auto all = static_cast<double>(patches), channels = static_cast<double>(shape.channels);
  const double transform = transform_cycles(s.outputs, shape.stride);
  const double input = all * static_cast<double>(ceil_div(shape.channels, p.lanes)) * transform;
  const double output = all * static_cast<double>(ceil_div(shape.columns, p.lanes)) * transform;

  const int64_t group = int64_t{p.vectors} * p.lanes;
  const double multiply = cover_cycles(p, p.block_rows, shape.columns, machine) * channels / kMultiplyShare;
  const auto register_tiles =
      static_cast<double>(ceil_div(p.block_rows, p.rows) * ceil_div(shape.columns, group));
  const double product = multiply + register_tiles * (kRegisterTile + 1.5 * p.rows * p.vectors);
  // The last block may have fewer patches.
  const double products = points * product * all / static_cast<double>(p.block_rows);

  const double taps = 9 * channels * static_cast<double>(shape.columns) * 4;
  const double weights = taps / 9 * t.weights() * t.weights();
  const double first = taps / machine.memory_bytes_a_cycle + weights / kTransformedBytes;
  const double slice = weights / column_blocks;
  const double block = points * 4 * static_cast<double>(p.block_rows * (shape.channels + group));
  const bool stays = slice + block <= 0.8 * static_cast<double>(machine.l2_bytes);
  const double read = (stays ? 1 : patch_blocks) * weights / machine.l3_bytes_a_cycle;
  const double cycles = input * column_blocks + products + output + first + read;
  const double grid_tiles = patch_blocks * column_blocks;
  return with_idle(cycles + grid_tiles * kGridTile, grid_tiles);
}

}  // namespace

Dim winograd_phases(const Dim& outputs, int64_t dilation) {
  return outputs.is_const() ? Dim(std::min(outputs.value(), dilation)) : Dim(dilation);
}

int64_t WinogradShape::patches(int side) const {
  const auto along = [&](int64_t outputs, int64_t dilation) {
    return winograd_phases(outputs, dilation).value() * ceil_div(ceil_div(outputs, dilation), int64_t{side});
  };
  return images * along(out_height, dilation_h) * along(out_width, dilation_w);
}

std::optional<WinogradSchedule> winograd_schedule(const WinogradShape& shape, int outputs,
                                                  const MachineModel& machine) {
  const int64_t size = winograd_transform(outputs, shape.stride).size(), points = size * size;
  const int64_t patches = shape.patches(outputs);
  // A symbolic size may turn out larger than its hint.
  const int64_t most = shape.is_static ? patches : std::max<int64_t>(patches, 64);
  std::optional<WinogradSchedule> best;
  for (int64_t blocks = 1; blocks <= most; blocks += std::max<int64_t>(1, blocks / 8)) {
    ContractionShape product;
    product.m = ceil_div(most, blocks);
    product.n = shape.columns;
    product.k = shape.channels;
    WinogradSchedule s;
    s.outputs = outputs;
    ContractionSchedule& p = s.product;
    choose_register_tile(product, machine, p);
    p.rows = static_cast<int>(ceil_div(product.m, ceil_div(product.m, p.rows)));
    p.block_rows = blocks == 1 && shape.is_static ? patches : ceil_div(product.m, p.rows) * p.rows;
    p.block_depth = shape.channels;
    const int64_t group = int64_t{p.vectors} * p.lanes, groups = ceil_div(shape.columns, group);
    if (points * 4 * p.block_rows * (shape.channels + group) > machine.l2_bytes * 5 / 8) continue;
    for (int64_t column_blocks = 1; column_blocks <= std::min<int64_t>(groups, 16); ++column_blocks) {
      p.block_columns = ceil_div(groups, column_blocks) * group;
      s.cycles = winograd_cycles(shape, s, patches, machine);
      if (!best || s.cycles < best->cycles) best = s;
    }
  }
  return best;
}

int choose_winograd(const WinogradShape& shape, const std::vector<const MachineModel*>& machines) {
  // The baseline of several levels is for machines that are hardly there any more: it must not lose, the
  // others decide.
  const size_t first = machines.size() > 1 ? 1 : 0;
  const auto gain = [&](int outputs) {
    double sum = 0;
    for (size_t i = 0; i < machines.size(); ++i) {
      const auto s = winograd_schedule(shape, outputs, *machines[i]);
      const double ratio = s ? s->cycles / direct_cycles(shape, *machines[i]) : 2;
      if (ratio > (i < first ? 1 : kLeastGain)) return 1.0;
      if (i >= first) sum += std::log(ratio);
    }
    return std::exp(sum / static_cast<double>(machines.size() - first));
  };
  int best = 0;
  double best_gain = kLeastGain / kLeastGainLarger;
  for (const int outputs : winograd_sides(shape.stride)) {
    const double g = gain(outputs);
    if (g > best_gain * kLeastGainLarger) continue;
    best = outputs;
    best_gain = g;
  }
  return best;
}

std::string WinogradSchedule::text() const {
  return fmt::format("winograd {}x{}; {}", outputs, outputs, product.text());
}

}  // namespace tern::lower
