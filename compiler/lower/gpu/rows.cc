#include "compiler/lower/gpu/rows.h"

#include <algorithm>
#include <optional>

#include "compiler/lower/gpu/flat_nest.h"
#include "compiler/lower/gpu/long_rows.h"
#include "compiler/lower/gpu/thread_fold.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/rows_nest.h"

namespace tern::lower::gpu {
namespace {

using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::var_expr;

constexpr int64_t kRegisterElements = 16;  // of a row that a thread keeps
constexpr int64_t kUnknownColumn = 1024;   // rows of a column of symbolic length
constexpr int64_t kShortLoop = 4;          // steps that are written out, so that their constants come early

int power_of_two(int64_t n) {
  int p = 1;
  while (p < n && p < (1 << 20)) p *= 2;
  return p;
}

class GpuRows : public RowsNest {
 public:
  using RowsNest::RowsNest;

 private:
  void variant(DispatchBuilder& dispatch, Level level) override;
  Stmts row_loop(ElementEmitter& emitter, const std::vector<Expr>& kept,
                 const std::function<Stmts(const Index&, const Expr&)>& body) override;
  Expr fold(const kernel::Var& acc, ScalarOp op, Stmts& out) override {
    return fold_threads(acc, op, layout_, out);
  }
  Stmts row_stores(Stmts stores) override { return threads_->once(std::move(stores)); }
  Stmts element_stores(Stmts stores) override { return threads_->valid(std::move(stores)); }
  Stmt keep(const Value* value, const Expr&, Expr element) override {
    return kernel::store(memory_.at(value), step_, std::move(element));
  }
  Expr kept_element(const Value* value, const Expr&) override {
    return kernel::load(memory_.at(value), step_);
  }

  RowSchedule schedule_;
  std::optional<RowThreads> threads_;
  FoldLayout layout_;
  Expr step_;  // of the row loop whose body is being written
  bool unrolled_ = false;
  std::unordered_map<const Value*, kernel::Buffer> memory_;
};

void GpuRows::variant(DispatchBuilder& dispatch, Level level) {
  const GpuModel& model = gpu_model(level);
  const Dim rows = point_count(kept_), length = row_length();
  // A thread of its own a column is only right for columns that are known to be short.
  const int64_t least = lanes_are_rows_ && !length.is_const() ? kUnknownColumn : 1;
  schedule_ = default_row_schedule(context_.hint(rows), std::max(context_.hint(length), least),
                                   lanes_are_rows_, model);
  if (lanes_are_rows_ && !length.is_const()) dispatch.check_loops();
  ElementEmitter emitter(dispatch);
  threads_.emplace(dispatch, kept_, schedule_);
  Stmts body = threads_->prologue();
  layout_ = threads_->fold_layout(model.subgroup);
  unrolled_ = false;
  stored_.clear();
  memory_.clear();
  const int64_t steps =
      length.is_const() ? (length.value() + schedule_.lanes - 1) / schedule_.lanes : INT64_MAX;
  if (!plan_.again.empty() && steps <= kRegisterElements) {
    unrolled_ = true;
    for (const Value* v : plan_.again) {
      stored_.insert(v);
      memory_[v] = kernel::make_buffer("row", {v->type.dtype, 1}, kernel::Scope::kRegister,
                                       kernel::Access::kReadWrite, std::max<int64_t>(steps, 1));
      body.push_back(kernel::alloc(memory_[v]));
    }
  }
  append(body, row(emitter, threads_->row()));
  dispatch.add_variant(
      level, threads_->grid(), std::move(body),
      fmt::format("rows of {}, {} reductions, {}{}", length.text(), plan_.reductions.size(), schedule_.text(),
                  unrolled_ ? ", kept in registers" : ""),
      {schedule_.threads(), threads_->thread(), layout_.uses_subgroup() ? model.subgroup : 0});
}

GpuRows::Stmts GpuRows::row_loop(ElementEmitter& emitter, const std::vector<Expr>& kept,
                                 const std::function<Stmts(const Index&, const Expr&)>& body) {
  const Dim length = row_length();
  const Dim steps = ceildiv(length, schedule_.lanes);
  const kernel::Var step = kernel::make_var("step"), at = kernel::make_var("at");
  step_ = var_expr(step);
  Stmts inner = {
      kernel::let(at, kernel::add(kernel::mul(step_, int_const(schedule_.lanes)), threads_->lane()))};
  Stmts element;
  const std::vector<Expr> reduced = split_position(emitter.dispatch(), reduced_, var_expr(at), element);
  append(element, body(space_index(kept, reduced), var_expr(at)));
  const bool even = length.is_const() && length.value() % schedule_.lanes == 0;
  if (even) {
    append(inner, std::move(element));
  } else {
    inner.push_back(kernel::if_then(
        kernel::compare(ScalarOp::kLt, var_expr(at), emitter.dispatch().expr(length)), std::move(element)));
  }
  return {kernel::loop(step, int_const(0), emitter.dispatch().expr(steps),
                       unrolled_ || (even && steps.value() <= kShortLoop) ? kernel::LoopKind::kUnroll
                                                                          : kernel::LoopKind::kSerial,
                       std::move(inner))};
}

}  // namespace

RowThreads::RowThreads(DispatchBuilder& dispatch, const std::vector<NestAxis>& axes,
                       const RowSchedule& schedule)
    : schedule_(schedule), thread_(kernel::make_var("t")) {
  const Expr t = var_expr(thread_);
  const auto named = [&](const char* name, const Expr& value) {
    const kernel::Var v = kernel::make_var(name, value->type);
    prologue_.push_back(kernel::let(v, value));
    return var_expr(v);
  };
  const Dim rows = point_count(axes), tiles = ceildiv(rows, schedule.rows);
  const Expr lanes = int_const(schedule.lanes), per_group = int_const(schedule.rows);
  if (schedule.run == 0) {
    lane_ = named("lane", kernel::index_rem(t, lanes));
    own_ = named("own", kernel::index_div(t, lanes));
  } else {
    const Expr run = int_const(schedule.run), runs = kernel::index_div(t, run);
    lane_ = named(
        "lane", kernel::add(kernel::mul(kernel::index_div(runs, per_group), run), kernel::index_rem(t, run)));
    own_ = named("own", kernel::index_rem(runs, per_group));
  }
  Expr row = own_;
  if (!tiles.is_const(1)) {
    const kernel::Var group = kernel::make_var("group");
    grid_.push_back({group, tiles, dispatch.expr(tiles)});
    row = named("row", kernel::add(kernel::mul(var_expr(group), per_group), own_));
  }
  if (!rows.is_const() || rows.value() % schedule.rows != 0) {
    const Expr n = dispatch.expr(rows);
    valid_ = named("valid", kernel::compare(ScalarOp::kLt, row, n));
    row = named("row_read", kernel::min(row, kernel::sub(n, int_const(1))));
  }
  row_ = split_position(dispatch, axes, row, prologue_);
}

FoldLayout RowThreads::fold_layout(int subgroup) const {
  return {schedule_.lanes, schedule_.rows, schedule_.run_length(), subgroup, lane_, own_, var_expr(thread_)};
}

std::vector<Stmt> RowThreads::valid(std::vector<Stmt> stores) const {
  if (!valid_) return stores;
  return {kernel::if_then(valid_, std::move(stores))};
}

std::vector<Stmt> RowThreads::once(std::vector<Stmt> stores) const {
  Expr mine = kernel::compare(ScalarOp::kEq, lane_, int_const(0));
  if (valid_) mine = kernel::op(ScalarOp::kAnd, {mine, valid_});
  return {kernel::if_then(mine, std::move(stores))};
}

Expr RowThreads::slot(const Expr& lane) const {
  return schedule_.run == 1 ? kernel::add(kernel::mul(lane, int_const(schedule_.rows)), own_)
                            : kernel::add(kernel::mul(own_, int_const(schedule_.lanes)), lane);
}

std::string RowSchedule::text() const {
  return fmt::format("{} rows x {} {}threads", rows, lanes,
                     run == 0   ? ""
                     : run == 1 ? "distant "
                                : fmt::format("in runs of {} ", run));
}

RowSchedule default_row_schedule(int64_t rows, int64_t length, bool columns, const GpuModel& model) {
  RowSchedule s;
  s.run = columns ? 1 : 0;
  rows = std::max<int64_t>(rows, 1);
  length = std::max<int64_t>(length, 1);
  const int64_t enough = int64_t{model.cores} * 512;  // threads that keep the device busy
  if (columns) {
    s.rows = std::min(32, power_of_two(rows));
    const int most = std::min(model.max_threads, 512) / s.rows;
    while (s.lanes * 2 <= most && s.lanes * 4 <= length && rows * s.lanes < enough) s.lanes *= 2;
    // Few lanes a row: more rows a workgroup instead.
    while (s.rows < rows && s.threads() * 2 <= std::min(model.max_threads, 256) &&
           rows * s.lanes > int64_t{s.threads()} * 2 * model.cores)
      s.rows *= 2;
    return s;
  }
  s.lanes = std::min(power_of_two((length + 7) / 8), model.max_threads);
  while (s.lanes < model.max_threads && s.lanes * 2 <= length && rows * s.lanes < enough) s.lanes *= 2;
  // Whole steps need no ends.
  if (s.lanes >= 64 && length % s.lanes != 0 && length % (s.lanes / 2) == 0) s.lanes /= 2;
  const int full = std::min(256, model.max_threads);
  while (s.threads() < full && s.rows < rows && rows * s.lanes > int64_t{s.threads()} * 2 * model.cores)
    s.rows *= 2;
  // At least a subgroup.
  while (s.threads() < 32) s.rows *= 2;
  return s;
}

void lower_rows(const Region& region, LoweringContext& context) {
  if (!lower_long_rows(region, context)) GpuRows(region, context).run();
}

}  // namespace tern::lower::gpu
