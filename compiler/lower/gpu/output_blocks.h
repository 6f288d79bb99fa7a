// What contractions have in common whose workgroups each compute a block of the output: the grid of blocks,
// where a warp works in one, which rows exist, and the epilogue over neighbouring columns.
#pragma once

#include "compiler/lower/gpu/chunks.h"
#include "compiler/lower/gpu/mma_kernel.h"

namespace tern::lower::gpu {

// Appends the axes (the batch's, if it has a variable) and gives the first row and column of a block, which
// `w` names m0 and n0.
template <typename Schedule>
std::pair<kernel::Expr, kernel::Expr> block_axes(LoopWriter& w, std::vector<kernel::GridAxis>& grid,
                                                 const kernel::GridAxis& batch, const Dim& m, int64_t n,
                                                 const Schedule& s, kernel::ParamTable& params) {
  if (batch.var) grid.push_back(batch);
  const kernel::Var m_block = kernel::make_var("m_block"), n_block = kernel::make_var("n_block");
  const Dim m_blocks = ceildiv(m, s.block_m), n_blocks = (n + s.block_n - 1) / s.block_n;
  grid.push_back({m_block, m_blocks, params.expr(m_blocks)});
  grid.push_back({n_block, n_blocks, params.expr(n_blocks)});
  const kernel::Expr m0 = w.let("m0", kernel::mul(kernel::var_expr(m_block), kernel::int_const(s.block_m)));
  return {m0, w.let("n0", kernel::mul(kernel::var_expr(n_block), kernel::int_const(s.block_n)))};
}

struct WarpPlace {
  kernel::Expr m, n, k;
};
template <typename Schedule>
WarpPlace warp_place(LoopWriter& w, const kernel::Expr& thread, const Schedule& s, int subgroup = 32) {
  using kernel::index_div;
  using kernel::index_rem;
  using kernel::int_const;
  const kernel::Expr warp = w.let("warp", index_div(thread, int_const(subgroup)));
  WarpPlace at;
  at.n = w.let("warp_n", index_rem(warp, int_const(s.warps_n)));
  at.m = w.let("warp_m", index_rem(index_div(warp, int_const(s.warps_n)), int_const(s.warps_m)));
  at.k = w.let("warp_k", index_div(warp, int_const(int64_t{s.warps_n} * s.warps_m)));
  return at;
}

// Whether row m of a block exists; null: every row of every block does.
inline kernel::Expr row_exists(const kernel::Expr& m, const Dim& rows, int block_m,
                               kernel::ParamTable& params) {
  return rows.is_const() && rows.value() % block_m == 0 ? nullptr : less(m, params.expr(rows));
}

// Of `width` columns from n on, how many there are; null: all of them.
inline kernel::Expr columns_left(const kernel::Expr& n, int64_t columns, int width) {
  return columns % width == 0
             ? nullptr
             : kernel::min(kernel::int_const(width), kernel::sub(kernel::int_const(columns), n));
}

// The epilogue over `width` columns from (m, n) on, where `exists` says so (null: always); value() is their
// sums. Where not `kept` (null: always) everything but the stores happens: no branch holds up what is
// computed.
template <typename Value>
void finish_columns(LoopWriter& w, const MmaOperands& o, const kernel::Expr& exists, const kernel::Expr& m,
                    const kernel::Expr& n, int64_t columns, int width, const Value& value,
                    const kernel::Expr& kept = nullptr) {
  const auto store = [&] {
    const kernel::Expr sums = value();
    for (kernel::Stmt& s : o.finish(m, n, sums, width, columns_left(n, columns, width))) {
      using Kind = kernel::StmtKind;
      const bool stores =
          s->kind == Kind::kStore || s->kind == Kind::kIf || s->kind == Kind::kFor || s->kind == Kind::kBlock;
      if (kept && stores) {
        w.when(kept, [&] { w.emit(std::move(s)); });
      } else {
        w.emit(std::move(s));
      }
    }
  };
  if (exists) {
    w.when(exists, store);
  } else {
    store();
  }
}

}  // namespace tern::lower::gpu
