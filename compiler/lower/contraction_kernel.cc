#include "compiler/lower/contraction_kernel.h"

#include <numeric>
#include <utility>

#include "compiler/lower/contraction_builder.h"
#include "compiler/lower/conv_gather.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/support/rounding.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::lower {
namespace contraction {
namespace {

// How elements of A and B wait in scratch, and sums.
DType a_scratch(const ContractionOperands& o) {
  return o.step == StepKind::kBytes       ? DType::kU8
         : o.step == StepKind::kBf16Pairs ? DType::kU16
         : o.step == StepKind::kOwn       ? o.own
                                          : DType::kF32;
}
DType b_scratch(const ContractionOperands& o) {
  return o.step == StepKind::kBytes ? DType::kI8 : a_scratch(o);
}

}  // namespace

ContractionKernel Builder::build(const kernel::GridAxis& batch) {
  ContractionKernel out;
  if (batch.var) out.grid.push_back(batch);
  const Var row_block = kernel::make_var("row_block"), column_block = kernel::make_var("column_block");
  const Dim row_blocks = ceildiv(m_dim_, s_.block_rows), column_blocks = ceildiv(n_dim_, s_.block_columns);
  // The last axis runs fastest: where columns outnumber rows, neighbouring tiles share their part of B.
  const bool columns_outside =
      m_dim_.is_const() ? n_dim_.is_const() && m_dim_.value() < n_dim_.value() : s_.columns_outside;
  if (columns_outside) out.grid.push_back({column_block, column_blocks, params_.expr(column_blocks)});
  out.grid.push_back({row_block, row_blocks, params_.expr(row_blocks)});
  if (!columns_outside) out.grid.push_back({column_block, column_blocks, params_.expr(column_blocks)});

  const Var row0 = kernel::make_var("row0"), rows = kernel::make_var("rows"), n0 = kernel::make_var("n0");
  row0_ = var_expr(row0);
  rows_ = var_expr(rows);
  n0_ = var_expr(n0);
  Stmts& body = out.body;
  if (o_.begin_block) {
    row0_ = int_const(0);
    rows_ = o_.begin_block(var_expr(row_block), body);
  } else {
    body.push_back(kernel::let(row0, kernel::mul(var_expr(row_block), int_const(s_.block_rows))));
    body.push_back(kernel::let(rows, clipped(s_.block_rows, row0_, m_dim_, m_)));
  }
  body.push_back(kernel::let(n0, kernel::mul(var_expr(column_block), int_const(s_.block_columns))));
  if (o_.gather_a) {
    const int64_t elements = s_.block_rows * s_.block_depth * step_ + kGatherSlack;
    a_block_ = scratch("a_block", elements, a_scratch(o_));
    body.push_back(kernel::alloc(a_block_));
  }
  if (o_.gather_b) {
    b_panel_ = scratch("b_panel", s_.block_depth * group_ * step_, b_scratch(o_));
    body.push_back(kernel::alloc(b_panel_));
  }
  if (o_.chains && m_dim_.is_const()) {
    append(body, chain_block());
    return out;
  }
  if (o_.words_of_a) {
    a_words_ = {scratch("a_words", WordRows::elements(s_.block_rows, s_.block_depth), DType::kI16),
                s_.block_depth, nullptr, s_.byte_halves};
    body.push_back(kernel::alloc(a_words_.words));
  }
  if (o_.words_of_b) {
    b_words_ = {scratch("b_words", WordPanel::elements(s_.block_depth, group_), DType::kI16), s_.vectors,
                s_.lanes};
    body.push_back(kernel::alloc(b_words_.words));
  }
  if (!one_depth_block_) {
    partial_ = scratch("partial", s_.block_rows * s_.block_columns, sum_);
    body.push_back(kernel::alloc(partial_));
  }
  const auto by_vectors = [this] {
    if (!takes_single_row()) return depth_loop();
    Stmts one = single_row();
    return Stmts{
        kernel::if_then(kernel::compare(ScalarOp::kEq, rows_, int_const(1)), std::move(one), depth_loop())};
  };
  if (s_.tile_rows > 0 && m_dim_.is_const()) {
    append(body, tile_block());
  } else if (s_.tile_rows > 0) {
    Stmts tiles = tile_block();
    const Expr enough = kernel::compare(ScalarOp::kGe, rows_, int_const(kernel::kCpuTileRows));
    body.push_back(kernel::if_then(enough, std::move(tiles), by_vectors()));
  } else if (o_.chains) {  // a few rows would fill vectors of rows badly
    Stmts chains = chain_block();
    const Expr enough = kernel::compare(ScalarOp::kGe, rows_, int_const(kChainVectors * int64_t{s_.lanes}));
    body.push_back(kernel::if_then(enough, std::move(chains), depth_loop()));
  } else {
    append(body, by_vectors());
  }
  return out;
}

Stmts Builder::columns(const ContractionColumns& block) {
  TERN_CHECK(one_depth_block_, "a block of columns has one depth block");
  if (o_.word_rows) a_words_ = *o_.word_rows;
  if (o_.word_panel) b_words_ = *o_.word_panel;
  row0_ = block.row0;
  rows_ = block.rows;
  k0_ = int_const(0);
  depth_ = k_;
  return column_group(block.n, block.vectors, nullptr);
}

Buffer Builder::scratch(const char* name, int64_t elements, DType type) {
  return kernel::make_buffer(name, {type, 1}, Scope::kScratch, kernel::Access::kReadWrite, elements);
}

Expr Builder::clipped(int64_t block, const Expr& start, const Dim& extent, const Expr& extent_expr) {
  if (extent.is_const() && extent.value() % block == 0) return int_const(block);
  return kernel::min(int_const(block), kernel::sub(extent_expr, start));
}

bool Builder::takes_single_row() const {
  if (m_dim_.is_const()) return false;
  if (o_.gather_b) return o_.widen_words && !o_.gather_a;
  return s_.row_vectors > s_.vectors && (!o_.gather_a || one_depth_block_) && !o_.words_of_a &&
         !o_.words_of_b;
}

Stmts Builder::single_row() {
  const bool one_block = std::exchange(one_depth_block_, true);
  alone_ = true;
  k0_ = int_const(0);
  depth_ = k_;
  Stmts out;
  if (o_.gather_a) out = o_.gather_a(a_block_, row0_, rows_, k0_, depth_, s_.block_depth * step_);
  if (is_quantised_row()) out = prepare_row();
  append(out, column_groups(s_.row_vectors));
  alone_ = false;
  one_depth_block_ = one_block;
  return out;
}

Stmts Builder::depth_loop() {
  if (one_depth_block_) {
    k0_ = int_const(0);
    depth_ = k_;
    return depth_block();
  }
  const Var kb = kernel::make_var("k_block"), k0 = kernel::make_var("k0"), depth = kernel::make_var("depth");
  const Dim blocks = ceildiv(k_dim_, s_.block_depth);
  k0_ = var_expr(k0);
  depth_ = var_expr(depth);
  Stmts out;
  Expr begin = int_const(0), end = params_.expr(max(blocks, Dim(1)));
  if (o_.depth_blocks) {
    const WindowLines some = o_.depth_blocks(row0_, rows_);
    begin = named("first_block", some.begin, out);
    end = named("end_block", some.end, out);
  }
  first_ = kernel::compare(ScalarOp::kEq, var_expr(kb), begin);
  last_ = kernel::compare(ScalarOp::kGe, kernel::add(var_expr(kb), int_const(1)), end);
  Stmts body{kernel::let(k0, kernel::mul(var_expr(kb), int_const(s_.block_depth))),
             kernel::let(depth, clipped(s_.block_depth, k0_, k_dim_, k_))};
  append(body, depth_block());
  // An empty sum still has to be written: at least one pass, of depth 0 when k is 0.
  out.push_back(kernel::loop(kb, begin, kernel::sub(end, begin), LoopKind::kSerial, std::move(body)));
  return out;
}

Stmts Builder::depth_block() {
  Stmts out;
  if (o_.gather_a) append(out, o_.gather_a(a_block_, row0_, rows_, k0_, depth_, s_.block_depth * step_));
  if (o_.words_of_a) {
    append(out, a_words_.fill(rows_, depth_, s_.lanes, [this](const Expr& row, const Expr& step, int count) {
      return a_bytes(row_base(row), step, count);
    }));
  }
  if (is_quantised_row()) append(out, prepare_row());
  append(out, column_groups(s_.vectors));
  return out;
}

Expr Builder::row_base(const Expr& r) const {
  return o_.gather_a ? kernel::mul(r, int_const(s_.block_depth * step_)) : o_.a_row(kernel::add(row0_, r));
}

Expr Builder::a_bytes(const Expr& base, const Expr& step, int count) const {
  const Expr at = kernel::mul(o_.gather_a ? step : kernel::add(k0_, step), int_const(kByteGroup));
  return kernel::load(o_.gather_a ? a_block_ : o_.a_buffer, kernel::add(base, at), count * kByteGroup);
}

Expr Builder::b_bytes(const Expr& n, const Expr& step, int j) const {
  const Expr column = int_const(int64_t{j} * s_.lanes);
  const Expr at = o_.gather_b ? kernel::add(kernel::mul(step, int_const(group_)), column)
                              : o_.b_index(kernel::add(n, column), kernel::add(k0_, step));
  return kernel::load(o_.gather_b ? b_panel_ : o_.b_buffer, kernel::mul(at, int_const(kByteGroup)),
                      s_.lanes * kByteGroup);
}

Stmts Builder::column_groups(int vectors) {
  const int64_t group = int64_t{vectors} * s_.lanes;
  const bool one_block = n_dim_.is_const() && n_dim_.value() <= s_.block_columns;
  TERN_CHECK(one_block || s_.block_columns % group == 0,
             "column blocks of {} are no multiple of groups of {}", s_.block_columns, group);
  Stmts out;
  const Var g = kernel::make_var("group");
  const Expr n = kernel::add(n0_, kernel::mul(var_expr(g), int_const(group)));
  const Expr columns = clipped(s_.block_columns, n0_, n_dim_, n_);
  const bool n_static = n_dim_.is_const();
  if (!n_static || n_dim_.value() >= group) {
    out.push_back(kernel::loop(g, int_const(0), kernel::index_div(columns, int_const(group)),
                               LoopKind::kSerial, column_group(n, vectors, nullptr)));
  }
  if (n_static && n_dim_.value() % group == 0) return out;
  const Var rest = kernel::make_var("rest"), rest_n = kernel::make_var("rest_n");
  Stmts tail{kernel::let(rest_n, kernel::sub(kernel::add(n0_, columns), var_expr(rest)))};
  const int64_t rest_columns = n_static ? n_dim_.value() % group : group;
  const int rest_vectors = static_cast<int>((rest_columns + s_.lanes - 1) / s_.lanes);
  const Expr valid = n_static ? int_const(rest_columns) : var_expr(rest);
  append(tail, column_group(var_expr(rest_n), rest_vectors, valid));
  out.push_back(kernel::let(rest, kernel::index_rem(columns, int_const(group))));
  if (n_static && n_dim_.value() <= s_.block_columns) {  // one column block: the rest is always there
    append(out, std::move(tail));
  } else {
    out.push_back(
        kernel::if_then(kernel::compare(ScalarOp::kGt, var_expr(rest), int_const(0)), std::move(tail)));
  }
  return out;
}

Stmts Builder::column_group(const Expr& n_value, int vectors, const Expr& valid) {
  const Var nv = kernel::make_var("n");
  const Expr n = var_expr(nv);
  Stmts out{kernel::let(nv, n_value)};
  if (alone_) {
    append(out, register_tile(int_const(0), n, 1, vectors, valid, nullptr));
    return out;
  }
  append(out, by_tiles_ ? tile_rows(n, vectors, valid) : row_tiles(n, vectors, valid));
  return out;
}

int64_t Builder::uneven_rows(int vectors) const {
  // Two multiply-adds a cycle, each four cycles long.
  constexpr int kSums = 8;
  if (!m_dim_.is_const()) return 0;
  const int64_t m = m_dim_.value(), rest = m % s_.rows, both = s_.rows + rest;
  const int64_t last_block = m - (ceil_div(m, s_.block_rows) - 1) * s_.block_rows;
  const bool waits = rest > 0 && rest * vectors < kSums;
  return waits && both % 2 == 0 && last_block >= both ? both : 0;
}

bool Builder::rows_overlap() const {
  // A copy of the loop for the rows left over is a third of a kernel's code and of the time that clang takes;
  // so many of a thousand rows may be computed twice instead.
  constexpr int64_t kMostRepeated = 12;
  if (!m_dim_.is_const() || !one_depth_block_) return false;  // partial sums are added to
  const int64_t m = m_dim_.value(), rest = m % s_.rows;
  const int64_t last_block = m - (ceil_div(m, s_.block_rows) - 1) * s_.block_rows;
  return rest > 0 && last_block >= s_.rows && (s_.rows - rest) * 1000 <= kMostRepeated * m;
}

Stmts Builder::row_tiles(const Expr& n, int vectors, const Expr& valid) {
  Stmts out;
  if (o_.gather_b) append(out, o_.gather_b(b_panel_, n, group_, k0_, depth_));
  if (o_.words_of_b && !o_.word_panel) {
    append(out, b_words_.fill(depth_, [&](const Expr& step, int j) { return b_bytes(n, step, j); }, vectors));
  }
  if (prefetches() && !valid) plan_prefetch(n, out);
  const bool rows_known = m_dim_.is_const() && m_dim_.value() <= s_.block_rows && !o_.begin_block;
  const bool overlap = rows_overlap();
  const auto tiles = [&](const Expr& first_tile, const Expr& count, const Expr& first_row, int rows) {
    const Var t = kernel::make_var("tile");
    tile_ = kernel::add(first_tile, var_expr(t));
    Expr r = kernel::add(first_row, kernel::mul(var_expr(t), int_const(rows)));
    if (overlap) r = kernel::min(r, kernel::sub(rows_, int_const(rows)));
    return kernel::loop(t, int_const(0), count, LoopKind::kSerial,
                        register_tile(r, n, rows, vectors, valid, nullptr));
  };
  TERN_CHECK(!m_dim_.is_const() || rows_known || s_.block_rows % s_.rows == 0,
             "row blocks of {} are no multiple of tiles of {}", s_.block_rows, s_.rows);
  if (overlap) {
    out.push_back(tiles(int_const(0), blocks_of(rows_, int_const(s_.rows)), int_const(0), s_.rows));
    return out;
  }
  const int64_t uneven = uneven_rows(vectors);
  // Rows in tiles of s_.rows: without the two last ones where those are made even.
  Expr whole_rows = rows_;
  const Expr has_rest =
      kernel::compare(ScalarOp::kNe, kernel::index_rem(rows_, int_const(s_.rows)), int_const(0));
  if (uneven > 0)
    whole_rows = kernel::sub(
        rows_, rows_known ? int_const(uneven) : kernel::select(has_rest, int_const(uneven), int_const(0)));
  const Expr whole_tiles = kernel::index_div(whole_rows, int_const(s_.rows));
  if (!rows_known || m_dim_.value() - uneven >= s_.rows)
    out.push_back(tiles(int_const(0), whole_tiles, int_const(0), s_.rows));
  // The rows left over: a static number of them, when m is static and row blocks are whole tiles.
  const Var first = kernel::make_var("rest_row");
  const Var rest = kernel::make_var("rest_rows");
  if (m_dim_.is_const()) {
    const int64_t rest_rows = m_dim_.value() % s_.rows;
    if (rest_rows == 0) return out;
    Stmts tail;
    if (uneven > 0) {
      tail = {tiles(whole_tiles, int_const(2), whole_rows, static_cast<int>(uneven / 2))};
    } else {
      tile_ = whole_tiles;
      tail = register_tile(kernel::sub(rows_, int_const(rest_rows)), n, static_cast<int>(rest_rows), vectors,
                           valid, nullptr);
    }
    if (rows_known) {
      append(out, std::move(tail));
    } else {
      out.push_back(kernel::if_then(has_rest, std::move(tail)));
    }
    return out;
  }
  if (s_.rows == 1) return out;
  tile_ = whole_tiles;
  // As many as there are at run time: the smallest of a few tiles that covers them, surplus rows repeating
  // the last one. Below four rows a tile is bound by latency, so fewer cost the same.
  out.push_back(kernel::let(rest, kernel::index_rem(rows_, int_const(s_.rows))));
  out.push_back(kernel::let(first, kernel::sub(rows_, var_expr(rest))));
  Stmts tail = register_tile(var_expr(first), n, s_.rows, vectors, valid, var_expr(rest));
  for (const int rows : {8, 4}) {
    if (rows + 2 > s_.rows) continue;
    tail = {kernel::if_then(kernel::compare(ScalarOp::kLe, var_expr(rest), int_const(rows)),
                            register_tile(var_expr(first), n, rows, vectors, valid, var_expr(rest)),
                            std::move(tail))};
  }
  out.push_back(
      kernel::if_then(kernel::compare(ScalarOp::kGt, var_expr(rest), int_const(0)), std::move(tail)));
  return out;
}

Stmts Builder::register_tile(const Expr& r_value, const Expr& n, int rows, int vectors, const Expr& valid,
                             const Expr& live_rows) {
  const VType vector{sum_, s_.lanes};
  const Buffer acc =
      kernel::make_buffer("acc", vector, Scope::kRegister, kernel::Access::kReadWrite, rows * vectors);
  const auto at = [&](int i, int j) { return int_const(int64_t{i} * vectors + j); };
  const Var rv = kernel::make_var("r");
  const Expr r = var_expr(rv);
  Stmts out{kernel::let(rv, r_value), kernel::alloc(acc)};

  // Row addresses: of A's elements at k = 0 (direct) or of the gathered block's rows.
  std::vector<Expr> bases;
  for (int i = 0; i < rows; ++i) {
    Expr row = kernel::add(r, int_const(i));
    if (live_rows && i > 0)
      row = kernel::add(r, kernel::min(int_const(i), kernel::sub(live_rows, int_const(1))));
    const Var a = kernel::make_var(fmt::format("a{}", i));
    out.push_back(kernel::let(a, o_.words_of_a ? a_words_.row(row) : row_base(row)));
    bases.push_back(var_expr(a));
  }

  Stmts clear, reload;
  std::vector<Expr> first;
  for (int j = 0; j < vectors; ++j) {
    if (!o_.begin) {
      first.push_back(zeros());
      continue;
    }
    const Var bv = kernel::make_var(fmt::format("begin{}", j), vector);
    const Expr column = kernel::add(n, int_const(int64_t{j} * s_.lanes));
    clear.push_back(kernel::let(bv, o_.begin(column, s_.lanes, lane_count(valid, j))));
    first.push_back(var_expr(bv));
  }
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < vectors; ++j) {
      clear.push_back(kernel::store(acc, at(i, j), first[static_cast<size_t>(j)]));
      if (partial_)
        reload.push_back(
            kernel::store(acc, at(i, j), kernel::load(partial_, partial_index(r, i, n, j), s_.lanes)));
    }
  }
  if (one_depth_block_) {
    append(out, std::move(clear));
  } else {
    out.push_back(kernel::if_then(first_, std::move(clear), std::move(reload)));
  }
  if (o_.for_taps) {
    append(out, o_.for_taps([&](const Expr& a, const Expr& b) {
      tap_a_ = a, tap_b_ = b;
      return depth_steps(acc, bases, n, rows, vectors, valid);
    }));
  } else {
    append(out, depth_steps(acc, bases, n, rows, vectors, valid));
  }

  Stmts finish = finish_tile(acc, r, n, rows, vectors, valid, live_rows);
  if (one_depth_block_) {
    append(out, std::move(finish));
  } else {
    Stmts keep;
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < vectors; ++j) {
        // Surplus rows of a clamped tile have no place of their own.
        Stmt one = kernel::store(partial_, partial_index(r, i, n, j), kernel::load(acc, at(i, j)));
        if (live_rows && i > 0)
          one = kernel::if_then(kernel::compare(ScalarOp::kLt, int_const(i), live_rows), {one});
        keep.push_back(one);
      }
    }
    out.push_back(kernel::if_then(last_, std::move(finish), std::move(keep)));
  }
  return {kernel::block(std::move(out))};
}

Expr Builder::partial_index(const Expr& r, int i, const Expr& n, int j) const {
  const Expr column = kernel::add(kernel::sub(n, n0_), int_const(int64_t{j} * s_.lanes));
  return kernel::add(kernel::mul(kernel::add(r, int_const(i)), int_const(s_.block_columns)), column);
}

Expr Builder::lane_count(const Expr& valid, int j) const {
  if (!valid) return nullptr;
  const int64_t before = int64_t{j} * s_.lanes;
  if (valid->kind == kernel::ExprKind::kConst) {
    return valid->i - before >= s_.lanes ? nullptr : int_const(valid->i - before);
  }
  return kernel::max(kernel::min(kernel::sub(valid, int_const(before)), int_const(s_.lanes)), int_const(0));
}

Expr Builder::zeros() const {
  return kernel::broadcast(is_float(sum_) ? kernel::float_const(0.0, sum_) : int_const(0, sum_), s_.lanes);
}

bool Builder::finishes_pair(int j, int vectors, const Expr& valid) const {
  return o_.finish_in_pairs && j + 1 < vectors && !lane_count(valid, j) && !lane_count(valid, j + 1);
}

Stmts Builder::finish_tile(const Buffer& acc, const Expr& r, const Expr& n, int rows, int vectors,
                           const Expr& valid, const Expr& live_rows) {
  const Expr m = kernel::add(row0_, r);
  const auto column = [&](int j) { return kernel::add(n, int_const(int64_t{j} * s_.lanes)); };
  Stmts out;
  if (!o_.finish_is_long) {
    for (int i = 0; i < rows; ++i) {
      Stmts row;
      for (int j = 0; j < vectors; ++j) {
        Expr value = kernel::load(acc, int_const(int64_t{i} * vectors + j));
        const Expr at = column(j), count = lane_count(valid, j);
        if (finishes_pair(j, vectors, valid)) {
          std::vector<int> both(2 * static_cast<size_t>(s_.lanes));
          std::iota(both.begin(), both.end(), 0);
          ++j;
          value = kernel::shuffle(value, kernel::load(acc, int_const(int64_t{i} * vectors + j)), both);
        }
        append(row, o_.finish(kernel::add(m, int_const(i)), at, value, value->type.lanes, count));
      }
      if (live_rows && i > 0) {
        out.push_back(
            kernel::if_then(kernel::compare(ScalarOp::kLt, int_const(i), live_rows), std::move(row)));
      } else {
        out.push_back(kernel::block(std::move(row)));
      }
    }
    return out;
  }
  const int64_t width = int64_t{vectors} * s_.lanes;
  const Buffer stage =
      kernel::make_buffer("stage", {sum_, 1}, Scope::kStack, kernel::Access::kReadWrite, rows * width);
  out.push_back(kernel::alloc(stage));
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < vectors; ++j) {
      out.push_back(kernel::store(stage, int_const(i * width + int64_t{j} * s_.lanes),
                                  kernel::load(acc, int_const(int64_t{i} * vectors + j))));
    }
  }
  const Var iv = kernel::make_var("i");
  Stmts row;
  for (int j = 0; j < vectors; ++j) {
    const int lanes = finishes_pair(j, vectors, valid) ? 2 * s_.lanes : s_.lanes;
    const Expr value = kernel::load(
        stage, kernel::add(kernel::mul(var_expr(iv), int_const(width)), int_const(int64_t{j} * s_.lanes)),
        lanes);
    append(row, o_.finish(kernel::add(m, var_expr(iv)), column(j), value, lanes, lane_count(valid, j)));
    if (lanes > s_.lanes) ++j;
  }
  out.push_back(kernel::loop(iv, int_const(0), live_rows ? live_rows : int_const(rows), LoopKind::kSerial,
                             std::move(row)));
  return out;
}

}  // namespace contraction

using contraction::Builder;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;

int step_group(StepKind kind) {
  return kind == StepKind::kBytes ? kByteGroup : kind == StepKind::kBf16Pairs ? 2 : 1;
}

Expr bf16_of_word(const Expr& word, int which) {
  const int lanes = word->type.lanes;
  const auto splat = [&](int64_t v) {
    const Expr c = int_const(v, DType::kU32);
    return lanes == 1 ? c : kernel::broadcast(c, lanes);
  };
  const Expr bits = which == 0 ? kernel::op(ScalarOp::kShl, {word, splat(16)})
                               : kernel::op(ScalarOp::kAnd, {word, splat(0xffff0000)});
  return kernel::bitcast(bits, {DType::kF32, lanes});
}

ContractionKernel build_contraction_kernel(const Dim& m, const Dim& n, const Dim& k,
                                           const kernel::GridAxis& batch_axis,
                                           const ContractionSchedule& schedule, bool has_fma,
                                           const ContractionOperands& operands, kernel::ParamTable& params) {
  return Builder(m, n, k, schedule, has_fma, operands, params).build(batch_axis);
}

std::vector<Stmt> contraction_columns(const Dim& m, const Dim& k, const ContractionColumns& block,
                                      const ContractionSchedule& schedule, bool has_fma,
                                      const ContractionOperands& operands, kernel::ParamTable& params) {
  return Builder(m, Dim(int64_t{block.vectors} * schedule.lanes), k, schedule, has_fma, operands, params)
      .columns(block);
}

}  // namespace tern::lower
