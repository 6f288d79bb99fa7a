#include "compiler/lower/depthwise_words.h"

#include <numeric>

#include "compiler/lower/byte_product.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;
using kernel::Stmt;
using kernel::Var;
using kernel::var_expr;
using Stmts = std::vector<Stmt>;

constexpr int64_t kMostTaps = 8192;  // bytes on the stack

int64_t tap_words(const DepthwiseShape& s, int lanes) {
  int64_t pairs = 0;
  for (int64_t shift = 0; shift < DepthwiseBytes::shifts(s); ++shift)
    pairs += 2 * DepthwiseBytes::groups(s, shift);
  return s.window_h * pairs * 4 * lanes;
}

}  // namespace

bool DepthwiseWords::suits(const DepthwiseShape& shape, const MachineModel& machine) {
  const int lanes = machine.vector_bits / 32;
  return machine.arch == Arch::kX86_64 && machine.byte_products == ByteProducts::kPairs &&
         shape.channels.is_const() && shape.channels.value() >= int64_t{2} * lanes &&
         2 * tap_words(shape, lanes) <= kMostTaps;
}

DepthwiseWords::DepthwiseWords(const DepthwiseShape& shape, const DepthwiseOperands& operands, int lanes)
    : s_(shape),
      o_(operands),
      lanes_(lanes),
      taps_(kernel::make_buffer("taps", {DType::kI16, 1}, kernel::Scope::kStack, kernel::Access::kReadWrite,
                                tap_words(shape, lanes))) {}

Stmts DepthwiseWords::prepare(const Expr& c) {
  const ByteProduct product(ByteProducts::kPairs, lanes_);
  const kernel::VType dwords{DType::kI32, lanes_};
  const Expr sixteen = kernel::broadcast(int_const(16, DType::kI32), lanes_);
  const auto mask = [&](int64_t bits) { return kernel::broadcast(int_const(bits, DType::kI32), lanes_); };
  const auto op = [](ScalarOp which, const Expr& a, const Expr& b) { return kernel::op(which, {a, b}); };
  Stmts out{kernel::alloc(taps_)};
  for (int64_t ky = 0; ky < s_.window_h; ++ky) {
    for (int64_t shift = 0; shift < DepthwiseBytes::shifts(s_); ++shift) {
      for (int64_t group = 0; group < DepthwiseBytes::groups(s_, shift); ++group) {
        for (int half = 0; half < 2; ++half) {
          const Expr from = kernel::add(c, int_const(int64_t{half} * lanes_));
          const ByteProduct::Operand w =
              product.right(named("w", o_.bytes->weight(ky, shift, group, from, lanes_), out), out);
          const Expr even = kernel::bitcast(w.parts[0], dwords), odd = kernel::bitcast(w.parts[1], dwords);
          const auto keep = [&](int64_t pair, const Expr& dwords_of_taps) {
            out.push_back(kernel::store(taps_, at(ky, shift, 2 * group + pair, half),
                                        kernel::bitcast(dwords_of_taps, {DType::kI16, 2 * lanes_})));
          };
          keep(0,
               op(ScalarOp::kOr, op(ScalarOp::kAnd, even, mask(0xffff)), op(ScalarOp::kShl, odd, sixteen)));
          const Expr high = op(ScalarOp::kAnd, op(ScalarOp::kShr, even, sixteen), mask(0xffff));
          keep(1, op(ScalarOp::kOr, high, op(ScalarOp::kAnd, odd, mask(-65536))));
        }
      }
    }
  }
  return out;
}

// Where words of a pair of taps begin.
Expr DepthwiseWords::at(int64_t ky, int64_t shift, int64_t pair, int half) const {
  int64_t before = shift == 0 ? 0 : pairs(0), in_row = 0;
  for (int64_t s = 0; s < DepthwiseBytes::shifts(s_); ++s) in_row += pairs(s);
  return int_const(((ky * in_row + before + pair) * 2 + half) * 2 * lanes_);
}

// Whether a pair meets taps of the window at all.
bool DepthwiseWords::has_taps(int64_t shift, int64_t pair) const {
  return 2 * pair + 1 >= shift && 2 * pair < s_.window_w + shift;
}

Stmt DepthwiseWords::accumulate(const Var& acc, const Expr& x, const Expr& w) const {
  return kernel::assign(
      acc, kernel::intrinsic(kernel::Intrinsic::kDot2I16, {var_expr(acc), x, w}, {DType::kI32, lanes_}));
}

Stmts DepthwiseWords::row(const std::vector<Sums>& acc, int64_t ky, const Pixel& pixel) const {
  Stmts out;
  const int channels = 2 * lanes_;
  std::map<int64_t, Expr> columns;
  const auto column = [&](int64_t offset) {
    Expr& made = columns[offset];
    if (!made) made = named("x", pixel(offset), out);
    return made;
  };
  const int64_t last =
      (static_cast<int64_t>(acc.size()) - 1) * s_.stride_w + (s_.window_w - 1) * s_.dilation_w;
  std::map<int64_t, std::array<Expr, 2>> interleaved;
  const auto pair_at = [&](int64_t offset) -> const std::array<Expr, 2>& {
    const auto [it, fresh] = interleaved.try_emplace(offset);
    if (!fresh) return it->second;
    // A partner past the last column meets a tap of 0.
    const int64_t next = offset + s_.dilation_w;
    const Expr first = column(offset), second = next <= last ? column(next) : first;
    for (int half = 0; half < 2; ++half) {
      std::vector<int> picks;
      for (int channel = half * lanes_; channel < (half + 1) * lanes_; ++channel) {
        picks.push_back(channel);
        picks.push_back(channels + channel);
      }
      it->second[static_cast<size_t>(half)] =
          named("pair", kernel::cast(kernel::shuffle(first, second, picks), DType::kI16), out);
    }
    return it->second;
  };
  for (size_t i = 0; i < acc.size(); ++i) {
    const int64_t first = static_cast<int64_t>(i) * s_.stride_w, shift = first % DepthwiseBytes::shifts(s_);
    for (int64_t pair = 0; pair < pairs(shift); ++pair) {
      if (!has_taps(shift, pair)) continue;
      const std::array<Expr, 2>& x = pair_at(first - shift + 2 * pair * s_.dilation_w);
      for (int half = 0; half < 2; ++half)
        out.push_back(accumulate(acc[i][static_cast<size_t>(half)], x[static_cast<size_t>(half)],
                                 kernel::load(taps_, at(ky, shift, pair, half), channels)));
    }
  }
  return out;
}

Stmts DepthwiseWords::whole(const std::vector<Sums>& acc, int64_t ky, const Place& at) const {
  return row(acc, ky, [&](int64_t offset) {
    return o_.input(at.image, at.iy, kernel::add(at.ix0, int_const(offset)), at.c, 2 * lanes_, nullptr);
  });
}

Stmts DepthwiseWords::guarded(const Sums& acc, int64_t ky, const Place& at, const Expr& width) const {
  const Expr padding = kernel::broadcast(int_const(o_.bytes->padding, DType::kU8), 2 * lanes_);
  return row({acc}, ky, [&](int64_t offset) {
    const Expr ix = kernel::add(at.ix0, int_const(offset));
    return kernel::select(in_range(ix, width), o_.input(at.image, at.iy, ix, at.c, 2 * lanes_, nullptr),
                          padding);
  });
}

Stmts DepthwiseWords::outside(const std::vector<Sums>& acc, int64_t ky) const {
  if (o_.bytes->padding == 0) return {};
  Stmts out;
  const Expr x = kernel::broadcast(int_const(o_.bytes->padding, DType::kI16), 2 * lanes_);
  for (int64_t pair = 0; pair < pairs(0); ++pair) {
    if (!has_taps(0, pair)) continue;
    for (const Sums& each : acc) {
      for (int half = 0; half < 2; ++half)
        out.push_back(accumulate(each[static_cast<size_t>(half)], x,
                                 kernel::load(taps_, at(ky, 0, pair, half), 2 * lanes_)));
    }
  }
  return out;
}

Expr DepthwiseWords::joined(const Sums& acc) const {
  std::vector<int> all(2 * static_cast<size_t>(lanes_));
  std::iota(all.begin(), all.end(), 0);
  return kernel::shuffle(var_expr(acc[0]), var_expr(acc[1]), all);
}

}  // namespace tern::lower
