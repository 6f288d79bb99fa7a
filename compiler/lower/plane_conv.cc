#include "compiler/lower/plane_conv.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/arithmetic_cost.h"
#include "compiler/lower/contraction.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/plane_schedule.h"
#include "compiler/lower/turned_squares.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::LoopKind;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using Stmts = std::vector<Stmt>;

constexpr int64_t kMostSpread = 160;   // the same of a transposed convolution
constexpr int64_t kMostWritten = 640;  // multiply-adds of a tile; of more, channels are a loop

DType sum_type(DType type) {
  return type == DType::kF64 ? DType::kF64 : DType::kF32;
}

class PlaneConv {
 public:
  PlaneConv(const Region& region, LoweringContext& context, const PlaneShape& shape)
      : region_(region),
        context_(context),
        root_(*region.root),
        s_(shape),
        sum_(sum_type(root_.operand()->type.dtype)) {}

  void run() {
    DispatchBuilder dispatch(context_, region_);
    dispatch.set_label(region_.label());
    dispatch.set_flops(contraction_flops(root_));
    const graph::Value* filters = root_.operand(1);
    const TensorDataPtr data = LoweringContext::constant_data(filters);
    int weights = -1;  // computed filters are read where they lie
    if (data) {
      weights = context_.add_constant(filters->name, in_sum_type(data));
      context_.note_stored(filters, sum_);
    }
    for (const Level level : context_.target().levels) variant(dispatch, level, weights);
    dispatch.finish();
  }

 private:
  TensorDataPtr in_sum_type(const TensorDataPtr& data) const {
    if (data->dtype() == sum_) return data;
    auto out = TensorData::make(sum_, data->shape());
    for (int64_t i = 0; i < data->count(); ++i) out->set_float(i, data->float_at(i));
    return out;
  }

  void variant(DispatchBuilder& dispatch, Level level, int weights) {
    ElementEmitter emitter(dispatch);
    emitter_ = &emitter;
    has_fma_ = machine(level).has_fma;
    t_ = plane_schedule(s_, machine(level), sum_);
    if (weights >= 0) weights_ = dispatch.bind(weights);
    const double cycles = t_.cycles / static_cast<double>(s_.d.places());
    constexpr double kTileCycles = 1 << 16;
    const Dim planes = s_.images * Dim(s_.groups * s_.d.places());
    int64_t each = std::max<int64_t>(1, static_cast<int64_t>(kTileCycles / cycles));
    each = ceil_div(each, t_.together) * t_.together;
    if (planes.is_const()) {
      const int64_t tiles = ceil_div(planes.value(), each);
      each = ceil_div(ceil_div(planes.value(), tiles), t_.together) * t_.together;
    }
    const Var tile = kernel::make_var("tile"), first = kernel::make_var("first"),
              part = kernel::make_var("part");
    const Dim tiles = ceildiv(planes, each);
    // Bands of one large group are shared, too.
    strips_ = ceil_div(s_.w.places(), t_.strip);
    const int64_t blocks = ceil_div(s_.h.places(), t_.band) * strips_;
    blocks_each_ = blocks;
    if (each == 1 && blocks > 1)
      blocks_each_ = std::clamp<int64_t>(
          static_cast<int64_t>(kTileCycles / cycles * static_cast<double>(blocks)), 1, blocks);
    const int64_t shares = ceil_div(blocks, blocks_each_);
    blocks_each_ = ceil_div(blocks, shares);
    const Var share = kernel::make_var("share");
    first_block_ = shares > 1 ? kernel::mul(var_expr(share), int_const(blocks_each_)) : int_const(0);
    Stmts body;
    if (!t_.in_place) {
      scratch_ = kernel::make_buffer("planes", {sum_, 1}, Scope::kScratch, kernel::Access::kReadWrite,
                                     t_.together * t_.elements(s_) + t_.lanes);
      body.push_back(kernel::alloc(scratch_));
      const Var e = kernel::make_var("e");
      append(body, vector_loop(serial(e, int_const(0), int_const(t_.together * t_.elements(s_)),
                                      {kernel::store(scratch_, var_expr(e), zero(1))}),
                               t_.lanes));
    }
    body.push_back(kernel::let(first, kernel::mul(var_expr(tile), int_const(each))));
    const bool even = planes.is_const() && planes.value() % each == 0;
    const Expr here =
        even ? int_const(each)
             : named("count",
                     kernel::min(int_const(each), kernel::sub(dispatch.expr(planes), var_expr(first))), body);
    const bool whole = even && each % t_.together == 0;
    Stmts inside;
    const Expr begin = named("begin", kernel::mul(var_expr(part), int_const(t_.together)), inside);
    const Expr count =
        whole ? int_const(t_.together)
              : named("here", kernel::min(int_const(t_.together), kernel::sub(here, begin)), inside);
    append(inside, groups(kernel::add(var_expr(first), begin), count));
    body.push_back(
        serial(part, int_const(0),
               kernel::index_div(kernel::add(here, int_const(t_.together - 1)), int_const(t_.together)),
               std::move(inside)));
    std::vector<kernel::GridAxis> grid{{tile, tiles, dispatch.expr(tiles)}};
    if (shares > 1) grid.push_back({share, Dim(shares), int_const(shares)});
    dispatch.add_variant(
        level, std::move(grid), std::move(body),
        fmt::format("planes of groups of {} to {}, {} rows, {} vectors x {} lanes, {} outputs{}", s_.inputs,
                    s_.outputs, t_.rows, t_.vectors, t_.lanes, t_.outputs, how_cut()),
        {},
        {.cycles = cycles * static_cast<double>(context_.hint(planes)) +
                   elementwise_cycles(region_, context_, machine(level))});
  }

  static Stmt serial(const Var& v, const Expr& begin, const Expr& extent, Stmts body) {
    return kernel::loop(v, begin, extent, LoopKind::kSerial, std::move(body));
  }
  // body(i) for 0 <= i < count.
  static void each_of(const char* name, const Expr& count, Stmts& out,
                      const std::function<Stmts(const Expr&)>& body) {
    if (const auto known = kernel::int_value(count); known && *known <= 1) {
      if (*known == 1) append(out, body(int_const(0)));
      return;
    }
    const Var v = kernel::make_var(name);
    out.push_back(serial(v, int_const(0), count, body(var_expr(v))));
  }
  Expr zero(int lanes) const {
    return kernel::broadcast(kernel::scalar_const(kernel::reduction_identity(ScalarOp::kAdd, sum_)), lanes);
  }

  struct Group {
    Expr image, number, z;  // z: places
  };
  Group group_at(Expr plane, Stmts& out) const {
    Group g{nullptr, int_const(0), int_const(0)};
    const auto split = [&](int64_t count, const char* name) {
      const Expr inner = named(name, kernel::index_rem(plane, int_const(count)), out);
      plane = named("outer", kernel::index_div(plane, int_const(count)), out);
      return inner;
    };
    if (s_.d.places() > 1) g.z = split(s_.d.places(), "z");
    if (s_.groups == 1) {
      g.image = plane;
    } else if (s_.images.is_const(1)) {
      g.image = int_const(0), g.number = plane;
    } else {
      g.number = split(s_.groups, "group");
      g.image = plane;
    }
    return g;
  }

  // A block of places that is computed at once: from row y and place x of a line on (null: all).
  struct Block {
    Expr y, x, strip;
  };

  Stmts groups(const Expr& first, const Expr& count) {
    Stmts out;
    for (phase_z_ = 0; phase_z_ < s_.d.up; ++phase_z_) append(out, groups_of_phase(first, count));
    return out;
  }

  Stmts groups_of_phase(const Expr& first, const Expr& count) {
    Stmts out;
    const int64_t bands = ceil_div(s_.h.places(), t_.band), blocks = bands * strips_;
    const auto at = [&](const Expr& i, const std::function<Stmts(const Group&, const Expr& base)>& body) {
      Stmts one;
      const Group g = group_at(kernel::add(first, i), one);
      Stmts all = body(g, kernel::mul(i, int_const(t_.elements(s_))));
      if (s_.d.outputs % s_.d.up == 0) {
        append(one, std::move(all));
      } else {
        one.push_back(kernel::if_then(
            kernel::compare(ScalarOp::kLt, output_at(s_.d, g.z, phase_z_), int_const(s_.d.outputs)),
            std::move(all)));
      }
      return one;
    };
    if (blocks > 1) {
      each_of("g", count, out, [&](const Expr& i) {
        return at(i, [&](const Group& g, const Expr& base) {
          Stmts all;
          const Expr here =
              blocks % blocks_each_ == 0
                  ? int_const(blocks_each_)
                  : kernel::min(int_const(blocks_each_), kernel::sub(int_const(blocks), first_block_));
          each_of("band", here, all, [&](const Expr& i) {
            Stmts one;
            const Expr number = kernel::add(first_block_, i);
            Block b;
            if (bands > 1)
              b.y = named("y", kernel::mul(kernel::index_div(number, int_const(strips_)), int_const(t_.band)),
                          one);
            if (strips_ > 1) {
              b.strip = named("strip", kernel::index_rem(number, int_const(strips_)), one);
              b.x = named("left", kernel::mul(b.strip, int_const(t_.strip)), one);
            }
            if (!t_.in_place) append(one, fill(g, base, b));
            append(one, products(g, base, b));
            return one;
          });
          return all;
        });
      });
      return out;
    }
    if (!t_.in_place)
      each_of("g", count, out, [&](const Expr& i) {
        return at(i, [&](const Group& g, const Expr& base) { return fill(g, base, {}); });
      });
    each_of("g", count, out, [&](const Expr& i) {
      return at(i, [&](const Group& g, const Expr& base) { return products(g, base, {}); });
    });
    return out;
  }

  // The output of a place.
  static Expr output_at(const PlaneAxis& axis, const Expr& place, int64_t phase) {
    return axis.up == 1 ? place : kernel::add(kernel::mul(place, int_const(axis.up)), int_const(phase));
  }

  Index index(const Group& g, const Expr& channel, const Expr& z, const Expr& y, const Expr& x) const {
    return spatial_index(root_.operand()->type.shape.size(), g.image, channel, z, y, x);
  }

  // Of an output channel of the group.
  Expr computed_weight(const Group& g, const Expr& output, const Expr& member, const Expr& z, int64_t ky,
                       int64_t kx) {
    const Expr channel = kernel::add(kernel::mul(g.number, int_const(s_.outputs)), output);
    const Index at =
        spatial_index(root_.operand(1)->type.shape.size(), channel, member, z, int_const(ky), int_const(kx));
    return kernel::cast(emitter_->element(root_.operand(1), at), sum_);
  }

  // Elements of a line that outputs read.
  int64_t columns_read() const {
    return std::min(s_.w.extent, (s_.w.places() - 1) * s_.w.stride + s_.w.reach() - s_.w.before);
  }

  // The group's lines for a block's outputs into scratch. What pads a line is zero already where there is one
  // strip.
  Stmts fill(const Group& g, const Expr& base, const Block& b) {
    Stmts out;
    const PlaneAxis::Taps planes = s_.d.taps(phase_z_);
    each_of("member", int_const(s_.inputs), out, [&](const Expr& member) {
      const Expr channel = kernel::add(kernel::mul(g.number, int_const(s_.inputs)), member);
      Stmts of_channel;
      each_of("plane", int_const(planes.count), of_channel, [&](const Expr& plane) {
        Stmts lines;
        const Expr number = kernel::add(kernel::mul(member, int_const(planes.count)), plane);
        const Expr to = kernel::add(base, kernel::mul(number, int_const(t_.lines * t_.line())));
        Expr z = int_const(0);
        if (s_.d.extent > 1 || s_.d.window > 1)
          z = named("iz",
                    kernel::add(kernel::mul(g.z, int_const(s_.d.stride)),
                                kernel::add(kernel::mul(plane, int_const(s_.d.dilation)),
                                            int_const(planes.offset - s_.d.before))),
                    lines);
        Stmts copied = fill_plane(g, channel, z, to, b);
        const bool inside = s_.d.window == 1 && s_.d.before == 0 && planes.offset == 0 &&
                            (s_.d.places() - 1) * s_.d.stride < s_.d.extent;
        if (inside) {
          append(lines, std::move(copied));
        } else {
          Stmts none;
          zeros(to, int_const(t_.lines * t_.line()), none);
          lines.push_back(
              kernel::if_then(in_range(z, int_const(s_.d.extent)), std::move(copied), std::move(none)));
        }
        return lines;
      });
      return of_channel;
    });
    return out;
  }

  void zeros(const Expr& at, const Expr& count, Stmts& out) const {
    const Var e = kernel::make_var("e");
    append(out, vector_loop(serial(e, int_const(0), count,
                                   {kernel::store(scratch_, kernel::add(at, var_expr(e)), zero(1))}),
                            t_.lanes));
  }

  Stmts fill_plane(const Group& g, const Expr& channel, const Expr& z, const Expr& to, const Block& b) {
    const auto line = [&](const Expr& number, const Expr& from) {
      Stmts one;
      const Expr at = named("line", kernel::add(to, kernel::mul(number, int_const(t_.line()))), one);
      const auto element = [&](const Expr& x) {
        return kernel::cast(emitter_->element(root_.operand(), index(g, channel, z, from, x)), sum_);
      };
      append(one, b.x ? fill_strip(at, b.x, element) : fill_line(at, element));
      return one;
    };
    Stmts lines;
    // All rows: those above and below stay zero, except where planes outside are filled in between.
    if (!b.y && s_.d.window == 1) {
      const int64_t begin = s_.h.before, end = std::min(t_.lines, s_.h.before + s_.h.extent);
      each_of("row", int_const(std::max<int64_t>(end - begin, 0)), lines,
              [&](const Expr& row) { return line(kernel::add(row, int_const(begin)), row); });
      return lines;
    }
    const Expr first = b.y ? kernel::mul(b.y, int_const(s_.h.stride)) : int_const(0);
    each_of("row", int_const(t_.lines), lines, [&](const Expr& row) {
      Stmts one;
      const Expr from = named("from", kernel::add(kernel::sub(first, int_const(s_.h.before)), row), one);
      const Expr at = kernel::add(to, kernel::mul(row, int_const(t_.line())));
      Stmts none;
      if (b.x) {
        zeros(at, int_const(t_.line()), none);
      } else {
        none = fill_line(at, [&](const Expr&) { return zero(1); });
      }
      one.push_back(
          kernel::if_then(in_range(from, int_const(s_.h.extent)), line(row, from), std::move(none)));
      return one;
    });
    return lines;
  }

  Stmts fill_line(const Expr& at, const std::function<Expr(const Expr& x)>& element) {
    Stmts out;
    for (int64_t phase = 0; phase < t_.phases; ++phase) {
      // Place p of a phase is column p * stride + phase - before.
      const int64_t begin = ceil_div(std::max<int64_t>(s_.w.before - phase, 0), s_.w.stride);
      const int64_t end = ceil_div(columns_read() + s_.w.before - phase, s_.w.stride);
      if (end <= begin) continue;
      const Var v = kernel::make_var("p");
      const Expr x =
          kernel::add(kernel::mul(var_expr(v), int_const(s_.w.stride)), int_const(phase - s_.w.before));
      const Expr to = kernel::add(at, kernel::add(int_const(phase * t_.phase), var_expr(v)));
      append(out, overlapping_vectors(serial(v, int_const(begin), int_const(end - begin),
                                             {kernel::store(scratch_, to, element(x))}),
                                      t_.lanes));
    }
    return out;
  }

  // Part of a line, from place `left` on, whose ends may lie outside.
  Stmts fill_strip(const Expr& at, const Expr& left, const std::function<Expr(const Expr& x)>& element) {
    Stmts out;
    const Expr from = named("begin", kernel::sub(left, int_const(s_.w.before)), out);
    const auto copy = [&](const Expr& begin, const Expr& count) {
      const Var v = kernel::make_var("p");
      const Expr place = kernel::add(begin, var_expr(v));
      return serial(v, int_const(0), count,
                    {kernel::store(scratch_, kernel::add(at, place), element(kernel::add(from, place)))});
    };
    Stmts ends;
    zeros(at, int_const(t_.line()), ends);
    const Expr begin = named("first", kernel::max(int_const(0), kernel::sub(int_const(0), from)), ends);
    const Expr end = kernel::min(int_const(t_.line()), kernel::sub(int_const(s_.w.extent), from));
    append(ends, vector_loop(copy(begin, kernel::max(int_const(0), kernel::sub(end, begin))), t_.lanes));
    const Expr inside =
        both(kernel::compare(ScalarOp::kGe, from, int_const(0)),
             kernel::compare(ScalarOp::kLe, kernel::add(from, int_const(t_.line())), int_const(s_.w.extent)));
    out.push_back(kernel::if_then(
        inside, overlapping_vectors(copy(int_const(0), int_const(t_.line())), t_.lanes), std::move(ends)));
    return out;
  }

  // The outputs of a block.
  Stmts products(const Group& g, const Expr& base, const Block& b) {
    Stmts out;
    const Expr first_row = b.y ? b.y : int_const(0);
    const Expr rows =
        b.y ? named("rows", kernel::min(int_const(t_.band), kernel::sub(int_const(s_.h.places()), b.y)), out)
            : int_const(s_.h.places());
    each_of("block", int_const(s_.outputs / t_.outputs), out, [&](const Expr& block) {
      Stmts all;
      const Expr output = kernel::mul(block, int_const(t_.outputs));
      const auto tiles = [&](const Expr& from, const Expr& count, int height) {
        each_of("row", count, all, [&](const Expr& i) {
          Stmts one;
          const Expr row = named("r", kernel::add(from, kernel::mul(i, int_const(height))), one);
          append(one, line_of_tiles({g, base, first_row, row, output, height}, b));
          return one;
        });
      };
      const Expr whole = kernel::index_div(rows, int_const(t_.rows));
      tiles(int_const(0), whole, t_.rows);
      const Expr done = kernel::mul(whole, int_const(t_.rows));
      if (const auto known = kernel::int_value(rows)) {
        if (const int64_t rest = *known % t_.rows; rest > 0)
          tiles(done, int_const(1), static_cast<int>(rest));
      } else if (s_.h.places() % t_.rows != 0) {
        tiles(done, kernel::sub(rows, done), 1);
      }
      return all;
    });
    return out;
  }

  // `height` rows from `row` on, counted from the block's first one, of outputs from `output` on.
  struct TileRows {
    Group g;
    Expr base, first_row, row, output;
    int height = 1;
  };

  Stmts line_of_tiles(const TileRows& rows, const Block& b) {
    Stmts out;
    // Whole tiles store whole vectors.
    const int64_t width = int64_t{t_.vectors} * t_.lanes, whole = s_.w.outputs / (width * s_.w.up);
    Expr count = int_const(whole);
    if (b.x) {
      const int64_t each = t_.strip / width;
      count =
          kernel::min(int_const(each), kernel::sub(int_const(whole), kernel::mul(b.strip, int_const(each))));
    }
    each_of("tile", count, out, [&](const Expr& i) {
      Stmts one;
      const Expr x = named("x", kernel::mul(i, int_const(width)), one);
      append(one, tiles_at(rows, x, b.x, s_.w.up * width));
      return one;
    });
    if (const int64_t rest = s_.w.outputs - whole * width * s_.w.up; rest > 0) {
      const Expr x = b.x ? kernel::sub(int_const(whole * width), b.x) : int_const(whole * width);
      Stmts last = tiles_at(rows, x, b.x, rest);
      if (b.x) {
        out.push_back(kernel::if_then(kernel::compare(ScalarOp::kEq, b.strip, int_const(strips_ - 1)),
                                      std::move(last)));
      } else {
        append(out, std::move(last));
      }
    }
    return out;
  }

  Stmts tiles_at(const TileRows& rows, const Expr& x, const Expr& left, int64_t outputs) {
    if (t_.joined) return tile(rows, x, left, outputs, 0, s_.h.up);
    Stmts out;
    for (int64_t phase = 0; phase < s_.h.up; ++phase)
      append(out, tile(rows, x, left, outputs, phase, phase + 1));
    return out;
  }

  // So many outputs of a line from place x of the strip on, phases [begin, end) of each row.
  Stmts tile(const TileRows& rows, const Expr& x, const Expr& left, int64_t width, int64_t begin,
             int64_t end) {
    const Group& g = rows.g;
    const int height = rows.height, up_w = static_cast<int>(s_.w.up), up_h = static_cast<int>(end - begin);
    const int vectors = static_cast<int>(ceil_div(ceil_div(width, s_.w.up), int64_t{t_.lanes}));
    const int sums = height * up_h * vectors * t_.outputs * up_w;
    const Buffer acc =
        kernel::make_buffer("acc", {sum_, t_.lanes}, Scope::kRegister, kernel::Access::kReadWrite, sums);
    Stmts out{kernel::alloc(acc)};
    for (int i = 0; i < sums; ++i) out.push_back(kernel::store(acc, int_const(i), zero(t_.lanes)));
    const auto place = [&](int r, int64_t down, int v, int64_t across, int o) {
      const int64_t row = r * up_h + (down - begin);
      return int_const(((row * vectors + v) * up_w + across) * t_.outputs + o);
    };
    const auto count_of = [&](int64_t done) -> Expr {
      return width - done < t_.lanes ? int_const(width - done) : nullptr;
    };
    const PlaneAxis::Taps planes = s_.d.taps(phase_z_);
    const int64_t of_plane = s_.h.window * s_.w.window;
    const Expr here = left ? kernel::add(left, x) : x;
    const Expr filter =
        named("w",
              kernel::mul(kernel::add(kernel::mul(g.number, int_const(s_.outputs)), rows.output),
                          int_const(s_.inputs * s_.d.window * of_plane)),
              out);
    // Elements that line `line` of the tile gives vector v at that distance.
    const auto input = [&](const Expr& member, const Expr& plane, int64_t line, int64_t shift, int v) {
      const Expr at = int_const(int64_t{v} * t_.lanes);
      if (t_.in_place) {
        const Var lane = kernel::make_var("lane");
        const Expr channel = kernel::add(kernel::mul(g.number, int_const(s_.inputs)), member);
        const Expr column = kernel::add(kernel::add(here, at), var_expr(lane));
        const int64_t inputs = ceil_div(width, s_.w.up) - int64_t{v} * t_.lanes;
        const Expr e = kernel::cast(
            emitter_->element(
                root_.operand(),
                index(g, channel, g.z, kernel::add(rows.first_row, kernel::add(rows.row, int_const(line))),
                      column)),
            sum_);
        const Expr vector =
            kernel::vectorize(e, lane, t_.lanes, {}, inputs < t_.lanes ? int_const(inputs) : nullptr);
        return kernel::broadcast(kernel::substitute(vector, {{lane.get(), int_const(0)}}), t_.lanes);
      }
      const Expr number = kernel::add(kernel::mul(rows.row, int_const(s_.h.stride)), int_const(line));
      const Expr of_member = kernel::add(kernel::mul(member, int_const(planes.count)), plane);
      const Expr start =
          kernel::add(rows.base, kernel::mul(kernel::add(kernel::mul(of_member, int_const(t_.lines)), number),
                                             int_const(t_.line())));
      const int64_t skip = shift % s_.w.stride * t_.phase + shift / s_.w.stride;
      return kernel::load(scratch_, kernel::add(kernel::add(start, kernel::add(x, at)), int_const(skip)),
                          t_.lanes);
    };
    const auto products_of = [&](const Expr& member, const Expr& plane, Stmts& body) {
      const Expr z = kernel::add(kernel::mul(plane, int_const(s_.d.up)), int_const(planes.first));
      const Expr first = kernel::add(
          filter,
          kernel::mul(kernel::add(kernel::mul(member, int_const(s_.d.window)), z), int_const(of_plane)));
      for (int64_t shift = 0; shift < s_.w.reach(); ++shift) {
        std::unordered_map<int64_t, Expr> weights;
        for (int64_t line = 0; line < lines_of(s_, height); ++line) {
          std::vector<Expr> loaded(static_cast<size_t>(vectors));
          for (int r = 0; r < height; ++r) {
            for (int64_t down = begin; down < end; ++down) {
              const int64_t ky = s_.h.tap(down, line - r * s_.h.stride);
              for (int64_t across = 0; across < up_w && ky >= 0; ++across) {
                const int64_t kx = s_.w.tap(across, shift);
                for (int o = 0; o < t_.outputs && kx >= 0; ++o) {
                  const int64_t tap = o * s_.inputs * s_.d.window * of_plane + ky * s_.w.window + kx;
                  Expr& w = weights[tap];
                  if (!w) {
                    const Expr one = weights_ ? kernel::load(weights_, kernel::add(first, int_const(tap)))
                                              : computed_weight(g, kernel::add(rows.output, int_const(o)),
                                                                member, z, ky, kx);
                    w = named("f", kernel::broadcast(one, t_.lanes), body);
                  }
                  for (int v = 0; v < vectors; ++v) {
                    Expr& from = loaded[static_cast<size_t>(v)];
                    if (!from) from = named("i", input(member, plane, line, shift, v), body);
                    const Expr at = place(r, down, v, across, o), old = kernel::load(acc, at);
                    body.push_back(kernel::store(acc, at,
                                                 has_fma_ ? kernel::op(ScalarOp::kFma, {w, from, old})
                                                          : kernel::add(kernel::mul(w, from), old)));
                  }
                }
              }
            }
          }
        }
      }
    };
    if (planes.count > 0) {
      const int64_t taps = s_.inputs * planes.count * of_plane / (up_h < s_.h.up ? s_.h.up : 1);
      const bool written =
          taps * height * vectors * t_.outputs <= (s_.ups() > 1 ? kMostSpread : kMostWritten);
      const auto each = [&](const char* name, int64_t count, Stmts& to,
                            const std::function<Stmts(const Expr&)>& one) {
        if (!written) return each_of(name, int_const(count), to, one);
        for (int64_t i = 0; i < count; ++i) append(to, one(int_const(i)));
      };
      each("member", s_.inputs, out, [&](const Expr& member) {
        Stmts of_member;
        each("plane", planes.count, of_member, [&](const Expr& plane) {
          Stmts one;
          products_of(member, plane, one);
          return one;
        });
        return of_member;
      });
    }
    for (int o = 0; o < t_.outputs; ++o) {
      const Expr channel =
          kernel::add(kernel::mul(g.number, int_const(s_.outputs)), kernel::add(rows.output, int_const(o)));
      for (int r = 0; r < height; ++r) {
        for (int64_t down = begin; down < end; ++down) {
          const Expr row = kernel::add(rows.first_row, kernel::add(rows.row, int_const(r))),
                     y = output_at(s_.h, row, down);
          Stmts line;
          for (int v = 0; v < vectors; ++v) {
            std::vector<Expr> phases;
            for (int64_t across = 0; across < up_w; ++across)
              phases.push_back(kernel::load(acc, place(r, down, v, across, o)));
            if (up_w > 1) phases = interleaved_columns(std::move(phases), line);
            for (int j = 0; j < up_w; ++j) {
              const int64_t done = (int64_t{v} * up_w + j) * t_.lanes;
              if (done >= width) break;
              append(line, store_epilogue(
                               *emitter_,
                               [&](const Expr& n) {
                                 return index(g, channel, output_at(s_.d, g.z, phase_z_), y, n);
                               },
                               kernel::add(kernel::mul(here, int_const(s_.w.up)), int_const(done)),
                               kernel::cast(phases[static_cast<size_t>(j)], root_.result()->type.dtype),
                               t_.lanes, count_of(done)));
            }
          }
          if (s_.h.outputs % s_.h.up == 0 || down == 0) {
            append(out, std::move(line));
          } else {
            out.push_back(
                kernel::if_then(kernel::compare(ScalarOp::kLt, y, int_const(s_.h.outputs)), std::move(line)));
          }
        }
      }
    }
    return {kernel::block(std::move(out))};
  }

  std::string how_cut() const {
    std::string out;
    if (s_.ups() > 1)
      out += fmt::format(", phases {}x{}x{}{}", s_.d.up, s_.h.up, s_.w.up, t_.joined ? " joined" : "");
    if (t_.band < s_.h.places()) out += fmt::format(", bands of {}", t_.band);
    if (strips_ > 1) out += fmt::format(", strips of {}", t_.strip);
    return out;
  }

  const Region& region_;
  LoweringContext& context_;
  const Node& root_;
  const PlaneShape s_;
  const DType sum_;
  PlaneSchedule t_;
  ElementEmitter* emitter_ = nullptr;
  bool has_fma_ = false;
  Buffer scratch_, weights_;
  int64_t strips_ = 1, blocks_each_ = 1;  // bands by strips, of a tile of the grid from first_block_ on
  Expr first_block_;
  int64_t phase_z_ = 0;
};

}  // namespace

bool suits_planes(const Node& conv, const Target& target, const PlaneNeighbours& around) {
  if (is_gpu(target.arch)) return false;
  const std::optional<PlaneShape> s = plane_shape(conv);
  const graph::Value* filters = conv.operand(1);
  if (!s || (!LoweringContext::constant_data(filters) && LoweringContext::splat(filters))) return false;
  constexpr double kClearly = 0.8;  // one more dispatch
  constexpr double kOne = 1.15;     // of one group the count of products is the closer one
  const DType sum = sum_type(conv.operand()->type.dtype);
  const double before = around.chosen
                            ? 0
                            : turn_cycles(s->groups * s->inputs, s->d.extent * s->h.extent * s->w.extent),
               after = turn_cycles(s->groups * s->outputs, s->d.outputs * s->h.outputs * s->w.outputs);
  return std::all_of(target.levels.begin(), target.levels.end(), [&](Level level) {
    const PlaneSchedule t = plane_schedule(*s, machine(level), sum);
    const auto groups = static_cast<double>(s->groups);
    const double planes = groups * t.cycles * (s->groups > 1 ? 1 : kOne),
                 products = groups * products_cycles(*s, machine(level), t.lanes);
    return fits_scratch(*s, t) && (around.wanted ? planes + after < kClearly * (products + before)
                                                 : planes < products + before + after);
  });
}

bool lower_plane_conv(const Region& region, LoweringContext& context) {
  const Node& conv = *region.root;
  const graph::Value* filters = conv.operand(1);
  if (!LoweringContext::constant_data(filters) &&
      std::find(region.inputs.begin(), region.inputs.end(), filters) == region.inputs.end())
    return false;
  if (!context.enabled("channels_last") || !suits_planes(conv, context.target())) return false;
  const auto lies_so = [&](const graph::Value* v) {
    const Place& place = context.place(v);
    return place.layout.is_dense() && place.strides.back().is_const(1) && place.planes == 1;
  };
  const graph::Value* x = conv.operand();
  if (!std::all_of(region.outputs.begin(), region.outputs.end(), lies_so) || !lies_so(x)) return false;
  PlaneConv(region, context, *plane_shape(conv)).run();
  return true;
}

}  // namespace tern::lower
