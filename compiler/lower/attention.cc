#include "compiler/lower/attention.h"

#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/lower/attention_chain.h"
#include "compiler/lower/attention_tiles.h"
#include "compiler/lower/causal.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower {
namespace {

using graph::Value;
using kernel::Expr;
using kernel::int_const;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;

constexpr int64_t kLongestRow = 512;  // elements

// `lanes` values of e for `lane` from 0 on.
Expr in_lanes(Expr e, const Var& lane, int lanes, const Expr& count,
              const std::unordered_map<const kernel::VarNode*, Expr>& widened = {}) {
  e = kernel::vectorize(e, lane, lanes, widened, count);
  e = kernel::substitute(e, {{lane.get(), int_const(0)}});
  return e->type.lanes == lanes ? e : kernel::broadcast(e, lanes);
}

// Whether neighbours along `lane` are neighbours in memory, or the same element, in every load.
bool consecutive(const Expr& e, const Var& lane) {
  bool good = true;
  kernel::visit(kernel::vectorize(e, lane, 4), [&](const Expr& part) {
    if (part->kind == kernel::ExprKind::kLoad && part->args[0]->type.lanes > 1) good = false;
  });
  return good;
}

bool suits(const Dim& length) {
  return length.is_const() && length.value() > 0 && length.value() <= kLongestRow;
}

class Attention {
 public:
  Attention(const AttentionChain& chain, LoweringContext& context)
      : chain_(chain), context_(context), dispatch_(context, chain.region), lane_(kernel::make_var("lane")) {
    dispatch_.set_label("attention");
    first_ = dot_problem(chain.scores, dispatch_.params(), false);
    last_ = dot_problem(chain.product, dispatch_.params(), false);
    extents_ = {last_.batch, last_.m, last_.k, first_.k.value(), last_.n.value(), causal_reach(chain, last_.m)};
    dispatch_.set_flops(last_.batch * last_.m * last_.k * Dim(2 * (extents_.depth + extents_.width)));
    if (!last_.batch.is_const(1)) {
      const Var at = kernel::make_var("batch");
      b_ = var_expr(at);
      batch_axis_ = {at, last_.batch, dispatch_.expr(last_.batch)};
    }
  }

  // False, before anything was added to the program, where the operands do not suit.
  bool run() {
    for (const Level level : context_.target().levels) {
      ElementEmitter emitter(dispatch_);
      AttentionOperands o;
      if (!operands(emitter, o)) return false;
      const MachineModel& model = machine(level);
      const AttentionTiles tiles = default_attention_tiles(
          context_.hint(extents_.batch), context_.hint(extents_.queries), context_.hint(extents_.keys),
          extents_.queries.is_const(), extents_.keys.is_const(), extents_.depth, extents_.width, model);
      AttentionTilesKernel made =
          build_attention_tiles(extents_, batch_axis_, tiles, model.has_fma, o, dispatch_.params());
      dispatch_.add_variant(level, std::move(made.grid), std::move(made.body), tiles.text());
    }
    dispatch_.finish();
    return true;
  }

 private:
  Expr f32(const Expr& e) const { return kernel::cast(e, DType::kF32); }

  Expr score(ElementEmitter& emitter, const Expr& m, const Expr& key, const Var& product) {
    emitter.bind(chain_.scores.result(), var_expr(product));
    const Expr e = emitter.element(chain_.softmax_operand, last_.a_index(b_, m, key));
    emitter.unbind(chain_.scores.result());
    return f32(e);
  }

  bool operands(ElementEmitter& emitter, AttentionOperands& o) {
    const auto k = [&](const Expr& n, const Expr& d) {
      return f32(emitter.element(chain_.k, first_.b_index(b_, d, n)));
    };
    const auto v = [&](const Expr& n, const Expr& d) {
      return f32(emitter.element(chain_.v, last_.b_index(b_, n, d)));
    };
    const Expr n = var_expr(kernel::make_var("n")), d = var_expr(kernel::make_var("d"));
    const Expr lane = var_expr(lane_);
    const bool along_depth = consecutive(k(n, lane), lane_), along_keys = consecutive(k(lane, d), lane_);
    if (!consecutive(v(n, lane), lane_) || (!along_depth && !along_keys)) return false;
    f32(emitter.element(chain_.q, first_.a_index(b_, n, d)));
    score(emitter, n, d, kernel::make_var("product", {DType::kF32, 1}));
    if (!emitter.take_checks().empty()) return false;  // indices that come from data
    o.q = [this, &emitter](const Expr& m, const Expr& at) {
      return f32(emitter.element(chain_.q, first_.a_index(b_, m, at)));
    };
    if (along_depth) {
      o.k_along_depth = [=, this](const Expr& key, const Expr& at, int lanes, const Expr& count) {
        return in_lanes(k(key, kernel::add(at, lane)), lane_, lanes, count);
      };
    } else {
      o.k_along_keys = [=, this](const Expr& key, const Expr& at, int lanes, const Expr& count) {
        return in_lanes(k(kernel::add(key, lane), at), lane_, lanes, count);
      };
    }
    o.v = [=, this](const Expr& key, const Expr& at, int lanes, const Expr& count) {
      return in_lanes(v(key, kernel::add(at, lane)), lane_, lanes, count);
    };
    o.scores = [=, this, &emitter](const Expr& m, const Expr& key, const Expr& products, int lanes,
                                   const Expr& count) {
      const Var product = kernel::make_var("product", {DType::kF32, 1});
      return in_lanes(score(emitter, m, kernel::add(key, lane), product), lane_, lanes, count,
                      {{product.get(), products}});
    };
    o.finish = [this, &emitter](const Expr& m, const Expr& at, const Expr& value, int lanes,
                                const Expr& count) {
      return store_epilogue(
          emitter, [&](const Expr& column) { return last_.out_index(b_, m, column); }, at, value, lanes,
          count);
    };
    return true;
  }

  const AttentionChain& chain_;
  LoweringContext& context_;
  DispatchBuilder dispatch_;
  const Var lane_;
  ContractionProblem first_, last_;
  AttentionExtents extents_;
  Expr b_ = int_const(0);
  kernel::GridAxis batch_axis_;
};

}  // namespace

bool lower_attention(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context) {
  const AttentionChain attention(chain);
  const auto is_f32 = [](const Value* v) { return v->type.dtype == DType::kF32; };
  if (!is_f32(attention.scores.result()) || !is_f32(attention.softmax_operand) ||
      !is_f32(attention.product.result()))
    return false;
  const auto rank = static_cast<size_t>(attention.q->type.rank());
  const Shape& scores = attention.scores.result()->type.shape;
  if (scores[rank - 1].is_const(0) || scores[rank - 2].is_const(0)) return false;
  if (!suits(attention.q->type.shape[rank - 1]) || !suits(attention.v->type.shape[rank - 1])) return false;
  return Attention(attention, context).run();
}

}  // namespace tern::lower
