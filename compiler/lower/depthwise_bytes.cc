#include "compiler/lower/depthwise_bytes.h"

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

// Groups of four input columns, each made once.
class Groups {
 public:
  // `pixel`: u8 x lanes of the input column at an offset from the first output's first tap.
  Groups(int lanes, int64_t step, int64_t last, std::function<Expr(int64_t offset)> pixel, Stmts& out)
      : lanes_(lanes), step_(step), last_(last), pixel_(std::move(pixel)), out_(out) {}

  // u8 x 4 * lanes. Columns past the last one that a window needs are 0.
  Expr at(int64_t offset) {
    return kernel::bitcast(joined(groups_, "group", pair(offset), offset + 2 * step_, 16),
                           {DType::kU8, 4 * lanes_});
  }

 private:
  using Made = std::map<int64_t, Expr>;

  Expr pair(int64_t offset) { return joined(pairs_, "pair", word(offset), offset + step_, 8); }

  Expr word(int64_t offset) {
    Expr& made = words_[offset];
    if (!made) made = named("x", offset, kernel::cast(pixel_(offset), DType::kI32));
    return made;
  }

  // low | high << bits, where high (a pixel or a pair) is needed at all.
  Expr joined(Made& known, const char* name, const Expr& low, int64_t high, int64_t bits) {
    const int64_t key = high;
    if (const auto it = known.find(key); it != known.end()) return it->second;
    Expr value = low;
    if (high <= last_) {
      const Expr upper = bits == 8 ? word(high) : pair(high);
      const Expr by = kernel::broadcast(int_const(bits, DType::kI32), lanes_);
      value = named(name, key, kernel::op(ScalarOp::kOr, {low, kernel::op(ScalarOp::kShl, {upper, by})}));
    }
    known[key] = value;
    return value;
  }

  Expr named(const char* name, int64_t offset, const Expr& value) {
    const Var v = kernel::make_var(fmt::format("{}{}", name, offset), {DType::kI32, lanes_});
    out_.push_back(kernel::let(v, value));
    return var_expr(v);
  }

  const int lanes_;
  const int64_t step_, last_;
  const std::function<Expr(int64_t)> pixel_;
  Stmts& out_;
  Made words_, pairs_, groups_;
};

// Weights as the products want them, each made once.
class Weights {
 public:
  Weights(const DepthwiseBytes& bytes, const ByteProduct& product, int64_t ky, Expr c, int lanes, Stmts& out)
      : bytes_(bytes), product_(product), ky_(ky), c_(std::move(c)), lanes_(lanes), out_(out) {}

  const ByteProduct::Operand& at(int64_t shift, int64_t group) {
    const auto [it, fresh] = made_.try_emplace({shift, group});
    if (fresh) {
      const Var v = kernel::make_var(fmt::format("w{}_{}", shift, group), {DType::kI8, 4 * lanes_});
      out_.push_back(kernel::let(v, bytes_.weight(ky_, shift, group, c_, lanes_)));
      it->second = product_.right(var_expr(v), out_);
    }
    return it->second;
  }

 private:
  const DepthwiseBytes& bytes_;
  const ByteProduct& product_;
  const int64_t ky_;
  const Expr c_;
  const int lanes_;
  Stmts& out_;
  std::map<std::pair<int64_t, int64_t>, ByteProduct::Operand> made_;
};

Stmt accumulate(const ByteProduct& product, const Var& acc, const ByteProduct::Operand& x,
                const ByteProduct::Operand& w) {
  Expr sum = product.add(var_expr(acc), x, w);
  if (product.has_offset()) sum = product.offset(product.offset(sum, w), w);
  return kernel::assign(acc, sum);
}

}  // namespace

Stmts DepthwiseByteRow::whole(const std::vector<Var>& acc) const {
  const ByteProduct product(bytes_.products, lanes_);
  Stmts out;
  const auto pixel = [&](int64_t offset) {
    return input_(image_, at_.iy, kernel::add(at_.ix0, int_const(offset)), at_.c, lanes_, at_.count);
  };
  const auto count = static_cast<int64_t>(acc.size());
  const int64_t last = (count - 1) * s_.stride_w + (s_.window_w - 1) * s_.dilation_w;
  Groups groups(lanes_, s_.dilation_w, last, pixel, out);
  Weights weights(bytes_, product, at_.ky, at_.c, lanes_, out);
  std::map<int64_t, ByteProduct::Operand> left;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t first = i * s_.stride_w, shift = first % DepthwiseBytes::shifts(s_);
    for (int64_t g = 0; g < DepthwiseBytes::groups(s_, shift); ++g) {
      const int64_t offset = first - shift + g * 4 * s_.dilation_w;
      const auto [it, fresh] = left.try_emplace(offset);
      if (fresh) it->second = product.left_lanes(groups.at(offset), out);
      const ByteProduct::Operand& w = weights.at(shift, g);
      out.push_back(accumulate(product, acc[static_cast<size_t>(i)], it->second, w));
    }
  }
  return out;
}

Stmts DepthwiseByteRow::guarded(const Var& acc, const Expr& width) const {
  const ByteProduct product(bytes_.products, lanes_);
  Stmts out;
  const Expr padding = kernel::broadcast(int_const(bytes_.padding, DType::kU8), lanes_);
  const auto pixel = [&](int64_t offset) {
    const Var ix = kernel::make_var("ix");
    out.push_back(kernel::let(ix, kernel::add(at_.ix0, int_const(offset))));
    return kernel::select(in_range(var_expr(ix), width),
                          input_(image_, at_.iy, var_expr(ix), at_.c, lanes_, at_.count), padding);
  };
  Groups groups(lanes_, s_.dilation_w, (s_.window_w - 1) * s_.dilation_w, pixel, out);
  Weights weights(bytes_, product, at_.ky, at_.c, lanes_, out);
  for (int64_t g = 0; g < DepthwiseBytes::groups(s_, 0); ++g) {
    const ByteProduct::Operand x = product.left_lanes(groups.at(g * 4 * s_.dilation_w), out);
    const ByteProduct::Operand& w = weights.at(0, g);
    out.push_back(accumulate(product, acc, x, w));
  }
  return out;
}

Stmts DepthwiseByteRow::outside(const std::vector<Var>& acc) const {
  Stmts out;
  if (bytes_.padding == 0) return out;
  const ByteProduct product(bytes_.products, lanes_);
  const ByteProduct::Operand x =
      product.left_lanes(kernel::broadcast(int_const(bytes_.padding, DType::kU8), 4 * lanes_), out);
  Weights weights(bytes_, product, at_.ky, at_.c, lanes_, out);
  for (int64_t g = 0; g < DepthwiseBytes::groups(s_, 0); ++g) {
    const ByteProduct::Operand& w = weights.at(0, g);
    for (const Var& each : acc) out.push_back(accumulate(product, each, x, w));
  }
  return out;
}

}  // namespace tern::lower
