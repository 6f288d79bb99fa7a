#include "compiler/lower/winograd_weights.h"

#include <algorithm>

#include "compiler/lower/contraction_schedule.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::Var;
using kernel::var_expr;

constexpr int64_t kTaps = 9;
constexpr int64_t kBlockChannels = 128;  // of a tile

}  // namespace

int64_t WinogradWeights::elements() const {
  const int64_t points = int64_t{transform->weights()} * transform->weights();
  return ceil_div(columns, kPanelColumns) * points * pitch(planes * channels) * kPanelColumns;
}

double winograd_weight_cycles(const WinogradTransform& t) {
  return 1.8 * t.weights() * t.weights();
}

ContractionBody build_winograd_weights(const WinogradWeights& w, const MachineModel& machine,
                                       const kernel::Buffer& from, const kernel::Buffer& to) {
  const WinogradTransform& t = *w.transform;
  const int lanes = std::min(machine.vector_bits / 32, static_cast<int>(kPanelColumns));
  const auto size = static_cast<size_t>(t.weights());
  const int64_t panels = ceil_div(w.columns, kPanelColumns), blocks = ceil_div(w.channels, kBlockChannels),
                pitch = WinogradWeights::pitch(w.planes * w.channels);
  const Var panel = kernel::make_var("panel"), plane = kernel::make_var("plane"),
            block = kernel::make_var("block"), cv = kernel::make_var("c"), iv = kernel::make_var("i"),
            jv = kernel::make_var("j");
  const Expr first = kernel::mul(var_expr(block), int_const(kBlockChannels)), c = var_expr(cv),
             column = kernel::mul(var_expr(jv), int_const(lanes));
  const auto at = [&](const Expr& square, int64_t squares, int64_t which, int64_t rows, const Expr& row) {
    const Expr number = kernel::add(kernel::mul(square, int_const(squares)), int_const(which));
    return kernel::add(
        kernel::mul(kernel::add(kernel::mul(number, int_const(rows)), row), int_const(kPanelColumns)),
        column);
  };

  std::vector<kernel::Stmt> body;
  const Expr read = kernel::add(kernel::mul(var_expr(panel), int_const(w.planes)), var_expr(plane));
  std::vector<std::vector<Expr>> half;  // G g, column by column
  for (int64_t x = 0; x < 3; ++x) {
    std::vector<Expr> g;
    for (int64_t y = 0; y < 3; ++y) {
      const Var tap = kernel::make_var("g", {DType::kF32, lanes});
      const Expr stored = kernel::load(from, at(read, kTaps, y * 3 + x, w.channels, c), lanes);
      body.push_back(kernel::let(tap, kernel::cast(stored, DType::kF32)));
      g.push_back(var_expr(tap));
    }
    half.push_back(winograd_weights(t, machine.has_fma, g, body));
  }
  const Expr row = kernel::add(kernel::mul(var_expr(plane), int_const(w.channels)), c);
  for (size_t y = 0; y < size; ++y) {
    const std::vector<Expr> values =
        winograd_weights(t, machine.has_fma, {half[0][y], half[1][y], half[2][y]}, body);
    for (size_t x = 0; x < size; ++x) {
      const auto point = static_cast<int64_t>(y * size + x);
      body.push_back(kernel::store(
          to, at(var_expr(panel), static_cast<int64_t>(size * size), point, pitch, row), values[x]));
    }
  }
  const kernel::Stmt vectors = kernel::loop(jv, int_const(0), int_const(kPanelColumns / lanes),
                                            kernel::LoopKind::kSerial, std::move(body));
  const Expr count = w.channels % kBlockChannels == 0
                         ? int_const(kBlockChannels)
                         : kernel::min(int_const(kBlockChannels), kernel::sub(int_const(w.channels), first));
  ContractionBody out;
  out.grid = {{panel, Dim(panels), int_const(panels)},
              {plane, Dim(w.planes), int_const(w.planes)},
              {block, Dim(blocks), int_const(blocks)}};
  out.body = {kernel::loop(iv, int_const(0), count, kernel::LoopKind::kSerial,
                           {kernel::let(cv, kernel::add(first, var_expr(iv))), vectors})};
  out.schedule = fmt::format("weights for winograd {0}x{0}", t.outputs);
  out.cycles = static_cast<double>(panels * w.planes * w.channels * (kPanelColumns / lanes)) *
               winograd_weight_cycles(t);
  return out;
}

}  // namespace tern::lower
