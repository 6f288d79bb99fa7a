// Contractions of the graph as matrix products, the view that every fast kernel takes: which row, column and
// step an operand's element has.
#pragma once

#include <functional>

#include "compiler/graph/ir.h"
#include "compiler/kernel/ir.h"
#include "compiler/lower/conv_gather.h"

namespace tern::lower {

// What dot and conv have in common once they are out[b, m, n] = sum A[b, m, k] B[b, k, n].
struct ContractionProblem {
  using Expr = kernel::Expr;
  using Index = std::vector<kernel::Expr>;

  Dim batch = 1, m, n, k;
  std::function<Index(const Expr& b, const Expr& m, const Expr& n)> out_index;
  std::function<Index(const Expr& b, const Expr& m, const Expr& k)> a_index;
  std::function<Index(const Expr& b, const Expr& k, const Expr& n)> b_index;
  std::function<int64_t(int64_t b, int64_t k, int64_t n)> b_element;  // constant B: flat index
  int64_t b_batches = 1;                                              // 1: all batches share B
  std::function<Expr(const Expr& b)> b_batch = [](const Expr& b) {
    return b;
  };  // which of them batch b reads
  // Where the B of batch b begins, when one takes `size`.
  Expr b_start(const Expr& b, int64_t size) const {
    return b_batches == 1 ? kernel::int_const(0) : kernel::mul(b_batch(b), kernel::int_const(size));
  }
  bool windows = false;  // A must be gathered by gather_windows
  ConvGeometry geometry;
};

// `constant_rhs`: operand 1 is a constant, so b_element is wanted.
ContractionProblem dot_problem(const graph::Node& dot, kernel::ParamTable& params, bool constant_rhs);
// A convolution with up to three spatial dimensions, whose weights are constant or lie in steps; batch counts
// the groups.
ContractionProblem conv_problem(const graph::Node& conv, kernel::ParamTable& params);
// Dimensions of a convolution's filters in the order of steps (taps, then channels), the innermost one first.
std::vector<size_t> step_dimensions(size_t rank);
// A transposed convolution whose windows do not overlap (steps as wide as the window, nothing cut off): each
// input pixel gives a block of outputs of its own.
bool is_pixel_shuffle(const graph::Node& conv);
ContractionProblem pixel_shuffle_problem(const graph::Node& conv, kernel::ParamTable& params);
ConvGeometry conv_geometry(const graph::Node& conv);
// Index of a pixel's channel in a value of that rank, which has the last rank - 2 of z, y and x.
std::vector<kernel::Expr> spatial_index(size_t rank, const kernel::Expr& image, const kernel::Expr& channel,
                                        const kernel::Expr& z, const kernel::Expr& y, const kernel::Expr& x);
bool is_depthwise(const graph::Node& conv);

}  // namespace tern::lower
