#include "compiler/lower/gpu/scatter.h"

#include <algorithm>

#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/loop_writer.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::ScalarOp;

constexpr int kThreads = 128;
constexpr int kAhead = 8;  // updates whose indices a thread asks for at once

Dim product_of(const Shape& shape, size_t begin, size_t end) {
  Dim n = 1;
  for (size_t d = begin; d < end; ++d) n = n * shape[d];
  return n;
}

struct Target {
  Expr at;        // along the indexed axes, as one number
  Expr in_range;  // else `at` may be anything
};

// What a kind of scatter has for itself. Lines are numbered (outer, inner).
struct Lines {
  Dim outer, inner, updates;
  // Which target update u goes to.
  std::function<Target(const Expr& outer, const Expr& inner, const Expr& u)> target;
  // Where a target of the line lies in `data`, and an update of it in `updates`.
  std::function<Expr(const Expr& outer, const Expr& inner, const Expr& at)> data_index;
  std::function<Expr(const Expr& outer, const Expr& inner, const Expr& u)> update_index;
};

class ScatterWriter {
 public:
  ScatterWriter(DType dtype, DType index_dtype, std::string reduction, int classes,
                kernel::ParamTable& params)
      : data_(buffer("data", dtype, Access::kReadWrite)),
        indices_(buffer("indices", index_dtype, Access::kRead)),
        updates_(buffer("updates", dtype, Access::kRead)),
        reduction_(std::move(reduction)),
        classes_(classes),
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
    out.thread = kernel::make_var("t");
    const Dim total = lines.outer * lines.inner * classes_, groups = ceildiv(total, kThreads);
    const kernel::Var group = kernel::make_var("group");
    out.grid = {{group, groups, size(groups)}};
    const Expr mine = w_.let("mine", plus(times(w_.get(group), kThreads), w_.get(out.thread)));
    w_.when(w_.lt(mine, size(total)), [&] { line(lines, mine); });
    out.body = w_.take();
    out.schedule = fmt::format("scatter, {} threads a line", classes_);
    return out;
  }

 private:
  static Buffer buffer(const char* name, DType dtype, Access access) {
    return kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kGlobal, access);
  }

  // Neighbouring threads have neighbouring lines where there are any: their accesses are one then.
  void line(const Lines& lines, const Expr& mine) {
    const Expr n = size(lines.inner);
    const Expr inner = w_.let("inner", kernel::index_rem(mine, n));
    const Expr rest = w_.let("rest", kernel::index_div(mine, n));
    const Expr own = w_.let("own", rem(rest, classes_)), outer = w_.let("outer", div(rest, classes_));
    const Expr count = size(lines.updates);
    const kernel::Var wrong = w_.declare("wrong", kernel::int_const(0, DType::kBool));
    w_.loop("block", kernel::index_div(plus(count, w_.i(kAhead - 1)), w_.i(kAhead)), [&](Expr block) {
      Target target[kAhead];
      Expr u[kAhead];
      for (int k = 0; k < kAhead; ++k) {
        u[k] = w_.let("u", plus(times(block, kAhead), w_.i(k)));
        const Expr real = w_.let("real", kernel::min(u[k], kernel::sub(count, w_.i(1))));
        target[k] = lines.target(outer, inner, real);
        target[k].in_range = w_.let("in_range", target[k].in_range);
      }
      for (int k = 0; k < kAhead; ++k) {
        w_.set(wrong, w_.either(w_.get(wrong), kernel::op(ScalarOp::kNot, {target[k].in_range})));
        Expr ours = w_.both(target[k].in_range, w_.lt(u[k], count));
        if (classes_ > 1)
          ours = w_.both(ours, w_.eq(kernel::op(ScalarOp::kAnd, {target[k].at, w_.i(classes_ - 1)}), own));
        w_.when(ours, [&] {
          const Expr to = w_.let("to", lines.data_index(outer, inner, target[k].at));
          const Expr x = w_.load(updates_, lines.update_index(outer, inner, u[k]));
          w_.store(data_, to, scatter_combine(reduction_, w_.load(data_, to), x));
        });
      }
    });
    w_.when(w_.get(wrong), [&] { w_.fail(TERN_KERNEL_INDEX_OUT_OF_RANGE); });
  }

  const Buffer data_, indices_, updates_;
  const std::string reduction_;
  const int classes_;
  kernel::ParamTable& params_;
  LoopWriter w_;
};

}  // namespace

int scatter_classes(const ScatterSize& size, const GpuModel& model) {
  // As many threads as hide the latency of what they read; more would only repeat the reading.
  const int64_t crowd = int64_t{model.cores} * 512;
  const int64_t most = std::min(size.targets, size.updates);
  int classes = 1;
  while (classes < most && size.lines * classes * 2 <= crowd) classes *= 2;
  return classes;
}

SpecialKernel scatter_elements_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                      const Shape& update_shape, int axis, const std::string& reduction,
                                      int classes, kernel::ParamTable& params) {
  const size_t a = static_cast<size_t>(axis), rank = data_shape.size();
  ScatterWriter writer(dtype, index_dtype, reduction, classes, params);
  Lines lines;
  lines.outer = product_of(update_shape, 0, a);
  lines.inner = product_of(update_shape, a + 1, rank);
  lines.updates = update_shape[a];
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
  lines.update_index = [&](const Expr& outer, const Expr& inner, const Expr& u) {
    const Expr step = plus(kernel::mul(outer, writer.size(lines.updates)), u);
    return plus(kernel::mul(step, writer.size(lines.inner)), inner);
  };
  lines.target = [&](const Expr& outer, const Expr& inner, const Expr& u) {
    return writer.checked(lines.update_index(outer, inner, u), writer.size(data_shape[a]));
  };
  lines.data_index = [&](const Expr& outer, const Expr& inner, const Expr& at) {
    return plus(plus(offset(outer, 0, a), offset(inner, a + 1, rank)),
                kernel::mul(at, writer.size(product_of(data_shape, a + 1, rank))));
  };
  return writer.kernel(lines);
}

SpecialKernel scatter_nd_kernel(DType dtype, DType index_dtype, const Shape& data_shape,
                                const Shape& index_shape, const std::string& reduction, int classes,
                                kernel::ParamTable& params) {
  const size_t depth = static_cast<size_t>(index_shape.back().value());
  ScatterWriter writer(dtype, index_dtype, reduction, classes, params);
  LoopWriter& w = writer.w();
  Lines lines;
  lines.outer = 1;
  lines.inner = product_of(data_shape, depth, data_shape.size());
  lines.updates = product_of(index_shape, 0, index_shape.size() - 1);
  lines.target = [&](const Expr&, const Expr&, const Expr& u) {
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
  lines.data_index = [&](const Expr&, const Expr& inner, const Expr& at) {
    return plus(kernel::mul(at, writer.size(lines.inner)), inner);
  };
  lines.update_index = [&](const Expr&, const Expr& inner, const Expr& u) {
    return plus(kernel::mul(u, writer.size(lines.inner)), inner);
  };
  return writer.kernel(lines);
}

}  // namespace tern::lower::gpu
