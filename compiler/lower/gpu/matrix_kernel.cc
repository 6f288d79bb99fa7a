#include "compiler/lower/gpu/matrix_kernel.h"

#include <algorithm>
#include <numeric>

#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/gpu/chunk_words.h"
#include "compiler/lower/gpu/index_math.h"
#include "compiler/lower/gpu/output_blocks.h"
#include "compiler/lower/gpu/plain_sums.h"
#include "compiler/lower/gpu/stage_registers.h"
#include "compiler/lower/gpu/tile_ops.h"

namespace tern::lower::gpu {
namespace {

using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::TileOp;
using kernel::TilePart;
using kernel::Var;
using kernel::var_expr;
using kernel::VType;
using Stmts = std::vector<Stmt>;

constexpr int kVector = 4;
constexpr VType kFloats{DType::kF32, 4};
constexpr VType kWords{DType::kU32, 4};  // of one access: a chunk of 16-bit elements, half of one of f32

Expr splat(const Expr& e, int lanes) {
  return lanes == 1 ? e : kernel::broadcast(e, lanes);
}

class Builder {
 public:
  Builder(const Dim& m, int64_t n, int64_t k, const MatrixSchedule& s, const Var& thread,
          const MmaOperands& o, kernel::ParamTable& params)
      : m_dim_(m), n_(n), k_(k), s_(s), o_(o), params_(params), t_(var_expr(thread)) {
    steps_ = (k / s.split + s.block_depth - 1) / s.block_depth;
    TERN_CHECK(s.split == 1 || (o.part && k % (int64_t{s.split} * s.block_depth) == 0),
               "parts of a depth are whole stages");
    chunk_of_stage_ = s.chunk();
    a_chunks_ = s.block_depth / chunk_of_stage_;
    copiers_ = s.copiers();
    a_rows_ = copiers_ / a_chunks_;
    a_count_ = s.resident_depth ? 0 : (s.block_m + a_rows_ - 1) / a_rows_;
    TERN_CHECK(!s.bf16x6 || (o.dtype == DType::kF32 && !s.resident_depth), "parts of f32 from memory");
    bytes_ = o.dtype == DType::kI8;
    TERN_CHECK(!(bytes_ || o.panels) || (s.b_columns && !s.resident_depth), "integers come as columns");
    TERN_CHECK(!s.int8 || (bytes_ && o.b_sums && s.bytes_planes == 1), "bytes and what they add up to");
    // Bytes come in pieces of half a chunk or a quarter of one where no more of them lie together.
    lanes_ = s.bf16x6 ? kChunk / 2 : kChunk;
    if (bytes_) {
      lanes_ = chunk_of_stage_;
      while (lanes_ > 4 && (!o.a_chunk || o.a_piece % lanes_ != 0)) lanes_ /= 2;
    }
    // What lies around a convolution's input, as an access has it.
    nothing_ = bytes_ ? splat(int_const(o.a_padding * 0x01010101, DType::kU32), lanes_ / 4)
                      : kernel::broadcast(int_const(0, DType::kU32), 4);
    if (o.panels || bytes_) b_words_ = chunk_of_stage_ * (bytes_ ? 8 : o.panels->bits) / 32;
    b_total_ = int64_t{s.block_depth} * s.block_n / chunk_of_stage_;
    b_count_ = (b_total_ + copiers_ - 1) / copiers_;
  }

  MmaKernel build(const kernel::GridAxis& batch) {
    MmaKernel out;
    LoopWriter w;
    if (s_.split > 1) {
      out.grid.push_back({o_.part, s_.split, int_const(s_.split)});
      first_step_ = w.let("first_step", times(kernel::var_expr(o_.part), steps_));
    }
    std::tie(m0_, n0_) = block_axes(w, out.grid, batch, m_dim_, n_, s_, params_);
    warp_ = warp_place(w, t_, s_, s_.unit.subgroup);
    copier_ = s_.own ? w.let("lane", rem(t_, s_.unit.subgroup)) : t_;
    if (s_.groups > 1) {
      group_ = w.let("group", div(t_, copiers_));
      copier_ = w.let("copier", rem(t_, copiers_));
    }
    acc_ = tiles("acc", s_.int8 ? DType::kI32 : DType::kF32, s_.unit, TilePart::kSums,
                 int64_t{s_.tiles_m()} * s_.tiles_n());
    high_ = tiles("high", DType::kF32, s_.unit, TilePart::kSums, s_.bytes_planes > 1 ? acc_->size : 0);
    for (const Buffer& sums : {acc_, high_}) {
      if (sums->size == 0) continue;
      w.emit(kernel::alloc(sums));
      clear(w, sums);
    }
    w.emit(kernel::block(sums()));
    w.emit(kernel::block(results()));
    out.body = w.take();
    return out;
  }

 private:
  StageRegisters& a_next() { return a_sets_[set_]; }
  StageRegisters& b_next() { return b_sets_[set_]; }

  Stmts sums() {
    const DType type = s_.bf16x6 ? DType::kBF16 : bytes_ && !s_.int8 ? DType::kF16 : o_.dtype;
    const int64_t slots = int64_t{s_.planes()} * (s_.own && s_.bf16x6 ? s_.block_depth / s_.tile_depth() : 1);
    a_plane_ = int64_t{s_.a_in_memory()} * s_.block_m * s_.a_pitch();
    b_plane_ = int64_t{s_.in_memory()} * s_.b_rows() * s_.b_pitch();
    a_stage_ = workgroup("a_stage", type, s_.planes_in_memory() * a_plane_);
    b_stage_ = workgroup("b_stage", type, s_.planes_in_memory() * b_plane_);
    TERN_CHECK(s_.ahead == 1 || (s_.groups == 1 && !s_.own && b_words_ == 0),
               "sets of registers for all threads' stages");
    for (int i = 0; i < s_.ahead; ++i) {
      // A subgroup with stages of its own has few products.
      const auto add = [&](std::vector<StageRegisters>& sets, const char* of, VType type, int64_t accesses) {
        sets.emplace_back(of, type, accesses, nothing_, s_.own);
      };
      add(a_sets_, "a", nothing_->type, a_count_ * chunk_of_stage_ / lanes_);
      b_words_ > 0 ? add(b_sets_, "b", {DType::kU32, 1}, b_count_ * b_words_)
                   : add(b_sets_, "b", kWords, b_count_ * chunk_of_stage_ / lanes_);
    }
    const auto parameters = [&](const char* name, bool has) {
      return registers(name, {DType::kF32, 1}, has ? b_count_ : 0);
    };
    b_scale_ = parameters("b_scale", o_.panels != nullptr);
    b_zero_ = parameters("b_zero", o_.panels && o_.panels->zeros);
    a_tile_ = tiles("a_tile", type, s_.unit, TilePart::kA, slots * s_.tiles_m());
    b_tile_ = tiles("b_tile", type, s_.unit, TilePart::kB, slots * s_.tiles_n());
    step_acc_ = tiles("step_acc", DType::kF32, s_.unit, TilePart::kSums, s_.bf16x6 ? s_.tiles_m() : 0);
    LoopWriter steps;
    if (!s_.resident_depth) prepare_rows(steps);
    s_.own ? own_steps(steps) : common_steps(steps);
    std::vector<Buffer> used{a_stage_, b_stage_, b_scale_, b_zero_, a_tile_, b_tile_, step_acc_};
    for (const auto* sets : {&a_sets_, &b_sets_}) {
      for (const StageRegisters& next : *sets) {
        for (const Buffer& b : next.used()) used.push_back(b);
      }
    }
    Stmts out;
    for (const Buffer& b : used) {
      if (b->size > 0) out.push_back(kernel::alloc(b));
    }
    append(out, steps.take());
    return out;
  }

  // Step s lies in stage s % stages, and group s % groups copies it, from set s % ahead of registers.
  void common_steps(LoopWriter& w) {
    // A round's steps know whose turn they are: dividing by the round would have the loop unrolled (GLSL).
    const int together = s_.ahead > 1                 ? std::lcm(s_.ahead, s_.stages)
                         : s_.groups % s_.stages == 0 ? s_.groups
                                                      : s_.stages;
    const int64_t later = std::max(s_.groups, s_.ahead);  // steps from a fetch to the one that it is for
    const bool even = steps_ % together == 0;
    const auto fetch_step = [&](const Expr& step, const Expr& when) {
      when ? w.when(when, [&] { fetch(w, step); }) : fetch(w, step);
    };
    if (group_) {
      fetch_step(group_, steps_ < s_.groups ? less(group_, int_const(steps_)) : nullptr);
    } else {
      for (set_ = 0; set_ < a_sets_.size() && static_cast<int64_t>(set_) < steps_; ++set_)
        fetch(w, int_const(static_cast<int64_t>(set_)));
    }
    compute_rows(w);
    w.loop("round", int_const((steps_ + together - 1) / together), [&](Expr round) {
      for (int part = 0; part < together; ++part) {
        const int stage = part % s_.stages;
        const Expr step = w.let("step", plus(times(round, together), int_const(part)));
        const auto one = [&] {
          set_ = static_cast<size_t>(part % s_.ahead);
          const Expr turn = together % s_.groups == 0 ? int_const(part % s_.groups) : rem(step, s_.groups);
          const Expr mine = group_ ? w.let("mine", kernel::compare(ScalarOp::kEq, turn, group_)) : nullptr;
          if (s_.stages == 1 && steps_ > 1) w.emit(kernel::barrier());
          mine ? w.when(mine, [&] { put(w, int_const(stage)); }) : put(w, int_const(stage));
          w.emit(kernel::barrier());
          if (steps_ > later) {
            const Expr next = w.let("next", plus(step, int_const(later)));
            fetch_step(next, both(mine, less(next, int_const(steps_))));
          }
          products(w, int_const(stage), step);
        };
        even ? one() : w.when(less(step, int_const(steps_)), one);
      }
      carry(w, round, int64_t{together} * s_.block_depth / s_.warps_k);
    });
  }

  void own_steps(LoopWriter& w) {
    const int64_t rounds = (steps_ + s_.warps_k - 1) / s_.warps_k;
    const bool even = steps_ % s_.warps_k == 0;
    const auto fetch_step = [&](const Expr& step, bool exists) {
      exists ? fetch(w, step) : w.when(less(step, int_const(steps_)), [&] { fetch(w, step); });
    };
    fetch_step(warp_.k, steps_ >= s_.warps_k);
    compute_rows(w);
    w.loop("round", int_const(rounds), [&](Expr round) {
      const Expr step = w.let("step", plus(times(round, s_.warps_k), warp_.k));
      const auto one = [&] {
        if (rounds > 1) w.emit(kernel::barrier(kernel::BarrierScope::kSubgroup));
        if (s_.bf16x6) {
          put_and_read_parts(w, warp_.k);
        } else {
          put(w, warp_.k);
          w.emit(kernel::barrier(kernel::BarrierScope::kSubgroup));
        }
        if (rounds > 1) fetch_step(w.let("next", plus(step, int_const(s_.warps_k))), false);
        if (!s_.bf16x6) return products(w, warp_.k, step);
        for (int q = 0; q < s_.block_depth / s_.tile_depth(); ++q) multiply_parts(w, q * s_.planes());
      };
      even ? one() : w.when(less(step, int_const(steps_)), one);
      carry(w, round, s_.block_depth);
    });
  }

  // Sums of bytes that would grow too large for f32 give their multiples of 4096 to other tiles, after so
  // many rounds as make no sum inexact. `steps`: of a round, that a warp adds up.
  void carry(LoopWriter& w, const Expr& round, int64_t steps) {
    if (high_->size == 0) return;
    const int64_t rounds = MatrixSchedule::kExactSteps / steps;
    TERN_CHECK(rounds > 0, "{} steps of bytes between two carries", steps);
    const auto all = [&] {
      for (int64_t i = 0; i < acc_->size; ++i) {
        const int lanes = acc_->type.lanes;
        const Expr slot = int_const(i), sum = kernel::load(acc_, slot, lanes);
        const auto all_lanes = [&](double v) { return kernel::broadcast(kernel::float_const(v), lanes); };
        const Expr multiples = kernel::op(ScalarOp::kRoundEven, {kernel::mul(sum, all_lanes(1.0 / kCarry))});
        w.emit(kernel::tile(TileOp::kFill, high_, slot,
                            kernel::add(kernel::load(high_, slot, lanes), multiples)));
        w.emit(kernel::tile(TileOp::kFill, acc_, slot,
                            kernel::op(ScalarOp::kFma, {multiples, all_lanes(-kCarry), sum})));
      }
    };
    const Expr turn = rem(plus(round, int_const(1)), rounds);
    rounds == 1 ? all() : w.when(kernel::compare(ScalarOp::kEq, turn, int_const(0)), all);
  }
  static constexpr double kCarry = 4096;

  void compute_rows(LoopWriter& w) {
    if (!s_.resident_depth) return;
    w.emit(kernel::block(o_.compute_rows(a_stage_, s_.a_pitch(), m0_)));
    w.emit(kernel::barrier());
  }

  // ---- A: a thread copies the same chunk column of every row that it copies. Rows beyond the last one are
  // that one again, so that no load is chosen between: nothing is stored of what they make.

  void prepare_rows(LoopWriter& w) {
    chunk_ = w.let("chunk", rem(copier_, a_chunks_));
    const Expr first = w.let("copy_row", div(copier_, a_chunks_));
    for (int64_t r = 0; r < a_count_; ++r) {
      const Expr row = r == 0 ? first : plus(first, int_const(r * a_rows_));
      const bool all = row_exists(row, m_dim_, s_.block_m, params_) == nullptr && s_.block_m % a_rows_ == 0;
      const Expr m = plus(m0_, row);
      Stmts lets;
      rows_.push_back({row, o_.a_row(all ? m : w.let("row_read", kernel::min(m, last_row())), lets)});
      for (Stmt& let : lets) w.emit(std::move(let));
    }
  }

  Expr gathered(LoopWriter& w, size_t r, const Expr& k, bool ragged) {
    std::vector<Expr> elements;
    for (int e = 0; e < lanes_; ++e) {
      const Expr ke = plus(k, int_const(e));
      Expr value = o_.a_element(rows_[r].state, ke);
      const Expr here = ragged ? less(ke, int_const(k_)) : nullptr;
      if (here)
        value = kernel::select(here, value,
                               bytes_ ? int_const(0, DType::kU8) : kernel::float_const(0.0, o_.dtype));
      elements.push_back(w.let("element", value));
    }
    if (bytes_) return word_of_bytes(elements);
    std::vector<Expr> words;
    if (s_.bf16x6) {
      for (const Expr& e : elements) words.push_back(kernel::bitcast(e, {DType::kU32, 1}));
    } else {
      for (size_t e = 0; e < kChunk; e += 2)
        words.push_back(w.let("word", word_of_halves(elements[e], elements[e + 1])));
    }
    return kernel::shuffle(kernel::shuffle(words[0], words[1], {0, 1}),
                           kernel::shuffle(words[2], words[3], {0, 1}), {0, 1, 2, 3});
  }

  void fetch_rows(LoopWriter& w, const Expr& step) {
    const Expr first = w.let("k", plus(times(step, s_.block_depth), times(chunk_, chunk_of_stage_)));
    const bool ragged = k_ % s_.block_depth != 0;
    const int64_t accesses = chunk_of_stage_ / lanes_;
    for (int64_t part = 0; part < accesses; ++part) {
      const Expr k = part == 0 ? first : w.let("k", plus(first, int_const(part * lanes_)));
      const Expr in_depth = ragged ? w.let("in_depth", less(k, int_const(k_))) : nullptr;
      Stmts lets;
      const MmaOperands::State depth = o_.a_depth(k, lets);
      for (Stmt& let : lets) w.emit(std::move(let));
      for (size_t r = 0; r < rows_.size(); ++r) {
        const int64_t slot = static_cast<int64_t>(r) * accesses + part;
        if (o_.a_chunk) {
          const MmaChunk at = o_.a_chunk(rows_[r].state, depth);
          a_next().read(w, slot, o_.a_buffer, at.index, both(in_depth, at.exists), at.count);
        } else {
          w.emit(kernel::store(a_next().words(), int_const(slot), gathered(w, r, k, ragged)));
        }
      }
    }
  }

  // The step of the workgroup's own part of the depth.
  void fetch(LoopWriter& w, const Expr& own_step) {
    const Expr step = first_step_ ? plus(first_step_, own_step) : own_step;
    if (!s_.resident_depth) fetch_rows(w, step);
    const bool ragged = k_ % s_.block_depth != 0;
    const int64_t accesses = chunk_of_stage_ / lanes_;
    for (int64_t i = 0; i < b_count_; ++i) {
      if (b_words_ > 0) {
        fetch_words(w, step, i);
        continue;
      }
      if (o_.b_element) {
        for (int64_t part = 0; part < accesses; ++part)
          read_from_memory(w, step, i, part, i * accesses + part);
        continue;
      }
      const BChunk at = b_chunk(i);
      const Expr bk = plus(times(step, s_.block_depth), at.depth);
      const Expr panel = plus(div(n0_, kPanelColumns), at.panel);
      const int64_t panels = (n_ + kPanelColumns - 1) / kPanelColumns;
      Expr exists = at.exists;
      if (ragged) exists = both(exists, less(bk, int_const(k_)));
      if (panels * kPanelColumns % s_.block_n != 0) exists = both(exists, less(panel, int_const(panels)));
      const Expr row = plus(times(panel, k_), bk);
      const Expr index = plus(o_.b_first, plus(times(row, kPanelColumns), times(at.half, kChunk)));
      if (exists && accesses > 1) exists = w.let("exists", exists);
      for (int64_t part = 0; part < accesses; ++part)
        b_next().read(w, i * accesses + part, o_.b_buffer, plus(index, int_const(part * lanes_)), exists);
    }
  }

  // ---- B: neighbouring threads copy neighbours of one panel.

  struct BChunk {
    Expr panel, depth, half;
    Expr exists;  // null: always
  };
  BChunk b_chunk(int64_t i) const {
    const Expr q = plus(copier_, int_const(i * copiers_));
    const Expr exists = (i + 1) * copiers_ > b_total_ ? less(q, int_const(b_total_)) : nullptr;
    const Expr panel = div(q, int64_t{2} * s_.block_depth);
    if (!s_.own && s_.groups == 1) return {panel, rem(div(q, 2), s_.block_depth), rem(q, 2), exists};
    // Eight neighbours store halves of eight rows, so that they meet different banks; where all subgroups
    // copy at a time, loads of whole rows are worth more.
    const Expr row = plus(times(div(q, 16), 8), rem(q, 8));
    return {panel, rem(row, s_.block_depth), rem(div(q, 8), 2), exists};
  }

  // A column or a row of B, and a chunk along it.
  struct BLine {
    Expr line, chunk;
    Expr exists;  // null: always
  };

  // B in integers: words of steps of a column, of which neighbouring threads copy those of neighbouring
  // columns. Zero past the last step, or what rows of zeros are multiplied by.
  BLine word_line(int64_t i) const {
    const Expr q = plus(copier_, int_const(i * copiers_));
    return {rem(q, s_.block_n), div(q, s_.block_n),
            (i + 1) * copiers_ > b_total_ ? less(q, int_const(b_total_)) : nullptr};
  }
  void fetch_words(LoopWriter& w, const Expr& step, int64_t i) {
    const BLine at = word_line(i);
    const Expr k = w.let("b_k", plus(times(step, s_.block_depth), times(at.chunk, chunk_of_stage_))),
               n = w.let("b_n", plus(n0_, at.line));
    const int64_t columns = (n_ + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
    Expr exists = at.exists;
    if (k_ % s_.block_depth != 0) exists = both(exists, less(k, int_const(k_)));
    if (columns % s_.block_n != 0) exists = both(exists, less(n, int_const(columns)));
    if (exists) exists = w.let("b_exists", exists);
    const auto read = [](const Expr& condition, const Expr& index) {
      return condition ? kernel::select(condition, index, int_const(0)) : index;
    };
    const int steps = chunk_of_stage_ / b_words_;
    for (int part = 0; part < b_words_; ++part) {
      const Expr here = plus(k, int_const(part * steps));
      const Expr known =
          part > 0 && k_ % chunk_of_stage_ != 0 ? both(exists, less(here, int_const(k_))) : exists;
      const Expr index = read(known, word_index(n, div(here, steps)));
      const Expr word = bytes_
                            ? kernel::bitcast(kernel::load(o_.b_buffer, times(index, 4), 4), {DType::kU32, 1})
                            : kernel::load(o_.panels->words, index);
      w.emit(kernel::store(b_next().words(), int_const(i * b_words_ + part),
                           known ? kernel::select(known, word, int_const(0, DType::kU32)) : word));
    }
    if (bytes_) return;
    const Expr parameter = read(exists, o_.panels->parameter_index(n, div(k, o_.panels->block)));
    w.emit(kernel::store(b_scale_, int_const(i), kernel::load(o_.panels->scales, parameter)));
    if (b_zero_->size > 0)
      w.emit(kernel::store(b_zero_, int_const(i),
                           kernel::cast(kernel::load(o_.panels->zeros, parameter), DType::kF32)));
  }
  // Of bytes: four steps a word (pack_byte_panels).
  Expr word_index(const Expr& n, const Expr& word) const {
    if (!bytes_) return o_.panels->word_index(n, word);
    const Expr row = plus(times(div(n, kPanelColumns), (k_ + 3) / 4), word);
    return plus(div(o_.b_first, 4), plus(times(row, kPanelColumns), rem(n, kPanelColumns)));
  }

  // B in memory's rows, or columns: neighbouring threads copy neighbours of one of them.
  BLine b_line(int64_t i) const {
    const int chunks = (s_.b_columns ? s_.block_depth : s_.block_n) / kChunk;
    const Expr q = plus(copier_, int_const(i * copiers_));
    return {div(q, chunks), rem(q, chunks),
            (i + 1) * copiers_ > b_total_ ? less(q, int_const(b_total_)) : nullptr};
  }
  void read_from_memory(LoopWriter& w, const Expr& step, int64_t i, int64_t part, int64_t slot) {
    const BLine at = b_line(i);
    const Expr k0 = times(step, s_.block_depth),
               along = plus(times(at.chunk, kChunk), int_const(part * lanes_));
    const Expr k = plus(k0, s_.b_columns ? along : at.line), n = plus(n0_, s_.b_columns ? at.line : along);
    Expr exists = at.exists;
    if (k_ % s_.block_depth != 0) exists = both(exists, less(k, int_const(k_)));
    if (n_ % s_.block_n != 0) exists = both(exists, less(n, int_const(n_)));
    b_next().read(w, slot, o_.b_buffer, o_.b_element(k, n), exists);
  }

  // A chunk that the thread puts into a stage.
  struct Put {
    const Buffer& to;
    const StageRegisters& next;
    int64_t i;           // its first access, in `next`
    Expr index;          // where its first part lies
    Expr exists;         // null: always
    Expr rest[2];        // bf16x6: what is left of its even and its odd elements, f32
    int64_t chunk = -1;  // of B's integers: which of the thread's
  };
  std::vector<Put> puts(const Expr& stage) {
    std::vector<Put> out;
    const Expr a_base = times(stage, int64_t{s_.block_m} * s_.a_pitch());
    for (int64_t r = 0; r < a_count_; ++r) {
      const Expr& row = rows_[static_cast<size_t>(r)].row;
      const Expr index = plus(a_base, plus(times(row, s_.a_pitch()), times(chunk_, chunk_of_stage_)));
      const Expr exists = s_.block_m % a_rows_ != 0 ? less(row, int_const(s_.block_m)) : nullptr;
      out.push_back({a_stage_, a_next(), r * chunk_of_stage_ / lanes_, index, exists, {}});
    }
    const Expr b_base = times(stage, int64_t{s_.b_rows()} * s_.b_pitch());
    for (int64_t i = 0; i < b_count_; ++i) {
      if (b_words_ > 0) {
        const BLine at = word_line(i);
        const Expr index = plus(b_base, plus(times(at.line, s_.b_pitch()), times(at.chunk, chunk_of_stage_)));
        out.push_back({b_stage_, b_next(), i * b_words_, index, at.exists, {}, i});
        continue;
      }
      const int64_t access = i * kChunk / lanes_;
      if (o_.b_element) {
        const BLine at = b_line(i);
        const Expr index = plus(b_base, plus(times(at.line, s_.b_pitch()), times(at.chunk, kChunk)));
        out.push_back({b_stage_, b_next(), access, index, at.exists, {}});
        continue;
      }
      const BChunk at = b_chunk(i);
      const Expr column = plus(times(at.panel, kPanelColumns), times(at.half, kChunk));
      const Expr index = plus(b_base, plus(times(at.depth, s_.b_pitch()), column));
      out.push_back({b_stage_, b_next(), access, index, at.exists, {}});
    }
    return out;
  }
  static void put_words(LoopWriter& w, const Put& put, const Expr& index, const Expr& words) {
    const auto one = [&] {
      w.emit(kernel::store(put.to, index,
                           kernel::bitcast(words, {put.to->type.dtype, chunk_of(put.to->type.dtype)})));
    };
    put.exists ? w.when(put.exists, one) : one();
  }

  // The eight numbers of a chunk of B's integers.
  std::vector<Expr> numbers(LoopWriter& w, const Put& put) const {
    QuantisedPanels::Parameters p;
    const Expr at = int_const(put.chunk);
    p.scale = kernel::load(b_scale_, at);
    p.base = kernel::float_const(8388608);  // 2^23 (QuantisedPanels::step_of)
    p.rest = b_zero_->size > 0 ? kernel::load(b_zero_, at) : kernel::float_const(o_.panels->zero);
    std::vector<Expr> out;
    for (int64_t part = 0; part < b_words_; ++part) {
      const Expr word = w.let("word", kernel::load(put.next.words(), int_const(put.i + part)));
      for (int i = 0; i < 32 / o_.panels->bits; ++i)
        out.push_back(w.let("number", kernel::mul(o_.panels->step_of(word, i, p), p.scale)));
    }
    return out;
  }
  // A chunk of A's bytes or B's as f16, steps 0, 2, 1, 3 of each word: a byte is the end of a number from
  // 1024 on.
  Expr halves_of_bytes(LoopWriter& w, const Put& put) const {
    const auto bits = [](int64_t v) { return int_const(v, DType::kU32); };
    const auto both = [](const Expr& a, ScalarOp op, const Expr& b) { return kernel::op(op, {a, b}); };
    const bool is_signed = put.chunk >= 0;
    std::vector<Expr> words;
    for (int64_t part = 0; part < 2; ++part) {
      const bool pair = put.next.words()->type.lanes == 2;
      Expr word = put.next.arrived(w, put.i + (pair ? 0 : part));
      if (pair) word = kernel::shuffle(word, nullptr, {static_cast<int>(part)});
      // Signed bytes with half of their range added.
      if (is_signed) word = both(word, ScalarOp::kXor, bits(0x80808080));
      word = w.let("word", word);
      for (int odd = 0; odd < 2; ++odd) {
        const Expr even = odd ? both(word, ScalarOp::kShr, bits(8)) : word;
        const Expr two = both(both(even, ScalarOp::kAnd, bits(0x00ff00ff)), ScalarOp::kOr, bits(0x64006400));
        const Expr base = kernel::broadcast(kernel::float_const(is_signed ? 1152 : 1024, DType::kF16), 2);
        words.push_back(w.let(
            "halves",
            kernel::bitcast(kernel::sub(kernel::bitcast(two, {DType::kF16, 2}), base), {DType::kU32, 1})));
      }
    }
    return joined(joined(words[0], words[1]), joined(words[2], words[3]));
  }

  // A chunk of A's bytes, which get a sign, or B's as they are.
  static Expr signed_bytes(LoopWriter& w, const Put& put) {
    const auto words_from = [&](auto& self, int part, int count) -> Expr {
      const int lanes = put.next.words()->type.lanes;
      if (count == lanes) return put.next.arrived(w, put.i + part / lanes);
      return joined(self(self, part, count / 2), self(self, part + count / 2, count / 2));
    };
    Expr words = words_from(words_from, 0, 4);
    const bool is_signed = put.chunk >= 0;
    if (!is_signed) words = kernel::op(ScalarOp::kXor, {words, splat(int_const(0x80808080, DType::kU32), 4)});
    return w.let("bytes", words);
  }

  // Elements of f32 become three of bf16 whose sum they are, the highest first: what is left, which is
  // rounded to nearest at first, so that the products which are left out have any sign, and cut off then.
  void begin_parts(LoopWriter& w, Put& put) const {
    if (put.chunk >= 0) {
      const std::vector<Expr> n = numbers(w, put);
      for (size_t odd = 0; odd < 2; ++odd)
        put.rest[odd] = w.let("rest", joined(joined(n[odd], n[odd + 2]), joined(n[odd + 4], n[odd + 6])));
      return;
    }
    const Expr front = put.next.arrived(w, put.i), back = put.next.arrived(w, put.i + 1);
    for (int odd = 0; odd < 2; ++odd) {
      const Expr half = kernel::shuffle(front, back, {odd, odd + 2, odd + 4, odd + 6});
      put.rest[odd] = w.let("rest", kernel::bitcast(half, kFloats));
    }
  }
  void put_part(LoopWriter& w, Put& put, int part, const Expr& index) const {
    const auto word = [](int64_t bits) { return kernel::broadcast(int_const(bits, DType::kU32), 4); };
    const bool last = part + 1 == s_.planes();
    Expr high[2];
    for (int odd = 0; odd < 2; ++odd) {
      const Expr bits = kernel::bitcast(put.rest[odd], kWords);
      const Expr near = part == 0 ? kernel::add(bits, word(0x8000)) : bits;
      high[odd] = w.let("high", kernel::op(ScalarOp::kAnd, {near, word(0xffff0000)}));
      if (!last)
        put.rest[odd] = w.let("rest", kernel::sub(put.rest[odd], kernel::bitcast(high[odd], kFloats)));
    }
    const Expr low = kernel::op(ScalarOp::kShr, {high[0], word(16)});
    put_words(w, put, index, w.let("words", kernel::op(ScalarOp::kOr, {low, high[1]})));
  }

  void put(LoopWriter& w, const Expr& stage) {
    for (Put& put : puts(stage)) {
      if (!s_.bf16x6) {
        put_words(w, put, put.index,
                  s_.int8          ? signed_bytes(w, put)
                  : bytes_         ? halves_of_bytes(w, put)
                  : put.chunk >= 0 ? chunk_of_numbers(w, numbers(w, put), o_.dtype)
                                   : put.next.arrived(w, put.i));
        continue;
      }
      begin_parts(w, put);
      const int64_t plane = put.to == a_stage_ ? a_plane_ : b_plane_;
      for (int part = 0; part < s_.planes(); ++part)
        put_part(w, put, part, plus(put.index, int_const(part * plane)));
    }
  }

  // A stage of a subgroup's own has room for one part, whose tiles are read before the next one comes.
  void put_and_read_parts(LoopWriter& w, const Expr& stage) {
    std::vector<Put> chunks = puts(stage);
    for (Put& put : chunks) begin_parts(w, put);
    const TileSource from = tile_source(w, stage, nullptr);
    for (int part = 0; part < s_.planes(); ++part) {
      if (part > 0) w.emit(kernel::barrier(kernel::BarrierScope::kSubgroup));
      for (Put& put : chunks) put_part(w, put, part, put.index);
      w.emit(kernel::barrier(kernel::BarrierScope::kSubgroup));
      for (int q = 0; q < s_.block_depth / s_.tile_depth(); ++q)
        read_tiles(w, from, int_const(int64_t{q} * s_.tile_depth()), q * s_.planes() + part, 0);
    }
  }

  // Where a warp's tiles of a stage begin.
  struct TileSource {
    Expr a, b;
  };
  TileSource tile_source(LoopWriter& w, const Expr& stage, const Expr& step) {
    const Expr a_first =
        s_.resident_depth ? times(step, s_.block_depth) : times(stage, int64_t{s_.block_m} * s_.a_pitch());
    TileSource from;
    from.a =
        w.let("a_base", plus(a_first, times(warp_.m, int64_t{s_.tile_rows()} * s_.tiles_m() * s_.a_pitch())));
    from.b = w.let("b_base", plus(times(stage, int64_t{s_.b_rows()} * s_.b_pitch()),
                                  times(warp_.n, s_.tile_columns() * s_.tiles_n() * across())));
    return from;
  }
  // From a column of B to the next one, from a step to the next one.
  int64_t across() const { return s_.b_columns ? s_.b_pitch() : 1; }
  int64_t along() const { return s_.b_columns ? 1 : s_.b_pitch(); }

  // The tiles of some steps from `at` on, as number `slot` of those in registers; `plane`: of the parts that
  // lie behind each other.
  void read_tiles(LoopWriter& w, const TileSource& from, const Expr& at, int slot, int plane) {
    const auto tile = [&](const Buffer& tiles, int i, const Buffer& stage, const Expr& first, int pitch,
                          TileOp load = TileOp::kLoad) {
      w.emit(kernel::tile(load, tiles, int_const(i), kernel::load(stage, first), int_const(pitch)));
    };
    const Expr a = plus(from.a, plus(int_const(plane * a_plane_), at)),
               b = plus(from.b, plus(int_const(plane * b_plane_), times(at, along())));
    for (int i = 0; i < s_.tiles_m(); ++i)
      tile(a_tile_, slot * s_.tiles_m() + i, a_stage_, plus(a, int_const(i * s_.tile_rows() * s_.a_pitch())),
           s_.a_pitch());
    for (int j = 0; j < s_.tiles_n(); ++j)
      tile(b_tile_, slot * s_.tiles_n() + j, b_stage_, plus(b, int_const(j * s_.tile_columns() * across())),
           s_.b_pitch(), s_.b_columns ? TileOp::kLoadColumns : TileOp::kLoad);
  }

  void products(LoopWriter& w, const Expr& stage, const Expr& step) {
    const TileSource from = tile_source(w, stage, step);
    const int parts = s_.own ? 1 : s_.warps_k;
    for (int q = 0; q < s_.block_depth / s_.tile_depth() / parts; ++q) {
      const Expr part = int_const(int64_t{q} * parts);
      const Expr at = w.let("at", times(s_.own ? part : plus(part, warp_.k), s_.tile_depth()));
      for (int plane = 0; plane < s_.planes(); ++plane) read_tiles(w, from, at, plane, plane);
      s_.bf16x6 ? multiply_parts(w, 0) : multiply_tiles(w);
    }
  }

  void multiply_tiles(LoopWriter& w) {
    for (int i = 0; i < s_.tiles_m(); ++i) {
      for (int j = 0; j < s_.tiles_n(); ++j) multiply(w, acc_, i * s_.tiles_n() + j, a_tile_, i, b_tile_, j);
    }
  }

  // One step's products, the least terms first, in sums of their own, which are added to those of the steps
  // before: matrix units cut off what is added, at the size of the sum. No product waits for the one in front
  // of it.
  void multiply_parts(LoopWriter& w, int first) {
    constexpr std::pair<int, int> kTerms[] = {{2, 0}, {0, 2}, {1, 1}, {1, 0}, {0, 1}, {0, 0}};
    const auto load = [](const Buffer& tiles, int64_t i) {
      return kernel::load(tiles, int_const(i), tiles->type.lanes);
    };
    for (int j = 0; j < s_.tiles_n(); ++j) {
      clear(w, step_acc_);
      for (const auto& [a, b] : kTerms) {
        for (int i = 0; i < s_.tiles_m(); ++i)
          multiply(w, step_acc_, i, a_tile_, (first + a) * s_.tiles_m() + i, b_tile_,
                   (first + b) * s_.tiles_n() + j);
      }
      for (int i = 0; i < s_.tiles_m(); ++i) {
        const int64_t slot = int64_t{i} * s_.tiles_n() + j;
        w.emit(kernel::tile(TileOp::kFill, acc_, int_const(slot),
                            kernel::add(load(acc_, slot), load(step_acc_, i))));
      }
    }
  }

  // ---- Results: rows of every warp's tiles, as many at a time as lie where the stages did.

  Stmts results() {
    const int pitch = s_.partial_pitch(), warps = s_.threads() / s_.unit.subgroup;
    const int group = s_.partial_rows(), side = s_.tile_rows();
    const int64_t plane = int64_t{warps} * group * side * pitch;
    const Buffer partial = workgroup("partial", acc_->type.dtype, s_.bytes_planes * plane);
    LoopWriter w;
    w.emit(kernel::alloc(partial));
    const Expr mine = w.let("mine", times(div(t_, s_.unit.subgroup), int64_t{group} * side * pitch));
    for (int i = 0; i < s_.tiles_m(); i += group) {
      if (i > 0) w.emit(kernel::barrier());
      for (int j = 0; j < group * s_.tiles_n(); ++j) {
        const int row = j / s_.tiles_n(), column = j % s_.tiles_n();
        for (int high = 0; high < s_.bytes_planes; ++high) {
          const Expr first =
              plus(mine, int_const(high * plane + int64_t{row} * pitch * side + column * s_.tile_columns()));
          w.emit(kernel::tile(TileOp::kStore, high ? high_ : acc_, int_const(i * s_.tiles_n() + j),
                              kernel::load(partial, first), int_const(pitch)));
        }
      }
      w.emit(kernel::barrier());
      const int64_t vectors = int64_t{s_.warps_m} * group * side * s_.block_n / kVector;
      for (int64_t v = 0; v * s_.threads() < vectors; ++v)
        result_vector(w, partial, i, plus(t_, int_const(v * s_.threads())), vectors,
                      (v + 1) * s_.threads() > vectors);
    }
    return w.take();
  }

  void result_vector(LoopWriter& w, const Buffer& partial, int i, const Expr& q, int64_t vectors, bool last) {
    const int side = s_.tile_rows(), width = s_.tile_columns() * s_.tiles_n(), pitch = s_.partial_pitch(),
              rows = s_.partial_rows() * side;
    const Expr row = w.let("row", div(q, s_.block_n / kVector));
    const Expr column = w.let("column", times(rem(q, s_.block_n / kVector), kVector));
    const Expr part_m = div(row, rows), inner = rem(row, rows);
    const Expr m = w.let(
        "m", plus(m0_, plus(times(part_m, int64_t{side} * s_.tiles_m()), plus(int_const(i * side), inner))));
    const Expr n = w.let("n", plus(n0_, column));
    const Expr kept = row_exists(m, m_dim_, s_.block_m, params_);
    Expr exists;
    if (n_ % s_.block_n != 0) exists = both(exists, less(n, int_const(n_)));
    if (last) exists = both(exists, less(q, int_const(vectors)));
    const Expr m_read = kept ? w.let("m_read", kernel::min(m, last_row())) : m;
    const auto value = [&] {
      Expr sum;
      for (int part = 0; part < s_.warps_k; ++part) {
        const Expr warp =
            plus(times(plus(int_const(part * s_.warps_m), part_m), s_.warps_n), div(column, width));
        const Expr at = plus(times(plus(times(warp, rows), inner), pitch), rem(column, width));
        Expr value = kernel::load(partial, at, kVector);
        if (bytes_ && !s_.int8) value = kernel::cast(value, DType::kI32);
        if (s_.bytes_planes > 1) {
          const int64_t plane = partial->size / s_.bytes_planes;
          const Expr high =
              kernel::cast(kernel::load(partial, plus(at, int_const(plane)), kVector), DType::kI32);
          value = kernel::add(
              value, kernel::mul(high, splat(int_const(static_cast<int64_t>(kCarry), DType::kI32), kVector)));
        }
        sum = sum ? kernel::add(sum, value) : value;
      }
      if (s_.int8) sum = kernel::add(sum, o_.b_sums(n, kVector));
      sum = w.let("sum", sum);
      if (!s_.bf16x6) return sum;
      const auto step = [&](const Expr& k) {
        return first_step_ ? plus(times(first_step_, s_.block_depth), k) : k;
      };
      return plain_unless_finite(
          w, sum, k_ / s_.split,
          [&](const Expr& k, Stmts& lets) { return o_.a_plain(m_read, step(k), lets); },
          [&](const Expr& k, int i) {
            const Expr column = plus(n, int_const(i));
            if (o_.panels) return o_.panels->steps_from(step(k), column, 1);
            return kernel::load(o_.b_buffer, b_index(step(k), column));
          });
    };
    finish_columns(w, o_, exists, m_read, n, n_, kVector, value, kept);
  }

  // Where an element of B lies; past the last column any.
  Expr b_index(const Expr& k, const Expr& column) const {
    if (o_.b_element)
      return o_.b_element(k, n_ % kVector == 0 ? column : kernel::min(column, int_const(n_ - 1)));
    const Expr row = plus(times(div(column, kPanelColumns), k_), k);
    return plus(o_.b_first, plus(times(row, kPanelColumns), rem(column, kPanelColumns)));
  }

  Expr last_row() const { return kernel::sub(params_.expr(m_dim_), int_const(1)); }

  struct Row {
    Expr row;
    MmaOperands::State state;
  };
  const Dim m_dim_;
  const int64_t n_, k_;
  const MatrixSchedule& s_;
  const MmaOperands& o_;
  kernel::ParamTable& params_;
  const Expr t_;
  int lanes_;           // elements of one access to memory
  int chunk_of_stage_;  // elements of one access to workgroup memory
  bool bytes_ = false;  // A's and B's are bytes, which f16 holds
  int b_words_ = 0;     // of a chunk of B, where that is integers
  Expr nothing_;        // an access of A where there is nothing
  int copiers_;         // threads that share a stage's copies
  Expr copier_;         // which of them
  Expr group_;          // null: all threads are copiers
  Expr first_step_;     // null: 0
  int64_t steps_, a_chunks_, a_rows_, a_count_, b_total_, b_count_;
  int64_t a_plane_ = 0, b_plane_ = 0;  // elements from a part to the next one
  Expr m0_, n0_, chunk_;
  WarpPlace warp_;
  Buffer high_;  // multiples of kCarry that sums have given up
  Buffer b_scale_, b_zero_;
  Buffer acc_, step_acc_, a_stage_, b_stage_, a_tile_, b_tile_;
  std::vector<Row> rows_;
  std::vector<StageRegisters> a_sets_, b_sets_;
  size_t set_ = 0;
};

}  // namespace

MmaKernel build_matrix_kernel(const Dim& m, int64_t n, int64_t k, const kernel::GridAxis& batch_axis,
                              const MatrixSchedule& schedule, const Var& thread, const MmaOperands& operands,
                              kernel::ParamTable& params) {
  return Builder(m, n, k, schedule, thread, operands, params).build(batch_axis);
}

}  // namespace tern::lower::gpu
