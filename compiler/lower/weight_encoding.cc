#include "compiler/lower/weight_encoding.h"

#include <algorithm>
#include <array>
#include <optional>

#include "compiler/kernel/simplify.h"
#include "compiler/kernel/unroll.h"
#include "compiler/lower/contraction_schedule.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::var_expr;
using Stmts = std::vector<Stmt>;

constexpr int kThreads = 128;         // of a GPU's workgroup
constexpr int64_t kTileUnits = 1024;  // of a CPU's tile
constexpr int64_t kMatrixSteps = 64;  // of a block (pack_matrix)
constexpr int64_t kMatrixChunk = 8;

// One dispatch whose threads, or iterations on a CPU, each compute one unit of the result.
class UnitKernel {
 public:
  UnitKernel(const Target& target, const LoweredProgram& program, int from, int to, DType element)
      : target_(target), program_(program), from_(from), to_(to) {
    source = kernel::make_buffer("from", {element, 1}, kernel::Scope::kGlobal, kernel::Access::kRead);
    result = kernel::make_buffer("to", {element, 1}, kernel::Scope::kGlobal, kernel::Access::kWrite);
  }

  kernel::Buffer source, result;
  Stmts body;  // of one unit

  Expr unit() const { return var_expr(unit_); }
  // A size of the weights. Zero-cost sharing: kernels differ in no size.
  Expr size(const char* name, int64_t value) {
    params_.push_back({kernel::make_var(name), Dim(value)});
    return var_expr(params_.back().var);
  }
  Expr named(const char* name, Expr value) {
    const kernel::Var v = kernel::make_var(name, value->type);
    body.push_back(kernel::let(v, std::move(value)));
    return var_expr(v);
  }

  Step finish(const std::string& name, int64_t units) {
    const bool gpu = is_gpu(target_.arch);
    const int64_t tile = gpu ? kThreads : kTileUnits;
    const Expr count = size("units", units), tiles = size("tiles", (units + tile - 1) / tile);
    auto k = std::make_shared<kernel::Kernel>();
    k->name = name;
    k->bindings = {source, result};
    k->params = params_;
    const kernel::Var group = kernel::make_var("group");
    k->grid.push_back({group, Dim((units + tile - 1) / tile), tiles});
    const Expr first = kernel::mul(var_expr(group), int_const(tile));
    if (gpu) {
      k->threads = kThreads;
      k->thread = kernel::make_var("t");
      k->body.push_back(kernel::let(unit_, kernel::add(first, var_expr(k->thread))));
      k->body.push_back(kernel::if_then(kernel::compare(ScalarOp::kLt, unit(), count), std::move(body)));
    } else {
      const kernel::Var i = kernel::make_var("i");
      body.insert(body.begin(), kernel::let(unit_, kernel::add(first, var_expr(i))));
      k->body.push_back(kernel::loop(i, int_const(0), kernel::min(int_const(tile), kernel::sub(count, first)),
                                     kernel::LoopKind::kSerial, std::move(body)));
    }
    k->schedule = "weights from another encoding";
    kernel::unroll(*k);
    kernel::simplify(*k);
    const std::string problems = kernel::verify(*k);
    TERN_CHECK(problems.empty(), "the kernel of {} does not verify:\n{}\n{}", name, problems,
               kernel::print_kernel(*k));
    auto dispatch = std::make_shared<DispatchStep>();
    dispatch->label = name;
    const auto bytes = [&](int buffer) { return program_.buffers[static_cast<size_t>(buffer)].bytes; };
    dispatch->bindings = {{from_, 0, bytes(from_), kernel::Access::kRead},
                          {to_, 0, bytes(to_), kernel::Access::kWrite}};
    for (const kernel::Param& p : params_) dispatch->params.push_back(p.value);
    dispatch->variants.push_back({target_.levels.front(), k, k->grid[0].extent});
    Step step;
    step.kind = Step::Kind::kDispatch;
    step.dispatch = std::move(dispatch);
    return step;
  }

 private:
  const Target& target_;
  const LoweredProgram& program_;
  const int from_, to_;
  std::vector<kernel::Param> params_;
  kernel::Var unit_ = kernel::make_var("unit");
};

int64_t panel_count(int64_t n) {
  return (n + kPanelColumns - 1) / kPanelColumns;
}

// A unit is a chunk of eight steps of one column; neighbouring units have neighbouring columns, as panels do.
Step matrix_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program, int from,
                 int to, bool from_pairs) {
  TERN_CHECK(dtype_bits(e.dtype) == 16, "matrix units read {}", dtype_name(e.dtype));
  UnitKernel k(target, program, from, to, DType::kU16);  // bits move, whatever they mean
  const int64_t padded = e.k / e.channels * e.spread;
  const int64_t row_count = (e.n + 7) / 8 * 8, block_count = (padded + kMatrixSteps - 1) / kMatrixSteps;
  const Expr steps = k.size("steps", e.k), columns = k.size("columns", e.n),
             panels = k.size("panels", panel_count(e.n)), rows = k.size("rows", row_count),
             blocks = k.size("blocks", block_count), channels = k.size("channels", e.channels),
             spread = k.size("spread", e.spread);
  const Expr n = k.named("n", kernel::index_rem(k.unit(), rows)),
             rest = k.named("rest", kernel::index_div(k.unit(), rows)),
             chunk = k.named("chunk", kernel::index_rem(rest, int_const(kMatrixSteps / kMatrixChunk))),
             block = k.named("block", kernel::index_div(rest, int_const(kMatrixSteps / kMatrixChunk))),
             batch = k.named("batch", kernel::index_div(block, blocks));
  const Expr first =
      k.named("first", kernel::add(kernel::mul(kernel::index_rem(block, blocks), int_const(kMatrixSteps)),
                                   kernel::mul(chunk, int_const(kMatrixChunk))));
  const Expr panel = k.named(
      "panel", kernel::add(kernel::mul(batch, panels), kernel::index_div(n, int_const(kPanelColumns))));
  const Expr swizzled = kernel::op(ScalarOp::kXor, {chunk, kernel::index_rem(n, int_const(kMatrixChunk))});
  const Expr out = k.named(
      "out", kernel::add(kernel::mul(kernel::add(kernel::mul(block, rows), n), int_const(kMatrixSteps)),
                         kernel::mul(swizzled, int_const(kMatrixChunk))));
  const kernel::Var i = kernel::make_var("i");
  const Expr step = kernel::add(first, var_expr(i)), channel = kernel::index_rem(step, spread);
  const Expr from_step = kernel::add(kernel::mul(kernel::index_div(step, spread), channels), channel);
  const Expr there = kernel::op(
      ScalarOp::kAnd, {kernel::compare(ScalarOp::kLt, n, columns),
                       kernel::op(ScalarOp::kAnd, {kernel::compare(ScalarOp::kLt, channel, channels),
                                                   kernel::compare(ScalarOp::kLt, from_step, steps)})});
  // Elements of 16 bits; a word of a pair has two.
  const int64_t group = from_pairs ? 2 : 1;
  const Expr groups = from_pairs ? k.size("pairs", (e.k + 1) / 2) : steps;
  const Expr row = kernel::add(kernel::mul(panel, groups), kernel::index_div(from_step, int_const(group)));
  const Expr cell =
      kernel::add(kernel::mul(row, int_const(kPanelColumns)), kernel::index_rem(n, int_const(kPanelColumns)));
  const Expr at =
      kernel::add(kernel::mul(cell, int_const(group)), kernel::index_rem(from_step, int_const(group)));
  k.body.push_back(kernel::loop(
      i, int_const(0), int_const(kMatrixChunk), kernel::LoopKind::kUnroll,
      {kernel::store(k.result, kernel::add(out, var_expr(i)),
                     kernel::select(there, kernel::load(k.source, at), int_const(0, DType::kU16)))}));
  return k.finish(from_pairs ? "matrix_weights_from_pairs" : "weights_for_matrix_units",
                  e.batch * block_count * row_count * kMatrixSteps / kMatrixChunk);
}

using Rows = std::vector<std::vector<double>>;

// (G^T G)^-1 G^T: what takes a filter's points back to its taps, with rounding errors averaged.
Rows pseudo_inverse(const std::vector<std::array<double, 3>>& g) {
  std::array<std::array<double, 6>, 3> m{};  // G^T G, and the identity that becomes its inverse
  for (size_t r = 0; r < 3; ++r) {
    for (size_t c = 0; c < 3; ++c) {
      for (const std::array<double, 3>& row : g) m[r][c] += row[r] * row[c];
    }
    m[r][3 + r] = 1;
  }
  for (size_t p = 0; p < 3; ++p) {  // positive definite: no pivoting
    const double by = m[p][p];
    for (double& v : m[p]) v /= by;
    for (size_t r = 0; r < 3; ++r) {
      if (r == p) continue;
      const double factor = m[r][p];
      for (size_t c = 0; c < 6; ++c) m[r][c] -= factor * m[p][c];
    }
  }
  Rows out(3, std::vector<double>(g.size()));
  for (size_t r = 0; r < 3; ++r) {
    for (size_t i = 0; i < g.size(); ++i) {
      for (size_t c = 0; c < 3; ++c) out[r][i] += m[r][3 + c] * g[i][c];
    }
  }
  return out;
}

// values (n x n, row-major) as M values M^T, with sums in the order of pack_winograd.
std::vector<Expr> transformed(UnitKernel& k, const Rows& m, const std::vector<Expr>& values) {
  const size_t n = m[0].size();
  const auto sum = [&](size_t row, const std::function<Expr(size_t)>& value) {
    Expr total;
    for (size_t i = 0; i < n; ++i) {
      const Expr v = value(i);
      const Expr term = kernel::mul(v, kernel::float_const(m[row][i], v->type.dtype));
      total = total ? kernel::add(total, term) : term;
    }
    return total;
  };
  std::vector<Expr> out;
  for (size_t i = 0; i < m.size(); ++i) {
    std::vector<Expr> row;
    for (size_t x = 0; x < n; ++x)
      row.push_back(k.named("row", sum(i, [&](size_t y) { return values[y * n + x]; })));
    for (size_t j = 0; j < m.size(); ++j)
      out.push_back(k.named("value", sum(j, [&](size_t x) { return row[x]; })));
  }
  return out;
}

// A unit is one filter of one channel, in either direction: 3 x 3 taps, a square of points.
Step winograd_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program, int from,
                   int to, bool inverse) {
  UnitKernel k(target, program, from, to, DType::kF32);
  const std::vector<std::array<double, 3>> g = winograd_weight_rows(*e.transform);
  Rows forward;
  for (const std::array<double, 3>& row : g) forward.emplace_back(row.begin(), row.end());
  const int64_t channel_count = e.k / 9, taps = 9, points = static_cast<int64_t>(g.size() * g.size());
  const Expr channels = k.size("channels", channel_count);
  const Expr column = k.named("column", kernel::index_rem(k.unit(), int_const(kPanelColumns))),
             rest = k.named("rest", kernel::index_div(k.unit(), int_const(kPanelColumns))),
             channel = k.named("channel", kernel::index_rem(rest, channels)),
             panel = k.named("panel", kernel::index_div(rest, channels));
  const auto at = [&](int64_t squares, int64_t which) {
    const Expr square = kernel::add(kernel::mul(panel, int_const(squares)), int_const(which));
    return kernel::add(
        kernel::mul(kernel::add(kernel::mul(square, channels), channel), int_const(kPanelColumns)), column);
  };
  const int64_t read = inverse ? points : taps, written = inverse ? taps : points;
  const DType work = is_gpu(target.arch) ? DType::kF32 : DType::kF64;
  std::vector<Expr> values;
  for (int64_t i = 0; i < read; ++i)
    values.push_back(k.named("v", kernel::cast(kernel::load(k.source, at(read, i)), work)));
  values = transformed(k, inverse ? pseudo_inverse(g) : forward, values);
  for (int64_t i = 0; i < written; ++i)
    k.body.push_back(
        kernel::store(k.result, at(written, i), kernel::cast(values[static_cast<size_t>(i)], DType::kF32)));
  return k.finish(inverse ? "panels_from_winograd" : "winograd_from_panels",
                  panel_count(e.n) * kPanelColumns * channel_count);
}

// A unit is a word: two neighbouring columns of one step.
Step panels_from_pairs_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program,
                            int from, int to) {
  UnitKernel k(target, program, from, to, DType::kU32);
  constexpr int64_t kWords = kPanelColumns / 2;
  const Expr steps = k.size("steps", e.k), pairs = k.size("pairs", (e.k + 1) / 2);
  const Expr row = k.named("row", kernel::index_div(k.unit(), int_const(kWords))),
             step = k.named("step", kernel::index_rem(row, steps)),
             panel = k.named("panel", kernel::index_div(row, steps));
  const Expr pair = kernel::add(kernel::mul(panel, pairs), kernel::index_div(step, int_const(2)));
  const Expr column = kernel::mul(kernel::index_rem(k.unit(), int_const(kWords)), int_const(2));
  const Expr at = k.named("at", kernel::add(kernel::mul(pair, int_const(kPanelColumns)), column));
  const Expr down = k.named(
      "down", kernel::cast(kernel::mul(kernel::index_rem(step, int_const(2)), int_const(16)), DType::kU32));
  const auto half = [&](int64_t i) {
    const Expr word = kernel::load(k.source, kernel::add(at, int_const(i)));
    return kernel::op(ScalarOp::kAnd,
                      {kernel::op(ScalarOp::kShr, {word, down}), int_const(0xffff, DType::kU32)});
  };
  const Expr high = kernel::op(ScalarOp::kShl, {half(1), int_const(16, DType::kU32)});
  k.body.push_back(kernel::store(k.result, k.unit(), kernel::op(ScalarOp::kOr, {half(0), high})));
  return k.finish("panels_from_pairs", e.batch * panel_count(e.n) * e.k * kWords);
}

// One axis of the tensor that bytes come from: neighbours are `stride` apart in it.
struct Axis {
  enum class What : uint8_t { kBatch, kColumn, kOuterStep, kStep } what;
  int64_t extent, stride;
};

// The tensor's axes, outermost first: (batch, column, step / inner, step % inner) in any order. Nothing where
// it has no such axes.
std::optional<std::vector<Axis>> axes_of(const WeightEncoding& e) {
  if (e.steps_last) {
    return std::vector<Axis>{{Axis::What::kColumn, e.n, e.k}, {Axis::What::kStep, e.k, 1}};
  }
  const int64_t origin = e.element(0, 0, 0);
  const auto stride = [&](int64_t b, int64_t k, int64_t n) { return e.element(b, k, n) - origin; };
  const int64_t step = e.k > 1 ? stride(0, 1, 0) : 1;
  int64_t inner = 1;
  while (inner < e.k && stride(0, inner, 0) == inner * step) ++inner;
  if (origin != 0 || e.k % inner != 0) return std::nullopt;
  std::vector<Axis> axes;
  const auto add = [&](Axis::What what, int64_t extent, int64_t by) {
    if (extent > 1) axes.push_back({what, extent, by});
  };
  add(Axis::What::kBatch, e.batch, e.batch > 1 ? stride(1, 0, 0) : 0);
  add(Axis::What::kColumn, e.n, e.n > 1 ? stride(0, 0, 1) : 0);
  add(Axis::What::kOuterStep, e.k / inner, inner < e.k ? stride(0, inner, 0) : 0);
  add(Axis::What::kStep, inner, step);
  std::sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
  int64_t dense = 1;
  for (size_t a = axes.size(); a-- > 0; dense *= axes[a].extent) {
    if (axes[a].stride != dense) return std::nullopt;
  }
  const int64_t at_batch = e.batch > 1 ? stride(1, 0, 0) : 0, at_column = e.n > 1 ? stride(0, 0, 1) : 0,
                at_outer = inner < e.k ? stride(0, inner, 0) : 0;
  for (int64_t b = 0; b < e.batch; ++b) {
    for (int64_t k = 0; k < e.k; ++k) {
      for (int64_t n = 0; n < e.n; ++n) {
        if (e.element(b, k, n) != b * at_batch + n * at_column + k / inner * at_outer + k % inner * step)
          return std::nullopt;
      }
    }
  }
  return axes;
}

// A unit is a word: four neighbours of the tensor, from wherever they are.
Step bytes_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program, int from,
                int to) {
  UnitKernel k(target, program, from, to, DType::kU32);
  const std::vector<Axis> axes = *axes_of(e);
  int64_t inner = 1;
  for (const Axis& axis : axes) {
    if (axis.what == Axis::What::kStep) inner = axis.extent;
  }
  const Expr word_rows = k.size("word_rows", (e.k + kByteGroup - 1) / kByteGroup),
             panels = k.size("panels", panel_count(e.n)), inner_steps = k.size("inner", inner);
  std::vector<Expr> strides;
  for (const Axis& axis : axes) strides.push_back(k.size("stride", axis.stride));
  Expr word;
  for (int64_t i = 0; i < kByteGroup; ++i) {
    Expr rest = k.named("at", kernel::add(kernel::mul(k.unit(), int_const(kByteGroup)), int_const(i)));
    Expr batch = int_const(0), column = int_const(0), outer = int_const(0), step = int_const(0);
    for (size_t a = 0; a < axes.size(); ++a) {
      const bool last = a + 1 == axes.size();
      const Expr index = last ? rest : k.named("index", kernel::index_div(rest, strides[a]));
      if (!last) rest = k.named("rest", kernel::index_rem(rest, strides[a]));
      Expr& which = axes[a].what == Axis::What::kBatch       ? batch
                    : axes[a].what == Axis::What::kColumn    ? column
                    : axes[a].what == Axis::What::kOuterStep ? outer
                                                             : step;
      which = index;
    }
    const Expr steps = k.named("steps", kernel::add(kernel::mul(outer, inner_steps), step));
    const Expr panel =
        kernel::add(kernel::mul(batch, panels), kernel::index_div(column, int_const(kPanelColumns)));
    const Expr row =
        kernel::add(kernel::mul(panel, word_rows), kernel::index_div(steps, int_const(kByteGroup)));
    const Expr at = kernel::add(kernel::mul(row, int_const(kPanelColumns)),
                                kernel::index_rem(column, int_const(kPanelColumns)));
    const Expr down =
        kernel::cast(kernel::mul(kernel::index_rem(steps, int_const(kByteGroup)), int_const(8)), DType::kU32);
    const Expr byte = kernel::op(
        ScalarOp::kAnd,
        {kernel::op(ScalarOp::kShr, {kernel::load(k.source, at), down}), int_const(255, DType::kU32)});
    const Expr placed = kernel::op(ScalarOp::kShl, {byte, int_const(8 * i, DType::kU32)});
    word = i == 0 ? placed : kernel::op(ScalarOp::kOr, {word, placed});
  }
  k.body.push_back(kernel::store(k.result, k.unit(), word));
  return k.finish("bytes_from_panels", e.batch * e.k * e.n / kByteGroup);
}

}  // namespace

bool WeightEncoding::has_inverse() const {
  return kind == Kind::kWinograd || kind == Kind::kPairs ||
         (kind == Kind::kBytes && batch * k * n % kByteGroup == 0 && axes_of(*this).has_value());
}

std::shared_ptr<const WeightEncoding> winograd_encoding(const TensorDataPtr& weights,
                                                        const PanelSource& source,
                                                        const WinogradTransform& transform) {
  auto encoding = std::make_shared<WeightEncoding>();
  encoding->kind = WeightEncoding::Kind::kWinograd;
  encoding->k = source.k;
  encoding->n = source.n;
  encoding->transform = &transform;
  encoding->panels = [weights, source] { return pack_panels(*weights, source); };
  return encoding;
}

std::shared_ptr<const WeightEncoding> pair_encoding(const TensorDataPtr& weights, const PanelSource& source) {
  auto encoding = std::make_shared<WeightEncoding>();
  encoding->kind = WeightEncoding::Kind::kPairs;
  encoding->dtype = DType::kBF16;
  encoding->batch = source.batch;
  encoding->k = source.k;
  encoding->n = source.n;
  encoding->panels = [weights, source] { return pack_panels(*weights, source, DType::kBF16); };
  return encoding;
}

std::shared_ptr<const WeightEncoding> byte_encoding(const TensorDataPtr& weights, const PanelSource& source) {
  auto encoding = std::make_shared<WeightEncoding>();
  encoding->kind = WeightEncoding::Kind::kBytes;
  encoding->dtype = DType::kI8;
  encoding->batch = source.batch;
  encoding->k = source.k;
  encoding->n = source.n;
  encoding->element = source.element;
  encoding->panels = [weights] { return weights; };
  return encoding;
}

std::shared_ptr<const WeightEncoding> with_steps_last(const WeightEncoding& e) {
  if (e.kind != WeightEncoding::Kind::kBytes || e.batch != 1 || e.steps_last) return nullptr;
  if (e.k > 1 && e.element(0, 1, 0) == 1) return nullptr;  // they are
  auto turned = std::make_shared<WeightEncoding>(e);
  turned->steps_last = true;
  turned->panels = [weights = e.panels(), element = e.element, k = e.k, n = e.n] {
    auto out = TensorData::make(DType::kI8, {n, k});
    auto* to = out->mutable_as<int8_t>();
    for (int64_t column = 0; column < n; ++column) {
      for (int64_t step = 0; step < k; ++step) *to++ = weights->as<int8_t>()[element(0, step, column)];
    }
    return TensorDataPtr(std::move(out));
  };
  return turned;
}

Step derive_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program, int from,
                 int to, bool from_pairs) {
  if (e.kind == WeightEncoding::Kind::kMatrix) return matrix_step(e, target, program, from, to, from_pairs);
  return winograd_step(e, target, program, from, to, false);
}

Step derive_panels_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program,
                        int from, int to) {
  if (e.kind == WeightEncoding::Kind::kBytes) return bytes_step(e, target, program, from, to);
  if (e.kind == WeightEncoding::Kind::kPairs) return panels_from_pairs_step(e, target, program, from, to);
  TERN_CHECK(e.has_inverse(), "panels of weights that have none");
  return winograd_step(e, target, program, from, to, true);
}

}  // namespace tern::lower
