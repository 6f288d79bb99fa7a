#include "compiler/lower/rows_nest.h"

#include <algorithm>
#include <unordered_map>

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/jam.h"
#include "compiler/kernel/stagger.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/gpu/rows.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/read_ahead.h"
#include "compiler/lower/split_rows.h"
#include "compiler/lower/streams.h"

namespace tern::lower {
namespace {

using graph::Value;
using kernel::int_const;
using kernel::Stmt;

constexpr int64_t kScratchElements = 1 << 16;  // longest row kept in scratch
constexpr int kRowsAtOnce = 2;
// Rows whose stages run side by side: two vectors of each at a time, in tiles long enough for the first and
// last rows to be few.
constexpr int kStaggeredVectors = 2;
constexpr int64_t kLeastStaggered = 8;
constexpr int64_t kLongRowBytes = 65536;
constexpr int kLineBits = 512;
// A long sum whose terms come one by one is a sum of sums of so many: each term is rounded to the sum's last
// place, which is 64 where 640,000 terms of 2,000 have been added (means of pictures, decisions.md 88).
constexpr int64_t kLongSum = 4096, kPartOfSum = 1024;

// A tile computes whole rows. When the innermost memory axis is reduced, the row loops are vectorised; when
// it is kept, neighbouring rows are the lanes. Stored elements wait in scratch.
class CpuRows : public RowsNest {
 public:
  using RowsNest::RowsNest;

 private:
  void variant(DispatchBuilder& dispatch, Level level) override {
    staggered_ = true;
    if (may_stagger(level) && add_variant(dispatch, level)) return;
    staggered_ = false;
    add_variant(dispatch, level);
  }

  // False: the rows cannot be staggered, nothing has been added.
  bool add_variant(DispatchBuilder& dispatch, Level level) {
    ElementEmitter emitter(dispatch);
    int lanes = nest_lanes(region_, level);
    const bool from_memory = comes_from_memory(level, context_.hint(product(space_.shape)) * 4);
    const Dim length = row_length();
    Tiling tiling = choose_tiling(context_, kept_, context_.hint(length) * element_cost_);
    const size_t body_axes = kept_.size() - (lanes_are_rows_ ? 1 : 0);
    if (lanes_are_rows_ && plan_.reductions.size() == 1 && plan_.stored.empty()) {
      lanes *= neighbouring_vectors(lanes, from_memory && machine(level).vector_registers > 16 ? 16 : 8);
      const Dim& n = kept_.back().extent;
      if (static_cast<size_t>(tiling.tiled) + 1 == kept_.size() &&
          !(n.is_const() && tiling.chunk == n.value()))
        tiling.chunk = (tiling.chunk + lanes - 1) / lanes * lanes;
    }
    if (lanes_are_rows_ && (plan_.reductions.size() > 1 || !plan_.stored.empty()))
      lanes *= vectors_of_line(lanes);
    lanes_ = lanes;
    if (staggered_ && rows_in_turn(tiling) < kLeastStaggered) return false;
    const int ways = lanes_are_rows_ || staggered_ ? 1 : rows_at_once(level);
    const int streams = from_memory ? streams_of_rows(level, tiling) : 1, together = std::max(ways, streams);
    sums_ = staggered_ ? kStaggeredVectors : together > 1 && machine(level).vector_registers <= 16 ? 2 : 4;
    if (together > 1 && static_cast<size_t>(tiling.tiled) + 1 == kept_.size() &&
        !(kept_.back().extent.is_const() && tiling.chunk == kept_.back().extent.value()))
      tiling.chunk = (tiling.chunk + together - 1) / together * together;
    scratch_.clear();
    stored_.clear();
    std::vector<Stmt> allocs;
    if (length.is_const() && length.value() <= kScratchElements / (lanes_are_rows_ ? lanes : 1)) {
      for (const Value* v : plan_.stored) {
        stored_.insert(v);
        scratch_[v] = kernel::make_buffer("row", {v->type.dtype, 1}, kernel::Scope::kScratch,
                                          kernel::Access::kReadWrite, std::max<int64_t>(length.value(), 1));
        allocs.push_back(kernel::alloc(scratch_[v]));
      }
    }
    ahead_ = nullptr;
    loop_ = 0;
    next_rows_ = 0;
    narrow_ = machine(level).vector_bits < kLineBits;
    parts_of_row_ = from_memory && streams == 1 && row_is_long() ? streams_in_row(level) : 1;
    reads_on_ = from_memory && !lanes_are_rows_ && loops() == 1 && streams * parts_of_row_ == 1 &&
                (computes() || row_is_long() || machine(level).vector_bits < kLineBits);
    const int64_t row_bytes = context_.hint(length) * 4;
    if (from_memory && streams * parts_of_row_ == 1 && !lanes_are_rows_ && computes() && !kept_.empty() &&
        reduced_.size() == 1 && row_bytes <= machine(level).l2_bytes / 4)
      next_rows_ = std::max<int64_t>(kBytesAhead / std::max<int64_t>(row_bytes, 1), 1);
    NestParts parts = build_nest(
        dispatch, kept_, tiling, body_axes,
        [&](std::vector<Expr> coordinates, const std::vector<AxisRange>& ranges) -> std::vector<Stmt> {
          const kernel::Var v = kernel::make_var("i");
          if (lanes_are_rows_) coordinates.back() = kernel::var_expr(v);
          if (lanes_are_rows_ && from_memory) ahead_ = v;
          std::vector<Stmt> body = allocs;
          append(body, row(emitter, coordinates));
          if (!lanes_are_rows_) return body;
          return vector_loop(kernel::loop(v, ranges.back().begin, ranges.back().extent,
                                          kernel::LoopKind::kSerial, std::move(body)),
                             lanes);
        });
    if (staggered_) {
      std::optional<std::vector<Stmt>> staggered =
          staggered_rows(std::move(parts.body), body_axes - static_cast<size_t>(tiling.tiled));
      if (!staggered) return false;
      parts.body = std::move(*staggered);
    }
    if (ways > 1)
      parts.body = jammed(std::move(parts.body), body_axes - static_cast<size_t>(tiling.tiled), ways);
    parts.body = in_streams(std::move(parts.body), streams);
    dispatch.add_variant(
        level, std::move(parts.grid), std::move(parts.body),
        fmt::format("rows of {}, {} reductions, {} {} lanes, {} in scratch{}", length.text(),
                    plan_.reductions.size(), lanes, lanes_are_rows_ ? "row" : "element", scratch_.size(),
                    staggered_                    ? ", staggered"
                    : ways > 1                    ? fmt::format(", {} at once", ways)
                    : streams * parts_of_row_ > 1 ? fmt::format(", in {} streams", streams * parts_of_row_)
                                                  : ""));
    return true;
  }

  // Rows of several loops, as narrow vectors go through them: a Zen 3 is bound by what waits for a sum's end,
  // and has another row's loop to do then. Of the time of two rows at once: layer norm of 128 x 768 0.86, RMS
  // norm 0.74, softmax of 256 to 4096 columns 0.76 to 0.86, but of 128 1.0; from memory layer norm 0.87,
  // softmax 0.94. A layer norm of 2048 columns, whose rows do not fit L1 together, took 1.28.
  bool may_stagger(Level level) const {
    constexpr int64_t kLeastCostlyRow = 256;
    const Dim length = row_length();
    if (lanes_are_rows_ || loops() < 2 || kept_.empty() || reduced_.size() != 1 || !length.is_const() ||
        machine(level).read_streams < 2)
      return false;
    // Each loop's own row, what waits, and what is read again for every row.
    const auto is_long = [&](const Value* v) {
      return context_.hint(product(v->type.shape)) >= length.value();
    };
    const auto rows = static_cast<int64_t>(loops() + plan_.stored.size()) +
                      std::ranges::count_if(region_.inputs, is_long) - 1;
    const int64_t bytes = length.value() * 4 * rows;
    if (plan_.stored.empty()) return bytes <= machine(level).l1_bytes;
    return length.value() >= kLeastCostlyRow && bytes <= machine(level).l2_bytes / 4;
  }
  // How many rows follow each other in the innermost loop over rows.
  int64_t rows_in_turn(const Tiling& tiling) const {
    const auto tiled = static_cast<size_t>(tiling.tiled);
    if (tiled > kept_.size() || tiled == kept_.size()) return 0;
    return tiled + 1 == kept_.size() ? tiling.chunk : context_.hint(kept_.back().extent);
  }

  // `depth` loops around a row: the innermost one.
  static std::optional<std::vector<Stmt>> staggered_rows(std::vector<Stmt> body, size_t depth) {
    if (depth == 0 || body.size() != 1 || body[0]->kind != kernel::StmtKind::kFor) return std::nullopt;
    const Stmt& l = body[0];
    if (depth == 1) return kernel::stagger(l);
    std::optional<std::vector<Stmt>> inner = staggered_rows(l->body, depth - 1);
    if (!inner) return std::nullopt;
    return std::vector<Stmt>{kernel::loop(l->var, l->begin, l->extent, l->loop, std::move(*inner))};
  }

  // Rows that are read once and cost little more than that.
  int streams_of_rows(Level level, const Tiling& tiling) const {
    if (lanes_are_rows_ || loops() > 1 || !is_cheap() || kept_.empty()) return 1;
    int64_t bytes = context_.hint(row_length()) * 4;
    for (size_t a = static_cast<size_t>(tiling.tiled) + 1; a < kept_.size(); ++a)
      bytes *= context_.hint(kept_[a].extent);
    return streams_of(read_streams(region_, context_, level), tiling.chunk, bytes);
  }
  // The same where a tile has few of them, each long.
  int streams_in_row(Level level) const {
    if (lanes_are_rows_ || loops() > 1 || !is_cheap()) return 1;
    const int64_t step = int64_t{lanes_} * sums_;
    return streams_of(read_streams(region_, context_, level), context_.hint(reduced_.back().extent) / step,
                      step * 4);
  }

  // Short rows wait for their own sums; another one beside them has something to do then. All their passes
  // find them in L1. From memory one row after the other is faster (softmax by a quarter).
  int rows_at_once(Level level) const {
    const Dim length = row_length();
    if (plan_.reductions.size() < 2 || comes_from_memory(level, context_.hint(product(space_.shape)) * 4))
      return 1;
    if (kept_.empty() || !length.is_const() || context_.hint(kept_.back().extent) < kRowsAtOnce) return 1;
    const int64_t bytes = length.value() * 4 * static_cast<int64_t>(1 + plan_.stored.size());
    return bytes * kRowsAtOnce <= machine(level).l1_bytes / 2 ? kRowsAtOnce : 1;
  }

  // `depth` loops around a row: the innermost one takes several rows at once.
  static std::vector<Stmt> jammed(std::vector<Stmt> body, size_t depth, int ways) {
    if (depth == 0) return body;
    const Stmt& l = body[0];
    if (depth == 1) return kernel::jam(l, ways);
    return {kernel::loop(l->var, l->begin, l->extent, l->loop, jammed(l->body, depth - 1, ways))};
  }

  // How many vectors of rows go down side by side, each with its own sums: memory is read in runs that are
  // worth it.
  int neighbouring_vectors(int lanes, int most) const {
    const Dim& n = kept_.back().extent;
    if (!n.is_const()) return 2;
    for (const int vectors : {16, 8, 4}) {
      if (vectors > most) continue;
      const int64_t width = int64_t{vectors} * lanes;
      if (is_cheap() && (n.value() % width == 0 || n.value() >= 4 * width)) return vectors;
    }
    return n.value() >= 4 * lanes ? 2 : 1;
  }

  // Several loops over elements that lie whole rows apart: lanes that are a line take each line from memory,
  // or from L2, once a loop.
  int vectors_of_line(int lanes) const {
    constexpr int kBits = 512;
    const Dim& n = kept_.back().extent;
    const int vectors = kBits / (lanes * dtype_bits(region_.root->operand()->type.dtype));
    return vectors > 1 && n.is_const() && n.value() >= 2 * int64_t{vectors} * lanes ? vectors : 1;
  }

  Stmts fold_loop(ElementEmitter& emitter, const std::vector<Expr>& kept, kernel::ScalarOp op,
                  const kernel::Var& acc, const FoldElement& body) override {
    const DType type = acc->type.dtype;
    if (!lanes_are_rows_ || op != kernel::ScalarOp::kAdd || !is_float(type) || reduced_.empty() ||
        (row_length().is_const() && row_length().value() <= kLongSum))
      return RowsNest::fold_loop(emitter, kept, op, acc, body);
    const kernel::Var part = kernel::make_var("part", {type, 1});
    in_parts_ = [&](Stmts loop) {
      Stmts out;
      out.push_back(kernel::declare(part, kernel::scalar_const(kernel::reduction_identity(op, type))));
      append(out, std::move(loop));
      out.push_back(kernel::assign(acc, kernel::add(kernel::var_expr(acc), kernel::var_expr(part))));
      return out;
    };
    Stmts loop = row_loop(emitter, kept,
                          [&](const Index& at, const Expr& position) { return body(part, at, position); });
    in_parts_ = nullptr;
    return loop;
  }

  // The loop over one axis in parts of `most` iterations.
  Stmts loop_in_parts(ElementEmitter& emitter, const kernel::Var& v, const Dim& extent, int64_t most,
                      Stmts body) const {
    const kernel::Var part = kernel::make_var("p");
    const Expr begin = kernel::mul(kernel::var_expr(part), int_const(most));
    const Expr rest = kernel::sub(emitter.dispatch().expr(extent), begin);
    const bool even = extent.is_const() && extent.value() % most == 0;
    const Expr count = even ? int_const(most) : kernel::op(kernel::ScalarOp::kMin, {rest, int_const(most)});
    Stmts inner = {kernel::loop(v, begin, count, kernel::LoopKind::kSerial, std::move(body))};
    return {kernel::loop(part, int_const(0), emitter.dispatch().expr(ceildiv(extent, Dim(most))),
                         kernel::LoopKind::kSerial, in_parts_(std::move(inner)))};
  }

  Stmts row_loop(ElementEmitter& emitter, const std::vector<Expr>& kept,
                 const std::function<Stmts(const Index&, const Expr&)>& body) override {
    std::vector<kernel::Var> vars;
    std::vector<Expr> at;
    Expr position = int_const(0);
    for (const NestAxis& a : reduced_) {
      vars.push_back(kernel::make_var(fmt::format("r{}", vars.size())));
      at.push_back(kernel::var_expr(vars.back()));
      position = at.size() == 1
                     ? at.back()
                     : kernel::add(kernel::mul(position, emitter.dispatch().expr(a.extent)), at.back());
    }
    std::vector<Stmt> inner = body(space_index(kept, at), position);
    Stmts ahead;
    if (reads_on_) ahead = read_on(inner, kept, vars.back());
    if (next_rows_ > 0 && ahead.empty()) ahead = read_next_rows(inner, kept.back(), at.back());
    append(inner, std::move(ahead));
    if (ahead_ && !reduced_.empty()) {
      const Expr last = kernel::sub(emitter.dispatch().expr(reduced_.back().extent), int_const(1));
      append(inner, read_ahead(inner, {vars.back(), last, false, ahead_, lanes_, false}));
    }
    int64_t inside = 1;  // iterations of the loops so far
    bool parted = !in_parts_;
    for (size_t a = reduced_.size(); a-- > 0;) {
      const int64_t count = context_.hint(reduced_[a].extent);
      const bool open = !reduced_[a].extent.is_const();  // as long as it likes, whatever its usual size
      if (!parted && (a == 0 || open || inside * count >= kPartOfSum)) {
        parted = true;
        const int64_t most = std::max<int64_t>(kPartOfSum / inside, 1);
        inner = loop_in_parts(emitter, vars[a], reduced_[a].extent, most, std::move(inner));
        continue;
      }
      inside *= count;
      const Stmt loop = kernel::loop(vars[a], int_const(0), emitter.dispatch().expr(reduced_[a].extent),
                                     kernel::LoopKind::kSerial, std::move(inner));
      const bool vector = a + 1 == reduced_.size() && !lanes_are_rows_;
      inner = vector ? in_streams(vector_loop(loop, lanes_, sums_), parts_of_row_) : std::vector<Stmt>{loop};
      if (vector && staggered_) inner = side_by_side(std::move(inner));
    }
    return inner;
  }

  // Loops over single vectors (nothing is added up) take as many at once as the others.
  Stmts side_by_side(Stmts body) const {
    const int64_t vectors = row_length().value() / lanes_;
    Stmts out;
    for (Stmt& s : body) {
      if (s->kind == kernel::StmtKind::kFor && kernel::is_int(s->extent, vectors) && vectors >= sums_) {
        append(out, kernel::jam(s, sums_));
      } else {
        out.push_back(std::move(s));
      }
    }
    return out;
  }

  // A row's loops: one a reduction, and one for what is as large as the rows.
  size_t loops() const {
    const bool full = std::any_of(region_.outputs.begin(), region_.outputs.end(),
                                  [&](const Value* v) { return !plan_.is_row_value(v); });
    return plan_.reductions.size() + (full ? 1 : 0);
  }

  // Whether a row's loops do more than add up what they load, which the processor's own prefetching follows
  // (a maximum 1.1 times as fast read ahead, a sum of whole lines 0.97, of halves or of lines that vectors
  // straddle 1.05 to 1.15).
  bool computes() const {
    constexpr int64_t kLoad = 2;
    return loops() > 1 || element_cost_ > kLoad || plan_.reductions[0]->scalar_op() != scalar::ScalarOp::kAdd;
  }

  bool row_is_long() const {
    return !reduced_.empty() && context_.hint(reduced_.back().extent) * 4 >= kLongRowBytes;
  }

  static bool is_costly(const Stmts& body) {
    bool found = false;
    kernel::visit(body, [&](const Stmt& s) {
      kernel::visit_exprs(s, [&](const Expr& root) {
        kernel::visit(root, [&](const Expr& e) {
          found |= (e->kind == kernel::ExprKind::kOp && scalar::info(e->op).expensive) ||
                   (e->kind == kernel::ExprKind::kIntrinsic && e->intrinsic == kernel::Intrinsic::kExpBelow);
        });
      });
    });
    return found;
  }

  // A single loop over rows that follow each other, or that are long: memory is read from one end to the
  // other.
  Stmts read_on(const Stmts& body, const std::vector<Expr>& kept, const kernel::Var& element) {
    const Dim length = row_length();
    const bool is_long = row_is_long();
    if (!is_long && (kept.empty() || !length.is_const())) return {};
    return run_ahead(body, element, is_long ? nullptr : kept.back()->var, is_long ? 0 : length.value(),
                     kNearBytesAhead);
  }

  // Only a row's first loop asks memory for something, which would rest during the others: the last one asks
  // for what the first one reads some rows later; with narrow vectors the one that computes exponentials, if
  // any, which takes longest (Zen 3: softmax 18.9 to 14.9 ms).
  Stmts read_next_rows(const Stmts& body, const Expr& row, const Expr& element) {
    if (loop_ == 0) {
      first_ = {body, element};
      asked_ = false;
    }
    const bool last = ++loop_ == loops();
    if (last) loop_ = 0;
    if (asked_ || !(last || (narrow_ && is_costly(body)))) return {};
    asked_ = true;
    Stmts out;
    std::vector<Expr> seen;
    const Expr later = kernel::add(row, int_const(next_rows_));
    kernel::visit(first_.body, [&](const Stmt& s) {
      kernel::visit_exprs(s, [&](const Expr& root) {
        kernel::visit(root, [&](const Expr& e) {
          if (e->kind != kernel::ExprKind::kLoad || e->buffer->scope != kernel::Scope::kGlobal ||
              e->args.size() > 1 || kernel::contains_load(e->args[0]) ||
              !kernel::uses_var(e->args[0], row->var.get()) ||
              !kernel::uses_var(e->args[0], first_.element->var.get()))
            return;
          for (const Expr& other : seen) {
            if (kernel::equal(other, e)) return;
          }
          seen.push_back(e);
          out.push_back(kernel::prefetch(
              e->buffer,
              kernel::substitute(e->args[0], {{row->var.get(), later}, {first_.element->var.get(), element}}),
              true));
        });
      });
    });
    return out;
  }

  bool quick_softmax() const override { return true; }
  Stmt keep(const Value* value, const Expr& position, Expr element) override {
    return kernel::store(scratch_.at(value), position, std::move(element));
  }
  Expr kept_element(const Value* value, const Expr& position) override {
    return kernel::load(scratch_.at(value), position);
  }

  int lanes_ = 1, sums_ = 4;
  struct FirstLoop {
    Stmts body;
    Expr element;
  };
  bool staggered_ = false;  // stages of neighbouring rows run side by side
  bool reads_on_ = false;
  int parts_of_row_ = 1;   // that are read side by side
  bool narrow_ = false;    // vectors are less than a line
  bool asked_ = false;     // this row has a loop that reads ahead
  size_t loop_ = 0;        // of the row
  int64_t next_rows_ = 0;  // how far ahead the last loop reads; 0: it does not
  FirstLoop first_;
  std::function<Stmts(Stmts)> in_parts_;  // around each part of a long sum; empty: it has none
  kernel::Var ahead_;                     // lanes that are rows, whose elements come from memory
  std::unordered_map<const Value*, kernel::Buffer> scratch_;
};

}  // namespace

DType accumulator_type(DType dtype) {
  return is_float(dtype) && dtype_bits(dtype) < 32 ? DType::kF32 : dtype;
}

void lower_rows(const Region& region, LoweringContext& context) {
  if (is_gpu(context.target().arch)) return gpu::lower_rows(region, context);
  if (!lower_split_rows(region, context)) CpuRows(region, context).run();
}

}  // namespace tern::lower
