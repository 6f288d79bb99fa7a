#include "compiler/lower/gpu/scatter.h"

#include <algorithm>
#include <cmath>

#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::ScalarOp;

constexpr int kMostThreads = 256;
constexpr int kStaged = 2048;  // targets in workgroup memory at once, of all lines of a workgroup
constexpr int kScan = 8;       // of them that a thread looks at in one step

using Line = ScatterLines::Line;
using Target = ScatterLines::Target;

class ScatterWriter {
 public:
  ScatterWriter(const ScatterProblem& problem, const ScatterSchedule& schedule, int most_threads,
                kernel::ParamTable& params)
      : data_(buffer("data", problem.dtype, Access::kReadWrite)),
        indices_(buffer("indices", problem.index_dtype, Access::kRead)),
        updates_(buffer("updates", problem.dtype, Access::kRead)),
        reduction_(problem.reduction),
        s_(schedule),
        threads_(std::min(kMostThreads, most_threads)),
        params_(params) {}

  SpecialKernel kernel(const ScatterLines& lines) {
    SpecialKernel out;
    out.bindings = {data_, indices_, updates_};
    out.threads = threads_;
    out.thread = thread_;
    wrong_ = w_.declare("wrong", kernel::int_const(0, DType::kBool));
    if (s_.classes == 1) {
      out.grid = one_thread_a_line(lines);
      out.schedule = "scatter, a thread a line";
    } else {
      out.grid = lines.one_target ? by_columns(lines) : by_lines(lines);
      out.schedule = fmt::format("scatter, {} classes of targets, {} columns", s_.classes, s_.columns);
    }
    w_.when(w_.get(wrong_), [&] { w_.fail(TERN_KERNEL_INDEX_OUT_OF_RANGE); });
    out.body = w_.take();
    return out;
  }

 private:
  using Grid = std::vector<kernel::GridAxis>;

  static Buffer buffer(const char* name, DType dtype, Access access) {
    return kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kGlobal, access);
  }
  Expr size(const Dim& d) { return params_.expr(d); }
  Expr thread() const { return kernel::var_expr(thread_); }
  Expr axis(Grid& grid, const char* name, const Dim& extent) {
    grid.push_back({kernel::make_var(name), extent, size(extent)});
    return w_.get(grid.back().var);
  }
  void check(const Expr& in_range) {
    w_.set(wrong_, w_.either(w_.get(wrong_), kernel::op(ScalarOp::kNot, {in_range})));
  }
  void combine(const ScatterLines& lines, const Line& line, const Expr& at, const Expr& u) {
    const Expr to = w_.let("to", lines.data_index(line, at));
    const Expr x = w_.load(updates_, lines.update_index(line, u));
    w_.store(data_, to, scatter_combine(reduction_, w_.load(data_, to), x));
  }
  Grid one_thread_a_line(const ScatterLines& lines) {
    Grid grid;
    const Dim total = lines.outer * lines.inner;
    const Expr group = axis(grid, "group", ceildiv(total, threads_));
    const Expr mine = w_.let("mine", plus(times(group, threads_), thread()));
    w_.when(w_.lt(mine, size(total)), [&] {
      const Line line = lines.line(w_, mine);
      w_.loop("u", size(lines.updates), [&](Expr u) {
        const Target target = lines.target(w_, indices_, line, u);
        const Expr in_range = w_.let("in_range", target.in_range);
        check(in_range);
        w_.when(in_range, [&] { combine(lines, line, target.at, u); });
      });
    });
    return grid;
  }

  // Lines of common targets: neighbouring threads have neighbouring lines.
  Grid by_columns(const ScatterLines& lines) {
    Grid grid;
    const int classes = threads_ / s_.columns;  // of a workgroup
    const Expr block = axis(grid, "block", ceildiv(lines.inner, s_.columns));
    const Expr group = axis(grid, "group", s_.classes / classes);
    const Expr column = w_.let("column", plus(times(block, s_.columns), rem(thread(), s_.columns)));
    const Expr own = w_.let("own", plus(times(group, classes), div(thread(), s_.columns)));
    const Line line{w_.i(0), column};
    staged(lines, 1, own, w_.let("live", w_.lt(column, size(lines.inner))), w_.i(0), line,
           [&](const Expr&) { return std::pair(line, kernel::int_const(1, DType::kBool)); });
    return grid;
  }

  // Lines of their own targets: the threads of a line are neighbours.
  Grid by_lines(const ScatterLines& lines) {
    Grid grid;
    const int classes = std::min(s_.classes, threads_), together = threads_ / classes;
    const Dim total = lines.outer * lines.inner;
    const Expr block = axis(grid, "block", ceildiv(total, together));
    const Expr group = axis(grid, "group", s_.classes / classes);
    const Expr last = kernel::sub(size(total), w_.i(1));
    const Expr place = w_.let("place", div(thread(), classes));
    const Expr own = w_.let("own", plus(times(group, classes), rem(thread(), classes)));
    const Expr mine = w_.let("mine", plus(times(block, together), place));
    const Line line = lines.line(w_, w_.let("real", kernel::min(mine, last)));
    staged(lines, together, own, w_.let("live", w_.lt(mine, size(total))), place, line,
           [&](const Expr& other) {
             const Expr number = w_.let("number", plus(times(block, together), other));
             const Expr real = w_.let("real", kernel::min(number, last));
             return std::pair(lines.line(w_, real), w_.lt(number, size(total)));
           });
    return grid;
  }

  // Targets of `together` lines go to workgroup memory, a part of the updates at a time; each thread then
  // looks for those of its class in its line's. -1: none.
  void staged(const ScatterLines& lines, int together, const Expr& own, const Expr& live, const Expr& place,
              const Line& line, const std::function<std::pair<Line, Expr>(const Expr&)>& line_at) {
    const int entries = kStaged / together, pitch = together == 1 ? entries : entries + 4;
    const Buffer stage = kernel::make_buffer("stage", {DType::kI32, 1}, kernel::Scope::kWorkgroup,
                                             Access::kReadWrite, int64_t{pitch} * together);
    w_.emit(kernel::alloc(stage));
    const Expr count = size(lines.updates);
    const Expr mask = kernel::int_const(int64_t{INT32_MIN} | (s_.classes - 1), DType::kI32);
    const Expr class_bits = w_.let("class_bits", kernel::cast(own, DType::kI32));
    w_.loop("part", size(ceildiv(lines.updates, entries)), [&](Expr part) {
      w_.emit(kernel::barrier());
      for (int k = 0; k < kStaged / threads_; ++k) {
        const Expr flat = w_.let("flat", plus(thread(), w_.i(int64_t{k} * threads_)));
        const Expr other = w_.let("other", rem(flat, together)), e = w_.let("e", div(flat, together));
        const Expr u = w_.let("u", plus(times(part, entries), e));
        const auto [from, exists] = line_at(other);
        const Target target =
            lines.target(w_, indices_, from, w_.let("some", kernel::min(u, kernel::sub(count, w_.i(1)))));
        const Expr real = w_.let("is_real", w_.both(exists, w_.lt(u, count)));
        const Expr in_range = w_.let("in_range", target.in_range);
        check(w_.either(in_range, kernel::op(ScalarOp::kNot, {real})));
        // 32 bits do: no buffer of a GPU program has 2^31 elements (kGpuIndexLimit).
        const Expr value = kernel::select(w_.both(real, in_range), target.at, w_.i(-1));
        w_.store(stage, plus(times(other, pitch), e), kernel::cast(value, DType::kI32));
      }
      w_.emit(kernel::barrier());
      const Expr left = w_.let("left", kernel::min(w_.i(entries), kernel::sub(count, times(part, entries))));
      w_.loop("scan", w_.let("scans", div(plus(left, w_.i(kScan - 1)), kScan)), [&](Expr scan) {
        const Expr first = w_.let("first", plus(times(place, pitch), times(scan, kScan)));
        Expr at[kScan], ours[kScan], any, four;
        for (int k = 0; k < kScan; ++k) {
          if (k % 4 == 0) four = w_.let("four", kernel::load(stage, plus(first, w_.i(k)), 4));
          at[k] = w_.let("at", kernel::shuffle(four, nullptr, {k % 4}));
          const Expr other_bits =
              kernel::op(ScalarOp::kAnd, {kernel::op(ScalarOp::kXor, {at[k], class_bits}), mask});
          ours[k] = w_.let("ours", w_.eq(other_bits, kernel::int_const(0, DType::kI32)));
          any = any ? w_.either(any, ours[k]) : ours[k];
        }
        w_.when(w_.both(live, any), [&] {
          for (int k = 0; k < kScan; ++k) {
            w_.when(ours[k], [&] {
              const Expr u = plus(times(part, entries), plus(times(scan, kScan), w_.i(k)));
              combine(lines, line, w_.let("target", kernel::cast(at[k], DType::kI64)), w_.let("u", u));
            });
          }
        });
      });
    });
  }

  const Buffer data_, indices_, updates_;
  const std::string reduction_;
  const ScatterSchedule s_;
  const int threads_;
  kernel::ParamTable& params_;
  const kernel::Var thread_ = kernel::make_var("t");
  kernel::Var wrong_;
  LoopWriter w_;
};

int power_of_two_up_to(double n) {
  int p = 1;
  while (p * 2 <= n) p *= 2;
  return p;
}

}  // namespace

// A subgroup looks at an update in about 3 instructions, of which a multiprocessor starts 4 a cycle, and
// waits some 300 cycles for an element that it changes: more classes, more of the first, less of the second.
ScatterSchedule default_scatter_schedule(const ScatterSize& size, bool one_target, const GpuModel& model) {
  ScatterSchedule s;
  const auto lines = static_cast<double>(std::max<int64_t>(size.lines, 1));
  while (one_target && s.columns < 32 && s.columns < size.lines) s.columns *= 2;
  const double free = 4 * model.cores * 32 * 4 / 3.0 / lines;  // as many cost nothing
  const double balanced = std::sqrt(300.0 * 32 / s.columns * model.cores * 32 * 4 / 3.0 / lines);
  const auto most = static_cast<double>(std::min(size.targets, size.updates));
  s.classes = power_of_two_up_to(std::min({free > balanced ? free : balanced, 2 * most - 1, 65536.0}));
  if (one_target && s.classes > 1) s.classes = std::max(s.classes, kMostThreads / s.columns);
  return s;
}

SpecialKernel scatter_kernel(const ScatterProblem& problem, const ScatterSchedule& schedule,
                             const SpecialMachine& machine, kernel::ParamTable& params) {
  return ScatterWriter(problem, schedule, machine.threads, params).kernel(ScatterLines(problem, params));
}

}  // namespace tern::lower::gpu
