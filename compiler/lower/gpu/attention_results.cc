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

AttentionBuilder::Parts AttentionBuilder::store_parts(LoopWriter& w) {
  const auto shared = [&](const char* name, int64_t size) {
    const Buffer b = kernel::make_buffer(name, {DType::kF32, 1}, Scope::kWorkgroup,
                                         kernel::Access::kReadWrite, s_.warps_k * size);
    w.emit(kernel::alloc(b));
    return b;
  };
  Parts p;
  p.rows = int64_t{16} * s_.warps_m;
  p.pitch = value_depth_ + 8;
  p.outs = shared("outs", p.rows * p.pitch);
  p.tops = shared("tops", p.rows);
  p.sums = shared("sums", p.rows);
  const Expr row = w.let("row", kernel::add(kernel::mul(warp_k_, int_const(p.rows)), lane_row()));
  const Expr column = w.let("column", lane_column());
  for (int half = 0; half < 2; ++half) {
    const Expr at = w.let("at", kernel::add(row, int_const(half * 8)));
    const Expr sum = row_sum(w, half);
    w.when(kernel::compare(ScalarOp::kEq, column, int_const(0)), [&] {
      w.store(p.tops, at, w.get(top_[half]));
      w.store(p.sums, at, sum);
    });
    for (int i = 0; i < value_tiles_; ++i) {
      w.store(p.outs, kernel::add(kernel::mul(at, int_const(p.pitch)), kernel::add(column, int_const(i * 8))),
              kernel::shuffle(kernel::load(out_, int_const(i), 4), nullptr, {2 * half, 2 * half + 1}));
    }
  }
  return p;
}

AttentionBuilder::Merged AttentionBuilder::merged(LoopWriter& w, int parts,
                                                  const std::function<Merged(int part)>& part_of) const {
  std::vector<Merged> all;
  for (int part = 0; part < parts; ++part) all.push_back(part_of(part));
  Expr top = all[0].top;
  for (int part = 1; part < parts; ++part) top = kernel::max(top, all[static_cast<size_t>(part)].top);
  Merged out;
  out.top = w.let("top", top);
  const Expr base =
      w.let("base", kernel::select(kernel::compare(ScalarOp::kEq, out.top, float_const(-INFINITY)),
                                   float_const(0.0), out.top));
  for (const Merged& part : all) {
    const Expr scale =
        w.let("scale", exp2(kernel::mul(kernel::sub(part.top, base), float_const(scale_.factor))));
    const Expr own = kernel::mul(part.sum, scale);
    const Expr scaled = kernel::mul(part.value, kernel::broadcast(scale, part.value->type.lanes));
    out.sum = out.sum ? kernel::add(out.sum, own) : own;
    out.value = out.value ? kernel::add(out.value, scaled) : scaled;
  }
  return out;
}

void AttentionBuilder::each_output(
    LoopWriter& w, int64_t width, const Expr& first, int64_t share,
    const std::function<void(const Expr& row, const Expr& column)>& body) const {
  const int64_t across = shape_.value_depth / width, all = int64_t{16} * s_.warps_m * across;
  const int threads = s_.threads();
  w.loop("i", int_const((share + threads - 1) / threads), [&](Expr i) {
    const Expr own = w.let("own", kernel::add(t_, kernel::mul(i, int_const(threads))));
    const Expr q = w.let("q", kernel::add(own, first));
    const Expr row = w.let("r", kernel::index_div(q, int_const(across)));
    const Expr column = w.let("d", kernel::mul(kernel::index_rem(q, int_const(across)), int_const(width)));
    Expr exists = less(kernel::add(m0_, row), queries_);
    if (share % threads != 0) exists = both(less(own, int_const(share)), exists);
    if (share != all) exists = both(less(q, int_const(all)), exists);
    w.when(exists, [&] { body(row, column); });
  });
}

std::vector<kernel::Stmt> AttentionBuilder::merged_results() {
  LoopWriter w;
  const Parts p = store_parts(w);
  w.emit(kernel::barrier());
  each_output(
      w, kChunk, int_const(0), p.rows * shape_.value_depth / kChunk, [&](const Expr& r, const Expr& d) {
        const Merged all = merged(w, s_.warps_k, [&](int part) {
          const Expr at = kernel::add(r, int_const(part * p.rows));
          return Merged{kernel::load(p.tops, at), kernel::load(p.sums, at),
                        kernel::load(p.outs, kernel::add(kernel::mul(at, int_const(p.pitch)), d), kChunk)};
        });
        const Expr inverse = w.let("inverse", reciprocal_of_sum(shape_, keys_, all.sum));
        const Expr result = w.let("result", kernel::mul(all.value, kernel::broadcast(inverse, kChunk)));
        for (Stmt& s : o_.finish(w.let("m", kernel::add(m0_, r)), d, result, kChunk)) w.emit(std::move(s));
      });
  return w.take();
}

std::vector<kernel::Stmt> AttentionBuilder::split_results() {
  constexpr int kQuarter = 4;  // elements that one load of another workgroup's memory brings
  LoopWriter w;
  const Parts p = store_parts(w);
  const int64_t width = shape_.value_depth, outputs = p.rows * width / kQuarter;
  // A row's outputs, behind them its maximum and sum.
  const int64_t pitch = width + kQuarter;
  const Buffer whole = kernel::make_buffer("whole", {DType::kF32, 1}, Scope::kWorkgroup,
                                           kernel::Access::kReadWrite, p.rows * pitch);
  w.emit(kernel::alloc(whole));
  w.emit(kernel::barrier());
  each_output(w, kQuarter, int_const(0), outputs, [&](const Expr& r, const Expr& d) {
    const Merged own = merged(w, s_.warps_k, [&](int part) {
      const Expr at = kernel::add(r, int_const(part * p.rows));
      return Merged{kernel::load(p.tops, at), kernel::load(p.sums, at),
                    kernel::load(p.outs, kernel::add(kernel::mul(at, int_const(p.pitch)), d), kQuarter)};
    });
    const Expr row = w.let("row", kernel::mul(r, int_const(pitch)));
    w.store(whole, kernel::add(row, d), own.value);
    w.when(kernel::compare(ScalarOp::kEq, d, int_const(0)), [&] {
      w.store(whole, kernel::add(row, int_const(width)), own.top);
      w.store(whole, kernel::add(row, int_const(width + 1)), own.sum);
    });
  });
  w.emit(kernel::barrier(kernel::BarrierScope::kCluster));
  const int64_t share = (outputs + s_.split - 1) / s_.split;
  each_output(w, kQuarter, w.let("first_output", kernel::mul(rank_, int_const(share))), share,
              [&](const Expr& r, const Expr& d) {
                const Expr row = w.let("row", kernel::mul(r, int_const(pitch)));
                const auto of_peer = [&](int part, const Expr& column) {
                  return w.let("part", kernel::intrinsic(Intrinsic::kPeerLoad,
                                                         {kernel::add(row, column), int_const(part)},
                                                         {DType::kF32, kQuarter}, whole));
                };
                const Merged all = merged(w, s_.split, [&](int part) {
                  const Expr marks = of_peer(part, int_const(width));
                  return Merged{kernel::shuffle(marks, nullptr, {0}), kernel::shuffle(marks, nullptr, {1}),
                                of_peer(part, d)};
                });
                const Expr inverse = w.let("inverse", reciprocal_of_sum(shape_, keys_, all.sum));
                const Expr result =
                    w.let("result", kernel::mul(all.value, kernel::broadcast(inverse, kQuarter)));
                for (Stmt& s : o_.finish(w.let("m", kernel::add(m0_, r)), d, result, kQuarter))
                  w.emit(std::move(s));
              });
  w.emit(kernel::barrier(kernel::BarrierScope::kCluster));  // others may still read this workgroup's outputs
  return w.take();
}

}  // namespace tern::lower::gpu
