// The tensor that byte panels were made of.
#include <algorithm>

#include "compiler/lower/encoding_steps.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;

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

}  // namespace

bool has_axes(const WeightEncoding& e) {
  return axes_of(e).has_value();
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

}  // namespace tern::lower
