// Winograd's minimal filtering F(m x m, 3 x 3) as Toom-Cook interpolation at the points 0, +-p, ... and
// infinity: m x m outputs from one product a point pair instead of nine a pixel. (Winograd, "Arithmetic
// Complexity of Computations", 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
// CVPR 2016.)
//
//   y = A^T [ (G g G^T) * (B^T d B) ] A       d: (m+2) x (m+2) inputs, g: 3 x 3 weights, y: m x m outputs
//
// The points come in pairs +-p whose rows share their even and odd parts. For m = 4 they are +-sqrt(1/2) and
// +-sqrt(2): their powers stay near 1, so that rounding errors grow about twice, where the usual +-1 and +-2
// make them grow four to eight times (docs/lowering.md).
#pragma once

#include "compiler/kernel/ir.h"
#include "compiler/support/tensor_data.h"

namespace tern::lower {

struct WinogradTransform {
  int outputs;                // m, even
  std::vector<double> pairs;  // p of each pair of points; m / 2 of them
  int size() const { return outputs + 2; }
};
// outputs: 2 or 4.
const WinogradTransform& winograd_transform(int outputs);

// One dimension of B^T (m+2 values to m+2) and of A^T (m+2 values to m); what is worked out goes to `out` as
// lets.
std::vector<kernel::Expr> winograd_input(const WinogradTransform& transform, bool has_fma,
                                         const std::vector<kernel::Expr>& d, std::vector<kernel::Stmt>& out);
std::vector<kernel::Expr> winograd_output(const WinogradTransform& transform, bool has_fma,
                                          const std::vector<kernel::Expr>& products,
                                          std::vector<kernel::Stmt>& out);

// The weights [O, C, 3, 3] (any float type) as G g G^T, computed in f64 and rounded once, for one small
// product a point: out[(((o / 16) * size^2 + point) * C + c) * 16 + o % 16], zero in the columns past O.
TensorDataPtr pack_winograd(const TensorData& weights, const WinogradTransform& transform);

}  // namespace tern::lower
