#include "compiler/lower/gpu/compact.h"

#include <algorithm>

#include "compiler/lower/gpu/block_scan.h"
#include "compiler/lower/gpu/index_math.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::ScalarOp;

constexpr int kBlock = 2048;  // elements
constexpr int kThreads = 256;

Buffer global(const char* name, DType dtype, Access access) {
  return kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kGlobal, access);
}

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
Flags read_flags(LoopWriter& w, const BlockThreads& block, const Buffer& in, const Expr& number,
                 const Expr& n) {
  const int each = kBlock / block.threads;
  const DType dtype = in->type.dtype;
  Flags out{w.let("first", plus(times(number, kBlock), times(block.thread, each))), {}};
  const Expr one = kernel::int_const(1, DType::kI32), none = kernel::int_const(0, DType::kI32);
  const Expr zero = dtype == DType::kBool ? kernel::int_const(0, DType::kBool)
                    : is_float(dtype)     ? kernel::float_const(0, dtype)
                                          : kernel::int_const(0, dtype);
  const Expr last = kernel::sub(n, w.i(1));
  for (int e = 0; e < each; ++e) {
    const Expr at = plus(out.first, w.i(e));
    const Expr x = w.load(in, kernel::min(at, last));
    const Expr wanted = dtype == DType::kBool ? x : w.ne(x, zero);
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

SpecialKernel nonzero_counts_kernel(DType dtype, const Shape& shape, const SpecialMachine& machine,
                                    kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer in = global("input", dtype, Access::kRead),
               counts = global("counts", DType::kI32, Access::kWrite);
  out.bindings = {in, counts};
  out.schedule = fmt::format("counts of blocks of {}", kBlock);
  const Scanner scanner(machine, out);
  out.grid = {blocks_axis(compact_blocks(product(shape)), params)};
  LoopWriter w;
  const Expr number = w.get(out.grid[0].var);
  const Flags flags = read_flags(w, scanner.block, in, number, params.expr(product(shape)));
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

SpecialKernel nonzero_places_kernel(DType dtype, const Shape& shape, const Dim& stride,
                                    const SpecialMachine& machine, kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer in = global("input", dtype, Access::kRead),
               starts = global("starts", DType::kI32, Access::kRead),
               indices = global("indices", DType::kI64, Access::kWrite);
  out.bindings = {in, starts, indices};
  out.schedule = fmt::format("places of blocks of {}", kBlock);
  const Scanner scanner(machine, out);
  out.grid = {blocks_axis(compact_blocks(product(shape)), params)};
  LoopWriter w;
  const Expr number = w.get(out.grid[0].var);
  const Flags flags = read_flags(w, scanner.block, in, number, params.expr(product(shape)));
  const BlockScan scan = block_scan(w, scanner.block, ScalarOp::kAdd, scanner.add(w, flags.flags));
  const kernel::Var next =
      w.declare("next", kernel::cast(kernel::add(w.load(starts, number), scan.before), DType::kI64));
  for (size_t e = 0; e < flags.flags.size(); ++e) {
    w.when(w.lt(kernel::int_const(0, DType::kI32), flags.flags[e]), [&] {
      const Expr at = w.let("at", plus(flags.first, w.i(static_cast<int64_t>(e))));
      for (size_t d = 0; d < shape.size(); ++d) {
        const Shape inner(shape.begin() + static_cast<std::ptrdiff_t>(d) + 1, shape.end());
        Expr coordinate = kernel::index_div(at, params.expr(product(inner)));
        if (d > 0) coordinate = kernel::index_rem(coordinate, params.expr(shape[d]));
        w.store(indices, plus(times(params.expr(stride), static_cast<int64_t>(d)), w.get(next)), coordinate);
      }
      w.bump(next);
    });
  }
  out.body = w.take();
  return out;
}

}  // namespace tern::lower::gpu
