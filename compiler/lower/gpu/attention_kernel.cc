#include "compiler/lower/gpu/attention_kernel.h"

#include <cmath>

#include "compiler/lower/gpu/attention_builder.h"

namespace tern::lower::gpu {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::Intrinsic;
using kernel::Scope;
using kernel::Var;
using kernel::var_expr;

AttentionBuilder::AttentionBuilder(const AttentionShape& shape, const AttentionSchedule& s, const Var& thread,
                                   const AttentionOperands& o, kernel::ParamTable& params)
    : shape_(shape), s_(s), o_(o), params_(params), t_(var_expr(thread)) {
  queries_ = params.expr(shape.queries);
  keys_ = params.expr(shape.keys);
  keys_at_once_ = int64_t{s.block_keys} * s.warps_k;
  key_tiles_ = s.block_keys / 8;
  depth_ = s.padded(shape.depth);
  value_depth_ = s.padded(shape.value_depth);
  depth_steps_ = static_cast<int>(depth_ / 16);
  value_tiles_ = static_cast<int>((s.group ? shape.value_depth : value_depth_) / 8);
  mma_ = o.dtype == DType::kF16 ? Intrinsic::kMmaM16N8K16F16 : Intrinsic::kMmaM16N8K16BF16;
}

AttentionKernel AttentionBuilder::build(const kernel::GridAxis& batch) {
  AttentionKernel out;
  if (batch.var) out.grid.push_back(batch);
  const Var block = kernel::make_var("m_block");
  const int64_t rows = int64_t{16} * s_.warps_m;
  const Dim blocks = ceildiv(shape_.queries, rows);
  out.grid.push_back({block, blocks, params_.expr(blocks)});
  if (s_.split > 1) {
    const Var rank = kernel::make_var("rank");
    out.grid.push_back({rank, s_.split, int_const(s_.split)});
    rank_ = var_expr(rank);
  }
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
  scale_ = score_scale(o_, m0_);
  w.emit(kernel::grid_wait());
  w.emit(kernel::block(!s_.group     ? all_keys()
                       : s_.arrivals ? all_keys_by_arrivals()
                                     : all_keys_by_barriers()));
  when_multiplies(w, [&] {
    w.emit(kernel::block(s_.split > 1      ? split_results()
                         : s_.warps_k == 1 ? own_results()
                                           : merged_results()));
  });
  out.body = w.take();
  if (s_.tensors) out.tensors = {q_staged_.tensor, k_staged_.tensor, v_staged_.tensor};
  return out;
}

Buffer AttentionBuilder::registers(const char* name, int64_t elements) {
  return kernel::make_buffer(name, kSums, Scope::kRegister, kernel::Access::kReadWrite, elements);
}

Buffer AttentionBuilder::rows_buffer(const char* name, int64_t rows, int64_t width) const {
  return kernel::make_buffer(name, {o_.dtype, 1}, Scope::kWorkgroup, kernel::Access::kReadWrite,
                             rows * width);
}

Expr blocks_of_keys(const AttentionShape& shape, const Expr& first, int64_t rows, int64_t at_once,
                    kernel::ParamTable& params) {
  const Dim all = ceildiv(shape.keys, at_once);
  if (!shape.reach || all.is_const(1)) return params.expr(all);
  const Expr behind = kernel::add(kernel::add(first, int_const(rows)), params.expr(*shape.reach));
  const Expr seen = kernel::min(kernel::max(behind, int_const(1)), params.expr(shape.keys));
  return kernel::index_div(kernel::add(seen, int_const(at_once - 1)), int_const(at_once));
}

AttentionSchedule default_attention_schedule(int64_t batch, int64_t queries, int64_t keys, int64_t depth,
                                             int processors, bool group, bool clusters, bool by_boxes) {
  AttentionSchedule s;
  // H100, 2048 keys: large blocks read the queries seldom; three workgroups a processor (depth 64) hide each
  // other's waits.
  if (group && batch * ((queries + 127) / 128) >= processors) {
    // Arrivals gain 4 to 6 %, and nothing in the smaller workgroups of depth 64. Their copies are slow where
    // rows begin inside of sectors (56 elements, 4096 keys: 225 us, by boxes 184; few keys gain nothing).
    s.arrivals = depth > 64 || (by_boxes && keys >= 2048);
    s.warps_m = s.arrivals ? 8 : 4;
    s.block_keys = keys > 64 ? 128 : 64;
    s.group = true;
    return s;
  }
  // Fitted to times on an H100 (64 to 1024 keys, 12 to 32 heads): 1.5 workgroups a processor; 16 queries
  // where those suffice and K and V are short enough to be read that often, or where little keeps anything
  // busy.
  const auto workgroups = [&](int warps) { return batch * ((queries + 16 * warps - 1) / (16 * warps)); };
  const auto fills = [&](int warps) { return 2 * workgroups(warps) >= 3 * processors; };
  if (depth > 64) s.block_keys = 32;
  if (fills(4)) return s;
  s.block_keys = 32;
  s.warps_m = !fills(2) && ((fills(1) && keys < 512) || 2 * workgroups(1) < processors) ? 1 : 2;
  while (keys > int64_t{32} * s.warps_k &&
         (s.warps_k < 4 || (s.warps_k < 8 && keys <= 256 && workgroups(s.warps_m) < processors)))
    s.warps_k *= 2;
  // Each with a block of keys at least, two workgroups a processor at most.
  while (clusters && s.split < 8 && workgroups(s.warps_m) * s.split < processors &&
         keys > int64_t{s.block_keys} * s.warps_k * s.split)
    s.split *= 2;
  return s;
}

AttentionKernel build_attention_kernel(const AttentionShape& shape, const kernel::GridAxis& batch_axis,
                                       const AttentionSchedule& schedule, const Var& thread,
                                       const AttentionOperands& operands, kernel::ParamTable& params) {
  return AttentionBuilder(shape, schedule, thread, operands, params).build(batch_axis);
}

std::string AttentionSchedule::text() const {
  return fmt::format("{}attention, {} queries x {} keys, warps {}x{}{}", group ? "group " : "", 16 * warps_m,
                     block_keys, warps_m, warps_k,
                     tensors     ? ", boxes"
                     : arrivals  ? ", by arrivals"
                     : split > 1 ? fmt::format(", keys split by {}", split)
                                 : "");
}

}  // namespace tern::lower::gpu
