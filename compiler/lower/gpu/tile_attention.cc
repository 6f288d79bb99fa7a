#include "compiler/lower/gpu/tile_attention.h"

#include <cmath>
#include <numbers>

#include "compiler/lower/gpu/matrix_schedule.h"
#include "compiler/lower/gpu/online_softmax.h"
#include "compiler/lower/gpu/tile_ops.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::TileOp;
using kernel::TilePart;
using kernel::TileUnit;
using kernel::Var;
using kernel::var_expr;
using RowOf = std::function<Expr(const Expr&)>;

constexpr int kVector = 4, kPadding = 8;

// Sizes of workgroup memory, in elements.
struct Sizes {
  Sizes(const AttentionShape& shape, const TileAttentionSchedule& s)
      : depth(round_up(shape.depth, s.unit.shape.k)),
        value_depth(round_up(shape.value_depth, s.unit.shape.n)),
        columns(s.unit.shape.n),
        patch_pitch(columns + kVector),
        k_pitch(depth + kPadding),
        v_pitch(value_depth + kPadding),
        weight_pitch(s.block_keys + kPadding),
        part(s.block_keys * std::max(k_pitch, v_pitch)),
        q_rows(s.rows() * k_pitch),
        q_first(q_rows <= kSmallQueries ? s.warps_n * part : 0),
        stage(std::max(s.warps_n * part, q_first + q_rows)),
        patches(s.warps() * s.tiles_m * s.unit.shape.m * patch_pitch),
        weights(s.warps() * s.tiles_m * s.unit.shape.m * weight_pitch),
        rows(s.warps() * s.tiles_m * s.unit.shape.m),
        keys(s.warps() * s.block_keys) {
    // As many columns of outputs at a time as take no more memory than the rest.
    together = value_depth / columns;
    while (together > 1 && out_bytes(s) > kOuts && out_bytes(s) > bytes_of_keys()) --together;
    outs = s.warps_n * s.rows() * out_pitch();
  }
  static constexpr int64_t kOuts = 16384;
  static constexpr int64_t kSmallQueries = 3072;  // elements that have a place of their own beside the keys
  int64_t out_pitch() const { return together * columns + kVector; }
  int64_t out_bytes(const TileAttentionSchedule& s) const { return 4 * s.warps_n * s.rows() * out_pitch(); }
  int64_t bytes_of_keys() const { return 2 * (stage + weights) + 4 * patches; }
  int64_t bytes() const { return std::max(bytes_of_keys(), 4 * outs) + 16 * rows + 4 * keys + 64; }
  int64_t depth, value_depth;    // of whole tiles
  int64_t columns, patch_pitch;  // of a tile of floats, in workgroup memory
  int64_t k_pitch, v_pitch, weight_pitch;
  int64_t part, q_rows, q_first, stage, patches, weights, rows, keys;
  int64_t together, outs;  // tiles of outputs at a time
};

class Builder {
 public:
  Builder(const AttentionShape& shape, const TileAttentionSchedule& s, const Var& thread,
          const AttentionOperands& o, kernel::ParamTable& params)
      : shape_(shape),
        s_(s),
        o_(o),
        params_(params),
        t_(var_expr(thread)),
        size_(shape, s),
        u_(s.unit),
        steps_(static_cast<int>(size_.depth / u_.shape.k)),
        key_tiles_(s.block_keys / u_.shape.n),
        value_tiles_(static_cast<int>(size_.value_depth / u_.shape.n)),
        whole_(shape.keys.is_const() && shape.keys.value() % (s.block_keys * s.warps_n) == 0) {}

  AttentionKernel build(const kernel::GridAxis& batch) {
    AttentionKernel out;
    if (batch.var) out.grid.push_back(batch);
    const Var block = kernel::make_var("m_block");
    const Dim blocks = ceildiv(shape_.queries, s_.rows());
    out.grid.push_back({block, blocks, params_.expr(blocks)});
    LoopWriter w;
    m0_ = w.let("m0", times(var_expr(block), s_.rows()));
    warp_ = w.let("warp", div(t_, u_.subgroup));
    warp_n_ = w.let("warp_n", rem(warp_, s_.warps_n));
    lane_ = w.let("lane", rem(t_, u_.subgroup));
    first_row_ = w.let("first_row", times(div(warp_, s_.warps_n), int64_t{u_.shape.m} * s_.tiles_m));
    // Of the threads that copy a part's keys: those of all its warps.
    copier_ =
        s_.warps_m == 1 ? lane_ : w.let("copier", plus(times(div(warp_, s_.warps_n), u_.subgroup), lane_));
    keys_ = params_.expr(shape_.keys);
    scale_ = score_scale(o_, m0_);
    if (!scale_.linear) keyed_ = keyed_score(o_);
    out_ = sums_tiles("out", int64_t{s_.tiles_m} * value_tiles_);
    sum_ = sums_tiles("sum", s_.tiles_m);
    factors_ = workgroup("factors", DType::kF32, size_.rows);
    tops_ = workgroup("tops", DType::kF32, size_.rows);
    sums_ = workgroup("sums", DType::kF32, size_.rows);
    for (const Buffer& b : {out_, sum_, factors_, tops_, sums_}) w.emit(kernel::alloc(b));
    clear(w, out_);
    clear(w, sum_);
    for (int i = 0; i < s_.tiles_m; ++i) {
      top_.push_back(w.declare("top", float_const(-INFINITY)));
      total_.push_back(w.declare("total", float_const(0.0)));
    }
    LoopWriter inner;
    patches_ = workgroup("patches", DType::kF32, size_.patches);
    inner.emit(kernel::alloc(patches_));
    if (!shape_.keys.is_const()) {
      inner.when(less(int_const(0), keys_), [&] { all_keys(inner); });
    } else if (shape_.keys.value() > 0) {
      all_keys(inner);
    }
    totals(inner);
    w.emit(kernel::block(inner.take()));
    results(w);
    out.body = w.take();
    return out;
  }

 private:
  Buffer sums_tiles(const char* name, int64_t count) const {
    return tiles(name, DType::kF32, u_, TilePart::kSums, count);
  }
  static Expr element(const Buffer& tile, int64_t slot) {
    return kernel::load(tile, int_const(slot), tile->type.lanes);
  }
  static void compute(LoopWriter& w, const Buffer& tile, int64_t slot, const Expr& value) {
    w.emit(kernel::tile(TileOp::kFill, tile, int_const(slot), value));
  }
  static void together(LoopWriter& w) { w.emit(kernel::barrier(kernel::BarrierScope::kSubgroup)); }
  // The warps that share keys meet.
  void meet(LoopWriter& w) const { s_.warps_m == 1 ? together(w) : w.emit(kernel::barrier()); }

  // ---- Copies of rows. Rows beyond the last one are that one again: their scores are masked, their outputs
  // not stored.

  struct Copy : RowCopy {
    Dim extent;
    bool whole;  // all rows exist
  };
  static Copy copy_of(const char* name, const Buffer& from, const RowOf& row_of, int64_t rows, int64_t width,
                      int64_t padded, int64_t pitch, const Dim& extent, int threads, const Expr& thread,
                      int64_t granule) {
    return {RowCopy(name, from, row_of, rows, width, padded, pitch, threads, thread), extent,
            extent.is_const() && extent.value() % granule == 0};
  }

  void fetch(LoopWriter& w, const Copy& c, const Expr& first) {
    c.each_chunk(w, [&](int64_t i, const Expr& row, const Expr& chunk) {
      Expr source = plus(first, row);
      if (!c.whole) source = kernel::min(source, kernel::sub(params_.expr(c.extent), int_const(1)));
      c.fetch(w, i, plus(c.row_of(w.let("source", source)), times(chunk, kChunk)), c.has(chunk));
    });
  }
  void put(LoopWriter& w, const Copy& c, const Expr& base) {
    c.put(w, stage_, base, [&](const Expr&, const Expr& chunk) { return c.has(chunk); });
  }

  // ---- Keys

  void all_keys(LoopWriter& w) {
    const int keys_at_once = s_.block_keys * s_.warps_n;
    const Dim blocks = ceildiv(shape_.keys, keys_at_once);
    const bool one_block = blocks.is_const(1);
    stage_ = workgroup("stage", o_.dtype, size_.stage);
    weights_ = workgroup("weights", o_.dtype, size_.weights);
    q_tile_ = tiles("q_tile", o_.dtype, u_, TilePart::kA, int64_t{s_.tiles_m} * steps_);
    const int copiers = u_.subgroup * s_.warps_m;
    const Copy q = copy_of("q_next", o_.q, o_.q_row, s_.rows(), shape_.depth, size_.depth, size_.k_pitch,
                           shape_.queries, s_.threads(), t_, s_.rows());
    const Copy k = copy_of("k_next", o_.k, o_.k_row, s_.block_keys, shape_.depth, size_.depth, size_.k_pitch,
                           shape_.keys, copiers, copier_, keys_at_once);
    const Copy v = copy_of("v_next", o_.v, o_.v_row, s_.block_keys, shape_.value_depth, size_.value_depth,
                           size_.v_pitch, shape_.keys, copiers, copier_, keys_at_once);
    for (const Buffer& b : {stage_, weights_, q_tile_, q.next, k.next, v.next}) w.emit(kernel::alloc(b));
    const Expr own = w.let("own", times(warp_n_, s_.block_keys));  // keys, among those of a step
    base_ = w.let("base", times(warp_n_, size_.part));
    of_keys_ = workgroup("of_keys", DType::kF32, int64_t{s_.warps()} * s_.block_keys);
    w.emit(kernel::alloc(of_keys_));
    fetch(w, q, m0_);
    fetch(w, k, own);
    put(w, q, int_const(size_.q_first));
    if (size_.q_first > 0) put(w, k, base_);
    w.emit(kernel::barrier());
    for (int i = 0; i < s_.tiles_m; ++i) {
      for (int step = 0; step < steps_; ++step)
        move(w, TileOp::kLoad, q_tile_, i * steps_ + step, stage_,
             plus(times(first_row_, size_.k_pitch),
                  int_const(size_.q_first + i * u_.shape.m * size_.k_pitch + step * u_.shape.k)),
             size_.k_pitch);
    }
    if (size_.q_first == 0) {
      w.emit(kernel::barrier());
      put(w, k, base_);
      meet(w);
    }
    const Expr count = w.let("blocks", blocks_of_keys(shape_, m0_, s_.rows(), keys_at_once, params_));
    w.loop("block", one_block ? int_const(1) : count, [&](Expr block) {
      const Expr n0 = w.let("n0", plus(times(block, keys_at_once), own));
      const Expr next = w.let("next", plus(block, int_const(1)));
      const Expr more = one_block ? nullptr : w.let("more", less(next, count));
      // A subgroup waits for all of its loads at once: both have the scores' time.
      fetch(w, v, n0);
      if (more) w.when(more, [&] { fetch(w, k, plus(times(next, keys_at_once), own)); });
      const std::vector<Expr> biases = keyed_.factor > 0 ? biases_of(w, n0) : std::vector<Expr>();
      products_with_keys(w);
      make_weights(w, n0, biases, one_block ? nullptr : block);
      meet(w);
      put(w, v, base_);
      meet(w);
      products_with_values(w);
      if (!more) return;
      meet(w);
      w.when(more, [&] { put(w, k, base_); });
      meet(w);
    });
  }

  void products_with_keys(LoopWriter& w) {
    score_ = sums_tiles("score", int64_t{s_.tiles_m} * key_tiles_);
    const Buffer b = tiles("k_tile", o_.dtype, u_, TilePart::kB, key_tiles_);
    w.emit(kernel::alloc(score_));
    w.emit(kernel::alloc(b));
    clear(w, score_);
    for (int step = 0; step < steps_; ++step) {
      for (int j = 0; j < key_tiles_; ++j)
        move(w, TileOp::kLoadColumns, b, j, stage_,
             plus(base_, int_const(j * u_.shape.n * size_.k_pitch + step * u_.shape.k)), size_.k_pitch);
      for (int i = 0; i < s_.tiles_m; ++i) {
        for (int j = 0; j < key_tiles_; ++j)
          multiply(w, score_, int64_t{i} * key_tiles_ + j, q_tile_, int64_t{i} * steps_ + step, b, j);
      }
    }
  }

  // The warp's i-th patch: a tile of floats, of which the thread has a run of a row.
  Expr patch(int i) const {
    const int64_t size = u_.shape.m * size_.patch_pitch;
    return plus(times(warp_, s_.tiles_m * size), int_const(i * size));
  }
  Expr own_row() const { return div(lane_, u_.threads_a_row()); }
  Expr own_part() const { return rem(lane_, u_.threads_a_row()); }
  Expr run(int i) const {
    return plus(patch(i), plus(times(own_row(), size_.patch_pitch), times(own_part(), u_.run())));
  }
  // Rows of the warp's i-th tiles, in factors and the like.
  Expr rows_of(int i) const {
    return plus(times(warp_, int64_t{s_.tiles_m} * u_.shape.m), int_const(int64_t{i} * u_.shape.m));
  }
  std::vector<Expr> run_of(LoopWriter& w, int i) const {
    std::vector<Expr> out;
    for (int part = 0; part < u_.run(); part += kVector) {
      const Expr four = w.let("four", kernel::load(patches_, plus(run(i), int_const(part)), kVector));
      for (int e = 0; e < kVector; ++e) out.push_back(w.let("x", kernel::shuffle(four, nullptr, {e})));
    }
    return out;
  }
  // Of all threads of a row.
  Expr of_row(LoopWriter& w, const Expr& own, Expr (*fold)(Expr, Expr)) const {
    Expr all = w.let("one", own);
    for (int mask = 1; mask < u_.threads_a_row(); mask *= 2)
      all = w.let("both", fold(all, kernel::intrinsic(kernel::Intrinsic::kSubgroupShuffleXor,
                                                      {all, int_const(mask)}, all->type)));
    return all;
  }
  // A row's value to all elements of the row, through `memory`, for each of the warp's rows of tiles.
  Buffer spread(LoopWriter& w, const Buffer& memory, const std::vector<Expr>& values) const {
    for (int i = 0; i < s_.tiles_m; ++i)
      w.when(kernel::compare(ScalarOp::kEq, own_part(), int_const(0)),
             [&] { w.store(memory, plus(rows_of(i), own_row()), values[static_cast<size_t>(i)]); });
    together(w);
    const Buffer out = sums_tiles("spread", s_.tiles_m);
    w.emit(kernel::alloc(out));
    for (int i = 0; i < s_.tiles_m; ++i) move(w, TileOp::kLoadColumns, out, i, memory, rows_of(i), 0);
    return out;
  }

  // What the step's keys add to their scores, of which the thread has one of each subgroup's.
  std::vector<Expr> biases_of(LoopWriter& w, const Expr& n0) const {
    std::vector<Expr> out;
    for (int k = 0; k < s_.block_keys; k += u_.subgroup) {
      const Expr n = w.let("n", plus(n0, plus(lane_, int_const(k))));
      if (keyed_.factor == 0) {
        out.push_back(
            w.let("bias", kernel::select(less(n, keys_), float_const(0.0), float_const(-INFINITY))));
        continue;
      }
      const bool all = whole_ && s_.block_keys % u_.subgroup == 0;
      const Expr read = all ? n : w.let("n_read", kernel::min(n, kernel::sub(keys_, int_const(1))));
      Expr bias = score_in_log2(w.let("bias", keyed_.bias(read)));
      if (!whole_) bias = kernel::select(less(n, keys_), bias, float_const(-INFINITY));
      out.push_back(w.let("bias", bias));
    }
    return out;
  }
  // The same for all rows: tiles whose rows are one.
  void add_biases(LoopWriter& w, const std::vector<Expr>& biases) {
    const Expr first = times(warp_, s_.block_keys);
    for (size_t k = 0; k < biases.size(); ++k) {
      const Expr at = plus(lane_, int_const(static_cast<int64_t>(k) * u_.subgroup));
      const auto one = [&] { w.store(of_keys_, plus(first, at), biases[k]); };
      if (static_cast<int>(k + 1) * u_.subgroup > s_.block_keys) {
        w.when(less(at, int_const(s_.block_keys)), one);
      } else {
        one();
      }
    }
    together(w);
    const Buffer bias = sums_tiles("bias_tile", key_tiles_);
    w.emit(kernel::alloc(bias));
    for (int j = 0; j < key_tiles_; ++j)
      move(w, TileOp::kLoad, bias, j, of_keys_, plus(first, int_const(j * size_.columns)), 0);
    const Expr factor = kernel::broadcast(float_const(keyed_.factor * std::numbers::log2e), u_.run());
    for (int64_t slot = 0; slot < score_->size; ++slot) {
      const Expr x = element(score_, slot), b = element(bias, slot % key_tiles_);
      compute(w, score_, slot,
              keyed_.factor > 0 ? kernel::op(ScalarOp::kFma, {x, factor, b}) : kernel::add(x, b));
    }
  }

  // Scores that are no multiples of the products, or that do not exist.
  void scores_of_places(LoopWriter& w, const Expr& n0, const std::vector<Expr>& biases) {
    if (keyed_.factor > 0) return add_biases(w, biases);
    if (scale_.linear) {
      if (!whole_)
        w.when(less(keys_, plus(n0, int_const(s_.block_keys))), [&] { add_biases(w, biases_of(w, n0)); });
      return;
    }
    // What depends on both places passes through memory.
    for (int j = 0; j < key_tiles_; ++j) {
      for (int i = 0; i < s_.tiles_m; ++i)
        move(w, TileOp::kStore, score_, int64_t{i} * key_tiles_ + j, patches_, patch(i), size_.patch_pitch);
      together(w);
      for (int i = 0; i < s_.tiles_m; ++i) scores_of_run(w, i, plus(n0, int_const(j * size_.columns)));
      together(w);
      for (int i = 0; i < s_.tiles_m; ++i)
        move(w, TileOp::kLoad, score_, int64_t{i} * key_tiles_ + j, patches_, patch(i), size_.patch_pitch);
      together(w);
    }
  }
  void scores_of_run(LoopWriter& w, int i, const Expr& n0) {
    const Expr row = plus(plus(m0_, first_row_), plus(int_const(i * u_.shape.m), own_row()));
    const Expr m = w.let("m", kernel::min(row, kernel::sub(params_.expr(shape_.queries), int_const(1))));
    std::vector<Expr> v = run_of(w, i);
    for (int e = 0; e < u_.run(); ++e) {
      const Expr n = w.let("n", plus(n0, plus(times(own_part(), u_.run()), int_const(e))));
      Expr& x = v[static_cast<size_t>(e)];
      x = o_.score(m, n, x);
      if (!whole_) x = kernel::select(less(n, keys_), x, float_const(-INFINITY));
      x = w.let("score", score_in_log2(w.let("score", x)));
    }
    for (int part = 0; part < u_.run(); part += kVector) {
      const Expr* x = &v[static_cast<size_t>(part)];
      w.store(patches_, plus(run(i), int_const(part)), quad(w, x[0], x[1], x[2], x[3]));
    }
  }

  // Scores to weights, and what was summed so far scaled where a row's maximum has grown by much.
  void make_weights(LoopWriter& w, const Expr& n0, const std::vector<Expr>& biases, const Expr& block) {
    scores_of_places(w, n0, biases);
    const Buffer most = sums_tiles("most", 1);
    w.emit(kernel::alloc(most));
    for (int i = 0; i < s_.tiles_m; ++i) {
      Expr x = element(score_, int64_t{i} * key_tiles_);
      for (int j = 1; j < key_tiles_; ++j) x = kernel::max(x, element(score_, int64_t{i} * key_tiles_ + j));
      compute(w, most, 0, x);
      move(w, TileOp::kStore, most, 0, patches_, patch(i), size_.patch_pitch);
    }
    together(w);
    std::vector<Expr> bases, shrinks;
    for (int i = 0; i < s_.tiles_m; ++i) {
      const Var& top = top_[static_cast<size_t>(i)];
      const Expr seen = of_row(w, folded(run_of(w, i), kernel::max), kernel::max);
      const OnlineMaximum maximum(w, scale_, var_expr(top), seen);
      w.set(top, maximum.top);
      bases.push_back(maximum.base());
      shrinks.push_back(maximum.shrink);
    }
    const Buffer base = spread(w, factors_, bases);
    const Buffer weight = tiles("weight", o_.dtype, u_, TilePart::kSums, 1), exact = sums_tiles("exact", 1);
    w.emit(kernel::alloc(weight));
    w.emit(kernel::alloc(exact));
    if (block) w.when(less(int_const(0), block), [&] { rescale(w, shrinks); });
    for (int i = 0; i < s_.tiles_m; ++i) {
      for (int j = 0; j < key_tiles_; ++j) {
        const Expr x = element(score_, int64_t{i} * key_tiles_ + j), b = element(base, i);
        const Expr power =
            scale_.linear
                ? kernel::op(ScalarOp::kFma, {x, kernel::broadcast(float_const(scale_.factor), u_.run()),
                                              kernel::op(ScalarOp::kNeg, {b})})
                : kernel::sub(x, b);
        compute(w, exact, 0, exp2(power));
        compute(w, sum_, i, kernel::add(element(sum_, i), element(exact, 0)));
        compute(w, weight, 0, kernel::cast(element(exact, 0), o_.dtype));
        move(w, TileOp::kStore, weight, 0, weights_, weight_at(i, j * size_.columns), size_.weight_pitch);
      }
    }
  }
  Expr weight_at(int i, int64_t key) const {
    return plus(times(plus(times(warp_, s_.tiles_m), int_const(i)), u_.shape.m * size_.weight_pitch),
                int_const(key));
  }

  void rescale(LoopWriter& w, const std::vector<Expr>& shrinks) {
    Expr least = shrinks[0];
    for (const Expr& s : shrinks) least = kernel::min(least, s);
    for (int mask = u_.threads_a_row(); mask < u_.subgroup; mask *= 2) {
      const Expr own = w.let("least", least);
      least = kernel::min(
          own, kernel::intrinsic(kernel::Intrinsic::kSubgroupShuffleXor, {own, int_const(mask)}, own->type));
    }
    w.when(less(w.let("least", least), float_const(1.0)), [&] {
      const Buffer shrink = spread(w, sums_, shrinks);
      for (int i = 0; i < s_.tiles_m; ++i) {
        compute(w, sum_, i, kernel::mul(element(sum_, i), element(shrink, i)));
        for (int j = 0; j < value_tiles_; ++j) {
          const int64_t slot = int64_t{i} * value_tiles_ + j;
          compute(w, out_, slot, kernel::mul(element(out_, slot), element(shrink, i)));
        }
      }
    });
  }

  void products_with_values(LoopWriter& w) {
    const Buffer a = tiles("weight_tile", o_.dtype, u_, TilePart::kA, s_.tiles_m),
                 b = tiles("v_tile", o_.dtype, u_, TilePart::kB, value_tiles_);
    w.emit(kernel::alloc(a));
    w.emit(kernel::alloc(b));
    for (int step = 0; step < s_.block_keys / u_.shape.k; ++step) {
      for (int i = 0; i < s_.tiles_m; ++i)
        move(w, TileOp::kLoad, a, i, weights_, weight_at(i, step * u_.shape.k), size_.weight_pitch);
      for (int j = 0; j < value_tiles_; ++j)
        move(w, TileOp::kLoad, b, j, stage_,
             plus(base_, int_const(step * u_.shape.k * size_.v_pitch + j * size_.columns)), size_.v_pitch);
      for (int i = 0; i < s_.tiles_m; ++i) {
        for (int j = 0; j < value_tiles_; ++j) multiply(w, out_, int64_t{i} * value_tiles_ + j, a, i, b, j);
      }
    }
  }

  // ---- Ends

  // Each row's maximum and sum, of this warp's keys.
  void totals(LoopWriter& w) {
    for (int i = 0; i < s_.tiles_m; ++i)
      move(w, TileOp::kStore, sum_, i, patches_, patch(i), size_.patch_pitch);
    together(w);
    for (int i = 0; i < s_.tiles_m; ++i) {
      const Expr sum = of_row(w, folded(run_of(w, i), kernel::add), kernel::add);
      w.set(total_[static_cast<size_t>(i)], sum);
    }
  }
  // Of warp n of this warp's rows.
  Expr place(int i, const Expr& n) const {
    const Expr warp = plus(kernel::sub(warp_, warp_n_), n);
    return plus(times(warp, int64_t{s_.tiles_m} * u_.shape.m), plus(int_const(i * u_.shape.m), own_row()));
  }

  std::vector<Expr> shares(LoopWriter& w) {
    std::vector<Expr> out;
    if (s_.warps_n == 1) {
      for (const Var& total : total_)
        out.push_back(w.let("share", reciprocal_of_sum(shape_, keys_, var_expr(total))));
      return out;
    }
    for (int i = 0; i < s_.tiles_m; ++i) {
      w.when(kernel::compare(ScalarOp::kEq, own_part(), int_const(0)), [&] {
        w.store(tops_, place(i, warp_n_), var_expr(top_[static_cast<size_t>(i)]));
        w.store(sums_, place(i, warp_n_), var_expr(total_[static_cast<size_t>(i)]));
      });
    }
    w.emit(kernel::barrier());
    for (int i = 0; i < s_.tiles_m; ++i) {
      std::vector<Expr> tops, sums;
      for (int n = 0; n < s_.warps_n; ++n)
        tops.push_back(w.let("part_top", kernel::load(tops_, place(i, int_const(n)))));
      const Expr largest = w.let("largest", folded_all(tops, kernel::max));
      // Where all is masked nothing is subtracted.
      const Expr most =
          w.let("most_top", kernel::select(kernel::compare(ScalarOp::kEq, largest, float_const(-INFINITY)),
                                           float_const(0.0), largest));
      const auto power = [&](const Expr& top) {
        return exp2(kernel::mul(kernel::sub(top, most), float_const(scale_.factor)));
      };
      for (int n = 0; n < s_.warps_n; ++n)
        sums.push_back(
            kernel::mul(kernel::load(sums_, place(i, int_const(n))), power(tops[static_cast<size_t>(n)])));
      const Expr all = w.let("all", folded_all(sums, kernel::add));
      out.push_back(w.let("share", kernel::mul(power(var_expr(top_[static_cast<size_t>(i)])),
                                               reciprocal_of_sum(shape_, keys_, all))));
    }
    return out;
  }
  static Expr folded_all(const std::vector<Expr>& values, Expr (*fold)(Expr, Expr)) {
    Expr out = values[0];
    for (size_t i = 1; i < values.size(); ++i) out = fold(out, values[i]);
    return out;
  }

  void results(LoopWriter& w) {
    const Buffer share = spread(w, factors_, shares(w));
    for (int i = 0; i < s_.tiles_m; ++i) {
      for (int j = 0; j < value_tiles_; ++j) {
        const int64_t slot = int64_t{i} * value_tiles_ + j;
        compute(w, out_, slot, kernel::mul(element(out_, slot), element(share, i)));
      }
    }
    const Buffer outs = workgroup("outs", DType::kF32, size_.outs);
    w.emit(kernel::alloc(outs));
    for (int64_t j0 = 0; j0 < value_tiles_; j0 += size_.together) {
      const int64_t count = std::min<int64_t>(size_.together, value_tiles_ - j0);
      w.emit(kernel::barrier());
      for (int i = 0; i < s_.tiles_m; ++i) {
        for (int64_t j = 0; j < count; ++j)
          move(w, TileOp::kStore, out_, int64_t{i} * value_tiles_ + j0 + j, outs,
               plus(times(plus(times(warp_n_, s_.rows()), plus(first_row_, int_const(i * u_.shape.m))),
                          size_.out_pitch()),
                    int_const(j * size_.columns)),
               size_.out_pitch());
      }
      w.emit(kernel::barrier());
      store_columns(w, outs, j0 * size_.columns,
                    std::min(count * size_.columns, shape_.value_depth - j0 * size_.columns));
    }
  }

  void store_columns(LoopWriter& w, const Buffer& outs, int64_t d0, int64_t columns) {
    const int64_t across = columns / kVector, vectors = s_.rows() * across;
    for (int64_t i = 0; i * s_.threads() < vectors; ++i) {
      const Expr q = w.let("q", plus(t_, int_const(i * s_.threads())));
      const Expr row = w.let("row", div(q, across)), d = w.let("d", times(rem(q, across), kVector));
      const Expr m = w.let("m", plus(m0_, row));
      Expr exists = less(m, params_.expr(shape_.queries));
      if (shape_.queries.is_const() && shape_.queries.value() % s_.rows() == 0) exists = nullptr;
      if ((i + 1) * s_.threads() > vectors) exists = both(exists, less(q, int_const(vectors)));
      const auto one = [&] {
        Expr value;
        for (int n = 0; n < s_.warps_n; ++n) {
          const Expr part = kernel::load(
              outs, plus(times(plus(row, int_const(n * s_.rows())), size_.out_pitch()), d), kVector);
          value = value ? kernel::add(value, part) : part;
        }
        for (kernel::Stmt& stmt : o_.finish(m, plus(d, int_const(d0)), w.let("result", value), kVector))
          w.emit(std::move(stmt));
      };
      exists ? w.when(exists, one) : one();
    }
  }

  const AttentionShape& shape_;
  const TileAttentionSchedule& s_;
  const AttentionOperands& o_;
  kernel::ParamTable& params_;
  const Expr t_;
  const Sizes size_;
  const TileUnit& u_;
  const int steps_, key_tiles_, value_tiles_;
  ScoreScale scale_;
  KeyedScore keyed_;
  const bool whole_;  // every step's keys exist
  Expr m0_, warp_, warp_n_, lane_, first_row_, copier_, keys_, base_;
  std::vector<Var> top_, total_;  // of each row of tiles, of the thread's row
  Buffer stage_, weights_, patches_, factors_, tops_, sums_, of_keys_, q_tile_, score_, out_, sum_;
};

}  // namespace

std::optional<TileAttentionSchedule> tile_attention_schedule(int64_t batch, int64_t queries,
                                                             const AttentionShape& shape,
                                                             const TileUnit& unit, int processors,
                                                             int64_t workgroup_memory) {
  TileAttentionSchedule s;
  s.unit = unit;
  s.warps_m = 4;
  s.warps_n = 1;
  s.block_keys = shape.depth > 64 ? 64 : 32;
  const int step = std::max(unit.shape.n, unit.shape.k);
  if (!unit.has_runs() || s.block_keys % step != 0 || step % unit.shape.n != 0 || step % unit.shape.k != 0)
    return std::nullopt;
  if (batch * ceil_div(queries, s.rows()) < processors) return std::nullopt;
  while (s.block_keys > step && Sizes(shape, s).bytes() > workgroup_memory) s.block_keys -= step;
  if (Sizes(shape, s).bytes() > workgroup_memory) return std::nullopt;
  return s;
}

AttentionKernel build_tile_attention(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                     const TileAttentionSchedule& schedule, const Var& thread,
                                     const AttentionOperands& operands, kernel::ParamTable& params) {
  return Builder(shape, schedule, thread, operands, params).build(batch_axis);
}

std::string TileAttentionSchedule::text() const {
  return fmt::format("attention on tiles, {} queries x {} keys, warps {}x{}{}", rows(), block_keys, warps_m,
                     warps_n, unit_text(unit));
}

}  // namespace tern::lower::gpu
