// Keys by products of subgroups (mma): queries in registers, K and V one block ahead.
#include "compiler/lower/gpu/attention_builder.h"
#include "compiler/lower/gpu/chunks.h"

namespace tern::lower::gpu {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::Intrinsic;

void AttentionBuilder::copy_rows(LoopWriter& w, const Buffer& to, const Expr& at, const Buffer& from,
                                 const std::function<Expr(const Expr&)>& row_of, const Expr& first,
                                 int64_t rows, int64_t width, const Expr& extent) {
  const int64_t padded = s_.padded(width), chunks = padded / kChunk;
  share_copies(w, t_, s_.threads(), rows * chunks, [&](const Expr& q) {
    const Expr row = kernel::index_div(q, int_const(chunks)), chunk = kernel::index_rem(q, int_const(chunks));
    const Expr source = w.let("row", kernel::add(first, row));
    const Expr count = chunk_count(source, extent, false, chunk, width);
    return kernel::async_copy(
        to, kernel::add(kernel::mul(at, int_const(padded)), swizzled(row, chunk, padded)),
        kernel::load(from, kernel::add(row_of(source), kernel::mul(chunk, int_const(kChunk))), kChunk,
                     count));
  });
}

Expr AttentionBuilder::chunk_count(const Expr& row, const Expr& extent, bool whole, const Expr& chunk,
                                   int64_t width) const {
  Expr exists = whole ? nullptr : less(row, extent);
  if (s_.padded(width) != width) {
    const Expr inside = less(chunk, int_const(width / kChunk));
    exists = exists ? kernel::op(kernel::ScalarOp::kAnd, {inside, exists}) : inside;
  }
  return exists ? kernel::select(exists, int_const(kChunk), int_const(0)) : nullptr;
}

void AttentionBuilder::load_queries(LoopWriter& w) {
  const Expr row = w.let(
      "q_row", kernel::add(kernel::mul(warp_m_, int_const(16)), kernel::index_rem(lane_, int_const(16))));
  for (int step = 0; step < depth_steps_; ++step) {
    const Expr chunk = kernel::add(int_const(step * 2), kernel::index_div(lane_, int_const(16)));
    w.emit(kernel::store(
        q_, int_const(step),
        kernel::intrinsic(Intrinsic::kLdmatrixX4, {swizzled(row, chunk, depth_)}, kQuad, q_stage_)));
  }
}

std::vector<kernel::Stmt> AttentionBuilder::all_keys() {
  LoopWriter w;
  const int64_t rows = int64_t{16} * s_.warps_m;
  const Dim blocks = ceildiv(shape_.keys, keys_at_once_);
  const int64_t stages = blocks.is_const(1) && s_.split == 1 ? 1 : 2;
  q_stage_ = rows_buffer("q_rows", rows, depth_);
  k_stage_ = rows_buffer("k_rows", stages * keys_at_once_, depth_);
  v_stage_ = rows_buffer("v_rows", stages * keys_at_once_, value_depth_);
  for (const Buffer& b : {q_stage_, k_stage_, v_stage_}) w.emit(kernel::alloc(b));
  const auto fetch = [&](const Expr& block, bool closes_keys) {
    const Expr first = w.let("first", kernel::mul(block, int_const(keys_at_once_)));
    const Expr at =
        w.let("at", kernel::mul(kernel::index_rem(block, int_const(stages)), int_const(keys_at_once_)));
    copy_rows(w, k_stage_, at, o_.k, o_.k_row, first, keys_at_once_, shape_.depth, keys_);
    if (closes_keys) w.emit(kernel::async_commit());
    copy_rows(w, v_stage_, at, o_.v, o_.v_row, first, keys_at_once_, shape_.value_depth, keys_);
  };
  const auto arrived = [&](int64_t groups_left) {
    w.emit(kernel::async_wait(groups_left));
    w.emit(kernel::barrier());
  };
  Expr begin = int_const(0), count = stages == 1 ? int_const(1)
                                                 : gpu::blocks_of_keys(shape_, m0_, int64_t{16} * s_.warps_m,
                                                                       keys_at_once_, params_);
  if (s_.split > 1) {  // as many for each: those behind the last key count for nothing
    count =
        w.let("share", kernel::index_div(kernel::add(count, int_const(s_.split - 1)), int_const(s_.split)));
    begin = w.let("begin", kernel::mul(rank_, count));
  }
  copy_rows(w, q_stage_, int_const(0), o_.q, o_.q_row, m0_, rows, shape_.depth, queries_);
  w.emit(kernel::async_commit());
  fetch(begin, stages == 1);
  w.emit(kernel::async_commit());
  arrived(stages == 1 ? 2 : 1);
  load_queries(w);
  if (stages == 1) {
    arrived(1);
    block_of_keys(w, int_const(0), [&] { arrived(0); });
    w.emit(kernel::barrier());
    return w.take();
  }
  count = w.let("blocks", count);
  w.loop("turn", count, [&](Expr turn) {
    const Expr block = w.let("block", kernel::add(begin, turn));
    const Expr next = w.let("next", kernel::add(block, int_const(1)));
    w.when(less(kernel::add(turn, int_const(1)), count), [&] { fetch(next, false); });
    w.emit(kernel::async_commit());
    arrived(1);
    block_of_keys(w, block, [] {});
    w.emit(kernel::barrier());
  });
  return w.take();
}

void AttentionBuilder::block_of_keys(LoopWriter& w, const Expr& block,
                                     const std::function<void()>& wait_for_values) {
  const Expr part = w.let("part", kernel::mul(warp_k_, int_const(s_.block_keys)));
  const Expr at =
      w.let("rows_at",
            kernel::add(kernel::mul(kernel::index_rem(block, int_const(2)), int_const(keys_at_once_)), part));
  const Expr n0 = w.let("n0", kernel::add(kernel::mul(block, int_const(keys_at_once_)), part));
  const Buffer scores = registers("scores", key_tiles_);
  w.emit(kernel::alloc(scores));
  products_with_keys(w, scores, at);
  softmax(w, scores, n0);
  rescale(w);
  wait_for_values();
  products_with_values(w, scores, at);
}

void AttentionBuilder::products_with_keys(LoopWriter& w, const Buffer& scores, const Expr& at) {
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
      const Expr b = w.let(
          "b", kernel::intrinsic(Intrinsic::kLdmatrixX4, {swizzled(row, chunk, depth_)}, kQuad, k_stage_));
      for (int i = 0; i < 2; ++i)
        multiply(w, scores, j + i, kernel::load(q_, int_const(step), 4),
                 kernel::shuffle(b, nullptr, {2 * i, 2 * i + 1}));
    }
  }
}

void AttentionBuilder::products_with_values(LoopWriter& w, const Buffer& scores, const Expr& at) {
  const Expr key = w.let("key", kernel::index_rem(lane_, int_const(16)));
  const Expr half = w.let("half", kernel::index_div(lane_, int_const(16)));
  for (int step = 0; step < key_tiles_ / 2; ++step) {
    const Expr a = w.let("weights", packed(scores, step));
    const Expr row = w.let("v_row", kernel::add(kernel::add(at, int_const(step * 16)), key));
    for (int i = 0; i < value_tiles_; i += 2) {
      const Expr chunk = kernel::add(int_const(i), half);
      const Expr b = w.let("b", kernel::intrinsic(Intrinsic::kLdmatrixX4Trans,
                                                  {swizzled(row, chunk, value_depth_)}, kQuad, v_stage_));
      for (int e = 0; e < 2; ++e)
        multiply(w, out_, i + e, a, kernel::shuffle(b, nullptr, {2 * e, 2 * e + 1}));
    }
  }
}

void AttentionBuilder::multiply(LoopWriter& w, const Buffer& sums, int slot, const Expr& a,
                                const Expr& b) const {
  w.emit(kernel::store(sums, int_const(slot),
                       kernel::intrinsic(mma_, {a, b, kernel::load(sums, int_const(slot), 4)}, kSums)));
}

}  // namespace tern::lower::gpu
