#include "compiler/lower/gpu/simt_attention.h"

#include <algorithm>
#include <cmath>

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

// Which row of AttentionParts' buffers.
Expr row_of_part(const AttentionShape& shape, const AttentionParts& parts, const Expr& part, const Expr& m,
                 kernel::ParamTable& params) {
  const Expr of_batch = kernel::add(kernel::mul(part, params.expr(shape.batch)), parts.batch);
  return kernel::add(kernel::mul(of_batch, params.expr(parts.queries)), m);
}

class Builder {
 public:
  Builder(const AttentionShape& shape, const SimtAttentionSchedule& s, const Var& thread,
          const SimtAttentionOperands& e, const AttentionOperands& o, kernel::ParamTable& params,
          const AttentionParts* parts)
      : parts_(parts),
        shape_(shape),
        s_(s),
        e_(e),
        o_(o),
        params_(params),
        t_(var_expr(thread)),
        queries_(params.expr(shape.queries)),
        vectors_(vectors_of(shape.value_depth)),
        stages_((shape.depth + s.depth - 1) / s.depth),
        value_stages_(kKeys / s.value_steps),
        q_pitch_(s.rows + kTilePadding),
        place_{s.rows, s.threads(), kKeys, kScorePitch, s.subgroup} {}

  AttentionKernel build(const kernel::GridAxis& batch) {
    AttentionKernel out;
    if (batch.var) out.grid.push_back(batch);
    const Var block = kernel::make_var("m_block");
    const Dim blocks = ceildiv(shape_.queries, s_.rows);
    out.grid.push_back({block, blocks, params_.expr(blocks)});
    if (parts_) {
      const Var part = kernel::make_var("part");
      out.grid.push_back({part, Dim(parts_->count), int_const(parts_->count)});
      part_ = var_expr(part);
    }
    LoopWriter w;
    m0_ = w.let("m0", times(var_expr(block), s_.rows));
    tx_ = w.let("tx", kernel::index_rem(t_, int_const(kAcross)));
    row_ = w.let("row", times(kernel::index_div(t_, int_const(kAcross)), s_.thread_rows));
    RowSoftmax softmax(place_, shape_, o_, params_, t_, m0_);
    softmax.begin(w);
    out_ = registers("out", kVector, int64_t{s_.thread_rows} * vectors_);
    w.emit(kernel::alloc(out_));
    clear(w, out_);
    LoopWriter keys;
    if (!shape_.keys.is_const()) {
      keys.when(less(int_const(0), params_.expr(shape_.keys)), [&] { all_keys(keys, softmax); });
    } else if (shape_.keys.value() > 0) {
      all_keys(keys, softmax);
    }
    w.emit(kernel::block(keys.take()));
    if (parts_) {
      results_of_part(w, softmax);
    } else {
      softmax.end(w);
      w.emit(kernel::barrier());
      results(w, softmax);
    }
    out.body = w.take();
    return out;
  }

 private:
  static Buffer registers(const char* name, int lanes, int64_t size) {
    return kernel::make_buffer(name, {DType::kF32, lanes}, Scope::kRegister, kernel::Access::kReadWrite,
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
  // Null: each index below a multiple of `side` is.
  Expr below(const Expr& at, const Dim& extent, int64_t side) const {
    return extent.is_const() && extent.value() % side == 0 ? nullptr : less(at, params_.expr(extent));
  }

  // ---- Stages: `rows` x `columns` elements of a matrix, through registers into workgroup memory.

  struct Stage {
    const SimtAttentionMatrix& from;
    Dim row_extent;
    int64_t row_block;      // rows are read in whole blocks of so many
    int64_t extent;         // columns of the matrix
    int64_t rows, columns;  // of a stage
    int lanes;              // columns of one access
    Buffer next;
    // Where an element lies in workgroup memory; neighbouring columns lie side by side or not.
    std::function<Expr(const Expr& row, const Expr& column)> place;
    bool columns_together;
  };
  Stage stage_of(const char* name, const SimtAttentionMatrix& from, const Dim& row_extent, int64_t row_block,
                 int64_t extent, int64_t rows, int64_t columns, bool columns_together,
                 const std::function<Expr(const Expr& row, const Expr& column)>& place) const {
    const int lanes = from.four && columns % kVector == 0 && extent % kVector == 0 ? kVector : 1;
    const int64_t accesses = (rows * columns / lanes + s_.threads() - 1) / s_.threads();
    return {from,  row_extent,      row_block, extent, rows, columns, lanes, registers(name, lanes, accesses),
            place, columns_together};
  }
  // act(u, row, column) for the thread's u-th access. Neighbouring threads have neighbours in memory.
  void each_access(LoopWriter& w, const Stage& s,
                   const std::function<void(LoopWriter&, Expr u, Expr row, Expr column)>& act) {
    const int64_t across = s.columns / s.lanes, total = s.rows * across;
    unrolled(w, "u", s.next->size, [&](LoopWriter& u, Expr at) {
      const Expr q = u.let("q", plus(times(at, s_.threads()), t_));
      const bool turned = s.lanes == 1 && s.from.across;
      const int64_t run = turned ? s.rows : across;
      const Expr far = kernel::index_div(q, int_const(run)), near = kernel::index_rem(q, int_const(run));
      const Expr row = u.let("stage_row", turned ? near : far),
                 column = u.let("stage_column", times(turned ? far : near, s.lanes));
      const auto one = [&] { act(u, at, row, column); };
      total % s_.threads() != 0 ? u.when(less(q, int_const(total)), one) : one();
    });
  }
  // The stage that begins at (row0, column0); zeros outside of the matrix.
  void fetch(LoopWriter& w, const Stage& s, const Expr& row0, const Expr& column0) {
    each_access(w, s, [&](LoopWriter& u, const Expr& at, const Expr& row, const Expr& column) {
      const Expr m = u.let("m", plus(row0, row)), d = u.let("d", plus(column0, column));
      Expr exists = both(below(d, Dim(s.extent), s.columns), below(m, s.row_extent, s.row_block));
      if (exists) exists = u.let("exists", exists);
      // Elsewhere the first elements are read, so that no load waits for a branch.
      const auto read = [&](const Expr& index) {
        return exists ? kernel::select(exists, index, int_const(0)) : index;
      };
      Expr value = (s.lanes > 1 ? s.from.four : s.from.element)(read(m), read(d));
      if (exists)
        value = kernel::select(kernel::broadcast(exists, s.lanes), value,
                               kernel::broadcast(float_const(0.0), s.lanes));
      u.emit(kernel::store(s.next, at, value));
    });
  }
  void put(LoopWriter& w, const Stage& s, const Buffer& to) {
    each_access(w, s, [&](LoopWriter& u, const Expr& at, const Expr& row, const Expr& column) {
      const Expr value = u.let("value", kernel::load(s.next, at, s.lanes));
      if (s.columns_together) return u.store(to, s.place(row, column), value);
      for (int l = 0; l < s.lanes; ++l)
        u.store(to, s.place(row, plus(column, int_const(l))),
                s.lanes == 1 ? value : kernel::shuffle(value, nullptr, {l}));
    });
  }

  // Step d of key n. Fours of keys are mixed by their step, so that those who store neighbouring steps of a
  // key meet different banks.
  static Expr key_place(const Expr& n, const Expr& d) {
    return plus(fours_of_keys(kernel::index_div(n, int_const(kVector)), d),
                kernel::index_rem(n, int_const(kVector)));
  }
  static Expr fours_of_keys(const Expr& four, const Expr& d) {
    const Expr turn = kernel::index_rem(kernel::index_div(d, int_const(kVector)), int_const(kKeys / kVector));
    return plus(times(d, kKeys), times(kernel::op(ScalarOp::kXor, {four, turn}), kVector));
  }

  // ---- Keys

  void all_keys(LoopWriter& w, RowSoftmax& softmax) {
    const int64_t width = vectors_ * kColumns;
    scores_ = workgroup("scores", int64_t{s_.rows} * kScorePitch);
    q_tile_ = workgroup("q_tile", s_.depth * q_pitch_);
    // Keys and values in turn.
    stage_ = workgroup("stage", std::max<int64_t>(int64_t{s_.depth} * kKeys, s_.value_steps * width));
    const Stage q = stage_of("q_next", e_.q, shape_.queries, s_.rows, shape_.depth, s_.rows, s_.depth, false,
                             [&](const Expr& row, const Expr& d) { return plus(times(d, q_pitch_), row); });
    const Stage k =
        stage_of("k_next", e_.k, shape_.keys, kKeys, shape_.depth, kKeys, s_.depth, false, key_place);
    const Stage v = stage_of("v_next", e_.v, shape_.keys, kKeys, shape_.value_depth, s_.value_steps, width,
                             true, [&](const Expr& n, const Expr& d) { return plus(times(n, width), d); });
    for (const Buffer& b : {scores_, q_tile_, stage_, q.next, k.next, v.next}) w.emit(kernel::alloc(b));
    const Expr all = w.let("blocks", blocks_of_keys(shape_, m0_, s_.rows, kKeys, params_));
    if (!parts_) return blocks(w, softmax, {q, k, v}, int_const(0), all);
    const Expr each = kernel::index_div(plus(all, int_const(parts_->count - 1)), int_const(parts_->count));
    const Expr first = w.let("first", kernel::mul(part_, each));
    w.when(less(first, all), [&] {
      blocks(w, softmax, {q, k, v}, first, w.let("own", kernel::min(each, kernel::sub(all, first))));
    });
  }

  struct Stages {
    const Stage &q, &k, &v;
  };
  // `count` blocks of keys from `first` on, at least one.
  void blocks(LoopWriter& w, RowSoftmax& softmax, const Stages& stages, const Expr& first,
              const Expr& count) {
    const auto& [q, k, v] = stages;
    fetch(w, k, times(first, kKeys), int_const(0));
    fetch(w, q, m0_, int_const(0));
    w.loop("block", count, [&](Expr block) {
      const Expr n0 = w.let("n0", times(plus(first, block), kKeys));
      products_with_keys(w, q, k, v, n0);
      w.emit(kernel::barrier());
      put(w, v, stage_);
      softmax.block(w, scores_, scores_, kScorePitch, n0);
      w.emit(kernel::barrier());
      for (int i = 0; i < s_.thread_rows; ++i) {
        const Expr scale = w.let("scale", softmax.scale(plus(row_, int_const(i))));
        for (int64_t x = 0; x < vectors_; ++x) {
          const Expr slot = int_const(i * vectors_ + x);
          w.emit(kernel::store(out_, slot,
                               kernel::mul(kernel::load(out_, slot), kernel::broadcast(scale, kVector))));
        }
      }
      products_with_values(w, v, n0, [&] {
        const Expr next = w.let("next", plus(block, int_const(1)));
        w.when(less(next, count), [&] {
          fetch(w, k, times(plus(first, next), kKeys), int_const(0));
          fetch(w, q, m0_, int_const(0));
        });
      });
    });
  }

  // The first keys are in registers; leaves the first values there, and scores in their memory.
  void products_with_keys(LoopWriter& w, const Stage& q, const Stage& k, const Stage& v, const Expr& n0) {
    LoopWriter in;
    const Buffer sums = registers("score", kVector, s_.thread_rows);
    in.emit(kernel::alloc(sums));
    clear(in, sums);
    in.loop("stage", int_const(stages_), [&](Expr stage) {
      put(in, k, stage_);
      put(in, q, q_tile_);
      in.emit(kernel::barrier());
      const Expr next = in.let("next_stage", plus(stage, int_const(1)));
      const auto values = [&] { fetch(in, v, n0, int_const(0)); };
      if (stages_ > 1) {
        in.when(less(next, int_const(stages_)), [&] {
          const Expr d0 = in.let("d0", times(next, s_.depth));
          fetch(in, k, n0, d0);
          fetch(in, q, m0_, d0);
        });
        in.when(kernel::compare(ScalarOp::kEq, next, int_const(stages_)), values);
      } else {
        values();
      }
      unrolled(in, "kk", s_.depth, [&](LoopWriter& u, Expr kk) {
        const Expr b = u.let("b", kernel::load(stage_, fours_of_keys(tx_, kk), kVector));
        const Expr at = plus(times(kk, q_pitch_), row_);
        const Expr rows = s_.thread_rows > 1 ? u.let("a", kernel::load(q_tile_, at, row_run())) : nullptr;
        const Expr more = s_.thread_rows > row_run()
                              ? u.let("a", kernel::load(q_tile_, plus(at, int_const(row_run())), row_run()))
                              : nullptr;
        for (int i = 0; i < s_.thread_rows; ++i) {
          const Expr a = rows ? kernel::shuffle(i < row_run() ? rows : more, nullptr, {i % row_run()})
                              : kernel::load(q_tile_, at);
          u.emit(kernel::store(sums, int_const(i),
                               kernel::op(ScalarOp::kFma, {kernel::broadcast(a, kVector), b,
                                                           kernel::load(sums, int_const(i))})));
        }
      });
      if (stages_ > 1) in.when(less(next, int_const(stages_)), [&] { in.emit(kernel::barrier()); });
    });
    for (int i = 0; i < s_.thread_rows; ++i)
      in.store(scores_, plus(times(plus(row_, int_const(i)), kScorePitch), times(tx_, kVector)),
               kernel::load(sums, int_const(i)));
    w.emit(kernel::block(in.take()));
  }
  int row_run() const { return std::min(kVector, s_.thread_rows); }

  // The first values are in workgroup memory; `then` fetches what comes behind the last ones.
  void products_with_values(LoopWriter& w, const Stage& v, const Expr& n0,
                            const std::function<void()>& then) {
    const int64_t width = vectors_ * kColumns;
    for (int64_t stage = 0; stage < value_stages_; ++stage) {
      const int64_t first = stage * s_.value_steps;
      if (stage > 0) {
        put(w, v, stage_);
        w.emit(kernel::barrier());
      }
      if (stage + 1 < value_stages_) {
        fetch(w, v, plus(n0, int_const(first + s_.value_steps)), int_const(0));
      } else {
        then();
      }
      unrolled(w, "four", s_.value_steps / kVector, [&](LoopWriter& u, Expr four) {
        std::vector<Expr> a;
        for (int i = 0; i < s_.thread_rows; ++i) {
          const Expr at = plus(times(plus(row_, int_const(i)), kScorePitch),
                               plus(int_const(first), times(four, kVector)));
          a.push_back(u.let("a", kernel::load(scores_, at, kVector)));
        }
        for (int k = 0; k < kVector; ++k) {
          for (int64_t x = 0; x < vectors_; ++x) {
            const Expr at = plus(times(plus(times(four, kVector), int_const(k)), width),
                                 plus(times(tx_, kVector), int_const(x * kColumns)));
            const Expr b = u.let("b", kernel::load(stage_, at, kVector));
            for (int i = 0; i < s_.thread_rows; ++i) {
              const Expr slot = int_const(i * vectors_ + x);
              const Expr weight = kernel::shuffle(a[static_cast<size_t>(i)], nullptr, {k});
              u.emit(kernel::store(out_, slot,
                                   kernel::op(ScalarOp::kFma, {kernel::broadcast(weight, kVector), b,
                                                               kernel::load(out_, slot)})));
            }
          }
        }
      });
      w.emit(kernel::barrier());
    }
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

  void results_of_part(LoopWriter& w, RowSoftmax& softmax) {
    const auto exists = [&](const Expr& m) { return less(m, queries_); };
    softmax.end_part(w, [&](const Expr& row, const Expr& sum, const Expr& base) {
      const Expr m = w.let("m", plus(m0_, row));
      w.when(exists(m), [&] {
        const Expr at = times(row_of_part(shape_, *parts_, part_, m, params_), 2);
        w.store(parts_->state, at, sum);
        w.store(parts_->state, plus(at, int_const(1)), base);
      });
    });
    for (int i = 0; i < s_.thread_rows; ++i) {
      const Expr m = w.let("m", plus(m0_, plus(row_, int_const(i))));
      w.when(exists(m), [&] {
        const Expr first =
            w.let("first_out", times(row_of_part(shape_, *parts_, part_, m, params_), shape_.value_depth));
        for (int64_t v = 0; v < vectors_; ++v) {
          const Expr four = kernel::load(out_, int_const(i * vectors_ + v));
          for (int e = 0; e < kVector; ++e) {
            const Expr d = plus(times(tx_, kVector), int_const(v * kColumns + e));
            const auto store = [&] {
              w.store(parts_->outs, plus(first, d), kernel::shuffle(four, nullptr, {e}));
            };
            shape_.value_depth % kColumns == 0 ? store()
                                               : w.when(less(d, int_const(shape_.value_depth)), store);
          }
        }
      });
    }
  }

  const AttentionParts* parts_;  // null: the keys are one
  Expr part_;
  const AttentionShape& shape_;
  const SimtAttentionSchedule& s_;
  const SimtAttentionOperands& e_;
  const AttentionOperands& o_;
  kernel::ParamTable& params_;
  const Expr t_, queries_;
  const int64_t vectors_;                // of a row's outputs a thread has
  const int64_t stages_, value_stages_;  // of a block of keys
  const int64_t q_pitch_;
  const RowSoftmaxPlace place_;
  Expr m0_, tx_, row_;
  Buffer out_, scores_, q_tile_, stage_;
};

}  // namespace

int64_t SimtAttentionSchedule::workgroup_bytes(int64_t value_depth) const {
  const int64_t stage =
      std::max<int64_t>(int64_t{depth} * kKeys, value_steps * vectors_of(value_depth) * kColumns);
  const int64_t parts = subgroup > 0 ? 0 : threads();
  return 4 * (int64_t{rows} * kScorePitch + int64_t{depth} * (rows + kTilePadding) + stage + rows + parts);
}

SimtAttentionSchedule default_simt_attention_schedule(int64_t batch, int64_t queries, int64_t depth,
                                                      int64_t value_depth, const GpuModel& model) {
  constexpr int kLongSteps = 32, kManyRegisters = 128;
  SimtAttentionSchedule s;
  s.subgroup = model.subgroup;
  s.rows = 64;
  if (model.registers >= kManyRegisters) s.thread_rows = 8;
  const auto fits = [&](const SimtAttentionSchedule& c) {
    return c.threads() <= model.max_threads && c.workgroup_bytes(value_depth) <= model.workgroup_memory;
  };
  // Half the rows while they do not exist, or while there are fewer than two workgroups a processor.
  while (s.rows > 8 &&
         (!fits(s) || s.rows / 2 >= queries || batch * ((queries + s.rows - 1) / s.rows) < 2 * model.cores)) {
    s.rows /= 2;
    if (s.threads() < 128) s.thread_rows /= 2;
  }
  while (!fits(s) && s.value_steps > kVector) s.value_steps /= 2;
  // Longer stages where there is room.
  for (int* steps : {&s.depth, &s.value_steps}) {
    const int before = *steps;
    *steps = kLongSteps;
    if (!fits(s) || (steps == &s.depth && depth <= before)) *steps = before;
  }
  return s;
}

AttentionKernel build_simt_attention(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                     const SimtAttentionSchedule& schedule, const kernel::Var& thread,
                                     const SimtAttentionOperands& elements, const AttentionOperands& operands,
                                     kernel::ParamTable& params, const AttentionParts* parts) {
  return Builder(shape, schedule, thread, elements, operands, params, parts).build(batch_axis);
}

AttentionKernel build_attention_merge(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                      const AttentionParts& parts, const Var& thread, int threads,
                                      const AttentionOperands& operands, kernel::ParamTable& params) {
  AttentionKernel out;
  if (batch_axis.var) out.grid.push_back(batch_axis);
  const int lanes = shape.value_depth % kVector == 0 ? kVector : 1;
  const int64_t across = shape.value_depth / lanes;
  const Dim all = shape.queries * Dim(across), blocks = ceildiv(all, threads);
  const Var block = kernel::make_var("block");
  out.grid.push_back({block, blocks, params.expr(blocks)});
  LoopWriter w;
  const Expr q = w.let("q", plus(times(var_expr(block), threads), var_expr(thread)));
  w.when(less(q, params.expr(all)), [&] {
    const Expr m = w.let("m", kernel::index_div(q, int_const(across))),
               d = w.let("d", times(kernel::index_rem(q, int_const(across)), lanes));
    const auto row = [&](const Expr& part) { return row_of_part(shape, parts, part, m, params); };
    const auto base_of = [&](const Expr& part) {
      return kernel::load(parts.state, plus(times(row(part), 2), int_const(1)));
    };
    const Var top = w.declare("top", float_const(-INFINITY)), sum = w.declare("sum", float_const(0.0));
    w.loop("part", int_const(parts.count),
           [&](const Expr& part) { w.set(top, kernel::max(var_expr(top), base_of(part))); });
    const Buffer acc =
        kernel::make_buffer("acc", {DType::kF32, lanes}, Scope::kRegister, kernel::Access::kReadWrite, 1);
    const Expr zero = int_const(0);
    const auto splat = [&](const Expr& e) { return lanes == 1 ? e : kernel::broadcast(e, lanes); };
    w.emit(kernel::alloc(acc));
    w.emit(kernel::store(acc, zero, splat(float_const(0.0))));
    w.loop("part", int_const(parts.count), [&](const Expr& part) {
      const Expr base = w.let("base", base_of(part));
      const Expr none = kernel::compare(ScalarOp::kEq, base, float_const(-INFINITY));
      const Expr weight =
          w.let("weight", kernel::select(none, float_const(0.0), exp2(kernel::sub(base, var_expr(top)))));
      w.set(sum, kernel::op(ScalarOp::kFma,
                            {weight, kernel::load(parts.state, times(row(part), 2)), var_expr(sum)}));
      const Expr four = kernel::load(parts.outs, plus(times(row(part), shape.value_depth), d), lanes);
      w.emit(kernel::store(
          acc, zero, kernel::op(ScalarOp::kFma, {splat(weight), four, kernel::load(acc, zero, lanes)})));
    });
    const Expr share = w.let("share", reciprocal_of_sum(shape, params.expr(shape.keys), var_expr(sum)));
    const Expr value = w.let("value", kernel::mul(kernel::load(acc, zero, lanes), splat(share)));
    for (kernel::Stmt& stmt : operands.finish(m, d, value, lanes)) w.emit(std::move(stmt));
  });
  out.body = w.take();
  return out;
}

std::string SimtAttentionSchedule::text() const {
  return fmt::format("attention, {} queries x {} keys, {} rows a thread, stages of {} and {}", rows, kKeys,
                     thread_rows, depth, value_steps);
}

}  // namespace tern::lower::gpu
