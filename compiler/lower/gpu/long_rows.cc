#include "compiler/lower/gpu/long_rows.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "compiler/lower/gpu/rows.h"
#include "compiler/lower/gpu/thread_fold.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/rows_nest.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::var_expr;

constexpr int64_t kLongPasses = 256;  // elements of a thread in all loops, some 80 ns each: 20 us
constexpr int64_t kLeastSteps = 8;    // elements of a thread in a part
// Rows that are short runs of memory, other rows' between them: whole rows read a fraction of each line.
constexpr int64_t kShortRun = 32, kLongPassesOfRuns = 64;
// Where runs are less than a sector of 16-bit elements, and memory bounds the kernel rather than latency.
constexpr int64_t kRunOfSector = 16, kScatteredElements = int64_t{4} << 20, kLeastPasses = 12;

class LongRows : public RowsNest {
 public:
  using RowsNest::RowsNest;

  bool run_where_better() {
    prepare();
    if (reduced_.empty() || product(space_.shape).is_const(0) || !can_be_cut()) return false;
    choose();
    if (part_ == 0) return false;
    for (const graph::Node* r : plan_.reductions) {
      const size_t stage = parts_.size();
      parts_.push_back(
          context_.add_temporary("parts of rows", sum_type(stage), part_count() * point_count(kept_)));
      dispatch(stage, r == plan_.reductions[0] ? 1 : 2);
    }
    dispatch(parts_.size(), 2);
    return true;
  }

 private:
  bool can_be_cut() const {
    return std::all_of(plan_.reductions.begin(), plan_.reductions.end(), [&](const graph::Node* r) {
      const DType type = r->result()->type.dtype;
      return type != DType::kBool && dtype_bits(type) >= 8 && !is_complex(type);
    });
  }
  bool has_full_outputs() const {
    return std::any_of(region_.outputs.begin(), region_.outputs.end(),
                       [&](const Value* v) { return !plan_.is_row_value(v); });
  }

  // How many elements a part has, if rows are cut.
  void choose() {
    const GpuModel& model = gpu_model(context_.target().levels.back());
    const int64_t rows = std::max<int64_t>(context_.hint(point_count(kept_)), 1),
                  length = context_.hint(row_length());
    const RowSchedule whole = default_row_schedule(rows, length, lanes_are_rows_, model);
    const int64_t groups = (rows + whole.rows - 1) / whole.rows,
                  steps = (length + whole.lanes - 1) / whole.lanes,
                  passes = static_cast<int64_t>(plan_.reductions.size()) + (has_full_outputs() ? 1 : 0);
    are_runs_ = has_short_runs();
    const bool scattered = are_runs_ && reduced_.back().extent.value() < kRunOfSector &&
                           rows * length * passes >= kScatteredElements && steps * passes >= kLeastPasses;
    if (!scattered && steps * passes < (are_runs_ ? kLongPassesOfRuns : kLongPasses)) return;
    if (!are_runs_ && groups >= int64_t{2} * model.cores) return;
    width_ = 1;
    while (are_runs_ && has_full_outputs() && width_ < 4 &&
           reduced_.back().extent.value() % (width_ * 2) == 0)
      width_ *= 2;
    schedule_ = part_schedule(model, width_);
    const int64_t whole_steps = elements_of_whole_steps();
    // One workgroup a multiprocessor: each reads all parts of its rows again.
    const int64_t own = (rows + schedule_.rows - 1) / schedule_.rows,
                  wanted = std::max<int64_t>(model.cores / own, 1), least = kLeastSteps * whole_steps;
    part_ = round_up(std::max(ceil_div(length, wanted), least), whole_steps);
    if (part_ >= length) part_ = 0;
  }

  bool has_short_runs() const {
    return rows_are_runs_ && kept_.back().extent.is_const() && reduced_.back().extent.is_const() &&
           reduced_.back().extent.value() < kShortRun;
  }

  // A workgroup's threads for a part: on the runs of neighbouring rows side by side, so that memory is read
  // as it lies, each with `width` elements, or on neighbouring rows, or on one.
  RowSchedule part_schedule(const GpuModel& model, int width) const {
    RowSchedule s;
    if (!are_runs_) {
      const int64_t rows = context_.hint(point_count(kept_));
      s.run = lanes_are_rows_ ? 1 : 0;
      while (lanes_are_rows_ && s.rows < 32 && s.rows * 2 <= rows) s.rows *= 2;
      s.lanes = model.max_threads / s.rows;
      return s;
    }
    s.run = static_cast<int>(reduced_.back().extent.value()) / width;
    for (int n = 1; n * s.run <= model.max_threads; ++n) {
      if (kept_.back().extent.value() % n == 0) s.rows = n;
    }
    s.lanes = s.run * runs_of_row(model.max_threads / (s.rows * s.run));
    return s;
  }
  // Runs of a row that a workgroup has at a time: a power of two or three times one, so that few barriers
  // fold them, and steps of all levels and widths end together soon.
  static int runs_of_row(int most) {
    int runs = 1;
    while (runs * 2 <= most) runs *= 2;
    return runs > 1 && runs / 2 * 3 <= most ? runs / 2 * 3 : runs;
  }
  // Elements of a row that are whole steps of every dispatch on every level.
  int64_t elements_of_whole_steps() const {
    int64_t elements = 1;
    for (const Level level : variant_levels(context_.target(), Covers::kFolds)) {
      for (const int width : {1, width_})
        elements = std::lcm(elements, int64_t{part_schedule(gpu_model(level), width).lanes} * width);
    }
    return elements;
  }
  Dim part_count() const { return ceildiv(row_length(), part_); }

  // The reduction `stage`, or behind the last one the outputs.
  void dispatch(size_t stage, int64_t flops_share) {
    DispatchBuilder builder(context_, region_);
    builder.set_flops(product(space_.shape) * Dim(element_flops_ / std::max<int64_t>(flops_share, 1)));
    stage_ = stage;
    for (const Level level : variant_levels(context_.target(), Covers::kFolds)) variant(builder, level);
    builder.finish();
  }

  // Outputs are stored by vectors: a loop that stores has one load on its way for each thread.
  int width() const { return is_last() ? width_ : 1; }
  bool is_last() const { return stage_ == plan_.reductions.size(); }

  void variant(DispatchBuilder& dispatch, Level level) override {
    const GpuModel& model = gpu_model(level);
    ElementEmitter emitter(dispatch);
    std::vector<NestAxis> axes = kept_;
    axes.insert(axes.begin(), NestAxis{{}, parts_at_once()});
    schedule_ = part_schedule(model, width());
    threads_.emplace(dispatch, axes, schedule_);
    layout_ = threads_->fold_layout(model.subgroup);
    Stmts body = threads_->prologue();
    part_number_ = threads_->row()[0];
    const std::vector<Expr> kept(threads_->row().begin() + 1, threads_->row().end());
    for (size_t before = 0; before < stage_; ++before)
      bind_total(emitter, before, kept, total(dispatch, before, kept, body), body);
    append(body, is_last() ? outputs(emitter, kept) : fold_part(emitter, kept));
    unbind_rows(emitter);
    dispatch.add_variant(
        level, threads_->grid(), std::move(body),
        fmt::format("rows of {}, {}, {} parts, {}", row_length().text(),
                    is_last() ? "outputs" : fmt::format("reduction {}", stage_), part_count().text(),
                    schedule_.text()),
        {schedule_.threads(), threads_->thread(), layout_.uses_subgroup() ? model.subgroup : 0});
  }

  // Rows of no elements have no parts, but results: the outputs' dispatch has one part at least.
  Dim parts_at_once() const {
    if (!is_last()) return part_count();
    return has_full_outputs() ? max(part_count(), Dim(1)) : Dim(1);
  }

  Expr place_of_part(DispatchBuilder& dispatch, const Expr& part, const std::vector<Expr>& kept) const {
    Expr at = part;
    for (size_t a = 0; a < kept_.size(); ++a)
      at = kernel::add(kernel::mul(at, dispatch.expr(kept_[a].extent)), kept[a]);
    return at;
  }

  // A reduction of a whole row from its parts.
  Expr total(DispatchBuilder& dispatch, size_t stage, const std::vector<Expr>& kept, Stmts& out) {
    const kernel::Buffer parts = dispatch.bind(parts_[stage]);
    const kernel::Var acc = kernel::make_var(fmt::format("total{}", stage), {sum_type(stage), 1}),
                      step = kernel::make_var("step"), at = kernel::make_var("part");
    const ScalarOp op = plan_.reductions[stage]->scalar_op();
    const Expr lanes = int_const(schedule_.lanes);
    const Expr x = kernel::load(parts, place_of_part(dispatch, var_expr(at), kept));
    out.push_back(kernel::declare(acc, sum_start(stage)));
    out.push_back(kernel::loop(
        step, int_const(0), dispatch.expr(ceildiv(part_count(), schedule_.lanes)), kernel::LoopKind::kSerial,
        {kernel::let(at, kernel::add(kernel::mul(var_expr(step), lanes), threads_->lane())),
         kernel::if_then(kernel::compare(ScalarOp::kLt, var_expr(at), dispatch.expr(part_count())),
                         {kernel::assign(acc, kernel::op(op, {x, var_expr(acc)}))})}));
    return fold_threads(acc, op, layout_, out);
  }

  Stmts fold_part(ElementEmitter& emitter, const std::vector<Expr>& kept) {
    const kernel::Var acc = kernel::make_var("acc", {sum_type(stage_), 1});
    Stmts out{kernel::declare(acc, sum_start(stage_))};
    append(out, row_loop(emitter, kept, [&](const Index& at, const Expr&) {
             Stmts body;
             const Expr sum = with_element(emitter, stage_, at, var_expr(acc), body);
             body.push_back(kernel::assign(acc, sum));
             return body;
           }));
    const Expr sum = fold_threads(acc, plan_.reductions[stage_]->scalar_op(), layout_, out);
    DispatchBuilder& dispatch = emitter.dispatch();
    append(out, threads_->once({kernel::store(dispatch.bind(parts_[stage_], kernel::Access::kWrite),
                                              place_of_part(dispatch, part_number_, kept), sum)}));
    return out;
  }

  // A loop over the part's elements.
  Stmts row_loop(ElementEmitter& emitter, const std::vector<Expr>& kept,
                 const std::function<Stmts(const Index&, const Expr&)>& body) override {
    const int width = this->width();
    const kernel::Var step = kernel::make_var("step"), at = kernel::make_var("at");
    const Expr first = kernel::mul(part_number_, int_const(part_ / width));
    const Expr inside =
        kernel::add(kernel::mul(var_expr(step), int_const(schedule_.lanes)), threads_->lane());
    Stmts inner{kernel::let(at, kernel::add(first, inside))}, element;
    std::vector<NestAxis> units = reduced_;  // of `width` elements
    if (width > 1) units.back().extent = floordiv(units.back().extent, width);
    std::vector<Expr> reduced = split_position(emitter.dispatch(), units, var_expr(at), element);
    if (width == 1) {
      append(element, body(space_index(kept, reduced), var_expr(at)));
    } else {
      const kernel::Var v = kernel::make_var("v");
      const auto neighbour = [&](const Expr& unit) {
        return kernel::add(kernel::mul(unit, int_const(width)), var_expr(v));
      };
      reduced.back() = neighbour(reduced.back());
      append(element, vector_loop(kernel::loop(v, int_const(0), int_const(width), kernel::LoopKind::kSerial,
                                               body(space_index(kept, reduced), neighbour(var_expr(at)))),
                                  width));
    }
    const Dim length = row_length();
    if (length.is_const() && length.value() % part_ == 0) {
      append(inner, std::move(element));
    } else {
      const Expr end = emitter.dispatch().expr(width == 1 ? length : floordiv(length, width));
      inner.push_back(kernel::if_then(kernel::compare(ScalarOp::kLt, var_expr(at), end), std::move(element)));
    }
    return {kernel::loop(step, int_const(0), int_const(part_ / (int64_t{schedule_.lanes} * width)),
                         kernel::LoopKind::kSerial, std::move(inner))};
  }

  Stmts row_stores(Stmts stores) override {
    Stmts once = threads_->once(std::move(stores));
    if (!has_full_outputs()) return once;
    return {kernel::if_then(kernel::compare(ScalarOp::kEq, part_number_, int_const(0)), std::move(once))};
  }
  Stmts element_stores(Stmts stores) override { return threads_->valid(std::move(stores)); }
  Stmt keep(const Value*, const Expr&, Expr) override { TERN_UNREACHABLE("nothing is kept"); }
  Expr kept_element(const Value*, const Expr&) override { TERN_UNREACHABLE("nothing is kept"); }

  RowSchedule schedule_;
  int64_t part_ = 0;  // elements, whole steps on every level; 0: rows are not cut
  bool are_runs_ = false;
  int width_ = 1;           // neighbouring elements that a thread stores
  std::vector<int> parts_;  // temporaries, a reduction each
  size_t stage_ = 0;        // of the dispatch that is being written
  std::optional<RowThreads> threads_;
  FoldLayout layout_;
  Expr part_number_;
};

}  // namespace

bool lower_long_rows(const Region& region, LoweringContext& context) {
  return LongRows(region, context).run_where_better();
}

}  // namespace tern::lower::gpu
