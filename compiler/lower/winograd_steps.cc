// Weights for Winograd's algorithm from panels, and back.
#include <array>
#include <functional>

#include "compiler/lower/encoding_steps.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;

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

}  // namespace

// A unit is one filter of one channel, in either direction: 3 x 3 taps, a square of points.
Step winograd_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program, int from,
                   int to, bool inverse) {
  UnitKernel k(target, program, from, to, DType::kF32);
  const std::vector<std::array<double, 3>> g = winograd_weight_rows(*e.transform);
  Rows forward;
  for (const std::array<double, 3>& row : g) forward.emplace_back(row.begin(), row.end());
  const int64_t channel_count = e.k / 9, in_plane = channel_count / e.planes, taps = 9,
                points = static_cast<int64_t>(g.size() * g.size());
  const Expr channels = k.size("channels", channel_count);
  const Expr column = k.named("column", kernel::index_rem(k.unit(), int_const(kPanelColumns))),
             rest = k.named("rest", kernel::index_div(k.unit(), int_const(kPanelColumns))),
             channel = k.named("channel", kernel::index_rem(rest, channels)),
             panel = k.named("panel", kernel::index_div(rest, channels));
  // A channel of the products is one of a plane of the window; panels have the planes outside of the taps.
  const Expr plane_size = e.planes == 1 ? channels : k.size("plane_channels", in_plane),
             inside = e.planes == 1 ? channel : k.named("inside", kernel::index_rem(channel, plane_size)),
             planes = e.planes == 1 ? panel
                                    : k.named("planes", kernel::add(kernel::mul(panel, int_const(e.planes)),
                                                                    kernel::index_div(channel, plane_size)));
  const auto at = [&](bool in_panels, int64_t squares, int64_t which) {
    const Expr square =
        kernel::add(kernel::mul(in_panels ? planes : panel, int_const(squares)), int_const(which));
    const Expr row =
        kernel::add(kernel::mul(square, in_panels ? plane_size : channels), in_panels ? inside : channel);
    return kernel::add(kernel::mul(row, int_const(kPanelColumns)), column);
  };
  const int64_t read = inverse ? points : taps, written = inverse ? taps : points;
  const DType work = is_gpu(target.arch) ? DType::kF32 : DType::kF64;
  std::vector<Expr> values;
  for (int64_t i = 0; i < read; ++i)
    values.push_back(k.named("v", kernel::cast(kernel::load(k.source, at(!inverse, read, i)), work)));
  values = transformed(k, inverse ? pseudo_inverse(g) : forward, values);
  for (int64_t i = 0; i < written; ++i)
    k.body.push_back(kernel::store(k.result, at(inverse, written, i),
                                   kernel::cast(values[static_cast<size_t>(i)], DType::kF32)));
  return k.finish(inverse ? "panels_from_winograd" : "winograd_from_panels",
                  panel_count(e.n) * kPanelColumns * channel_count);
}

}  // namespace tern::lower
