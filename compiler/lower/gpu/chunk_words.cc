#include "compiler/lower/gpu/chunk_words.h"

#include <algorithm>

#include "compiler/lower/gpu/tile_ops.h"

namespace tern::lower::gpu {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;

Expr moved_up(const Expr& word, int64_t bits) {
  return bits == 0 ? word : kernel::op(ScalarOp::kShl, {word, int_const(bits, DType::kU32)});
}

}  // namespace

Expr first_elements(int64_t count) {
  const auto word = [&](int64_t i) {
    const int64_t bits = std::clamp<int64_t>(count - 2 * i, 0, 2) * 16;
    return kernel::broadcast(int_const((int64_t{1} << bits) - 1, DType::kU32), 4);
  };
  return kernel::shuffle(kernel::shuffle(word(0), word(1), {0, 4}), kernel::shuffle(word(2), word(3), {0, 4}),
                         {0, 1, 2, 3});
}

Expr word_of_halves(const Expr& low, const Expr& high) {
  const auto bits = [](const Expr& e) {
    return kernel::cast(kernel::bitcast(e, {DType::kU16, 1}), DType::kU32);
  };
  return kernel::op(ScalarOp::kOr, {bits(low), moved_up(bits(high), 16)});
}

Expr word_of_bytes(const std::vector<Expr>& bytes) {
  Expr out;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const Expr byte = moved_up(kernel::cast(bytes[i], DType::kU32), 8 * static_cast<int64_t>(i));
    out = out ? kernel::op(ScalarOp::kOr, {out, byte}) : byte;
  }
  return out;
}

Expr chunk_of_numbers(LoopWriter& w, const std::vector<Expr>& numbers, DType dtype) {
  const auto bits = [](int64_t v) { return int_const(v, DType::kU32); };
  const auto rounded = [&](const Expr& number) {
    const Expr word = w.let("bits", kernel::bitcast(number, {DType::kU32, 1}));
    const Expr odd = kernel::op(ScalarOp::kAnd, {kernel::op(ScalarOp::kShr, {word, bits(16)}), bits(1)});
    return kernel::add(word, kernel::add(odd, bits(0x7fff)));
  };
  std::vector<Expr> words;
  for (size_t i = 0; i < numbers.size(); i += 2) {
    Expr word =
        kernel::bitcast(kernel::cast(joined(numbers[i], numbers[i + 1]), DType::kF16), {DType::kU32, 1});
    if (dtype == DType::kBF16)
      word = kernel::op(ScalarOp::kOr,
                        {kernel::op(ScalarOp::kShr, {rounded(numbers[i]), bits(16)}),
                         kernel::op(ScalarOp::kAnd, {rounded(numbers[i + 1]), bits(0xffff0000)})});
    words.push_back(w.let("halves", word));
  }
  return joined(joined(words[0], words[1]), joined(words[2], words[3]));
}

}  // namespace tern::lower::gpu
