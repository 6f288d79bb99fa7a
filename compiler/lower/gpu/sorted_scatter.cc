#include "compiler/lower/gpu/sorted_scatter.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::ScalarOp;

constexpr int kMostThreads = 256;

}  // namespace

// Instructions of threads, of which a multiprocessor starts 128 a cycle, and cycles of dispatches. What
// scatter.h takes was measured (192,000 single elements on an H100: 2.0 ms).
bool sorting_pays(const ScatterSize& size, const ScatterSchedule& schedule, bool one_target,
                  const GpuModel& model) {
  const auto lines = static_cast<double>(size.lines), updates = static_cast<double>(size.updates);
  const double looks = lines / schedule.columns * updates * schedule.classes * schedule.columns;
  const double scanned = looks * 18 / (model.cores * 128.0) + updates / schedule.classes * 300;
  const double rounds = std::max(std::ceil(std::log(updates / 1024) / std::log(8.0)), 0.0);
  const double entries = (one_target ? 1 : lines) * updates;
  const double sorted = entries * (550 + 770 * rounds) / (model.cores * 128.0) + 6000 * (2 + rounds);
  return sorted < scanned;
}

SortSource scatter_source(const ScatterProblem& problem, kernel::ParamTable& params) {
  const auto lines = std::make_shared<ScatterLines>(problem, params);
  const Buffer indices = global("indices", problem.index_dtype, Access::kRead);
  SortSource s;
  s.bindings = {indices};
  s.element = [=](LoopWriter& w, const Expr& row, const Expr& u) -> SortSource::Element {
    const ScatterLines::Line line =
        lines->one_target ? ScatterLines::Line{w.i(0), w.i(0)} : lines->line(w, row);
    const ScatterLines::Target target = lines->target(w, indices, line, u);
    const Expr in_range = w.let("in_range", target.in_range);
    return {w.let("key", kernel::cast(kernel::select(in_range, target.at, w.i(0)), DType::kI32)), nullptr,
            kernel::op(ScalarOp::kNot, {in_range})};
  };
  return s;
}

SortResult scatter_order(const ScatterProblem& problem, kernel::ParamTable& params) {
  const Expr updates = params.expr(ScatterLines(problem, params).updates);
  const Buffer targets = global("targets", DType::kI32, Access::kWrite),
               numbers = global("numbers", DType::kI32, Access::kWrite);
  SortResult r;
  r.bindings = {targets, numbers};
  r.take = [=](LoopWriter& w, const Expr& row, const Expr& rank, const Expr& key, const Expr& u) {
    const Expr to = w.let("to", plus(kernel::mul(row, updates), rank));
    w.store(targets, to, key);
    w.store(numbers, to, kernel::cast(u, DType::kI32));
  };
  return r;
}

SpecialKernel sorted_scatter_kernel(const ScatterProblem& problem, const SpecialMachine& machine,
                                    kernel::ParamTable& params) {
  SpecialKernel out;
  const Buffer data = global("data", problem.dtype, Access::kReadWrite),
               targets = global("targets", DType::kI32, Access::kRead),
               numbers = global("numbers", DType::kI32, Access::kRead),
               updates = global("updates", problem.dtype, Access::kRead);
  out.bindings = {data, targets, numbers, updates};
  out.threads = std::min(kMostThreads, machine.threads);
  out.thread = kernel::make_var("t");
  out.schedule = "scatter of sorted updates";
  const ScatterLines lines(problem, params);
  const Dim total = lines.outer * lines.inner * lines.updates, groups = ceildiv(total, out.threads);
  const kernel::Var group = kernel::make_var("group");
  out.grid = {{group, groups, params.expr(groups)}};
  LoopWriter w;
  const Expr n = params.expr(lines.updates), all = params.expr(total);
  const Expr own = w.let("own", plus(times(w.get(group), out.threads), kernel::var_expr(out.thread)));
  w.when(w.lt(own, all), [&] {
    // Neighbouring threads have neighbouring lines of one target, or neighbouring entries of a line.
    const Expr inner = params.expr(lines.inner);
    const Expr rank =
        w.let("rank", lines.one_target ? kernel::index_div(own, inner) : kernel::index_rem(own, n));
    const ScatterLines::Line line =
        lines.one_target ? ScatterLines::Line{w.i(0), w.let("column", kernel::index_rem(own, inner))}
                         : lines.line(w, w.let("number", kernel::index_div(own, n)));
    const Expr first = w.let("first", lines.one_target ? w.i(0) : kernel::sub(own, rank));
    const auto target_at = [&](const Expr& at) { return w.load(targets, plus(first, at)); };
    const auto update_at = [&](const Expr& at) {
      const Expr u = w.let("u", kernel::cast(w.load(numbers, plus(first, at)), DType::kI64));
      return w.load(updates, lines.update_index(line, u));
    };
    const Expr target = w.let("target", target_at(rank));
    const Expr to = w.let("to", lines.data_index(line, kernel::cast(target, DType::kI64)));
    const bool last = problem.reduction == "none";
    const Expr edge = last ? w.le(n, plus(rank, w.i(1))) : w.eq(rank, w.i(0));
    const kernel::Var leads = w.declare("leads", edge);
    w.when(kernel::op(ScalarOp::kNot, {edge}), [&] {
      w.set(leads, w.ne(target_at(last ? plus(rank, w.i(1)) : kernel::sub(rank, w.i(1))), target));
    });
    w.when(w.get(leads), [&] {
      if (last) return w.store(data, to, update_at(rank));
      const kernel::Var sum = w.declare("sum", w.load(data, to)), at = w.declare("at", rank),
                        more = w.declare("more", kernel::int_const(1, DType::kBool));
      w.while_loop(w.get(more), [&] {
        w.set(sum, scatter_combine(problem.reduction, w.get(sum), update_at(w.get(at))));
        w.set(at, plus(w.get(at), w.i(1)));
        w.set(more, w.lt(w.get(at), n));
        w.when(w.get(more), [&] { w.set(more, w.eq(target_at(w.get(at)), target)); });
      });
      w.store(data, to, w.get(sum));
    });
  });
  out.body = w.take();
  return out;
}

}  // namespace tern::lower::gpu
