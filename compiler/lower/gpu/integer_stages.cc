#include "compiler/lower/gpu/integer_stages.h"

#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/gpu/chunks.h"
#include "compiler/support/rounding.h"

namespace tern::lower::gpu {
namespace {

using kernel::Buffer;
using kernel::Expr;
using kernel::int_const;
using kernel::Intrinsic;
using kernel::ScalarOp;
using kernel::Scope;
using kernel::VType;

constexpr VType kQuad{DType::kU32, 4};
constexpr int64_t kBase = 0x64006400;  // two f16 of 1024, whose lowest bits are worth 1
constexpr int kStepsOfProduct = 16;

Expr times(const Expr& e, int64_t by) {
  return kernel::mul(e, int_const(by));
}
Expr plus(const Expr& e, int64_t by) {
  return by == 0 ? e : kernel::add(e, int_const(by));
}
Expr word(int64_t bits) {
  return int_const(bits, DType::kU32);
}
Expr lane_of(const Expr& vector, int lane) {
  return kernel::shuffle(vector, nullptr, {lane});
}
Expr quad(const Expr& a, const Expr& b, const Expr& c, const Expr& d) {
  return kernel::shuffle(kernel::shuffle(a, b, {0, 1}), kernel::shuffle(c, d, {0, 1}), {0, 1, 2, 3});
}
Expr halves(const Expr& words) {
  return kernel::bitcast(words, {DType::kF16, 8});
}
// Half 0 or 1 of a word, twice.
Expr twice(const Expr& pair, int half) {
  const Expr one = half == 0 ? kernel::op(ScalarOp::kAnd, {pair, word(0xffff)})
                             : kernel::op(ScalarOp::kShr, {pair, word(16)});
  return kernel::op(ScalarOp::kOr, {one, kernel::op(ScalarOp::kShl, {one, word(16)})});
}

}  // namespace

void IntegerStages::prepare(LoopWriter& w, const Expr& thread, const Expr& warp_n) {
  t_ = thread;
  warp_n_ = warp_n;
  lane_ = w.let("lane", kernel::index_rem(t_, int_const(32)));
  group_ = w.let("group", kernel::index_div(lane_, int_const(4)));
  member_ = w.let("member", kernel::index_rem(lane_, int_const(4)));
  const auto stages = [&](const char* name, DType dtype, int64_t each) {
    const Buffer b = kernel::make_buffer(name, {dtype, 1}, Scope::kWorkgroup, kernel::Access::kReadWrite,
                                         s_.stages * columns() * each);
    w.emit(kernel::alloc(b));
    return b;
  };
  words_ = stages("words", DType::kU32, words_of_stage());
  scales_ = stages("scales", panels_.scales->type.dtype, s_.weight_blocks);
  if (panels_.zeros) zeros_ = stages("zeros", DType::kU8, s_.weight_blocks);
  if (!s_.group) return;
  widened_ = kernel::make_buffer("widened", kQuad, Scope::kRegister, kernel::Access::kReadWrite,
                                 2 * s_.block_depth / kStepsOfProduct);
  w.emit(kernel::alloc(widened_));
  for (int64_t i = 0; i < widened_->size; ++i) w.store(widened_, int_const(i), kernel::broadcast(word(0), 4));
}

// `each` elements of a panel of 16 columns and a stage lie side by side, in memory and in the stage.
void IntegerStages::copy(LoopWriter& w, const Expr& n0, const Expr& step, const Expr& stage,
                         int64_t depth) const {
  const int64_t panels = ceil_div(n_, int64_t{kPanelColumns});
  const Expr first = kernel::index_div(n0, int_const(kPanelColumns));
  const auto pieces = [&](const Buffer& to, const Buffer& from, int64_t rows, int64_t rows_of_panel,
                          const std::function<Expr(const Expr& row)>& row_of) {
    const int64_t chunk = chunk_of(from->type.dtype), per_row = kPanelColumns / chunk, each = rows * per_row;
    share_copies(w, t_, s_.threads(), columns() / kPanelColumns * each, [&](const Expr& q) {
      const Expr panel = kernel::add(first, kernel::index_div(q, int_const(each)));
      const Expr inside = kernel::index_rem(q, int_const(each));
      const Expr row = row_of(kernel::index_div(inside, int_const(per_row)));
      Expr exists;
      if (panels * kPanelColumns % columns() != 0) exists = less(panel, int_const(panels));
      if (round_up(k_, int64_t{s_.block_depth}) != depth)
        exists = both(exists, less(step, int_const(ceil_div(k_, int64_t{s_.block_depth}))));
      const Expr at = kernel::add(times(kernel::add(times(panel, rows_of_panel), row), kPanelColumns),
                                  times(kernel::index_rem(inside, int_const(per_row)), chunk));
      const Expr count = exists ? kernel::select(exists, int_const(chunk), int_const(0)) : nullptr;
      return kernel::async_copy(to, kernel::add(times(stage, columns() * rows), times(q, chunk)),
                                kernel::load(from, at, static_cast<int>(chunk), count));
    });
  };
  pieces(words_, panels_.words, words_of_stage(), panels_.steps,
         [&](const Expr& row) { return kernel::add(times(step, words_of_stage()), row); });
  const int64_t apart = s_.block_depth / s_.weight_blocks;
  const auto block = [&](const Expr& row) {
    return kernel::index_div(kernel::add(times(step, s_.block_depth), times(row, apart)),
                             int_const(panels_.block));
  };
  pieces(scales_, panels_.scales, s_.weight_blocks, panels_.blocks, block);
  if (zeros_) pieces(zeros_, panels_.zeros, s_.weight_blocks, panels_.blocks, block);
}

// The panel, among those of a stage, that a warp's tile is.
Expr IntegerStages::panel_of(int tile) const {
  return plus(times(warp_n_, tiles_n()), tile);
}

std::vector<Expr> IntegerStages::widened(LoopWriter& w, const Expr& stage, int tile) const {
  const int64_t per_word = 32 / s_.weight_bits, unit = 4 * per_word, all = words_of_stage();
  const int64_t apart = s_.block_depth / s_.weight_blocks;
  const Expr own = times(group_, 2);  // the first of two columns
  const auto at = [&](int64_t rows, const Expr& row) {
    const Expr panel = kernel::add(times(stage, columns() / kPanelColumns), panel_of(tile));
    return kernel::add(times(kernel::add(times(panel, rows), row), kPanelColumns), own);
  };
  const Expr mask = word(s_.weight_bits == 4 ? 0x000f000f : 0x00ff00ff);
  const auto cut = [&](const Expr& words, int64_t i) {
    const Expr moved = i == 0 ? words : kernel::op(ScalarOp::kShr, {words, word(i * s_.weight_bits)});
    return kernel::op(ScalarOp::kOr, {kernel::op(ScalarOp::kAnd, {moved, mask}), word(kBase)});
  };
  std::vector<Expr> quads;
  Expr minus, scale, first, second;
  for (int64_t step = 0; step < s_.block_depth; step += kStepsOfProduct) {
    if (step % apart == 0) {
      const Expr row = int_const(step / apart);
      const Expr pair = w.let(
          "scale", kernel::bitcast(kernel::load(scales_, at(s_.weight_blocks, row), 2), {DType::kU32, 1}));
      const Expr low = w.let("low", twice(pair, 0)), high = w.let("high", twice(pair, 1));
      scale = quad(low, high, low, high);
      if (zeros_) {
        const Expr both_zeros =
            w.let("zero", kernel::cast(kernel::load(zeros_, at(s_.weight_blocks, row), 2), DType::kU32));
        const auto based = [&](int lane) {
          const Expr z = lane_of(both_zeros, lane);
          const Expr same = kernel::op(ScalarOp::kOr, {z, kernel::op(ScalarOp::kShl, {z, word(16)})});
          return w.let("base", kernel::op(ScalarOp::kOr, {same, word(kBase)}));
        };
        const Expr even = based(0), odd = based(1);
        minus = quad(even, odd, even, odd);
      } else {
        // Whole numbers below 1024: the sum of both, too, is one that f16 has.
        const auto z = static_cast<int64_t>(panels_.zero);
        minus = kernel::broadcast(word(kBase + (z | z << 16)), 4);
      }
    }
    if (step % unit == 0) {
      const Expr row = plus(member_, step / unit * 4);
      const Expr pair = w.let("pair", kernel::load(words_, at(all, row), 2));
      first = w.let("even", lane_of(pair, 0));
      second = w.let("odd", lane_of(pair, 1));
    }
    const int64_t i = step % unit / 8;
    const Expr q = quad(cut(first, i), cut(second, i), cut(first, i + 1), cut(second, i + 1));
    const Expr whole = kernel::sub(halves(q), halves(minus));
    quads.push_back(w.let("widened", kernel::bitcast(kernel::mul(whole, halves(scale)), kQuad)));
  }
  return quads;
}

void IntegerStages::multiply_groups(LoopWriter& w, const Buffer& a_stage, const Buffer& sums,
                                    const Expr& stage, int turn) const {
  const std::vector<Expr> quads = widened(w, stage, 0);
  const auto slot = [&](size_t i) {
    return int_const(static_cast<int64_t>(quads.size()) * turn + static_cast<int64_t>(i));
  };
  for (size_t i = 0; i < quads.size(); ++i) w.store(widened_, slot(i), quads[i]);
  const Expr rows = w.let("rows", times(stage, int64_t{s_.block_m} * s_.block_depth));
  for (size_t i = 0; i < quads.size(); ++i) {
    w.emit(kernel::group_mma(sums, kernel::load(widened_, slot(i), 4),
                             kernel::load(a_stage, plus(rows, static_cast<int64_t>(i) * kStepsOfProduct))));
  }
  w.emit(kernel::group_mma_commit());
}

void IntegerStages::multiply(LoopWriter& w, const Buffer& a_stage, const Buffer& sums,
                             const Expr& stage) const {
  const int rows = s_.block_m / 8;
  const Expr base = w.let("rows", times(stage, int64_t{s_.block_m} * s_.block_depth));
  std::vector<std::vector<Expr>> tiles;
  for (int j = 0; j < tiles_n(); ++j) tiles.push_back(widened(w, stage, j));
  // Lane l names row l % 8 of matrix l / 8: eight rows and two chunks, twice.
  const Expr row =
      kernel::add(times(kernel::index_div(lane_, int_const(16)), 8), kernel::index_rem(lane_, int_const(8)));
  const Expr half = kernel::index_rem(kernel::index_div(lane_, int_const(8)), int_const(2));
  for (size_t step = 0; step < tiles[0].size(); ++step) {
    for (int i = 0; i < rows; i += 2) {
      const Expr index = kernel::add(
          base, swizzled(plus(row, i * 8), plus(half, static_cast<int64_t>(step) * 2), s_.block_depth));
      const Expr x = w.let("x", kernel::intrinsic(Intrinsic::kLdmatrixX4, {index}, kQuad, a_stage));
      for (int part = 0; part < 2; ++part) {
        const Expr b = w.let("b", kernel::shuffle(x, nullptr, {2 * part, 2 * part + 1}));
        for (int j = 0; j < tiles_n(); ++j) {
          const Expr slot = int_const(int64_t{j} * rows + i + part);
          w.store(sums, slot,
                  kernel::intrinsic(Intrinsic::kMmaM16N8K16F16,
                                    {tiles[static_cast<size_t>(j)][step], b, kernel::load(sums, slot, 4)},
                                    {DType::kF32, 4}));
        }
      }
    }
  }
}

// A thread's sums are of two neighbouring columns and two neighbouring rows.
void IntegerStages::store_sums(LoopWriter& w, const Buffer& sums, const Buffer& partial, int pitch) const {
  const int rows = s_.block_m / 8;
  const Expr lane = w.let("lane", kernel::index_rem(t_, int_const(32)));
  const Expr group = w.let("group", kernel::index_div(lane, int_const(4))),
             member = w.let("member", kernel::index_rem(lane, int_const(4)));
  for (int j = 0; j < tiles_n(); ++j) {
    const Expr column = w.let("column", kernel::add(times(panel_of(j), kPanelColumns), times(group, 2)));
    for (int i = 0; i < rows; ++i) {
      const Expr value = kernel::load(sums, int_const(int64_t{j} * rows + i), 4);
      for (int part = 0; part < 2; ++part) {
        const Expr row = plus(times(member, 2), int64_t{i} * 8 + part);
        w.store(partial, kernel::add(times(row, pitch), column),
                kernel::shuffle(value, nullptr, {part, part + 2}));
      }
    }
  }
}

}  // namespace tern::lower::gpu
