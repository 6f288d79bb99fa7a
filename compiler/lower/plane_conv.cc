#include "compiler/lower/plane_conv.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/arithmetic_cost.h"
#include "compiler/lower/contraction.h"
#include "compiler/lower/contraction_access.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/conv_gather.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/few_columns.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"
#include "compiler/lower/winograd_schedule.h"
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

constexpr int64_t kMostInputs = 32, kMostOutputs = 64;  // channels of a group
constexpr int64_t kMostPlanes = 64;                     // taken by points, which wait in no scratch
constexpr int64_t kMostTaps = 100;                      // of a channel: they are written out
constexpr int64_t kMostWritten = 640;     // multiply-adds of a tile; of more, channels are a loop
constexpr int64_t kPlaneElements = 4096;  // of scratch, a share of L1, as long as one plane is smaller
constexpr int64_t kMostInL1 = 6144;
constexpr int64_t kMostElements = 64 * 1024;  // of scratch, of L2: a few long lines

struct PlaneShape {
  Dim images;
  int64_t groups = 1, inputs = 1, outputs = 1;  // channels of a group
  int64_t height = 1, width = 1, out_height = 1, out_width = 1;
  int64_t window_h = 1, window_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t top = 0, left = 0;

  int64_t products() const { return inputs * window_h * window_w; }
  bool is_pointwise() const {
    return window_h == 1 && window_w == 1 && stride_h == 1 && stride_w == 1 && top == 0 && left == 0 &&
           out_width == width && out_height == height;
  }
};

std::optional<PlaneShape> plane_shape(const Node& conv) {
  if (conv.kind != OpKind::kConv || conv.find("pad_value")) return std::nullopt;
  const Shape &x = conv.operand()->type.shape, &w = conv.operand(1)->type.shape,
              &y = conv.result()->type.shape;
  const auto is_static_inside = [](const Shape& s) { return is_static(Shape(s.begin() + 1, s.end())); };
  const DType type = conv.operand()->type.dtype;
  const std::vector<int64_t>& steps = conv.ints("lhs_dilations");
  if (x.size() < 3 || x.size() > 4 || !is_static(w) || !is_static_inside(x) || !is_static_inside(y) ||
      (!is_contraction_float(type) && type != DType::kF64) || conv.operand(1)->type.dtype != type ||
      std::any_of(steps.begin(), steps.end(), [](int64_t s) { return s != 1; }))
    return std::nullopt;
  const ConvGeometry g = conv_geometry(conv);
  PlaneShape s;
  s.images = g.images;
  s.groups = conv.int_attr("groups");
  s.inputs = g.channels;
  s.outputs = w[0].value() / s.groups;
  s.height = g.height.value(), s.width = g.width.value();
  s.out_height = g.out_height.value(), s.out_width = g.out_width.value();
  s.window_h = g.window_h, s.window_w = g.window_w;
  s.stride_h = g.stride_h, s.stride_w = g.stride_w;
  s.dilation_h = g.dilation_h, s.dilation_w = g.dilation_w;
  s.top = g.pad_top, s.left = g.pad_left;
  const auto known = {s.height, s.width, s.out_height, s.out_width};
  if (s.inputs > (s.is_pointwise() ? kMostPlanes : kMostInputs) || s.outputs > kMostOutputs ||
      s.window_h * s.window_w > kMostTaps || s.top < 0 || s.left < 0 ||
      std::any_of(known.begin(), known.end(), [](int64_t v) { return v < 1; }))
    return std::nullopt;
  return s;
}

DType sum_type(DType type) {
  return type == DType::kF64 ? DType::kF64 : DType::kF32;
}

// How a group's planes lie in scratch, and the tile of outputs in registers.
struct PlaneSchedule {
  int lanes = 1;
  int rows = 1, vectors = 1, outputs = 1;  // of a register tile
  int64_t phases = 1, phase = 0;           // of a line: so many, each of so many elements
  int64_t band = 0, lines = 0;             // output rows at once, the lines that they read
  int64_t together = 1;                    // groups
  int64_t line() const { return phases * phase; }
  int64_t elements(const PlaneShape& s) const { return s.inputs * lines * line(); }
};

int64_t lines_of(const PlaneShape& s, int64_t rows) {
  return (rows - 1) * s.stride_h + (s.window_h - 1) * s.dilation_h + 1;
}

PlaneSchedule plane_schedule(const PlaneShape& s, const MachineModel& machine, DType sum) {
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
  if (s.window_h > 1) out.rows = static_cast<int>(std::min<int64_t>(4, sums / out.outputs));
  out.rows = static_cast<int>(std::min<int64_t>(out.rows, s.out_height));
  const int64_t vectors = ceil_div(s.out_width, int64_t{out.lanes});
  out.vectors = static_cast<int>(std::clamp<int64_t>(sums / (out.rows * out.outputs), 1, vectors));
  out.vectors = std::min(out.vectors, 4);
  out.phases = s.stride_w;
  // Whole vectors are read behind the last output; what lies there is anything.
  out.phase = ceil_div(vectors, int64_t{out.vectors}) * out.vectors * out.lanes +
              (s.window_w - 1) * s.dilation_w / s.stride_w;
  out.band = s.out_height;
  out.lines = lines_of(s, out.band);
  if (s.is_pointwise()) return out;
  while (out.band > out.rows && out.elements(s) > kPlaneElements) {
    out.band = std::max<int64_t>(out.rows, out.band / 2 / out.rows * out.rows);
    out.lines = lines_of(s, out.band);
  }
  // Vectors that are read at once where they were stored wait for that: small planes are copied some at a
  // time.
  if (out.band == s.out_height) out.together = std::clamp<int64_t>(kPlaneElements / out.elements(s), 1, 16);
  return out;
}

// Cycles of a group of one image: multiply-adds (two a cycle) or loads, of which every other one crosses a
// line; last vectors that are stored in pieces; what fills scratch.
double plane_cycles(const PlaneShape& s, const PlaneSchedule& t) {
  const auto real = [](int64_t v) { return static_cast<double>(v); };
  const double tiles = real(ceil_div(s.out_width, int64_t{t.lanes} * t.vectors)) * real(s.outputs) /
                       t.outputs * real(s.out_height) / t.rows;
  const double taps = real(s.products()), sums = t.rows * t.vectors * t.outputs;
  const int64_t lines = std::min(lines_of(s, t.rows), t.rows * s.window_h);
  const double loads = real(s.inputs * s.window_w * lines) * t.vectors + taps * t.outputs;
  const double pieces = s.out_width % t.lanes == 0 ? 0 : 2.0 * t.rows * t.outputs;
  const double a_load = !s.is_pointwise() && t.elements(s) > kMostInL1 ? 1.25 : 0.75;
  const double tile = std::max(taps * sums / 2, loads * a_load) + sums + pieces;
  const int64_t bands = ceil_div(s.out_height, t.band), line = ceil_div(s.width, int64_t{t.lanes}) + 1;
  const double vector = s.stride_w > 1 ? 2 * real(s.stride_w) : 1.5;
  return tiles * tile + (s.is_pointwise() ? 0 : real(bands * s.inputs * t.lines * line) * vector);
}

// What part of all windows' lines products multiply: those that lie outside of the picture for all rows of a
// block are left out where the depth goes line by line (`leaves_lines_out` in contraction_body.cc).
double lines_multiplied(const PlaneShape& s, const ContractionSchedule& schedule) {
  const bool by_lines = std::min(s.window_w * s.inputs, schedule.block_depth) >= kLeastLineDepth &&
                        2 * schedule.block_rows <= s.out_height * s.out_width;
  if (!by_lines) return 1;
  int64_t inside = 0, all = 0;
  for (int64_t row = 0; row < s.out_height * s.out_width; row += schedule.block_rows) {
    const int64_t rows = std::min(schedule.block_rows, s.out_height * s.out_width - row);
    const int64_t first = row / s.out_width, last = (row + rows - 1) / s.out_width;
    for (int64_t ky = 0; ky < s.window_h; ++ky) {
      const int64_t above = ky * s.dilation_h - s.top;
      all += rows;
      if (last * s.stride_h + above >= 0 && first * s.stride_h + above < s.height) inside += rows;
    }
  }
  const double share = static_cast<double>(inside) / static_cast<double>(all);
  return share > 1 - kOutsideWorth ? 1 : share;
}

// The same with channels innermost, operand and result in that order.
double products_cycles(const PlaneShape& s, const MachineModel& machine, int lanes) {
  const int64_t pixels = s.out_height * s.out_width, images = s.images.is_const() ? s.images.value() : 1;
  if (s.groups > 1)
    return static_cast<double>(pixels * s.outputs) / lanes * (static_cast<double>(s.products()) / 2 + 2);
  ContractionShape shape;
  shape.m = images * pixels, shape.n = s.outputs, shape.k = s.products();
  shape.packs_a = !s.is_pointwise();
  shape.depth_granule = s.inputs;
  shape.whole_depth = s.inputs < lanes;
  const ContractionSchedule schedule = default_contraction_schedule(shape, machine);
  double cycles = contraction_cycles(shape, schedule, machine) * lines_multiplied(s, schedule);
  if (const auto few = few_columns(shape, schedule, machine)) cycles = std::min(cycles, few->cycles);
  if (s.window_h == 3 && s.window_w == 3 && s.dilation_h == 1 && s.dilation_w == 1 &&
      s.stride_h == s.stride_w && s.stride_h <= 2) {
    const WinogradShape points{
        images, s.out_height, s.out_width, s.inputs, s.outputs, true, static_cast<int>(s.stride_h)};
    if (const int outputs = choose_winograd(points, {&machine}))
      cycles = std::min(cycles, winograd_schedule(points, outputs, machine)->cycles);
  }
  return cycles / static_cast<double>(images);
}

// Bringing so many elements into the other order. Pixels whole pages apart share sets of the caches.
double turn_cycles(int64_t channels, int64_t pixels) {
  constexpr int64_t kInL2 = 1 << 17, kPage = 1024;  // elements
  return static_cast<double>(channels * pixels) *
         ((channels * pixels <= kInL2 ? 0.45 : 1.2) + (channels % kPage == 0 ? 0.5 : 0.0));
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
    const int weights = context_.add_constant(filters->name, in_sum_type(data));
    context_.note_stored(filters, sum_);
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
    weights_ = dispatch.bind(weights);
    const double cycles = plane_cycles(s_, t_);
    constexpr double kTileCycles = 1 << 16;
    const Dim planes = s_.images * Dim(s_.groups);
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
    const int64_t bands = ceil_div(s_.out_height, t_.band);
    bands_each_ = bands;
    if (each == 1 && bands > 1)
      bands_each_ = std::clamp<int64_t>(
          static_cast<int64_t>(kTileCycles / cycles * static_cast<double>(bands)), 1, bands);
    const int64_t shares = ceil_div(bands, bands_each_);
    bands_each_ = ceil_div(bands, shares);
    const Var share = kernel::make_var("share");
    first_band_ = shares > 1 ? kernel::mul(var_expr(share), int_const(bands_each_)) : int_const(0);
    Stmts body;
    if (!s_.is_pointwise()) {
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
                    s_.outputs, t_.rows, t_.vectors, t_.lanes, t_.outputs,
                    t_.band < s_.out_height ? fmt::format(", bands of {}", t_.band) : std::string()),
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
    Expr image, number;
  };
  Group group_at(const Expr& plane, Stmts& out) const {
    if (s_.groups == 1) return {plane, int_const(0)};
    if (s_.images.is_const(1)) return {int_const(0), plane};
    return {named("image", kernel::index_div(plane, int_const(s_.groups)), out),
            named("group", kernel::index_rem(plane, int_const(s_.groups)), out)};
  }

  Stmts groups(const Expr& first, const Expr& count) {
    Stmts out;
    const bool bands = t_.band < s_.out_height;
    const auto at = [&](const Expr& i, const std::function<Stmts(const Group&, const Expr& base)>& body) {
      Stmts one;
      const Group g = group_at(kernel::add(first, i), one);
      append(one, body(g, kernel::mul(i, int_const(t_.elements(s_)))));
      return one;
    };
    if (bands) {
      each_of("g", count, out, [&](const Expr& i) {
        return at(i, [&](const Group& g, const Expr& base) {
          Stmts all;
          const int64_t last = ceil_div(s_.out_height, t_.band);
          const Expr here = last % bands_each_ == 0 ? int_const(bands_each_)
                                                    : kernel::min(int_const(bands_each_),
                                                                  kernel::sub(int_const(last), first_band_));
          each_of("band", here, all, [&](const Expr& band) {
            Stmts one;
            const Expr y = named("y", kernel::mul(kernel::add(first_band_, band), int_const(t_.band)), one);
            append(one, fill(g, base, y));
            append(one, products(g, base, y));
            return one;
          });
          return all;
        });
      });
      return out;
    }
    if (!s_.is_pointwise())
      each_of("g", count, out, [&](const Expr& i) {
        return at(i, [&](const Group& g, const Expr& base) { return fill(g, base, nullptr); });
      });
    each_of("g", count, out, [&](const Expr& i) {
      return at(i, [&](const Group& g, const Expr& base) { return products(g, base, nullptr); });
    });
    return out;
  }

  Index index(const Expr& image, const Expr& channel, const Expr& y, const Expr& x) const {
    return spatial_index(root_.operand()->type.shape.size(), image, channel, int_const(0), y, x);
  }

  // Elements of a line that outputs read.
  int64_t columns_read() const {
    return std::min(s_.width,
                    (s_.out_width - 1) * s_.stride_w + (s_.window_w - 1) * s_.dilation_w + 1 - s_.left);
  }

  // The group's lines for the outputs from row y on (null: all of them) into scratch. What pads a line is
  // zero already.
  Stmts fill(const Group& g, const Expr& base, const Expr& y) {
    Stmts out;
    each_of("member", int_const(s_.inputs), out, [&](const Expr& member) {
      const Expr channel = kernel::add(kernel::mul(g.number, int_const(s_.inputs)), member);
      const Expr to = kernel::add(base, kernel::mul(member, int_const(t_.lines * t_.line())));
      const auto line = [&](const Expr& number, const Expr& from) {
        Stmts one;
        const Expr at = named("line", kernel::add(to, kernel::mul(number, int_const(t_.line()))), one);
        append(one, fill_line(at, [&](const Expr& x) {
                 return kernel::cast(emitter_->element(root_.operand(), index(g.image, channel, from, x)),
                                     sum_);
               }));
        return one;
      };
      Stmts lines;
      if (!y) {
        const int64_t begin = s_.top, end = std::min(t_.lines, s_.top + s_.height);
        each_of("row", int_const(std::max<int64_t>(end - begin, 0)), lines,
                [&](const Expr& row) { return line(kernel::add(row, int_const(begin)), row); });
        return lines;
      }
      each_of("row", int_const(t_.lines), lines, [&](const Expr& row) {
        Stmts one;
        const Expr from = named(
            "from", kernel::add(kernel::sub(kernel::mul(y, int_const(s_.stride_h)), int_const(s_.top)), row),
            one);
        const Expr at = kernel::add(to, kernel::mul(row, int_const(t_.line())));
        one.push_back(kernel::if_then(in_range(from, int_const(s_.height)), line(row, from),
                                      fill_line(at, [&](const Expr&) { return zero(1); })));
        return one;
      });
      return lines;
    });
    return out;
  }

  Stmts fill_line(const Expr& at, const std::function<Expr(const Expr& x)>& element) {
    Stmts out;
    for (int64_t phase = 0; phase < t_.phases; ++phase) {
      // Place p of a phase is column p * stride + phase - left.
      const int64_t begin = ceil_div(std::max<int64_t>(s_.left - phase, 0), s_.stride_w);
      const int64_t end = ceil_div(columns_read() + s_.left - phase, s_.stride_w);
      if (end <= begin) continue;
      const Var v = kernel::make_var("p");
      const Expr x =
          kernel::add(kernel::mul(var_expr(v), int_const(s_.stride_w)), int_const(phase - s_.left));
      const Expr to = kernel::add(at, kernel::add(int_const(phase * t_.phase), var_expr(v)));
      append(out, overlapping_vectors(serial(v, int_const(begin), int_const(end - begin),
                                             {kernel::store(scratch_, to, element(x))}),
                                      t_.lanes));
    }
    return out;
  }

  // The outputs from row y on (null: all).
  Stmts products(const Group& g, const Expr& base, const Expr& y) {
    Stmts out;
    const Expr first_row = y ? y : int_const(0);
    const Expr rows =
        y ? named("rows", kernel::min(int_const(t_.band), kernel::sub(int_const(s_.out_height), y)), out)
          : int_const(s_.out_height);
    each_of("block", int_const(s_.outputs / t_.outputs), out, [&](const Expr& block) {
      Stmts all;
      const Expr output = kernel::mul(block, int_const(t_.outputs));
      const auto tiles = [&](const Expr& from, const Expr& count, int height) {
        each_of("row", count, all, [&](const Expr& i) {
          Stmts one;
          const Expr row = named("r", kernel::add(from, kernel::mul(i, int_const(height))), one);
          append(one, line_of_tiles(g, base, first_row, row, output, height));
          return one;
        });
      };
      const Expr whole = kernel::index_div(rows, int_const(t_.rows));
      tiles(int_const(0), whole, t_.rows);
      const Expr done = kernel::mul(whole, int_const(t_.rows));
      if (const auto known = kernel::int_value(rows)) {
        if (const int64_t rest = *known % t_.rows; rest > 0)
          tiles(done, int_const(1), static_cast<int>(rest));
      } else if (s_.out_height % t_.rows != 0) {
        tiles(done, kernel::sub(rows, done), 1);
      }
      return all;
    });
    return out;
  }

  Stmts line_of_tiles(const Group& g, const Expr& base, const Expr& first_row, const Expr& row,
                      const Expr& output, int height) {
    Stmts out;
    const int64_t width = int64_t{t_.vectors} * t_.lanes, whole = s_.out_width / width;
    each_of("tile", int_const(whole), out, [&](const Expr& i) {
      Stmts one;
      const Expr x = named("x", kernel::mul(i, int_const(width)), one);
      append(one, tile(g, base, first_row, row, x, output, height, width));
      return one;
    });
    if (const int64_t rest = s_.out_width % width; rest > 0)
      append(out, tile(g, base, first_row, row, int_const(whole * width), output, height, rest));
    return out;
  }

  // `height` rows from `row` on (of the band) by `width` outputs from x on.
  Stmts tile(const Group& g, const Expr& base, const Expr& first_row, const Expr& row, const Expr& x,
             const Expr& output, int height, int64_t width) {
    const int vectors = static_cast<int>(ceil_div(width, int64_t{t_.lanes}));
    const int sums = height * vectors * t_.outputs;
    const Buffer acc =
        kernel::make_buffer("acc", {sum_, t_.lanes}, Scope::kRegister, kernel::Access::kReadWrite, sums);
    Stmts out{kernel::alloc(acc)};
    for (int i = 0; i < sums; ++i) out.push_back(kernel::store(acc, int_const(i), zero(t_.lanes)));
    const auto place = [&](int r, int v, int o) {
      return int_const((int64_t{r} * vectors + v) * t_.outputs + o);
    };
    const auto count_of = [&](int v) -> Expr {
      const int64_t left = width - int64_t{v} * t_.lanes;
      return left < t_.lanes ? int_const(left) : nullptr;
    };
    const Expr taps = int_const(s_.products()),
               filter = named(
                   "w", kernel::mul(kernel::add(kernel::mul(g.number, int_const(s_.outputs)), output), taps),
                   out);
    // Elements that line `line` of the tile gives vector v at tap kx.
    const auto input = [&](const Expr& member, int64_t line, int64_t kx, int v) {
      const Expr at = kernel::add(x, int_const(int64_t{v} * t_.lanes));
      if (s_.is_pointwise()) {
        const Var lane = kernel::make_var("lane");
        const Expr channel = kernel::add(kernel::mul(g.number, int_const(s_.inputs)), member);
        const Expr e = kernel::cast(
            emitter_->element(root_.operand(), index(g.image, channel, kernel::add(row, int_const(line)),
                                                     kernel::add(at, var_expr(lane)))),
            sum_);
        return kernel::broadcast(kernel::substitute(kernel::vectorize(e, lane, t_.lanes, {}, count_of(v)),
                                                    {{lane.get(), int_const(0)}}),
                                 t_.lanes);
      }
      const int64_t shift = kx * s_.dilation_w;
      const Expr number = kernel::add(kernel::mul(row, int_const(s_.stride_h)), int_const(line));
      const Expr begin = kernel::add(
          base,
          kernel::mul(kernel::add(kernel::mul(member, int_const(t_.lines)), number), int_const(t_.line())));
      const int64_t skip = shift % s_.stride_w * t_.phase + shift / s_.stride_w;
      return kernel::load(scratch_, kernel::add(kernel::add(begin, at), int_const(skip)), t_.lanes);
    };
    const auto products_of = [&](const Expr& member, Stmts& body) {
      for (int64_t kx = 0; kx < s_.window_w; ++kx) {
        std::vector<Expr> weights(static_cast<size_t>(s_.window_h * t_.outputs));
        for (int64_t line = 0; line < lines_of(s_, height); ++line) {
          std::vector<Expr> loaded(static_cast<size_t>(vectors));
          for (int r = 0; r < height; ++r) {
            const int64_t down = line - r * s_.stride_h, ky = down / s_.dilation_h;
            if (down < 0 || down % s_.dilation_h != 0 || ky >= s_.window_h) continue;
            for (int o = 0; o < t_.outputs; ++o) {
              Expr& w = weights[static_cast<size_t>(ky * t_.outputs + o)];
              if (!w) {
                const int64_t of_channel = s_.window_h * s_.window_w,
                              tap = o * s_.inputs * of_channel + ky * s_.window_w + kx;
                const Expr at = kernel::add(kernel::add(filter, kernel::mul(member, int_const(of_channel))),
                                            int_const(tap));
                w = named("f", kernel::broadcast(kernel::load(weights_, at), t_.lanes), body);
              }
              for (int v = 0; v < vectors; ++v) {
                Expr& from = loaded[static_cast<size_t>(v)];
                if (!from) from = named("i", input(member, line, kx, v), body);
                const Expr at = place(r, v, o), old = kernel::load(acc, at);
                body.push_back(kernel::store(acc, at,
                                             has_fma_ ? kernel::op(ScalarOp::kFma, {w, from, old})
                                                      : kernel::add(kernel::mul(w, from), old)));
              }
            }
          }
        }
      }
    };
    if (s_.products() * sums > kMostWritten) {
      each_of("member", int_const(s_.inputs), out, [&](const Expr& member) {
        Stmts one;
        products_of(member, one);
        return one;
      });
    } else {
      for (int64_t member = 0; member < s_.inputs; ++member) products_of(int_const(member), out);
    }
    for (int o = 0; o < t_.outputs; ++o) {
      const Expr channel =
          kernel::add(kernel::mul(g.number, int_const(s_.outputs)), kernel::add(output, int_const(o)));
      for (int r = 0; r < height; ++r) {
        const Expr line = kernel::add(first_row, kernel::add(row, int_const(r)));
        for (int v = 0; v < vectors; ++v) {
          const Expr sum = kernel::cast(kernel::load(acc, place(r, v, o)), root_.result()->type.dtype);
          append(out, store_epilogue(
                          *emitter_, [&](const Expr& n) { return index(g.image, channel, line, n); },
                          kernel::add(x, int_const(int64_t{v} * t_.lanes)), sum, t_.lanes, count_of(v)));
        }
      }
    }
    return {kernel::block(std::move(out))};
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
  int64_t bands_each_ = 1;  // of a tile of the grid, from first_band_ on
  Expr first_band_;
};

}  // namespace

bool suits_planes(const Node& conv, const Target& target, const PlaneNeighbours& around) {
  if (is_gpu(target.arch)) return false;
  const std::optional<PlaneShape> s = plane_shape(conv);
  if (!s || !LoweringContext::constant_data(conv.operand(1))) return false;
  constexpr double kClearly = 0.8;  // one more dispatch
  constexpr double kOne = 1.15;     // of one group the count of products is the closer one
  const DType sum = sum_type(conv.operand()->type.dtype);
  const double before = around.chosen ? 0 : turn_cycles(s->groups * s->inputs, s->height * s->width),
               after = turn_cycles(s->groups * s->outputs, s->out_height * s->out_width);
  return std::all_of(target.levels.begin(), target.levels.end(), [&](Level level) {
    const PlaneSchedule t = plane_schedule(*s, machine(level), sum);
    const auto groups = static_cast<double>(s->groups);
    const double planes = groups * plane_cycles(*s, t) * (s->groups > 1 ? 1 : kOne),
                 products = groups * products_cycles(*s, machine(level), t.lanes);
    return (s->is_pointwise() || t.elements(*s) <= kMostElements) &&
           (around.wanted ? planes + after < kClearly * (products + before)
                          : planes < products + before + after);
  });
}

bool lower_plane_conv(const Region& region, LoweringContext& context) {
  const Node& conv = *region.root;
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
