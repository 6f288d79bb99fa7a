#include "compiler/lower/gpu/attention_kernel.h"

#include <cmath>
#include <numbers>

#include "compiler/lower/gpu/chunks.h"

namespace tern::lower::gpu {
namespace {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::Intrinsic;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using kernel::VType;
using Stmts = std::vector<Stmt>;

constexpr double kSlack = 8;    // of the exponents' maximum, in log2: far within 16-bit floats
constexpr int64_t kPanel = 64;  // columns of a row of workgroup memory that group_mma reads
const VType kQuad{DType::kU32, 4}, kSum{DType::kF32, 4};

Expr lane_of(const Expr& vector, int lane) {
  return kernel::shuffle(vector, nullptr, {lane});
}
Expr exp2(const Expr& x) {
  return kernel::intrinsic(Intrinsic::kExp2Approx, {x}, x->type);
}

class Builder {
 public:
  Builder(const AttentionShape& shape, const AttentionSchedule& s, const Var& thread,
          const AttentionOperands& o, kernel::ParamTable& params)
      : shape_(shape), s_(s), o_(o), params_(params), t_(var_expr(thread)) {
    queries_ = params.expr(shape.queries);
    keys_ = params.expr(shape.keys);
    keys_at_once_ = int64_t{s.block_keys} * s.warps_k;
    key_tiles_ = s.block_keys / 8;
    depth_steps_ = static_cast<int>(shape.depth / 16);
    value_tiles_ = static_cast<int>(shape.value_depth / 8);
    mma_ = o.dtype == DType::kF16 ? Intrinsic::kMmaM16N8K16F16 : Intrinsic::kMmaM16N8K16BF16;
  }

  AttentionKernel build(const kernel::GridAxis& batch) {
    AttentionKernel out;
    if (batch.var) out.grid.push_back(batch);
    const Var block = kernel::make_var("m_block");
    const int64_t rows = int64_t{16} * s_.warps_m;
    const Dim blocks = ceildiv(shape_.queries, rows);
    out.grid.push_back({block, blocks, params_.expr(blocks)});
    LoopWriter w;
    m0_ = w.let("m0", kernel::mul(var_expr(block), int_const(rows)));
    lane_ = w.let("lane", kernel::index_rem(t_, int_const(32)));
    const Expr warp = w.let("warp", kernel::index_div(t_, int_const(32)));
    warp_m_ = w.let("warp_m", kernel::index_rem(warp, int_const(s_.warps_m)));
    warp_k_ = w.let("warp_k", kernel::index_div(warp, int_const(s_.warps_m)));
    out_ = registers("out", value_tiles_);
    q_ = kernel::make_buffer("q_tile", kQuad, Scope::kRegister, kernel::Access::kReadWrite, depth_steps_);
    w.emit(kernel::alloc(out_));
    if (!s_.group) w.emit(kernel::alloc(q_));
    for (int i = 0; i < value_tiles_; ++i)
      w.emit(kernel::store(out_, int_const(i), kernel::broadcast(float_const(0.0), 4)));
    for (int half = 0; half < 2; ++half) {
      top_[half] = w.declare(half ? "top_1" : "top_0", float_const(-INFINITY));
      sum_[half] = w.declare(half ? "sum_1" : "sum_0", float_const(0.0));
    }
    find_factor();
    w.emit(kernel::grid_wait());
    if (s_.group) {
      w.emit(kernel::block(all_keys_by_groups()));
    } else {
      w.emit(kernel::block(read_queries()));
      w.emit(kernel::block(all_keys()));
    }
    w.emit(kernel::block(results()));
    out.body = w.take();
    return out;
  }

 private:
  static Buffer registers(const char* name, int64_t elements) {
    return kernel::make_buffer(name, kSum, Scope::kRegister, kernel::Access::kReadWrite, elements);
  }
  Buffer rows_buffer(const char* name, int64_t rows, int64_t width) const {
    return kernel::make_buffer(name, {o_.dtype, 1}, Scope::kWorkgroup, kernel::Access::kReadWrite,
                               rows * width);
  }

  // Rows first.. of a global matrix into `to` from row `at` on, zero past `extent`.
  void copy_rows(LoopWriter& w, const Buffer& to, const Expr& at, const Buffer& from,
                 const std::function<Expr(const Expr&)>& row_of, const Expr& first, int64_t rows,
                 int64_t width, const Expr& extent) {
    const int64_t chunks = width / kChunk;
    share_copies(w, t_, s_.threads(), rows * chunks, [&](const Expr& q) {
      const Expr row = kernel::index_div(q, int_const(chunks)),
                 chunk = kernel::index_rem(q, int_const(chunks));
      const Expr source = w.let("row", kernel::add(first, row));
      const Expr count = kernel::select(less(source, extent), int_const(kChunk), int_const(0));
      return kernel::async_copy(
          to, kernel::add(kernel::mul(at, int_const(width)), swizzled(row, chunk, width)),
          kernel::load(from, kernel::add(row_of(source), kernel::mul(chunk, int_const(kChunk))), kChunk,
                       count));
    });
  }

  Stmts read_queries() {
    LoopWriter w;
    const int64_t rows = int64_t{16} * s_.warps_m;
    const Buffer stage = rows_buffer("q_rows", rows, shape_.depth);
    w.emit(kernel::alloc(stage));
    copy_rows(w, stage, int_const(0), o_.q, o_.q_row, m0_, rows, shape_.depth, queries_);
    w.emit(kernel::async_commit());
    w.emit(kernel::async_wait(0));
    w.emit(kernel::barrier());
    const Expr row = w.let(
        "q_row", kernel::add(kernel::mul(warp_m_, int_const(16)), kernel::index_rem(lane_, int_const(16))));
    for (int step = 0; step < depth_steps_; ++step) {
      const Expr chunk = kernel::add(int_const(step * 2), kernel::index_div(lane_, int_const(16)));
      w.emit(kernel::store(
          q_, int_const(step),
          kernel::intrinsic(Intrinsic::kLdmatrixX4, {swizzled(row, chunk, shape_.depth)}, kQuad, stage)));
    }
    w.emit(kernel::barrier());
    return w.take();
  }

  Stmts all_keys() {
    LoopWriter w;
    k_stage_ = rows_buffer("k_rows", 2 * keys_at_once_, shape_.depth);
    v_stage_ = rows_buffer("v_rows", 2 * keys_at_once_, shape_.value_depth);
    w.emit(kernel::alloc(k_stage_));
    w.emit(kernel::alloc(v_stage_));
    const auto fetch = [&](const Expr& block, const Expr& stage) {
      const Expr first = w.let("first", kernel::mul(block, int_const(keys_at_once_)));
      const Expr at = w.let("at", kernel::mul(stage, int_const(keys_at_once_)));
      copy_rows(w, k_stage_, at, o_.k, o_.k_row, first, keys_at_once_, shape_.depth, keys_);
      copy_rows(w, v_stage_, at, o_.v, o_.v_row, first, keys_at_once_, shape_.value_depth, keys_);
    };
    const Expr blocks = params_.expr(ceildiv(shape_.keys, keys_at_once_));
    fetch(int_const(0), int_const(0));
    w.emit(kernel::async_commit());
    w.loop("block", blocks, [&](Expr block) {
      const Expr next = w.let("next", kernel::add(block, int_const(1)));
      w.when(less(next, blocks), [&] { fetch(next, kernel::index_rem(next, int_const(2))); });
      w.emit(kernel::async_commit());
      w.emit(kernel::async_wait(1));
      w.emit(kernel::barrier());
      block_of_keys(w, block);
      w.emit(kernel::barrier());
    });
    return w.take();
  }

  void block_of_keys(LoopWriter& w, const Expr& block) {
    const Expr part = w.let("part", kernel::mul(warp_k_, int_const(s_.block_keys)));
    const Expr at = w.let(
        "rows_at",
        kernel::add(kernel::mul(kernel::index_rem(block, int_const(2)), int_const(keys_at_once_)), part));
    const Expr n0 = w.let("n0", kernel::add(kernel::mul(block, int_const(keys_at_once_)), part));
    const Buffer scores = registers("scores", key_tiles_);
    w.emit(kernel::alloc(scores));
    products_with_keys(w, scores, at);
    softmax(w, scores, n0);
    rescale(w);
    products_with_values(w, scores, at);
  }

  // scores = Q K^T: 16 queries x block_keys.
  void products_with_keys(LoopWriter& w, const Buffer& scores, const Expr& at) {
    for (int j = 0; j < key_tiles_; ++j)
      w.emit(kernel::store(scores, int_const(j), kernel::broadcast(float_const(0.0), 4)));
    // Lane l names row l % 8 of matrix l / 8: keys 0-7 and 8-15, depths 0-7 and 8-15.
    const Expr key =
        w.let("key", kernel::add(kernel::mul(kernel::index_div(lane_, int_const(16)), int_const(8)),
                                 kernel::index_rem(lane_, int_const(8))));
    const Expr half = w.let("half", kernel::index_rem(kernel::index_div(lane_, int_const(8)), int_const(2)));
    for (int step = 0; step < depth_steps_; ++step) {
      for (int j = 0; j < key_tiles_; j += 2) {
        const Expr row = kernel::add(kernel::add(at, int_const(j * 8)), key),
                   chunk = kernel::add(int_const(step * 2), half);
        const Expr b = w.let("b", kernel::intrinsic(Intrinsic::kLdmatrixX4,
                                                    {swizzled(row, chunk, shape_.depth)}, kQuad, k_stage_));
        for (int i = 0; i < 2; ++i)
          multiply(w, scores, j + i, kernel::load(q_, int_const(step), 4),
                   kernel::shuffle(b, nullptr, {2 * i, 2 * i + 1}));
      }
    }
  }

  // Where a score is its product times a positive constant, maxima are of products, and the constant is part
  // of the exponent's multiplication. Else factor_ is 1 and maxima are of scores in units of log2: exp is
  // exp2.
  void find_factor() {
    const Var x = kernel::make_var("x", {DType::kF32, 1});
    const Expr e = o_.score(m0_, int_const(0), var_expr(x));
    if (e->kind == kernel::ExprKind::kVar && e->var == x) factor_ = 1;
    if (e->kind == kernel::ExprKind::kOp && e->op == ScalarOp::kMul) {
      for (size_t k : {size_t{0}, size_t{1}}) {
        const Expr &a = e->args[k], &c = e->args[1 - k];
        if (a->kind == kernel::ExprKind::kVar && a->var == x && c->kind == kernel::ExprKind::kConst &&
            c->f > 0)
          factor_ = c->f;
      }
    }
    linear_ = factor_ > 0;
    factor_ = linear_ ? factor_ * std::numbers::log2e : 1;
  }

  // Elements 2 j and 2 j + 1 of row `half` of 8 columns j.
  std::vector<Expr> scores_of(LoopWriter& w, const Buffer& scores, const Expr& n0, int half, const Expr& row,
                              const Expr& column) {
    std::vector<Expr> values;
    const bool whole = shape_.keys.is_const() && shape_.keys.value() % keys_at_once_ == 0;
    Expr m;
    if (!linear_)
      m = w.let("m", kernel::min(kernel::add(row, int_const(half * 8)), kernel::sub(queries_, int_const(1))));
    for (int j = 0; j < key_tiles_; ++j) {
      for (int e = 0; e < 2; ++e) {
        Expr score = lane_of(kernel::load(scores, int_const(j), 4), half * 2 + e);
        if (linear_ && whole) {
          values.push_back(w.let("score", score));
          continue;
        }
        const Expr n = w.let("n", kernel::add(kernel::add(n0, column), int_const(j * 8 + e)));
        if (!linear_) score = kernel::mul(o_.score(m, n, score), float_const(std::numbers::log2e));
        if (!whole) score = kernel::select(less(n, keys_), score, float_const(-INFINITY));
        values.push_back(w.let("score", score));
      }
    }
    return values;
  }

  // Scores become weights exp(score - maximum); shrink_ is what sums and outputs so far are to be scaled by.
  void softmax(LoopWriter& w, const Buffer& scores, const Expr& n0) {
    const Expr row = w.let("row", kernel::add(kernel::add(m0_, kernel::mul(warp_m_, int_const(16))),
                                              kernel::index_div(lane_, int_const(4))));
    const Expr column = w.let("column", kernel::mul(kernel::index_rem(lane_, int_const(4)), int_const(2)));
    const Expr factor = float_const(factor_);
    std::vector<Expr> values[2];
    for (int half = 0; half < 2; ++half) {
      std::vector<Expr>& v = values[half];
      v = scores_of(w, scores, n0, half, row, column);
      Expr top = kernel::max(w.get(top_[half]), folded(v, kernel::max));
      for (int mask : {1, 2}) {
        const Expr own = w.let("top", top);
        top = kernel::max(
            own, kernel::intrinsic(Intrinsic::kSubgroupShuffleXor, {own, int_const(mask)}, own->type));
      }
      // A maximum that grows little is not taken over: weights are then at most 2^kSlack, and nothing that
      // was summed need be scaled.
      const Expr seen = w.let("seen", top), old = w.get(top_[half]);
      const Expr growth = linear_ ? kernel::mul(kernel::sub(seen, old), factor) : kernel::sub(seen, old);
      const Expr grown = kernel::compare(ScalarOp::kGt, growth, float_const(kSlack));
      top = w.let("top", kernel::select(grown, seen, old));
      // While all is masked the maximum is -inf: nothing is subtracted then.
      const Expr base =
          w.let("base", kernel::select(kernel::compare(ScalarOp::kEq, top, float_const(-INFINITY)),
                                       float_const(0.0), linear_ ? kernel::mul(top, factor) : top));
      const auto exponent = [&](const Expr& x) {
        return linear_ ? kernel::op(ScalarOp::kFma, {x, factor, kernel::op(ScalarOp::kNeg, {base})})
                       : kernel::sub(x, base);
      };
      shrink_[half] = w.let("shrink", exp2(exponent(w.get(top_[half]))));
      w.set(top_[half], top);
      for (Expr& x : v) x = w.let("weight", exp2(exponent(x)));
      w.set(sum_[half], kernel::add(kernel::mul(w.get(sum_[half]), shrink_[half]), folded(v, kernel::add)));
    }
    for (int j = 0; j < key_tiles_; ++j) {
      const auto k = static_cast<size_t>(j) * 2;
      w.emit(kernel::store(scores, int_const(j),
                           quad(w, values[0][k], values[0][k + 1], values[1][k], values[1][k + 1])));
    }
  }

  // Four chains side by side.
  static Expr folded(const std::vector<Expr>& values, Expr (*fold)(Expr, Expr)) {
    Expr chains[4];
    for (size_t k = 0; k < values.size(); ++k)
      chains[k % 4] = chains[k % 4] ? fold(chains[k % 4], values[k]) : values[k];
    return fold(fold(chains[0], chains[1]), fold(chains[2], chains[3]));
  }

  void rescale(LoopWriter& w) {
    const auto shrinks = [&](int half) {
      return kernel::compare(ScalarOp::kLt, shrink_[half], float_const(1.0));
    };
    w.when(kernel::op(ScalarOp::kOr, {shrinks(0), shrinks(1)}), [&] {
      const Expr scale = quad(w, shrink_[0], shrink_[0], shrink_[1], shrink_[1]);
      for (int i = 0; i < value_tiles_; ++i)
        w.emit(kernel::store(out_, int_const(i), kernel::mul(kernel::load(out_, int_const(i), 4), scale)));
    });
  }

  static Expr quad(LoopWriter& w, const Expr& a, const Expr& b, const Expr& c, const Expr& d) {
    const Expr low = kernel::shuffle(a, b, {0, 1}), high = kernel::shuffle(c, d, {0, 1});
    return w.let("quad", kernel::shuffle(low, high, {0, 1, 2, 3}));
  }

  // ---- Products of 128 threads

  // Rows of `width` elements as panels of 64 columns, `rows` rows each; `to_panels` is where the first
  // begins.
  void copy_panels(LoopWriter& w, const Buffer& to, const Expr& to_panels, const Buffer& from,
                   const std::function<Expr(const Expr&)>& row_of, const Expr& first, int64_t rows,
                   int64_t width, const Expr& extent, bool whole) {
    const int64_t chunks = width / kChunk;
    share_copies(w, t_, s_.threads(), rows * chunks, [&](const Expr& q) {
      const Expr row = kernel::index_div(q, int_const(chunks)),
                 chunk = kernel::index_rem(q, int_const(chunks));
      const Expr source = w.let("row", kernel::add(first, row));
      const Expr count =
          whole ? nullptr : kernel::select(less(source, extent), int_const(kChunk), int_const(0));
      const Expr panel =
          kernel::mul(kernel::index_div(chunk, int_const(kPanel / kChunk)), int_const(rows * kPanel));
      const Expr inside = swizzled(row, kernel::index_rem(chunk, int_const(kPanel / kChunk)), kPanel);
      return kernel::async_copy(
          to, kernel::add(to_panels, kernel::add(panel, inside)),
          kernel::load(from, kernel::add(row_of(source), kernel::mul(chunk, int_const(kChunk))), kChunk,
                       count));
    });
  }

  // Block j's scores are there when its turn comes: they were multiplied together with the weights of block j
  // - 1 and its values. K is one block ahead of V.
  Stmts all_keys_by_groups() {
    LoopWriter w;
    const int64_t rows = int64_t{16} * s_.warps_m;
    q_stage_ = rows_buffer("q_rows", rows, shape_.depth);
    k_stage_ = rows_buffer("k_rows", 2 * keys_at_once_, shape_.depth);
    v_stage_ = rows_buffer("v_rows", 2 * keys_at_once_, shape_.value_depth);
    for (const Buffer& b : {q_stage_, k_stage_, v_stage_}) w.emit(kernel::alloc(b));
    const Buffer scores = registers("scores", key_tiles_);
    weights_ =
        kernel::make_buffer("weights", kQuad, Scope::kRegister, kernel::Access::kReadWrite, key_tiles_ / 2);
    w.emit(kernel::alloc(scores));
    w.emit(kernel::alloc(weights_));
    for (int j = 0; j < key_tiles_; ++j)
      w.emit(kernel::store(scores, int_const(j), kernel::broadcast(float_const(0.0), 4)));
    const bool whole = shape_.keys.is_const() && shape_.keys.value() % keys_at_once_ == 0;
    const auto fetch = [&](const Buffer& to, const Buffer& from,
                           const std::function<Expr(const Expr&)>& row_of, const Expr& block, int64_t width) {
      const Expr first = w.let("first", kernel::mul(block, int_const(keys_at_once_)));
      const Expr at =
          w.let("at", kernel::mul(kernel::index_rem(block, int_const(2)), int_const(keys_at_once_ * width)));
      copy_panels(w, to, at, from, row_of, first, keys_at_once_, width, keys_, whole);
    };
    const auto fetch_k = [&](const Expr& block) { fetch(k_stage_, o_.k, o_.k_row, block, shape_.depth); };
    const auto fetch_v = [&](const Expr& block) {
      fetch(v_stage_, o_.v, o_.v_row, block, shape_.value_depth);
    };
    const Expr blocks = params_.expr(ceildiv(shape_.keys, keys_at_once_));
    const auto if_there = [&](const Expr& block, const std::function<void(const Expr&)>& fetch_it) {
      w.when(less(block, blocks), [&] { fetch_it(block); });
    };
    const Expr zero = int_const(0), one = int_const(1);
    copy_panels(w, q_stage_, zero, o_.q, o_.q_row, m0_, rows, shape_.depth, queries_,
                shape_.queries.is_const() && shape_.queries.value() % rows == 0);
    fetch_k(zero);
    w.emit(kernel::async_commit());
    fetch_v(zero);
    if_there(one, fetch_k);
    w.emit(kernel::async_commit());
    w.emit(kernel::async_wait(1));
    w.emit(kernel::barrier());
    group_scores(w, scores, zero);
    w.emit(kernel::group_mma_wait(0));
    softmax(w, scores, zero);
    pack_weights(w, scores);
    w.loop("block", kernel::sub(blocks, one), [&](Expr block) {
      w.emit(kernel::async_wait(0));
      w.emit(kernel::barrier());  // everybody has left the stages that are filled now
      const Expr next = w.let("next", kernel::add(block, one));
      group_scores(w, scores, next);
      group_values(w, block);
      // While those run.
      fetch_v(next);
      if_there(w.let("after", kernel::add(block, int_const(2))), fetch_k);
      w.emit(kernel::async_commit());
      w.emit(kernel::group_mma_wait(1));
      softmax(w, scores, w.let("n0", kernel::mul(next, int_const(keys_at_once_))));
      w.emit(kernel::group_mma_wait(0));
      rescale(w);
      pack_weights(w, scores);
    });
    w.emit(kernel::async_wait(0));
    w.emit(kernel::barrier());
    group_values(w, w.let("last", kernel::sub(blocks, one)));
    w.emit(kernel::group_mma_wait(0));
    w.emit(kernel::barrier());
    return w.take();
  }

  void group_scores(LoopWriter& w, const Buffer& scores, const Expr& block) {
    const Expr group = kernel::index_div(warp_m_, int_const(4));
    const Expr a = w.let("q_base", kernel::mul(group, int_const(64 * kPanel)));
    const Expr b = w.let("k_base", kernel::mul(kernel::index_rem(block, int_const(2)),
                                               int_const(keys_at_once_ * shape_.depth)));
    for (int64_t d = 0; d < shape_.depth; d += 16) {
      const int64_t panel = d / kPanel, inside = d % kPanel, rows = int64_t{16} * s_.warps_m;
      w.emit(kernel::group_mma(
          scores, kernel::load(q_stage_, kernel::add(a, int_const(panel * rows * kPanel + inside))),
          kernel::load(k_stage_, kernel::add(b, int_const(panel * keys_at_once_ * kPanel + inside))),
          {0, d == 0}));
    }
    w.emit(kernel::group_mma_commit());
  }

  void group_values(LoopWriter& w, const Expr& block) {
    const Expr b = w.let("v_base", kernel::mul(kernel::index_rem(block, int_const(2)),
                                               int_const(keys_at_once_ * shape_.value_depth)));
    for (int step = 0; step < key_tiles_ / 2; ++step) {
      w.emit(kernel::group_mma(out_, kernel::load(weights_, int_const(step), 4),
                               kernel::load(v_stage_, kernel::add(b, int_const(int64_t{step} * 16 * kPanel))),
                               {keys_at_once_ * kPanel}));
    }
    w.emit(kernel::group_mma_commit());
  }

  void pack_weights(LoopWriter& w, const Buffer& scores) {
    for (int step = 0; step < key_tiles_ / 2; ++step)
      w.emit(kernel::store(weights_, int_const(step), packed(scores, step)));
  }

  // The weights' registers of 16 keys are those of an A operand already.
  Expr packed(const Buffer& scores, int step) const {
    const auto half = [&](int j) {
      return kernel::bitcast(kernel::cast(kernel::load(scores, int_const(j), 4), o_.dtype), {DType::kU32, 2});
    };
    return kernel::shuffle(half(2 * step), half(2 * step + 1), {0, 1, 2, 3});
  }

  // out += weights * V
  void products_with_values(LoopWriter& w, const Buffer& scores, const Expr& at) {
    const Expr key = w.let("key", kernel::index_rem(lane_, int_const(16)));
    const Expr half = w.let("half", kernel::index_div(lane_, int_const(16)));
    for (int step = 0; step < key_tiles_ / 2; ++step) {
      const Expr a = w.let("weights", packed(scores, step));
      const Expr row = w.let("v_row", kernel::add(kernel::add(at, int_const(step * 16)), key));
      for (int i = 0; i < value_tiles_; i += 2) {
        const Expr chunk = kernel::add(int_const(i), half);
        const Expr b =
            w.let("b", kernel::intrinsic(Intrinsic::kLdmatrixX4Trans,
                                         {swizzled(row, chunk, shape_.value_depth)}, kQuad, v_stage_));
        for (int e = 0; e < 2; ++e)
          multiply(w, out_, i + e, a, kernel::shuffle(b, nullptr, {2 * e, 2 * e + 1}));
      }
    }
  }

  void multiply(LoopWriter& w, const Buffer& sums, int slot, const Expr& a, const Expr& b) const {
    w.emit(kernel::store(sums, int_const(slot),
                         kernel::intrinsic(mma_, {a, b, kernel::load(sums, int_const(slot), 4)}, kSum)));
  }

  // The parts of the keys are merged through workgroup memory, then every thread writes eight columns at a
  // time.
  Stmts results() {
    LoopWriter w;
    const int64_t rows = int64_t{16} * s_.warps_m, width = shape_.value_depth, pitch = width + 8;
    const Buffer outs = kernel::make_buffer("outs", {DType::kF32, 1}, Scope::kWorkgroup,
                                            kernel::Access::kReadWrite, s_.warps_k * rows * pitch);
    const Buffer tops = kernel::make_buffer("tops", {DType::kF32, 1}, Scope::kWorkgroup,
                                            kernel::Access::kReadWrite, s_.warps_k * rows);
    const Buffer sums = kernel::make_buffer("sums", {DType::kF32, 1}, Scope::kWorkgroup,
                                            kernel::Access::kReadWrite, s_.warps_k * rows);
    for (const Buffer& b : {outs, tops, sums}) w.emit(kernel::alloc(b));
    const Expr row = w.let("row", kernel::add(kernel::add(kernel::mul(warp_k_, int_const(rows)),
                                                          kernel::mul(warp_m_, int_const(16))),
                                              kernel::index_div(lane_, int_const(4))));
    const Expr column = w.let("column", kernel::mul(kernel::index_rem(lane_, int_const(4)), int_const(2)));
    for (int half = 0; half < 2; ++half) {
      const Expr at = w.let("at", kernel::add(row, int_const(half * 8)));
      Expr sum = w.get(sum_[half]);
      for (int mask : {1, 2}) {
        const Expr own = w.let("sum", sum);
        sum = kernel::add(
            own, kernel::intrinsic(Intrinsic::kSubgroupShuffleXor, {own, int_const(mask)}, own->type));
      }
      sum = w.let("sum", sum);
      w.when(kernel::compare(ScalarOp::kEq, column, int_const(0)), [&] {
        w.store(tops, at, w.get(top_[half]));
        w.store(sums, at, sum);
      });
      for (int i = 0; i < value_tiles_; ++i) {
        w.store(outs, kernel::add(kernel::mul(at, int_const(pitch)), kernel::add(column, int_const(i * 8))),
                kernel::shuffle(kernel::load(out_, int_const(i), 4), nullptr, {2 * half, 2 * half + 1}));
      }
    }
    w.emit(kernel::barrier());
    const int64_t chunks = rows * width / kChunk;
    w.loop("i", int_const((chunks + s_.threads() - 1) / s_.threads()), [&](Expr i) {
      const Expr q = w.let("q", kernel::add(t_, kernel::mul(i, int_const(s_.threads()))));
      const Expr r = w.let("r", kernel::index_div(q, int_const(width / kChunk)));
      const Expr d =
          w.let("d", kernel::mul(kernel::index_rem(q, int_const(width / kChunk)), int_const(kChunk)));
      const Expr m = w.let("m", kernel::add(m0_, r));
      Expr exists = less(m, queries_);
      if (chunks % s_.threads() != 0)
        exists = kernel::op(ScalarOp::kAnd, {less(q, int_const(chunks)), exists});
      w.when(exists, [&] { merge(w, outs, tops, sums, rows, pitch, r, d, m); });
    });
    return w.take();
  }

  void merge(LoopWriter& w, const Buffer& outs, const Buffer& tops, const Buffer& sums, int64_t rows,
             int64_t pitch, const Expr& r, const Expr& d, const Expr& m) {
    const auto at = [&](int part) { return kernel::add(r, int_const(part * rows)); };
    Expr top = kernel::load(tops, at(0));
    for (int part = 1; part < s_.warps_k; ++part) top = kernel::max(top, kernel::load(tops, at(part)));
    top = w.let("top", top);
    const Expr base = w.let(
        "base",
        kernel::select(kernel::compare(ScalarOp::kEq, top, float_const(-INFINITY)), float_const(0.0), top));
    Expr sum, value;
    for (int part = 0; part < s_.warps_k; ++part) {
      const Expr scale =
          w.let("scale", s_.warps_k == 1 ? float_const(1.0)
                                         : exp2(kernel::mul(kernel::sub(kernel::load(tops, at(part)), base),
                                                            float_const(factor_))));
      const Expr own = kernel::mul(kernel::load(sums, at(part)), scale);
      const Expr out = kernel::load(outs, kernel::add(kernel::mul(at(part), int_const(pitch)), d), kChunk);
      const Expr scaled = kernel::mul(out, kernel::broadcast(scale, kChunk));
      sum = sum ? kernel::add(sum, own) : own;
      value = value ? kernel::add(value, scaled) : scaled;
    }
    const Expr result =
        w.let("result", kernel::op(ScalarOp::kDiv, {value, kernel::broadcast(w.let("total", sum), kChunk)}));
    for (Stmt& s : o_.finish(m, d, result, kChunk)) w.emit(std::move(s));
  }

  const AttentionShape& shape_;
  const AttentionSchedule& s_;
  const AttentionOperands& o_;
  kernel::ParamTable& params_;
  const Expr t_;
  int64_t keys_at_once_;
  int key_tiles_, depth_steps_, value_tiles_;  // tiles of 8, steps of 16
  Intrinsic mma_;
  Expr queries_, keys_, m0_, lane_, warp_m_, warp_k_;
  Buffer q_, out_, q_stage_, k_stage_, v_stage_, weights_;
  Var top_[2], sum_[2];
  Expr shrink_[2];
  double factor_ = 0;  // from what maxima are of to log2
  bool linear_ = false;
};

}  // namespace

AttentionSchedule default_attention_schedule(int64_t batch, int64_t queries, int64_t keys, int64_t depth,
                                             int processors, bool group) {
  AttentionSchedule s;
  // Three groups hide each other's waits better than two (H100, 2048 keys: 6 % of depth 128, 21 % of depth
  // 64).
  if (group && batch * ((queries + 191) / 192) >= processors) {
    s.warps_m = 12;
    s.block_keys = depth > 64 || keys <= 64 ? 64 : 128;
    s.group = true;
    return s;
  }
  if (depth > 64) s.block_keys = 32;
  // Halve the rows while there are fewer workgroups than processors, and share the keys out instead.
  while (s.warps_m > 1 && batch * ((queries + 16 * s.warps_m - 1) / (16 * s.warps_m)) < processors) {
    s.warps_m /= 2;
    if (s.warps_k < 4 && keys > int64_t{32} * s.warps_k) s.warps_k *= 2;
  }
  if (s.warps_k > 1) s.block_keys = 32;
  return s;
}

AttentionKernel build_attention_kernel(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                       const AttentionSchedule& schedule, const Var& thread,
                                       const AttentionOperands& operands, kernel::ParamTable& params) {
  return Builder(shape, schedule, thread, operands, params).build(batch_axis);
}

std::string AttentionSchedule::text() const {
  return fmt::format("{}attention, {} queries x {} keys, warps {}x{}", group ? "group " : "", 16 * warps_m,
                     block_keys, warps_m, warps_k);
}

}  // namespace tern::lower::gpu
