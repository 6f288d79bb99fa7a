#include "compiler/lower/gpu/scan.h"

#include <algorithm>

#include "compiler/kernel/vectorize.h"
#include "compiler/lower/gpu/block_scan.h"
#include "compiler/lower/gpu/flat_nest.h"
#include "compiler/lower/gpu/index_math.h"

namespace tern::lower::gpu {
namespace {

using kernel::Access;
using kernel::Buffer;
using kernel::Expr;
using kernel::Stmt;

constexpr int kEach = 8;  // neighbouring elements of a thread
constexpr int kMostThreads = 256;
constexpr int64_t kSegment = 2048;    // of a row that is cut
constexpr int64_t kWholeRow = 8192;   // as long ones are not
constexpr int64_t kShortRow = 32;     // a thread's
constexpr int64_t kManyRows = 16384;  // so many threads hide how long theirs take

class FoldWriter {
 public:
  FoldWriter(DispatchBuilder& dispatch, Level level, const std::vector<NestAxis>& axes,
             const RunningFold& what)
      : dispatch_(dispatch), level_(level), axes_(axes), f_(what) {
    const GpuModel& model = gpu_model(level);
    threads_ = std::min(kMostThreads, model.max_threads);
    block_ = {threads_, model.subgroup, kernel::var_expr(thread_)};
  }

  // Folds of segments, in order, to `parts` [rows, segments].
  void add_parts(const Buffer& parts) {
    begin(ceildiv(f_.length, kSegment));
    const kernel::Var carry = w_.declare("carry", identity());
    chunks([&](const Expr& first) {
      const std::vector<kernel::Var> x = values(first);
      const BlockScan scan = block_scan(w_, block_, f_.op, together(x));
      w_.set(carry, fold(w_.get(carry), scan.total));
    });
    w_.when(w_.eq(block_.thread, w_.i(0)), [&] { w_.store(parts, part(w_.get(segment_)), w_.get(carry)); });
    finish("folds of segments");
  }

  // `parts`: null where rows are not cut.
  void add_results(const Buffer& parts) {
    begin(parts ? ceildiv(f_.length, kSegment) : Dim(1));
    const kernel::Var carry = w_.declare("carry", identity());
    if (parts) {
      const kernel::Var before = w_.declare("before", identity()), at = w_.declare("at", block_.thread);
      w_.while_loop(w_.lt(w_.get(at), w_.get(segment_)), [&] {
        w_.set(before, fold(w_.get(before), w_.load(parts, part(w_.get(at)))));
        w_.set(at, plus(w_.get(at), w_.i(threads_)));
      });
      w_.set(carry, block_scan(w_, block_, f_.op, w_.get(before)).total);
    }
    chunks([&](const Expr& first) {
      const std::vector<kernel::Var> x = values(first);
      const BlockScan scan = block_scan(w_, block_, f_.op, together(x));
      const kernel::Var run = w_.declare("run", fold(w_.get(carry), scan.before));
      for (int e = 0; e < kEach; ++e) {
        const Expr with = w_.let("with", fold(w_.get(run), w_.get(x[static_cast<size_t>(e)])));
        const Expr at = plus(first, w_.i(e));
        w_.when(w_.lt(at, end_), [&] {
          for (Stmt& s : f_.finish(row_, at, f_.exclusive ? w_.get(run) : with)) w_.emit(std::move(s));
        });
        w_.set(run, with);
      }
      w_.set(carry, fold(w_.get(carry), scan.total));
    });
    finish(parts ? "scan of segments" : "scan of rows");
  }

 private:
  Expr identity() const { return kernel::scalar_const(kernel::reduction_identity(f_.op, f_.type)); }
  Expr fold(const Expr& earlier, const Expr& later) const { return kernel::op(f_.op, {earlier, later}); }
  Expr part(const Expr& segment) { return plus(kernel::mul(w_.get(number_), segments_), segment); }

  void begin(const Dim& segments) {
    const Dim rows = point_count(axes_);
    segments_ = dispatch_.expr(segments);
    grid_ = {{number_, rows, dispatch_.expr(rows)}, {segment_, segments, segments_}};
    std::vector<Stmt> lets;
    row_ = split_position(dispatch_, axes_, w_.get(number_), lets);
    for (Stmt& s : lets) w_.emit(std::move(s));
    begin_ = w_.let("begin", times(w_.get(segment_), kSegment));
    const Expr n = dispatch_.expr(f_.length);
    end_ = segments.is_const(1) ? n : w_.let("end", kernel::min(plus(begin_, w_.i(kSegment)), n));
  }
  // Calls f with each thread's first position, chunk by chunk.
  void chunks(const std::function<void(const Expr& first)>& f) {
    const kernel::Var chunk = w_.declare("chunk", begin_);
    w_.while_loop(w_.lt(w_.get(chunk), end_), [&] {
      f(w_.let("first", plus(w_.get(chunk), times(block_.thread, kEach))));
      w_.set(chunk, plus(w_.get(chunk), w_.i(int64_t{threads_} * kEach)));
    });
  }
  std::vector<kernel::Var> values(const Expr& first) {
    std::vector<kernel::Var> out;
    for (int e = 0; e < kEach; ++e) {
      const kernel::Var x = w_.declare("x", identity());
      const Expr at = plus(first, w_.i(e));
      w_.when(w_.lt(at, end_), [&] {
        std::vector<Stmt> checks;
        const Expr value = f_.element(row_, at, checks);
        for (Stmt& s : checks) w_.emit(std::move(s));
        w_.set(x, value);
      });
      out.push_back(x);
    }
    return out;
  }
  Expr together(const std::vector<kernel::Var>& x) {
    Expr all = w_.get(x[0]);
    for (size_t e = 1; e < x.size(); ++e) all = fold(all, w_.get(x[e]));
    return w_.let("mine", all);
  }
  void finish(const std::string& what) {
    dispatch_.add_variant(level_, grid_, w_.take(), fmt::format("{}, {} threads", what, threads_),
                          {threads_, thread_, block_.subgroup});
  }

  DispatchBuilder& dispatch_;
  const Level level_;
  const std::vector<NestAxis>& axes_;
  const RunningFold& f_;
  const kernel::Var thread_ = kernel::make_var("t"), number_ = kernel::make_var("row"),
                    segment_ = kernel::make_var("segment");
  int threads_ = 1;
  BlockThreads block_;
  LoopWriter w_;
  std::vector<kernel::GridAxis> grid_;
  std::vector<Expr> row_;
  Expr segments_, begin_, end_;
};

}  // namespace

bool folds_together(int64_t rows, int64_t length, DType type) {
  return dtype_bits(type) >= 32 && !is_complex(type) && length > kShortRow && rows < kManyRows;
}

void lower_running_fold(const Region& region, LoweringContext& context, const std::vector<NestAxis>& axes,
                        DType type, const Dim& length, const MakeRunningFold& make) {
  const auto dispatch = [&](const std::function<void(DispatchBuilder&, FoldWriter&)>& add) {
    DispatchBuilder builder(context, region);
    builder.set_flops(length * point_count(axes));
    builder.check_loops();
    for (const Level level : variant_levels(context.target(), Covers::kFolds)) {
      const RunningFold what = make(builder);
      FoldWriter writer(builder, level, axes, what);
      add(builder, writer);
    }
    builder.finish();
  };
  if (length.is_const() && length.value() <= kWholeRow)
    return dispatch([](DispatchBuilder&, FoldWriter& writer) { writer.add_results(nullptr); });
  const Dim parts_count = point_count(axes) * ceildiv(length, kSegment);
  const int parts = context.add_temporary("scan parts", type, parts_count);
  dispatch([&](DispatchBuilder& b, FoldWriter& writer) { writer.add_parts(b.bind(parts, Access::kWrite)); });
  dispatch([&](DispatchBuilder& b, FoldWriter& writer) { writer.add_results(b.bind(parts)); });
}

}  // namespace tern::lower::gpu
