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
  HandOver(LoopWriter& w, bool by_arrivals) : w_(w), by_arrivals_(by_arrivals) {
    if (!by_arrivals) return;
    for (const Buffer& counter : {copied_, left_}) w_.emit(kernel::alloc(counter));
    for (int i = 0; i < 2; ++i) start(copied_, i);
    start(left_, 0);
    w_.emit(kernel::barrier());
  }
  // The copies of a step are all on their way; those of the step before may be, too.
  void copied(const Expr& step) {
    w_.emit(by_arrivals_ ? kernel::arrival(ArrivalOp::kCopied, copied_, kernel::index_rem(step, int_const(2)))
                         : kernel::async_commit());
  }
  // Steps after it may be on their way still: `ahead` of them.
  void await_copies(const Expr& step, int64_t ahead) {
    if (by_arrivals_)
      return w_.emit(kernel::arrival(ArrivalOp::kWait, copied_, kernel::index_rem(step, int_const(2)),
                                     kernel::index_div(step, int_const(2))));
    w_.emit(kernel::async_wait(ahead));
    w_.emit(kernel::barrier());
  }
  // The products of a step have read what they read.
  void left() {
    if (by_arrivals_) w_.emit(kernel::arrival(ArrivalOp::kArrive, left_, int_const(0)));
  }
  // Everybody has; a barrier waited for that.
  void await_left(const Expr& step) {
    if (by_arrivals_) w_.emit(kernel::arrival(ArrivalOp::kWait, left_, int_const(0), step));
  }

 private:
  static Buffer counters(const char* name, int64_t count) {
    return kernel::make_buffer(name, {DType::kU64, 1}, Scope::kWorkgroup, kernel::Access::kReadWrite, count);
  }
  void start(const Buffer& counter, int at) {
    w_.emit(kernel::arrival(ArrivalOp::kStart, counter, int_const(at)));
  }
  LoopWriter& w_;
  const bool by_arrivals_;
  const Buffer copied_ = counters("copied", 2), left_ = counters("left", 1);
};

std::vector<kernel::Stmt> AttentionBuilder::all_keys_by_groups() {
  LoopWriter w;
  const int64_t rows = int64_t{16} * s_.warps_m;
  q_stage_ = rows_buffer("q_rows", rows, shape_.depth);
  k_stage_ = rows_buffer("k_rows", 2 * keys_at_once_, shape_.depth);
  v_stage_ = rows_buffer("v_rows", 2 * keys_at_once_, shape_.value_depth);
  for (const Buffer& b : {q_stage_, k_stage_, v_stage_}) w.emit(kernel::alloc(b));
  HandOver steps(w, s_.arrivals);
  const Buffer scores = registers("scores", key_tiles_);
  weights_ =
      kernel::make_buffer("weights", kQuad, Scope::kRegister, kernel::Access::kReadWrite, key_tiles_ / 2);
  w.emit(kernel::alloc(scores));
  w.emit(kernel::alloc(weights_));
  for (int j = 0; j < key_tiles_; ++j)
    w.emit(kernel::store(scores, int_const(j), kernel::broadcast(float_const(0.0), 4)));
  const bool whole =
      shape_.keys.is_const() && shape_.keys.value() > 0 && shape_.keys.value() % keys_at_once_ == 0;
  const auto fetch = [&](const Buffer& to, const Buffer& from, const RowOf& row_of, const Expr& block,
                         int64_t width) {
    const Expr first = w.let("first", kernel::mul(block, int_const(keys_at_once_)));
    const Expr at =
        w.let("at", kernel::mul(kernel::index_rem(block, int_const(2)), int_const(keys_at_once_ * width)));
    copy_panels(w, to, at, from, row_of, first, keys_at_once_, width, keys_, whole);
  };
  const auto fetch_k = [&](const Expr& block) { fetch(k_stage_, o_.k, o_.k_row, block, shape_.depth); };
  const auto fetch_v = [&](const Expr& block) { fetch(v_stage_, o_.v, o_.v_row, block, shape_.value_depth); };
  // Without keys one block that is masked.
  const Expr blocks = kernel::max(params_.expr(ceildiv(shape_.keys, keys_at_once_)), int_const(1));
  const Expr zero = int_const(0), one = int_const(1);
  copy_panels(w, q_stage_, zero, o_.q, o_.q_row, m0_, rows, shape_.depth, queries_,
              shape_.queries.is_const() && shape_.queries.value() % rows == 0);
  fetch_k(zero);
  steps.copied(zero);
  fetch_v(zero);
  w.when(less(one, blocks), [&] { fetch_k(one); });
  steps.copied(one);
  steps.await_copies(zero, 1);
  group_scores(w, scores, zero);
  w.emit(kernel::group_mma_wait(0));
  steps.left();
  softmax(w, scores, zero);
  pack_weights(w, scores);
  w.loop("block", kernel::sub(blocks, one), [&](Expr block) {
    const Expr next = w.let("next", kernel::add(block, one));
    const Expr after = w.let("after", kernel::add(block, int_const(2)));
    const auto fetch_next = [&] {
      steps.await_left(block);
      fetch_v(next);
      w.when(less(after, blocks), [&] { fetch_k(after); });
      steps.copied(after);
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
    steps.left();
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
