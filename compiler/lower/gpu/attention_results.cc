// What the sums and outputs in registers become: output.
#include <cmath>

#include "compiler/lower/gpu/attention_builder.h"
#include "compiler/lower/gpu/chunks.h"

namespace tern::lower::gpu {

using kernel::Buffer;
using kernel::Expr;
using kernel::float_const;
using kernel::int_const;
using kernel::Intrinsic;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Stmt;

// Over the lanes that hold a row.
Expr AttentionBuilder::row_sum(LoopWriter& w, int half) const {
  Expr sum = w.get(sum_[half]);
  for (int mask : {1, 2}) {
    const Expr own = w.let("sum", sum);
    sum = kernel::add(own,
                      kernel::intrinsic(Intrinsic::kSubgroupShuffleXor, {own, int_const(mask)}, own->type));
  }
  return w.let("sum", sum);
}

Expr AttentionBuilder::lane_row() const {
  return kernel::add(kernel::mul(warp_m_, int_const(16)), kernel::index_div(lane_, int_const(4)));
}

Expr AttentionBuilder::lane_column() const {
  return kernel::mul(kernel::index_rem(lane_, int_const(4)), int_const(2));
}

std::vector<kernel::Stmt> AttentionBuilder::own_results() {
  LoopWriter w;
  const Expr row = w.let("row", kernel::add(m0_, lane_row())), column = w.let("column", lane_column());
  for (int half = 0; half < 2; ++half) {
    const Expr scale = w.let("scale", reciprocal_of_sum(shape_, keys_, row_sum(w, half)));
    const Expr m = w.let("m", kernel::add(row, int_const(half * 8)));
    w.when(less(m, queries_), [&] {
      for (int i = 0; i * 8 < shape_.value_depth; ++i) {
        const Expr pair =
            kernel::shuffle(kernel::load(out_, int_const(i), 4), nullptr, {2 * half, 2 * half + 1});
        const Expr result = w.let("result", kernel::mul(pair, kernel::broadcast(scale, 2)));
        for (Stmt& s : o_.finish(m, w.let("d", kernel::add(column, int_const(i * 8))), result, 2))
          w.emit(std::move(s));
      }
    });
  }
  return w.take();
}

std::vector<kernel::Stmt> AttentionBuilder::merged_results() {
  LoopWriter w;
  const int64_t rows = int64_t{16} * s_.warps_m, width = shape_.value_depth, pitch = value_depth_ + 8;
  const Buffer outs = kernel::make_buffer("outs", {DType::kF32, 1}, Scope::kWorkgroup,
                                          kernel::Access::kReadWrite, s_.warps_k * rows * pitch);
  const Buffer tops = kernel::make_buffer("tops", {DType::kF32, 1}, Scope::kWorkgroup,
                                          kernel::Access::kReadWrite, s_.warps_k * rows);
  const Buffer sums = kernel::make_buffer("sums", {DType::kF32, 1}, Scope::kWorkgroup,
                                          kernel::Access::kReadWrite, s_.warps_k * rows);
  for (const Buffer& b : {outs, tops, sums}) w.emit(kernel::alloc(b));
  const Expr row = w.let("row", kernel::add(kernel::mul(warp_k_, int_const(rows)), lane_row()));
  const Expr column = w.let("column", lane_column());
  for (int half = 0; half < 2; ++half) {
    const Expr at = w.let("at", kernel::add(row, int_const(half * 8)));
    const Expr sum = row_sum(w, half);
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
    if (chunks % s_.threads() != 0) exists = kernel::op(ScalarOp::kAnd, {less(q, int_const(chunks)), exists});
    w.when(exists, [&] { merge(w, outs, tops, sums, rows, pitch, r, d, m); });
  });
  return w.take();
}

void AttentionBuilder::merge(LoopWriter& w, const Buffer& outs, const Buffer& tops, const Buffer& sums,
                             int64_t rows, int64_t pitch, const Expr& r, const Expr& d, const Expr& m) {
  const auto at = [&](int part) { return kernel::add(r, int_const(part * rows)); };
  Expr top = kernel::load(tops, at(0));
  for (int part = 1; part < s_.warps_k; ++part) top = kernel::max(top, kernel::load(tops, at(part)));
  top = w.let("top", top);
  const Expr base = w.let("base", kernel::select(kernel::compare(ScalarOp::kEq, top, float_const(-INFINITY)),
                                                 float_const(0.0), top));
  Expr sum, value;
  for (int part = 0; part < s_.warps_k; ++part) {
    const Expr scale =
        w.let("scale",
              exp2(kernel::mul(kernel::sub(kernel::load(tops, at(part)), base), float_const(scale_.factor))));
    const Expr own = kernel::mul(kernel::load(sums, at(part)), scale);
    const Expr out = kernel::load(outs, kernel::add(kernel::mul(at(part), int_const(pitch)), d), kChunk);
    const Expr scaled = kernel::mul(out, kernel::broadcast(scale, kChunk));
    sum = sum ? kernel::add(sum, own) : own;
    value = value ? kernel::add(value, scaled) : scaled;
  }
  const Expr inverse = w.let("inverse", reciprocal_of_sum(shape_, keys_, sum));
  const Expr result = w.let("result", kernel::mul(value, kernel::broadcast(inverse, kChunk)));
  for (Stmt& s : o_.finish(m, d, result, kChunk)) w.emit(std::move(s));
}

}  // namespace tern::lower::gpu
