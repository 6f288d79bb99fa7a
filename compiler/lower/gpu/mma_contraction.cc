#include "compiler/lower/gpu/mma_contraction.h"

#include <cmath>

#include "compiler/lower/contraction.h"
#include "compiler/lower/contraction_body.h"
#include "compiler/lower/contraction_problem.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/emitter.h"
#include "compiler/lower/gpu/chunks.h"
#include "compiler/lower/gpu/contraction.h"
#include "compiler/lower/gpu/depthwise_rows.h"
#include "compiler/lower/gpu/few_rows.h"
#include "compiler/lower/gpu/matrix_kernel.h"
#include "compiler/lower/gpu/mma_kernel.h"
#include "compiler/lower/gpu/mma_source.h"
#include "compiler/lower/gpu/quantised_constants.h"
#include "compiler/lower/packing.h"
#include "compiler/lower/weight_encoding.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;
using kernel::Expr;
using kernel::int_const;

bool is_multiple(const Dim& dim, int64_t of) {
  return mod(dim, of).is_const(0);
}

MmaMachine machine_of(const GpuModel& model) {
  return {model.cores, model.workgroup_memory, model.workgroup_memory, model.has_group_mma ? 9200.0 : 4500.0};
}

// Elements from one pixel of few channels to the next: what one copy brings.
int64_t pitch_of_few(DType dtype) {
  return dtype_bits(dtype) == 8 ? 4 : chunk_of(dtype);
}

// A convolution over pixels of few channels that lie so far apart is one over as many channels, the last of
// which have zero weights and are not read. Behind those of a group lie the next one's.
void pad_channels(const Node& root, ContractionProblem& p, DType dtype, LoweringContext& context) {
  if (root.kind != OpKind::kConv || !p.windows || root.int_attr("groups") != 1) return;
  const Place& place = context.place(root.operand(0));
  const int64_t channels = p.geometry.channels, chunk = pitch_of_few(dtype);
  if (channels >= chunk || !place.strides.back().is_const(chunk)) return;
  const auto element = p.b_element;
  p.b_element = [=](int64_t b, int64_t k, int64_t n) {
    return k % chunk < channels ? element(b, k / chunk * channels + k % chunk, n) : -1;
  };
  p.geometry.channels = chunk;
  p.k = p.k.value() / channels * chunk;
}

// The type in which matrix units multiply: that of the weights in memory, f32 being TF32 where that is asked
// for. Nothing where they do not suit.
std::optional<DType> matrix_type(const Node& root, const LoweringContext& context) {
  if (!is_gpu(context.target().arch) || !LoweringContext::constant_data(root.operand(1))) return std::nullopt;
  const DType dtype = context.stored_type(root.operand(1));
  const bool bytes = dtype == DType::kI8 && root.operand(0)->type.dtype == DType::kU8 &&
                     root.result()->type.dtype == DType::kI32;
  const bool tf32 = dtype == DType::kF32 && context.may_use_tf32(root);
  if (dtype != DType::kF16 && dtype != DType::kBF16 && !tf32 && !bytes) return std::nullopt;
  for (const Level level : context.target().levels) {
    if (!gpu_model(level).has_mma) return std::nullopt;
  }
  return dtype;
}

// Few rows, and how many there may be: those of the product, or, where they are a symbol, as many as leave
// room for other workgroups.
struct FewRows {
  int64_t most = 0;
  FewRowsSchedule schedule;
};

// How a product with weights of `bits`, in blocks of `block` steps, is computed where it has few rows.
std::optional<FewRows> few_rows(const ContractionProblem& p, int bits, int64_t block, const Target& target) {
  if (!p.batch.is_const(1) || !p.n.is_const() || !p.k.is_const()) return std::nullopt;
  const int64_t n = p.n.value(), k = p.k.value();
  if (k < 16 || n < 8) return std::nullopt;
  const GpuModel& model = gpu_model(target.levels.front());
  const auto schedule = [&](int64_t rows) {
    return default_few_rows_schedule(rows, n, k, bits, block, model.cores, model.workgroup_memory);
  };
  if (p.m.is_const()) {
    const std::optional<FewRowsSchedule> s = schedule(p.m.value());
    return s ? std::optional(FewRows{p.m.value(), *s}) : std::nullopt;
  }
  for (int64_t rows = FewRowsSchedule::kMostRows; rows > 0; rows /= 2) {
    const std::optional<FewRowsSchedule> s = schedule(rows);
    if (s && s->bytes(rows, k) <= model.workgroup_memory / 4) return FewRows{rows, *s};
  }
  return std::nullopt;
}

bool has_mma(const Target& target) {
  return is_gpu(target.arch) && std::all_of(target.levels.begin(), target.levels.end(),
                                            [](Level level) { return gpu_model(level).has_mma; });
}

Dim rows_of(const Node& dot) {
  kernel::ParamTable unused;
  return dot_problem(dot, unused, false).m;
}
bool are_few(const Dim& rows) {
  return rows.is_const() && rows.value() <= FewRowsSchedule::kMostRows;
}

// Whether few rows by constant weights of `dtype` read them straight into registers (few_rows.h); and whether
// the product has no others.
bool suits_few_rows(const Node& root, DType dtype, const LoweringContext& context) {
  if (root.kind != OpKind::kDot || (dtype != DType::kF16 && dtype != DType::kBF16)) return false;
  // More columns keep all processors busy by stages of workgroup memory, a tenth faster (16384 and 32000 of
  // 2048 steps on an H100: 26.0 and 46.2 us for 27.7 and 48.7; 2048 of 8192: 18.3 for 17.0, 512 of 2048: 7.8
  // for 5.4).
  constexpr int64_t kMostColumns = 64;  // of each processor
  const Dim columns = root.result()->type.shape.back();
  if (!columns.is_const() ||
      columns.value() > kMostColumns * gpu_model(context.target().levels.front()).cores)
    return false;
  kernel::ParamTable unused;
  return few_rows(dot_problem(root, unused, true), 16, 0, context.target()).has_value();
}
bool has_few_rows(const Node& root, DType dtype, const LoweringContext& context) {
  return root.kind == OpKind::kDot && are_few(rows_of(root)) && suits_few_rows(root, dtype, context);
}

void add_few_rows_variant(DispatchBuilder& dispatch, const ContractionProblem& problem, DType dtype,
                          const kernel::Buffer& weights, const FewRows& few, const QuantisedPanels* panels) {
  const FewRowsSchedule& schedule = few.schedule;
  ElementEmitter emitter(dispatch);
  MmaSource source(dispatch, emitter, problem, dtype, false);
  kernel::GridAxis batch;
  const MmaOperands o = source.operands(weights, batch);
  const kernel::Var thread = kernel::make_var("t");
  MmaKernel made = build_few_rows_kernel(problem.m, few.most, problem.n.value(), problem.k.value(), schedule,
                                         thread, o, panels, dispatch.params());
  dispatch.add_variant(dispatch.context().target().levels.front(), std::move(made.grid), std::move(made.body),
                       fmt::format("{}; A {}", schedule.text(), o.a_chunk ? "read" : "computed"),
                       {schedule.threads(), thread, 32}, {.matrix_units = true});
}

void add_variant(DispatchBuilder& dispatch, Level level, const MmaSchedule& schedule, const MmaOperands& o,
                 const kernel::Var& thread, MmaKernel made) {
  dispatch.add_variant(
      level, std::move(made.grid), std::move(made.body),
      fmt::format("{}; A {}", schedule.text(), o.a_chunk ? "copied" : "gathered"),
      {schedule.threads(), thread, 32, schedule.split, std::move(made.tensors), schedule.copiers()},
      {.matrix_units = true});
}

// Where the number of rows is a symbol and may be small: up to how many rows a dispatch of its own has; else
// 0.
int64_t few_of_symbol(const Node& root, const ContractionProblem& p, DType dtype,
                      const LoweringContext& context) {
  constexpr int64_t kFewRows = 16;  // the least block of a matrix product
  if (root.kind != OpKind::kDot || (dtype != DType::kF16 && dtype != DType::kBF16) || p.m.is_const() ||
      !p.batch.is_const(1))
    return 0;
  const auto least = p.m.evaluate([](const std::string&) { return std::optional<int64_t>(1); });
  if (suits_few_rows(root, dtype, context)) {
    const int64_t most = few_rows(p, 16, 0, context.target())->most;
    return least.value_or(1) <= most ? most : 0;
  }
  return least.value_or(1) <= kFewRows ? kFewRows : 0;
}

// Whether matrix units multiply any number of rows by integers: their scales are f16, and words are copied.
bool multiplies_many_rows(const ContractionProblem& p, const QuantisedWeights& w) {
  constexpr int64_t kLeastDepth = 64, kLeastColumns = 16;
  const int64_t unit = w.bits == 4 ? 32 : 16;
  return p.batch.is_const(1) && p.n.is_const() && p.k.is_const() && p.k.value() >= kLeastDepth &&
         p.n.value() >= kLeastColumns && w.block % unit == 0 && fragment_scale_type(w) == DType::kF16;
}

// `few`: so many rows are another dispatch's.
void add_integer_variants(DispatchBuilder& dispatch, const ContractionProblem& problem,
                          const QuantisedPanels& panels, int64_t few) {
  LoweringContext& context = dispatch.context();
  const int64_t n = problem.n.value(), k = problem.k.value();
  const MmaShape shape{1, problem.m.is_const() ? problem.m.value() : usual_many(problem.m, context), n, k};
  std::optional<MmaSchedule> before;
  for (const Level level : context.target().levels) {
    const GpuModel& model = gpu_model(level);
    const MmaSchedule schedule =
        default_integer_schedule(shape, panels.bits, panels.block, machine_of(model), model.has_group_mma);
    if (before && before->text() == schedule.text()) continue;
    before = schedule;
    ElementEmitter emitter(dispatch);
    MmaSource source(dispatch, emitter, problem, DType::kF16, true);
    kernel::GridAxis batch;
    MmaOperands o = source.operands(panels.words, batch);
    o.panels = &panels;
    const kernel::Var thread = kernel::make_var("t");
    MmaKernel made = build_mma_kernel(problem.m, n, k, batch, schedule, thread, o, dispatch.params());
    if (few > 0) limit_grid(made.grid, Dim(1) - has_at_most(problem.m, few), dispatch.params());
    add_variant(dispatch, level, schedule, o, thread, std::move(made));
  }
}

}  // namespace

int64_t usual_many(const Dim& rows, const LoweringContext& context) {
  constexpr int64_t kPrompt = 256;
  return std::max(context.hint(rows), kPrompt);
}

bool multiplies_integers(const Node& dot, const QuantisedWeights& w, DType precision, const Target& target) {
  constexpr double kMostZero = 1023;  // of whole numbers whose bits are an f16 below the smallest normal one
  const DType rows = dot.operand(0)->type.dtype;
  const bool halves = rows == DType::kF16 || (rows == DType::kF32 && precision == DType::kF16);
  if (!has_mma(target) || !halves || dot.result()->type.rank() < 1) return false;
  if (const std::optional<double> zero = uniform_zero(w)) {
    if (*zero < 0 || *zero > kMostZero || *zero != std::floor(*zero)) return false;
  } else if (zero_type(w) != DType::kU8) {
    return false;
  }
  kernel::ParamTable unused;
  const ContractionProblem problem = dot_problem(dot, unused, false);
  return (problem.m.is_const() && few_rows(problem, w.bits, w.block, target)) ||
         multiplies_many_rows(problem, w);
}

void lower_integer_product(const Region& region, LoweringContext& context) {
  const Node& root = *region.root;
  const QuantisedConstants constants(root, QuantisedConstants::Order::kFragments, context);
  const QuantisedWeights& w = constants.weights();
  const auto lower = [&](const auto& add_variants) {
    DispatchBuilder dispatch(context, region);
    dispatch.set_label(region.label());
    dispatch.set_flops(contraction_flops(root));
    const ContractionProblem problem = dot_problem(root, dispatch.params(), false);
    add_variants(dispatch, problem, constants.bind(dispatch));
    dispatch.finish();
  };
  kernel::ParamTable unused;
  const ContractionProblem problem = dot_problem(root, unused, false);
  const std::optional<FewRows> few = few_rows(problem, w.bits, w.block, context.target());
  if (few) {
    lower([&](DispatchBuilder& dispatch, const ContractionProblem& p, const QuantisedPanels& panels) {
      add_few_rows_variant(dispatch, p, DType::kF16, panels.words, *few, &panels);
    });
  }
  if (!few || !problem.m.is_const()) {
    TERN_CHECK(multiplies_many_rows(problem, w),
               "weights in integers in front of a product that no kernel computes");
    lower([&](DispatchBuilder& dispatch, const ContractionProblem& p, const QuantisedPanels& panels) {
      add_integer_variants(dispatch, p, panels, few ? few->most : 0);
    });
  }
}

// A's elements in memory: chunks that follow each other along k, at multiples of their size, for
// asynchronous copies.
bool chunks_of(const Value* value, size_t along, int64_t run, DType dtype, LoweringContext& context,
               int64_t chunk) {
  if (chunk == 0) chunk = chunk_of(dtype);
  if (context.stored_type(value) != dtype || run % chunk != 0) return false;
  const Place& place = context.place(value);
  if (!place.strides[along].is_const(1) || !is_multiple(place.offset, chunk)) return false;
  for (size_t d = 0; d < place.strides.size(); ++d) {
    if (d != along && !value->type.shape[d].is_const(1) && !is_multiple(place.strides[d], chunk))
      return false;
  }
  return true;
}

int piece_of(const Value* value, size_t along, int64_t run, DType dtype, LoweringContext& context) {
  if (!context.has_place(value)) return 0;
  for (int piece = chunk_of(dtype); piece * dtype_bits(dtype) >= 32; piece /= 2)
    if (chunks_of(value, along, run, dtype, context, piece)) return piece;
  return 0;
}

namespace {

// A convolution whose pixels have so few channels that each becomes one copy.
bool has_few_channels(const Node& root, DType dtype) {
  if (root.kind != OpKind::kConv) return false;
  const Shape& filters = root.operand(1)->type.shape;
  return root.int_attr("groups") == 1 && filters[1].is_const() && filters[1].value() > 1 &&
         filters[1].value() < pitch_of_few(dtype) &&
         product(Shape(filters.begin() + 2, filters.end())).value() > 1;
}

// Windows have up to three dimensions.
bool has_matrix_form(const Node& root) {
  return root.kind == OpKind::kDot || root.operand(0)->type.rank() <= 5;
}

// The first level whose cooperative matrices multiply constant weights of the contraction as they are, 16-bit
// floats; null: there is none.
const GpuModel* tiles_of_weights(const Node& root, const LoweringContext& context) {
  if (!is_gpu(context.target().arch) || !has_matrix_form(root) ||
      !LoweringContext::constant_data(root.operand(1)))
    return nullptr;
  const DType dtype = context.stored_type(root.operand(1));
  for (const Level level : context.target().levels) {
    const GpuModel& model = gpu_model(level);
    if (dtype_bits(dtype) == 16 && model.tiles == dtype) return &model;
  }
  return nullptr;
}

}  // namespace

bool reads_in_place(const Node& root, const LoweringContext& context) {
  constexpr int64_t kMostGathered = 64;  // 27 steps: 7.7 us instead of 12.7 with the copy; 147: 19.4, 16.6
  if (root.kind != OpKind::kConv || matrix_type(root, context) || !has_few_channels(root, DType::kF16) ||
      !tiles_of_weights(root, context))
    return false;
  const Shape& filters = root.operand(1)->type.shape;
  return product(Shape(filters.begin() + 1, filters.end())).value() <= kMostGathered;
}

std::optional<OperandCopy> wanted_copy(const Node& root, LoweringContext& context) {
  if (!has_matrix_form(root) || reads_in_place(root, context)) return std::nullopt;
  const std::optional<QuantisedWeights> integers = quantised_weights(root);
  // Other kernels of integers read what they multiply element by element, as it is.
  if (integers && !multiplies_integers(root, *integers, context.precision().narrow_type(), context.target()))
    return std::nullopt;
  const std::optional<DType> dtype = integers ? DType::kF16 : matrix_type(root, context);
  if (!dtype) {
    const GpuModel* tiles = has_few_channels(root, DType::kF16) ? tiles_of_weights(root, context) : nullptr;
    return tiles ? std::optional(OperandCopy{tiles->tiles, kChunk}) : std::nullopt;
  }
  const Value* x = root.operand(0);
  const Shape& shape = x->type.shape;
  const DType stored = *dtype == DType::kI8 ? DType::kU8 : *dtype;
  if (root.kind == OpKind::kDot) {
    if (integers ? are_few(rows_of(root)) : has_few_rows(root, *dtype, context)) return std::nullopt;
    // Read once a block of columns: converting it there again and again, or collecting its elements one by
    // one, would cost more than a copy.
    constexpr int64_t kManyRows = 64;
    const int64_t columns = context.hint(root.result()->type.shape.back());
    const bool scattered = context.has_place(x) && !context.place(x).strides.back().is_const(1) &&
                           !shape.back().is_const(1) && context.hint(shape[shape.size() - 2]) >= kManyRows;
    const bool useful = (context.stored_type(x) != stored || scattered) &&
                        is_multiple(shape.back(), chunk_of(stored)) && columns >= 128;
    return useful ? std::optional(OperandCopy{stored}) : std::nullopt;
  }
  if (is_depthwise(root)) return std::nullopt;
  return OperandCopy{stored, has_few_channels(root, stored) ? pitch_of_few(stored) : 0};
}

namespace {

constexpr int64_t kLongWindow = 64;  // steps

// Whether matrix units would work on zeros most of the time: sums shorter than one product, or hardly any
// columns. Long windows of few columns (a picture's three colours) are bound by what gathers them.
bool most_is_zeros(const ContractionProblem& p) {
  return p.k.value() < 16 || (p.n.value() < 8 && (!p.windows || p.k.value() < kLongWindow));
}

// Whether operand 1, no constant, lies as the kernel reads it: chunks of elements that follow each other
// along its columns (false) or along its depth (true).
std::optional<bool> columns_of_memory(const Node& root, DType dtype, LoweringContext& context) {
  const Value* b = root.operand(1);
  const Shape& shape = b->type.shape;
  const size_t rank = shape.size();
  if (root.kind != OpKind::kDot || rank < 2 || !context.has_place(b)) return std::nullopt;
  for (const bool columns : {false, true}) {
    const size_t along = columns ? rank - 2 : rank - 1;
    if (shape[along].is_const() && chunks_of(b, along, shape[along].value(), dtype, context)) return columns;
  }
  return std::nullopt;
}

// Whether cooperative matrices of the level multiply operands that lie in memory so.
bool has_tiles(const GpuModel& model, DType dtype, const LoweringContext& context) {
  if (dtype == DType::kI8) return model.tiles == DType::kI8 || model.tiles == DType::kF16;
  return model.tiles == dtype && (dtype != DType::kF32 || context.enabled("bf16x6"));
}

// Whether cooperative matrices suit a product: most of their work would be on zeros where sums are short, or
// columns or rows few. In f32 so few rows are bound by the weights' bytes, and so short sums by everything
// else (12544 x 16 x 96 takes 9.7 us for 7.3). Long windows of few columns are bound by what gathers them.
bool suits_tiles(const MmaShape& shape) {
  const int64_t least_rows = shape.bf16x6 ? 9 : 8, least_depth = shape.bf16x6 ? 24 : 16;
  const bool long_windows =
      shape.pixels && shape.k >= kLongWindow && shape.element_bytes == 2 && !shape.bf16x6;
  return shape.k >= least_depth && (shape.n >= 16 || long_windows) && shape.m >= least_rows;
}

MmaMachine matrix_machine(const GpuModel& model) {
  return {model.cores,       200 * 1024,   model.workgroup_memory, 0,
          model.max_threads, model.unit(), model.registers};
}

}  // namespace

bool has_resident_form(const Node& product, LoweringContext& context) {
  const GpuModel* model = tiles_of_weights(product, context);
  if (!model || context.stored_type(product.operand(0)) != model->tiles) return false;
  const Shape &filters = product.operand(1)->type.shape, &out = product.result()->type.shape;
  if (!filters[0].is_const() || !filters[1].is_const() || filters[1].value() % kChunk != 0 ||
      filters[0].value() < 16 || filters[1].value() < 16)
    return false;
  Dim pixels = out[0];
  for (size_t d = 2; d < out.size(); ++d) pixels = pixels * out[d];
  const MmaShape shape{1, context.hint(pixels), filters[0].value(), filters[1].value(), 2, false, true};
  if (shape.m < 8) return false;
  return resident_matrix_schedule(shape, matrix_machine(*model)).has_value();
}

int depth_parts(const Node& root, LoweringContext& context) {
  const Value* b = root.kind == OpKind::kDot ? root.operand(1) : nullptr;
  if (b == nullptr || !LoweringContext::constant_data(b) || matrix_type(root, context)) return 1;
  const DType dtype = context.stored_type(b);
  const Shape& weights = root.operand(1)->type.shape;
  const Shape& sums = root.result()->type.shape;
  if (!is_float(dtype) || weights.size() != 2 || sums.size() < 2 || !is_static(weights) || !is_static(sums))
    return 1;
  const int64_t k = weights[0].value(), n = weights[1].value();
  MmaShape shape{1, product(sums).value() / n, n, k};
  shape.bf16x6 = dtype == DType::kF32;
  if (!suits_tiles(shape) || context.stored_type(root.operand()) != dtype) return 1;
  for (const Level level : context.target().levels) {
    const GpuModel& model = gpu_model(level);
    if (has_tiles(model, dtype, context)) return matrix_split(shape, matrix_machine(model));
  }
  return 1;
}

void add_matrix_variant(DispatchBuilder& dispatch, Level level, ContractionProblem problem,
                        kernel::Buffer panels, const DepthwiseRows* rows) {
  const Node& root = *dispatch.region().root;
  if (!problem.n.is_const() || !problem.k.is_const() || !has_matrix_form(root)) return;
  LoweringContext& context = dispatch.context();
  const GpuModel& model = gpu_model(level);
  const bool bytes = root.result()->type.dtype == DType::kI32;
  const DType dtype = bytes ? DType::kI8 : model.tiles;
  if (!has_tiles(model, dtype, context) || (dtype == DType::kI8 && !bytes)) return;
  const int64_t steps = problem.k.value();
  if (dtype_bits(dtype) == 16) pad_channels(root, problem, dtype, context);
  const int64_t n = problem.n.value(), k = problem.k.value();
  if (k != steps && panels) {
    const PanelSource source{problem.b_batches, k, n, problem.b_element};
    const TensorDataPtr weights = LoweringContext::constant_data(root.operand(1));
    panels = dispatch.bind(context.add_constant(root.operand(1)->name, pack_panels(*weights, source, dtype)));
  }
  MmaShape shape{context.hint(problem.batch), context.hint(problem.m), n, k, bytes ? 1 : 2, false,
                 root.kind == OpKind::kConv};
  shape.bf16x6 = dtype == DType::kF32;
  shape.int8 = model.tiles == DType::kI8;
  if ((panels && panels->type.dtype != dtype) || !suits_tiles(shape)) return;
  if (bytes && (!panels || root.operand(0)->type.dtype != DType::kU8)) return;
  const std::optional<bool> columns = panels ? bytes : columns_of_memory(root, dtype, context);
  if (!columns) return;
  const MmaMachine machine = matrix_machine(model);
  const std::optional<MatrixSchedule> found =
      rows ? resident_matrix_schedule(shape, machine)
           : default_matrix_schedule(shape, machine, *columns, dispatch.region().split);
  if (!found) return;
  const MatrixSchedule& schedule = *found;
  ElementEmitter emitter(dispatch);
  if (rows) rows->bind(emitter);
  MmaSource source(dispatch, emitter, problem, dtype, bytes);
  kernel::GridAxis batch;
  MmaOperands o = source.operands(panels ? panels : dispatch.buffer_of(root.operand(1)), batch);
  const Expr at = batch.var ? kernel::var_expr(batch.var) : int_const(0);
  if (bytes) {
    constexpr int kFour = 4;
    const int64_t padded = round_up(n, kPanelColumns) * round_up(k, kFour);
    o.b_first = problem.b_start(at, padded);
    if (schedule.int8) {
      const TensorDataPtr sums =
          pack_byte_sums(*LoweringContext::constant_data(root.operand(1)),
                         {problem.b_batches, k, n, problem.b_element}, MatrixSchedule::kSignedLess);
      const kernel::Buffer from = dispatch.bind(context.add_constant(root.operand(1)->name + ".sums", sums));
      const Expr first = problem.b_start(at, round_up(n, kPanelColumns));
      o.b_sums = [=](const Expr& column, int lanes) {
        return kernel::load(from, kernel::add(first, column), lanes);
      };
    }
  } else if (panels) {
    const int64_t padded = (n + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
    o.b_first = problem.b_start(at, padded * k);
  } else {
    o.b_element = [&](const Expr& step, const Expr& column) {
      return emitter.address(root.operand(1), problem.b_index(at, step, column));
    };
  }
  if (schedule.split > 1) {
    o.part = kernel::make_var("part");
    emitter.set_plane(kernel::var_expr(o.part));
  }
  const kernel::Var thread = kernel::make_var("t");
  if (rows) {
    o.compute_rows = [&](const kernel::Buffer& to, int pitch, const Expr& m0) {
      return rows->fill(emitter, root, problem,
                        {at, m0, kernel::var_expr(thread), schedule.threads(), schedule.block_m, to, pitch,
                         schedule.resident_depth});
    };
  }
  MmaKernel made = build_matrix_kernel(problem.m, n, k, batch, schedule, thread, o, dispatch.params());
  dispatch.add_variant(level, std::move(made.grid), std::move(made.body),
                       fmt::format("{}; A {}", schedule.text(),
                                   rows        ? "computed"
                                   : o.a_chunk ? "copied"
                                               : "gathered"),
                       {schedule.threads(), thread, model.subgroup}, {.matrix_units = true});
}

void add_matrix_words_variant(DispatchBuilder& dispatch, Level level, const ContractionProblem& problem,
                              const QuantisedPanels& panels, int64_t rows, const Dim& factor) {
  LoweringContext& context = dispatch.context();
  const GpuModel& model = gpu_model(level);
  const DType dtype = model.tiles;
  if (!is_float(dtype) || context.stored_type(dispatch.region().root->operand(0)) != dtype ||
      !has_tiles(model, dtype, context))
    return;
  const int64_t n = problem.n.value(), k = problem.k.value();
  MmaShape shape{1, rows, n, k, 2};
  shape.bf16x6 = dtype == DType::kF32;
  if (!suits_tiles(shape) || panels.block % kChunk != 0) return;
  const std::optional<MatrixSchedule> found = default_matrix_schedule(shape, matrix_machine(model), true);
  if (!found) return;
  const MatrixSchedule& schedule = *found;
  ElementEmitter emitter(dispatch);
  MmaSource source(dispatch, emitter, problem, dtype, false);
  kernel::GridAxis batch;
  MmaOperands o = source.operands(panels.words, batch);
  o.panels = &panels;
  const kernel::Var thread = kernel::make_var("t");
  MmaKernel made = build_matrix_kernel(problem.m, n, k, batch, schedule, thread, o, dispatch.params());
  if (!factor.is_const(1)) limit_grid(made.grid, factor, dispatch.params());
  dispatch.add_variant(
      level, std::move(made.grid), std::move(made.body),
      fmt::format("{}; A {}, B of {} bits", schedule.text(), o.a_chunk ? "copied" : "gathered", panels.bits),
      {schedule.threads(), thread, model.subgroup}, {.matrix_units = true});
}

void add_tf32x3_variant(DispatchBuilder& dispatch, Level level, const ContractionProblem& problem,
                        kernel::Buffer panels) {
  constexpr int64_t kGemvRows = 8;  // so few are bound by the weights' bytes: a simt schedule's gemv
  const Node& root = *dispatch.region().root;
  LoweringContext& context = dispatch.context();
  const int64_t rows = context.hint(problem.m);
  if (!context.enabled("tf32x3") || !has_matrix_form(root) || !problem.n.is_const() ||
      !problem.k.is_const() || most_is_zeros(problem) || rows <= kGemvRows ||
      (panels && panels->type.dtype != DType::kF32))
    return;
  const std::optional<bool> along_depth = panels ? false : columns_of_memory(root, DType::kF32, context);
  if (!along_depth) return;
  const int64_t n = problem.n.value(), k = problem.k.value();
  MmaShape shape{context.hint(problem.batch), rows, n, k, dtype_bits(DType::kF32) / 8};
  shape.tf32x3 = true;
  const GpuModel& model = gpu_model(level);
  const auto order = *along_depth ? MmaSchedule::Order::kDepth : MmaSchedule::Order::kColumns;
  const MmaSchedule schedule = default_mma_schedule(shape, machine_of(model), model.has_group_mma, order);
  ElementEmitter emitter(dispatch);
  MmaSource source(dispatch, emitter, problem, DType::kF32, true);
  kernel::GridAxis batch;
  MmaOperands o = source.operands(panels ? panels : dispatch.buffer_of(root.operand(1)), batch);
  const Expr at = batch.var ? kernel::var_expr(batch.var) : int_const(0);
  o.b_element = [&](const Expr& step, const Expr& column) {
    return panels ? panel_address(problem, at, step, column)
                  : emitter.address(root.operand(1), problem.b_index(at, step, column));
  };
  const kernel::Var thread = kernel::make_var("t");
  MmaKernel made = build_mma_kernel(problem.m, n, k, batch, schedule, thread, o, dispatch.params());
  add_variant(dispatch, level, schedule, o, thread, std::move(made));
}

namespace {

// The type in which matrix units multiply two computed operands: what both are in memory, f32 being TF32.
std::optional<DType> computed_type(const Node& root, const LoweringContext& context) {
  const auto& levels = context.target().levels;
  if (!is_gpu(context.target().arch) || root.kind != OpKind::kDot ||
      LoweringContext::constant_data(root.operand(1)) ||
      !std::all_of(levels.begin(), levels.end(), [](Level level) { return gpu_model(level).has_mma; }))
    return std::nullopt;
  const DType dtype = context.stored_type(root.operand(1));
  if (context.stored_type(root.operand(0)) != dtype) return std::nullopt;
  const bool tf32 = dtype == DType::kF32 && context.may_use_tf32(root);
  return tf32 || dtype == DType::kF16 || dtype == DType::kBF16 ? std::optional(dtype) : std::nullopt;
}

bool lower_computed_product(const Region& region, LoweringContext& context) {
  const Node& root = *region.root;
  const std::optional<DType> dtype = computed_type(root, context);
  const std::optional<bool> along_depth = dtype ? columns_of_memory(root, *dtype, context) : std::nullopt;
  if (!along_depth) return false;
  DispatchBuilder dispatch(context, region);
  dispatch.set_label(region.label());
  dispatch.set_flops(contraction_flops(root));
  const ContractionProblem problem = dot_problem(root, dispatch.params(), false);
  if (!problem.n.is_const() || !problem.k.is_const() || problem.k.value() < 16 || problem.n.value() < 8)
    return false;
  if (*dtype == DType::kF32) context.note_product(root, true);
  const int64_t n = problem.n.value(), k = problem.k.value();
  const MmaShape shape{context.hint(problem.batch), context.hint(problem.m), n, k, dtype_bits(*dtype) / 8};
  const auto order = *along_depth ? MmaSchedule::Order::kDepth : MmaSchedule::Order::kColumns;
  const Level level = context.target().levels.front();  // later ones' groups and clusters want packed weights
  const MmaSchedule schedule = default_mma_schedule(shape, machine_of(gpu_model(level)), false, order);
  ElementEmitter emitter(dispatch);
  MmaSource source(dispatch, emitter, problem, *dtype, true);
  kernel::GridAxis batch;
  MmaOperands o = source.operands(dispatch.buffer_of(root.operand(1)), batch);
  const Expr at = batch.var ? kernel::var_expr(batch.var) : int_const(0);
  o.b_element = [&](const Expr& step, const Expr& column) {
    return emitter.address(root.operand(1), problem.b_index(at, step, column));
  };
  const kernel::Var thread = kernel::make_var("t");
  MmaKernel made = build_mma_kernel(problem.m, n, k, batch, schedule, thread, o, dispatch.params());
  add_variant(dispatch, level, schedule, o, thread, std::move(made));
  dispatch.finish();
  return true;
}

}  // namespace

bool lower_mma_contraction(const Region& region, LoweringContext& context) {
  const Node& root = *region.root;
  const std::optional<DType> matrix = matrix_type(root, context);
  if (!matrix) return lower_computed_product(region, context);
  if (!has_matrix_form(root)) return false;
  const DType dtype = *matrix;
  const TensorDataPtr weights = LoweringContext::constant_data(root.operand(1));
  DispatchBuilder dispatch(context, region);
  dispatch.set_label(region.label());
  dispatch.set_flops(contraction_flops(root), dtype == DType::kI8);
  ContractionProblem problem = root.kind == OpKind::kDot ? dot_problem(root, dispatch.params(), true)
                                                         : conv_problem(root, dispatch.params());
  const PanelSource panels{problem.b_batches, problem.k.value(), problem.n.value(), problem.b_element};
  const int64_t channels = problem.geometry.channels;
  pad_channels(root, problem, dtype, context);
  if (most_is_zeros(problem)) return false;
  const PanelSource source{problem.b_batches, problem.k.value(), problem.n.value(), problem.b_element};
  auto encoding = std::make_shared<WeightEncoding>();
  encoding->dtype = dtype;
  encoding->batch = panels.batch;
  encoding->k = panels.k;
  encoding->n = panels.n;
  if (source.k != panels.k) {
    encoding->channels = channels;
    encoding->spread = pitch_of_few(dtype);
  }
  encoding->panels = [weights, panels, dtype] {
    return dtype == DType::kI8 ? pack_byte_panels(*weights, panels) : pack_panels(*weights, panels, dtype);
  };
  const int packed =
      context.add_constant(root.operand(1)->name, pack_matrix(*weights, source, dtype), std::move(encoding));
  context.note_stored(root.operand(1), dtype);
  if (dtype == DType::kF32) context.note_product(root, true);
  if (has_few_rows(root, dtype, context)) {
    add_few_rows_variant(dispatch, problem, dtype, dispatch.bind(packed),
                         *few_rows(problem, 16, 0, context.target()), nullptr);
    dispatch.finish();
    return true;
  }

  // A kernel for each level, its grid limited to the products that it is for.
  const auto add_variants = [&](DispatchBuilder& d, int64_t rows, const auto& limit) {
    MmaShape shape{context.hint(problem.batch), rows, problem.n.value(), problem.k.value(),
                   dtype_bits(dtype) / 8};
    std::optional<MmaSchedule> before;
    for (const Level level : context.target().levels) {
      const GpuModel& model = gpu_model(level);
      ElementEmitter emitter(d);
      MmaSource operands(d, emitter, problem, dtype, true);
      kernel::GridAxis batch;
      const MmaOperands o = operands.operands(d.bind(packed), batch);
      shape.tensors = o.a_rows.has_value();
      const MmaSchedule schedule = default_mma_schedule(shape, machine_of(model), model.has_group_mma);
      if (before && before->text() == schedule.text()) continue;  // the level gains nothing
      before = schedule;
      const kernel::Var thread = kernel::make_var("t");
      MmaKernel made = build_mma_kernel(problem.m, problem.n.value(), problem.k.value(), batch, schedule,
                                        thread, o, d.params());
      limit(made, d.params());
      add_variant(d, level, schedule, o, thread, std::move(made));
    }
  };
  const int64_t few = few_of_symbol(root, problem, dtype, context);
  if (few == 0) {
    add_variants(dispatch, context.hint(problem.m), [](MmaKernel&, kernel::ParamTable&) {});
    dispatch.finish();
    return true;
  }
  // Two dispatches, one of which has an empty grid.
  DispatchBuilder steps(context, region);
  steps.set_label(region.label());
  steps.set_flops(contraction_flops(root));
  problem = dot_problem(root, steps.params(), true);
  if (suits_few_rows(root, dtype, context)) {
    add_few_rows_variant(steps, problem, dtype, steps.bind(packed),
                         *few_rows(problem, 16, 0, context.target()), nullptr);
  } else {
    add_variants(steps, few, [&](MmaKernel& made, kernel::ParamTable& params) {
      limit_grid(made.grid, has_at_most(problem.m, few), params);
    });
  }
  steps.finish();
  problem = dot_problem(root, dispatch.params(), true);
  add_variants(dispatch, usual_many(problem.m, context), [&](MmaKernel& made, kernel::ParamTable& params) {
    limit_grid(made.grid, Dim(1) - has_at_most(problem.m, few), params);
  });
  dispatch.finish();
  return true;
}

}  // namespace tern::lower::gpu
