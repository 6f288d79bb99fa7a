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
constexpr int64_t kBlockChannels = 64;  // of a tile

}  // namespace

int64_t WinogradWeights::elements() const {
  const int64_t points = int64_t{transform->weights()} * transform->weights();
  return ceil_div(columns, kPanelColumns) * points * pitch(planes * channels) * kPanelColumns;
}

ContractionBody build_winograd_weights(const WinogradWeights& w, const MachineModel& machine,
                                       const kernel::Buffer& from, const kernel::Buffer& to) {
  const WinogradTransform& t = *w.transform;
  const int lanes = std::min(machine.vector_bits / 32, kPanelColumns);
  const auto size = static_cast<size_t>(t.weights());
  const int64_t panels = ceil_div(w.columns, kPanelColumns), blocks = ceil_div(w.channels, kBlockChannels);
  const Expr channels = int_const(w.channels),
             pitch = int_const(WinogradWeights::pitch(w.planes * w.channels));
  const Var panel = kernel::make_var("panel"), plane = kernel::make_var("plane"),
            block = kernel::make_var("block");
  const Expr first = kernel::mul(var_expr(block), int_const(kBlockChannels));
  const Expr count = w.channels % kBlockChannels == 0
                         ? int_const(kBlockChannels)
                         : kernel::min(int_const(kBlockChannels), kernel::sub(channels, first));
  const Expr square = kernel::add(kernel::mul(var_expr(panel), int_const(w.planes)), var_expr(plane));

  // A row of points at a time over all channels of the block, so that stores run along few lines at once;
  // taps are read again from L1.
  const auto points = [&](size_t y) {
    const Var c = kernel::make_var("c"), i = kernel::make_var("i"), j = kernel::make_var("j");
    const auto at = [&](const Expr& number, const Expr& rows, const Expr& row) {
      const Expr whole = kernel::add(kernel::mul(number, rows), row);
      return kernel::add(kernel::mul(whole, int_const(kPanelColumns)),
                         kernel::mul(var_expr(j), int_const(lanes)));
    };
    std::vector<kernel::Stmt> body;
    std::vector<Expr> half;  // row y of G g
    for (int64_t x = 0; x < 3; ++x) {
      std::vector<Expr> g;
      for (int64_t tap = 0; tap < 3; ++tap) {
        const Expr number = kernel::add(kernel::mul(square, int_const(kTaps)), int_const(tap * 3 + x));
        const Var v = kernel::make_var("g", {DType::kF32, lanes});
        const Expr stored = kernel::load(from, at(number, channels, var_expr(c)), lanes);
        body.push_back(kernel::let(v, kernel::cast(stored, DType::kF32)));
        g.push_back(var_expr(v));
      }
      half.push_back(winograd_weights(t, machine.has_fma, g, body)[y]);
    }
    const std::vector<Expr> values = winograd_weights(t, machine.has_fma, half, body);
    const Expr row = kernel::add(kernel::mul(var_expr(plane), channels), var_expr(c));
    for (size_t x = 0; x < size; ++x) {
      const Expr number =
          kernel::add(kernel::mul(var_expr(panel), int_const(static_cast<int64_t>(size * size))),
                      int_const(static_cast<int64_t>(y * size + x)));
      body.push_back(kernel::store(to, at(number, pitch, row), values[x]));
    }
    return kernel::loop(i, int_const(0), count, kernel::LoopKind::kSerial,
                        {kernel::let(c, kernel::add(first, var_expr(i))),
                         kernel::loop(j, int_const(0), int_const(kPanelColumns / lanes),
                                      kernel::LoopKind::kSerial, std::move(body))});
  };
  ContractionBody out;
  out.grid = {{panel, Dim(panels), int_const(panels)},
              {plane, Dim(w.planes), int_const(w.planes)},
              {block, Dim(blocks), int_const(blocks)}};
  for (size_t y = 0; y < size; ++y) out.body.push_back(points(y));
  out.schedule = fmt::format("weights for winograd {0}x{0}", t.outputs);
  return out;
}

}  // namespace tern::lower
