// A single row by weights in integers, in integers: the row's elements become whole numbers of 24 bits,
// blocks of them with one factor each, in three signed digits of 8 bits; products of digits with the weights
// are exact dot products of bytes, nine operations for a word of 4-bit weights where floats
// (quantised_row.cc) take 24. What a sum lacks is what the row's elements were rounded by, at most 2^-23.4 of
// the block's largest one each: less than sums of f32 may. Infinities and NaN give NaN.
#include <cmath>

#include "compiler/lower/contraction_builder.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"

namespace tern::lower::contraction {
namespace {

constexpr int kDigits = 3, kDigitBits = 8;
// What digits from -128 to 127 hold of either sign, less 1, by which what is scaled may round up.
constexpr double kLargest = 127 * (1 + 256 + 65536) - 1;
constexpr int64_t kSmallestMaximum = 0x0d000000;  // bits of 2^-101: below it elements have fewer digits
constexpr int kElements = 16;                     // that are brought into digits at once

// A whole number from 0 to 255, which sums may begin with.
bool is_whole(const QuantisedPanels& q) {
  return !q.zeros && q.zero >= 0 && q.zero <= 255 && q.zero == std::floor(q.zero);
}

Expr splat(int64_t value, DType type, int lanes) {
  return kernel::broadcast(int_const(value, type), lanes);
}

// Which byte of so many elements of 24 bits in words of 32 stands where in row_digits_.
std::vector<int> digit_order(int weight_bits) {
  const int each = 32 / weight_bits, apart = each / 4;  // steps from one byte's to the next one's
  std::vector<int> order;
  for (int first = 0; first < kElements; first += each) {
    for (int part = 0; part < apart; ++part) {
      for (int digit = 0; digit < 4; ++digit) {
        for (int i = 0; i < 4; ++i) order.push_back(4 * (first + part + i * apart) + digit);
      }
    }
  }
  return order;
}

}  // namespace

// Where bytes are multiplied fast. Sums of pairs have 16 bits: of the products of 4-bit weights eight fit.
bool Builder::takes_digits() const {
  if (!o_.quantised || !is_quantised_row()) return false;
  switch (o_.byte_products) {
    case ByteProducts::kDot4:
      return true;
    case ByteProducts::kDot4Signed:
      return o_.quantised->bits == 4;
    case ByteProducts::kPairs:
      return o_.quantised->bits == 4 && o_.pairs_of_bytes;
  }
  TERN_UNREACHABLE();
}

int64_t Builder::digit_block() const {
  return o_.quantised->block % 32 == 0 ? 32 : 16;
}

// row_digits_ has for each word of weights: for the steps whose integers one operation cuts out (even ones,
// odd ones; all of 8 bits) four bytes of each digit, and four that nobody reads.
Stmts Builder::prepare_digits() {
  const QuantisedPanels& q = *o_.quantised;
  const int64_t length = k_dim_.value(), block = digit_block(), blocks = (length + block - 1) / block,
                padded = blocks * block;
  row_digits_ = scratch("row_digits", 4 * padded, DType::kI8);
  row_factors_ = scratch("row_factors", blocks, DType::kF32);
  row_sums_ =
      is_whole(q) ? scratch("row_sums", 2 * blocks, DType::kI32) : scratch("row_sums", blocks, DType::kF32);
  LoopWriter w;
  for (const Buffer& b : {row_digits_, row_factors_, row_sums_}) w.emit(kernel::alloc(b));
  Buffer values = o_.gather_a ? a_block_ : o_.a_buffer;
  Expr values_begin = row_base(int_const(0));
  if (length != padded) {
    const Buffer whole = scratch("row_values", padded, DType::kF32);
    w.emit(kernel::alloc(whole));
    const Var kv = kernel::make_var("k");
    const Expr element = kernel::load(values, kernel::add(values_begin, var_expr(kv)));
    for (Stmt& s : vector_loop(kernel::loop(kv, int_const(0), int_const(length), LoopKind::kSerial,
                                            {kernel::store(whole, var_expr(kv), element)}),
                               s_.lanes))
      w.emit(std::move(s));
    for (int64_t k = length; k < padded; ++k) w.store(whole, int_const(k), kernel::float_const(0.0));
    values = whole;
    values_begin = int_const(0);
  }
  const auto i32 = [](int64_t v) { return int_const(v, DType::kI32); };
  const auto all = [](int64_t v) { return splat(v, DType::kI32, kElements); };
  const auto bits = [](const Expr& e) { return kernel::bitcast(e, {DType::kI32, e->type.lanes}); };
  w.loop("block", int_const(blocks), [&](const Expr& b) {
    const Expr first = w.let("first", kernel::mul(b, int_const(block)));
    std::vector<Expr> parts;
    Expr largest;  // as bits, among which NaN is the largest
    for (int64_t i = 0; i < block; i += kElements) {
      const Expr at = kernel::add(values_begin, kernel::add(first, int_const(i)));
      parts.push_back(w.let("values", kernel::load(values, at, kElements)));
      const Expr size = kernel::op(ScalarOp::kAnd, {bits(parts.back()), all(0x7fffffff)});
      largest = largest ? kernel::max(largest, size) : size;
    }
    largest = kernel::max(kernel::reduce_lanes(ScalarOp::kMax, largest), i32(kSmallestMaximum));
    largest = w.let("largest", kernel::bitcast(largest, {DType::kF32, 1}));
    const Expr inverse =
        w.let("inverse", kernel::op(ScalarOp::kDiv, {kernel::float_const(kLargest), largest}));
    w.store(row_factors_, b,
            kernel::add(kernel::mul(largest, kernel::float_const(1 / kLargest)),
                        kernel::sub(largest, largest)));  // NaN unless finite
    Expr sum;
    for (size_t p = 0; p < parts.size(); ++p) {
      const Expr scaled = kernel::mul(parts[p], kernel::broadcast(inverse, kElements));
      const Expr whole =
          w.let("whole", kernel::cast(kernel::op(ScalarOp::kRoundEven, {scaled}), DType::kI32));
      sum = sum ? kernel::add(sum, whole) : whole;
      // With 128 added to each digit, and taken from each byte.
      const Expr digits = kernel::op(ScalarOp::kXor, {kernel::add(whole, all(0x808080)), all(0x808080)});
      const Expr bytes = w.let("bytes", kernel::bitcast(digits, {DType::kI8, 4 * kElements}));
      w.store(
          row_digits_,
          kernel::add(kernel::mul(first, int_const(4)), int_const(static_cast<int64_t>(p) * 4 * kElements)),
          kernel::shuffle(bytes, nullptr, digit_order(q.bits)));
    }
    const Expr total = w.let("total", kernel::reduce_lanes(ScalarOp::kAdd, sum));
    if (!is_whole(q)) {
      const double factor = q.zeros ? -1 : -q.zero;
      w.store(row_sums_, b, kernel::mul(kernel::cast(total, DType::kF32), kernel::float_const(factor)));
      return;
    }
    // What sums of the lowest and the highest digit begin with.
    const Expr zero = i32(-static_cast<int64_t>(q.zero)), at = kernel::mul(b, int_const(2));
    w.store(row_sums_, at, kernel::mul(kernel::op(ScalarOp::kAnd, {total, i32(0xffff)}), zero));
    w.store(row_sums_, kernel::add(at, int_const(1)),
            kernel::mul(kernel::op(ScalarOp::kShr, {total, i32(16)}), zero));
  });
  return w.take();
}

// The integers of a word of each column, as bytes: those of even steps and those of odd ones, or all.
std::vector<Expr> Builder::weight_bytes(const Expr& word, Stmts& out) const {
  const int lanes = s_.lanes;
  const DType type = o_.byte_products == ByteProducts::kDot4Signed ? DType::kI8 : DType::kU8;
  const auto bytes = [&](const Expr& e) { return kernel::bitcast(e, {type, 4 * lanes}); };
  if (o_.quantised->bits == 8) return {bytes(word)};
  const Expr mask = splat(0x0f0f0f0f, DType::kU32, lanes), four = splat(4, DType::kU32, lanes);
  const auto low = [&](const Expr& e) { return kernel::op(ScalarOp::kAnd, {e, mask}); };
  return {named("even", bytes(low(word)), out),
          named("odd", bytes(low(kernel::op(ScalarOp::kShr, {word, four}))), out)};
}

// `count` words of digit block b for each vector of columns.
Stmts Builder::digit_products(const Buffer& acc, const Expr& n, const Expr& b, int64_t count,
                              int vectors) const {
  const QuantisedPanels& q = *o_.quantised;
  const int lanes = s_.lanes;
  const int64_t each = 32 / q.bits, words = digit_block() / each;
  const bool pairs = o_.byte_products == ByteProducts::kPairs;
  const Expr parameters = kernel::index_div(b, int_const(q.block / digit_block()));
  Stmts out;
  std::vector<Expr> scales;
  std::vector<std::vector<Expr>> sums(static_cast<size_t>(vectors));
  for (int j = 0; j < vectors; ++j) {
    const Expr at = q.parameter_index(kernel::add(n, int_const(int64_t{j} * lanes)), parameters);
    scales.push_back(panel_scale(at, j, out));
    for (int d = 0; d < kDigits; ++d) {
      const bool begins = is_whole(q) && q.zero != 0 && d != 1;
      const Expr begin =
          begins ? kernel::load(row_sums_, kernel::add(kernel::mul(b, int_const(2)), int_const(d / 2)))
                 : int_const(0, DType::kI32);
      sums[static_cast<size_t>(j)].push_back(kernel::broadcast(begin, lanes));
    }
  }
  // Pairs are summed in 16 bits first. Clang would take one vector of columns after the other and keep all
  // digits for the next one, on the stack (AVX2, 0.4 MB: 31.8 to 23.9 us).
  std::vector<std::vector<Expr>> short_sums(static_cast<size_t>(vectors), std::vector<Expr>(kDigits));
  const Expr first = kernel::mul(b, int_const(words));
  for (int64_t i = 0; i < count; ++i) {
    const Expr word = kernel::add(first, int_const(i));
    std::vector<std::vector<Expr>> weights;
    for (int j = 0; j < vectors; ++j) weights.push_back(weight_bytes(panel_word(n, j, word, out), out));
    for (size_t part = 0; part < weights[0].size(); ++part) {
      for (int d = 0; d < kDigits; ++d) {
        const Expr at = kernel::add(kernel::mul(word, int_const(4 * each)),
                                    int_const(16 * static_cast<int64_t>(part) + 4 * d));
        const Expr four = kernel::bitcast(kernel::load(row_digits_, at, 4), {DType::kI32, 1});
        const Expr digits =
            named("digits", kernel::bitcast(kernel::broadcast(four, lanes), {DType::kI8, 4 * lanes}), out);
        for (int j = 0; j < vectors; ++j) {
          const Expr& bytes = weights[static_cast<size_t>(j)][part];
          if (pairs) {
            Expr& sum = short_sums[static_cast<size_t>(j)][static_cast<size_t>(d)];
            const Expr two =
                kernel::intrinsic(kernel::Intrinsic::kPairsU8I8, {bytes, digits}, {DType::kI16, 2 * lanes});
            Expr more = sum ? kernel::add(sum, two) : two;
            if (o_.few_registers) more = kernel::intrinsic(kernel::Intrinsic::kInOrder, {more}, more->type);
            sum = named("pairs", more, out);
          } else {
            Expr& sum = sums[static_cast<size_t>(j)][static_cast<size_t>(d)];
            const bool is_signed = o_.byte_products == ByteProducts::kDot4Signed;
            sum = named(
                "sum",
                kernel::intrinsic(is_signed ? kernel::Intrinsic::kDot4I8I8 : kernel::Intrinsic::kDot4U8I8,
                                  {sum, bytes, digits}, {DType::kI32, lanes}),
                out);
          }
        }
      }
    }
  }
  const auto multiply_add = [&](const Expr& a, const Expr& x, const Expr& y) {
    return has_fma_ ? kernel::op(ScalarOp::kFma, {a, x, y}) : kernel::add(kernel::mul(a, x), y);
  };
  const Expr base = kernel::broadcast(kernel::float_const(1 << kDigitBits), lanes),
             factor = kernel::broadcast(kernel::load(row_factors_, b), lanes);
  for (int j = 0; j < vectors; ++j) {
    Expr total;
    for (int d = kDigits; d-- > 0;) {
      Expr sum = sums[static_cast<size_t>(j)][static_cast<size_t>(d)];
      if (pairs)
        sum = kernel::intrinsic(kernel::Intrinsic::kDot2I16,
                                {sum, short_sums[static_cast<size_t>(j)][static_cast<size_t>(d)],
                                 splat(1, DType::kI16, 2 * lanes)},
                                {DType::kI32, lanes});
      const Expr one = kernel::cast(sum, DType::kF32);
      total = named("total", total ? multiply_add(total, base, one) : one, out);
    }
    if (!is_whole(q)) {
      Expr more = kernel::broadcast(kernel::load(row_sums_, b), lanes);
      if (q.zeros) {
        const Expr at = q.parameter_index(kernel::add(n, int_const(int64_t{j} * lanes)), parameters);
        total = multiply_add(kernel::cast(kernel::load(q.zeros, at, lanes), DType::kF32), more, total);
      } else {
        total = kernel::add(total, more);
      }
    }
    const Expr old = kernel::load(acc, int_const(j));
    out.push_back(kernel::store(
        acc, int_const(j), multiply_add(total, kernel::mul(scales[static_cast<size_t>(j)], factor), old)));
  }
  return out;
}

Stmts Builder::digits_row(const Buffer& acc, const Expr& n, int vectors) const {
  const int64_t words = digit_block() * o_.quantised->bits / 32;
  const int64_t whole = o_.quantised->steps / words, rest = o_.quantised->steps % words;
  const Var b = kernel::make_var("block");
  Stmts out;
  if (whole > 0)
    out.push_back(kernel::loop(b, int_const(0), int_const(whole), LoopKind::kSerial,
                               digit_products(acc, n, var_expr(b), words, vectors)));
  if (rest > 0) append(out, digit_products(acc, n, int_const(whole), rest, vectors));
  return out;
}

}  // namespace tern::lower::contraction
