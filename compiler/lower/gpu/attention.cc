#include "compiler/lower/gpu/attention.h"

#include <algorithm>

#include "compiler/lower/attention_chain.h"
#include "compiler/lower/causal.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/attention_kernel.h"
#include "compiler/lower/gpu/few_rows.h"
#include "compiler/lower/gpu/matrix_attention.h"
#include "compiler/lower/gpu/mma_contraction.h"
#include "compiler/lower/gpu/simt_attention.h"
#include "compiler/lower/gpu/simt_schedule.h"
#include "compiler/lower/gpu/tile_attention.h"
#include "compiler/lower/gpu/tile_operands.h"
#include "compiler/lower/nest_axes.h"

namespace tern::lower::gpu {

using graph::Value;
using kernel::Expr;
using kernel::int_const;

namespace {

constexpr int64_t kMostColumns = 128;  // of outputs, which registers hold
// Products of few rows share many keys out instead; few keys cost less than two more dispatches.
constexpr int64_t kFewQueries = 4, kFewKeys = 512;
constexpr int kFoldingSubgroup = 32;  // of kernels on register tiles, where they rely on any

// A score of a 16-bit model, over the product `x`, without rounding between its ops: f32 all through.
Expr widened(const Expr& e, const kernel::Var& x) {
  const DType f32 = DType::kF32;
  if (e->kind == kernel::ExprKind::kVar && e->var == x) return e;
  if (!is_float(e->type.dtype)) return e;
  if (e->kind == kernel::ExprKind::kConst) return kernel::float_const(e->f, f32);
  if (e->kind == kernel::ExprKind::kCast && is_float(e->args[0]->type.dtype)) return widened(e->args[0], x);
  if (e->kind != kernel::ExprKind::kOp) return kernel::cast(e, f32);
  std::vector<Expr> args;
  for (const Expr& arg : e->args) args.push_back(widened(arg, x));
  return kernel::op(e->op, std::move(args));
}

// Rows of it as matrix units read them; kernels put zeros behind half a step.
bool has_rows(const Value* v, size_t along, DType dtype, LoweringContext& context) {
  const Dim& width = v->type.shape[along];
  constexpr int64_t kUnit = 8;
  return width.is_const() && width.value() % kUnit == 0 && width.value() > 0 &&
         width.value() <= kMostColumns && context.has_place(v) &&
         chunks_of(v, along, width.value(), dtype, context);
}

// The 16-bit type whose rows q, k and v have; kNone: another one, or other layouts.
DType matrix_type(const AttentionChain& attention, LoweringContext& context) {
  const DType dtype = context.stored_type(attention.q);
  const auto rank = static_cast<size_t>(attention.q->type.rank());
  if (dtype != DType::kF16 && dtype != DType::kBF16) return DType::kNone;
  const bool suits = has_rows(attention.q, rank - 1, dtype, context) &&
                     has_rows(attention.k, rank - 2, dtype, context) &&
                     has_rows(attention.v, rank - 1, dtype, context);
  return suits ? dtype : DType::kNone;
}

// One chain as the operands of a kernel.
class Source {
 public:
  Source(DispatchBuilder& dispatch, const AttentionChain& attention)
      : dispatch_(dispatch),
        emitter_(dispatch),
        attention_(attention),
        first_(dot_problem(attention.scores, dispatch.params(), false)),
        last_(dot_problem(attention.product, dispatch.params(), false)),
        b_(int_const(0)) {
    shape.batch = last_.batch;
    shape.queries = last_.m;
    shape.keys = last_.k;
    shape.reach = causal_reach(attention, last_.m);
    shape.depth = attention.q->type.shape.back().value();
    shape.value_depth = attention.v->type.shape.back().value();
    if (last_.batch.is_const(1)) return;
    const kernel::Var at = kernel::make_var("batch");
    b_ = kernel::var_expr(at);
    batch = {at, last_.batch, dispatch.params().expr(last_.batch)};
  }

  // What scores and outputs become.
  AttentionOperands operands() {
    AttentionOperands o;
    o.score = [this](const Expr& m, const Expr& n, const Expr& value) { return score(m, n, value); };
    o.finish = [this](const Expr& m, const Expr& d, const Expr& value, int lanes) {
      const DType type = attention_.product.result()->type.dtype;
      return store_epilogue(
          emitter_, [&](const Expr& at) { return last_.out_index(b_, m, at); }, d,
          type == DType::kF32 ? value : kernel::cast(value, type), lanes, nullptr);
    };
    return o;
  }

  AttentionOperands rows(DType dtype) {
    AttentionOperands o = operands();
    o.dtype = dtype;
    o.q = dispatch_.buffer_of(attention_.q);
    o.k = dispatch_.buffer_of(attention_.k);
    o.v = dispatch_.buffer_of(attention_.v);
    const Expr zero = int_const(0);
    const auto rank = static_cast<size_t>(attention_.q->type.rank());
    o.q_rows = rows_along(
        attention_.q, rank - 2, rank - 1,
        [=, this](const Expr& row) { return first_.a_index(b_, row, zero); }, dispatch_);
    o.k_rows = rows_along(
        attention_.k, rank - 1, rank - 2,
        [=, this](const Expr& row) { return first_.b_index(b_, zero, row); }, dispatch_);
    o.v_rows = rows_along(
        attention_.v, rank - 2, rank - 1, [=, this](const Expr& row) { return last_.b_index(b_, row, zero); },
        dispatch_);
    o.q_row = [=, this](const Expr& row) {
      return emitter_.address(attention_.q, first_.a_index(b_, row, zero));
    };
    o.k_row = [=, this](const Expr& row) {
      return emitter_.address(attention_.k, first_.b_index(b_, zero, row));
    };
    o.v_row = [=, this](const Expr& row) {
      return emitter_.address(attention_.v, last_.b_index(b_, row, zero));
    };
    return o;
  }

  SimtAttentionOperands elements() {
    const auto rank = static_cast<size_t>(attention_.q->type.rank());
    const auto matrix = [this](Value* value, size_t along, const std::function<Index(Expr, Expr)>& index) {
      SimtAttentionMatrix out;
      out.element = [=, this](const Expr& row, const Expr& d) { return f32(value, index(row, d)); };
      const kernel::Var row = kernel::make_var("row"), column = kernel::make_var("column");
      out.across = runs_along(out.element(kernel::var_expr(row), kernel::var_expr(column)), row);
      if (!has_fours(value, along)) return out;
      out.four = [=, this](const Expr& m, const Expr& d) {
        const Expr at = emitter_.address(value, index(m, d));
        const auto four = int_const(4);
        return kernel::cast(
            kernel::load(dispatch_.buffer_of(value), kernel::mul(kernel::index_div(at, four), four), 4),
            DType::kF32);
      };
      return out;
    };
    return {matrix(attention_.q, rank - 1, [this](Expr m, Expr d) { return first_.a_index(b_, m, d); }),
            matrix(attention_.k, rank - 2, [this](Expr n, Expr d) { return first_.b_index(b_, d, n); }),
            matrix(attention_.v, rank - 1, [this](Expr n, Expr d) { return last_.b_index(b_, n, d); })};
  }

  AttentionShape shape;
  kernel::GridAxis batch;
  const Expr& which() const { return b_; }

 private:
  // Rows of f32 or f16 in memory, of which four elements can be read in one access.
  bool has_fours(const Value* value, size_t along) {
    LoweringContext& context = dispatch_.context();
    const Dim& width = value->type.shape[along];
    const DType stored = context.stored_type(value);
    return (stored == DType::kF32 || stored == DType::kF16) && width.is_const() && context.has_place(value) &&
           chunks_of(value, along, width.value(), stored, context, 4);
  }
  Expr f32(Value* value, const Index& index) {
    const Expr e = emitter_.element(value, index);
    TERN_CHECK(emitter_.take_checks().empty(), "attention inlines a gather");
    return kernel::cast(e, DType::kF32);
  }

  Expr score(const Expr& m, const Expr& n, const Expr& value) {
    const kernel::Var sum = kernel::make_var("sum", {DType::kF32, 1});
    Value* product = attention_.scores.result();
    emitter_.bind(product, kernel::cast(kernel::var_expr(sum), product->type.dtype));
    const Expr score = widened(emitter_.element(attention_.softmax_operand, last_.a_index(b_, m, n)), sum);
    emitter_.unbind(product);
    TERN_CHECK(emitter_.take_checks().empty(), "scores have data-dependent indices");
    return kernel::substitute(score, {{sum.get(), value}});
  }

  DispatchBuilder& dispatch_;
  ElementEmitter emitter_;
  const AttentionChain& attention_;
  const ContractionProblem first_, last_;
  Expr b_;
};

// On matrix units with their layout known, every level.
void add_mma_variants(DispatchBuilder& dispatch, const AttentionChain& attention, DType dtype) {
  LoweringContext& context = dispatch.context();
  std::string before;
  for (const Level level : context.target().levels) {
    const GpuModel& model = gpu_model(level);
    Source source(dispatch, attention);
    const AttentionShape& shape = source.shape;
    const int64_t depth = std::max(shape.depth, shape.value_depth);
    const auto padded = [](int64_t d, int64_t unit) { return (d + unit - 1) / unit * unit; };
    const auto suits_groups = [&](int64_t d) { return padded(d, 64) * 5 <= d * 8; };
    const bool group = model.has_group_mma && suits_groups(shape.depth) && suits_groups(shape.value_depth);
    const AttentionOperands operands = source.rows(dtype);
    const bool boxes = model.has_group_mma && operands.q_rows && operands.k_rows && operands.v_rows;
    // Rows of 16-bit elements that begin inside of sectors.
    const bool within_sectors = shape.depth % 16 != 0 || shape.value_depth % 16 != 0;
    AttentionSchedule schedule = default_attention_schedule(
        context.hint(shape.batch), context.hint(shape.queries), context.hint(shape.keys),
        group ? padded(depth, 64) : depth, model.cores, group, model.has_group_mma, boxes && within_sectors);
    schedule.tensors = schedule.arrivals && boxes;
    if (schedule.text() == before) continue;  // the level gains nothing
    before = schedule.text();
    const kernel::Var thread = kernel::make_var("t");
    AttentionKernel made =
        build_attention_kernel(shape, source.batch, schedule, thread, operands, dispatch.params());
    dispatch.add_variant(
        level, std::move(made.grid), std::move(made.body), schedule.text(),
        {schedule.threads(), thread, 32, schedule.split, std::move(made.tensors), schedule.copiers()},
        {.matrix_units = true});
  }
}

// False where the level's tiles do not suit.
bool add_matrix_variant(DispatchBuilder& dispatch, const AttentionChain& attention, Level level,
                        const Dim& factor) {
  const LoweringContext& context = dispatch.context();
  const GpuModel& model = gpu_model(level);
  Source source(dispatch, attention);
  const AttentionShape& shape = source.shape;
  const kernel::Var thread = kernel::make_var("t");
  const std::optional<TileAttentionSchedule> tiles =
      tile_attention_schedule(context.hint(shape.batch), context.hint(shape.queries), shape, model.unit(),
                              model.cores, model.workgroup_memory);
  if (tiles) {
    AttentionKernel made = build_tile_attention(shape, source.batch, *tiles, thread, source.rows(model.tiles),
                                                dispatch.params());
    if (!factor.is_const(1)) limit_grid(made.grid, factor, dispatch.params());
    dispatch.add_variant(level, std::move(made.grid), std::move(made.body), tiles->text(),
                         {tiles->threads(), thread, model.subgroup}, {.matrix_units = true});
    return true;
  }
  const std::optional<MatrixAttentionSchedule> found = default_matrix_attention_schedule(
      context.hint(shape.batch), context.hint(shape.queries), context.hint(shape.keys), shape, model.unit(),
      model.cores, model.workgroup_memory);
  if (!found) return false;
  const MatrixAttentionSchedule& schedule = *found;
  AttentionKernel made = build_matrix_attention(shape, source.batch, schedule, thread,
                                                source.rows(model.tiles), dispatch.params());
  if (!factor.is_const(1)) limit_grid(made.grid, factor, dispatch.params());
  dispatch.add_variant(level, std::move(made.grid), std::move(made.body), schedule.text(),
                       {schedule.threads(), thread, model.subgroup}, {.matrix_units = true});
  return true;
}

void add_simt_variant(DispatchBuilder& dispatch, const AttentionChain& attention, Level level,
                      const Dim& factor, LevelsBefore& before) {
  const LoweringContext& context = dispatch.context();
  const GpuModel& model = gpu_model(level);
  Source source(dispatch, attention);
  const AttentionShape& shape = source.shape;
  const SimtAttentionSchedule schedule = default_simt_attention_schedule(
      context.hint(shape.batch), context.hint(shape.queries), shape.depth, shape.value_depth, model);
  if (before.repeats(schedule.text(), model)) return;
  const kernel::Var thread = kernel::make_var("t");
  AttentionKernel made = build_simt_attention(shape, source.batch, schedule, thread, source.elements(),
                                              source.operands(), dispatch.params());
  if (!factor.is_const(1)) limit_grid(made.grid, factor, dispatch.params());
  dispatch.add_variant(level, std::move(made.grid), std::move(made.body), schedule.text(),
                       {schedule.threads(), thread, schedule.subgroup});
}

constexpr int64_t kQueriesOfParts = 8;  // at most, of attention whose keys are cut

// Into how many parts keys are cut where few queries would leave most processors idle; 1: they are not. Where
// numbers are symbols they may turn out to be few queries behind many keys.
int parts_of_keys(const AttentionShape& shape, LoweringContext& context) {
  constexpr int64_t kLeastKeys = 128, kMostParts = 32, kPartsOfSymbol = 16;  // kLeastKeys: of a part
  const GpuModel& model = gpu_model(context.target().levels.back());
  if (model.arch != Arch::kVulkan || (shape.queries.is_const() && shape.queries.value() > kQueriesOfParts))
    return 1;
  const int64_t idle = model.cores / std::max<int64_t>(context.hint(shape.batch), 1);
  const int64_t most = shape.keys.is_const() ? shape.keys.value() / kLeastKeys : kPartsOfSymbol;
  return static_cast<int>(std::clamp<int64_t>(std::min(idle, most), 1, kMostParts));
}

void limit_to_few(AttentionKernel& made, const AttentionShape& shape, DispatchBuilder& dispatch) {
  if (!shape.queries.is_const())
    limit_grid(made.grid, has_at_most(shape.queries, kQueriesOfParts), dispatch.params());
}

void lower_in_parts(const AttentionChain& attention, int count, LoweringContext& context) {
  AttentionParts parts;
  parts.count = count;
  int outs = -1, state = -1;
  const auto lower = [&](const char* label, const auto& add) {
    DispatchBuilder dispatch(context, attention.region);
    dispatch.set_label(label);
    for (const Level level : variant_levels(context.target(), Covers::kFolds)) {
      Source source(dispatch, attention);
      const AttentionShape& shape = source.shape;
      if (outs < 0) {
        parts.queries = min(shape.queries, kQueriesOfParts);
        const Dim rows = Dim(count) * shape.batch * parts.queries;
        dispatch.set_flops(shape.batch * shape.queries * shape.keys *
                           Dim(2 * (shape.depth + shape.value_depth)));
        outs = context.add_temporary("parts of outputs", DType::kF32, rows * Dim(shape.value_depth));
        state = context.add_temporary("parts of sums", DType::kF32, rows * Dim(2));
      }
      parts.batch = source.which();
      add(dispatch, source, level);
    }
    dispatch.finish();
  };
  LevelsBefore before, merged_before;
  lower("attention", [&](DispatchBuilder& dispatch, Source& source, Level level) {
    const GpuModel& model = gpu_model(level);
    const AttentionShape& shape = source.shape;
    const SimtAttentionSchedule schedule = default_simt_attention_schedule(
        context.hint(shape.batch), context.hint(parts.queries), shape.depth, shape.value_depth, model);
    if (before.repeats(schedule.text(), model)) return;
    parts.outs = dispatch.bind(outs, kernel::Access::kWrite);
    parts.state = dispatch.bind(state, kernel::Access::kWrite);
    const kernel::Var thread = kernel::make_var("t");
    AttentionKernel made = build_simt_attention(shape, source.batch, schedule, thread, source.elements(),
                                                source.operands(), dispatch.params(), &parts);
    limit_to_few(made, shape, dispatch);
    dispatch.add_variant(level, std::move(made.grid), std::move(made.body),
                         fmt::format("{}, {} parts of keys", schedule.text(), count),
                         {schedule.threads(), thread, schedule.subgroup});
  });
  lower("attention's parts", [&](DispatchBuilder& dispatch, Source& source, Level level) {
    constexpr int kThreads = 64;
    if (merged_before.repeats("", gpu_model(level))) return;
    parts.outs = dispatch.bind(outs);
    parts.state = dispatch.bind(state);
    const kernel::Var thread = kernel::make_var("t");
    AttentionKernel made = build_attention_merge(source.shape, source.batch, parts, thread, kThreads,
                                                 source.operands(), dispatch.params());
    limit_to_few(made, source.shape, dispatch);
    dispatch.add_variant(level, std::move(made.grid), std::move(made.body),
                         fmt::format("sums of {} parts", count), {kThreads, thread, 0});
  });
}

bool is_short_float(const Value* v) {
  return is_float(v->type.dtype) && dtype_bits(v->type.dtype) <= 32;
}

}  // namespace

bool lower_attention(const std::vector<std::unique_ptr<Region>>& chain, LoweringContext& context) {
  const AttentionChain attention(chain);
  const Dim depth = attention.q->type.shape.back(), width = attention.v->type.shape.back();
  if (!depth.is_const() || depth.value() == 0) return false;
  if (!width.is_const() || width.value() == 0 || width.value() > kMostColumns) return false;
  if (!is_short_float(attention.scores.result()) || !is_short_float(attention.softmax_operand) ||
      !is_short_float(attention.product.result()))
    return false;
  const DType dtype = matrix_type(attention, context);
  const std::vector<Level>& levels = context.target().levels;
  const bool mma = dtype != DType::kNone && std::all_of(levels.begin(), levels.end(),
                                                        [](Level level) { return gpu_model(level).has_mma; });
  const Shape& scores = attention.scores.result()->type.shape;
  const int64_t queries = context.hint(scores[scores.size() - 2]);
  const bool long_rows = queries < kFewQueries && context.hint(scores.back()) > kFewKeys;
  Dim rest = 1;  // factor of the grids of what has all keys
  if (!mma) {
    DispatchBuilder unused(context, attention.region);
    const AttentionShape shape = Source(unused, attention).shape;
    if (const int parts = parts_of_keys(shape, context); parts > 1) {
      lower_in_parts(attention, parts, context);
      if (shape.queries.is_const()) return true;
      rest = rest - has_at_most(shape.queries, kQueriesOfParts);
    }
  }
  // CUDA without matrix units: slower than the three products, whose kernels are tuned (GPT-2 decoding: 0.41
  // to 0.71 ms).
  if (!mma && rest.is_const(1) && (long_rows || context.target().arch == Arch::kCuda)) return false;

  DispatchBuilder dispatch(context, attention.region);
  dispatch.set_label("attention");
  {
    const AttentionShape shape = Source(dispatch, attention).shape;
    dispatch.set_flops(shape.batch * shape.queries * shape.keys * Dim(2 * (shape.depth + shape.value_depth)));
  }
  if (mma) {
    add_mma_variants(dispatch, attention, dtype);
  } else {
    LevelsBefore before;
    bool on_matrices = false;  // a device takes the last level that it can run
    for (const Level level : variant_levels(context.target(), Covers::kContractions)) {
      const GpuModel& model = gpu_model(level);
      if (dtype != DType::kNone && model.tiles == dtype &&
          add_matrix_variant(dispatch, attention, level, rest)) {
        on_matrices = true;
      } else if (!on_matrices && (model.tiles == DType::kNone || model.subgroup == kFoldingSubgroup)) {
        add_simt_variant(dispatch, attention, level, rest, before);
      }
    }
  }
  dispatch.finish();
  return true;
}

}  // namespace tern::lower::gpu
