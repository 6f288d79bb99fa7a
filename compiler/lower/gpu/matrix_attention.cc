#include "compiler/lower/gpu/matrix_attention.h"

#include "compiler/lower/gpu/attention_rows.h"
#include "compiler/lower/gpu/matrix_schedule.h"
#include "compiler/lower/gpu/tile_ops.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::TileOp;
using kernel::TilePart;
using kernel::TileUnit;
using kernel::Var;
using kernel::var_expr;
using RowOf = std::function<Expr(const Expr&)>;

constexpr int kVector = 4, kPadding = 8;

// Sizes of workgroup memory, in elements.
struct Sizes {
  Sizes(const AttentionShape& shape, const MatrixAttentionSchedule& s)
      : depth(round_up(shape.depth, s.unit.shape.k)),
        value_depth(round_up(shape.value_depth, s.unit.shape.n)),
        k_pitch(depth + kPadding),
        v_pitch(value_depth + kPadding),
        score_pitch(s.block_keys + kVector),
        weight_pitch(s.block_keys + kPadding),
        out_pitch(value_depth + kVector),
        queries(s.rows() * k_pitch),
        stage(s.block_keys * std::max(k_pitch, v_pitch)),
        // Also a tile of each warp, while outputs are scaled.
        scores(std::max<int64_t>(s.rows() * score_pitch,
                                 s.warps_m * s.warps_n * s.unit.shape.elements(TilePart::kSums))),
        weights(s.rows() * weight_pitch),
        outs(s.rows() * out_pitch) {}
  int64_t bytes() const { return 2 * (queries + stage + weights) + 4 * scores + 1024; }
  int64_t depth, value_depth;  // of whole tiles
  int64_t k_pitch, v_pitch, score_pitch, weight_pitch, out_pitch;
  int64_t queries, stage, scores, weights, outs;
};

class Builder {
 public:
  Builder(const AttentionShape& shape, const MatrixAttentionSchedule& s, const Var& thread,
          const AttentionOperands& o, kernel::ParamTable& params)
      : shape_(shape),
        s_(s),
        o_(o),
        params_(params),
        t_(var_expr(thread)),
        size_(shape, s),
        u_(s.unit),
        steps_(static_cast<int>(size_.depth / u_.shape.k)),
        key_tiles_(s.block_keys / u_.shape.n / s.warps_n),
        value_tiles_(static_cast<int>(size_.value_depth / u_.shape.n)),
        own_values_((value_tiles_ + s.warps_n - 1) / s.warps_n) {}

  AttentionKernel build(const kernel::GridAxis& batch) {
    AttentionKernel out;
    if (batch.var) out.grid.push_back(batch);
    const Var block = kernel::make_var("m_block");
    const Dim blocks = ceildiv(shape_.queries, s_.rows());
    out.grid.push_back({block, blocks, params_.expr(blocks)});
    LoopWriter w;
    m0_ = w.let("m0", times(var_expr(block), s_.rows()));
    const Expr warp = w.let("warp", div(t_, u_.subgroup));
    warp_n_ = w.let("warp_n", rem(warp, s_.warps_n));
    first_row_ = w.let("first_row", times(div(warp, s_.warps_n), int64_t{u_.shape.m} * s_.tiles_m));
    warp_ = warp;
    place_ = {s_.rows(), s_.threads(), s_.block_keys, static_cast<int>(size_.score_pitch), u_.subgroup};
    if (place_.lanes() > place_.subgroup) place_.subgroup = 0;
    RowSoftmax softmax(place_, shape_, o_, params_, t_, m0_);
    softmax.begin(w);
    out_ = tiles("out", DType::kF32, u_, TilePart::kSums, int64_t{s_.tiles_m} * own_values_);
    w.emit(kernel::alloc(out_));
    clear(w, out_);
    const auto keys = [&] {
      LoopWriter inner;
      all_keys(inner, softmax);
      w.emit(kernel::block(inner.take()));
    };
    if (!shape_.keys.is_const()) {
      w.when(less(int_const(0), params_.expr(shape_.keys)), keys);
    } else if (shape_.keys.value() > 0) {
      keys();
    }
    LoopWriter last;
    results(last, softmax);
    w.emit(kernel::block(last.take()));
    out.body = w.take();
    return out;
  }

 private:
  // ---- Copies of rows, zero past `extent`.

  struct Copy : RowCopy {
    Dim extent;
    bool whole;  // all rows exist
  };
  Copy copy_of(const char* name, const Buffer& from, const RowOf& row_of, int64_t rows, int64_t width,
               int64_t padded, int64_t pitch, const Dim& extent) const {
    return {RowCopy(name, from, row_of, rows, width, padded, pitch, s_.threads(), t_), extent,
            extent.is_const() && extent.value() % rows == 0};
  }

  // Whether there is such a chunk of a row of those from `first` on; null: all are.
  Expr exists(const Copy& c, const Expr& first, const Expr& row, const Expr& chunk) const {
    return both(c.whole ? nullptr : less(plus(first, row), params_.expr(c.extent)), c.has(chunk));
  }
  void fetch(LoopWriter& w, const Copy& c, const Expr& first) {
    c.each_chunk(w, [&](int64_t i, const Expr& row, const Expr& chunk) {
      const Expr source = w.let("source", plus(first, row));
      const Expr given = exists(c, first, row, chunk);
      c.fetch(w, i, plus(c.row_of(source), times(chunk, kChunk)), given ? w.let("exists", given) : nullptr);
    });
  }
  void put(LoopWriter& w, const Copy& c, const Expr& first, const Buffer& to) const {
    c.put(w, to, nullptr, [&](const Expr& row, const Expr& chunk) { return exists(c, first, row, chunk); });
  }

  // ---- Keys

  void all_keys(LoopWriter& w, RowSoftmax& softmax) {
    const Dim blocks = ceildiv(shape_.keys, s_.block_keys);
    const bool one_block = blocks.is_const(1);
    q_rows_ = workgroup("q_rows", o_.dtype, size_.queries);
    stage_ = workgroup("stage", o_.dtype, size_.stage);
    scores_ = workgroup("scores", DType::kF32, size_.scores);
    weights_ = workgroup("weights", o_.dtype, size_.weights);
    q_tile_ = tiles("q_tile", o_.dtype, u_, TilePart::kA, int64_t{s_.tiles_m} * steps_);
    const Copy q = copy_of("q_next", o_.q, o_.q_row, s_.rows(), shape_.depth, size_.depth, size_.k_pitch,
                           shape_.queries);
    const Copy k = copy_of("k_next", o_.k, o_.k_row, s_.block_keys, shape_.depth, size_.depth, size_.k_pitch,
                           shape_.keys);
    const Copy v = copy_of("v_next", o_.v, o_.v_row, s_.block_keys, shape_.value_depth, size_.value_depth,
                           size_.v_pitch, shape_.keys);
    for (const Buffer& b : {q_rows_, stage_, scores_, weights_, q_tile_, q.next, k.next, v.next})
      w.emit(kernel::alloc(b));
    fetch(w, q, m0_);
    fetch(w, k, int_const(0));
    put(w, q, m0_, q_rows_);
    put(w, k, int_const(0), stage_);
    w.emit(kernel::barrier());
    for (int i = 0; i < s_.tiles_m; ++i) {
      for (int step = 0; step < steps_; ++step)
        move(w, TileOp::kLoad, q_tile_, i * steps_ + step, q_rows_,
             plus(times(plus(first_row_, int_const(i * u_.shape.m)), size_.k_pitch),
                  int_const(step * u_.shape.k)),
             size_.k_pitch);
    }
    const Expr count = w.let("blocks", blocks_of_keys(shape_, m0_, s_.rows(), s_.block_keys, params_));
    w.loop("block", one_block ? int_const(1) : count, [&](Expr block) {
      const Expr n0 = w.let("n0", times(block, s_.block_keys));
      fetch(w, v, n0);
      products_with_keys(w);
      w.emit(kernel::barrier());
      put(w, v, n0, stage_);
      const Expr next = w.let("next", plus(block, int_const(1)));
      const Expr more = one_block ? nullptr : w.let("more", less(next, count));
      if (more) w.when(more, [&] { fetch(w, k, times(next, s_.block_keys)); });
      softmax.block(w, scores_, weights_, static_cast<int>(size_.weight_pitch), n0);
      w.emit(kernel::barrier());
      if (more) w.when(less(int_const(0), block), [&] { rescale(w, softmax); });
      products_with_values(w);
      w.emit(kernel::barrier());
      if (!more) return;
      w.when(more, [&] { put(w, k, times(next, s_.block_keys), stage_); });
      w.emit(kernel::barrier());
    });
  }

  void products_with_keys(LoopWriter& w) {
    const Buffer sums = tiles("score", DType::kF32, u_, TilePart::kSums, int64_t{s_.tiles_m} * key_tiles_);
    const Buffer b = tiles("k_tile", o_.dtype, u_, TilePart::kB, key_tiles_);
    w.emit(kernel::alloc(sums));
    w.emit(kernel::alloc(b));
    clear(w, sums);
    const int side = u_.shape.n;
    const auto key = [&](int j) { return plus(times(warp_n_, side), int_const(j * side * s_.warps_n)); };
    for (int step = 0; step < steps_; ++step) {
      for (int j = 0; j < key_tiles_; ++j)
        move(w, TileOp::kLoadColumns, b, j, stage_,
             plus(times(key(j), size_.k_pitch), int_const(step * u_.shape.k)), size_.k_pitch);
      for (int i = 0; i < s_.tiles_m; ++i) {
        for (int j = 0; j < key_tiles_; ++j)
          multiply(w, sums, int64_t{i} * key_tiles_ + j, q_tile_, int64_t{i} * steps_ + step, b, j);
      }
    }
    for (int i = 0; i < s_.tiles_m; ++i) {
      for (int j = 0; j < key_tiles_; ++j)
        move(w, TileOp::kStore, sums, int64_t{i} * key_tiles_ + j, scores_,
             plus(times(plus(first_row_, int_const(i * u_.shape.m)), size_.score_pitch), key(j)),
             size_.score_pitch);
    }
  }

  // This warp's j-th tile of outputs, where it has one.
  void each_value_tile(LoopWriter& w, const std::function<void(int j, const Expr& column)>& act) {
    for (int j = 0; j < own_values_; ++j) {
      const Expr tile = plus(warp_n_, int_const(j * s_.warps_n));
      const auto one = [&] { act(j, times(tile, u_.shape.n)); };
      if ((j + 1) * s_.warps_n > value_tiles_) {
        w.when(less(tile, int_const(value_tiles_)), one);
      } else {
        one();
      }
    }
  }

  void products_with_values(LoopWriter& w) {
    const Buffer a = tiles("weight_tile", o_.dtype, u_, TilePart::kA, s_.tiles_m),
                 b = tiles("v_tile", o_.dtype, u_, TilePart::kB, own_values_);
    w.emit(kernel::alloc(a));
    w.emit(kernel::alloc(b));
    for (int step = 0; step < s_.block_keys / u_.shape.k; ++step) {
      for (int i = 0; i < s_.tiles_m; ++i)
        move(w, TileOp::kLoad, a, i, weights_,
             plus(times(plus(first_row_, int_const(i * u_.shape.m)), size_.weight_pitch),
                  int_const(step * u_.shape.k)),
             size_.weight_pitch);
      each_value_tile(w, [&](int j, const Expr& column) {
        move(w, TileOp::kLoad, b, j, stage_, plus(int_const(step * u_.shape.k * size_.v_pitch), column),
             size_.v_pitch);
        for (int i = 0; i < s_.tiles_m; ++i) multiply(w, out_, int64_t{i} * own_values_ + j, a, i, b, j);
      });
    }
  }

  // Outputs so far times what their rows' maxima ask for, where any does: a tile at a time through memory of
  // the warp's own.
  void rescale(LoopWriter& w, const RowSoftmax& softmax) {
    const Expr lane = w.let("lane", rem(t_, u_.subgroup));
    const Expr patch = w.let("patch", times(warp_, u_.shape.elements(TilePart::kSums)));
    for (int i = 0; i < s_.tiles_m; ++i) {
      const Expr row0 = plus(first_row_, int_const(i * u_.shape.m));
      Expr least = softmax.scale(plus(row0, rem(lane, u_.shape.m)));
      for (int mask = 1; mask < u_.shape.m; mask *= 2) {
        const Expr own = w.let("least", least);
        least = kernel::min(own, kernel::intrinsic(kernel::Intrinsic::kSubgroupShuffleXor,
                                                   {own, int_const(mask)}, own->type));
      }
      w.when(less(w.let("least", least), float_const(1.0)), [&] {
        const Expr scale = w.let("scale", softmax.scale(plus(row0, div(lane, u_.threads_a_row()))));
        each_value_tile(w, [&](int j, const Expr&) {
          const int64_t slot = int64_t{i} * own_values_ + j;
          move(w, TileOp::kStore, out_, slot, scores_, patch, u_.shape.n);
          w.emit(kernel::barrier(kernel::BarrierScope::kSubgroup));
          for (int part = 0; part < u_.run(); part += kVector) {
            const Expr at = plus(patch, plus(times(lane, u_.run()), int_const(part)));
            w.store(scores_, at,
                    kernel::mul(kernel::load(scores_, at, kVector), kernel::broadcast(scale, kVector)));
          }
          w.emit(kernel::barrier(kernel::BarrierScope::kSubgroup));
          move(w, TileOp::kLoad, out_, slot, scores_, patch, u_.shape.n);
          w.emit(kernel::barrier(kernel::BarrierScope::kSubgroup));
        });
      });
    }
  }

  void results(LoopWriter& w, RowSoftmax& softmax) {
    const Buffer outs = workgroup("outs", DType::kF32, size_.outs);
    w.emit(kernel::alloc(outs));
    softmax.end(w);
    each_value_tile(w, [&](int j, const Expr& column) {
      for (int i = 0; i < s_.tiles_m; ++i)
        move(w, TileOp::kStore, out_, int64_t{i} * own_values_ + j, outs,
             plus(times(plus(first_row_, int_const(i * u_.shape.m)), size_.out_pitch), column),
             size_.out_pitch);
    });
    w.emit(kernel::barrier());
    const int64_t across = shape_.value_depth / kVector, vectors = s_.rows() * across;
    for (int64_t i = 0; i * s_.threads() < vectors; ++i) {
      const Expr q = w.let("q", plus(t_, int_const(i * s_.threads())));
      const Expr row = w.let("row", div(q, across)), d = w.let("d", times(rem(q, across), kVector));
      const Expr m = w.let("m", plus(m0_, row));
      Expr exists = less(m, params_.expr(shape_.queries));
      if ((i + 1) * s_.threads() > vectors) exists = both(exists, less(q, int_const(vectors)));
      w.when(exists, [&] {
        const Expr value = kernel::load(outs, plus(times(row, size_.out_pitch), d), kVector);
        const Expr result =
            w.let("result", kernel::mul(value, kernel::broadcast(softmax.scale(row), kVector)));
        for (kernel::Stmt& stmt : o_.finish(m, d, result, kVector)) w.emit(std::move(stmt));
      });
    }
  }

  const AttentionShape& shape_;
  const MatrixAttentionSchedule& s_;
  const AttentionOperands& o_;
  kernel::ParamTable& params_;
  const Expr t_;
  const Sizes size_;
  const TileUnit& u_;
  const int steps_, key_tiles_, value_tiles_, own_values_;  // a warp's tiles of keys, of outputs
  RowSoftmaxPlace place_;
  Expr m0_, warp_, warp_n_, first_row_;
  Buffer q_rows_, stage_, scores_, weights_, q_tile_, out_;
};

}  // namespace

std::optional<MatrixAttentionSchedule> default_matrix_attention_schedule(int64_t batch, int64_t queries,
                                                                         int64_t keys,
                                                                         const AttentionShape& shape,
                                                                         const TileUnit& unit, int processors,
                                                                         int64_t workgroup_memory) {
  MatrixAttentionSchedule s;
  s.unit = unit;
  const int step = unit.shape.n * s.warps_n;
  if (!unit.has_runs() || step % unit.shape.k != 0) return std::nullopt;
  const auto workgroups = [&](int64_t rows) { return batch * ((queries + rows - 1) / rows); };
  s.tiles_m = workgroups(2 * unit.shape.m) >= 2 * processors ? 2 : 1;
  s.warps_m = workgroups(4 * unit.shape.m) >= 2 * processors && s.tiles_m == 2 ? 2 : 1;
  // As many keys at a time as fit, but no more than there are.
  s.block_keys = 4 * step;
  while (s.block_keys > step && (s.block_keys / 2 >= keys || Sizes(shape, s).bytes() > workgroup_memory))
    s.block_keys /= 2;
  return s;
}

AttentionKernel build_matrix_attention(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                       const MatrixAttentionSchedule& schedule, const Var& thread,
                                       const AttentionOperands& operands, kernel::ParamTable& params) {
  return Builder(shape, schedule, thread, operands, params).build(batch_axis);
}

std::string MatrixAttentionSchedule::text() const {
  return fmt::format("matrix attention, {} queries x {} keys, warps {}x{}{}", rows(), block_keys, warps_m,
                     warps_n, unit_text(unit));
}

}  // namespace tern::lower::gpu
