#include "compiler/lower/gpu/arg_reduce.h"

#include "compiler/lower/gpu/rows.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::gpu {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::var_expr;
using Stmts = std::vector<Stmt>;

constexpr int64_t kTogether = 4;  // elements that a thread asks for at once

Expr either(const Expr& a, const Expr& b) {
  return kernel::op(ScalarOp::kOr, {a, b});
}

Expr no(const Expr& a) {
  return kernel::op(ScalarOp::kNot, {a});
}
Expr is_nan(const Expr& a) {
  return kernel::op(ScalarOp::kIsNan, {a});
}

class Finder {
 public:
  Finder(DispatchBuilder& dispatch, Level level, const std::vector<NestAxis>& axes, const ArgReduce& what)
      : dispatch_(dispatch), level_(level), axes_(axes), w_(what) {}

  void add() {
    const LoweringContext& context = dispatch_.context();
    const RowSchedule s = default_row_schedule(context.hint(point_count(axes_)), context.hint(w_.length),
                                               w_.columns, gpu_model(level_));
    RowThreads threads(dispatch_, axes_, s);
    Stmts body = threads.prologue();
    best_ = kernel::make_var("best", {w_.dtype, 1});
    where_ = kernel::make_var("where");
    const auto worst = w_.largest ? scalar::lowest(w_.dtype) : scalar::highest(w_.dtype);
    body.push_back(kernel::declare(best_, kernel::scalar_const(worst)));
    body.push_back(kernel::declare(where_, int_const(-1)));
    append(body, scan(threads));
    if (s.lanes > 1) append(body, tree(threads));
    append(body, threads.once(w_.finish(threads.row(), var_expr(where_))));
    dispatch_.add_variant(level_, threads.grid(), std::move(body), "arg_reduce, " + s.text(),
                          {s.threads(), threads.thread()});
  }

 private:
  // A thread's own elements, in ascending order, of which it asks for some at once. Nothing is better than
  // the first NaN.
  Stmts scan(const RowThreads& threads) {
    const int64_t lanes = threads.schedule().lanes;
    const bool together = !w_.length.is_const() || w_.length.value() >= 2 * kTogether * lanes;
    const int64_t count = together ? kTogether : 1;
    const kernel::Var step = kernel::make_var("step");
    const Expr n = dispatch_.expr(w_.length), last = kernel::sub(n, int_const(1));
    Stmts body, updates;
    for (int64_t k = 0; k < count; ++k) {
      const kernel::Var at = kernel::make_var("at"), x = kernel::make_var("x", {w_.dtype, 1});
      const Expr position = var_expr(at), xe = var_expr(x);
      const Expr number = kernel::add(kernel::mul(var_expr(step), int_const(count)), int_const(k));
      body.push_back(kernel::let(at, kernel::add(kernel::mul(number, int_const(lanes)), threads.lane())));
      const Expr value = w_.element(threads.row(), kernel::min(position, last), body);
      body.push_back(kernel::let(x, value));
      const Expr first = kernel::compare(ScalarOp::kLt, var_expr(where_), int_const(0));
      Expr better = kernel::compare(test(), xe, var_expr(best_));
      if (is_float(w_.dtype)) better = both(either(better, is_nan(xe)), no(is_nan(var_expr(best_))));
      better = either(first, better);
      updates.push_back(kernel::if_then(both(kernel::compare(ScalarOp::kLt, position, n), better),
                                        {kernel::assign(best_, xe), kernel::assign(where_, position)}));
    }
    append(body, std::move(updates));
    return {kernel::loop(step, int_const(0), dispatch_.expr(ceildiv(w_.length, lanes * count)),
                         kernel::LoopKind::kSerial, std::move(body))};
  }

  ScalarOp test() const {
    if (w_.largest) return w_.last ? ScalarOp::kGe : ScalarOp::kGt;
    return w_.last ? ScalarOp::kLe : ScalarOp::kLt;
  }

  Stmts tree(const RowThreads& threads) {
    const RowSchedule& s = threads.schedule();
    const auto workgroup = [&](const char* name, DType dtype) {
      return kernel::make_buffer(name, {dtype, 1}, kernel::Scope::kWorkgroup, kernel::Access::kReadWrite,
                                 s.threads());
    };
    const kernel::Buffer bests = workgroup("bests", w_.dtype), wheres = workgroup("wheres", DType::kI64);
    const Expr mine = threads.slot(threads.lane());
    Stmts out = {kernel::alloc(bests), kernel::alloc(wheres), kernel::store(bests, mine, var_expr(best_)),
                 kernel::store(wheres, mine, var_expr(where_))};
    const ScalarOp strictly = w_.largest ? ScalarOp::kGt : ScalarOp::kLt;
    for (int half = s.lanes / 2; half >= 1; half /= 2) {
      out.push_back(kernel::barrier());
      const Expr other = threads.slot(kernel::add(threads.lane(), int_const(half)));
      const kernel::Var b = kernel::make_var("b", {w_.dtype, 1}), at = kernel::make_var("b_at");
      const Expr be = var_expr(b), ae = var_expr(at), best = var_expr(best_), where = var_expr(where_);
      const Expr tie = both(kernel::compare(ScalarOp::kEq, be, best),
                            kernel::compare(w_.last ? ScalarOp::kGt : ScalarOp::kLt, ae, where));
      Expr better = either(kernel::compare(strictly, be, best), tie);
      if (is_float(w_.dtype)) {
        const Expr earlier = either(no(is_nan(best)), kernel::compare(ScalarOp::kLt, ae, where));
        better = either(both(is_nan(be), earlier), both(better, no(is_nan(best))));
      }
      better = both(kernel::compare(ScalarOp::kGe, ae, int_const(0)),
                    either(kernel::compare(ScalarOp::kLt, where, int_const(0)), better));
      Stmts merge = {
          kernel::let(b, kernel::load(bests, other)), kernel::let(at, kernel::load(wheres, other)),
          kernel::if_then(better, {kernel::assign(best_, be), kernel::assign(where_, ae),
                                   kernel::store(bests, mine, be), kernel::store(wheres, mine, ae)})};
      out.push_back(
          kernel::if_then(kernel::compare(ScalarOp::kLt, threads.lane(), int_const(half)), std::move(merge)));
    }
    return out;
  }

  DispatchBuilder& dispatch_;
  const Level level_;
  const std::vector<NestAxis>& axes_;
  const ArgReduce& w_;
  kernel::Var best_, where_;
};

}  // namespace

void add_arg_reduce_variant(DispatchBuilder& dispatch, Level level, const std::vector<NestAxis>& axes,
                            const ArgReduce& what) {
  Finder(dispatch, level, axes, what).add();
}

}  // namespace tern::lower::gpu
