#include "compiler/lower/gpu/few_rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "compiler/lower/gpu/chunks.h"
#include "compiler/lower/gpu/output_blocks.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::Intrinsic;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::Var;
using kernel::var_expr;
using kernel::VType;

constexpr int kRowPadding = 4;  // words behind a row of A, against bank conflicts
constexpr int kWordsOfChunk = kChunk / 2;
constexpr VType kQuad{DType::kU32, 4};

Expr times(const Expr& e, int64_t by) {
  return kernel::mul(e, int_const(by));
}
Expr plus(const Expr& e, int64_t by) {
  return by == 0 ? e : kernel::add(e, int_const(by));
}
Expr lane_of(const Expr& vector, int lane) {
  return kernel::shuffle(vector, nullptr, {lane});
}
Expr word(int64_t bits) {
  return int_const(bits, DType::kU32);
}
Expr quad(const Expr& a, const Expr& b, const Expr& c, const Expr& d) {
  return kernel::shuffle(kernel::shuffle(a, b, {0, 1}), kernel::shuffle(c, d, {0, 1}), {0, 1, 2, 3});
}
Buffer registers(LoopWriter& w, const char* name, VType type, int64_t size) {
  const Buffer b = kernel::make_buffer(name, type, Scope::kRegister, kernel::Access::kReadWrite, size);
  w.emit(kernel::alloc(b));
  return b;
}
Buffer shared(LoopWriter& w, const char* name, DType dtype, int64_t size) {
  const Buffer b = kernel::make_buffer(name, {dtype, 1}, Scope::kWorkgroup, kernel::Access::kReadWrite, size);
  w.emit(kernel::alloc(b));
  return b;
}

class Builder {
 public:
  Builder(const Dim& rows, int64_t most, int64_t n, int64_t k, const FewRowsSchedule& s, const Var& thread,
          const MmaOperands& o, const QuantisedPanels* panels, kernel::ParamTable& params)
      : rows_dim_(rows),
        params_(params),
        rows_(most),
        existing_(params.expr(rows)),
        n_(n),
        k_(k),
        s_(s),
        o_(o),
        panels_(panels),
        t_(var_expr(thread)),
        turns_(ceil_div(ceil_div(k, int64_t{s.steps}), int64_t{s.warps_k} * s.ahead)),
        whole_(turns_ * s.ahead * s.warps_k * s.steps == k),
        pitch_(s.words_of_row(k) + kRowPadding) {}

  MmaKernel build() {
    MmaKernel out;
    const Var block = kernel::make_var("n_block");
    Dim blocks = ceil_div(n_, int64_t{s_.block_n()});
    if (!rows_dim_.is_const()) blocks = blocks * has_at_most(rows_dim_, rows_);
    out.grid.push_back({block, blocks, params_.expr(blocks)});
    LoopWriter w;
    n0_ = w.let("n0", times(var_expr(block), s_.block_n()));
    const Expr lane = w.let("lane", kernel::index_rem(t_, int_const(32))),
               warp = w.let("warp", kernel::index_div(t_, int_const(32)));
    group_ = w.let("group", kernel::index_div(lane, int_const(4)));
    member_ = w.let("member", kernel::index_rem(lane, int_const(4)));
    warp_n_ = w.let("warp_n", kernel::index_rem(warp, int_const(s_.warps_n)));
    warp_k_ = w.let("warp_k", kernel::index_div(warp, int_const(s_.warps_n)));
    // Warps past the last column read its weights and store nothing.
    const int64_t columns = round_up(n_, int64_t{FewRowsSchedule::kColumns});
    column0_ = w.let("column0", kernel::min(kernel::add(n0_, times(warp_n_, FewRowsSchedule::kColumns)),
                                            int_const(columns - FewRowsSchedule::kColumns)));
    sums_ = registers(w, "sums", {DType::kF32, 4}, 1);
    w.store(sums_, int_const(0), kernel::broadcast(kernel::float_const(0.0), 4));
    prepare_weights(w);
    for (int slot = 0; slot < s_.ahead; ++slot) fetch(w, slot, part(int_const(0), slot));
    w.emit(kernel::grid_wait());
    stage_rows(w);
    w.emit(kernel::barrier());
    multiply_all(w);
    results(w);
    out.body = w.take();
    return out;
  }

 private:
  int units() const { return s_.steps / s_.unit(); }
  int per_word() const { return 32 / s_.bits; }
  // Which part of the depth, of `steps` each, a warp multiplies in a turn.
  Expr part(const Expr& turn, int slot) const {
    const Expr first = kernel::add(times(turn, s_.ahead), int_const(slot));
    return kernel::add(times(first, s_.warps_k), warp_k_);
  }
  void when_exists(LoopWriter& w, const Expr& at, const std::function<void()>& body) const {
    if (whole_) return body();
    w.when(less(at, int_const(ceil_div(k_, int64_t{s_.steps}))), body);
  }

  // ---- Weights

  void prepare_weights(LoopWriter& w) {
    const int64_t loads = int64_t{s_.ahead} * units();
    if (!panels_) {
      weights_ = registers(w, "weights", kQuad, loads * 4);
      const int64_t last = round_up(n_, 8) - 1;
      for (int half = 0; half < 2; ++half) {
        const Expr n = plus(kernel::add(column0_, group_), half * 8);
        float_row_[half] = w.let("row", round_up(n_, 16) - 1 > last ? kernel::min(n, int_const(last)) : n);
      }
      return;
    }
    weights_ = registers(w, "weights", {DType::kU32, 2}, loads);
    scales_ = registers(w, "scales", {DType::kF32, 2}, int64_t{s_.ahead} * blocks_of_part());
    if (panels_->zeros) zeros_ = registers(w, "zeros", kQuad, int64_t{s_.ahead} * blocks_of_part());
    pair_ = w.let("pair", kernel::add(column0_, times(group_, 2)));
  }
  int64_t blocks_of_part() const { return std::max<int64_t>(1, s_.steps / panels_->block); }
  int64_t units_of_block() const { return units() / blocks_of_part(); }

  void fetch(LoopWriter& w, int slot, const Expr& at) {
    when_exists(w, at, [&] { panels_ ? fetch_integers(w, slot, at) : fetch_floats(w, slot, at); });
  }

  // Blocks of 64 steps, in each a row of 128 bytes a column: four threads have a half of it.
  void fetch_floats(LoopWriter& w, int slot, const Expr& at) {
    const int64_t columns = round_up(n_, 8);
    for (int u = 0; u < units(); ++u) {
      const Expr block = plus(times(at, units()), u);
      for (int half = 0; half < 2; ++half) {
        for (int row = 0; row < 2; ++row) {
          const Expr& n = float_row_[row];
          const Expr chunk =
              kernel::op(ScalarOp::kXor, {plus(member_, half * 4), kernel::index_rem(n, int_const(8))});
          const Expr from = kernel::add(times(kernel::add(times(block, columns), n), kPanel),
                                        kernel::add(o_.b_first, times(chunk, kChunk)));
          w.store(weights_, int_const(((int64_t{slot} * units() + u) * 2 + half) * 2 + row),
                  kernel::bitcast(kernel::load(o_.b_buffer, from, kChunk), kQuad));
        }
      }
    }
  }

  // A word of two neighbouring columns; four threads have four words of them.
  void fetch_integers(LoopWriter& w, int slot, const Expr& at) {
    for (int u = 0; u < units(); ++u) {
      const Expr index = kernel::add(plus(times(at, s_.steps / per_word()), u * 4), member_);
      w.store(weights_, int_const(int64_t{slot} * units() + u),
              kernel::load(panels_->words, panels_->word_index(pair_, index), 2));
    }
    for (int64_t b = 0; b < blocks_of_part(); ++b) {
      const Expr block = s_.steps >= panels_->block
                             ? plus(times(at, blocks_of_part()), b)
                             : kernel::index_div(at, int_const(panels_->block / s_.steps));
      const Expr from = panels_->parameter_index(pair_, block);
      const Expr slot_of_block = int_const(int64_t{slot} * blocks_of_part() + b);
      w.store(scales_, slot_of_block, kernel::cast(kernel::load(panels_->scales, from, 2), DType::kF32));
      if (!panels_->zeros) continue;
      const Expr zero = w.let("zero", kernel::cast(kernel::load(panels_->zeros, from, 2), DType::kU32));
      const Expr first = w.let("first", minus_twice(lane_of(zero, 0))),
                 second = w.let("second", minus_twice(lane_of(zero, 1)));
      w.store(zeros_, slot_of_block, quad(first, second, first, second));
    }
  }
  // -z * 2^-24 as two f16.
  static Expr minus_twice(const Expr& z) {
    const Expr both = kernel::op(ScalarOp::kOr, {z, kernel::op(ScalarOp::kShl, {z, word(16)})});
    return kernel::op(ScalarOp::kOr, {both, word(0x80008000)});
  }

  // ---- A

  // Words of two elements. For integers, a thread's words of a unit stand side by side: of each chunk of four
  // words it multiplies one.
  void stage_rows(LoopWriter& w) {
    rows_of_a_ = shared(w, "a", DType::kU32, rows_ * pitch_);
    const int64_t chunks = ceil_div(round_up(k_, int64_t{s_.unit()}), int64_t{kChunk});
    const auto copy = [&](const Expr& q) {
      const Expr row = w.let("a_row", kernel::index_div(q, int_const(chunks)));
      const Expr chunk = w.let("a_chunk", kernel::index_rem(q, int_const(chunks)));
      const Expr read = chunk_of_a(w, row, w.let("k", times(chunk, kChunk)));
      const Expr first = times(row, pitch_);
      if (!panels_) return w.store(rows_of_a_, kernel::add(first, times(chunk, kWordsOfChunk)), read);
      const int64_t of_unit = s_.unit() / kChunk;
      const Expr unit = kernel::index_div(chunk, int_const(of_unit)),
                 inside = kernel::index_rem(chunk, int_const(of_unit));
      const Expr to = w.let("to", kernel::add(first, kernel::add(times(unit, s_.unit_pitch()), inside)));
      for (int i = 0; i < kWordsOfChunk; ++i) w.store(rows_of_a_, plus(to, i * of_unit), lane_of(read, i));
    };
    const int threads = s_.threads();
    const Dim all = rows_dim_ * Dim(chunks), turns = ceildiv(all, threads);
    w.loop("copy", params_.expr(turns), [&](Expr i) {
      const Expr q = w.let("q", kernel::add(times(i, threads), t_));
      if (mod(all, threads).is_const(0)) return copy(q);
      w.when(less(q, params_.expr(all)), [&] { copy(q); });
    });
  }

  // Eight elements from k on as four words, zeros past the end.
  Expr chunk_of_a(LoopWriter& w, const Expr& row, const Expr& k) const {
    std::vector<kernel::Stmt> lets;
    const MmaOperands::State of_row = o_.a_row(row, lets);
    for (kernel::Stmt& s : lets) w.emit(std::move(s));
    if (o_.a_chunk) {
      lets.clear();
      const MmaOperands::State depth = o_.a_depth(k, lets);
      for (kernel::Stmt& s : lets) w.emit(std::move(s));
      const Expr read =
          kernel::bitcast(kernel::load(o_.a_buffer, o_.a_chunk(of_row, depth).index, kChunk), kQuad);
      if (k_ % s_.unit() == 0) return w.let("read", read);
      return w.let("read", kernel::select(kernel::broadcast(less(k, int_const(k_)), 4), read,
                                          kernel::broadcast(word(0), 4)));
    }
    const bool ragged = k_ % s_.unit() != 0;
    std::vector<Expr> words;
    for (int i = 0; i < kChunk; i += 2) {
      const auto bits = [&](int e) {
        const Expr at = plus(k, e);
        Expr value = o_.a_element(of_row, at);
        if (ragged)
          value = kernel::select(less(at, int_const(k_)), value, kernel::float_const(0.0, o_.a_type()));
        return kernel::cast(kernel::bitcast(value, {DType::kU16, 1}), DType::kU32);
      };
      words.push_back(w.let(
          "word", kernel::op(ScalarOp::kOr, {bits(i), kernel::op(ScalarOp::kShl, {bits(i + 1), word(16)})})));
    }
    return w.let("read", quad(words[0], words[1], words[2], words[3]));
  }

  // Words of row `group`, zeros where there is none.
  Expr words_of_row(LoopWriter& w, const Expr& at, int lanes) const {
    const Expr read = kernel::load(rows_of_a_, kernel::add(times(group_, pitch_), at), lanes);
    if (rows_dim_.is_const(FewRowsSchedule::kMostRows)) return w.let("x", read);
    return w.let("x", kernel::select(kernel::broadcast(less(group_, existing_), lanes), read,
                                     kernel::broadcast(word(0), lanes)));
  }

  // ---- Products

  void multiply_all(LoopWriter& w) {
    const auto turn = [&](const Expr& at, bool fetches) {
      for (int slot = 0; slot < s_.ahead; ++slot) {
        const Expr here = w.let("part", part(at, slot));
        when_exists(w, here,
                    [&] { panels_ ? multiply_integers(w, slot, here) : multiply_floats(w, slot, here); });
        if (fetches) fetch(w, slot, w.let("next", part(plus(at, 1), slot)));
      }
    };
    if (turns_ > 1) w.loop("turn", int_const(turns_ - 1), [&](Expr at) { turn(at, true); });
    turn(int_const(turns_ - 1), false);
  }

  Expr product(const Expr& a, const Expr& b, const Expr& sums) const {
    const Intrinsic mma = o_.dtype == DType::kBF16 ? Intrinsic::kMmaM16N8K16BF16 : Intrinsic::kMmaM16N8K16F16;
    return kernel::intrinsic(mma, {a, b, sums}, {DType::kF32, 4});
  }
  Expr sums() const { return kernel::load(sums_, int_const(0), 4); }

  void multiply_floats(LoopWriter& w, int slot, const Expr& at) {
    for (int u = 0; u < units(); ++u) {
      for (int half = 0; half < 2; ++half) {
        const Expr first = kernel::add(plus(times(at, s_.steps / 2), u * 32 + half * 16), times(member_, 4));
        const Expr x = words_of_row(w, first, 4);
        const int64_t from = ((int64_t{slot} * units() + u) * 2 + half) * 2;
        const Expr upper = w.let("upper", kernel::load(weights_, int_const(from), 4)),
                   lower = w.let("lower", kernel::load(weights_, int_const(from + 1), 4));
        for (int i = 0; i < 4; i += 2) {
          const Expr a =
              quad(lane_of(upper, i), lane_of(lower, i), lane_of(upper, i + 1), lane_of(lower, i + 1));
          w.store(sums_, int_const(0), product(a, kernel::shuffle(x, nullptr, {i, i + 1}), sums()));
        }
      }
    }
  }

  void multiply_integers(LoopWriter& w, int slot, const Expr& at) {
    for (int64_t b = 0; b < blocks_of_part(); ++b) {
      const int64_t of_block = int64_t{slot} * blocks_of_part() + b;
      const Expr zeros = minus_zeros(w, of_block);
      Expr sum = kernel::broadcast(kernel::float_const(0.0), 4);
      for (int64_t u = b * units_of_block(); u < (b + 1) * units_of_block(); ++u) {
        const Expr pair = w.let("pair", kernel::load(weights_, int_const(int64_t{slot} * units() + u), 2));
        const Expr first = w.let("even", lane_of(pair, 0)), second = w.let("odd", lane_of(pair, 1));
        const int words = s_.bits == 4 ? 4 : 2;  // of A, and of each column, that a thread multiplies
        const Expr from = kernel::add(
            plus(times(at, int64_t{units()} * s_.unit_pitch()), u * s_.unit_pitch()), times(member_, words));
        const Expr x = words_of_row(w, from, words);
        for (int i = 0; i < words; i += 2) {
          const Expr here = w.let("b", kernel::shuffle(x, nullptr, {i, i + 1}));
          const Expr a = quad(cut(first, i), cut(second, i), cut(first, i + 1), cut(second, i + 1));
          sum = w.let("sum", product(a, here, sum));
          if (zeros) sum = w.let("sum", product(zeros, here, sum));
        }
      }
      const Expr scale = w.let("scale", kernel::mul(kernel::load(scales_, int_const(of_block), 2),
                                                    kernel::broadcast(kernel::float_const(0x1p24), 2)));
      w.store(sums_, int_const(0),
              kernel::op(ScalarOp::kFma, {sum, kernel::shuffle(scale, nullptr, {0, 0, 1, 1}), sums()}));
    }
  }
  // The i-th pair of integers of a word, as two f16.
  Expr cut(const Expr& words, int i) const {
    const Expr moved = i == 0 ? words : kernel::op(ScalarOp::kShr, {words, word(int64_t{i} * s_.bits)});
    return kernel::op(ScalarOp::kAnd, {moved, word(s_.bits == 4 ? 0x000f000f : 0x00ff00ff)});
  }
  Expr minus_zeros(LoopWriter& w, int64_t block) const {
    if (zeros_) return w.let("zeros", kernel::load(zeros_, int_const(block), 4));
    if (panels_->zero == 0) return nullptr;
    const auto z = static_cast<int64_t>(panels_->zero);
    return kernel::broadcast(word(0x80008000 | z | z << 16), 4);
  }

  // ---- Results

  void results(LoopWriter& w) {
    const Buffer parts = shared(w, "parts", DType::kF32, int64_t{s_.warps_k} * rows_ * s_.block_n());
    const Expr own = w.let("own", kernel::load(sums_, int_const(0), 4));
    const Expr in_warp = panels_ ? times(group_, 2) : group_;
    const Expr column = w.let("column", kernel::add(times(warp_n_, FewRowsSchedule::kColumns), in_warp));
    const auto at = [&](const Expr& part, const Expr& row, const Expr& n) {
      return kernel::add(times(kernel::add(times(part, rows_), row), s_.block_n()), n);
    };
    for (int i = 0; i < 2; ++i) {
      const Expr row = plus(times(member_, 2), i);
      w.when(less(row, existing_), [&] {
        w.store(parts, at(warp_k_, row, column), lane_of(own, i));
        w.store(parts, at(warp_k_, row, plus(column, panels_ ? 1 : 8)), lane_of(own, i + 2));
      });
    }
    w.emit(kernel::barrier());
    const int64_t all = rows_ * s_.block_n();
    const int threads = s_.threads();
    for (int64_t first = 0; first < all; first += threads) {
      const Expr q = plus(t_, first);
      const Expr row = w.let("m", kernel::index_div(q, int_const(s_.block_n()))),
                 inside = w.let("inside", kernel::index_rem(q, int_const(s_.block_n())));
      const Expr n = w.let("n", kernel::add(n0_, inside));
      Expr exists = first + threads > all || !rows_dim_.is_const() ? less(row, existing_) : nullptr;
      if (n_ % s_.block_n() != 0) exists = both(exists, less(n, int_const(n_)));
      const auto store = [&] {
        Expr sum;
        for (int p = 0; p < s_.warps_k; ++p) {
          const Expr one = kernel::load(parts, at(int_const(p), row, inside));
          sum = sum ? kernel::add(sum, one) : one;
        }
        for (kernel::Stmt& s : o_.finish(row, n, w.let("sum", sum), 1, nullptr)) w.emit(std::move(s));
      };
      exists ? w.when(exists, store) : store();
    }
  }

  const Dim rows_dim_;
  kernel::ParamTable& params_;
  const int64_t rows_;   // that there is room for
  const Expr existing_;  // rows
  const int64_t n_, k_;
  const FewRowsSchedule& s_;
  const MmaOperands& o_;
  const QuantisedPanels* panels_;
  const Expr t_;
  const int64_t turns_;  // in each of which a warp multiplies `ahead` parts of the depth
  const bool whole_;     // all parts of all turns exist
  const int64_t pitch_;  // words from a row of A to the next
  Expr n0_, group_, member_, warp_n_, warp_k_, column0_, pair_, float_row_[2];
  Buffer sums_, weights_, scales_, zeros_, rows_of_a_;
};

}  // namespace

Dim has_at_most(const Dim& rows, int64_t most) {
  return min(1, floordiv(most, max(rows, 1)));
}

void limit_grid(std::vector<kernel::GridAxis>& grid, const Dim& factor, kernel::ParamTable& params) {
  kernel::GridAxis& first = grid.front();
  first.extent = first.extent * factor;
  first.extent_expr = params.expr(first.extent);
}

MmaKernel build_few_rows_kernel(const Dim& rows, int64_t most, int64_t n, int64_t k,
                                const FewRowsSchedule& schedule, const Var& thread,
                                const MmaOperands& operands, const QuantisedPanels* panels,
                                kernel::ParamTable& params) {
  return Builder(rows, most, n, k, schedule, thread, operands, panels, params).build();
}

int64_t FewRowsSchedule::bytes(int64_t rows, int64_t k) const {
  return rows * (words_of_row(k) + kRowPadding) * 4 + int64_t{4} * warps_k * rows * block_n();
}

std::string FewRowsSchedule::text() const {
  return fmt::format("rows of {} bits, {} columns, warps {}x{}, {} x {} steps ahead", bits, block_n(),
                     warps_n, warps_k, ahead, steps);
}

std::optional<FewRowsSchedule> default_few_rows_schedule(int64_t rows, int64_t n, int64_t k, int bits,
                                                         int64_t block, int processors,
                                                         int64_t workgroup_memory) {
  FewRowsSchedule s;
  s.bits = bits;
  if (rows < 1 || rows > FewRowsSchedule::kMostRows) return std::nullopt;
  if (bits != 16 && (k % s.unit() != 0 || block % s.unit() != 0)) return std::nullopt;
  // 16 bytes of a thread in four loads of floats; as many loads of integers where the depth has them.
  s.steps = s.unit() * (bits == 16 ? 1 : 4);
  while (bits != 16 && (k % s.steps != 0 || (s.steps % block != 0 && block % s.steps != 0))) s.steps /= 2;
  // Warps share the depth as long as each has something; columns where there are more than processors want.
  const int64_t parts = ceil_div(k, int64_t{s.steps});
  s.warps_k = 8;
  while (s.warps_k > 1 && s.warps_k > parts) s.warps_k /= 2;
  while (s.warps_k > 2 && s.warps_n < 4 && n / s.block_n() > int64_t{4} * processors) {
    s.warps_n *= 2;
    s.warps_k /= 2;
  }
  if (s.warps_k == 8 && parts >= (bits == 16 ? 32 : 16)) s.warps_k = 16;
  s.ahead = static_cast<int>(std::clamp<int64_t>(parts / s.warps_k, 1, bits == 16 ? 4 : 2));
  if (s.bytes(rows, k) > workgroup_memory) return std::nullopt;
  return s;
}

}  // namespace tern::lower::gpu
