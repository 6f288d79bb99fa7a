// Keys by products of 128 threads (wgmma) out of workgroup memory.
#include "compiler/lower/gpu/attention_builder.h"
#include "compiler/lower/gpu/chunks.h"

namespace tern::lower::gpu {

using kernel::ArrivalOp;
using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::Scope;

namespace {

constexpr int64_t kPanel = 64;  // columns of a row of workgroup memory that group_mma reads

}  // namespace

void AttentionBuilder::copy_panels(LoopWriter& w, const Buffer& to, const Expr& to_panels, const Buffer& from,
                                   const std::function<Expr(const Expr&)>& row_of, const Expr& first,
                                   int64_t rows, int64_t width, const Expr& extent, bool whole) {
  const int64_t chunks = width / kChunk;
  share_copies(w, t_, s_.threads(), rows * chunks, [&](const Expr& q) {
    const Expr row = kernel::index_div(q, int_const(chunks)), chunk = kernel::index_rem(q, int_const(chunks));
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

// How copies and products hand stages of workgroup memory over: step 0 brings the queries and block 0 of K,
// step n + 1 block n of V and block n + 1 of K. By barriers, or by arrivals, which let groups run ahead.
class AttentionBuilder::HandOver {
 public:
  HandOver(LoopWriter& w, const AttentionSchedule& s, const Expr& thread)
      : w_(w), by_arrivals_(s.arrivals), by_boxes_(s.tensors), asks_(less(thread, int_const(32))) {
    if (!by_arrivals_) return;
    for (const Buffer& counter : {copied_, left_}) w_.emit(kernel::alloc(counter));
    for (int i = 0; i < 2; ++i) {
      w_.emit(kernel::arrival(ArrivalOp::kStart, copied_, int_const(i), by_boxes_ ? int_const(1) : nullptr));
      w_.emit(kernel::arrival(ArrivalOp::kStart, left_, int_const(i)));
    }
    w_.emit(kernel::barrier());
  }
  // ask() has copied what step `step` brings, once everybody has left step `reads` before (null: nobody was
  // there): by all threads, or for boxes by the first warp, which alone waits then.
  void copy(const Expr& step, const Expr& reads, const std::function<void()>& ask) {
    const auto all = [&] {
      if (by_arrivals_ && reads) w_.emit(kernel::arrival(ArrivalOp::kWait, left_, side(reads), phase(reads)));
      ask();
      const ArrivalOp how = by_boxes_ ? ArrivalOp::kArrive : ArrivalOp::kCopied;
      w_.emit(by_arrivals_ ? kernel::arrival(how, copied_, side(step)) : kernel::async_commit());
    };
    by_boxes_ ? w_.when(asks_, all) : all();
  }
  Expr counter(const Expr& step) const { return kernel::load(copied_, side(step)); }
  // Steps after it may be on their way still: `ahead` of them.
  void await_copies(const Expr& step, int64_t ahead) {
    if (by_arrivals_) return w_.emit(kernel::arrival(ArrivalOp::kWait, copied_, side(step), phase(step)));
    w_.emit(kernel::async_wait(ahead));
    w_.emit(kernel::barrier());
  }
  // The products of a step have read what they read.
  void left(const Expr& step) {
    if (by_arrivals_) w_.emit(kernel::arrival(ArrivalOp::kArrive, left_, side(step)));
  }

 private:
  static Buffer counters(const char* name) {
    return kernel::make_buffer(name, {DType::kU64, 1}, Scope::kWorkgroup, kernel::Access::kReadWrite, 2);
  }
  static Expr side(const Expr& step) { return kernel::index_rem(step, int_const(2)); }
  static Expr phase(const Expr& step) { return kernel::index_div(step, int_const(2)); }
  LoopWriter& w_;
  const bool by_arrivals_, by_boxes_;
  const Expr asks_;
  const Buffer copied_ = counters("copied"), left_ = counters("left");
};

std::vector<kernel::Stmt> AttentionBuilder::all_keys_by_groups() {
  LoopWriter w;
  const int64_t rows = int64_t{16} * s_.warps_m;
  q_stage_ = rows_buffer("q_rows", rows, shape_.depth);
  k_stage_ = rows_buffer("k_rows", 2 * keys_at_once_, shape_.depth);
  v_stage_ = rows_buffer("v_rows", 2 * keys_at_once_, shape_.value_depth);
  for (const Buffer& b : {q_stage_, k_stage_, v_stage_}) w.emit(kernel::alloc(b));
  if (s_.tensors) {
    q_tensor_ = panels_of(*o_.q_rows, "q_boxes", rows);
    k_tensor_ = panels_of(*o_.k_rows, "k_boxes", keys_at_once_);
    v_tensor_ = panels_of(*o_.v_rows, "v_boxes", keys_at_once_);
  }
  HandOver steps(w, s_, t_);
  const Buffer scores = registers("scores", key_tiles_);
  weights_ =
      kernel::make_buffer("weights", kQuad, Scope::kRegister, kernel::Access::kReadWrite, key_tiles_ / 2);
  w.emit(kernel::alloc(scores));
  w.emit(kernel::alloc(weights_));
  for (int j = 0; j < key_tiles_; ++j)
    w.emit(kernel::store(scores, int_const(j), kernel::broadcast(float_const(0.0), 4)));
  const bool whole =
      shape_.keys.is_const() && shape_.keys.value() > 0 && shape_.keys.value() % keys_at_once_ == 0;
  // Block `block`, which step `step` brings.
  const auto place = [&](const Expr& block, int64_t width) {
    return w.let("at", kernel::mul(kernel::index_rem(block, int_const(2)), int_const(keys_at_once_ * width)));
  };
  const auto fetch_k = [&](const Expr& block, const Expr& step) {
    const Expr first = w.let("first", kernel::mul(block, int_const(keys_at_once_)));
    const Expr at = place(block, shape_.depth);
    if (s_.tensors)
      return copy_boxes(w, *o_.k_rows, k_tensor_, first, int_const(0), shape_.depth, k_stage_, at,
                        steps.counter(step));
    copy_panels(w, k_stage_, at, o_.k, o_.k_row, first, keys_at_once_, shape_.depth, keys_, whole);
  };
  const auto fetch_v = [&](const Expr& block, const Expr& step) {
    const Expr first = w.let("first", kernel::mul(block, int_const(keys_at_once_)));
    const Expr at = place(block, shape_.value_depth);
    if (s_.tensors)
      return copy_boxes(w, *o_.v_rows, v_tensor_, first, int_const(0), shape_.value_depth, v_stage_, at,
                        steps.counter(step));
    copy_panels(w, v_stage_, at, o_.v, o_.v_row, first, keys_at_once_, shape_.value_depth, keys_, whole);
  };
  const auto fetch_q = [&](const Expr& step) {
    if (s_.tensors)
      return copy_boxes(w, *o_.q_rows, q_tensor_, m0_, int_const(0), shape_.depth, q_stage_, int_const(0),
                        steps.counter(step));
    copy_panels(w, q_stage_, int_const(0), o_.q, o_.q_row, m0_, rows, shape_.depth, queries_,
                shape_.queries.is_const() && shape_.queries.value() % rows == 0);
  };
  // Without keys one block that is masked.
  const Expr blocks = kernel::max(params_.expr(ceildiv(shape_.keys, keys_at_once_)), int_const(1));
  const Expr zero = int_const(0), one = int_const(1);
  steps.copy(zero, nullptr, [&] {
    fetch_q(zero);
    fetch_k(zero, zero);
  });
  steps.copy(one, nullptr, [&] {
    fetch_v(zero, one);
    w.when(less(one, blocks), [&] { fetch_k(one, one); });
  });
  steps.await_copies(zero, 1);
  group_scores(w, scores, zero);
  w.emit(kernel::group_mma_wait(0));
  steps.left(zero);
  softmax(w, scores, zero);
  pack_weights(w, scores);
  w.loop("block", kernel::sub(blocks, one), [&](Expr block) {
    const Expr next = w.let("next", kernel::add(block, one));
    const Expr after = w.let("after", kernel::add(block, int_const(2)));
    const auto fetch_next = [&] {
      steps.copy(after, block, [&] {
        fetch_v(next, after);
        w.when(less(after, blocks), [&] { fetch_k(after, after); });
      });
    };
    steps.await_copies(next, 0);
    // A warp waits for its turn to issue products: copies come first where nothing holds them up.
    if (!s_.arrivals) fetch_next();
    group_scores(w, scores, next);
    group_values(w, block);
    if (s_.arrivals) fetch_next();
    w.emit(kernel::group_mma_wait(1));
    softmax(w, scores, w.let("n0", kernel::mul(next, int_const(keys_at_once_))));
    w.emit(kernel::group_mma_wait(0, kernel::add(w.get(sum_[0]), w.get(sum_[1]))));
    steps.left(next);
    rescale(w);
    pack_weights(w, scores);
  });
  steps.await_copies(blocks, 0);
  group_values(w, w.let("last", kernel::sub(blocks, one)));
  w.emit(kernel::group_mma_wait(0));
  return w.take();
}

void AttentionBuilder::group_scores(LoopWriter& w, const Buffer& scores, const Expr& block) {
  const Expr group = kernel::index_div(warp_m_, int_const(4));
  const Expr a = w.let("q_base", kernel::mul(group, int_const(64 * kPanel)));
  const Expr b = w.let(
      "k_base", kernel::mul(kernel::index_rem(block, int_const(2)), int_const(keys_at_once_ * shape_.depth)));
  for (int64_t d = 0; d < shape_.depth; d += 16) {
    const int64_t panel = d / kPanel, inside = d % kPanel, rows = int64_t{16} * s_.warps_m;
    w.emit(kernel::group_mma(
        scores, kernel::load(q_stage_, kernel::add(a, int_const(panel * rows * kPanel + inside))),
        kernel::load(k_stage_, kernel::add(b, int_const(panel * keys_at_once_ * kPanel + inside))),
        {0, d == 0}));
  }
  w.emit(kernel::group_mma_commit());
}

void AttentionBuilder::group_values(LoopWriter& w, const Expr& block) {
  const Expr b = w.let("v_base", kernel::mul(kernel::index_rem(block, int_const(2)),
                                             int_const(keys_at_once_ * shape_.value_depth)));
  for (int step = 0; step < key_tiles_ / 2; ++step) {
    w.emit(kernel::group_mma(out_, kernel::load(weights_, int_const(step), 4),
                             kernel::load(v_stage_, kernel::add(b, int_const(int64_t{step} * 16 * kPanel))),
                             {keys_at_once_ * kPanel}));
  }
  w.emit(kernel::group_mma_commit());
}

void AttentionBuilder::pack_weights(LoopWriter& w, const Buffer& scores) {
  for (int step = 0; step < key_tiles_ / 2; ++step)
    w.emit(kernel::store(weights_, int_const(step), packed(scores, step)));
}

}  // namespace tern::lower::gpu
