#include "compiler/lower/gpu/compact.h"

#include <algorithm>

#include "compiler/lower/gpu/block_scan.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::ScalarOp;

constexpr int kBlock = 2048;  // elements
constexpr int kThreads = 256;

// A kernel whose threads scan.
struct Scanner {
  Scanner(const SpecialMachine& machine, SpecialKernel& out) {
    out.threads = std::min(kThreads, machine.threads);
    out.thread = kernel::make_var("t");
    out.subgroup = machine.subgroup;
    block = {out.threads, machine.subgroup, kernel::var_expr(out.thread)};
  }
  Expr add(LoopWriter& w, const std::vector<Expr>& values) const {
    Expr sum = kernel::int_const(0, DType::kI32);
    for (const Expr& v : values) sum = kernel::add(sum, v);
    return w.let("mine", sum);
  }
  BlockThreads block;
};

// Whether the elements of a thread are wanted, as numbers 0 and 1; it has neighbouring ones.
struct Flags {
  Expr first;
  std::vector<Expr> flags;
};
Flags read_flags(LoopWriter& w, const BlockThreads& block, const CompactSource& source, const Expr& number,
                 const Expr& n) {
  const int each = kBlock / block.threads;
  Flags out{w.let("first", plus(times(number, kBlock), times(block.thread, each))), {}};
  const Expr one = kernel::int_const(1, DType::kI32), none = kernel::int_const(0, DType::kI32);
  const Expr last = kernel::sub(n, w.i(1));
  for (int e = 0; e < each; ++e) {
    const Expr at = w.let("at", plus(out.first, w.i(e)));
    const Expr wanted = source.wanted(w, w.let("real", kernel::min(at, last)));
    out.flags.push_back(w.let("flag", kernel::select(w.both(w.lt(at, n), wanted), one, none)));
  }
  return out;
}

kernel::GridAxis blocks_axis(const Dim& blocks, kernel::ParamTable& params) {
  return {kernel::make_var("block"), blocks, params.expr(blocks)};
}

}  // namespace

Dim compact_blocks(const Dim& elements) {
  return ceildiv(elements, kBlock);
}

SpecialKernel compact_counts_kernel(const Dim& elements, const CompactSource& source,
                                    const SpecialMachine& machine, kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer counts = global("counts", DType::kI32, Access::kWrite);
  out.bindings = source.bindings;
  out.bindings.push_back(counts);
  out.schedule = fmt::format("counts of blocks of {}", kBlock);
  const Scanner scanner(machine, out);
  out.grid = {blocks_axis(compact_blocks(elements), params)};
  LoopWriter w;
  const Expr number = w.get(out.grid[0].var);
  const Flags flags = read_flags(w, scanner.block, source, number, params.expr(elements));
  const BlockScan scan = block_scan(w, scanner.block, ScalarOp::kAdd, scanner.add(w, flags.flags));
  w.when(w.eq(scanner.block.thread, w.i(0)), [&] { w.store(counts, number, scan.total); });
  out.body = w.take();
  return out;
}

SpecialKernel starts_kernel(const Dim& blocks, const SpecialMachine& machine, kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer counts = global("counts", DType::kI32, Access::kRead),
               starts = global("starts", DType::kI32, Access::kWrite),
               total = global("total", DType::kI64, Access::kWrite);
  out.bindings = {counts, starts, total};
  out.schedule = "starts of blocks";
  const Scanner scanner(machine, out);
  LoopWriter w;
  const Expr n = params.expr(blocks), thread = scanner.block.thread;
  const kernel::Var sum = w.declare("sum", kernel::int_const(0, DType::kI32)),
                    first = w.declare("first", w.i(0));
  w.while_loop(w.lt(w.get(first), n), [&] {
    const Expr at = w.let("at", plus(w.get(first), thread));
    const kernel::Var mine = w.declare("mine", kernel::int_const(0, DType::kI32));
    w.when(w.lt(at, n), [&] { w.set(mine, w.load(counts, at)); });
    const BlockScan scan = block_scan(w, scanner.block, ScalarOp::kAdd, w.get(mine));
    w.when(w.lt(at, n), [&] { w.store(starts, at, kernel::add(w.get(sum), scan.before)); });
    w.set(sum, kernel::add(w.get(sum), scan.total));
    w.set(first, plus(w.get(first), w.i(out.threads)));
  });
  w.when(w.eq(thread, w.i(0)), [&] { w.store(total, w.i(0), kernel::cast(w.get(sum), DType::kI64)); });
  out.body = w.take();
  return out;
}

SpecialKernel compact_kernel(const Dim& elements, const CompactSource& source, const CompactResult& result,
                             const SpecialMachine& machine, kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer starts = global("starts", DType::kI32, Access::kRead);
  out.bindings = source.bindings;
  out.bindings.push_back(starts);
  out.bindings.insert(out.bindings.end(), result.bindings.begin(), result.bindings.end());
  out.schedule = fmt::format("places of blocks of {}", kBlock);
  const Scanner scanner(machine, out);
  out.grid = {blocks_axis(compact_blocks(elements), params)};
  LoopWriter w;
  const Expr number = w.get(out.grid[0].var), n = params.expr(elements);
  const Flags flags = read_flags(w, scanner.block, source, number, n);
  const BlockScan scan = block_scan(w, scanner.block, ScalarOp::kAdd, scanner.add(w, flags.flags));
  const kernel::Var next =
      w.declare("next", kernel::cast(kernel::add(w.load(starts, number), scan.before), DType::kI64));
  for (size_t e = 0; e < flags.flags.size(); ++e) {
    const Expr at = w.let("at", plus(flags.first, w.i(static_cast<int64_t>(e))));
    const Expr wanted = w.lt(kernel::int_const(0, DType::kI32), flags.flags[e]);
    w.when(w.lt(at, n), [&] { result.take(w, at, wanted, w.get(next)); });
    w.set(next, plus(w.get(next), kernel::cast(flags.flags[e], DType::kI64)));
  }
  out.body = w.take();
  return out;
}

CompactSource nonzero_source(DType dtype) {
  const Buffer in = global("input", dtype, Access::kRead);
  const Expr zero = is_float(dtype) ? kernel::float_const(0, dtype) : kernel::int_const(0, dtype);
  return {{in}, [=](LoopWriter& w, const Expr& at) {
            const Expr x = w.load(in, at);
            return dtype == DType::kBool ? x : w.ne(x, zero);
          }};
}

CompactResult coordinates_result(const Shape& shape, const Dim& stride, kernel::ParamTable& params) {
  const Buffer indices = global("indices", DType::kI64, Access::kWrite);
  return {{indices}, [=, &params](LoopWriter& w, const Expr& at, const Expr& wanted, const Expr& rank) {
            w.when(wanted, [&] {
              for (size_t d = 0; d < shape.size(); ++d) {
                const Shape inner(shape.begin() + static_cast<std::ptrdiff_t>(d) + 1, shape.end());
                Expr coordinate = kernel::index_div(at, params.expr(product(inner)));
                if (d > 0) coordinate = kernel::index_rem(coordinate, params.expr(shape[d]));
                w.store(indices, plus(times(params.expr(stride), static_cast<int64_t>(d)), rank), coordinate);
              }
            });
          }};
}

}  // namespace tern::lower::gpu
