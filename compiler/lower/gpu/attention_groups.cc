// Keys by products of 128 threads (wgmma) out of workgroup memory, whose stages change hands by barriers;
// and what attention_arrivals.cc shares with that.
#include "compiler/lower/gpu/attention_builder.h"
#include "compiler/lower/gpu/chunks.h"

namespace tern::lower::gpu {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::Scope;

void AttentionBuilder::copy_panels(LoopWriter& w, const Buffer& to, const Expr& to_panels, const Buffer& from,
                                   const std::function<Expr(const Expr&)>& row_of, const Expr& first,
                                   int64_t rows, int64_t width, const Expr& extent, bool whole) {
  const int64_t chunks = s_.padded(width) / kChunk;
  share_copies(w, t_, s_.threads(), rows * chunks, [&](const Expr& q) {
    const Expr row = kernel::index_div(q, int_const(chunks)), chunk = kernel::index_rem(q, int_const(chunks));
    const Expr source = w.let("row", kernel::add(first, row));
    const Expr count = chunk_count(source, extent, whole, chunk, width);
    const Expr panel =
        kernel::mul(kernel::index_div(chunk, int_const(kPanel / kChunk)), int_const(rows * kPanel));
    const Expr inside = swizzled(row, kernel::index_rem(chunk, int_const(kPanel / kChunk)), kPanel);
    return kernel::async_copy(
        to, kernel::add(to_panels, kernel::add(panel, inside)),
        kernel::load(from, kernel::add(row_of(source), kernel::mul(chunk, int_const(kChunk))), kChunk,
                     count));
  });
}

Buffer AttentionBuilder::prepare_groups(LoopWriter& w) {
  const auto stage = [&](const char* name, int64_t rows, int64_t width) {
    const Buffer buffer = rows_buffer(name, rows, width);
    w.emit(kernel::alloc(buffer));
    return buffer;
  };
  const int64_t rows = int64_t{16} * s_.warps_m, keys = keys_at_once_;
  const auto whole = [](const Dim& extent, int64_t at_once) {
    return extent.is_const() && extent.value() > 0 && extent.value() % at_once == 0;
  };
  const bool whole_keys = whole(shape_.keys, keys);
  q_staged_ = {stage("q_rows", rows, depth_), o_.q, o_.q_row, rows, shape_.depth, queries_,
               whole(shape_.queries, rows)};
  k_staged_ = {
      stage("k_rows", kStages * keys, depth_), o_.k, o_.k_row, keys, shape_.depth, keys_, whole_keys};
  v_staged_ = {stage("v_rows", kStages * keys, value_depth_),
               o_.v,
               o_.v_row,
               keys,
               shape_.value_depth,
               keys_,
               whole_keys};
  if (s_.tensors) {
    q_staged_.boxes = &*o_.q_rows;
    k_staged_.boxes = &*o_.k_rows;
    v_staged_.boxes = &*o_.v_rows;
    q_staged_.tensor = panels_of(*o_.q_rows, "q_boxes", rows);
    k_staged_.tensor = panels_of(*o_.k_rows, "k_boxes", keys);
    v_staged_.tensor = panels_of(*o_.v_rows, "v_boxes", keys);
  }
  const Buffer scores = registers("scores", key_tiles_);
  weights_ =
      kernel::make_buffer("weights", kQuad, Scope::kRegister, kernel::Access::kReadWrite, key_tiles_ / 2);
  w.emit(kernel::alloc(scores));
  w.emit(kernel::alloc(weights_));
  for (int j = 0; j < key_tiles_; ++j)
    w.emit(kernel::store(scores, int_const(j), kernel::broadcast(float_const(0.0), 4)));
  return scores;
}

void AttentionBuilder::fetch(LoopWriter& w, const Staged& m, const Expr& first, const Expr& at,
                             const Expr& counter) {
  if (m.tensor) return copy_boxes(w, *m.boxes, m.tensor, first, int_const(0), m.width, m.stage, at, counter);
  copy_panels(w, m.stage, at, m.from, m.row_of, first, m.rows, m.width, m.extent, m.whole);
}

void AttentionBuilder::fetch_block(LoopWriter& w, const Staged& m, const Expr& block, const Expr& counter) {
  const Expr first = w.let("first", kernel::mul(block, int_const(m.rows)));
  fetch(w, m, first, w.let("at", stage_of(m, block)), counter);
}

Expr AttentionBuilder::stage_of(const Staged& m, const Expr& block) const {
  return kernel::mul(kernel::index_rem(block, int_const(kStages)), int_const(m.rows * s_.padded(m.width)));
}

// Without keys one block that is masked.
Expr AttentionBuilder::blocks_of_keys() const {
  return kernel::max(gpu::blocks_of_keys(shape_, m0_, int64_t{16} * s_.warps_m, keys_at_once_, params_),
                     int_const(1));
}

std::vector<kernel::Stmt> AttentionBuilder::all_keys_by_barriers() {
  LoopWriter w;
  const Buffer scores = prepare_groups(w);
  const auto await_copies = [&](int64_t ahead) {
    w.emit(kernel::async_wait(ahead));
    w.emit(kernel::barrier());
  };
  const Expr blocks = blocks_of_keys(), zero = int_const(0), one = int_const(1);
  fetch(w, q_staged_, m0_, zero);
  fetch_block(w, k_staged_, zero);
  w.emit(kernel::async_commit());
  fetch_block(w, v_staged_, zero);
  w.when(less(one, blocks), [&] { fetch_block(w, k_staged_, one); });
  w.emit(kernel::async_commit());
  await_copies(1);
  group_scores(w, scores, zero);
  w.emit(kernel::group_mma_wait(0));
  softmax(w, scores, zero);
  pack_weights(w, scores);
  w.loop("block", kernel::sub(blocks, one), [&](Expr block) {
    const Expr next = w.let("next", kernel::add(block, one));
    const Expr after = w.let("after", kernel::add(block, int_const(2)));
    await_copies(0);
    // A warp waits for its turn to issue products: copies come first where nothing holds them up.
    fetch_block(w, v_staged_, next);
    w.when(less(after, blocks), [&] { fetch_block(w, k_staged_, after); });
    w.emit(kernel::async_commit());
    group_scores(w, scores, next);
    group_values(w, block);
    weigh_next(w, scores, next, [] {}, [] {});
  });
  await_copies(0);
  group_values(w, w.let("last", kernel::sub(blocks, one)));
  w.emit(kernel::group_mma_wait(0));
  return w.take();
}

void AttentionBuilder::weigh_next(LoopWriter& w, const Buffer& scores, const Expr& next,
                                  const std::function<void()>& scored, const std::function<void()>& weighed) {
  w.emit(kernel::group_mma_wait(1));
  scored();
  softmax(w, scores, w.let("n0", kernel::mul(next, int_const(keys_at_once_))));
  // Products still read the weights of the block before.
  std::vector<Expr> packs;
  for (int step = 0; step < key_tiles_ / 2; ++step) packs.push_back(w.let("pack", packed(scores, step)));
  w.emit(kernel::group_mma_wait(0, kernel::add(w.get(sum_[0]), w.get(sum_[1]))));
  weighed();
  rescale(w);
  for (int step = 0; step < key_tiles_ / 2; ++step)
    w.emit(kernel::store(weights_, int_const(step), packs[static_cast<size_t>(step)]));
}

void AttentionBuilder::group_scores(LoopWriter& w, const Buffer& scores, const Expr& block) {
  const Expr group = kernel::index_div(warp_m_, int_const(4));
  const Expr a = w.let("q_base", kernel::mul(group, int_const(64 * kPanel)));
  const Expr b = w.let("k_base", stage_of(k_staged_, block));
  for (int64_t d = 0; d < shape_.depth; d += 16) {
    const int64_t panel = d / kPanel, inside = d % kPanel, rows = int64_t{16} * s_.warps_m;
    w.emit(kernel::group_mma(
        scores, kernel::load(q_staged_.stage, kernel::add(a, int_const(panel * rows * kPanel + inside))),
        kernel::load(k_staged_.stage, kernel::add(b, int_const(panel * keys_at_once_ * kPanel + inside))),
        {0, d == 0}));
  }
  w.emit(kernel::group_mma_commit());
}

void AttentionBuilder::group_values(LoopWriter& w, const Expr& block) {
  const Expr b = w.let("v_base", stage_of(v_staged_, block));
  for (int step = 0; step < key_tiles_ / 2; ++step) {
    w.emit(kernel::group_mma(
        out_, kernel::load(weights_, int_const(step), 4),
        kernel::load(v_staged_.stage, kernel::add(b, int_const(int64_t{step} * 16 * kPanel))),
        {keys_at_once_ * kPanel}));
  }
  w.emit(kernel::group_mma_commit());
}

void AttentionBuilder::pack_weights(LoopWriter& w, const Buffer& scores) {
  for (int step = 0; step < key_tiles_ / 2; ++step)
    w.emit(kernel::store(weights_, int_const(step), packed(scores, step)));
}

}  // namespace tern::lower::gpu
