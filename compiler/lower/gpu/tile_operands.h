// What a GPU contraction kernel knows of its operands: out[m, n] = sum over k of A[m, k] * B[k, n], once a
// batch. What surrounds it in its region (inlined producers, windows of a convolution, epilogue, layouts) is
// behind these functions.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "compiler/kernel/ir.h"
#include "compiler/lower/quantised_weights.h"

namespace tern::lower::gpu {

struct TileOperands {
  using Expr = kernel::Expr;
  using Stmts = std::vector<kernel::Stmt>;

  // Which neighbours are neighbours in memory, so that a subgroup's loads are consecutive. kPanels: B as
  // packed panels of kPanelColumns columns (packing.h), zero past the last column. kFours: the same with four
  // steps of a column side by side (pack_byte_panels), zero past the last step.
  enum class Order { kSteps, kOthers, kPanels, kFours };

  Dim m, n, k;
  kernel::GridAxis batch;                               // var null: one
  std::function<Expr(const Expr& m, const Expr& k)> a;  // f32 (or see `dots`), m < M and k < K
  Order a_order = Order::kSteps;
  std::function<Expr(const Expr& k, const Expr& n)> b;  // f32; kPanels: n < whole panels
  // kPanels: `lanes` columns from n on, a multiple of lanes. kFours: as many steps from k on.
  std::function<Expr(const Expr& k, const Expr& n, int lanes)> b_vector;
  Order b_order = Order::kOthers;
  // Products of bytes by dot products: elements are words (u32) of four steps each, k counts words, and sums
  // are i32. B's bytes are i8, A's what the intrinsic takes. Where that is not what the network's are, they
  // lack 128, or have 128 too much: sums lack so many times the sum of B's column.
  struct Dots {
    kernel::Intrinsic product;
    int lacks = 0;  // 0, 128 or -128
  };
  std::optional<Dots> dots;
  // Weights in integers (kFours): what b_vector reads them by, else null.
  const QuantisedPanels* panels = nullptr;
  // Of whole numbers: so many steps' sum is exact in f32. Sums of so many become i32, as `finish` has them.
  int64_t exact_steps = 0;
  // Stores all that the region computes from `lanes` sums at row m, columns n, n+1, …; count (may be null)
  // limits them.
  std::function<Stmts(const Expr& m, const Expr& n, const Expr& value, int lanes, const Expr& count)> finish;
  bool finish_is_long = false;
};

// Whether an element's neighbours along `v` are neighbours in memory.
bool runs_along(kernel::Expr element, const kernel::Var& v);

struct TileKernel {
  std::vector<kernel::GridAxis> grid;
  std::vector<kernel::Stmt> body;
  int threads = 0;
  kernel::Var thread;
  int subgroup = 0;
};

}  // namespace tern::lower::gpu
