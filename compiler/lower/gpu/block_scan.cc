#include "compiler/lower/gpu/block_scan.h"

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/gpu/index_math.h"

namespace tern::lower::gpu {
namespace {

using kernel::Buffer;
using kernel::Expr;
using kernel::ScalarOp;

Buffer shared(LoopWriter& w, const char* name, DType dtype, int64_t size) {
  const Buffer b =
      kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kWorkgroup, kernel::Access::kReadWrite, size);
  w.emit(kernel::alloc(b));
  return b;
}

Expr identity_of(ScalarOp op, DType dtype) {
  return kernel::scalar_const(kernel::reduction_identity(op, dtype));
}

// Distances double; two rows of parts take turns, so that a step needs one barrier.
BlockScan by_distances(LoopWriter& w, const BlockThreads& block, ScalarOp op, const Expr& mine) {
  const DType dtype = mine->type.dtype;
  const Expr identity = identity_of(op, dtype);
  const Buffer parts = shared(w, "scan", dtype, int64_t{2} * block.threads);
  w.emit(kernel::barrier());
  w.store(parts, block.thread, mine);
  w.emit(kernel::barrier());
  int64_t from = 0;
  for (int distance = 1; distance < block.threads; distance *= 2, from = block.threads - from) {
    const Expr at = plus(block.thread, w.i(from));
    const Expr far = kernel::select(w.le(w.i(distance), block.thread),
                                    w.load(parts, kernel::sub(at, w.i(distance))), identity);
    w.store(parts, plus(block.thread, w.i(block.threads - from)), kernel::op(op, {far, w.load(parts, at)}));
    w.emit(kernel::barrier());
  }
  const Expr before =
      kernel::select(w.lt(w.i(0), block.thread), w.load(parts, plus(block.thread, w.i(from - 1))), identity);
  return {w.let("before", before), w.let("total", w.load(parts, w.i(from + block.threads - 1)))};
}

BlockScan by_subgroups(LoopWriter& w, const BlockThreads& block, ScalarOp op, const Expr& mine) {
  const DType dtype = mine->type.dtype;
  const Expr identity = identity_of(op, dtype);
  const int width = block.subgroup, parts_count = block.threads / width;
  const Expr lane = w.let("lane", rem(block.thread, width)), own = w.let("own", div(block.thread, width));
  const auto from_lane = [&](const Expr& value, const Expr& other) {
    return w.let("other",
                 kernel::intrinsic(kernel::Intrinsic::kSubgroupShuffle, {value, other}, value->type));
  };
  const kernel::Var sum = w.declare("sum", mine);
  for (int distance = 1; distance < width; distance *= 2) {
    const Expr other = from_lane(w.get(sum), kernel::max(kernel::sub(lane, w.i(distance)), w.i(0)));
    w.when(w.le(w.i(distance), lane), [&] { w.set(sum, kernel::op(op, {other, w.get(sum)})); });
  }
  const Expr neighbour = from_lane(w.get(sum), kernel::max(kernel::sub(lane, w.i(1)), w.i(0)));
  const Expr inside = w.let("inside", kernel::select(w.lt(w.i(0), lane), neighbour, identity));
  const Buffer parts = shared(w, "scan", dtype, parts_count);
  w.emit(kernel::barrier());
  w.when(w.eq(lane, w.i(width - 1)), [&] { w.store(parts, own, w.get(sum)); });
  w.emit(kernel::barrier());
  const kernel::Var base = w.declare("base", identity), total = w.declare("all", identity);
  for (int p = 0; p < parts_count; ++p) {
    const Expr part = w.let("part", w.load(parts, w.i(p)));
    w.when(w.lt(w.i(p), own), [&] { w.set(base, kernel::op(op, {w.get(base), part})); });
    w.set(total, kernel::op(op, {w.get(total), part}));
  }
  return {w.let("before", kernel::op(op, {w.get(base), inside})), w.let("total", w.get(total))};
}

}  // namespace

BlockScan block_scan(LoopWriter& w, const BlockThreads& block, ScalarOp op, const Expr& mine) {
  return block.subgroup > 0 ? by_subgroups(w, block, op, mine) : by_distances(w, block, op, mine);
}

}  // namespace tern::lower::gpu
