#include "compiler/lower/plane_schedule.h"

#include <algorithm>
#include <array>

#include "compiler/lower/contraction_access.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/few_columns.h"
#include "compiler/lower/window_parts.h"
#include "compiler/lower/winograd_schedule.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

constexpr int64_t kMostInputs = 32, kMostOutputs = 64;  // channels of a group
constexpr int64_t kMostPlanes = 64;                     // taken by points, which wait in no scratch
constexpr int64_t kMostSpread = 512;                    // inputs of a transposed convolution
constexpr int64_t kMostTaps = 100;                      // of a channel: they are written out
constexpr int64_t kMostSpreadTaps = 400;
constexpr int64_t kMostUp = 16;           // whose vectors are registers
constexpr int64_t kPlaneElements = 4096;  // of scratch, a share of L1, as long as one plane is smaller
constexpr int64_t kMostInL1 = 6144;
constexpr int64_t kMostElements = 64 * 1024;  // of scratch, of L2: a few long lines

double real(int64_t v) {
  return static_cast<double>(v);
}

}  // namespace

PlaneAxis PlaneAxis::of(int64_t extent, int64_t outputs, int64_t window, int64_t stride, int64_t dilation,
                        int64_t up, int64_t low) {
  PlaneAxis a{extent, outputs, window, stride, dilation, up, low, low};
  if (up == 1) return a;
  int64_t first = 0;  // the least place of an input, counted from a place's own
  for (int64_t phase = 0; phase < up; ++phase) {
    if (const Taps t = a.taps(phase); t.count > 0) first = std::min(first, t.offset - a.before);
  }
  a.before = -first;
  return a;
}

int64_t PlaneAxis::places() const {
  return ceil_div(outputs, up);
}

PlaneAxis::Taps PlaneAxis::taps(int64_t phase) const {
  if (up == 1) return {0, window, 0};
  const int64_t first = ((low - phase) % up + up) % up;
  if (first >= window) return {};
  return {first, ceil_div(window - first, up), (phase + first - low) / up + before};
}

int64_t PlaneAxis::reach() const {
  int64_t last = 0;
  for (int64_t phase = 0; phase < up; ++phase) {
    if (const Taps t = taps(phase); t.count > 0) last = std::max(last, t.offset + (t.count - 1) * dilation);
  }
  return last + 1;
}

int64_t PlaneAxis::tap(int64_t phase, int64_t offset) const {
  const Taps t = taps(phase);
  const int64_t from = offset - t.offset;
  return from < 0 || from % dilation != 0 || from / dilation >= t.count ? -1 : t.first + from / dilation * up;
}

std::optional<PlaneShape> any_plane_shape(const graph::Node& conv) {
  if (conv.kind != graph::OpKind::kConv || conv.find("pad_value")) return std::nullopt;
  const Shape &x = conv.operand()->type.shape, &w = conv.operand(1)->type.shape,
              &y = conv.result()->type.shape;
  const auto is_static_inside = [](const Shape& s) { return is_static(Shape(s.begin() + 1, s.end())); };
  const DType type = conv.operand()->type.dtype;
  if (x.size() < 3 || x.size() > 5 || !is_static(w) || !is_static_inside(x) || !is_static_inside(y) ||
      (!is_contraction_float(type) && type != DType::kF64) || conv.operand(1)->type.dtype != type)
    return std::nullopt;
  const ConvGeometry g = conv_geometry(conv);
  PlaneShape s;
  s.images = g.images;
  s.groups = conv.int_attr("groups");
  s.inputs = g.channels;
  s.outputs = w[0].value() / s.groups;
  std::vector<int64_t> up = conv.ints("lhs_dilations");
  up.insert(up.begin(), 3 - up.size(), 1);
  s.d = PlaneAxis::of(g.depth.value(), g.out_depth.value(), g.window_d, g.stride_d, g.dilation_d, up[0],
                      g.pad_front);
  s.h = PlaneAxis::of(g.height.value(), g.out_height.value(), g.window_h, g.stride_h, g.dilation_h, up[1],
                      g.pad_top);
  s.w = PlaneAxis::of(g.width.value(), g.out_width.value(), g.window_w, g.stride_w, g.dilation_w, up[2],
                      g.pad_left);
  const bool spread = s.ups() > 1;
  for (const PlaneAxis& a : {s.d, s.h, s.w}) {
    if (a.extent < 1 || a.outputs < 1 || a.before < 0 || (spread && (a.stride > 1 || a.dilation > 1)))
      return std::nullopt;
  }
  return s;
}

std::optional<PlaneShape> plane_shape(const graph::Node& conv) {
  std::optional<PlaneShape> shape = any_plane_shape(conv);
  if (!shape) return std::nullopt;
  const PlaneShape& s = *shape;
  const bool spread = s.ups() > 1;
  const int64_t most = spread ? kMostSpread : s.is_pointwise() ? kMostPlanes : kMostInputs;
  if (s.inputs > most || s.outputs > kMostOutputs || s.w.up > kMostUp ||
      s.h.window * s.w.window > (spread ? kMostSpreadTaps : kMostTaps))
    return std::nullopt;
  return shape;
}

int64_t lines_of(const PlaneShape& s, int64_t rows) {
  return (rows - 1) * s.h.stride + s.h.reach();
}

namespace {

// What a tile multiplies and loads for each channel and plane.
struct TileWork {
  double products = 0, loads = 0;
};
TileWork tile_work(const PlaneShape& s, const PlaneSchedule& t) {
  const double taps = real(s.h.window * s.w.window);
  TileWork work;
  if (s.ups() == 1) {
    const int64_t lines = std::min(lines_of(s, t.rows), t.rows * s.h.window);
    work.products = taps * t.rows * t.vectors * t.outputs;
    work.loads = real(s.w.window * lines) * t.vectors + taps * t.outputs;
    return work;
  }
  // Each tap belongs to one phase; inputs are loaded once a tile where some phase of it meets them.
  work.products = taps * t.rows * t.vectors * t.outputs;
  work.loads = taps * t.outputs;
  const auto meets = [](const PlaneAxis& a, int64_t offset, int64_t begin, int64_t end) {
    for (int64_t phase = begin; phase < end; ++phase) {
      if (a.tap(phase, offset) >= 0) return true;
    }
    return false;
  };
  int64_t across = 0, lines = 0;
  for (int64_t x = 0; x < s.w.reach(); ++x) across += meets(s.w, x, 0, s.w.up) ? 1 : 0;
  const int64_t parts = t.joined ? 1 : s.h.up, phases = s.h.up / parts;
  for (int64_t part = 0; part < parts; ++part) {
    for (int64_t line = 0; line < lines_of(s, t.rows); ++line) {
      bool any = false;
      for (int r = 0; r < t.rows; ++r)
        any |= meets(s.h, line - r * s.h.stride, part * phases, (part + 1) * phases);
      lines += any ? 1 : 0;
    }
  }
  work.loads += real(across * lines) * t.vectors;
  return work;
}

// Cycles of a group of one image: multiply-adds (two a cycle) or loads, of which every other one crosses a
// line; last vectors that are stored in pieces; what fills scratch.
double plane_cycles(const PlaneShape& s, const PlaneSchedule& t) {
  const double tiles = real(ceil_div(s.w.places(), int64_t{t.lanes} * t.vectors)) * real(s.outputs) /
                       t.outputs * real(s.h.places()) / t.rows;
  const TileWork work = tile_work(s, t);
  const double members = real(s.inputs * s.d.window), ups = real(s.ups());
  const double sums = ups * t.rows * t.vectors * t.outputs;
  const double pieces = s.w.outputs % t.lanes == 0 ? 0 : 2.0 * t.rows * t.outputs * ups / real(s.w.up);
  const double a_load = !t.in_place && t.elements(s) > kMostInL1 ? 1.25 : 0.75;
  double mixed = 0;  // shuffles that bring the phases of a line in order
  for (int64_t up = s.w.up; up > 1; up /= 2) mixed += up % 2 == 0 ? 1 : real(up);
  const double tile =
      std::max(members * work.products / 2, members * work.loads * a_load) + sums * (1 + mixed) + pieces;
  if (t.in_place) return real(s.d.places()) * tiles * tile;
  const int64_t bands = ceil_div(s.h.places(), t.band), strips = ceil_div(s.w.places(), t.strip);
  const int64_t line = strips == 1 ? ceil_div(s.w.extent, int64_t{t.lanes}) + 1
                                   : strips * (ceil_div(t.line(), int64_t{t.lanes}) + 4);
  const double vector = s.w.stride > 1 ? 2 * real(s.w.stride) : 1.5;
  const double fill = real(bands * t.lines * line) * vector;
  const double planes = real(s.inputs * s.d.up) * real(s.d.taps(0).count);
  return real(s.d.places()) * (tiles * tile + planes * fill);
}

// Of these places of a line at once, zeros beside them; whole vectors are read behind the last one, and what
// lies there is anything.
void set_strip(const PlaneShape& s, int64_t strip, PlaneSchedule& t) {
  const int64_t width = int64_t{t.vectors} * t.lanes;
  t.strip = strip;
  t.phases = s.w.stride;
  t.phase = round_up(std::min(strip, s.w.places()), width) + (s.w.reach() - 1) / s.w.stride;
}

void set_band(const PlaneShape& s, int64_t band, PlaneSchedule& t) {
  t.band = band;
  t.lines = lines_of(s, band);
}

PlaneSchedule plain_schedule(const PlaneShape& s, const MachineModel& machine, DType sum) {
  PlaneSchedule out;
  out.lanes = machine.vector_bits / dtype_bits(sum);
  const int sums = machine.vector_registers > 16 ? 16 : 8;
  for (const int outputs : {4, 2, 1}) {
    if (s.outputs % outputs == 0) {
      out.outputs = outputs;
      break;
    }
  }
  // A line that is loaded meets the taps of several rows.
  if (s.h.window > 1) out.rows = static_cast<int>(std::min<int64_t>(4, sums / out.outputs));
  out.rows = static_cast<int>(std::min<int64_t>(out.rows, s.h.outputs));
  const int64_t vectors = ceil_div(s.w.outputs, int64_t{out.lanes});
  out.vectors = static_cast<int>(std::clamp<int64_t>(sums / (out.rows * out.outputs), 1, vectors));
  out.vectors = std::min(out.vectors, 4);
  set_strip(s, s.w.outputs, out);
  set_band(s, s.h.outputs, out);
  out.in_place = s.is_pointwise();
  if (!out.in_place) {
    while (out.band > out.rows && out.elements(s) > kPlaneElements)
      set_band(s, std::max<int64_t>(out.rows, out.band / 2 / out.rows * out.rows), out);
    // Vectors that are read at once where they were stored wait for that: small planes are copied some at a
    // time.
    if (out.band == s.h.outputs) out.together = std::clamp<int64_t>(kPlaneElements / out.elements(s), 1, 16);
  }
  out.cycles = plane_cycles(s, out);
  return out;
}

// The best of tiles and blocks: more of either than an ordinary convolution has.
PlaneSchedule spread_schedule(const PlaneShape& s, const MachineModel& machine, DType sum) {
  const int registers = machine.vector_registers, most = registers > 16 ? 24 : 12;
  PlaneSchedule best;
  for (const int outputs : {1, 2, 3, 4, 6, 8}) {
    for (const bool joined : {true, false}) {
      for (int vectors = 1; vectors <= 4; ++vectors) {
        PlaneSchedule t;
        t.lanes = machine.vector_bits / dtype_bits(sum);
        t.outputs = outputs, t.joined = joined, t.vectors = vectors;
        if (s.outputs % outputs != 0 || (!joined && s.h.up == 1)) continue;
        const int sums = t.tile_outputs(s);
        const bool least = outputs == 1 && vectors == 1 && joined == (s.h.up == 1);
        // Inputs and a weight beside the sums, and one more where taps shift the inputs.
        const int beside = vectors + (s.w.reach() > 1 ? 2 : 1);
        if (!least && (sums > most || sums + beside > registers)) continue;
        if (vectors > 1 && int64_t{vectors} * t.lanes >= s.w.places() + t.lanes) continue;
        const int64_t tile = int64_t{vectors} * t.lanes, all = round_up(s.w.places(), tile);
        for (int64_t strip = all;; strip = round_up(strip / 2, tile)) {
          set_strip(s, strip, t);
          t.in_place = s.is_pointwise() && outputs == s.outputs && (joined || s.h.up == 1);
          const int64_t most_rows =
              t.in_place ? std::clamp<int64_t>(kPlaneElements / s.w.places(), 1, s.h.places()) : s.h.places();
          for (int64_t band = most_rows;; band = ceil_div(band, int64_t{2})) {
            set_band(s, band, t);
            t.together = band == s.h.places() && strip == all
                             ? std::clamp<int64_t>(kPlaneElements / t.elements(s), 1, 16)
                             : 1;
            t.cycles = plane_cycles(s, t);
            if ((best.cycles == 0 || t.cycles < best.cycles) &&
                (fits_scratch(s, t) || (best.cycles == 0 && band == 1 && strip == tile)))
              best = t;
            if (band == 1 || t.in_place) break;
          }
          if (strip == tile || t.in_place || s.w.stride > 1) break;
        }
      }
    }
  }
  return best;
}

}  // namespace

PlaneSchedule plane_schedule(const PlaneShape& s, const MachineModel& machine, DType sum) {
  return s.ups() > 1 ? spread_schedule(s, machine, sum) : plain_schedule(s, machine, sum);
}

bool fits_scratch(const PlaneShape& s, const PlaneSchedule& t) {
  return t.in_place || t.elements(s) <= kMostElements;
}

namespace {

// What part of all windows' lines products multiply: those that lie outside of the picture for all rows of a
// block are left out where the depth goes line by line (`leaves_lines_out` in contraction_body.cc).
double lines_multiplied(const PlaneShape& s, const ContractionSchedule& schedule) {
  const int64_t pixels = s.h.outputs * s.w.outputs;
  const bool by_lines = std::min(s.w.window * s.inputs, schedule.block_depth) >= kLeastLineDepth &&
                        2 * schedule.block_rows <= pixels;
  if (!by_lines || s.d.window > 1) return 1;
  int64_t inside = 0, all = 0;
  for (int64_t row = 0; row < pixels; row += schedule.block_rows) {
    const int64_t rows = std::min(schedule.block_rows, pixels - row);
    const int64_t first = row / s.w.outputs, last = (row + rows - 1) / s.w.outputs;
    for (int64_t ky = 0; ky < s.h.window; ++ky) {
      const int64_t above = ky * s.h.dilation - s.h.before;
      all += rows;
      if (last * s.h.stride + above >= 0 && first * s.h.stride + above < s.h.extent) inside += rows;
    }
  }
  const double share = real(inside) / real(all);
  return share > 1 - kOutsideWorth ? 1 : share;
}

// An ordinary convolution with so many taps of each axis and its outputs.
PlaneShape ordinary(const PlaneShape& s, int64_t outputs, const std::array<int64_t, 3>& taps) {
  PlaneShape out = s;
  out.outputs = outputs;
  size_t i = 0;
  for (PlaneAxis* a : {&out.d, &out.h, &out.w}) {
    const int64_t window = taps[i++], before = std::min(a->before, window - 1);
    *a = PlaneAxis{a->extent, a->places(), window, 1, 1, 1, before, before};
  }
  return out;
}

// A transposed convolution with channels innermost: a product of pixels where windows lie side by side, phase
// by phase, or all phases of few channels at once (narrow_transposed_conv.h), whose places are brought in
// order by a copy. Measured on a Zen 3.
double spread_products(const PlaneShape& s, const MachineModel& machine, int lanes) {
  constexpr double kDispatch = 2000, kNarrow = 1.3;  // few columns
  constexpr double kBlock = 25;                      // kBlock: a pixel's outputs of one phase are stored
  const std::array<const PlaneAxis*, 3> axes = {&s.d, &s.h, &s.w};
  int64_t pixels = 1, outputs = 1;
  bool blocks = true;
  std::array<int64_t, 3> all{};
  for (size_t i = 0; i < 3; ++i) {
    const PlaneAxis& a = *axes[i];
    all[i] = ceil_div(a.window, a.up);
    pixels *= a.extent, outputs *= a.outputs;
    blocks &= a.window == a.up && a.outputs == a.extent * a.up;
  }
  const double together = products_cycles(ordinary(s, s.outputs * s.ups(), all), machine, lanes, false);
  if (blocks) return together + kBlock * real(pixels * s.ups() * ceil_div(s.outputs, int64_t{4 * lanes}));
  const double narrow = kNarrow * together + turn_cycles(s.outputs, outputs);
  if (s.outputs < 3) return narrow;
  double phases = 0;
  for (int64_t phase = 0; phase < s.ups(); ++phase) {
    const std::array<int64_t, 3> taps = {s.d.taps(phase / s.w.up / s.h.up).count,
                                         s.h.taps(phase / s.w.up % s.h.up).count,
                                         s.w.taps(phase % s.w.up).count};
    if (taps[0] * taps[1] * taps[2] > 0)
      phases += products_cycles(ordinary(s, s.outputs, taps), machine, lanes, false);
    phases += kDispatch;
  }
  return std::min(narrow, phases);
}

ConvGeometry geometry_of(const PlaneShape& s) {
  ConvGeometry g;
  g.images = s.images;
  g.channels = s.inputs;
  g.depth = s.d.extent, g.height = s.h.extent, g.width = s.w.extent;
  g.out_depth = s.d.outputs, g.out_height = s.h.outputs, g.out_width = s.w.outputs;
  g.window_d = s.d.window, g.window_h = s.h.window, g.window_w = s.w.window;
  g.stride_d = s.d.stride, g.stride_h = s.h.stride, g.stride_w = s.w.stride;
  g.dilation_d = s.d.dilation, g.dilation_h = s.h.dilation, g.dilation_w = s.w.dilation;
  g.pad_front = s.d.low, g.pad_top = s.h.low, g.pad_left = s.w.low;
  return g;
}

}  // namespace

double products_cycles(const PlaneShape& s, const MachineModel& machine, int lanes, bool parts) {
  const int64_t pixels = s.d.outputs * s.h.outputs * s.w.outputs,
                images = s.images.is_const() ? s.images.value() : 1;
  const double taps = real(s.inputs * s.taps()) / real(s.ups()), vectors = real(pixels * s.outputs) / lanes;
  if (s.groups > 1) return vectors * (s.ups() > 1 ? 0.7 * taps + 32 : taps / 2 + 2);
  if (s.ups() > 1) return spread_products(s, machine, lanes);
  ContractionShape shape;
  shape.m = images * pixels, shape.n = s.outputs, shape.k = s.inputs * s.taps();
  shape.packs_a = !s.is_pointwise();
  shape.depth_granule = s.inputs;
  shape.whole_depth = s.inputs < lanes;
  const ContractionSchedule schedule = default_contraction_schedule(shape, machine);
  double cycles = contraction_cycles(shape, schedule, machine) * lines_multiplied(s, schedule);
  if (const auto few = few_columns(shape, schedule, machine)) cycles = std::min(cycles, few->cycles);
  const auto windows = parts ? window_schedule(geometry_of(s), s.outputs, images, machine) : std::nullopt;
  if (windows) cycles = std::min(cycles, windows->cycles);
  const bool dense = s.h.dilation == 1 && s.w.dilation == 1;
  if (s.h.window == 3 && s.w.window == 3 && s.h.stride == s.w.stride &&
      (s.h.stride == 1 || (s.h.stride == 2 && dense))) {
    WinogradShape points{images * s.d.outputs,        s.h.outputs, s.w.outputs,
                         s.inputs * s.d.window,       s.outputs,   true,
                         static_cast<int>(s.h.stride)};
    points.dilation_h = s.h.dilation, points.dilation_w = s.w.dilation;
    if (const int outputs = choose_winograd(points, {&machine}))
      cycles = std::min(cycles, winograd_schedule(points, outputs, machine)->cycles);
  }
  return cycles / real(images);
}

double turn_cycles(int64_t channels, int64_t pixels) {
  constexpr int64_t kInL2 = 1 << 17, kPage = 1024;  // elements
  return real(channels * pixels) *
         ((channels * pixels <= kInL2 ? 0.45 : 1.2) + (channels % kPage == 0 ? 0.5 : 0.0));
}

}  // namespace tern::lower
