#include "compiler/lower/gpu/unique.h"

#include <algorithm>

#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;

constexpr int kMostThreads = 256;

}  // namespace

SpecialKernel unique_results_kernel(DType dtype, const Dim& n_dim, bool sorted, const SpecialMachine& machine,
                                    kernel::ParamTable& params) {
  SpecialKernel out;
  const auto global = [&](const char* name, DType type, Access access) {
    out.bindings.push_back(kernel::make_buffer(name, {type, 1}, kernel::Scope::kGlobal, access));
    return out.bindings.back();
  };
  const Buffer in = global("input", dtype, Access::kRead),
               order = global("order", DType::kI32, Access::kRead),
               begins = global("begins", DType::kI32, Access::kRead),
               groups = global("groups", DType::kI32, Access::kRead);
  const Buffer numbers = sorted ? nullptr : global("numbers", DType::kI32, Access::kRead);
  const Buffer values = global("values", dtype, Access::kWrite),
               first = global("first", DType::kI64, Access::kWrite),
               inverse = global("inverse", DType::kI64, Access::kWrite),
               counts = global("counts", DType::kI64, Access::kWrite),
               number = global("number", DType::kI64, Access::kRead);
  out.threads = std::min(kMostThreads, machine.threads);
  out.thread = kernel::make_var("t");
  out.schedule = "unique, a thread an element and a group";
  const Dim blocks = ceildiv(n_dim, out.threads);
  const kernel::Var block = kernel::make_var("block");
  out.grid = {{block, blocks, params.expr(blocks)}};
  LoopWriter w;
  const Expr n = params.expr(n_dim);
  const Expr own = w.let("own", plus(times(w.get(block), out.threads), kernel::var_expr(out.thread)));
  const Expr all = w.let("all", kernel::cast(kernel::cast(w.load(number, w.i(0)), DType::kI32), DType::kI64));
  const auto index = [&](const Buffer& from, const Expr& at) {
    return kernel::cast(w.load(from, at), DType::kI64);
  };
  const auto place = [&](const Expr& group) { return sorted ? group : index(numbers, group); };
  w.when(w.lt(own, n), [&] { w.store(inverse, own, place(w.let("group", index(groups, own)))); });
  w.when(w.lt(own, all), [&] {
    const Expr begin = w.let("begin", index(begins, own));
    const kernel::Var end = w.declare("end", n);
    w.when(w.lt(plus(own, w.i(1)), all), [&] { w.set(end, index(begins, plus(own, w.i(1)))); });
    const Expr to = w.let("to", place(own)), p = w.let("p", index(order, begin));
    w.store(values, to, w.load(in, p));
    w.store(first, to, p);
    w.store(counts, to, kernel::sub(w.get(end), begin));
  });
  out.body = w.take();
  return out;
}

}  // namespace tern::lower::gpu
