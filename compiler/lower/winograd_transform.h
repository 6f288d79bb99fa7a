// Winograd's minimal filtering F(m x m, 3 x 3) as Toom-Cook interpolation: m x m outputs from one product a
// pair of points instead of nine an output. (Winograd, "Arithmetic Complexity of Computations", 1980; Lavin
// and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.)
//
//   y = A^T [ (G g G^T) * (B^T d B) ] A       d: a square of inputs, g: 3 x 3 weights, y: m x m outputs
//
// Stride 1: m+2 points, from m+2 inputs. Stride 2: taps 0 and 2 meet only the even inputs and tap 1 only the
// odd ones, so B^T interpolates the even inputs with two taps (m+1 points) and passes the m odd ones on, each
// of which is multiplied by the same weights.
//
// Finite points come in pairs +-p, whose rows share their even and odd parts. Pairs of +-sqrt(1/2) and
// +-sqrt(2) keep their powers near 1, so that rounding errors grow about twice, where the usual +-1 and +-2
// make them grow four to eight times (docs/lowering.md).
#pragma once

#include <vector>

#include "compiler/kernel/ir.h"

namespace tern::lower {

struct WinogradTransform {
  int outputs = 0, stride = 1;  // m
  bool has_zero = true;         // 0 is a point
  std::vector<double> pairs;    // p of each pair of points
  // Points of one dimension, which are as many as inputs; and how many of them differ in their weights: the
  // last one's are those of all points from there on.
  int size() const { return stride == 1 ? outputs + 2 : 2 * outputs + 1; }
  int weights() const { return outputs + 2; }
};
// The sides of output squares that there are transforms for, ascending.
std::vector<int> winograd_sides(int stride);
const WinogradTransform& winograd_transform(int outputs, int stride);

// One dimension of B^T (size() values to size()) and of A^T (size() values to m); what is worked out goes to
// `out` as lets.
std::vector<kernel::Expr> winograd_input(const WinogradTransform& transform, bool has_fma,
                                         const std::vector<kernel::Expr>& d, std::vector<kernel::Stmt>& out);
std::vector<kernel::Expr> winograd_output(const WinogradTransform& transform, bool has_fma,
                                          const std::vector<kernel::Expr>& products,
                                          std::vector<kernel::Stmt>& out);

// One dimension of G: three taps to weights() values.
std::vector<kernel::Expr> winograd_weights(const WinogradTransform& transform, bool has_fma,
                                           const std::vector<kernel::Expr>& g,
                                           std::vector<kernel::Stmt>& out);

// Operations of the transforms of one square: of its inputs for one channel, of its outputs for one column,
// of a filter's weights for one channel.
struct WinogradOperations {
  int64_t input = 0, output = 0, weights = 0;
};
WinogradOperations winograd_operations(const WinogradTransform& transform);

}  // namespace tern::lower
