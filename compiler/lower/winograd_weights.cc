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

constexpr int64_t kSide = 3;            // of a square of taps
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
  const int64_t size = t.weights();
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

  struct Place {
    Expr i, c, lane;  // channel of the block, of all; column of the panel
  };
  const auto at = [&](const Expr& number, const Expr& rows, const Expr& row, const Place& p) {
    const Expr whole = kernel::add(kernel::mul(number, rows), row);
    return kernel::add(kernel::mul(whole, int_const(kPanelColumns)), p.lane);
  };
  using Let = std::function<Expr(const char* name, Expr value)>;
  const auto channels_of_block =
      [&](const std::function<void(const Place&, const Let& let, std::vector<kernel::Stmt>&)>& body) {
        const Var i = kernel::make_var("i"), c = kernel::make_var("c"), j = kernel::make_var("j");
        std::vector<kernel::Stmt> out;
        const auto let = [&](const char* name, Expr value) {
          const Var v = kernel::make_var(name, {DType::kF32, lanes});
          out.push_back(kernel::let(v, std::move(value)));
          return var_expr(v);
        };
        body({var_expr(i), var_expr(c), kernel::mul(var_expr(j), int_const(lanes))}, let, out);
        return kernel::loop(i, int_const(0), count, kernel::LoopKind::kSerial,
                            {kernel::let(c, kernel::add(first, var_expr(i))),
                             kernel::loop(j, int_const(0), int_const(kPanelColumns / lanes),
                                          kernel::LoopKind::kSerial, std::move(out))});
      };
  // G g of all channels of the block waits in scratch, a matrix of channels for each of its elements.
  const kernel::Buffer half =
      kernel::make_buffer("half", {DType::kF32, 1}, kernel::Scope::kScratch, kernel::Access::kReadWrite,
                          size * kSide * kBlockChannels * kPanelColumns);
  const auto half_at = [&](const Expr& row, const Expr& column, const Place& p) {
    return at(kernel::add(kernel::mul(row, int_const(kSide)), column), int_const(kBlockChannels), p.i, p);
  };
  const Var x = kernel::make_var("x"), y = kernel::make_var("y");
  const kernel::Stmt columns_of_taps =
      channels_of_block([&](const Place& p, const Let& let, std::vector<kernel::Stmt>& body) {
        std::vector<Expr> taps;
        for (int64_t tap = 0; tap < kSide; ++tap) {
          const Expr number = kernel::add(kernel::mul(square, int_const(kSide * kSide)),
                                          kernel::add(int_const(tap * kSide), var_expr(x)));
          const Expr stored = kernel::load(from, at(number, channels, p.c, p), lanes);
          taps.push_back(let("g", kernel::cast(stored, DType::kF32)));
        }
        const std::vector<Expr> values = winograd_weights(t, machine.has_fma, taps, body);
        for (int64_t e = 0; e < size; ++e)
          body.push_back(
              kernel::store(half, half_at(int_const(e), var_expr(x), p), values[static_cast<size_t>(e)]));
      });
  const kernel::Stmt row_of_points =
      channels_of_block([&](const Place& p, const Let& let, std::vector<kernel::Stmt>& body) {
        std::vector<Expr> halves;
        for (int64_t e = 0; e < kSide; ++e)
          halves.push_back(let("h", kernel::load(half, half_at(var_expr(y), int_const(e), p), lanes)));
        const std::vector<Expr> values = winograd_weights(t, machine.has_fma, halves, body);
        const Expr row = kernel::add(kernel::mul(var_expr(plane), channels), p.c);
        const Expr of_panel = kernel::mul(var_expr(panel), int_const(size * size));
        for (int64_t e = 0; e < size; ++e) {
          const Expr number =
              kernel::add(of_panel, kernel::add(kernel::mul(var_expr(y), int_const(size)), int_const(e)));
          body.push_back(kernel::store(to, at(number, pitch, row, p), values[static_cast<size_t>(e)]));
        }
      });
  ContractionBody out;
  out.grid = {{panel, Dim(panels), int_const(panels)},
              {plane, Dim(w.planes), int_const(w.planes)},
              {block, Dim(blocks), int_const(blocks)}};
  // A row of points at a time over all channels of the block, so that stores run along few lines at once.
  out.body = {kernel::alloc(half),
              kernel::loop(x, int_const(0), int_const(kSide), kernel::LoopKind::kSerial, {columns_of_taps}),
              kernel::loop(y, int_const(0), int_const(size), kernel::LoopKind::kSerial, {row_of_points})};
  out.schedule = fmt::format("weights for winograd {0}x{0}", t.outputs);
  return out;
}

}  // namespace tern::lower
