// A single row by weights in integers (quantised_weights.h). Where an integer lies in its word is a power of
// two, by which the row's elements are divided beforehand, exactly; so an integer is cut out and converted
// where it lies, and multiplied: three operations a step. Scales and zero points come in once a block.
#include <algorithm>

#include "compiler/lower/contraction_builder.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/nest_axes.h"

namespace tern::lower::contraction {
namespace {

constexpr int64_t kMostUnrolled = 8;  // words of a block

}  // namespace

bool Builder::is_quantised_row() const {
  return o_.quantised && one_depth_block_ && (alone_ || m_dim_.is_const(1));
}

Stmts Builder::prepare_row() {
  if (takes_digits()) return prepare_digits();
  const QuantisedPanels& q = *o_.quantised;
  const int64_t each = 32 / q.bits, padded = q.steps * each, length = k_dim_.value();
  row_steps_ = scratch("row_steps", padded, DType::kF32);
  row_sums_ = scratch("row_sums", q.blocks, DType::kF32);
  const auto a = [&](const Expr& k) {
    return kernel::load(o_.gather_a ? a_block_ : o_.a_buffer, kernel::add(row_base(int_const(0)), k));
  };
  Stmts out{kernel::alloc(row_steps_), kernel::alloc(row_sums_)};
  const Var kv = kernel::make_var("k");
  // The last integer of a word is shifted down, since conversions are of signed words.
  const auto i32 = [](int64_t v) { return int_const(v, DType::kI32); };
  const Expr inside = kernel::cast(kernel::index_rem(var_expr(kv), int_const(each)), DType::kI32);
  const Expr place = kernel::select(kernel::compare(ScalarOp::kEq, inside, i32(each - 1)), i32(0), inside);
  const Expr power =
      kernel::op(ScalarOp::kShl, {kernel::sub(i32(127), kernel::mul(place, i32(q.bits))), i32(23)});
  append(out,
         vector_loop(kernel::loop(kv, int_const(0), int_const(length), LoopKind::kSerial,
                                  {kernel::store(row_steps_, var_expr(kv),
                                                 kernel::mul(a(var_expr(kv)),
                                                             kernel::bitcast(power, {DType::kF32, 1})))}),
                     s_.lanes));
  for (int64_t k = length; k < padded; ++k)
    out.push_back(kernel::store(row_steps_, int_const(k), kernel::float_const(0.0)));

  const Var block = kernel::make_var("block"), sum = kernel::make_var("sum", {DType::kF32, 1}),
            iv = kernel::make_var("i");
  const Expr first = kernel::mul(var_expr(block), int_const(q.block));
  const Expr extent = length % q.block == 0
                          ? int_const(q.block)
                          : kernel::min(int_const(q.block), kernel::sub(int_const(length), first));
  Stmts body{kernel::declare(sum, kernel::float_const(0.0))};
  append(body,
         vector_loop(kernel::loop(iv, int_const(0), extent, LoopKind::kSerial,
                                  {kernel::assign(
                                      sum, kernel::add(var_expr(sum), a(kernel::add(first, var_expr(iv)))))}),
                     s_.lanes));
  const double factor = q.zeros ? -1 : -q.zero;
  body.push_back(
      kernel::store(row_sums_, var_expr(block), kernel::mul(var_expr(sum), kernel::float_const(factor))));
  out.push_back(kernel::loop(block, int_const(0), int_const(q.blocks), LoopKind::kSerial, std::move(body)));
  return out;
}

// The word (or the scale) of vector j of columns from n on, and what asks memory for later ones.
Expr Builder::panel_word(const Expr& n, int j, const Expr& word, Stmts& out) const {
  const QuantisedPanels& q = *o_.quantised;
  const Expr at = q.word_index(kernel::add(n, int_const(int64_t{j} * s_.lanes)), word);
  ask_ahead(q.words, at, j, kQuantisedRowsAhead, out);
  return named("q", kernel::load(q.words, at, s_.lanes), out);
}

Expr Builder::panel_scale(const Expr& at, int j, Stmts& out) const {
  const QuantisedPanels& q = *o_.quantised;
  const int64_t words = q.block * q.bits / 32;
  ask_ahead(q.scales, at, j, std::max<int64_t>(kQuantisedRowsAhead / words, 1), out);
  return named("scale", kernel::load(q.scales, at, s_.lanes), out);
}

void Builder::ask_ahead(const Buffer& from, const Expr& at, int j, int64_t rows, Stmts& out) const {
  if (o_.quantised->from_memory && j * s_.lanes % kPanelColumns == 0)
    out.push_back(kernel::prefetch(from, kernel::add(at, int_const(rows * kPanelColumns)), true));
}

// One word of each vector of columns.
void Builder::row_word(const Buffer& part, int chains, const Expr& n, const Expr& word, int vectors,
                       Stmts& out) const {
  const QuantisedPanels& q = *o_.quantised;
  const int each = 32 / q.bits;
  const auto splat = [&](int64_t v) { return kernel::broadcast(int_const(v, DType::kU32), s_.lanes); };
  for (int j = 0; j < vectors; ++j) {
    const Expr w = panel_word(n, j, word, out);
    for (int i = 0; i < each; ++i) {
      const Expr bits = i + 1 == each ? kernel::op(ScalarOp::kShr, {w, splat(32 - q.bits)})
                                      : kernel::op(ScalarOp::kAnd,
                                                   {w, splat(((int64_t{1} << q.bits) - 1) << (i * q.bits))});
      const Expr value =
          named("w", kernel::cast(kernel::bitcast(bits, {DType::kI32, s_.lanes}), DType::kF32), out);
      const Expr step =
          kernel::load(row_steps_, kernel::add(kernel::mul(word, int_const(each)), int_const(i)));
      out.push_back(multiply_add_one(part, j * chains + i % chains, step, value));
    }
  }
}

Stmts Builder::quantised_row(const Buffer& acc, const Expr& n, int vectors) {
  if (takes_digits()) return digits_row(acc, n, vectors);
  const QuantisedPanels& q = *o_.quantised;
  const int64_t words = q.block * q.bits / 32;
  const int chains = vectors >= 4 ? 1 : 2;
  const Buffer part = kernel::make_buffer("part", {DType::kF32, s_.lanes}, Scope::kRegister,
                                          kernel::Access::kReadWrite, vectors * chains);
  const auto of_block = [&](const Expr& b, int64_t count) {
    Stmts out;
    const Expr sum = kernel::broadcast(kernel::load(row_sums_, b), s_.lanes);
    std::vector<Expr> scales;
    for (int j = 0; j < vectors; ++j) {
      const Expr at = q.parameter_index(kernel::add(n, int_const(int64_t{j} * s_.lanes)), b);
      scales.push_back(panel_scale(at, j, out));
      const Expr zero = q.zeros ? kernel::cast(kernel::load(q.zeros, at, s_.lanes), DType::kF32) : nullptr;
      out.push_back(kernel::store(part, int_const(int64_t{j} * chains), zero ? kernel::mul(zero, sum) : sum));
      for (int c = 1; c < chains; ++c)
        out.push_back(kernel::store(part, int_const(int64_t{j} * chains + c), zeros()));
    }
    const Expr first = kernel::mul(b, int_const(words));
    if (count <= kMostUnrolled) {
      for (int64_t i = 0; i < count; ++i)
        row_word(part, chains, n, kernel::add(first, int_const(i)), vectors, out);
    } else {
      const Var w = kernel::make_var("word");
      Stmts body;
      row_word(part, chains, n, kernel::add(first, var_expr(w)), vectors, body);
      out.push_back(kernel::loop(w, int_const(0), int_const(count), LoopKind::kSerial, std::move(body)));
    }
    for (int j = 0; j < vectors; ++j) {
      Expr sums = kernel::load(part, int_const(int64_t{j} * chains));
      for (int c = 1; c < chains; ++c)
        sums = kernel::add(sums, kernel::load(part, int_const(int64_t{j} * chains + c)));
      const Expr old = kernel::load(acc, int_const(j)), scale = scales[static_cast<size_t>(j)];
      out.push_back(kernel::store(acc, int_const(j),
                                  has_fma_ ? kernel::op(ScalarOp::kFma, {sums, scale, old})
                                           : kernel::add(kernel::mul(sums, scale), old)));
    }
    return out;
  };
  const int64_t whole = q.steps / words, rest = q.steps % words;
  const Var b = kernel::make_var("block");
  Stmts out{kernel::alloc(part)};
  if (whole > 0) {
    out.push_back(
        kernel::loop(b, int_const(0), int_const(whole), LoopKind::kSerial, of_block(var_expr(b), words)));
  }
  if (rest > 0) append(out, of_block(int_const(whole), rest));
  return out;
}

}  // namespace tern::lower::contraction
