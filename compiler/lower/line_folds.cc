#include "compiler/lower/line_folds.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nests.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using Stmts = std::vector<Stmt>;

// Elements of a line: a share of L1, or, of several channels, of L2.
constexpr int64_t kLineElements = 4096, kColumnElements = 16384;
constexpr int64_t kFewestOutputs = 4;
constexpr int64_t kMostPhases = 4;  // larger strides are gathered
constexpr int64_t kGather = 3;      // operations of a lane

bool moves(const WindowAxis& a) {
  return a.window != 1 || a.stride != 1 || a.low != 0 || a.high > 0;
}

int64_t reach(const WindowAxis& a) {
  return (a.window - 1) * a.dilation;
}

// Elements of every stride-th place are neighbours in scratch, where each is used more than once.
bool has_phases(const WindowAxis& a, bool columns) {
  return !columns && a.stride > 1 && a.stride <= kMostPhases && a.dilation == 1 && a.window > a.stride;
}

class LineFold {
 public:
  LineFold(ElementEmitter& emitter, const Node& root, const WindowGeometry& geometry,
           const std::vector<NestAxis>& axes, const LineFolds& lines, int lanes)
      : emitter_(emitter),
        root_(root),
        geometry_(geometry),
        axes_(axes),
        lines_(lines),
        lanes_(lanes),
        dim_(static_cast<size_t>(axes[lines.axis].dims.back())),
        along_(geometry.axes[dim_]),
        columns_(lines.columns ? axes.back().extent.value() : 1),
        wide_(accumulator_type(root.result()->type.dtype)) {}

  // rows: of the axis before the line, or null where its coordinate is given.
  Stmts run(std::vector<Expr> coordinates, const AxisRange* rows, const AxisRange& range) {
    coordinates_ = std::move(coordinates);
    const std::optional<int64_t> outputs = kernel::int_value(range.extent);
    const bool whole = outputs && *outputs <= lines_.most;
    const int64_t most = outputs ? std::min(*outputs, lines_.most) : lines_.most;
    line_stride_ = most * along_.stride + reach(along_) + 1;
    if (has_phases(along_, lines_.columns)) {
      phase_stride_ = most + (along_.window - 1) / along_.stride;
      phases_stride_ = phase_stride_ * along_.stride;
    }
    const int64_t together = rows && whole ? rows_at_once(*rows) : 1;
    line_ = scratch("line", line_stride_ * columns_ * together);
    Stmts out{kernel::alloc(line_)};
    if (phase_stride_ > 0) {
      phases_ = scratch("phases", phases_stride_ * together);
      out.push_back(kernel::alloc(phases_));
    }
    if (!rows) {
      append(out, outputs_of(range, whole, most, int_const(1)));
      return out;
    }
    // What pads the lines stays there.
    if (whole && kernel::int_value(range.begin)) {
      append(out, each_row(int_const(together), [&](const Expr& row) { return pads(range, row); }));
      padded_ = true;
    }
    append(out, parts_of(rows->extent, together, [&](const Expr& done, const Expr& count) {
             first_row_ = kernel::add(rows->begin, done);
             return outputs_of(range, whole, most, count);
           }));
    return out;
  }

 private:
  kernel::Buffer scratch(const char* name, int64_t elements) const {
    return kernel::make_buffer(name, {wide_, 1}, kernel::Scope::kScratch, kernel::Access::kReadWrite,
                               elements);
  }
  Expr identity() const { return kernel::scalar_const(kernel::reduction_identity(root_.scalar_op(), wide_)); }
  Expr fold(const Expr& element, const Expr& all) const {
    return kernel::op(root_.scalar_op(), {element, all});
  }
  // Vectors that are read at once where they were stored wait for that: short lines are folded some at a
  // time.
  int64_t rows_at_once(const AxisRange& rows) const {
    constexpr int64_t kMostRows = 16;
    if (lines_.columns) return 1;
    const int64_t most = std::clamp<int64_t>(kLineElements / (line_stride_ + phases_stride_), 1, kMostRows);
    const std::optional<int64_t> extent = kernel::int_value(rows.extent);
    if (!extent) return most;
    const int64_t parts = (*extent + most - 1) / most;
    return (*extent + parts - 1) / std::max<int64_t>(parts, 1);
  }
  // body(begin, count) for parts of at most so many.
  static Stmts parts_of(const Expr& extent, int64_t most,
                        const std::function<Stmts(const Expr& begin, const Expr& count)>& body) {
    const std::optional<int64_t> known = kernel::int_value(extent);
    if (known && *known <= most) return body(int_const(0), extent);
    const kernel::Var number = kernel::make_var("part");
    Stmts out;
    const Expr begin = named("begin", kernel::mul(kernel::var_expr(number), int_const(most)), out);
    const bool even = known && *known % most == 0;
    const Expr count = even ? int_const(most)
                            : named("count", kernel::min(int_const(most), kernel::sub(extent, begin)), out);
    append(out, body(begin, count));
    const Expr parts = kernel::index_div(kernel::add(extent, int_const(most - 1)), int_const(most));
    return {serial(number, int_const(0), parts, std::move(out))};
  }
  Stmts outputs_of(const AxisRange& range, bool whole, int64_t most, const Expr& rows) {
    if (whole) return part(range.begin, range.extent, rows);
    return parts_of(range.extent, most, [&](const Expr& done, const Expr& count) {
      return part(kernel::add(range.begin, done), count, rows);
    });
  }
  static Stmts each_row(const Expr& count, const std::function<Stmts(const Expr& row)>& body) {
    if (kernel::int_value(count) == 1) return body(int_const(0));
    const kernel::Var row = kernel::make_var("row");
    return {serial(row, int_const(0), count, body(kernel::var_expr(row)))};
  }
  static Stmt serial(const kernel::Var& v, const Expr& begin, const Expr& extent, Stmts body) {
    return kernel::loop(v, begin, extent, kernel::LoopKind::kSerial, std::move(body));
  }
  // body(place along the line, channel) for `extent` places from `begin` on.
  Stmts each(const Expr& begin, const Expr& extent,
             const std::function<Stmts(const Expr& at, const Expr& column)>& body) const {
    const kernel::Var at = kernel::make_var("p");
    if (!lines_.columns)
      return overlapping_vectors(serial(at, begin, extent, body(kernel::var_expr(at), int_const(0))), lanes_);
    const kernel::Var column = kernel::make_var("c");
    return {serial(at, begin, extent,
                   overlapping_vectors(serial(column, int_const(0), int_const(columns_),
                                              body(kernel::var_expr(at), kernel::var_expr(column))),
                                       lanes_))};
  }
  Expr in_line(const Expr& row, const Expr& at, const Expr& column) const {
    return kernel::add(kernel::mul(row, int_const(line_stride_ * columns_)),
                       kernel::add(kernel::mul(at, int_const(columns_)), column));
  }
  Expr in_phase(const Expr& row, const Expr& at, int64_t phase) const {
    return kernel::add(kernel::mul(row, int_const(phases_stride_)),
                       kernel::add(at, int_const(phase * phase_stride_)));
  }
  Index index_of(const Expr& row, const Expr& at, const Expr& column) const {
    std::vector<Expr> coordinates = coordinates_;
    coordinates[lines_.axis] = at;
    if (first_row_) coordinates[lines_.axis - 1] = kernel::add(first_row_, row);
    if (lines_.columns) coordinates.back() = column;
    return axis_index(axes_, geometry_.axes.size(), coordinates);
  }

  // The places of a line that its outputs need, and those of them that are the operand's.
  struct Places {
    Expr origin, count, begin, end;  // origin: place 0 in the operand
  };
  Places places(const Expr& first, const Expr& count, Stmts& out) const {
    Places p;
    p.origin = kernel::sub(kernel::mul(first, int_const(along_.stride)), int_const(along_.low));
    p.count = kernel::add(kernel::mul(kernel::sub(count, int_const(1)), int_const(along_.stride)),
                          int_const(reach(along_) + 1));
    p.begin = int_const(0);
    p.end = p.count;
    if (along_.inside) return p;
    const Expr zero = int_const(0), extent = emitter_.dispatch().expr(along_.extent);
    const auto name = [&](const char* text, const Expr& e) {
      return e->kind == kernel::ExprKind::kConst ? e : named(text, e, out);
    };
    p.begin = name("from", kernel::min(kernel::max(kernel::sub(zero, p.origin), zero), p.count));
    p.end = name("to", kernel::max(kernel::min(kernel::sub(extent, p.origin), p.count), p.begin));
    return p;
  }

  // Outputs [first, first + count) of lines [0, rows).
  Stmts part(const Expr& first, const Expr& count, const Expr& rows) {
    Stmts out;
    const Places p = places(first, count, out);
    if (!padded_) append(out, each_row(rows, [&](const Expr& row) { return pad(p, row); }));
    append(out, each_row(rows, [&](const Expr& row) {
             return fold_rows(row, p.origin, p.begin, kernel::sub(p.end, p.begin));
           }));
    if (phases_) append(out, each_row(rows, [&](const Expr& row) { return take_phases(row, count); }));
    append(out, each_row(rows, [&](const Expr& row) { return fold_line(row, first, count); }));
    return out;
  }

  Stmts pads(const AxisRange& range, const Expr& row) const {
    Stmts out;
    const Places p = places(range.begin, range.extent, out);
    append(out, pad(p, row));
    return out;
  }
  Stmts pad(const Places& p, const Expr& row) const {
    Stmts out;
    for (const auto& [begin, count] :
         {std::pair{int_const(0), p.begin}, {p.end, kernel::sub(p.count, p.end)}}) {
      if (kernel::int_value(count) == 0) continue;
      const kernel::Var v = kernel::make_var("e");
      const Stmt loop =
          serial(v, kernel::mul(begin, int_const(columns_)), kernel::mul(count, int_const(columns_)),
                 {kernel::store(line_, in_line(row, int_const(0), kernel::var_expr(v)), identity())});
      append(out, lines_.columns ? vector_loop(loop, lanes_) : Stmts{loop});
    }
    return out;
  }

  // The rows of the window, at each place of the line from `begin` on.
  Stmts fold_rows(const Expr& row, const Expr& origin, const Expr& begin, const Expr& count) {
    WindowGeometry rows = geometry_;
    rows.axes[dim_] = {along_.extent};
    const auto fold_all = [&](const WindowGeometry& geometry) {
      return each(begin, count, [&](const Expr& at, const Expr& column) {
        const Index index = index_of(row, kernel::add(origin, at), column);
        const Expr place = in_line(row, at, column);
        const auto element = [&](const Index& from, Stmts& out) {
          const Expr x = kernel::cast(emitter_.element(root_.operand(), from), wide_);
          append(out, emitter_.take_checks());
          return x;
        };
        Stmts out;
        if (std::none_of(geometry.axes.begin(), geometry.axes.end(), moves)) {
          out.push_back(kernel::store(line_, place, element(index, out)));
          return out;
        }
        const kernel::Var all = kernel::make_var("all", {wide_, 1});
        out.push_back(kernel::declare(all, identity()));
        const int vectors = static_cast<int>(lines_.columns ? axes_.back().dims.back() : dim_);
        append(out, window_loops(geometry, index, vectors, emitter_.dispatch(),
                                 [&](const Index& from, const Index&) {
                                   Stmts tap;
                                   const Expr x = element(from, tap);
                                   tap.push_back(kernel::assign(all, fold(x, kernel::var_expr(all))));
                                   return tap;
                                 }));
        out.push_back(kernel::store(line_, place, kernel::var_expr(all)));
        return out;
      });
    };
    Stmts out;
    const Expr all_inside = rows_are_inside(row, rows, out);
    if (!all_inside) return fold_all(rows);
    WindowGeometry inner = rows;
    for (WindowAxis& a : inner.axes) a.inside = true;
    out.push_back(kernel::if_then(all_inside, fold_all(inner), fold_all(rows)));
    return out;
  }

  // Whether all rows of the window are the operand's, as most are; null where all are for certain.
  Expr rows_are_inside(const Expr& row, const WindowGeometry& rows, Stmts& out) {
    const Index index = index_of(row, int_const(0), int_const(0));
    Expr all;
    for (size_t d = 0; d < rows.axes.size(); ++d) {
      const WindowAxis& a = rows.axes[d];
      if (!moves(a) || a.inside) continue;
      const Expr first = kernel::sub(kernel::mul(index[d], int_const(a.stride)), int_const(a.low));
      const Expr last = kernel::add(first, int_const(reach(a)));
      all = both(all, kernel::op(ScalarOp::kAnd,
                                 {kernel::compare(ScalarOp::kGe, first, int_const(0)),
                                  kernel::compare(ScalarOp::kLt, last, emitter_.dispatch().expr(a.extent))}));
    }
    return all ? named("all_inside", all, out) : nullptr;
  }

  Stmts take_phases(const Expr& row, const Expr& count) const {
    Stmts out;
    const Expr places = kernel::add(count, int_const((along_.window - 1) / along_.stride));
    for (int64_t phase = 0; phase < along_.stride; ++phase) {
      const kernel::Var v = kernel::make_var("p");
      const Expr at = kernel::var_expr(v);
      const Expr from = kernel::add(kernel::mul(at, int_const(along_.stride)), int_const(phase));
      append(out, overlapping_vectors(
                      serial(v, int_const(0), places,
                             {kernel::store(phases_, in_phase(row, at, phase),
                                            kernel::load(line_, in_line(row, from, int_const(0))))}),
                      lanes_));
    }
    return out;
  }

  Stmts fold_line(const Expr& row, const Expr& first, const Expr& count) {
    return each(int_const(0), count, [&](const Expr& at, const Expr& column) {
      const kernel::Var all = kernel::make_var("all", {wide_, 1});
      Stmts out{kernel::declare(all, identity())};
      const auto taps = [&](int64_t number, const std::function<Expr(const Expr& tap)>& element) {
        const kernel::Var tap = kernel::make_var("k");
        const Expr x = element(kernel::var_expr(tap));
        out.push_back(serial(tap, int_const(0), int_const(number),
                             {kernel::assign(all, fold(x, kernel::var_expr(all)))}));
      };
      if (phases_) {
        for (int64_t phase = 0; phase < along_.stride; ++phase)
          taps((along_.window - 1 - phase) / along_.stride + 1, [&](const Expr& tap) {
            return kernel::load(phases_, in_phase(row, kernel::add(at, tap), phase));
          });
      } else {
        taps(along_.window, [&](const Expr& tap) {
          const Expr place = kernel::add(kernel::mul(at, int_const(along_.stride)),
                                         kernel::mul(tap, int_const(along_.dilation)));
          return kernel::load(line_, in_line(row, place, column));
        });
      }
      emitter_.bind(root_.result(), kernel::cast(kernel::var_expr(all), root_.result()->type.dtype));
      append(out, store_outputs(emitter_, index_of(row, kernel::add(first, at), column)));
      emitter_.unbind(root_.result());
      return out;
    });
  }

  ElementEmitter& emitter_;
  const Node& root_;
  const WindowGeometry& geometry_;
  const std::vector<NestAxis>& axes_;
  const LineFolds& lines_;
  const int lanes_;
  const size_t dim_;
  const WindowAxis& along_;
  const int64_t columns_;
  const DType wide_;
  std::vector<Expr> coordinates_;
  kernel::Buffer line_, phases_;
  int64_t line_stride_ = 0, phase_stride_ = 0, phases_stride_ = 0;
  Expr first_row_;
  bool padded_ = false;
};

}  // namespace

std::optional<LineFolds> choose_line_folds(const Node& root, const WindowGeometry& geometry,
                                           const std::vector<NestAxis>& axes, int lanes) {
  if (axes.empty() || lanes <= 1 || dtype_bits(root.result()->type.dtype) < 8 ||
      root.result()->type.dtype == DType::kBool)
    return std::nullopt;
  LineFolds out;
  const auto of = [&](const NestAxis& axis) -> const WindowAxis& {
    return geometry.axes[static_cast<size_t>(axis.dims.back())];
  };
  out.axis = axes.size() - 1;
  if (!moves(of(axes[out.axis]))) {
    if (out.axis == 0 || !moves(of(axes[out.axis - 1])) || !axes.back().extent.is_const() ||
        axes.back().extent.value() < lanes)
      return std::nullopt;
    out.columns = true;
    --out.axis;
  }
  const WindowAxis& along = of(axes[out.axis]);
  int64_t rows = 1;
  for (const WindowAxis& a : geometry.axes) rows *= a.window;
  rows /= along.window;
  const int64_t columns = out.columns ? axes.back().extent.value() : 1;
  out.most = ((out.columns ? kColumnElements : kLineElements) / columns - reach(along)) / along.stride;
  const Dim& outputs = axes[out.axis].extent;
  if (out.most < kFewestOutputs || (outputs.is_const() && outputs.value() < kFewestOutputs))
    return std::nullopt;
  // Operations for a vector of outputs: loads with what folds them, shuffles, stores.
  const bool strided = !out.columns && along.stride > 1;
  const int64_t load = !strided ? 1 : along.stride <= kMostPhases ? 2 * along.stride : kGather * lanes;
  const int64_t tap = !out.columns && !along.inside ? std::max(load, kGather * lanes) : load;
  const int64_t direct = rows * along.window * tap;
  out.cost =
      (rows + 1) * along.stride +
      (has_phases(along, out.columns) ? along.stride * (load + 1) + along.window : along.window * load);
  if (out.cost * 4 > direct * 3) return std::nullopt;
  return out;
}

std::vector<Stmt> fold_lines(ElementEmitter& emitter, const Node& root, const WindowGeometry& geometry,
                             const std::vector<NestAxis>& axes, const LineFolds& lines,
                             std::vector<Expr> coordinates, const AxisRange* rows, const AxisRange& range,
                             int lanes) {
  return LineFold(emitter, root, geometry, axes, lines, lanes).run(std::move(coordinates), rows, range);
}

}  // namespace tern::lower
