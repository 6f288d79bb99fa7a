#include "compiler/lower/split_rows.h"

#include <algorithm>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/read_ahead.h"
#include "compiler/lower/rows_nest.h"
#include "compiler/lower/streams.h"

namespace tern::lower {
namespace {

using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::Stmt;

constexpr int64_t kTileCost = int64_t{1} << 18;
constexpr int64_t kMostTiles = 32;        // that parts are made for
constexpr int64_t kLeastPartLength = 64;  // reduced elements of a part: what it leaves is small beside them
constexpr int64_t kLongChain = 8192;      // elements added one to the other before a sum is too far off
constexpr int64_t kSumsBytes = 16384;     // of a row of sums in L1
constexpr int64_t kLine = 64;
constexpr int64_t kLongPiece = 1024;  // bytes of a row that memory gives as fast as the whole row
constexpr size_t kMostPieces = 4;     // vectors of different lengths that make up a row

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
    const Dim flops = product(space_.shape) * Dim(element_flops_);
    if (!is_cut()) {
      dispatch(flops, [&](DispatchBuilder& d, Level level) { sums(d, level, nullptr); });
      return true;
    }
    const int parts = context_.add_temporary("parts of rows", sum_type(0), parts_ * row_count());
    dispatch(flops,
             [&](DispatchBuilder& d, Level level) { sums(d, level, d.bind(parts, kernel::Access::kWrite)); });
    dispatch(parts_ * row_count(), [&](DispatchBuilder& d, Level level) { totals(d, level, d.bind(parts)); });
    return true;
  }

 private:
  bool has_only_sums() const {
    const DType type = plan_.reductions[0]->result()->type.dtype;
    return plan_.reductions.size() == 1 && plan_.stored.empty() && !reduced_.empty() &&
           !product(space_.shape).is_const(0) && type != DType::kBool && dtype_bits(type) >= 8 &&
           !is_complex(type) &&
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

  // Columns whose sums are in L1 at once; where registers take only short pieces of rows, in L2.
  int64_t strip_width(Level level) const {
    const int64_t bytes = takes_long_pieces(level) ? kSumsBytes : machine(level).l2_bytes / 4;
    const int64_t most = (columns().is_const() ? bytes : kSumsBytes) / sum_bytes();
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
      const int64_t width = kSumsBytes / sum_bytes();
      units = rows / n * ((n + width - 1) / width);
    }
    units = std::max<int64_t>(units, 1);
    const int64_t wanted = std::min(all / kTileCost, kMostTiles);
    const int64_t most = std::min(extent, length / kLeastPartLength);
    const int64_t parts = std::min(wanted / units, most);
    const int64_t inner = std::max<int64_t>(length / extent, 1);
    if (parts >= 2) {
      chunk_ = (extent + parts - 1) / parts;
    } else if (lanes_are_rows_ && units < kMostTiles && may_exceed(reduced_[0].extent, kLongChain / inner)) {
      // Columns of a length that nobody knows: parts as large as a tile, of chains that are not too long.
      const int64_t tile = kTileCost * units / std::max<int64_t>(inner * rows * element_cost_, 1);
      chunk_ = std::max(std::min(tile, kLongChain / inner), (kLeastPartLength + inner - 1) / inner);
    } else {
      return;
    }
    if (reduced_.size() == 1 && !lanes_are_rows_) chunk_ = (chunk_ + kLine - 1) / kLine * kLine;
    parts_ = ceildiv(reduced_[0].extent, chunk_);
  }

  bool may_exceed(const Dim& extent, int64_t most) const {
    if (extent.is_const()) return false;
    const std::optional<Dim> bound = context_.upper_bound(extent);
    return !bound || !bound->is_const() || bound->value() > most;
  }

  void dispatch(const Dim& flops, const std::function<void(DispatchBuilder&, Level)>& variant) {
    DispatchBuilder builder(context_, region_);
    builder.set_flops(flops);
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
    const int lanes = nest_lanes(region_, level);
    const Way how = lanes_are_rows_ ? way(level, lanes) : Way::kAlongRows;
    const int full = lanes * machine(level).vector_registers / 2;
    if (lanes_are_rows_ && static_cast<size_t>(tiling.tiled) + 1 == axes.size()) {
      const int64_t width = how == Way::kFullRegisters ? full : strip_width(level);
      tiling.chunk = std::max<int64_t>((tiling.chunk + width - 1) / width, 1) * width;
      if (columns().is_const()) tiling.chunk = std::min(tiling.chunk, columns().value());
    }
    streams_ = 1;
    beside_ = how == Way::kStrips && !parts ? rows_beside(level, tiling) : 1;
    if (beside_ > 1 && !axes[static_cast<size_t>(tiling.tiled)].extent.is_const(tiling.chunk))
      tiling.chunk = (tiling.chunk + beside_ - 1) / beside_ * beside_;
    NestParts nest = build_nest(
        dispatch, axes, tiling, axes.size() - (lanes_are_rows_ ? 1 : 0),
        [&](std::vector<Expr> at, const std::vector<AxisRange>& ranges) -> std::vector<Stmt> {
          const Expr part = parts ? at[0] : nullptr;
          if (parts) at.erase(at.begin());
          const Row row{emitter, part, [&, part](const std::vector<Expr>& kept, const Expr& total) {
                          return stored(emitter, kept, part, parts, total);
                        }};
          Stmts out;
          if (how == Way::kAlongRows) return along_rows(row, at, level, lanes);
          if (how == Way::kRegisters) out = down_registers(row, at, ranges.back(), level, lanes);
          if (how == Way::kFullRegisters) out = down_full_registers(row, at, ranges.back(), full);
          return out.empty() ? down_strips(row, at, ranges.back(), level, lanes) : out;
        });
    constexpr const char* kWays[] = {"", ", sums of rows in registers", ", sums of columns in registers",
                                     ", sums of rows in L1"};
    const int streams = streams_ * beside_;
    dispatch.add_variant(
        level, std::move(nest.grid), in_streams(std::move(nest.body), beside_),
        fmt::format("rows of {}, {} lanes{}{}{}", row_length().text(), lanes, kWays[static_cast<int>(how)],
                    streams > 1 ? fmt::format(", in {} streams", streams) : "",
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
  Stmts reduced_loops(
      const Row& row, const std::function<Stmts(const std::vector<Expr>& at, const kernel::Var& last)>& body,
      const std::function<Stmts(const Stmt&)>& inner = [](const Stmt& loop) { return Stmts{loop}; }) {
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
  Stmts along_rows(const Row& row, const std::vector<Expr>& kept, Level level, int lanes) {
    constexpr int kSums = 4;
    const int streams = choose_streams(level, 1, int64_t{kSums} * lanes);
    const kernel::Var acc = kernel::make_var("acc", {sum_type(0), 1});
    Stmts out{kernel::declare(acc, sum_start(0))};
    append(out, reduced_loops(
                    row,
                    [&](const std::vector<Expr>& at, const kernel::Var& last) {
                      Stmts body;
                      const Expr sum =
                          with_element(row.emitter, 0, space_index(kept, at), kernel::var_expr(acc), body);
                      body.push_back(kernel::assign(acc, sum));
                      if (from_memory_ && streams == 1)
                        append(body, run_ahead(body, last, nullptr, 0, kNearBytesAhead));
                      return body;
                    },
                    [&](const Stmt& loop) { return in_streams(vector_loop(loop, lanes, kSums), streams); }));
    append(out, row.store(kept, kernel::var_expr(acc)));
    return out;
  }

  // Vectors of powers of two that make up n columns.
  static std::vector<int> pieces_of(int64_t n) {
    std::vector<int> out;
    for (int64_t piece = int64_t{1} << 30; piece > 0; piece /= 2) {
      if ((n & piece) != 0) out.push_back(static_cast<int>(piece));
    }
    return out;
  }

  static bool takes_long_pieces(Level level) {
    return machine(level).vector_registers / 2 * machine(level).vector_bits / 8 >= kLongPiece;
  }

  // How columns are summed: all in registers, registers full of them at a time, or in strips whose sums lie
  // in L1. Pieces of rows that are shorter than a KB come slowly from memory, and so do rows whose sums are
  // not in L1 (Zen 5: 24 MB in rows of 24 KB take 1.3 ms so, 0.9 in pieces of a KB; of 4 KB 1.0 and 1.2).
  enum class Way : uint8_t { kAlongRows, kRegisters, kFullRegisters, kStrips };
  Way way(Level level, int lanes) const {
    const int most = machine(level).vector_registers / 2;
    if (columns().is_const()) {
      const std::vector<int> pieces = pieces_of(columns().value());
      int registers = 0;
      for (const int piece : pieces) registers += (piece + lanes - 1) / lanes;
      if (pieces.size() <= kMostPieces && registers <= most) return Way::kRegisters;
    }
    const bool wide = context_.hint(columns()) * sum_bytes() > kSumsBytes;
    return wide && takes_long_pieces(level) ? Way::kFullRegisters : Way::kStrips;
  }

  // In how many places of the innermost reduced axis sums go on at once: rows of `width` columns each that
  // are added to the same sums, or (width 1) `step` elements of a row.
  int choose_streams(Level level, int64_t width, int64_t step) {
    streams_ = 1;
    if (!from_memory_ || !is_cheap() || beside_ > 1) return 1;
    const int64_t extent = context_.hint(reduced_.back().extent);
    const int64_t length = is_cut() && reduced_.size() == 1 ? std::min(chunk_, extent) : extent;
    return streams_ = streams_of(read_streams(region_, context_, level), length / step, width * step * 4);
  }

  // How many sums of columns, each down rows of its own, go on at once, so that each place is read for as
  // long as there are such rows (the middle one of three axes, 32 KB a sum: 27.3 to 29.2 GB/s).
  int rows_beside(Level level, const Tiling& tiling) const {
    const auto tiled = static_cast<size_t>(tiling.tiled);
    if (!from_memory_ || !is_cheap() || !lanes_are_rows_ || tiled + 1 >= kept_.size() ||
        !columns().is_const())
      return 1;
    const int most = read_streams(region_, context_, level);
    const int64_t n = columns().value();
    if (n > strip_width(level) || n * sum_bytes() * most > machine(level).l1_bytes / 2) return 1;
    int64_t bytes = context_.hint(row_length()) * 4;
    for (size_t a = tiled + 1; a < kept_.size(); ++a) bytes *= context_.hint(kept_[a].extent);
    return streams_of(most, tiling.chunk, bytes);
  }

  // A vector of sums for each piece of the columns; nothing where an index needs a check.
  Stmts down_registers(const Row& row, std::vector<Expr> kept, const AxisRange& range, Level level,
                       int lanes) {
    const kernel::Var column = kernel::make_var("i"), acc = kernel::make_var("acc", {sum_type(0), 1});
    const int64_t n = columns().value();
    const kernel::Buffer sums =
        kernel::make_buffer("sums", {sum_type(0), 1}, kernel::Scope::kStack, kernel::Access::kReadWrite, n);
    Stmts out{kernel::alloc(sums)}, stores;
    std::vector<kernel::Var> vectors;
    for (const int piece : pieces_of(n)) {
      vectors.push_back(kernel::make_var("acc", {sum_type(0), piece}));
      out.push_back(kernel::declare(vectors.back(), kernel::broadcast(sum_start(0), piece)));
    }
    bool checked = false;
    const int streams = choose_streams(level, n, 1);
    kept.back() = kernel::var_expr(column);
    append(out, reduced_loops(
                    row,
                    [&](const std::vector<Expr>& at, const kernel::Var& last) {
                      Stmts body;
                      const Expr sum =
                          with_element(row.emitter, 0, space_index(kept, at), kernel::var_expr(acc), body);
                      checked = !body.empty();
                      int64_t begin = 0;
                      for (const kernel::Var& v : vectors) {
                        const Expr wide =
                            kernel::vectorize(sum, column, v->type.lanes, {{acc.get(), kernel::var_expr(v)}});
                        body.push_back(
                            kernel::assign(v, kernel::substitute(wide, {{column.get(), int_const(begin)}})));
                        stores.push_back(kernel::store(sums, int_const(begin), kernel::var_expr(v)));
                        begin += v->type.lanes;
                      }
                      if (from_memory_ && streams == 1) {
                        for (const Stmt& s : ahead(row, {kernel::assign(acc, sum)}, column, last, n))
                          append(body, lines_of(s, column, n));
                      }
                      return body;
                    },
                    [&](const Stmt& loop) { return in_streams({loop}, streams); }));
    if (checked) return {};
    append(out, std::move(stores));
    append(out, columns_loop(kept, range, lanes, [&](const Expr& at, const kernel::Var&) {
             return row.store(kept, kernel::load(sums, at));
           }));
    return out;
  }

  // A prefetch at each line of n columns.
  static Stmts lines_of(const Stmt& prefetch, const kernel::Var& column, int64_t n) {
    const int64_t line = kLine * 8 / dtype_bits(prefetch->buffer->type.dtype);
    Stmts out;
    for (int64_t at = 0; at < n; at += line)
      out.push_back(kernel::prefetch(prefetch->buffer,
                                     kernel::substitute(prefetch->index, {{column.get(), int_const(at)}}),
                                     prefetch->code == 1));
    return out;
  }

  // A loop over columns of the part, f(column in the part, column).
  static Stmts columns_loop(std::vector<Expr>& kept, const AxisRange& part, int lanes,
                            const std::function<Stmts(const Expr&, const kernel::Var&)>& f) {
    const kernel::Var column = kernel::make_var("i");
    kept.back() = kernel::var_expr(column);
    Stmts body = f(kernel::sub(kernel::var_expr(column), part.begin), column);
    return vector_loop(loop_over(column, part, std::move(body)), lanes * unrolled(part, lanes));
  }

  // The part's rows pass by its sums, which lie in L1.
  Stmts strip(const Row& row, std::vector<Expr> kept, const AxisRange& part, int64_t width,
              const kernel::Buffer& sums, Level level, int lanes) {
    Stmts out = columns_loop(kept, part, lanes, [&](const Expr& at, const kernel::Var&) {
      return Stmts{kernel::store(sums, at, sum_start(0))};
    });
    const int streams = choose_streams(level, width, 1);
    append(out, reduced_loops(
                    row,
                    [&](const std::vector<Expr>& reduced, const kernel::Var& last) {
                      return columns_loop(kept, part, lanes, [&](const Expr& at, const kernel::Var& column) {
                        Stmts body;
                        const Expr sum = with_element(row.emitter, 0, space_index(kept, reduced),
                                                      kernel::load(sums, at), body);
                        body.push_back(kernel::store(sums, at, sum));
                        if (from_memory_ && streams * beside_ == 1)
                          append(body, ahead(row, body, column, last, width));
                        return body;
                      });
                    },
                    [&](const Stmt& loop) { return in_streams({loop}, streams); }));
    append(out, columns_loop(kept, part, lanes, [&](const Expr& at, const kernel::Var&) {
             return row.store(kept, kernel::load(sums, at));
           }));
    return out;
  }

  Stmts down_strips(const Row& row, const std::vector<Expr>& kept, const AxisRange& range, Level level,
                    int lanes) {
    const int64_t width = strip_width(level);
    const kernel::Buffer sums = kernel::make_buffer("sums", {sum_type(0), 1}, kernel::Scope::kScratch,
                                                    kernel::Access::kReadWrite, width);
    Stmts out{kernel::alloc(sums)};
    if (kernel::is_int(range.extent, width)) {
      append(out, strip(row, kept, range, width, sums, level, lanes));
      return out;
    }
    const kernel::Var number = kernel::make_var("strip");
    const Expr first = kernel::mul(kernel::var_expr(number), int_const(width));
    const AxisRange part{kernel::add(range.begin, first),
                         kernel::min(int_const(width), kernel::sub(range.extent, first))};
    const Expr strips = kernel::index_div(kernel::add(range.extent, int_const(width - 1)), int_const(width));
    out.push_back(kernel::loop(number, int_const(0), strips, kernel::LoopKind::kSerial,
                               strip(row, kept, part, width, sums, level, lanes)));
    return out;
  }

  // As many columns at a time as fill the registers: pieces of rows.
  Stmts down_full_registers(const Row& row, std::vector<Expr> kept, const AxisRange& range, int most) {
    const kernel::Var column = kernel::make_var("i"), acc = kernel::make_var("acc", {sum_type(0), 1});
    kept.back() = kernel::var_expr(column);
    Stmts out{kernel::declare(acc, sum_start(0))};
    append(
        out, reduced_loops(row, [&](const std::vector<Expr>& at, const kernel::Var& last) {
          Stmts body;
          const Expr sum = with_element(row.emitter, 0, space_index(kept, at), kernel::var_expr(acc), body);
          body.push_back(kernel::assign(acc, sum));
          if (from_memory_) {
            const Expr end = kernel::sub(row.emitter.dispatch().expr(reduced_.back().extent), int_const(1));
            append(body, read_ahead(body, {last, end, false, column, most, false}));
          }
          return body;
        }));
    append(out, row.store(kept, kernel::var_expr(acc)));
    return vector_loop(loop_over(column, range, std::move(out)), most);
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

  int streams_ = 1;
  int beside_ = 1;  // rows_beside, of the variant that is being written
  bool from_memory_ = false;
  Dim parts_ = 1;
  int64_t chunk_ = 0;  // of the outermost reduced axis
};

}  // namespace

bool lower_split_rows(const Region& region, LoweringContext& context) {
  return SplitRows(region, context).run_where_better();
}

}  // namespace tern::lower
