#include "compiler/lower/gpu/mma_kernel.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/gpu/chunks.h"
#include "compiler/lower/gpu/hand_over.h"
#include "compiler/lower/gpu/integer_stages.h"
#include "compiler/lower/gpu/output_blocks.h"
#include "compiler/lower/gpu/plain_sums.h"

namespace tern::lower::gpu {
namespace {

using kernel::BarrierScope;
using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::Intrinsic;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using kernel::VType;
using Stmts = std::vector<Stmt>;
using Order = MmaSchedule::Order;

constexpr int kRowChunks = 8;   // of a row of packed B
constexpr int kStepChunks = 2;  // of the depth of one product
constexpr int kGroupRows = 8;   // columns of packed B come in whole swizzles
constexpr int kColumns = 8;     // of the epilogue at a time

class Builder {
 public:
  Builder(const Dim& m, int64_t n, int64_t k, const MmaSchedule& s, const Var& thread, const MmaOperands& o,
          kernel::ParamTable& params)
      : m_dim_(m),
        n_(n),
        k_(k),
        s_(s),
        o_(o),
        params_(params),
        t_(var_expr(thread)),
        elements_(chunk_of(o.dtype)) {
    stages_of_k_ = ((k + s.block_depth - 1) / s.block_depth + s.split - 1) / s.split;
    tiles_m_ = s.block_m / s.warps_m / 16;
    tiles_n_ = s.block_n / s.warps_n / 16;
    chunks_ = s.block_depth / elements_;
    if (o.panels) integers_.emplace(s, *o.panels, n, k);
  }

  MmaKernel build(const kernel::GridAxis& batch) {
    MmaKernel out;
    LoopWriter w;
    std::tie(m0_, n0_) = block_axes(w, out.grid, batch, m_dim_, n_, s_, params_);
    if (s_.split > 1) {
      const Var rank = kernel::make_var("rank");
      out.grid.push_back({rank, s_.split, int_const(s_.split)});
      rank_ = var_expr(rank);
    }
    lane_ = w.let("lane", kernel::index_rem(t_, int_const(32)));
    warp_ = warp_place(w, t_, s_);
    acc_ = kernel::make_buffer("acc", {o_.sum_type(), 4}, Scope::kRegister, kernel::Access::kReadWrite,
                               int64_t{tiles_m_} * tiles_n_ * 2);
    w.emit(kernel::alloc(acc_));
    for (int64_t i = 0; i < acc_->size; ++i) w.emit(kernel::store(acc_, int_const(i), no_sums(4)));
    if (s_.tf32x3) {
      stage_acc_ = kernel::make_buffer("stage_acc", {DType::kF32, 4}, Scope::kRegister,
                                       kernel::Access::kReadWrite, acc_->size);
      w.emit(kernel::alloc(stage_acc_));
    }
    w.emit(kernel::block(s_.tensors ? sums_by_boxes() : sums()));
    w.emit(kernel::block(results()));
    out.body = w.take();
    if (s_.tensors) out.tensors = {a_tensor_, b_tensor_};
    return out;
  }

 private:
  Expr no_sums(int lanes) const { return kernel::broadcast(zero_of(o_.sum_type()), lanes); }
  static Expr zero_of(DType dtype) {
    return is_float(dtype) ? kernel::float_const(0.0, dtype) : int_const(0, dtype);
  }

  // ---- Stages: copies and products

  Buffer stage_buffer(const char* name, DType dtype, int rows) const {
    return kernel::make_buffer(name, {dtype, 1}, Scope::kWorkgroup, kernel::Access::kReadWrite,
                               int64_t{s_.stages} * rows * s_.block_depth);
  }

  Stmts sums() {
    a_stage_ = stage_buffer("a_stage", o_.a_type(), s_.block_m);
    LoopWriter w;
    w.emit(kernel::alloc(a_stage_));
    if (integers_) {
      integers_->prepare(w, t_, warp_.n);
    } else {
      b_stage_ = stage_buffer("b_stage", o_.dtype, b_pitch());
      w.emit(kernel::alloc(b_stage_));
    }
    first_step_ =
        s_.split > 1 ? w.let("first_step", kernel::mul(rank_, int_const(stages_of_k_))) : int_const(0);
    prepare_rows(w);
    // A group's products still read the stage before while the next one is filled.
    const int ahead = s_.stages - (s_.group ? 2 : 1);
    warm_epilogue(w);
    // Weights do not depend on what ran before: they start before the wait for it.
    const bool weights = s_.b_order == Order::kPacked || (o_.is_constant && o_.is_constant(o_.b_buffer));
    const auto first_b = [&] {
      for (int64_t s = 0; s < std::min<int64_t>(ahead, stages_of_k_); ++s)
        copy_b(w, int_const(s), int_const(s));
    };
    if (weights) first_b();
    w.emit(kernel::grid_wait());
    if (!weights) first_b();
    for (int64_t s = 0; s < ahead; ++s) {
      if (s < stages_of_k_) copy_a(w, int_const(s), int_const(s));
      w.emit(kernel::async_commit());
    }
    all_steps(w, [&](const Expr& step, int turn) {
      w.emit(kernel::async_wait(ahead - 1));
      const Expr stage = w.let("stage", kernel::index_rem(step, int_const(s_.stages)));
      if (s_.group && rounds_copies()) round_copies(w, stage);
      w.emit(kernel::barrier());
      const Expr next = w.let("next", kernel::add(step, int_const(ahead)));
      w.when(less(next, int_const(stages_of_k_)), [&] {
        const Expr filled = w.let("filled", kernel::index_rem(next, int_const(s_.stages)));
        copy_a(w, next, filled);
        copy_b(w, next, filled);
      });
      w.emit(kernel::async_commit());
      if (integers_ && !s_.group) {
        integers_->multiply(w, a_stage_, acc_, stage);
      } else if (s_.group) {
        // Behind the copies: the products before these still run, and bytes take longest to come.
        integers_ ? integers_->multiply_groups(w, a_stage_, acc_, stage, turn) : group_products(w, stage);
        w.emit(kernel::group_mma_wait(1));
      } else {
        products(w, stage);
      }
    });
    if (s_.group) w.emit(kernel::group_mma_wait(0));
    w.emit(kernel::async_wait(0));
    w.emit(kernel::barrier());
    return w.take();
  }

  // Widened integers of a step have registers that the products of the step before do not read.
  void all_steps(LoopWriter& w, const std::function<void(const Expr& step, int turn)>& body) const {
    if (!integers_ || !s_.group)
      return w.loop("step", int_const(stages_of_k_), [&](const Expr& step) { body(step, 0); });
    w.loop("pair", int_const(stages_of_k_ / 2), [&](const Expr& pair) {
      const Expr first = w.let("step", kernel::mul(pair, int_const(2)));
      body(first, 0);
      body(w.let("step", kernel::add(first, int_const(1))), 1);
    });
    if (stages_of_k_ % 2 != 0) body(int_const(stages_of_k_ - 1), 0);
  }

  // The same by boxes, for which a subgroup asks that does nothing else. A stage's counters say when its
  // boxes are there and when the products of all groups have read them, which only that subgroup waits for:
  // groups may drift apart. Products of one step still run while the next one's operands are awaited.
  Stmts sums_by_boxes() {
    a_stage_ = stage_buffer("a_stage", o_.a_type(), s_.block_m);
    b_stage_ = stage_buffer("b_stage", o_.dtype, s_.block_n);
    declare_tensors();
    LoopWriter w;
    for (const Buffer& b : {a_stage_, b_stage_}) w.emit(kernel::alloc(b));
    HandOver hand_over(w, s_.stages, "copied", "left", int_const(1), int_const(s_.warps()));
    w.emit(kernel::barrier());
    warm_epilogue(w);
    const Expr zero = int_const(0), stages = int_const(s_.stages);
    const Expr asks = in_range(kernel::sub(t_, int_const(int64_t{32} * s_.warps())), int_const(32));
    const auto first_stages = [&](const std::function<void(const Expr&)>& f) {
      w.when(asks, [&] {
        for (int64_t s = 0; s < std::min<int64_t>(s_.stages, stages_of_k_); ++s) f(int_const(s));
      });
    };
    first_stages([&](const Expr& s) { box_of_b(w, s, s, hand_over); });
    w.emit(kernel::grid_wait());
    first_stages([&](const Expr& s) {
      box_of_a(w, s, s, hand_over);
      hand_over.copied(s);
    });
    const int64_t refilled = stages_of_k_ - s_.stages;  // steps whose stages are filled again
    w.loop("step", int_const(stages_of_k_), [&](Expr step) {
      const Expr stage = w.let("stage", kernel::index_rem(step, stages));
      if (refilled > 0)
        w.when(both(asks, both(less(int_const(1), step), less(step, int_const(refilled + 2)))), [&] {
          const Expr before = w.let("before", kernel::sub(step, int_const(2)));
          const Expr free = w.let("free", kernel::index_rem(before, stages));
          hand_over.await_left(free, kernel::index_div(before, stages));
          const Expr next = w.let("next", kernel::add(before, stages));
          box_of_b(w, next, free, hand_over);
          box_of_a(w, next, free, hand_over);
          hand_over.copied(free);
        });
      when_multiplies(w, [&] {
        hand_over.await_copies(stage, kernel::index_div(step, stages));
        group_products(w, stage);
        w.emit(kernel::group_mma_wait(1));
        if (refilled > 0)
          w.when(both(less(zero, step), less(step, int_const(refilled + 1))),
                 [&] { hand_over.left(kernel::index_rem(kernel::sub(step, int_const(1)), stages)); });
      });
    });
    when_multiplies(w, [&] { w.emit(kernel::group_mma_wait(0)); });
    w.emit(kernel::barrier());
    return w.take();
  }

  // What threads do that multiply: all but those that only ask for boxes.
  void when_multiplies(LoopWriter& w, const std::function<void()>& body) const {
    s_.tensors ? w.when(less(t_, int_const(int64_t{32} * s_.warps())), body) : body();
  }

  void declare_tensors() {
    a_tensor_ = panels_of(*o_.a_rows, "a_boxes", s_.block_m);
    auto b = std::make_shared<kernel::TensorNode>();
    b->name = "b_boxes";
    b->buffer = o_.b_buffer;
    b->axes = {{int_const(o_.b_batches * blocks_of_b() * columns_of_b()), int_const(kPanel), s_.block_n},
               {int_const(kPanel), int_const(1), kPanel}};
    b_tensor_ = b;
  }
  int64_t columns_of_b() const { return (n_ + kGroupRows - 1) / kGroupRows * kGroupRows; }
  int64_t blocks_of_b() const { return (k_ + kPanel - 1) / kPanel; }

  void box_of_a(LoopWriter& w, const Expr& step, const Expr& stage, const HandOver& hand_over) {
    copy_boxes(w, *o_.a_rows, a_tensor_, m0_, kernel::mul(step, int_const(kPanel)), kPanel, a_stage_,
               kernel::mul(stage, int_const(int64_t{s_.block_m} * kPanel)), hand_over.counter(stage));
  }
  // Swizzled where they lie already. Columns past the last one are anything; nothing reads their sums.
  void box_of_b(LoopWriter& w, const Expr& step, const Expr& stage, const HandOver& hand_over) {
    const Expr row = kernel::add(kernel::index_div(o_.b_first, int_const(kPanel)),
                                 kernel::add(kernel::mul(step, int_const(columns_of_b())), n0_));
    w.emit(kernel::tensor_copy(b_stage_, kernel::mul(stage, int_const(int64_t{s_.block_n} * kPanel)),
                               b_tensor_, {row, int_const(0)}, hand_over.counter(stage)));
  }

  // Biases and the like lie in memory, not in L2, when the model is larger than that: each thread of the
  // first ones asks for eight columns' worth before the kernel's own waits.
  void warm_epilogue(LoopWriter& w) {
    if (!o_.is_constant) return;
    const Expr n = kernel::add(n0_, kernel::mul(t_, int_const(kColumns)));
    const Stmts epilogue = o_.finish(m0_, n, no_sums(kColumns), kColumns, columns_left(n, n_, kColumns));
    std::unordered_map<const kernel::VarNode*, Expr> lets;
    Stmts hints;
    visit(epilogue, [&](const Stmt& s) {
      if (s->kind == kernel::StmtKind::kLet) lets[s->var.get()] = kernel::substitute(s->value, lets);
      visit_exprs(s, [&](const Expr& root) {
        visit(root, [&](const Expr& e) {
          if (e->kind != kernel::ExprKind::kLoad || !o_.is_constant(e->buffer)) return;
          const Expr index = kernel::substitute(e->args[0], lets);
          if (index->type.lanes == 1 && !kernel::contains_load(index))
            hints.push_back(kernel::prefetch(e->buffer, index));
        });
      });
    });
    if (hints.empty()) return;
    Expr first = less(t_, int_const(s_.block_n / kColumns));
    if (n_ % s_.block_n != 0) first = both(first, less(n, int_const(n_)));
    w.when(first, [&] {
      for (Stmt& s : hints) w.emit(std::move(s));
    });
  }

  // A thread copies the same chunk column of every row that it copies.
  void prepare_rows(LoopWriter& w) {
    const int rows_at_once = s_.threads() / chunks_;
    chunk_ = w.let("chunk", kernel::index_rem(t_, int_const(chunks_)));
    const Expr first = w.let("copy_row", kernel::index_div(t_, int_const(chunks_)));
    for (int r = 0; r < s_.block_m; r += rows_at_once) {
      const Expr row = r == 0 ? first : kernel::add(first, int_const(r));
      Stmts lets;
      copy_rows_.push_back({row, o_.a_row(kernel::add(m0_, row), lets)});
      for (Stmt& let : lets) w.emit(std::move(let));
      const Expr exists = row_exists(kernel::add(m0_, row), m_dim_, s_.block_m, params_);
      exists_.push_back(exists ? w.let("row_exists", exists) : nullptr);
    }
  }

  // The first step of k of a thread's chunks in a stage.
  Expr depth_of(LoopWriter& w, const Expr& step) const {
    return w.let("k", kernel::add(kernel::mul(kernel::add(first_step_, step), int_const(s_.block_depth)),
                                  kernel::mul(chunk_, int_const(elements_))));
  }
  bool is_ragged() const { return k_ != stages_of_k_ * s_.split * s_.block_depth; }

  void copy_a(LoopWriter& w, const Expr& step, const Expr& stage) {
    const Expr k = depth_of(w, step);
    const bool ragged = is_ragged();
    const Expr base = kernel::mul(stage, int_const(int64_t{s_.block_m} * s_.block_depth));
    const int piece = o_.a_chunk && o_.a_piece > 0 ? o_.a_piece : elements_;
    for (int first = 0; first < elements_; first += piece) {
      const Expr from = first == 0 ? k : w.let("k", kernel::add(k, int_const(first)));
      const Expr in_depth = ragged ? w.let("in_depth", less(from, int_const(k_))) : nullptr;
      Stmts lets;
      const MmaOperands::State depth = o_.a_depth(from, lets);
      for (Stmt& let : lets) w.emit(std::move(let));
      for (size_t r = 0; r < copy_rows_.size(); ++r) {
        const auto& [row, state] = copy_rows_[r];
        const Expr to = kernel::add(
            base, kernel::add(swizzled(row, chunk_, s_.block_depth, elements_), int_const(first)));
        if (o_.a_chunk) {
          copy_piece(w, to, o_.a_chunk(state, depth), both(exists_[r], in_depth), piece);
        } else {
          gather_chunk(w, to, state, k, exists_[r], ragged);
        }
      }
    }
  }

  void copy_piece(LoopWriter& w, const Expr& to, const MmaChunk& chunk, const Expr& inside, int piece) const {
    const int64_t all = chunk.read_of(piece);
    const auto copy = [&](const Expr& exists) {
      Expr count = all < piece ? int_const(all) : nullptr;
      if (exists) count = kernel::select(exists, int_const(all), int_const(0));
      w.emit(kernel::async_copy(a_stage_, to, kernel::load(o_.a_buffer, chunk.index, piece, count)));
    };
    if (o_.a_padding == 0 || !chunk.exists) return copy(both(inside, chunk.exists));
    // What lies past the last row or step meets no result or zeros.
    const Expr padding = kernel::broadcast(int_const(o_.a_padding, o_.a_type()), piece);
    w.when(chunk.exists, [&] { copy(inside); }, [&] { w.store(a_stage_, to, padding); });
  }

  void gather_chunk(LoopWriter& w, const Expr& to, const MmaOperands::State& state, const Expr& k,
                    const Expr& row_exists, bool ragged) const {
    for (int e = 0; e < elements_; ++e) {
      const Expr ke = kernel::add(k, int_const(e));
      Expr value = o_.a_element(state, ke);
      const Expr here = both(row_exists, ragged ? less(ke, int_const(k_)) : nullptr);
      if (here) value = kernel::select(here, value, zero_of(o_.a_type()));
      w.store(a_stage_, kernel::add(to, int_const(e)), rounded(value));
    }
  }

  bool is_tf32() const { return o_.dtype == DType::kF32 && !s_.tf32x3; }
  Expr rounded(const Expr& value) const {
    return is_tf32() ? kernel::intrinsic(Intrinsic::kRoundTf32, {value}, value->type) : value;
  }
  // Whether what copies bring must still be rounded.
  bool rounds_copies() const { return is_tf32() && o_.a_chunk && !o_.a_is_rounded; }

  // A thread rounds what it copied: its copies are complete to itself, and the barrier is still to come.
  void round_copies(LoopWriter& w, const Expr& stage) {
    const Expr base = kernel::mul(stage, int_const(int64_t{s_.block_m} * s_.block_depth));
    for (const auto& [row, state] : copy_rows_) {
      const Expr at = kernel::add(base, swizzled(row, chunk_, s_.block_depth, elements_));
      w.emit(kernel::store(a_stage_, at, rounded(kernel::load(a_stage_, at, elements_))));
    }
  }

  int64_t b_pitch() const {  // elements of a stage for each of its steps
    return s_.block_n + (s_.b_order == Order::kColumns ? MmaSchedule::kColumnPadding : 0);
  }

  void copy_b(LoopWriter& w, const Expr& step, const Expr& stage) {
    if (integers_)
      return integers_->copy(w, n0_, kernel::add(first_step_, step), stage,
                             stages_of_k_ * s_.split * s_.block_depth);
    if (s_.b_order == Order::kPacked) return copy_packed_b(w, step, stage);
    const bool columns = s_.b_order == Order::kColumns;
    const Expr k0 = kernel::mul(kernel::add(first_step_, step), int_const(s_.block_depth)),
               base = kernel::mul(stage, int_const(b_pitch() * s_.block_depth));
    const int64_t across = (columns ? s_.block_n : s_.block_depth) / elements_;  // chunks of a row
    const int64_t rows = columns ? s_.block_depth : s_.block_n;
    share_copies(w, t_, s_.threads(), rows * across, [&](const Expr& q) {
      const Expr row = kernel::index_div(q, int_const(across)),
                 chunk = kernel::index_rem(q, int_const(across));
      const Expr along = kernel::mul(chunk, int_const(elements_));
      const Expr k = kernel::add(k0, columns ? row : along), n = kernel::add(n0_, columns ? along : row);
      Expr exists;
      if (n_ % s_.block_n != 0) exists = less(n, int_const(n_));
      if (is_ragged()) exists = both(exists, less(k, int_const(k_)));
      const Expr count = exists ? kernel::select(exists, int_const(elements_), int_const(0)) : nullptr;
      const Expr to =
          columns ? kernel::add(kernel::mul(row, int_const(b_pitch())), along) : b_in_stage(row, chunk);
      return kernel::async_copy(b_stage_, kernel::add(base, to),
                                kernel::load(o_.b_buffer, o_.b_element(k, n), elements_, count));
    });
  }

  // Where a chunk of depth of a row (a column of B) lies in a stage: as in packed B.
  Expr b_in_stage(const Expr& row, const Expr& chunk) const {
    const Expr block = kernel::index_div(chunk, int_const(kRowChunks));
    const Expr mixed = kernel::op(ScalarOp::kXor, {kernel::index_rem(chunk, int_const(kRowChunks)),
                                                   kernel::index_rem(row, int_const(kRowChunks))});
    const Expr at = kernel::add(kernel::mul(block, int_const(s_.block_n)), row);
    return kernel::add(kernel::mul(at, int_const(kRowChunks * elements_)),
                       kernel::mul(mixed, int_const(elements_)));
  }

  // B as it lies: blocks of eight chunks of steps, in each a row a column, swizzled.
  void copy_packed_b(LoopWriter& w, const Expr& step, const Expr& stage) {
    const int64_t block = int64_t{kRowChunks} * elements_;  // of depth
    const int64_t columns = (n_ + kGroupRows - 1) / kGroupRows * kGroupRows,
                  blocks = (k_ + block - 1) / block;
    const int64_t blocks_at_once = s_.block_depth / block, chunks = int64_t{s_.block_n} * chunks_;
    share_copies(w, t_, s_.threads(), chunks, [&](const Expr& q) {
      const int64_t per_block = int64_t{s_.block_n} * kRowChunks;
      const Expr at = kernel::add(kernel::mul(kernel::add(first_step_, step), int_const(blocks_at_once)),
                                  kernel::index_div(q, int_const(per_block)));
      const Expr inside = kernel::index_rem(q, int_const(per_block));
      const Expr column = kernel::add(n0_, kernel::index_div(inside, int_const(kRowChunks)));
      const Expr chunk = kernel::add(
          kernel::mul(kernel::add(kernel::mul(at, int_const(columns)), column), int_const(kRowChunks)),
          kernel::index_rem(inside, int_const(kRowChunks)));
      Expr exists;
      if (n_ % s_.block_n != 0) exists = less(column, int_const(columns));
      if (blocks != stages_of_k_ * s_.split * blocks_at_once)
        exists = both(exists, less(at, int_const(blocks)));
      const Expr count = exists ? kernel::select(exists, int_const(elements_), int_const(0)) : nullptr;
      const Expr from = kernel::add(o_.b_first, kernel::mul(chunk, int_const(elements_)));
      const Expr to = kernel::add(kernel::mul(stage, int_const(int64_t{s_.block_n} * s_.block_depth)),
                                  kernel::mul(q, int_const(elements_)));
      return kernel::async_copy(b_stage_, to, kernel::load(o_.b_buffer, from, elements_, count));
    });
  }

  // Four products of 64 rows a subgroup of 128 threads, one after the other into the same sums.
  void group_products(LoopWriter& w, const Expr& stage) {
    const Expr group = kernel::index_div(warp_.m, int_const(4));
    const Expr a =
        w.let("a_base", kernel::add(kernel::mul(stage, int_const(int64_t{s_.block_m} * s_.block_depth)),
                                    kernel::mul(group, int_const(int64_t{64} * s_.block_depth))));
    const Expr b = w.let("b_base", kernel::mul(stage, int_const(int64_t{s_.block_n} * s_.block_depth)));
    for (int k = 0; k < s_.block_depth; k += kStepChunks * elements_) {
      w.emit(kernel::group_mma(acc_, kernel::load(a_stage_, kernel::add(a, int_const(k))),
                               kernel::load(b_stage_, kernel::add(b, int_const(k)))));
    }
    w.emit(kernel::group_mma_commit());
  }

  void products(LoopWriter& w, const Expr& stage) {
    const int steps = chunks_ / kStepChunks;
    const Expr a_base = w.let("a_base", kernel::mul(stage, int_const(int64_t{s_.block_m} * s_.block_depth)));
    const Expr b_base = w.let("b_base", kernel::mul(stage, int_const(b_pitch() * s_.block_depth)));
    const VType quad{DType::kU32, 4}, sum{o_.sum_type(), 4};
    const Intrinsic mma = o_.dtype == DType::kF16    ? Intrinsic::kMmaM16N8K16F16
                          : o_.dtype == DType::kBF16 ? Intrinsic::kMmaM16N8K16BF16
                          : o_.dtype == DType::kF32  ? Intrinsic::kMmaM16N8K8TF32
                                                     : Intrinsic::kMmaM16N8K32U8;
    for (int q = 0; q < steps / s_.warps_k; ++q) {
      const Expr at = w.let("at", kernel::add(int_const(int64_t{q} * s_.warps_k), warp_.k));
      const Expr chunk =
          kernel::add(kernel::mul(at, int_const(kStepChunks)), kernel::index_div(lane_, int_const(16)));
      std::vector<Expr> a;
      std::vector<Parts> a_parts;
      for (int i = 0; i < tiles_m_; ++i) {
        const Expr row = kernel::add(kernel::mul(warp_.m, int_const(tiles_m_ * 16)),
                                     kernel::add(int_const(i * 16), kernel::index_rem(lane_, int_const(16))));
        const Expr index = kernel::add(a_base, swizzled(row, chunk, s_.block_depth, elements_));
        Expr tile = kernel::intrinsic(Intrinsic::kLdmatrixX4, {index}, quad, a_stage_);
        if (rounds_copies()) tile = kernel::bitcast(rounded(kernel::bitcast(tile, sum)), quad);
        if (s_.tf32x3) {
          a_parts.push_back(in_parts(w, tile));
        } else {
          a.push_back(w.let("a", tile));
        }
      }
      const auto fragments = b_fragments(w, b_base, at, quad, sum);
      if (s_.tf32x3) {
        multiply_parts(w, a_parts, fragments, q == 0);
        continue;
      }
      for (int j = 0; j < tiles_n_; ++j) {
        for (int half = 0; half < 2; ++half) {
          const Expr columns = w.let("b_half", fragments(j, half));
          for (int i = 0; i < tiles_m_; ++i) {
            const Expr slot = int_const((int64_t{i} * tiles_n_ + j) * 2 + half);
            w.emit(kernel::store(
                acc_, slot,
                kernel::intrinsic(mma, {a[static_cast<size_t>(i)], columns, kernel::load(acc_, slot, 4)},
                                  sum)));
          }
        }
      }
    }
    if (!s_.tf32x3) return;
    for (int64_t i = 0; i < acc_->size; ++i) {
      const Expr slot = int_const(i);
      w.emit(kernel::store(acc_, slot,
                           kernel::add(kernel::load(acc_, slot, 4), kernel::load(stage_acc_, slot, 4))));
    }
  }

  // A fragment of f32 as two of TF32, of which the second has what the first rounded off.
  struct Parts {
    Expr high, low;
  };
  Parts in_parts(LoopWriter& w, const Expr& bits) const {
    const VType floats{DType::kF32, bits->type.lanes};
    const Expr value = w.let("value", kernel::bitcast(bits, floats));
    const Expr high = w.let("high", kernel::intrinsic(Intrinsic::kRoundTf32, {value}, floats));
    return {w.let("high_bits", kernel::bitcast(high, bits->type)),
            w.let("low_bits", kernel::bitcast(kernel::sub(value, high), bits->type))};
  }

  // One step's products into the sums of the stage, the least terms first; no product waits for the one in
  // front of it.
  void multiply_parts(LoopWriter& w, const std::vector<Parts>& a,
                      const std::function<Expr(int j, int half)>& fragments, bool first_step) {
    for (int j = 0; j < tiles_n_; ++j) {
      const Parts b[2] = {in_parts(w, fragments(j, 0)), in_parts(w, fragments(j, 1))};
      for (int term = 0; term < 3; ++term) {
        for (int half = 0; half < 2; ++half) {
          for (int i = 0; i < tiles_m_; ++i) {
            const Expr slot = int_const((int64_t{i} * tiles_n_ + j) * 2 + half);
            const Parts &rows = a[static_cast<size_t>(i)], &columns = b[half];
            const Expr before = first_step && term == 0 ? no_sums(4) : kernel::load(stage_acc_, slot, 4);
            w.emit(kernel::store(stage_acc_, slot,
                                 kernel::intrinsic(Intrinsic::kMmaM16N8K8TF32,
                                                   {term == 0 ? rows.low : rows.high,
                                                    term == 1 ? columns.low : columns.high, before},
                                                   {DType::kF32, 4})));
          }
        }
      }
    }
  }

  // The fragment of eight columns, half `half` of the warp's j-th 16, for step `at` of a stage. What is
  // common to them is computed here.
  std::function<Expr(int j, int half)> b_fragments(LoopWriter& w, const Expr& b_base, const Expr& at,
                                                   const VType& quad, const VType& floats) {
    const auto tile = [this](int j) {
      return kernel::add(kernel::mul(warp_.n, int_const(tiles_n_ * 16)), int_const(j * 16));
    };
    if (s_.b_order == Order::kColumns && o_.dtype == DType::kF32) {
      // Steps t and t + 4 of column g, as lane 4 g + t.
      const Expr row = kernel::add(kernel::mul(at, int_const(kStepChunks * elements_)),
                                   kernel::index_rem(lane_, int_const(4)));
      const Expr first =
          w.let("b_first", kernel::add(kernel::add(b_base, kernel::mul(row, int_const(b_pitch()))),
                                       kernel::index_div(lane_, int_const(4))));
      return [=, this](int j, int half) {
        const auto word = [&](int step) {
          const Expr index = kernel::add(first, kernel::add(tile(j), int_const(half * 8 + step * b_pitch())));
          return kernel::bitcast(rounded(kernel::load(b_stage_, index)), {DType::kU32, 1});
        };
        return kernel::shuffle(word(0), word(4), {0, 1});
      };
    }
    const auto half_of = [](const Expr& b, int half) {
      return kernel::shuffle(b, nullptr, {2 * half, 2 * half + 1});
    };
    const auto whole = std::make_shared<Expr>();  // of both halves
    if (s_.b_order == Order::kColumns) {
      // Lane l names step l % 16 of columns 0-7 or 8-15.
      const Expr row = kernel::add(kernel::mul(at, int_const(kStepChunks * elements_)),
                                   kernel::index_rem(lane_, int_const(16)));
      const Expr first =
          w.let("b_first", kernel::add(kernel::add(b_base, kernel::mul(row, int_const(b_pitch()))),
                                       kernel::mul(kernel::index_div(lane_, int_const(16)), int_const(8))));
      return [=, this, &w](int j, int half) {
        if (half == 0)
          *whole = w.let("b", kernel::intrinsic(Intrinsic::kLdmatrixX4Trans, {kernel::add(first, tile(j))},
                                                quad, b_stage_));
        return half_of(*whole, half);
      };
    }
    // Lane l names row l % 8 of matrix l / 8: columns 0-7 and 8-15 of the tile, the step's two chunks.
    const Expr chunk = kernel::add(kernel::mul(at, int_const(kStepChunks)),
                                   kernel::index_rem(kernel::index_div(lane_, int_const(8)), int_const(2)));
    const Expr lane =
        w.let("b_lane", kernel::add(kernel::mul(kernel::index_div(lane_, int_const(16)), int_const(8)),
                                    kernel::index_rem(lane_, int_const(8))));
    return [=, this, &w](int j, int half) {
      if (half == 0) {
        const Expr index = kernel::add(b_base, b_in_stage(kernel::add(tile(j), lane), chunk));
        Expr b = kernel::intrinsic(Intrinsic::kLdmatrixX4, {index}, quad, b_stage_);
        if (s_.b_order != Order::kPacked && is_tf32())
          b = kernel::bitcast(rounded(kernel::bitcast(b, floats)), quad);
        *whole = w.let("b", b);
      }
      return half_of(*whole, half);
    };
  }

  // ---- Results

  Stmts results() {
    const int pitch = s_.block_n + MmaSchedule::kPartialPadding;
    const Buffer partial =
        kernel::make_buffer("partial", {o_.sum_type(), 1}, Scope::kWorkgroup, kernel::Access::kReadWrite,
                            int64_t{s_.warps_k} * s_.block_m * pitch);
    LoopWriter w;
    w.emit(kernel::alloc(partial));
    if (integers_) {
      integers_->store_sums(w, acc_, partial, pitch);
      w.emit(kernel::barrier(s_.split > 1 ? BarrierScope::kCluster : BarrierScope::kWorkgroup));
      epilogue(w, partial, pitch);
      if (s_.split > 1) w.emit(kernel::barrier(BarrierScope::kCluster));
      return w.take();
    }
    const Expr row0 = w.let("row", kernel::add(kernel::add(kernel::mul(warp_.k, int_const(s_.block_m)),
                                                           kernel::mul(warp_.m, int_const(tiles_m_ * 16))),
                                               kernel::index_div(lane_, int_const(4))));
    const Expr column0 =
        w.let("column", kernel::add(kernel::mul(warp_.n, int_const(tiles_n_ * 16)),
                                    kernel::mul(kernel::index_rem(lane_, int_const(4)), int_const(2))));
    when_multiplies(w, [&] {
      for (int64_t at = 0; at < int64_t{tiles_m_} * tiles_n_ * 2; ++at) {
        const int64_t i = at / (tiles_n_ * 2), j = at % (tiles_n_ * 2);
        const Expr value = kernel::load(acc_, int_const(at), 4);
        for (int half = 0; half < 2; ++half) {
          const Expr to =
              kernel::add(kernel::mul(kernel::add(row0, int_const(i * 16 + half * 8)), int_const(pitch)),
                          kernel::add(column0, int_const(j * 8)));
          w.emit(kernel::store(partial, to, kernel::shuffle(value, nullptr, {2 * half, 2 * half + 1})));
        }
      }
    });
    w.emit(kernel::barrier(s_.split > 1 ? BarrierScope::kCluster : BarrierScope::kWorkgroup));
    when_multiplies(w, [&] { epilogue(w, partial, pitch); });
    if (s_.split > 1)
      w.emit(kernel::barrier(BarrierScope::kCluster));  // others may still read this workgroup's sums
    return w.take();
  }

  // Each workgroup of a cluster finishes its share of the block.
  void epilogue(LoopWriter& w, const Buffer& partial, int pitch) {
    const int64_t chunks = int64_t{s_.block_m} * s_.block_n / kColumns,
                  share = (chunks + s_.split - 1) / s_.split, threads = int64_t{32} * s_.warps();
    for (int64_t i = 0; i * threads < share; ++i) {
      const Expr own = kernel::add(t_, int_const(i * threads));
      const Expr q = w.let("q", s_.split > 1 ? kernel::add(own, kernel::mul(rank_, int_const(share))) : own);
      const Expr row = w.let("row", kernel::index_div(q, int_const(s_.block_n / kColumns)));
      const Expr column = w.let(
          "column", kernel::mul(kernel::index_rem(q, int_const(s_.block_n / kColumns)), int_const(kColumns)));
      const Expr m = w.let("m", kernel::add(m0_, row)), n = w.let("n", kernel::add(n0_, column));
      Expr exists = row_exists(m, m_dim_, s_.block_m, params_);
      if (n_ % s_.block_n != 0) exists = both(exists, less(n, int_const(n_)));
      if ((i + 1) * threads > share) exists = both(exists, less(own, int_const(share)));
      if (share * s_.split > chunks) exists = both(exists, less(q, int_const(chunks)));
      finish_columns(w, o_, exists, m, n, n_, kColumns,
                     [&] { return plain_if_needed(w, m, n, sum_of_parts(w, partial, row, column, pitch)); });
    }
  }

  Expr plain_if_needed(LoopWriter& w, const Expr& m, const Expr& n, const Expr& sum) const {
    if (!s_.tf32x3) return sum;
    return plain_unless_finite(
        w, sum, k_, [&](const Expr& k, Stmts& lets) { return o_.a_plain(m, k, lets); },
        [&](const Expr& k, int i) { return kernel::load(o_.b_buffer, b_index(k, n, i)); });
  }

  // Where element (k, n + i) of B lies; past the last column any.
  Expr b_index(const Expr& k, const Expr& n, int i) const {
    Expr column = kernel::add(n, int_const(i));
    if (s_.b_order != Order::kPacked)
      return o_.b_element(k, n_ % kColumns == 0 ? column : kernel::min(column, int_const(n_ - 1)));
    const int64_t width = int64_t{kRowChunks} * elements_;
    const Expr chunk = kernel::index_div(kernel::index_rem(k, int_const(width)), int_const(elements_));
    const Expr mixed = kernel::op(ScalarOp::kXor, {chunk, kernel::index_rem(column, int_const(kRowChunks))});
    const Expr row =
        kernel::add(kernel::mul(kernel::index_div(k, int_const(width)), int_const(columns_of_b())), column);
    return kernel::add(o_.b_first, kernel::add(kernel::mul(row, int_const(width)),
                                               kernel::add(kernel::mul(mixed, int_const(elements_)),
                                                           kernel::index_rem(k, int_const(elements_)))));
  }

  Expr sum_of_parts(LoopWriter& w, const Buffer& partial, const Expr& row, const Expr& column, int pitch) {
    Expr sum;
    for (int rank = 0; rank < s_.split; ++rank) {
      for (int part = 0; part < s_.warps_k; ++part) {
        const Expr at = kernel::add(
            kernel::mul(kernel::add(row, int_const(int64_t{part} * s_.block_m)), int_const(pitch)), column);
        const auto peer = [&](int offset) {
          return kernel::intrinsic(Intrinsic::kPeerLoad,
                                   {kernel::add(at, int_const(offset)), int_const(rank)}, {o_.sum_type(), 4},
                                   partial);
        };
        const Expr value = s_.split == 1
                               ? kernel::load(partial, at, kColumns)
                               : w.let("part", kernel::shuffle(peer(0), peer(4), {0, 1, 2, 3, 4, 5, 6, 7}));
        sum = sum ? kernel::add(sum, value) : value;
      }
    }
    return w.let("sum", sum);
  }

  const Dim m_dim_;
  const int64_t n_, k_;
  const MmaSchedule& s_;
  const MmaOperands& o_;
  kernel::ParamTable& params_;
  const Expr t_;
  const int elements_;     // of a chunk
  int64_t stages_of_k_;    // stages that k, or a workgroup's part of it, takes
  int tiles_m_, tiles_n_;  // 16 x 16 tiles of one warp
  int chunks_;             // of one row of a stage
  Expr rank_, first_step_;
  Expr m0_, n0_, lane_, chunk_;
  WarpPlace warp_;
  Buffer acc_, stage_acc_, a_stage_, b_stage_;
  kernel::Tensor a_tensor_, b_tensor_;
  std::optional<IntegerStages> integers_;
  std::vector<std::pair<Expr, MmaOperands::State>> copy_rows_;
  std::vector<Expr> exists_;
};

}  // namespace

MmaKernel build_mma_kernel(const Dim& m, int64_t n, int64_t k, const kernel::GridAxis& batch_axis,
                           const MmaSchedule& schedule, const Var& thread, const MmaOperands& operands,
                           kernel::ParamTable& params) {
  return Builder(m, n, k, schedule, thread, operands, params).build(batch_axis);
}

}  // namespace tern::lower::gpu
