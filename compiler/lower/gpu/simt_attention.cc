#include "compiler/lower/gpu/simt_attention.h"

#include <algorithm>

#include "compiler/lower/gpu/attention_rows.h"
#include "compiler/lower/gpu/chunks.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/gpu/simt_schedule.h"

namespace tern::lower::gpu {
namespace {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Var;
using kernel::var_expr;

constexpr int kVector = 4, kAcross = SimtAttentionSchedule::kAcross, kKeys = SimtAttentionSchedule::kKeys;
constexpr int kColumns = kAcross * kVector;  // of outputs: one vector of each thread
constexpr int kScorePitch = kKeys + kTilePadding;

int64_t vectors_of(int64_t value_depth) {
  return (value_depth + kColumns - 1) / kColumns;
}

class Builder {
 public:
  Builder(const AttentionShape& shape, const SimtAttentionSchedule& s, const Var& thread,
          const SimtAttentionOperands& e, const AttentionOperands& o, kernel::ParamTable& params)
      : shape_(shape),
        s_(s),
        e_(e),
        o_(o),
        params_(params),
        t_(var_expr(thread)),
        keys_(params.expr(shape.keys)),
        queries_(params.expr(shape.queries)),
        vectors_(vectors_of(shape.value_depth)),
        place_{s.rows, s.threads(), kKeys, kScorePitch, s.subgroup} {}

  AttentionKernel build(const kernel::GridAxis& batch) {
    AttentionKernel out;
    if (batch.var) out.grid.push_back(batch);
    const Var block = kernel::make_var("m_block");
    const Dim blocks = ceildiv(shape_.queries, s_.rows);
    out.grid.push_back({block, blocks, params_.expr(blocks)});
    LoopWriter w;
    m0_ = w.let("m0", times(var_expr(block), s_.rows));
    tx_ = w.let("tx", kernel::index_rem(t_, int_const(kAcross)));
    row_ = w.let("row", times(kernel::index_div(t_, int_const(kAcross)), s_.thread_rows));
    RowSoftmax softmax(place_, shape_, o_, params_, t_, m0_);
    softmax.begin(w);
    out_ = registers("out", int64_t{s_.thread_rows} * vectors_);
    w.emit(kernel::alloc(out_));
    clear(w, out_);
    LoopWriter keys;
    all_keys(keys, softmax);
    w.emit(kernel::block(keys.take()));
    softmax.end(w);
    w.emit(kernel::barrier());
    results(w, softmax);
    out.body = w.take();
    return out;
  }

 private:
  static Buffer registers(const char* name, int64_t size) {
    return kernel::make_buffer(name, {DType::kF32, kVector}, Scope::kRegister, kernel::Access::kReadWrite,
                               size);
  }
  static Buffer workgroup(const char* name, int64_t size) {
    return kernel::make_buffer(name, {DType::kF32, 1}, Scope::kWorkgroup, kernel::Access::kReadWrite, size);
  }
  static void clear(LoopWriter& w, const Buffer& sums) {
    for (int64_t i = 0; i < sums->size; ++i)
      w.emit(kernel::store(sums, int_const(i), kernel::broadcast(float_const(0.0), kVector)));
  }
  void unrolled(LoopWriter& w, const char* name, int64_t count,
                const std::function<void(LoopWriter&, Expr)>& body) {
    const Var at = kernel::make_var(name);
    LoopWriter inner;
    body(inner, var_expr(at));
    w.emit(kernel::loop(at, int_const(0), int_const(count), kernel::LoopKind::kUnroll, inner.take()));
  }

  // Elements (outer, inner) of `tile`, `pitch` apart: value(outer, inner), zero where it does not exist.
  // Neighbouring threads have neighbours along the inner, or with `across` the outer one.
  template <typename Value>
  void copy(LoopWriter& w, const Buffer& tile, int64_t outers, int64_t inners, int64_t pitch, bool across,
            const Value& value) {
    const int64_t total = outers * inners;
    unrolled(w, "u", (total + s_.threads() - 1) / s_.threads(), [&](LoopWriter& u, Expr at) {
      const Expr q = u.let("q", plus(times(at, s_.threads()), t_));
      const int64_t run = across ? outers : inners;
      const Expr far = kernel::index_div(q, int_const(run)), near = kernel::index_rem(q, int_const(run));
      const Expr outer = u.let("outer", across ? near : far), inner = u.let("inner", across ? far : near);
      const auto one = [&] { u.store(tile, plus(times(outer, pitch), inner), value(outer, inner)); };
      if (total % s_.threads() != 0) {
        u.when(less(q, int_const(total)), one);
      } else {
        one();
      }
    });
  }
  static Expr guarded(const Expr& exists, const Expr& value) {
    return exists ? kernel::select(exists, value, float_const(0.0)) : value;
  }
  // Null: each index below a multiple of `side` is.
  static Expr below(const Expr& at, const Dim& extent, const Expr& limit, int64_t side) {
    return extent.is_const() && extent.value() % side == 0 ? nullptr : less(at, limit);
  }

  void all_keys(LoopWriter& w, RowSoftmax& softmax) {
    scores_ = workgroup("scores", int64_t{s_.rows} * kScorePitch);
    w.emit(kernel::alloc(scores_));
    w.loop("block", blocks_of_keys(shape_, m0_, s_.rows, kKeys, params_), [&](Expr block) {
      const Expr n0 = w.let("n0", times(block, kKeys));
      products_with_keys(w, n0);
      w.emit(kernel::barrier());
      softmax.block(w, scores_, scores_, kScorePitch, n0);
      w.emit(kernel::barrier());
      for (int i = 0; i < s_.thread_rows; ++i) {
        const Expr scale = w.let("scale", softmax.scale(plus(row_, int_const(i))));
        for (int64_t v = 0; v < vectors_; ++v) {
          const Expr slot = int_const(i * vectors_ + v);
          w.emit(kernel::store(out_, slot,
                               kernel::mul(kernel::load(out_, slot), kernel::broadcast(scale, kVector))));
        }
      }
      products_with_values(w, n0);
    });
  }

  void products_with_keys(LoopWriter& w, const Expr& n0) {
    LoopWriter in;
    const int64_t q_pitch = s_.rows + kTilePadding, k_pitch = kKeys + kTilePadding;
    const Buffer q_tile = workgroup("q_tile", s_.depth * q_pitch),
                 k_tile = workgroup("k_tile", s_.depth * k_pitch);
    const Buffer sums = registers("score", s_.thread_rows);
    for (const Buffer& b : {q_tile, k_tile, sums}) in.emit(kernel::alloc(b));
    clear(in, sums);
    const int64_t stages = (shape_.depth + s_.depth - 1) / s_.depth;
    in.loop("stage", int_const(stages), [&](Expr stage) {
      const Expr d0 = in.let("d0", times(stage, s_.depth));
      const auto in_depth = [&](const Expr& d) {
        return below(d, Dim(shape_.depth), int_const(shape_.depth), s_.depth);
      };
      copy(in, q_tile, s_.depth, s_.rows, q_pitch, !e_.q_across, [&](const Expr& step, const Expr& r) {
        const Expr m = plus(m0_, r), d = plus(d0, step);
        return guarded(both(in_depth(d), below(m, shape_.queries, queries_, s_.rows)), e_.q(m, d));
      });
      copy(in, k_tile, s_.depth, kKeys, k_pitch, !e_.k_across, [&](const Expr& step, const Expr& r) {
        const Expr n = plus(n0, r), d = plus(d0, step);
        return guarded(both(in_depth(d), below(n, shape_.keys, keys_, kKeys)), e_.k(n, d));
      });
      in.emit(kernel::barrier());
      unrolled(in, "kk", s_.depth, [&](LoopWriter& u, Expr kk) {
        const Expr b =
            u.let("b", kernel::load(k_tile, plus(times(kk, k_pitch), times(tx_, kVector)), kVector));
        const Expr first = plus(times(kk, q_pitch), row_);
        const Expr rows =
            s_.thread_rows > 1 ? u.let("a", kernel::load(q_tile, first, s_.thread_rows)) : nullptr;
        for (int i = 0; i < s_.thread_rows; ++i) {
          const Expr a = rows ? kernel::shuffle(rows, nullptr, {i}) : kernel::load(q_tile, first);
          u.emit(kernel::store(sums, int_const(i),
                               kernel::op(ScalarOp::kFma, {kernel::broadcast(a, kVector), b,
                                                           kernel::load(sums, int_const(i))})));
        }
      });
      in.emit(kernel::barrier());
    });
    for (int i = 0; i < s_.thread_rows; ++i)
      in.store(scores_, plus(times(plus(row_, int_const(i)), kScorePitch), times(tx_, kVector)),
               kernel::load(sums, int_const(i)));
    w.emit(kernel::block(in.take()));
  }

  void products_with_values(LoopWriter& w, const Expr& n0) {
    LoopWriter in;
    const int64_t pitch = vectors_ * kColumns;
    const Buffer v_tile = workgroup("v_tile", s_.value_steps * pitch);
    in.emit(kernel::alloc(v_tile));
    in.loop("stage", int_const(kKeys / s_.value_steps), [&](Expr stage) {
      const Expr first = in.let("first", times(stage, s_.value_steps));
      copy(in, v_tile, s_.value_steps, pitch, pitch, false, [&](const Expr& step, const Expr& d) {
        const Expr n = plus(n0, plus(first, step));
        return guarded(both(below(n, shape_.keys, keys_, kKeys),
                            below(d, Dim(shape_.value_depth), int_const(shape_.value_depth), pitch)),
                       e_.v(n, d));
      });
      in.emit(kernel::barrier());
      unrolled(in, "four", s_.value_steps / kVector, [&](LoopWriter& u, Expr four) {
        std::vector<Expr> a;
        for (int i = 0; i < s_.thread_rows; ++i) {
          const Expr at =
              plus(times(plus(row_, int_const(i)), kScorePitch), plus(first, times(four, kVector)));
          a.push_back(u.let("a", kernel::load(scores_, at, kVector)));
        }
        for (int k = 0; k < kVector; ++k) {
          for (int64_t v = 0; v < vectors_; ++v) {
            const Expr at = plus(times(plus(times(four, kVector), int_const(k)), pitch),
                                 plus(times(tx_, kVector), int_const(v * kColumns)));
            const Expr b = u.let("b", kernel::load(v_tile, at, kVector));
            for (int i = 0; i < s_.thread_rows; ++i) {
              const Expr slot = int_const(i * vectors_ + v);
              const Expr weight = kernel::shuffle(a[static_cast<size_t>(i)], nullptr, {k});
              u.emit(kernel::store(out_, slot,
                                   kernel::op(ScalarOp::kFma, {kernel::broadcast(weight, kVector), b,
                                                               kernel::load(out_, slot)})));
            }
          }
        }
      });
      in.emit(kernel::barrier());
    });
    w.emit(kernel::block(in.take()));
  }

  void results(LoopWriter& w, const RowSoftmax& softmax) {
    const int64_t width = shape_.value_depth;
    for (int i = 0; i < s_.thread_rows; ++i) {
      const Expr m = w.let("m", plus(m0_, plus(row_, int_const(i))));
      w.when(less(m, queries_), [&] {
        const Expr scale = w.let("scale", softmax.scale(plus(row_, int_const(i))));
        for (int64_t v = 0; v < vectors_; ++v) {
          const Expr d = w.let("d", plus(times(tx_, kVector), int_const(v * kColumns)));
          const Expr value = w.let("value", kernel::mul(kernel::load(out_, int_const(i * vectors_ + v)),
                                                        kernel::broadcast(scale, kVector)));
          const int lanes = width % kVector == 0 ? kVector : 1;
          for (int e = 0; e < kVector; e += lanes) {
            const Expr column = plus(d, int_const(e));
            const Expr part = lanes == kVector ? value : kernel::shuffle(value, nullptr, {e});
            const auto store = [&] {
              for (kernel::Stmt& stmt : o_.finish(m, column, part, lanes)) w.emit(std::move(stmt));
            };
            width % kColumns == 0 ? store() : w.when(less(column, int_const(width)), store);
          }
        }
      });
    }
  }

  const AttentionShape& shape_;
  const SimtAttentionSchedule& s_;
  const SimtAttentionOperands& e_;
  const AttentionOperands& o_;
  kernel::ParamTable& params_;
  const Expr t_, keys_, queries_;
  const int64_t vectors_;  // of a row's outputs a thread has
  const RowSoftmaxPlace place_;
  Expr m0_, tx_, row_;
  Buffer out_, scores_;
};

}  // namespace

int64_t SimtAttentionSchedule::workgroup_bytes(int64_t value_depth) const {
  const int64_t stage = int64_t{depth} * (rows + kTilePadding + kKeys + kTilePadding);
  const int64_t values = value_steps * vectors_of(value_depth) * kColumns;
  const int64_t parts = subgroup > 0 ? 0 : threads();
  return 4 * (int64_t{rows} * kScorePitch + std::max(stage, values) + rows + parts);
}

SimtAttentionSchedule default_simt_attention_schedule(int64_t batch, int64_t queries, int64_t value_depth,
                                                      const GpuModel& model) {
  SimtAttentionSchedule s;
  s.subgroup = model.subgroup;
  s.rows = 64;
  const auto too_large = [&] {
    return s.threads() > model.max_threads || s.workgroup_bytes(value_depth) > model.workgroup_memory;
  };
  // Half the rows while they do not exist, or while there are fewer than two workgroups a processor.
  while (s.rows > 8 && (too_large() || s.rows / 2 >= queries ||
                        batch * ((queries + s.rows - 1) / s.rows) < 2 * model.cores)) {
    s.rows /= 2;
    if (s.threads() < 128) s.thread_rows /= 2;
  }
  while (too_large() && s.value_steps > kVector) s.value_steps /= 2;
  return s;
}

AttentionKernel build_simt_attention(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                     const SimtAttentionSchedule& schedule, const Var& thread,
                                     const SimtAttentionOperands& elements, const AttentionOperands& operands,
                                     kernel::ParamTable& params) {
  return Builder(shape, schedule, thread, elements, operands, params).build(batch_axis);
}

std::string SimtAttentionSchedule::text() const {
  return fmt::format("attention, {} queries x {} keys, {} rows a thread", rows, kKeys, thread_rows);
}

}  // namespace tern::lower::gpu
