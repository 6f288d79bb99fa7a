#include "compiler/lower/depthwise_kernel.h"

#include <algorithm>
#include <map>
#include <utility>

#include "compiler/lower/cache_sets.h"
#include "compiler/lower/depthwise_bytes.h"
#include "compiler/lower/depthwise_words.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::LoopKind;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using kernel::VType;
using Stmts = std::vector<Stmt>;

class Builder {
 public:
  Builder(const DepthwiseShape& shape, const MachineModel& machine, const DepthwiseOperands& operands,
          kernel::ParamTable& params)
      : s_(shape), machine_(machine), o_(operands), params_(params), lanes_(machine.vector_bits / 32) {
    height_ = params.expr(s_.height);
    width_ = params.expr(s_.width);
    if (operands.bytes) {
      // Columns of a register tile: accumulators, one input column and the row's weights fit the registers.
      const int64_t spare = machine.vector_registers - s_.window_w - 2;
      columns_ = std::clamp<int64_t>(spare / 2, 1, 6);
    } else {
      // Two multiply-adds a cycle, each four cycles long, need eight sums. Beside these and an input column
      // there is room for the weights of a few taps of a line: as many at a time.
      constexpr int64_t kSums = 8, kTaps = 5;
      const auto few_taps = [&](int64_t most) {
        taps_ = ceil_div(s_.window_w, std::max<int64_t>(ceil_div(s_.window_w, most), 1));
      };
      few_taps(kTaps);
      columns_ = std::clamp<int64_t>(machine.vector_registers - taps_ - 2, 1, kSums);
      if (takes_whole_lines()) {
        vectors_ = 2;
        columns_ = kSums / vectors_;
        few_taps((machine.vector_registers - kSums - 1) / vectors_);
      }
    }
    if (operands.bytes && DepthwiseWords::suits(s_, machine)) {
      words_.emplace(s_, o_, lanes_);
      columns_ = std::clamp<int64_t>((machine.vector_registers - 6) / 2, 1, 6) / 2 * 2;  // pairs serve two
    }
    if (s_.out_width.is_const()) columns_ = std::clamp<int64_t>(s_.out_width.value(), 1, columns_);
    if (!operands.bytes) plan_tiles();
    // Interior: output columns whose whole window lies inside the input.
    const Dim last_tap((s_.window_w - 1) * s_.dilation_w);
    inner_begin_ = Dim((s_.pad_left + s_.stride_w - 1) / s_.stride_w);
    inner_end_ = floordiv(s_.width - 1 - last_tap + s_.pad_left, s_.stride_w) + 1;
    inner_begin_ = min(inner_begin_, s_.out_width);
    inner_end_ = max(inner_begin_, min(inner_end_, s_.out_width));
  }

  DepthwiseKernel build(const std::function<int64_t(const Dim&)>& hint) {
    DepthwiseKernel out;
    // A tile is some output rows of one image, about 200,000 multiply-adds of work; where that makes few
    // tiles, smaller ones, down to a quarter, share out more evenly, and where it makes many, larger ones
    // read fewer lines twice.
    const int64_t row_work =
        std::max<int64_t>(1, hint(s_.out_width) * hint(s_.channels) * s_.window_h * s_.window_w * s_.members);
    const int64_t work = row_work * hint(s_.images) * hint(s_.out_height);
    constexpr int64_t kTileWork = 200000, kMostTileWork = 800000, kTiles = 32;
    const int64_t tile_work =
        o_.bytes ? kTileWork : std::clamp<int64_t>(work / kTiles, kTileWork, kMostTileWork);
    int64_t rows = std::clamp<int64_t>(tile_work / row_work, 1, 16);
    if (s_.out_height.is_const()) {
      const int64_t height = s_.out_height.value();
      if (rows < height && tile_work == kTileWork)
        rows = std::min(rows, std::max<int64_t>(height / 8, (50000 + row_work - 1) / row_work));
      rows = std::min(rows, height);
    }
    const Var image = kernel::make_var("image"), row_block = kernel::make_var("row_block");
    const Dim blocks = ceildiv(s_.out_height, rows);
    out.grid.push_back({image, s_.images, params_.expr(s_.images)});
    out.grid.push_back({row_block, blocks, params_.expr(blocks)});
    out.schedule = fmt::format("{} {} rows, {} columns x {} lanes",
                               o_.members ? fmt::format("groups of {},", s_.members) : "depthwise", rows,
                               columns_, lanes_ * vectors_);
    image_ = var_expr(image);

    const Var oy0 = kernel::make_var("oy0"), oy1 = kernel::make_var("oy1");
    out.body.push_back(kernel::let(oy0, kernel::mul(var_expr(row_block), int_const(rows))));
    out.body.push_back(kernel::let(
        oy1, kernel::min(kernel::add(var_expr(oy0), int_const(rows)), params_.expr(s_.out_height))));

    const Var cv = kernel::make_var("cv");
    const Expr channels = params_.expr(s_.channels);
    const auto channel_loop = [&](const Expr& c, const Expr& count) {
      const Var oy = kernel::make_var("oy");
      Stmts all = words_ ? words_->prepare(c) : Stmts{};
      const Channels these = [&](const AtChannels& emit) { return emit(c, count); };
      all.push_back(kernel::loop(oy, var_expr(oy0), kernel::sub(var_expr(oy1), var_expr(oy0)),
                                 LoopKind::kSerial, row(var_expr(oy), {}, these)));
      return all;
    };
    if (words_) {
      out.schedule += ", in words";
      const int64_t many = int64_t{2} * lanes_, all = s_.channels.value(), whole = all / many;
      out.body.push_back(kernel::loop(cv, int_const(0), int_const(whole), LoopKind::kSerial,
                                      channel_loop(kernel::mul(var_expr(cv), int_const(many)), nullptr)));
      words_.reset();
      if (all % many >= lanes_) append(out.body, channel_loop(int_const(whole * many), nullptr));
      if (all % lanes_ != 0)
        append(out.body, channel_loop(int_const(all / lanes_ * lanes_), int_const(all % lanes_)));
      return out;
    }
    if (!o_.bytes && (pixels_stay_in_l1() || passes_all_channels())) {
      const Var oy = kernel::make_var("oy");
      const Channels all = [&](const AtChannels& emit) {
        return each_channel(int_const(0), channels, s_.channels, emit);
      };
      out.body.push_back(kernel::loop(oy, var_expr(oy0), kernel::sub(var_expr(oy1), var_expr(oy0)),
                                      LoopKind::kSerial, row(var_expr(oy), {}, all)));
      return out;
    }
    append(out.body, each_channel(int_const(0), channels, s_.channels, channel_loop));
    return out;
  }

  Stmts rows_of(const DepthwiseRange& range) {
    const auto all = [&](const AtChannels& emit) {
      return each_channel(range.first_channel, range.channels, range.channel_count, emit);
    };
    // All channels of a tile of pixels, which lie side by side in memory, while the filters stay in L1.
    constexpr int64_t kFilters = 16384;
    if (passes_all_channels() || (s_.channels.is_const() && filter_bytes() <= kFilters))
      return lines_of(range, all);
    return all([&](const Expr& c, const Expr& count) {
      return lines_of(range, [&](const AtChannels& emit) { return emit(c, count); });
    });
  }

 private:
  int64_t filter_bytes() const { return s_.window_h * s_.window_w * s_.members * s_.channels.value() * 4; }

  // Whether all channels of a register tile's input and the filters do. Then they may be taken side by side;
  // one vector after the other, which touches half of each line at narrow levels, is for the others.
  bool pixels_stay_in_l1() const {
    if (!s_.channels.is_const()) return false;
    // Of groups, whose inputs are multiplied several times, filters may come from L2.
    if (o_.members) return filter_bytes() <= machine_.l2_bytes / 2;
    const int64_t columns = (columns_ - 1) * s_.stride_w + (s_.window_w - 1) * s_.dilation_w + 1;
    return filter_bytes() + columns * s_.window_h * s_.channels.value() * 4 <= machine_.l1_bytes;
  }

  // A pass of one vector of channels over a line of the picture reads half of each cache line of it, and
  // counts on finding the other half, and these lines for the next line of results, in L1. Where pixels lie
  // a multiple of some KB apart they share few of its sets; where a window's lines outgrow L2, the pass has
  // every pixel from memory, a page each. There a register tile takes whole cache lines at once: two vectors,
  // of fewer columns.
  bool takes_whole_lines() const {
    if (o_.bytes || o_.members || 2 * machine_.vector_bits != 8 * kCacheLine || !s_.channels.is_const() ||
        !s_.width.is_const() || s_.channels.value() < 2 * lanes_ || pixels_stay_in_l1())
      return false;
    const int64_t pixel = s_.channels.value() * 4, pixels = s_.width.value() * s_.window_h;
    return lines_of_set(pixels, pixel) > l1_ways(machine_) || pixels * pixel > machine_.l2_bytes / 2;
  }

  // Then all channels of a tile of pixels pass, in the order in which they lie, while L2 has room for the
  // filters beside the picture.
  bool passes_all_channels() const { return vectors_ > 1 && filter_bytes() <= machine_.l2_bytes / 8; }

  // Whether the lines of a window are a loop: written out, the taps of a large one are more instructions than
  // a cache holds (31 x 31: 1.6 MB of text, which took clang 40 s and ran at an eighth of the peak).
  bool loops_lines() const {
    constexpr int64_t kMostTaps = 64;
    return !o_.bytes && s_.window_h > 1 && s_.window_h * s_.window_w > kMostTaps;
  }

  // Neighbouring output columns of a line: `columns` of them from `first` on, or from where a loop over
  // `count` such tiles is.
  struct Tile {
    int64_t first, columns, count;
    bool inside;  // all windows lie inside the input
  };

  bool inside(int64_t first, int64_t columns) const {
    return first * s_.stride_w >= s_.pad_left &&
           (first + columns - 1) * s_.stride_w - s_.pad_left + (s_.window_w - 1) * s_.dilation_w <
               s_.width.value();
  }

  // Cuts a line of known length into tiles as even as can be. Those at its ends leave out the taps that lie
  // outside of the input, which is known of each column then; the others are loops.
  void plan_tiles() {
    constexpr int64_t kMostUnrolled = 3000;  // multiply-adds
    if (!s_.out_width.is_const() || !s_.width.is_const()) return;
    const int64_t width = s_.out_width.value(), number = ceil_div(width, columns_);
    int64_t unrolled = 0;
    for (int64_t first = 0, t = 0; t < number; ++t) {
      const int64_t columns = width / number + (t < width % number ? 1 : 0);
      const bool in = inside(first, columns);
      if (in && !tiles_.empty() && tiles_.back().inside && tiles_.back().columns == columns) {
        ++tiles_.back().count;
      } else {
        tiles_.push_back({first, columns, 1, in});
        unrolled += columns * s_.window_w * (loops_lines() ? 1 : s_.window_h) *
                    (o_.members && o_.members->unrolled ? s_.members : 1);
      }
      first += columns;
    }
    if (unrolled > kMostUnrolled) tiles_.clear();
  }

  // What a vector of channels from c on, or the first `count` of it, computes.
  using AtChannels = std::function<Stmts(const Expr& c, const Expr& count)>;
  // That for all channels in question.
  using Channels = std::function<Stmts(const AtChannels& emit)>;
  struct Line {
    Expr begin, end;  // null: all of it
  };

  // Channels [first, first + channels), `number` of them, in vectors.
  Stmts each_channel(const Expr& first, const Expr& channels, const Dim& number, const AtChannels& emit) {
    const Var cv = kernel::make_var("cv");
    const int64_t tile = lanes_ * vectors_;
    Stmts out{kernel::loop(cv, int_const(0), kernel::index_div(channels, int_const(tile)), LoopKind::kSerial,
                           emit(kernel::add(first, kernel::mul(var_expr(cv), int_const(tile))), nullptr))};
    if (number.is_const() && number.value() % tile == 0) return out;
    if (vectors_ > 1) {
      const int64_t vectors = std::exchange(vectors_, 1);
      const Expr done = kernel::mul(kernel::index_div(channels, int_const(tile)), int_const(tile));
      append(out, each_channel(kernel::add(first, done), kernel::sub(channels, done), number, emit));
      vectors_ = vectors;
      return out;
    }
    if (number.is_const() && number.value() % lanes_ == 0) return out;
    const Var rest = kernel::make_var("rest_channels");
    out.push_back(kernel::let(rest, kernel::index_rem(channels, int_const(lanes_))));
    out.push_back(
        kernel::if_then(kernel::compare(ScalarOp::kGt, var_expr(rest), int_const(0)),
                        emit(kernel::add(first, kernel::sub(channels, var_expr(rest))), var_expr(rest))));
    return out;
  }

  Stmts lines_of(const DepthwiseRange& range, const Channels& channels) {
    const Var line = kernel::make_var("line"), image = kernel::make_var("image"), oy = kernel::make_var("oy"),
              begin = kernel::make_var("begin"), end = kernel::make_var("end");
    const Expr length = params_.expr(s_.out_width), height = params_.expr(s_.out_height);
    const Expr first = kernel::index_div(range.first, length);
    const Expr last =
        kernel::index_div(kernel::add(range.first, kernel::sub(range.count, int_const(1))), length);
    const Expr before = kernel::sub(range.first, kernel::mul(var_expr(line), length));
    const bool one = s_.images.is_const(1);
    image_ = var_expr(image);
    Stmts body{kernel::let(image, one ? int_const(0) : kernel::index_div(var_expr(line), height)),
               kernel::let(oy, one ? var_expr(line) : kernel::index_rem(var_expr(line), height)),
               kernel::let(begin, kernel::max(before, int_const(0))),
               kernel::let(end, kernel::min(kernel::add(before, range.count), length))};
    append(body,
           row(var_expr(oy), range.whole_lines ? Line{} : Line{var_expr(begin), var_expr(end)}, channels));
    return {kernel::loop(line, first, kernel::add(kernel::sub(last, first), int_const(1)), LoopKind::kSerial,
                         std::move(body))};
  }

  // Output pixels of a line, or of a part of it.
  Stmts row(const Expr& oy, const Line& part, const Channels& channels) {
    const auto clipped = [&](const Expr& at) {
      return part.begin ? kernel::min(kernel::max(at, part.begin), part.end) : at;
    };
    const auto pixels = [&](const Expr& ox, int64_t columns, bool guarded) {
      return channels(
          [&](const Expr& c, const Expr& count) { return this->pixels(oy, ox, columns, guarded, c, count); });
    };
    if (!part.begin && !tiles_.empty()) return whole_line(oy, channels);
    const Expr begin = clipped(params_.expr(inner_begin_)), end = clipped(params_.expr(inner_end_));
    const Expr line_begin = part.begin ? part.begin : int_const(0),
               line_end = part.end ? part.end : params_.expr(s_.out_width);
    const Var left = kernel::make_var("ox"), right = kernel::make_var("ox");
    Stmts out;
    if (!inner_begin_.is_const(0)) {
      out.push_back(kernel::loop(left, line_begin, kernel::sub(begin, line_begin), LoopKind::kSerial,
                                 pixels(var_expr(left), 1, true)));
    }
    std::vector<int64_t> sizes{columns_};
    if (!o_.bytes && columns_ >= 4) sizes.push_back(columns_ / 2);
    if (columns_ > 1) sizes.push_back(1);
    Expr done = begin;
    for (const int64_t columns : sizes) {
      const Var tile = kernel::make_var("tile");
      const Expr whole = named("whole", kernel::index_div(kernel::sub(end, done), int_const(columns)), out);
      const Expr ox = kernel::add(done, kernel::mul(var_expr(tile), int_const(columns)));
      out.push_back(kernel::loop(tile, int_const(0), whole, LoopKind::kSerial, pixels(ox, columns, false)));
      if (columns > 1) done = named("done", kernel::add(done, kernel::mul(whole, int_const(columns))), out);
    }
    out.push_back(kernel::loop(right, end, kernel::sub(line_end, end), LoopKind::kSerial,
                               pixels(var_expr(right), 1, true)));
    return out;
  }

  Stmts whole_line(const Expr& oy, const Channels& channels) {
    Stmts out;
    for (const Tile& tile : tiles_) {
      const auto body = [&](const Expr& ox) {
        return channels([&](const Expr& c, const Expr& count) {
          at_ = tile.inside ? std::nullopt : std::optional(tile.first);
          Stmts made = pixels(oy, ox, tile.columns, false, c, count);
          at_.reset();
          return made;
        });
      };
      if (tile.count == 1) {
        append(out, body(int_const(tile.first)));
        continue;
      }
      const Var t = kernel::make_var("tile");
      out.push_back(kernel::loop(
          t, int_const(0), int_const(tile.count), LoopKind::kSerial,
          body(kernel::add(int_const(tile.first), kernel::mul(var_expr(t), int_const(tile.columns))))));
    }
    return out;
  }

  // `columns` output pixels from ox on; guarded: the window may leave the input to the left or right.
  Stmts pixels(const Expr& oy, const Expr& ox_value, int64_t columns, bool guarded, const Expr& c,
               const Expr& count) {
    const Var oxv = kernel::make_var("x0");
    const Expr ox = var_expr(oxv);
    Stmts out{kernel::let(oxv, ox_value)};
    const auto sum = [&](int64_t i) {
      const Var acc =
          kernel::make_var(fmt::format("acc{}", i), {sums_integers() ? DType::kI32 : DType::kF32, lanes_});
      const Expr zero = sums_integers() ? int_const(0, DType::kI32) : kernel::float_const(0.0);
      const Expr channel = words_ && i % 2 == 1 ? kernel::add(c, int_const(lanes_)) : vector_of(c, i);
      out.push_back(kernel::declare(
          acc, o_.begin ? o_.begin(channel, lanes_, count) : kernel::broadcast(zero, lanes_)));
      return acc;
    };
    std::vector<Var> acc;
    std::vector<DepthwiseWords::Sums> pairs;
    for (int64_t i = 0; i < columns; ++i) {
      if (words_) {
        const Var first = sum(2 * i);
        pairs.push_back({first, sum(2 * i + 1)});
      } else {
        for (int64_t v = 0; v < vectors_; ++v) acc.push_back(sum(i * vectors_ + v));
      }
    }
    const Expr ix0 = kernel::sub(kernel::mul(ox, int_const(s_.stride_w)), int_const(s_.pad_left));
    const auto line_of = [&](const Expr& ky) {
      return kernel::add(kernel::mul(oy, int_const(s_.stride_h)),
                         kernel::sub(kernel::mul(ky, int_const(s_.dilation_h)), int_const(s_.pad_top)));
    };
    const auto taps_of = [&](const Expr& iy, const Expr& ky) {
      return kernel::if_then(in_range(iy, height_), guarded ? guarded_row(acc, iy, ix0, ky, c, count)
                                                            : whole_row(acc, iy, ix0, ky, c, count));
    };
    if (loops_lines()) {
      const Var ky = kernel::make_var("ky"), iy = kernel::make_var("iy");
      out.push_back(
          kernel::loop(ky, int_const(0), int_const(s_.window_h), LoopKind::kSerial,
                       {kernel::let(iy, line_of(var_expr(ky))), taps_of(var_expr(iy), var_expr(ky))}));
    }
    for (int64_t ky = 0; ky < s_.window_h && !loops_lines(); ++ky) {
      const Var iyv = kernel::make_var("iy");
      out.push_back(kernel::let(iyv, line_of(int_const(ky))));
      if (words_) {
        const DepthwiseWords::Place place{image_, var_expr(iyv), ix0, c};
        out.push_back(kernel::if_then(
            in_range(var_expr(iyv), height_),
            guarded ? words_->guarded(pairs[0], ky, place, width_) : words_->whole(pairs, ky, place),
            words_->outside(pairs, ky)));
        continue;
      }
      if (o_.bytes) {
        const DepthwiseByteRow row(s_, *o_.bytes, o_.input, image_, lanes_,
                                   {ky, var_expr(iyv), ix0, c, count});
        out.push_back(kernel::if_then(in_range(var_expr(iyv), height_),
                                      guarded ? row.guarded(acc[0], width_) : row.whole(acc),
                                      row.outside(acc)));
        continue;
      }
      out.push_back(taps_of(var_expr(iyv), int_const(ky)));
    }
    for (int64_t i = 0; i < columns * vectors_; ++i) {
      const auto at = static_cast<size_t>(i);
      const Expr value = words_ ? words_->joined(pairs[at]) : var_expr(acc[at]);
      append(out, o_.finish(image_, oy, kernel::add(ox, int_const(i / vectors_)), vector_of(c, i), value,
                            value->type.lanes, count));
    }
    return {kernel::block(std::move(out))};
  }

  // The first channel of sum i of a tile, whose vectors of a column follow each other.
  Expr vector_of(const Expr& c, int64_t i) const { return kernel::add(c, int_const(i % vectors_ * lanes_)); }

  bool sums_integers() const { return o_.bytes || (o_.members && o_.members->pairs); }

  Stmt accumulate(const Var& acc, const Expr& x, const Expr& w) {
    if (sums_integers())
      return kernel::assign(
          acc, kernel::intrinsic(kernel::Intrinsic::kDot2I16, {var_expr(acc), x, w}, {DType::kI32, lanes_}));
    return kernel::assign(acc, machine_.has_fma ? kernel::op(ScalarOp::kFma, {x, w, var_expr(acc)})
                                                : kernel::add(kernel::mul(x, w), var_expr(acc)));
  }

  // f for each member of the groups, which input() and weight() then mean.
  Stmts each_member(const std::function<Stmts()>& f) {
    if (!o_.members) return f();
    Stmts out;
    if (o_.members->unrolled) {
      for (int64_t m = 0; m < s_.members; ++m) {
        member_ = int_const(m);
        append(out, f());
      }
      return out;
    }
    const Var m = kernel::make_var("member");
    member_ = var_expr(m);
    Stmts body = f();
    if (body.empty()) return {};
    return {kernel::loop(m, int_const(0), int_const(s_.members), LoopKind::kSerial, std::move(body))};
  }

  Expr input(const Expr& iy, const Expr& ix, const Expr& c, const Expr& count) const {
    return o_.members ? o_.members->input(image_, iy, ix, c, member_, lanes_, count)
                      : o_.input(image_, iy, ix, c, lanes_, count);
  }

  Expr weight(const Expr& ky, int64_t kx, const Expr& c) const {
    const Expr tap = kernel::add(kernel::mul(ky, int_const(s_.window_w)), int_const(kx));
    return o_.members ? o_.members->weight(tap, member_, c, lanes_) : o_.weight(tap, c, lanes_);
  }

  Stmts whole_row(const std::vector<Var>& acc, const Expr& iy, const Expr& ix0, const Expr& ky, const Expr& c,
                  const Expr& count) {
    return each_member([&] {
      Stmts out;
      for (int64_t first = 0; first < s_.window_w; first += taps_)
        append(out, some_taps(acc, iy, ix0, ky, first, std::min(first + taps_, s_.window_w), c, count));
      return out;
    });
  }

  // Taps [first, last) of window line ky.
  Stmts some_taps(const std::vector<Var>& acc, const Expr& iy, const Expr& ix0, const Expr& ky, int64_t first,
                  int64_t last, const Expr& c, const Expr& count) {
    Stmts out;
    // Each input column once, for every (output column, tap) that reads it.
    std::map<int64_t, std::vector<std::pair<size_t, int64_t>>> readers;
    const auto vectors = static_cast<size_t>(vectors_);
    for (size_t i = 0; i < acc.size() / vectors; ++i) {
      for (int64_t kx = first; kx < last; ++kx) {
        const int64_t offset = static_cast<int64_t>(i) * s_.stride_w + kx * s_.dilation_w;
        if (!at_ || is_column(*at_ * s_.stride_w - s_.pad_left + offset)) readers[offset].emplace_back(i, kx);
      }
    }
    if (readers.empty()) return out;
    std::vector<Expr> weights;
    for (int64_t kx = first; kx < last; ++kx) {
      for (int64_t v = 0; v < vectors_; ++v) {
        weights.push_back(named(fmt::format("w{}", kx), weight(ky, kx, vector_of(c, v)), out));
      }
    }
    for (const auto& [offset, uses] : readers) {
      const Expr ix = kernel::add(ix0, int_const(offset));
      for (size_t v = 0; v < vectors; ++v) {
        const Expr x = named(fmt::format("x{}", offset),
                             input(iy, ix, vector_of(c, static_cast<int64_t>(v)), count), out);
        for (const auto& [i, kx] : uses)
          out.push_back(
              accumulate(acc[i * vectors + v], x, weights[static_cast<size_t>(kx - first) * vectors + v]));
      }
    }
    return out;
  }

  bool is_column(int64_t ix) const { return ix >= 0 && ix < s_.width.value(); }

  Stmts guarded_row(const std::vector<Var>& acc, const Expr& iy, const Expr& ix0, const Expr& ky,
                    const Expr& c, const Expr& count) {
    Stmts out;
    for (int64_t kx = 0; kx < s_.window_w; ++kx) {
      const Var ix = kernel::make_var("ix");
      out.push_back(kernel::let(ix, kernel::add(ix0, int_const(kx * s_.dilation_w))));
      out.push_back(kernel::if_then(
          in_range(var_expr(ix), width_), each_member([&] {
            Stmts taps;
            for (size_t v = 0; v < acc.size(); ++v) {
              const Expr from = vector_of(c, static_cast<int64_t>(v));
              taps.push_back(accumulate(acc[v], input(iy, var_expr(ix), from, count), weight(ky, kx, from)));
            }
            return taps;
          })));
    }
    return out;
  }

  const DepthwiseShape& s_;
  const MachineModel& machine_;
  const DepthwiseOperands& o_;
  kernel::ParamTable& params_;
  const int lanes_;
  int64_t columns_ = 1, taps_ = 1;
  int64_t vectors_ = 1;        // of channels, in a register tile
  std::vector<Tile> tiles_;    // of whole lines of floats, where their length is known
  std::optional<int64_t> at_;  // the first output column, where taps may lie outside of the input
  std::optional<DepthwiseWords> words_;
  Expr member_;  // of each_member
  Dim inner_begin_, inner_end_;
  Expr height_, width_, image_;
};

}  // namespace

DepthwiseKernel build_depthwise_kernel(const DepthwiseShape& shape, const MachineModel& machine,
                                       const DepthwiseOperands& operands,
                                       const std::function<int64_t(const Dim&)>& hint,
                                       kernel::ParamTable& params) {
  return Builder(shape, machine, operands, params).build(hint);
}

std::vector<kernel::Stmt> depthwise_rows(const DepthwiseShape& shape, const MachineModel& machine,
                                         const DepthwiseOperands& operands, const DepthwiseRange& range,
                                         kernel::ParamTable& params) {
  return Builder(shape, machine, operands, params).rows_of(range);
}

}  // namespace tern::lower
