// What build_contraction_kernel builds with: the loops of one contraction. Blocks of the grid, and what is
// gathered for them, are in contraction_kernel.cc; the steps along k of a register tile in
// contraction_steps.cc.
#pragma once

#include <functional>
#include <vector>

#include "compiler/lower/byte_words.h"
#include "compiler/lower/contraction_kernel.h"

namespace tern::lower::contraction {

using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::LoopKind;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using kernel::VType;

using Stmts = std::vector<Stmt>;

// Words that one panel of integers is read ahead of: 8 KB. A panel is one stream, which the processor's own
// prefetching follows too late while a core computes.
inline constexpr int64_t kQuantisedRowsAhead = 128;

class ChainTiles;

// a / b, rounded up.
Expr blocks_of(const Expr& a, const Expr& b);

class Builder {
 public:
  Builder(const Dim& m, const Dim& n, const Dim& k, const ContractionSchedule& s, bool has_fma,
          const ContractionOperands& o, kernel::ParamTable& params)
      : m_dim_(m), n_dim_(n), k_dim_(k), s_(s), has_fma_(has_fma), o_(o), params_(params) {
    group_ = int64_t{s.vectors} * s.lanes;
    step_ = step_group(o.step);
    sum_ = o.step == StepKind::kBytes ? DType::kI32 : o.step == StepKind::kOwn ? o.own : DType::kF32;
    m_ = params.expr(m);
    n_ = params.expr(n);
    k_ = params.expr(k);
    one_depth_block_ = k.is_const() && k.value() <= s.block_depth;
  }

  ContractionKernel build(const kernel::GridAxis& batch);

  Stmts columns(const ContractionColumns& block);

 private:
  static Buffer scratch(const char* name, int64_t elements, DType type);

  // min(block, extent - start), a constant when the blocks divide a static extent.
  static Expr clipped(int64_t block, const Expr& start, const Dim& extent, const Expr& extent_expr);

  // The block's columns when it has one row, of an unknown number of rows: more vectors of columns side by
  // side, since a tile for many rows would wait for the few sums that it has of one; words are widened in
  // registers, a panel would be widened for that row alone; over the whole depth at once, as memory is read
  // fastest.
  bool takes_single_row() const;
  Stmts single_row();

  // quantised_row.cc: whether register tiles are a single row by integers; what they read of the row, in
  // scratch; the products of such a tile.
  bool is_quantised_row() const;
  Stmts prepare_row();
  Stmts quantised_row(const Buffer& acc, const Expr& n, int vectors);
  Expr panel_word(const Expr& n, int j, const Expr& word, Stmts& out) const;
  Expr panel_scale(const Expr& at, int j, Stmts& out) const;
  void ask_ahead(const Buffer& from, const Expr& at, int j, int64_t rows, Stmts& out) const;
  void row_word(const Buffer& part, int chains, const Expr& n, const Expr& word, int vectors,
                Stmts& out) const;

  // quantised_digits.cc: whether such a row is multiplied in integers; how many steps share a factor; what is
  // read of the row; the products of a register tile.
  bool takes_digits() const;
  int64_t digit_block() const;
  Stmts prepare_digits();
  Stmts digits_row(const Buffer& acc, const Expr& n, int vectors) const;
  Stmts digit_products(const Buffer& acc, const Expr& n, const Expr& b, int64_t count, int vectors) const;
  std::vector<Expr> weight_bytes(const Expr& word, Stmts& out) const;

  Stmts depth_loop();

  Stmts depth_block();

  // Where row r of the block begins: at k = 0 of A itself, at the block's first step in scratch.
  Expr row_base(const Expr& r) const;

  // Bytes of `count` steps of a row of A.
  Expr a_bytes(const Expr& base, const Expr& step, int count) const;

  // Bytes of a step of vector j of the columns from n on.
  Expr b_bytes(const Expr& n, const Expr& step, int j) const;

  // Whole groups of so many vectors of columns, then what is left.
  Stmts column_groups(int vectors);

  // All rows of the block for the columns n.. n + vectors*lanes; `valid` (null: all) says how many columns
  // exist.
  Stmts column_group(const Expr& n_value, int vectors, const Expr& valid);

  // A last tile of few rows waits for its own sums: it and the one before have as many rows each then, this
  // many together (0: they have not).
  int64_t uneven_rows(int vectors) const;

  // Whether a block's last tile takes rows of the one before again instead of fewer rows: they get the same
  // values once more.
  bool rows_overlap() const;

  Stmts row_tiles(const Expr& n, int vectors, const Expr& valid);

  // Rows r.. r+rows-1 (relative to the block). live_rows (null: all): how many of them exist.
  Stmts register_tile(const Expr& r_value, const Expr& n, int rows, int vectors, const Expr& valid,
                      const Expr& live_rows);

  bool prefetches() const { return !alone_ && s_.prefetch && o_.b_buffer && o_.b_padded && !o_.gather_b; }

  // contraction_prefetch.cc. What comes after this group of columns: the next one, the block's first at the
  // next depth, or the next block's first.
  void plan_prefetch(const Expr& n, Stmts& out);

  Stmts prefetch_line(const Expr& line, int vectors) const;

  // A register tile's loop of `count` passes over k, each of which reads `lines` lines of a panel of B;
  // between them it asks for its share of what comes after the group.
  Stmts step_loop(const Var& k, const Expr& count, Stmts body, int vectors, const Expr& valid,
                  int lines = 1) const;

  Expr partial_index(const Expr& r, int i, const Expr& n, int j) const;

  // Step k along the rows of A that lie in place, and along B.
  Expr step_of_a(const Expr& k) const { return further(kernel::add(k0_, k), tap_a_); }
  Expr step_of_b(const Expr& k) const { return further(kernel::add(k0_, k), tap_b_); }
  static Expr further(const Expr& k, const Expr& by) { return by ? kernel::add(k, by) : k; }

  // Columns of vector j that exist, or null for all of them.
  Expr lane_count(const Expr& valid, int j) const;

  // Whether vectors j and j + 1 are finished together.
  bool finishes_pair(int j, int vectors, const Expr& valid) const;

  Expr zeros() const;

  // k_loop on groups of bytes.
  Stmts byte_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows, int vectors,
                  const Expr& valid);

  // contraction_chains.cc: the block along the lists of byte_chains.h.
  friend class ChainTiles;
  Stmts chain_block();

  // byte_loop on words of A, and of B where there are many rows: one part of all rows, then the other, as few
  // registers are left beside the sums.
  Stmts byte_word_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows,
                       int vectors, const Expr& valid);

  // The same for a single row of halves.
  Stmts byte_half_loop(const Buffer& acc, const Expr& row_base, const Expr& n, int vectors) const;

  // contraction_tiles.cc: the block by the machine's tiles; all its rows for a group of columns; such a tile,
  // of which the first `done` rows are finished; what becomes of its sums.
  Stmts tile_block();
  Stmts tile_rows(const Expr& n, int vectors, const Expr& valid);
  Stmts tile_products(const Expr& r, const Expr& done, const Expr& n, int rows, int vectors,
                      const Expr& valid);
  Stmts finish_tiles(const Buffer& acc, const Expr& r, const Expr& done, const Expr& n, int rows, int vectors,
                     const Expr& valid);
  Expr tile_of_b(const Expr& n, const Expr& step, int j) const;
  int64_t tile_steps() const;
  int64_t rest_steps() const;

  Stmts depth_steps(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows,
                    int vectors, const Expr& valid);

  bool b_in_words() const { return (alone_ || !o_.gather_b) && o_.word_steps > 1; }

  // Words of two bf16, one a column: vector j of step k.
  Expr words(const Expr& n, const Expr& k, const Expr& k_first, int j) const;

  // k_loop on pairs of bf16.
  Stmts pair_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows, int vectors,
                  const Expr& valid);

  // k_loop where B lies in words of several steps, which are widened: a word a time, and what the last one of
  // a depth that is no multiple holds.
  Stmts word_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows, int vectors,
                  const Expr& valid);

  // Step k of all rows with vector j of B.
  void multiply_add(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& k, int rows,
                    int vectors, int j, const Expr& b, Stmts& out) const;

  Stmt multiply_add_one(const Buffer& acc, int64_t index, const Expr& a, const Expr& b) const;

  Stmts k_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows, int vectors,
               const Expr& valid);

  // Vector j of B at step k.
  Expr b_vector(const Expr& n, const Expr& k, int j, const Expr& valid) const;

  // k_loop on integers of 64 bits, by products of halves.
  Stmts two_sum_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows,
                     int vectors, const Expr& valid);

  // Step k of a register tile; `a(row)` is what multiplies it.
  Stmts k_step(const Buffer& acc, const Expr& k, const Expr& n, int rows, int vectors, const Expr& valid,
               const std::function<Expr(int)>& a);

  Stmts finish_tile(const Buffer& acc, const Expr& r, const Expr& n, int rows, int vectors, const Expr& valid,
                    const Expr& live_rows);

  const Dim m_dim_, n_dim_, k_dim_;
  const ContractionSchedule& s_;
  const bool has_fma_;
  const ContractionOperands& o_;
  kernel::ParamTable& params_;
  int64_t group_ = 0;
  int step_ = 1;  // elements of a step along k
  DType sum_ = DType::kF32;
  bool one_depth_block_ = false;
  bool by_tiles_ = false;                // in tile_block
  bool alone_ = false;                   // in single_row: words of B are read though there are panels of it
  Expr next_n_, next_k_, tile_, tiles_;  // of plan_prefetch; which row tile this is, of how many
  Expr m_, n_, k_, row0_, rows_, n0_, k0_, depth_, first_, last_;
  Expr tap_a_, tap_b_;  // in ContractionOperands::for_taps
  Buffer a_block_, b_panel_, partial_;
  Buffer row_steps_, row_sums_;      // of prepare_row
  Buffer row_digits_, row_factors_;  // of prepare_digits, with row_sums_
  Buffer a_rest_, b_rest_;           // of tile_block: steps behind the last whole tile
  WordRows a_words_;
  WordPanel b_words_;
};

}  // namespace tern::lower::contraction
