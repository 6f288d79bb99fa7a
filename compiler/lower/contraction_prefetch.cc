// While the rows of a block pass by a group of columns, the part of B that comes after is brought into L2:
// each row tile asks for its share, line by line between its steps. All at once, memory would be slower than
// the steps, and these would wait for their own loads behind it; and what one tile asked for needs no asking
// again (but where there are so few tiles that each asks for all of it).
#include <algorithm>
#include <utility>

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/contraction_builder.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/support/rounding.h"

namespace tern::lower::contraction {
namespace {

// Passes over k between requests, which are at most as many at a time: the end of a loop costs some cycles,
// and a burst more than the processor keeps track of.
constexpr int kPasses = 64, kRequests = 4;
// Passes are for a multiple of so many lines, so that loops of four at a time have no rest.
constexpr int kEvenLines = 16;
// With so few row tiles each of them asks for all lines, one a pass.
constexpr int kFewTiles = 2;

}  // namespace

Expr blocks_of(const Expr& a, const Expr& b) {
  return kernel::index_div(kernel::add(a, kernel::sub(b, int_const(1))), b);
}

void Builder::plan_prefetch(const Expr& n, Stmts& out) {
  const Var column = kernel::make_var("next_n"), step = kernel::make_var("next_k"),
            tiles = kernel::make_var("tiles");
  Expr next_n = kernel::add(n, int_const(group_)), next_k = k0_;
  if (!one_depth_block_) {
    const Expr end = kernel::add(n0_, clipped(s_.block_columns, n0_, n_dim_, n_));
    const Expr last_group = kernel::compare(ScalarOp::kGe, next_n, end);
    const Expr first_n = kernel::select(last_, kernel::add(n0_, int_const(s_.block_columns)), n0_);
    const Expr after = kernel::select(last_, int_const(0), kernel::add(k0_, depth_));
    next_n = kernel::select(last_group, first_n, next_n);
    next_k = kernel::select(last_group, after, next_k);
  }
  if (b_in_words()) next_k = kernel::index_div(next_k, int_const(o_.word_steps));
  out.push_back(kernel::let(column, next_n));
  out.push_back(kernel::let(step, next_k));
  next_n_ = var_expr(column);
  next_k_ = var_expr(step);
  const int64_t rows = by_tiles_ ? s_.tile_rows : s_.rows;
  if (m_dim_.is_const()) {  // the last block of rows may have fewer, and ask for less
    tiles_ = int_const(tern::ceil_div(std::min(s_.block_rows, m_dim_.value()), rows));
  } else {
    out.push_back(kernel::let(tiles, kernel::max(blocks_of(rows_, int_const(rows)), int_const(1))));
    tiles_ = var_expr(tiles);
  }
}

Stmts Builder::prefetch_line(const Expr& line, int vectors) const {
  Stmts out;
  for (int j = 0; j < vectors; ++j) {
    if (j * s_.lanes % kPanelColumns != 0) continue;
    const Expr at = o_.b_index(kernel::add(next_n_, int_const(int64_t{j} * s_.lanes)),
                               further(kernel::add(next_k_, line), tap_b_));
    const bool bytes = o_.step == StepKind::kBytes;
    out.push_back(kernel::prefetch(o_.b_buffer, bytes ? kernel::mul(at, int_const(kByteGroup)) : at));
  }
  return out;
}

Stmts Builder::step_loop(const Var& k, const Expr& count, Stmts body, int vectors, const Expr& valid,
                         int lines) const {
  if (!prefetches() || valid)
    return {kernel::loop(k, int_const(0), count, LoopKind::kSerial, std::move(body))};
  const Expr all_lines = kernel::mul(count, int_const(lines));
  if (const auto tiles = kernel::int_value(tiles_); tiles && *tiles <= kFewTiles) {
    Stmts pass;
    for (int i = 0; i < lines; ++i)
      append(pass,
             prefetch_line(kernel::add(kernel::mul(var_expr(k), int_const(lines)), int_const(i)), vectors));
    append(pass, std::move(body));
    return {kernel::loop(k, int_const(0), count, LoopKind::kSerial, std::move(pass))};
  }
  // In `parts` parts of `passes` passes, each of which begins with `requests` requests.
  const Expr wanted =
      kernel::max(tiles_, kernel::min(kernel::mul(tiles_, int_const(kRequests)), int_const(kPasses)));
  const Expr even = int_const(std::max(1, kEvenLines / lines));
  const Expr passes = kernel::mul(blocks_of(wanted, kernel::mul(even, int_const(lines))), even);
  const Expr parts = blocks_of(count, passes);
  const Expr requests = blocks_of(kernel::mul(passes, int_const(lines)), tiles_);
  const Var part = kernel::make_var("part"), request = kernel::make_var("request"),
            first = kernel::make_var("first"), at = kernel::make_var("line");
  const Expr earlier = kernel::add(kernel::mul(tile_, parts), var_expr(part));
  Stmts ask{kernel::let(at, kernel::add(kernel::mul(earlier, requests), var_expr(request))),
            kernel::if_then(kernel::compare(ScalarOp::kLt, var_expr(at), all_lines),
                            prefetch_line(var_expr(at), vectors))};
  Stmts out{kernel::let(first, kernel::mul(var_expr(part), passes)),
            kernel::loop(request, int_const(0), requests, LoopKind::kSerial, std::move(ask))};
  const Expr left = kernel::sub(count, var_expr(first));
  out.push_back(
      kernel::loop(k, var_expr(first), kernel::min(passes, left), LoopKind::kSerial, std::move(body)));
  return {kernel::loop(part, int_const(0), parts, LoopKind::kSerial, std::move(out))};
}

}  // namespace tern::lower::contraction
