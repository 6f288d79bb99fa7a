#include "compiler/lower/window_parts.h"

#include <algorithm>

#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

double real(int64_t v) {
  return static_cast<double>(v);
}

int64_t taps_of(const AxisPart& y, const AxisPart& x) {
  return (y.end_tap - y.first_tap) * (x.end_tap - x.first_tap);
}

int64_t pixels_of(const AxisPart& y, const AxisPart& x) {
  return (y.end - y.begin) * (x.end - x.begin);
}

// Pixels of the input that so many rows of a rectangle read.
int64_t inputs_read(const ConvGeometry& g, const AxisPart& y, const AxisPart& x, int64_t rows) {
  const int64_t width = x.end - x.begin, lines = ceil_div(rows, width) + (rows % width == 0 ? 0 : 1);
  const int64_t high = (std::min(lines, y.end - y.begin) - 1) * g.stride_h +
                       (y.end_tap - y.first_tap - 1) * g.dilation_h + 1,
                wide = (width - 1) * g.stride_w + (x.end_tap - x.first_tap - 1) * g.dilation_w + 1;
  return std::min(taps_of(y, x) * rows, high * wide);
}

class Chooser {
 public:
  Chooser(const ConvGeometry& g, int64_t columns, int64_t batch, const MachineModel& machine,
          const std::optional<FewColumns>& few)
      : g_(g), columns_(columns), batch_(batch), machine_(machine) {
    schedule_.few = few;
    rows_ =
        axis_parts(g.height.value(), g.out_height.value(), g.window_h, g.stride_h, g.dilation_h, g.pad_top);
    lines_ =
        axis_parts(g.width.value(), g.out_width.value(), g.window_w, g.stride_w, g.dilation_w, g.pad_left);
  }

  WindowSchedule choose() {
    ContractionSchedule& s = schedule_.product;
    if (schedule_.few) {
      s.lanes = schedule_.few->lanes, s.rows = schedule_.few->rows;
      s.block_depth = g_.channels;
      schedule_.cycles = all_cycles();
      cut();
      schedule_.few->block_rows = s.block_rows;
      return std::move(schedule_);
    }
    ContractionShape shape;
    shape.m = g_.out_height.value() * g_.out_width.value();
    shape.n = columns_;
    shape.k = g_.channels * g_.window_h * g_.window_w;
    shape.a_row_bytes = g_.channels * g_.stride_w * 4;
    choose_register_tile(shape, machine_, s);
    s.block_depth = depth();
    s.block_columns = round_up(columns_, int64_t{s.vectors} * s.lanes);
    s.prefetch = shape.k * shape.n * 4 >= machine_.l2_bytes / 8;
    // Tiles of fewer rows where rectangles are small.
    const int most = s.rows;
    int best = most;
    for (int rows = most; rows >= std::max(1, most / 2); --rows) {
      s.rows = rows;
      const double cycles = all_cycles();
      if (schedule_.cycles == 0 || cycles < 0.99 * schedule_.cycles) schedule_.cycles = cycles, best = rows;
    }
    s.rows = best;
    cut();
    return std::move(schedule_);
  }

 private:
  // Of a tap's channels: all of them, or as many as give some thousand steps, whose part of B stays in L2
  // beside the pixels that they meet.
  int64_t depth() const {
    constexpr int64_t kSteps = 1024, kGranule = 16;
    const int64_t taps = most_taps();
    if (taps * g_.channels <= kSteps + kSteps / 2) return g_.channels;
    return std::min(g_.channels,
                    round_up(ceil_div(g_.channels, ceil_div(taps * g_.channels, kSteps)), kGranule));
  }

  // A tile of rows of all columns: its steps, and what is around them.
  double tile_cycles(int64_t taps) const {
    constexpr double kMultiplyShare = 0.93, kTile = 25, kTap = 12;
    const ContractionSchedule& s = schedule_.product;
    if (schedule_.few) return few_columns_cycles(*schedule_.few, taps * g_.channels, taps);
    const double groups = real(ceil_div(columns_, int64_t{s.vectors} * s.lanes)),
                 parts = real(ceil_div(g_.channels, s.block_depth));
    const double steps =
        cover_cycles(s, s.rows, columns_, machine_) * real(taps * g_.channels) / kMultiplyShare;
    return steps + groups * parts * (kTile + 1.5 * s.rows * s.vectors + kTap * real(taps));
  }

  double all_cycles() const {
    double cycles = 0;
    for (const AxisPart& y : rows_) {
      for (const AxisPart& x : lines_)
        cycles +=
            real(ceil_div(pixels_of(y, x), int64_t{schedule_.product.rows})) * tile_cycles(taps_of(y, x));
    }
    return real(batch_) * cycles;
  }

  // Rectangles into blocks of about as much work, of which some 32 are there if that is worth it, and whose
  // pixels stay in L2 while the columns pass. Columns are split before blocks have few tiles of rows, since
  // each of them reads its part of B from beyond L2 once more; nothing is gathered twice.
  void cut() {
    constexpr double kLeastCycles = 16'000;
    constexpr int64_t kBlocks = 32, kManyTiles = 8, kManyColumns = 64;
    ContractionSchedule& s = schedule_.product;
    const int64_t group = int64_t{s.vectors} * s.lanes, bytes = weight_bytes();
    const double each = std::max(schedule_.cycles / kBlocks, kLeastCycles);
    const auto tiles_of = [&](int64_t taps, int64_t parts) {
      return static_cast<int64_t>(each * real(parts) / tile_cycles(taps));
    };
    int64_t parts = 1;
    while (bytes > machine_.l2_bytes / 2 && columns_ / (2 * parts) >= kManyColumns &&
           tiles_of(most_taps(), parts) < kManyTiles)
      parts *= 2;
    s.block_columns = round_up(ceil_div(columns_, parts), group);
    double cycles = 0;
    for (const AxisPart& y : rows_) {
      for (const AxisPart& x : lines_) {
        const int64_t pixels = pixels_of(y, x), tiles = ceil_div(pixels, int64_t{s.rows});
        int64_t most = std::clamp<int64_t>(tiles_of(taps_of(y, x), parts), 1, tiles);
        const auto fits = [&](int64_t count) {
          return inputs_read(g_, y, x, std::min(pixels, count * s.rows)) * s.block_depth * 4 <=
                 machine_.l2_bytes * 3 / 8;
        };
        while (most > 1 && !fits(most)) --most;
        const int64_t blocks = ceil_div(tiles, most), rows = ceil_div(tiles, blocks) * s.rows;
        for (int64_t first = 0; first < pixels; first += rows)
          schedule_.blocks.push_back({y, x, first, std::min(rows, pixels - first)});
        s.block_rows = std::max(s.block_rows, rows);
        const double products = real(ceil_div(pixels, int64_t{s.rows})) * tile_cycles(taps_of(y, x)),
                     weights = real(ceil_div(pixels, rows)) * real(taps_of(y, x)) /
                               real(g_.window_h * g_.window_w) * reading(bytes);
        cycles += std::max(products, weights);
      }
    }
    schedule_.cycles = real(batch_) * cycles;
  }

  int64_t weight_bytes() const { return g_.channels * g_.window_h * g_.window_w * columns_ * 4; }

  // Cycles of reading B once more from beyond L2, other cores doing so as well.
  double reading(int64_t bytes) const {
    if (bytes <= machine_.l2_bytes / 2) return 0;
    return real(bytes) / (bytes <= machine_.last_cache_bytes ? machine_.l3_bytes_a_cycle / 4
                                                             : machine_.memory_bytes_a_cycle / 2);
  }

  int64_t most_taps() const {
    int64_t taps = 0;
    for (const AxisPart& y : rows_)
      for (const AxisPart& x : lines_) taps = std::max(taps, taps_of(y, x));
    return taps;
  }

  const ConvGeometry& g_;
  const int64_t columns_, batch_;
  const MachineModel& machine_;
  std::vector<AxisPart> rows_, lines_;
  WindowSchedule schedule_;
};

}  // namespace

std::vector<AxisPart> axis_parts(int64_t inputs, int64_t outputs, int64_t window, int64_t stride,
                                 int64_t dilation, int64_t pad) {
  std::vector<AxisPart> parts;
  for (int64_t at = 0; at < outputs; ++at) {
    const int64_t begin = at * stride - pad;  // of the window
    const int64_t first = std::min(window, begin < 0 ? ceil_div(-begin, dilation) : 0),
                  end = std::clamp(inputs > begin ? ceil_div(inputs - begin, dilation) : 0, first, window);
    if (parts.empty() || parts.back().first_tap != first || parts.back().end_tap != end)
      parts.push_back({at, at, first, end});
    parts.back().end = at + 1;
  }
  return parts;
}

std::optional<WindowSchedule> window_schedule(const ConvGeometry& g, int64_t columns, int64_t batch,
                                              const MachineModel& machine) {
  constexpr int64_t kMostTaps = 128;
  for (const Dim& d : {g.height, g.width, g.out_height, g.out_width})
    if (!d.is_const() || d.value() < 1) return std::nullopt;
  if (!g.depth.is_const(1) || !g.out_depth.is_const(1) || g.window_d != 1 || g.pad_front != 0 ||
      g.channels < 1 || columns < 1 || g.window_h * g.window_w > kMostTaps)
    return std::nullopt;
  WindowSchedule panels = Chooser(g, columns, batch, machine, std::nullopt).choose();
  if (const auto tile = few_columns_tile(columns, machine)) {
    WindowSchedule few = Chooser(g, columns, batch, machine, tile).choose();
    if (few.cycles < panels.cycles) return few;
  }
  return panels;
}

TensorDataPtr window_table(const std::vector<WindowBlock>& blocks) {
  auto table = TensorData::make(DType::kI64, {static_cast<int64_t>(blocks.size()), kWindowWords});
  int64_t* word = table->mutable_as<int64_t>();
  for (const WindowBlock& b : blocks) {
    word[kWindowTop] = b.y.begin, word[kWindowLeft] = b.x.begin, word[kWindowWidth] = b.x.end - b.x.begin;
    word[kWindowFirst] = b.first, word[kWindowRows] = b.rows;
    word[kWindowTapY] = b.y.first_tap, word[kWindowTapsY] = b.y.end_tap - b.y.first_tap;
    word[kWindowTapX] = b.x.first_tap, word[kWindowTapsX] = b.x.end_tap - b.x.first_tap;
    word += kWindowWords;
  }
  return table;
}

std::string WindowSchedule::text() const {
  return fmt::format("{}, {} blocks of windows", few ? few->text() : product.text(), blocks.size());
}

}  // namespace tern::lower
