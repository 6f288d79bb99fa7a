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

constexpr int kThreads = 256;
constexpr int kStaged = 2048;  // targets in workgroup memory at once, of all lines of a workgroup
constexpr int kScan = 8;       // of them that a thread looks at in one step

Dim product_of(const Shape& shape, size_t begin, size_t end) {
  Dim n = 1;
  for (size_t d = begin; d < end; ++d) n = n * shape[d];
  return n;
}

struct Target {
  Expr at;        // along the indexed axes, as one number
  Expr in_range;  // else `at` may be anything
};

struct Line {
  Expr outer, inner;
};

// What a kind of scatter has for itself.
struct Lines {
  Dim outer, inner, updates;
  bool one_target;  // update u of every line has the same one; `outer` is 1 then
  std::function<Target(const Line& line, const Expr& u)> target;
  // Where a target of the line lies in `data`, and an update of it in `updates`.
  std::function<Expr(const Line& line, const Expr& at)> data_index, update_index;
};

class ScatterWriter {
 public:
  ScatterWriter(DType dtype, DType index_dtype, std::string reduction, const ScatterSchedule& schedule,
                kernel::ParamTable& params)
      : data_(buffer("data", dtype, Access::kReadWrite)),
        indices_(buffer("indices", index_dtype, Access::kRead)),
        updates_(buffer("updates", dtype, Access::kRead)),
        reduction_(std::move(reduction)),
        s_(schedule),
        params_(params) {}

  LoopWriter& w() { return w_; }
  Expr size(const Dim& d) { return params_.expr(d); }

  // index in [-extent, extent) made non-negative.
  Target checked(const Expr& index, const Expr& extent) {
    const Expr raw = w_.let("raw", kernel::cast(w_.load(indices_, index), DType::kI64));
    const Expr at = w_.let("at", kernel::select(w_.lt(raw, w_.i(0)), kernel::add(raw, extent), raw));
    return {at, w_.both(w_.le(w_.i(0), at), w_.lt(at, extent))};
  }

  SpecialKernel kernel(const Lines& lines) {
    SpecialKernel out;
    out.bindings = {data_, indices_, updates_};
    out.threads = kThreads;
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
  Expr thread() const { return kernel::var_expr(thread_); }
  Expr axis(Grid& grid, const char* name, const Dim& extent) {
    grid.push_back({kernel::make_var(name), extent, size(extent)});
    return w_.get(grid.back().var);
  }
  void check(const Expr& in_range) {
    w_.set(wrong_, w_.either(w_.get(wrong_), kernel::op(ScalarOp::kNot, {in_range})));
  }
  void combine(const Lines& lines, const Line& line, const Expr& at, const Expr& u) {
    const Expr to = w_.let("to", lines.data_index(line, at));
    const Expr x = w_.load(updates_, lines.update_index(line, u));
    w_.store(data_, to, scatter_combine(reduction_, w_.load(data_, to), x));
  }
  Line split(const Lines& lines, const Expr& number) {
    const Expr n = size(lines.inner);
    return {w_.let("outer", kernel::index_div(number, n)), w_.let("inner", kernel::index_rem(number, n))};
  }

  Grid one_thread_a_line(const Lines& lines) {
    Grid grid;
    const Dim total = lines.outer * lines.inner;
    const Expr group = axis(grid, "group", ceildiv(total, kThreads));
    const Expr mine = w_.let("mine", plus(times(group, kThreads), thread()));
    w_.when(w_.lt(mine, size(total)), [&] {
      const Line line = split(lines, mine);
      w_.loop("u", size(lines.updates), [&](Expr u) {
        const Target target = lines.target(line, u);
        const Expr in_range = w_.let("in_range", target.in_range);
        check(in_range);
        w_.when(in_range, [&] { combine(lines, line, target.at, u); });
      });
    });
    return grid;
  }

  // Lines of common targets: neighbouring threads have neighbouring lines.
  Grid by_columns(const Lines& lines) {
    Grid grid;
    const int classes = kThreads / s_.columns;  // of a workgroup
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
  Grid by_lines(const Lines& lines) {
    Grid grid;
    const int classes = std::min(s_.classes, kThreads), together = kThreads / classes;
    const Dim total = lines.outer * lines.inner;
    const Expr block = axis(grid, "block", ceildiv(total, together));
    const Expr group = axis(grid, "group", s_.classes / classes);
    const Expr last = kernel::sub(size(total), w_.i(1));
    const Expr place = w_.let("place", div(thread(), classes));
    const Expr own = w_.let("own", plus(times(group, classes), rem(thread(), classes)));
    const Expr mine = w_.let("mine", plus(times(block, together), place));
    const Line line = split(lines, w_.let("real", kernel::min(mine, last)));
    staged(lines, together, own, w_.let("live", w_.lt(mine, size(total))), place, line,
           [&](const Expr& other) {
             const Expr number = w_.let("number", plus(times(block, together), other));
             const Expr real = w_.let("real", kernel::min(number, last));
             return std::pair(split(lines, real), w_.lt(number, size(total)));
           });
    return grid;
  }

  // Targets of `together` lines go to workgroup memory, a part of the updates at a time; each thread then
  // looks for those of its class in its line's. -1: none.
  void staged(const Lines& lines, int together, const Expr& own, const Expr& live, const Expr& place,
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
      for (int k = 0; k < kStaged / kThreads; ++k) {
        const Expr flat = w_.let("flat", plus(thread(), w_.i(int64_t{k} * kThreads)));
        const Expr other = w_.let("other", rem(flat, together)), e = w_.let("e", div(flat, together));
        const Expr u = w_.let("u", plus(times(part, entries), e));
        const auto [from, exists] = line_at(other);
        const Target target = lines.target(from, w_.let("some", kernel::min(u, kernel::sub(count, w_.i(1)))));
        const Expr real = w_.let("is_real", w_.both(exists, w_.lt(u, count)));
        const Expr in_range = w_.let("in_range", target.in_range);
        check(w_.either(in_range, kernel::op(ScalarOp::kNot, {real})));
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
          const Expr other_bits = kernel::op(
              ScalarOp::kAnd, {kernel::op(ScalarOp::kXor, {at[k], class_bits}), mask});
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
  if (one_target && s.classes > 1) s.classes = std::max(s.classes, kThreads / s.columns);
  return s;
}

SpecialKernel scatter_elements_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                      const Shape& update_shape, int axis, const std::string& reduction,
                                      const ScatterSchedule& schedule, kernel::ParamTable& params) {
  const size_t a = static_cast<size_t>(axis), rank = data_shape.size();
  ScatterWriter writer(dtype, index_dtype, reduction, schedule, params);
  Lines lines;
  lines.outer = product_of(update_shape, 0, a);
  lines.inner = product_of(update_shape, a + 1, rank);
  lines.updates = update_shape[a];
  lines.one_target = false;
  // Position `flat` of the update's axes [begin, end) as an offset in data.
  const auto offset = [&](const Expr& flat, size_t begin, size_t end) {
    Expr to = kernel::int_const(0);
    for (size_t d = begin; d < end; ++d) {
      Expr coordinate = kernel::index_div(flat, writer.size(product_of(update_shape, d + 1, end)));
      if (d > begin) coordinate = kernel::index_rem(coordinate, writer.size(update_shape[d]));
      to = plus(to, kernel::mul(coordinate, writer.size(product_of(data_shape, d + 1, rank))));
    }
    return to;
  };
  lines.update_index = [&](const Line& line, const Expr& u) {
    const Expr step = plus(kernel::mul(line.outer, writer.size(lines.updates)), u);
    return plus(kernel::mul(step, writer.size(lines.inner)), line.inner);
  };
  lines.target = [&](const Line& line, const Expr& u) {
    return writer.checked(lines.update_index(line, u), writer.size(data_shape[a]));
  };
  lines.data_index = [&](const Line& line, const Expr& at) {
    return plus(plus(offset(line.outer, 0, a), offset(line.inner, a + 1, rank)),
                kernel::mul(at, writer.size(product_of(data_shape, a + 1, rank))));
  };
  return writer.kernel(lines);
}

SpecialKernel scatter_nd_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                const Shape& index_shape, const std::string& reduction,
                                const ScatterSchedule& schedule, kernel::ParamTable& params) {
  const size_t depth = static_cast<size_t>(index_shape.back().value());
  ScatterWriter writer(dtype, index_dtype, reduction, schedule, params);
  LoopWriter& w = writer.w();
  Lines lines;
  lines.outer = 1;
  lines.inner = product_of(data_shape, depth, data_shape.size());
  lines.updates = product_of(index_shape, 0, index_shape.size() - 1);
  lines.one_target = true;
  lines.target = [&](const Line&, const Expr& u) {
    Target all{w.i(0), kernel::int_const(1, DType::kBool)};
    for (size_t d = 0; d < depth; ++d) {
      const Expr from = plus(times(u, static_cast<int64_t>(depth)), w.i(static_cast<int64_t>(d)));
      const Target one = writer.checked(from, writer.size(data_shape[d]));
      all.at = plus(all.at, kernel::mul(one.at, writer.size(product_of(data_shape, d + 1, depth))));
      all.in_range = d == 0 ? one.in_range : w.both(all.in_range, one.in_range);
    }
    all.at = w.let("flat", all.at);
    return all;
  };
  lines.data_index = [&](const Line& line, const Expr& at) {
    return plus(kernel::mul(at, writer.size(lines.inner)), line.inner);
  };
  lines.update_index = [&](const Line& line, const Expr& u) {
    return plus(kernel::mul(u, writer.size(lines.inner)), line.inner);
  };
  return writer.kernel(lines);
}

}  // namespace tern::lower::gpu
