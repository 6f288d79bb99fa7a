#include "compiler/lower/attention_tiles.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/turned_squares.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using kernel::VType;
using Stmts = std::vector<Stmt>;

// A loop over neighbours, in vectors where it can be.
Stmts in_vectors(const char* name, const Expr& extent, int lanes,
                 const std::function<void(LoopWriter&, const Expr&)>& body) {
  const Var v = kernel::make_var(name);
  LoopWriter inner;
  body(inner, var_expr(v));
  const Stmt loop = kernel::loop(v, int_const(0), extent, kernel::LoopKind::kSerial, inner.take());
  return kernel::why_not_vectorizable(loop).empty() ? kernel::vectorize_loop(loop, lanes) : Stmts{loop};
}

// One product of a register tile: what its rows and vectors are is behind functions of their numbers.
struct TileProduct {
  Buffer a;
  std::function<Expr(int i)> a_row;                // where row i of `a` begins
  std::function<Expr(int j, const Expr& step)> b;  // vector j of a step
  std::function<Expr(int i, int j)> initial;       // null: zero
  std::function<void(LoopWriter&, int i, int j, const Expr& value)> finish;
  Expr steps;
};

class Builder {
 public:
  Builder(const AttentionExtents& e, const AttentionTiles& t, bool has_fma, const AttentionOperands& o,
          kernel::ParamTable& params)
      : e_(e), t_(t), has_fma_(has_fma), o_(o), params_(params) {
    queries_ = params.expr(e.queries);
    keys_ = params.expr(e.keys);
    one_block_ = e.keys.is_const() && e.keys.value() <= t.block_keys;
    group_ = int64_t{t.score_vectors} * t.lanes;
    pitch_ = round_up(t.block_keys, group_) + t.lanes;  // no power of two between rows
    const bool all_few = e.queries.is_const() && e.queries.value() <= t.few_queries;
    dots_ = o.k_along_depth && t.few_queries > 0;
    tiles_ = !(dots_ && all_few);
  }

  AttentionTilesKernel build(const kernel::GridAxis& batch) {
    AttentionTilesKernel out;
    if (batch.var) out.grid.push_back(batch);
    const Var block = kernel::make_var("query_block");
    const Dim blocks = ceildiv(e_.queries, t_.block_queries);
    out.grid.push_back({block, blocks, params_.expr(blocks)});
    LoopWriter w;
    m0_ = w.let("m0", kernel::mul(var_expr(block), int_const(t_.block_queries)));
    rows_ = w.let("rows", clipped(t_.block_queries, m0_, e_.queries, queries_));
    allocate(w);
    w.loop("i", rows_, [&](Expr i) { begin_row(w, i); });
    if (one_block_) {
      block_of_keys(w, int_const(0));
    } else {
      w.loop("key_block", blocks_of_keys(),
             [&](Expr at) { block_of_keys(w, w.let("n0", kernel::mul(at, int_const(t_.block_keys)))); });
      w.loop("i", rows_, [&](Expr i) { finish_row(w, i); });
    }
    out.body = w.take();
    return out;
  }

 private:
  Expr blocks_of_keys() const {
    if (!e_.reach) return params_.expr(ceildiv(e_.keys, t_.block_keys));
    const Expr behind = kernel::add(kernel::add(m0_, rows_), params_.expr(*e_.reach));
    const Expr seen = kernel::min(kernel::max(behind, int_const(1)), keys_);
    return kernel::index_div(kernel::add(seen, int_const(t_.block_keys - 1)), int_const(t_.block_keys));
  }
  static Expr clipped(int64_t block, const Expr& start, const Dim& extent, const Expr& extent_expr) {
    if (extent.is_const() && extent.value() % block == 0) return int_const(block);
    return kernel::min(int_const(block), kernel::sub(extent_expr, start));
  }
  static Expr at(const Expr& row, int64_t pitch, const Expr& column) {
    return kernel::add(kernel::mul(row, int_const(pitch)), column);
  }
  static void extend(LoopWriter& w, Stmts statements) {
    for (Stmt& s : statements) w.emit(std::move(s));
  }
  Buffer scratch(LoopWriter& w, const char* name, int64_t elements) const {
    const Buffer b =
        kernel::make_buffer(name, {DType::kF32, 1}, Scope::kScratch, kernel::Access::kReadWrite, elements);
    w.emit(kernel::alloc(b));
    return b;
  }

  void allocate(LoopWriter& w) {
    q_ = scratch(w, "q_rows", t_.block_queries * e_.depth);
    if (tiles_ && o_.k_along_depth)
      panel_ = scratch(w, "k_panel", round_up(t_.block_keys, group_) * e_.depth);
    scores_ = scratch(w, "scores", t_.block_queries * pitch_);
    sums_ = scratch(w, "sums", t_.block_queries);
    tops_ = scratch(w, "tops", t_.block_queries);
    if (one_block_) return;
    shrinks_ = scratch(w, "shrinks", t_.block_queries);
    out_ = scratch(w, "out", t_.block_queries * e_.width);
  }

  void begin_row(LoopWriter& w, const Expr& i) {
    extend(w, in_vectors("d", int_const(e_.depth), t_.lanes, [&](LoopWriter& inner, const Expr& d) {
             inner.store(q_, at(i, e_.depth, d), o_.q(kernel::add(m0_, i), d));
           }));
    if (one_block_) return;
    w.store(tops_, i, float_const(-INFINITY));
    w.store(sums_, i, float_const(0.0));
    extend(w, in_vectors("d", int_const(e_.width), t_.lanes, [&](LoopWriter& inner, const Expr& d) {
             inner.store(out_, at(i, e_.width, d), float_const(0.0));
           }));
  }

  void block_of_keys(LoopWriter& w, const Expr& n0) {
    n0_ = n0;
    count_ = one_block_ ? keys_ : w.let("keys", clipped(t_.block_keys, n0, e_.keys, keys_));
    if (dots_ && tiles_) {
      w.when(
          kernel::compare(ScalarOp::kLe, rows_, int_const(t_.few_queries)), [&] { scores_by_dots(w); },
          [&] { scores_by_tiles(w); });
    } else if (dots_) {
      scores_by_dots(w);
    } else {
      scores_by_tiles(w);
    }
    w.loop("i", rows_, [&](Expr i) { score_row(w, i); });
    w.loop("i", rows_, [&](Expr i) { weigh_row(w, i); });
    weighted_sums(w);
  }

  // ---- Scores

  Expr key(const Expr& number) const { return kernel::add(n0_, number); }
  // Key j of a vector of them; past the last one, that one.
  Expr key_in_range(const Expr& first, int j) const {
    const Expr number = kernel::add(first, int_const(j));
    if (e_.keys.is_const() && e_.keys.value() % t_.lanes == 0 && t_.block_keys % t_.lanes == 0)
      return key(number);
    return key(kernel::min(number, kernel::sub(count_, int_const(1))));
  }
  Expr vectors_of_keys() const {
    return kernel::index_div(kernel::add(count_, int_const(t_.lanes - 1)), int_const(t_.lanes));
  }
  // Sixteen dot products as one vector: partial sums are interleaved and added until each lane has its own.
  void scores_by_dots(LoopWriter& w) {
    w.loop("vector", vectors_of_keys(), [&](Expr vector) {
      const Expr first = w.let("first", kernel::mul(vector, int_const(t_.lanes)));
      std::vector<Expr> keys;
      for (int j = 0; j < t_.lanes; ++j) keys.push_back(w.let("key", key_in_range(first, j)));
      w.loop("i", rows_, [&](Expr i) {
        std::vector<Expr> sums = dots(w, i, keys);
        while (sums.size() > 1) {
          const size_t half = sums.size() / 2;
          for (size_t j = 0; j < half; ++j)
            sums[j] = w.let("pair", kernel::add(interleaved_half(sums[j], sums[j + half], false),
                                                interleaved_half(sums[j], sums[j + half], true)));
          sums.resize(half);
        }
        w.store(scores_, at(i, pitch_, first), sums[0]);
      });
    });
  }

  std::vector<Expr> dots(LoopWriter& w, const Expr& i, const std::vector<Expr>& keys) {
    const Buffer acc = kernel::make_buffer("acc", {DType::kF32, t_.lanes}, Scope::kRegister,
                                           kernel::Access::kReadWrite, t_.lanes);
    w.emit(kernel::alloc(acc));
    for (int j = 0; j < t_.lanes; ++j)
      w.store(acc, int_const(j), kernel::broadcast(float_const(0.0), t_.lanes));
    const auto step = [&](const Expr& d, const Expr& count) {
      const Expr q = w.let("q", kernel::load(q_, at(i, e_.depth, d), t_.lanes, count));
      for (int j = 0; j < t_.lanes; ++j) {
        const Expr k = o_.k_along_depth(keys[static_cast<size_t>(j)], d, t_.lanes, count);
        w.store(acc, int_const(j), multiply_add(q, k, kernel::load(acc, int_const(j))));
      }
    };
    const int64_t whole = e_.depth / t_.lanes, rest = e_.depth % t_.lanes;
    if (whole > 0)
      w.loop("part", int_const(whole), [&](Expr d) { step(kernel::mul(d, int_const(t_.lanes)), nullptr); });
    if (rest > 0) step(int_const(e_.depth - rest), int_const(rest));
    std::vector<Expr> out;
    for (int j = 0; j < t_.lanes; ++j) out.push_back(w.let("dot", kernel::load(acc, int_const(j))));
    return out;
  }

  void scores_by_tiles(LoopWriter& w) {
    if (panel_) w.loop("vector", vectors_of_keys(), [&](Expr vector) { transpose(w, vector); });
    const Expr groups = kernel::index_div(count_, int_const(group_));
    w.loop("group", groups, [&](Expr g) {
      const Expr n = w.let("n", kernel::mul(g, int_const(group_)));
      score_tiles(w, n, t_.score_vectors, nullptr);
    });
    if (one_block_ && count_->kind == kernel::ExprKind::kConst) {
      const int64_t rest = count_->i % group_, n = count_->i - rest;
      const int vectors = static_cast<int>((rest + t_.lanes - 1) / t_.lanes);
      if (rest > 0) score_tiles(w, int_const(n), vectors, int_const(rest));
      return;
    }
    const Expr first = w.let("rest_n", kernel::mul(groups, int_const(group_)));
    const Expr left = kernel::sub(count_, first);
    w.loop("rest", kernel::index_div(kernel::add(left, int_const(t_.lanes - 1)), int_const(t_.lanes)),
           [&](Expr j) {
             const Expr n = w.let("n", kernel::add(first, kernel::mul(j, int_const(t_.lanes))));
             score_tiles(w, n, 1, kernel::sub(count_, n));
           });
  }

  // Where the panel has `lanes` keys from n (of the block) on at depth d.
  Expr panel_index(const Expr& n, const Expr& d) const {
    const Expr group = kernel::index_div(n, int_const(group_)),
               inside = kernel::index_rem(n, int_const(group_));
    return kernel::add(at(group, group_ * e_.depth, inside), kernel::mul(d, int_const(group_)));
  }

  // `lanes` keys into the panel, squares of lanes x lanes.
  void transpose(LoopWriter& w, const Expr& vector) {
    const Expr first = w.let("first", kernel::mul(vector, int_const(t_.lanes)));
    std::vector<Expr> keys;
    for (int j = 0; j < t_.lanes; ++j) keys.push_back(w.let("key", key_in_range(first, j)));
    const auto square = [&](const Expr& d, int64_t depth, const Expr& count) {
      std::vector<Expr> rows;
      for (const Expr& k : keys) rows.push_back(w.let("row", o_.k_along_depth(k, d, t_.lanes, count)));
      rows = turned(w, std::move(rows));
      for (int64_t i = 0; i < depth; ++i)
        w.store(panel_, panel_index(first, kernel::add(d, int_const(i))), rows[static_cast<size_t>(i)]);
    };
    const int64_t whole = e_.depth / t_.lanes, rest = e_.depth % t_.lanes;
    if (whole > 0) {
      w.loop("part", int_const(whole), [&](Expr part) {
        square(w.let("d", kernel::mul(part, int_const(t_.lanes))), t_.lanes, nullptr);
      });
    }
    if (rest > 0) square(int_const(e_.depth - rest), rest, int_const(rest));
  }

  // All rows against `vectors` vectors of keys from n on, of which `left` (null: all) exist.
  void score_tiles(LoopWriter& w, const Expr& n, int vectors, const Expr& left) {
    row_tiles(w, t_.score_rows, [&](LoopWriter& inner, const Expr& r, int rows, const Expr& live) {
      TileProduct p;
      p.a = q_;
      p.a_row = [&](int i) { return kernel::mul(row_of(r, i, live), int_const(e_.depth)); };
      p.steps = int_const(e_.depth);
      const auto column = [&](int j) { return kernel::add(n, int_const(int64_t{j} * t_.lanes)); };
      p.b = [&](int j, const Expr& d) {
        if (panel_) return kernel::load(panel_, panel_index(column(j), d), t_.lanes);
        Expr count;
        if (left) {
          count = kernel::min(kernel::sub(left, int_const(int64_t{j} * t_.lanes)), int_const(t_.lanes));
          if (count->kind == kernel::ExprKind::kConst && count->i == t_.lanes) count = nullptr;
        }
        return o_.k_along_keys(key(column(j)), d, t_.lanes, count);
      };
      p.finish = [&](LoopWriter& to, int i, int j, const Expr& value) {
        store_live(to, i, live, [&](LoopWriter& out) {
          out.store(scores_, at(kernel::add(r, int_const(i)), pitch_, column(j)), value);
        });
      };
      register_tile(inner, rows, vectors, p);
    });
  }

  // ---- Softmax of a block: scores become weights exp(score - maximum), which are summed. Two loops over the
  // rows, since what follows a fold over lanes would wait for it.

  Expr greater(const Expr& a, const Expr& b) const {
    return kernel::select(kernel::compare(ScalarOp::kGt, a, b), a, b);
  }
  // A NaN is not seen: it makes its row's sum NaN.
  Expr largest_lane(LoopWriter& w, Expr v) const {
    for (int half = v->type.lanes / 2; half > 0; half /= 2) {
      std::vector<int> low, high;
      for (int i = 0; i < half; ++i) {
        low.push_back(i);
        high.push_back(half + i);
      }
      v = w.let("fold", v);
      v = w.let("fold", greater(kernel::shuffle(v, nullptr, low), kernel::shuffle(v, nullptr, high)));
    }
    return v;
  }

  void score_row(LoopWriter& w, const Expr& i) {
    const Expr m = w.let("m", kernel::add(m0_, i));
    const Expr lowest = kernel::broadcast(float_const(-INFINITY), t_.lanes);
    const Var top = w.declare("top_lanes", lowest);
    const auto vector = [&](const Expr& n, const Expr& count) {
      const Expr place = w.let("place", at(i, pitch_, n));
      Expr x = w.let("score", o_.scores(m, key(n), kernel::load(scores_, place, t_.lanes), t_.lanes, count));
      if (count) {
        const Expr exists = kernel::compare(ScalarOp::kLt, kernel::ramp(int_const(0), 1, t_.lanes),
                                            kernel::broadcast(count, t_.lanes));
        x = w.let("score", kernel::select(exists, x, lowest));
      }
      w.store(scores_, place, x);
      w.set(top, greater(x, w.get(top)));
    };
    const Expr whole = kernel::index_div(count_, int_const(t_.lanes));
    const Expr rest = kernel::index_rem(count_, int_const(t_.lanes));
    w.loop("vector", whole, [&](Expr v) { vector(kernel::mul(v, int_const(t_.lanes)), nullptr); });
    const bool even = e_.keys.is_const() && e_.keys.value() % t_.lanes == 0;
    if (!even) {
      w.when(kernel::compare(ScalarOp::kGt, rest, int_const(0)),
             [&] { vector(kernel::sub(count_, rest), rest); });
    }
    Expr row_top = largest_lane(w, w.get(top));
    if (!one_block_) {
      const Expr before = w.let("before", w.load(tops_, i));
      row_top = w.let("top", greater(row_top, before));
      const Expr to = w.let("to", base(row_top));
      w.store(shrinks_, i, exp2(in_log2(kernel::sub(before, to))));
    }
    w.store(tops_, i, row_top);
  }

  // While all is masked the maximum is -inf: nothing is subtracted then.
  static Expr base(const Expr& top) {
    return kernel::select(kernel::compare(ScalarOp::kEq, top, float_const(-INFINITY)), float_const(0.0), top);
  }
  static Expr in_log2(const Expr& x) { return kernel::mul(x, float_const(std::numbers::log2e)); }
  static Expr exp2(const Expr& x) { return kernel::intrinsic(kernel::Intrinsic::kExp2Approx, {x}, x->type); }

  void weigh_row(LoopWriter& w, const Expr& i) {
    const Expr row_base = w.let("base", base(w.load(tops_, i)));
    const Var sum = w.declare("sum_lanes", kernel::broadcast(float_const(0.0), t_.lanes));
    const Expr scale = kernel::broadcast(float_const(std::numbers::log2e), t_.lanes);
    // The difference is taken first: the logarithm of a base such as -3e38, which masks leave where all keys
    // are hidden, is rounded by more than an exponent holds.
    const Expr row_bases = w.let("bases", kernel::broadcast(row_base, t_.lanes));
    w.loop("vector", vectors_of_keys(), [&](Expr v) {
      const Expr place = w.let("place", at(i, pitch_, kernel::mul(v, int_const(t_.lanes))));
      const Expr score = kernel::load(scores_, place, t_.lanes);
      const Expr x = w.let("weight", exp2(kernel::mul(kernel::sub(score, row_bases), scale)));
      w.store(scores_, place, x);
      w.set(sum, kernel::add(w.get(sum), x));
    });
    const Expr total = kernel::reduce_lanes(ScalarOp::kAdd, w.get(sum));
    w.store(sums_, i,
            one_block_ ? total : kernel::add(kernel::mul(w.load(sums_, i), w.load(shrinks_, i)), total));
  }

  // ---- Sums of V's rows by the weights

  void weighted_sums(LoopWriter& w) {
    const int64_t columns = int64_t{t_.sum_vectors} * t_.lanes, groups = e_.width / columns,
                  rest = e_.width % columns;
    if (groups > 0) {
      w.loop("group", int_const(groups), [&](Expr g) {
        sum_tiles(w, w.let("d", kernel::mul(g, int_const(columns))), t_.sum_vectors, columns);
      });
    }
    const int vectors = static_cast<int>((rest + t_.lanes - 1) / t_.lanes);
    if (rest > 0) sum_tiles(w, int_const(e_.width - rest), vectors, rest);
  }

  Expr lane_count(int j, int64_t columns) const {
    const int64_t left = columns - int64_t{j} * t_.lanes;
    return left >= t_.lanes ? nullptr : int_const(left);
  }

  void sum_tiles(LoopWriter& w, const Expr& d, int vectors, int64_t columns) {
    row_tiles(w, t_.sum_rows, [&](LoopWriter& inner, const Expr& r, int rows, const Expr& live) {
      const auto column = [&](int j) { return kernel::add(d, int_const(int64_t{j} * t_.lanes)); };
      const auto out_at = [&](int i, int j) { return at(row_of(r, i, live), e_.width, column(j)); };
      TileProduct p;
      p.a = scores_;
      p.a_row = [&](int i) { return kernel::mul(row_of(r, i, live), int_const(pitch_)); };
      p.steps = count_;
      p.b = [&](int j, const Expr& n) { return o_.v(key(n), column(j), t_.lanes, lane_count(j, columns)); };
      if (!one_block_) {
        p.initial = [&](int i, int j) {
          const Expr shrink = kernel::load(shrinks_, row_of(r, i, live));
          return kernel::mul(kernel::load(out_, out_at(i, j), t_.lanes, lane_count(j, columns)),
                             kernel::broadcast(shrink, t_.lanes));
        };
      }
      p.finish = [&](LoopWriter& to, int i, int j, const Expr& value) {
        store_live(to, i, live, [&](LoopWriter& out) {
          const Expr row = kernel::add(r, int_const(i)), count = lane_count(j, columns);
          if (one_block_) {
            store_result(out, row, column(j), value, count);
          } else {
            out.emit(kernel::store(out_, out_at(i, j), value, count));
          }
        });
      };
      register_tile(inner, rows, vectors, p);
    });
  }

  void store_result(LoopWriter& w, const Expr& row, const Expr& d, const Expr& value, const Expr& count) {
    Expr sum = kernel::load(sums_, row);
    if (!e_.keys.is_const())  // without keys, the result is a sum of nothing
      sum = kernel::select(kernel::compare(ScalarOp::kEq, keys_, int_const(0)), float_const(1.0), sum);
    const Expr total = kernel::broadcast(sum, t_.lanes);
    const Expr result = w.let("result", kernel::op(ScalarOp::kDiv, {value, total}));
    extend(w, o_.finish(kernel::add(m0_, row), d, result, t_.lanes, count));
  }

  void finish_row(LoopWriter& w, const Expr& i) {
    const int64_t whole = e_.width / t_.lanes, rest = e_.width % t_.lanes;
    const auto step = [&](const Expr& d, const Expr& count) {
      store_result(w, i, d, kernel::load(out_, at(i, e_.width, d), t_.lanes, count), count);
    };
    if (whole > 0)
      w.loop("part", int_const(whole), [&](Expr d) { step(kernel::mul(d, int_const(t_.lanes)), nullptr); });
    if (rest > 0) step(int_const(e_.width - rest), int_const(rest));
  }

  // ---- Register tiles

  using Tile = std::function<void(LoopWriter&, const Expr& r, int rows, const Expr& live)>;

  // The block's rows in tiles of `rows`, then one of those that are left (contraction_kernel.cc does alike):
  // exactly so many where the number is known, else a few more, which repeat the last (`live` exist).
  void row_tiles(LoopWriter& w, int rows, const Tile& tile) {
    const auto scoped = [&](LoopWriter& to, const Expr& r, int n, const Expr& live) {
      LoopWriter inner;
      tile(inner, inner.let("r", r), n, live);
      to.emit(kernel::block(inner.take()));
    };
    const bool known = e_.queries.is_const();
    const bool one = known && e_.queries.value() <= t_.block_queries;  // the only block
    if (!one || e_.queries.value() >= rows) {
      w.loop("tile", kernel::index_div(rows_, int_const(rows)),
             [&](Expr t) { scoped(w, kernel::mul(t, int_const(rows)), rows, nullptr); });
    }
    if (rows == 1) return;
    if (known) {
      const int64_t left = e_.queries.value() % rows;
      if (left == 0) return;
      const auto last = [&] {
        scoped(w, kernel::sub(rows_, int_const(left)), static_cast<int>(left), nullptr);
      };
      if (one) return last();
      w.when(kernel::compare(ScalarOp::kNe, kernel::index_rem(rows_, int_const(rows)), int_const(0)), last);
      return;
    }
    const Expr left = w.let("left", kernel::index_rem(rows_, int_const(rows)));
    const Expr first = w.let("first", kernel::sub(rows_, left));
    std::vector<int> sizes;
    for (const int n : {1, 4, 8}) {
      if (n + 2 <= rows) sizes.push_back(n);
    }
    sizes.push_back(rows);
    const std::function<void(size_t)> smallest = [&](size_t k) {
      if (k + 1 == sizes.size()) return scoped(w, first, rows, left);
      w.when(
          kernel::compare(ScalarOp::kLe, left, int_const(sizes[k])),
          [&] { scoped(w, first, sizes[k], left); }, [&] { smallest(k + 1); });
    };
    w.when(kernel::compare(ScalarOp::kGt, left, int_const(0)), [&] { smallest(0); });
  }

  static Expr row_of(const Expr& r, int i, const Expr& live) {
    if (!live || i == 0) return kernel::add(r, int_const(i));
    return kernel::add(r, kernel::min(int_const(i), kernel::sub(live, int_const(1))));
  }
  static void store_live(LoopWriter& w, int i, const Expr& live,
                         const std::function<void(LoopWriter&)>& body) {
    LoopWriter inner;
    body(inner);
    if (live && i > 0) {
      w.emit(kernel::if_then(kernel::compare(ScalarOp::kLt, int_const(i), live), inner.take()));
    } else {
      w.emit(kernel::block(inner.take()));
    }
  }

  Expr multiply_add(const Expr& a, const Expr& b, const Expr& sum) const {
    return has_fma_ ? kernel::op(ScalarOp::kFma, {a, b, sum}) : kernel::add(kernel::mul(a, b), sum);
  }

  void register_tile(LoopWriter& w, int rows, int vectors, const TileProduct& p) {
    const Buffer acc = kernel::make_buffer("acc", {DType::kF32, t_.lanes}, Scope::kRegister,
                                           kernel::Access::kReadWrite, int64_t{rows} * vectors);
    const auto slot = [&](int i, int j) { return int_const(int64_t{i} * vectors + j); };
    w.emit(kernel::alloc(acc));
    std::vector<Expr> row;
    for (int i = 0; i < rows; ++i) row.push_back(w.let("a_row", p.a_row(i)));
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < vectors; ++j)
        w.store(acc, slot(i, j), p.initial ? p.initial(i, j) : kernel::broadcast(float_const(0.0), t_.lanes));
    }
    w.loop("k", p.steps, [&](Expr k) {
      std::vector<Expr> b;
      for (int j = 0; j < vectors; ++j) b.push_back(w.let("b", p.b(j, k)));
      for (int i = 0; i < rows; ++i) {
        const Expr a = kernel::broadcast(
            w.let("x", kernel::load(p.a, kernel::add(row[static_cast<size_t>(i)], k))), t_.lanes);
        for (int j = 0; j < vectors; ++j)
          w.store(acc, slot(i, j), multiply_add(a, b[static_cast<size_t>(j)], kernel::load(acc, slot(i, j))));
      }
    });
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < vectors; ++j) p.finish(w, i, j, kernel::load(acc, slot(i, j)));
    }
  }

  const AttentionExtents& e_;
  const AttentionTiles& t_;
  const bool has_fma_;
  const AttentionOperands& o_;
  kernel::ParamTable& params_;
  bool one_block_ = false, dots_ = false, tiles_ = true;  // all keys are one block; ways to make scores
  int64_t group_ = 0, pitch_ = 0;                         // keys of a panel; of a row of scores
  Expr queries_, keys_, m0_, rows_, n0_, count_;          // count_: keys of the block
  Buffer q_, panel_, scores_, sums_, tops_, shrinks_, out_;
};

}  // namespace

AttentionTilesKernel build_attention_tiles(const AttentionExtents& extents,
                                           const kernel::GridAxis& batch_axis, const AttentionTiles& tiles,
                                           bool has_fma, const AttentionOperands& operands,
                                           kernel::ParamTable& params) {
  return Builder(extents, tiles, has_fma, operands, params).build(batch_axis);
}

std::string AttentionTiles::text() const {
  return fmt::format("attention, {} queries x {} keys, tiles {}x{} and {}x{}x{}, up to {} by dot products",
                     block_queries, block_keys, score_rows, score_vectors, sum_rows, sum_vectors, lanes,
                     few_queries);
}

}  // namespace tern::lower
