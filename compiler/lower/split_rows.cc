#include "compiler/lower/split_rows.h"

#include <algorithm>
#include <bit>

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/read_ahead.h"
#include "compiler/lower/rows_nest.h"

namespace tern::lower {
namespace {

using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::Stmt;

constexpr int64_t kTileCost = int64_t{1} << 18;
constexpr int64_t kMostTiles = 32;        // that parts are made for
constexpr int64_t kLeastPartLength = 64;  // reduced elements of a part: what it leaves is small beside them
constexpr int64_t kSumsBytes = 16384;     // of a row of sums in L1
constexpr int64_t kLine = 64;

class SplitRows : public RowsNest {
 public:
  using RowsNest::RowsNest;

  bool run_where_better() {
    prepare();
    if (!has_only_sums()) return false;
    from_memory_ =
        comes_from_memory(context_.target().levels.front(), context_.hint(product(space_.shape)) * 4);
    choose_parts();
    if (!is_cut() && !(lanes_are_rows_ && from_memory_)) return false;
    if (!is_cut()) {
      dispatch([&](DispatchBuilder& d, Level level) { sums(d, level, nullptr); });
      return true;
    }
    const int parts = context_.add_temporary("parts of rows", sum_type(0), parts_ * row_count());
    dispatch([&](DispatchBuilder& d, Level level) { sums(d, level, d.bind(parts, kernel::Access::kWrite)); });
    dispatch([&](DispatchBuilder& d, Level level) { totals(d, level, d.bind(parts)); });
    return true;
  }

 private:
  bool has_only_sums() const {
    const DType type = plan_.reductions[0]->result()->type.dtype;
    return plan_.reductions.size() == 1 && plan_.stored.empty() && !reduced_.empty() &&
           type != DType::kBool && dtype_bits(type) >= 8 && !is_complex(type) &&
           std::all_of(region_.outputs.begin(), region_.outputs.end(),
                       [&](const Value* v) { return plan_.is_row_value(v); });
  }

  bool is_cut() const { return !parts_.is_const(1); }
  Dim row_count() const {
    Dim n = 1;
    for (const NestAxis& a : kept_) n = n * a.extent;
    return n;
  }
  int sum_bytes() const { return dtype_bits(sum_type(0)) / 8; }
  const Dim& columns() const { return kept_.back().extent; }

  // Columns whose sums are in L1 at once.
  int64_t strip() const {
    const int64_t most = kSumsBytes / sum_bytes();
    if (!columns().is_const()) return most;
    const int64_t n = std::max<int64_t>(columns().value(), 1);
    if (n <= most) return n;
    const int64_t pieces = (n + most - 1) / most, even = (n + pieces - 1) / pieces;
    return (even + kLine - 1) / kLine * kLine;
  }

  // As many parts as make tiles for all cores, where the kept elements alone make few.
  void choose_parts() {
    const int64_t length = context_.hint(row_length()), rows = context_.hint(row_count());
    const int64_t extent = context_.hint(reduced_[0].extent);
    const int64_t all = length * rows * element_cost_;
    int64_t units = rows;
    if (lanes_are_rows_) {
      const int64_t n = std::max<int64_t>(context_.hint(columns()), 1);
      units = rows / n * ((n + strip() - 1) / strip());
    }
    const int64_t wanted = std::min(all / kTileCost, kMostTiles);
    const int64_t most = std::min(extent, length / kLeastPartLength);
    const int64_t parts = std::min(wanted / std::max<int64_t>(units, 1), most);
    if (parts < 2) return;
    chunk_ = (extent + parts - 1) / parts;
    if (reduced_.size() == 1 && !lanes_are_rows_) chunk_ = (chunk_ + kLine - 1) / kLine * kLine;
    parts_ = ceildiv(reduced_[0].extent, chunk_);
  }

  void dispatch(const std::function<void(DispatchBuilder&, Level)>& variant) {
    DispatchBuilder builder(context_, region_);
    builder.set_flops(product(space_.shape) * Dim(element_flops_));
    for (const Level level : variant_levels(context_.target(), Covers::kFolds)) variant(builder, level);
    builder.finish();
  }

  // Sums of rows, or of their parts into `parts`.
  void sums(DispatchBuilder& dispatch, Level level, const kernel::Buffer& parts) {
    ElementEmitter emitter(dispatch);
    std::vector<NestAxis> axes = kept_;
    if (parts) axes.insert(axes.begin(), NestAxis{{}, parts_});
    const int64_t length =
        parts ? chunk_ * context_.hint(row_length()) / std::max<int64_t>(context_.hint(reduced_[0].extent), 1)
              : context_.hint(row_length());
    Tiling tiling = choose_tiling(context_, axes, length * element_cost_, kTileCost);
    if (lanes_are_rows_ && static_cast<size_t>(tiling.tiled) + 1 == axes.size()) {
      tiling.chunk = std::max<int64_t>((tiling.chunk + strip() - 1) / strip(), 1) * strip();
      if (columns().is_const()) tiling.chunk = std::min(tiling.chunk, columns().value());
    }
    const int lanes = nest_lanes(region_, level);
    const bool in_registers = lanes_are_rows_ && fits_registers(level, lanes);
    NestParts nest = build_nest(
        dispatch, axes, tiling, axes.size() - (lanes_are_rows_ ? 1 : 0),
        [&](std::vector<Expr> at, const std::vector<AxisRange>& ranges) -> std::vector<Stmt> {
          const Expr part = parts ? at[0] : nullptr;
          if (parts) at.erase(at.begin());
          const Row row{emitter, part, [&, part](const std::vector<Expr>& kept, const Expr& total) {
                          return stored(emitter, kept, part, parts, total);
                        }};
          if (!lanes_are_rows_) return along_rows(row, at, lanes);
          return in_registers ? down_registers(row, at, ranges.back())
                              : down_strips(row, at, ranges.back(), lanes);
        });
    dispatch.add_variant(level, std::move(nest.grid), std::move(nest.body),
                         fmt::format("rows of {}, {} lanes{}{}", row_length().text(), lanes,
                                     !lanes_are_rows_ ? ""
                                     : in_registers   ? ", sums of rows in registers"
                                                      : ", sums of rows in L1",
                                     parts ? fmt::format(", {} parts", parts_.text()) : ""));
  }

  struct Row {
    ElementEmitter& emitter;
    Expr part;  // or null
    std::function<Stmts(const std::vector<Expr>& kept, const Expr& total)> store;
  };

  Stmts stored(ElementEmitter& emitter, const std::vector<Expr>& kept, const Expr& part,
               const kernel::Buffer& parts, const Expr& total) {
    if (!parts) return finished(emitter, kept, total);
    return {kernel::store(parts, part_index(emitter, kept, part), total)};
  }

  Expr part_index(ElementEmitter& emitter, const std::vector<Expr>& kept, const Expr& part) const {
    Expr at = part;
    for (size_t a = 0; a < kept_.size(); ++a)
      at = kernel::add(kernel::mul(at, emitter.dispatch().expr(kept_[a].extent)), kept[a]);
    return at;
  }

  // Loops over the reduced axes, of which the last one is given to `inner`.
  Stmts reduced_loops(const Row& row,
                      const std::function<Stmts(const std::vector<Expr>& at, const kernel::Var& last)>& body,
                      const std::function<Stmts(const Stmt&)>& inner) {
    std::vector<kernel::Var> vars;
    std::vector<Expr> at;
    for (size_t a = 0; a < reduced_.size(); ++a) {
      vars.push_back(kernel::make_var(fmt::format("r{}", a)));
      at.push_back(kernel::var_expr(vars.back()));
    }
    Stmts out = body(at, vars.back());
    for (size_t a = reduced_.size(); a-- > 0;) {
      Expr begin = int_const(0), extent = row.emitter.dispatch().expr(reduced_[a].extent);
      if (a == 0 && row.part) {
        begin = kernel::mul(row.part, int_const(chunk_));
        extent = kernel::min(int_const(chunk_), kernel::sub(extent, begin));
      }
      const Stmt loop = kernel::loop(vars[a], begin, extent, kernel::LoopKind::kSerial, std::move(out));
      out = a + 1 == reduced_.size() ? inner(loop) : Stmts{loop};
    }
    return out;
  }

  // Lanes along the row.
  Stmts along_rows(const Row& row, const std::vector<Expr>& kept, int lanes) {
    const kernel::Var acc = kernel::make_var("acc", {sum_type(0), 1});
    Stmts out{kernel::declare(acc, sum_start(0))};
    append(out, reduced_loops(
                    row,
                    [&](const std::vector<Expr>& at, const kernel::Var& last) {
                      Stmts body;
                      const Expr sum =
                          with_element(row.emitter, 0, space_index(kept, at), kernel::var_expr(acc), body);
                      body.push_back(kernel::assign(acc, sum));
                      if (from_memory_) append(body, run_ahead(body, last, nullptr, 0, kNearBytesAhead));
                      return body;
                    },
                    [&](const Stmt& loop) { return vector_loop(loop, lanes, 4); }));
    append(out, row.store(kept, kernel::var_expr(acc)));
    return out;
  }

  bool fits_registers(Level level, int lanes) const {
    if (!columns().is_const()) return false;
    const int64_t n = columns().value();
    return n >= lanes && std::has_single_bit(static_cast<uint64_t>(n)) &&
           n / lanes <= machine(level).vector_registers / 2;
  }

  // All columns are the lanes of one vector of sums.
  Stmts down_registers(const Row& row, std::vector<Expr> kept, const AxisRange& range) {
    const kernel::Var column = kernel::make_var("i"), acc = kernel::make_var("acc", {sum_type(0), 1});
    kept.back() = kernel::var_expr(column);
    Stmts out{kernel::declare(acc, sum_start(0))};
    append(out, reduced_loops(
                    row,
                    [&](const std::vector<Expr>& at, const kernel::Var& last) {
                      Stmts body;
                      const Expr sum =
                          with_element(row.emitter, 0, space_index(kept, at), kernel::var_expr(acc), body);
                      body.push_back(kernel::assign(acc, sum));
                      if (from_memory_) append(body, ahead(row, body, column, last, columns().value()));
                      return body;
                    },
                    [](const Stmt& loop) { return Stmts{loop}; }));
    append(out, row.store(kept, kernel::var_expr(acc)));
    return vector_loop(loop_over(column, range, std::move(out)), static_cast<int>(columns().value()));
  }

  // Columns in strips, whose sums lie in L1 while the rows pass by.
  Stmts down_strips(const Row& row, std::vector<Expr> kept, const AxisRange& range, int lanes) {
    const int64_t width = strip();
    const kernel::Buffer sums = kernel::make_buffer("sums", {sum_type(0), 1}, kernel::Scope::kScratch,
                                                    kernel::Access::kReadWrite, width);
    const auto columns_loop = [&](const AxisRange& part,
                                  const std::function<Stmts(const Expr&, const kernel::Var&)>& f) {
      const kernel::Var column = kernel::make_var("i");
      kept.back() = kernel::var_expr(column);
      Stmts body = f(kernel::sub(kernel::var_expr(column), part.begin), column);
      return vector_loop(loop_over(column, part, std::move(body)), lanes * unrolled(part, lanes));
    };
    const auto one_strip = [&](const AxisRange& part) {
      Stmts out = columns_loop(part, [&](const Expr& at, const kernel::Var&) {
        return Stmts{kernel::store(sums, at, sum_start(0))};
      });
      append(out, reduced_loops(
                      row,
                      [&](const std::vector<Expr>& reduced, const kernel::Var& last) {
                        return columns_loop(part, [&](const Expr& at, const kernel::Var& column) {
                          Stmts body;
                          const Expr sum = with_element(row.emitter, 0, space_index(kept, reduced),
                                                        kernel::load(sums, at), body);
                          body.push_back(kernel::store(sums, at, sum));
                          if (from_memory_) append(body, ahead(row, body, column, last, width));
                          return body;
                        });
                      },
                      [](const Stmt& loop) { return Stmts{loop}; }));
      append(out, columns_loop(part, [&](const Expr& at, const kernel::Var&) {
               return row.store(kept, kernel::load(sums, at));
             }));
      return out;
    };
    Stmts out{kernel::alloc(sums)};
    if (kernel::is_int(range.extent, width)) {
      append(out, one_strip(range));
      return out;
    }
    const kernel::Var number = kernel::make_var("strip");
    const Expr first = kernel::mul(kernel::var_expr(number), int_const(width));
    const AxisRange part{kernel::add(range.begin, first),
                         kernel::min(int_const(width), kernel::sub(range.extent, first))};
    const Expr strips = kernel::index_div(kernel::add(range.extent, int_const(width - 1)), int_const(width));
    out.push_back(kernel::loop(number, int_const(0), strips, kernel::LoopKind::kSerial, one_strip(part)));
    return out;
  }

  // Vectors of an iteration.
  static int unrolled(const AxisRange& part, int lanes) {
    const std::optional<int64_t> n = kernel::int_value(part.extent);
    for (const int vectors : {4, 2}) {
      const int64_t width = int64_t{vectors} * lanes;
      if (n && (*n % width == 0 || *n >= 4 * width)) return vectors;
    }
    return 1;
  }

  static Stmt loop_over(const kernel::Var& v, const AxisRange& range, Stmts body) {
    return kernel::loop(v, range.begin, range.extent, kernel::LoopKind::kSerial, std::move(body));
  }

  // Prefetches of what the loop reads some KB later: on its way through rows that follow each other, else of
  // the next row.
  Stmts ahead(const Row& row, const Stmts& body, const kernel::Var& column, const kernel::Var& last,
              int64_t elements) const {
    Stmts out = run_ahead(body, column, last, elements, kNearBytesAhead);
    if (!out.empty()) return out;
    const Expr end = kernel::sub(row.emitter.dispatch().expr(reduced_.back().extent), int_const(1));
    return read_ahead(body, {last, end, false, column, elements, true});
  }

  // The parts of each row together.
  void totals(DispatchBuilder& dispatch, Level level, const kernel::Buffer& parts) {
    ElementEmitter emitter(dispatch);
    const Tiling tiling = choose_tiling(context_, kept_, 2 * context_.hint(parts_));
    const int lanes = nest_lanes(region_, level);
    const kernel::ScalarOp op = plan_.reductions[0]->scalar_op();
    NestParts nest = build_nest(
        dispatch, kept_, tiling, kept_.empty() ? 0 : kept_.size() - 1,
        [&](std::vector<Expr> kept, const std::vector<AxisRange>& ranges) -> std::vector<Stmt> {
          const kernel::Var column = kernel::make_var("i"), part = kernel::make_var("part"),
                            acc = kernel::make_var("acc", {sum_type(0), 1});
          if (!kept.empty()) kept.back() = kernel::var_expr(column);
          const Expr x = kernel::load(parts, part_index(emitter, kept, kernel::var_expr(part)));
          Stmts out{kernel::declare(acc, sum_start(0)),
                    kernel::loop(part, int_const(0), dispatch.expr(parts_), kernel::LoopKind::kSerial,
                                 {kernel::assign(acc, kernel::op(op, {x, kernel::var_expr(acc)}))})};
          append(out, finished(emitter, kept, kernel::var_expr(acc)));
          if (kept.empty()) return out;
          return vector_loop(loop_over(column, ranges.back(), std::move(out)), lanes);
        });
    dispatch.add_variant(level, std::move(nest.grid), std::move(nest.body),
                         fmt::format("totals of {} parts, {} lanes", parts_.text(), lanes));
  }

  void variant(DispatchBuilder&, Level) override { TERN_UNREACHABLE("its dispatches are made one by one"); }
  Stmts row_loop(ElementEmitter&, const std::vector<Expr>&,
                 const std::function<Stmts(const Index&, const Expr&)>&) override {
    TERN_UNREACHABLE("no loop for elements of rows");
  }
  Stmt keep(const Value*, const Expr&, Expr) override { TERN_UNREACHABLE("nothing is kept"); }
  Expr kept_element(const Value*, const Expr&) override { TERN_UNREACHABLE("nothing is kept"); }

  bool from_memory_ = false;
  Dim parts_ = 1;
  int64_t chunk_ = 0;  // of the outermost reduced axis
};

}  // namespace

bool lower_split_rows(const Region& region, LoweringContext& context) {
  return SplitRows(region, context).run_where_better();
}

}  // namespace tern::lower
