// The steps along k of a register tile: by type of the operands and by how they lie in memory.
#include <utility>

#include "compiler/kernel/expr_util.h"
#include "compiler/lower/byte_product.h"
#include "compiler/lower/contraction_builder.h"
#include "compiler/lower/loop_writer.h"

namespace tern::lower::contraction {

Stmts Builder::byte_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows,
                         int vectors, const Expr& valid) {
  const ByteProduct product(o_.byte_products, s_.lanes);
  const Var kv = kernel::make_var("k");
  const Expr k = var_expr(kv);
  Stmts out, body;
  std::vector<ByteProduct::Operand> b;
  std::vector<Var> offsets;  // what the products of each vector lack
  for (int j = 0; j < vectors; ++j) {
    const Var bv = kernel::make_var(fmt::format("b{}", j), {DType::kI8, s_.lanes * kByteGroup});
    body.push_back(kernel::let(bv, b_bytes(n, k, j)));
    b.push_back(product.right(var_expr(bv), body));
    if (!product.has_offset()) continue;
    offsets.push_back(kernel::make_var(fmt::format("offset{}", j), {DType::kI32, s_.lanes}));
    out.push_back(kernel::declare(offsets.back(), zeros()));
    body.push_back(kernel::assign(offsets.back(), product.offset(var_expr(offsets.back()), b.back())));
  }
  for (int i = 0; i < rows; ++i) {
    const ByteProduct::Operand a = product.left(a_bytes(row_base[static_cast<size_t>(i)], k, 1), i, body);
    for (int j = 0; j < vectors; ++j) {
      const Expr at = int_const(int64_t{i} * vectors + j);
      body.push_back(
          kernel::store(acc, at, product.add(kernel::load(acc, at), a, b[static_cast<size_t>(j)])));
    }
  }
  append(out, step_loop(kv, depth_, std::move(body), vectors, valid));
  for (int i = 0; i < rows && product.has_offset(); ++i) {
    for (int j = 0; j < vectors; ++j) {
      const Expr at = int_const(int64_t{i} * vectors + j);
      out.push_back(kernel::store(acc, at,
                                  kernel::add(kernel::load(acc, at), product.whole_offset(var_expr(
                                                                         offsets[static_cast<size_t>(j)])))));
    }
  }
  return out;
}

Stmts Builder::byte_word_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows,
                              int vectors, const Expr& valid) {
  const ByteProduct product(ByteProducts::kPairs, s_.lanes);
  const Var kv = kernel::make_var("k");
  const Expr k = var_expr(kv);
  Stmts body;
  std::vector<ByteProduct::Operand> b(static_cast<size_t>(vectors));
  for (int j = 0; j < vectors; ++j) {
    if (!o_.words_of_b) b[static_cast<size_t>(j)] = product.right(b_bytes(n, k, j), body);
  }
  for (int part = 0; part < kPairParts; ++part) {
    const auto named = [&](const char* name, int number, const Expr& value) {
      const Var v = kernel::make_var(fmt::format("{}{}_{}", name, number, part), value->type);
      body.push_back(kernel::let(v, value));
      return var_expr(v);
    };
    std::vector<Expr> pairs;
    for (int j = 0; j < vectors; ++j)
      pairs.push_back(o_.words_of_b ? named("b", j, b_words_.pairs(k, j, part))
                                    : b[static_cast<size_t>(j)].parts[static_cast<size_t>(part)]);
    for (int i = 0; i < rows; ++i) {
      const Expr a = named("x", i, a_words_.pair(row_base[static_cast<size_t>(i)], part, k, s_.lanes));
      for (int j = 0; j < vectors; ++j) {
        const Expr at = int_const(int64_t{i} * vectors + j);
        body.push_back(
            kernel::store(acc, at,
                          kernel::intrinsic(kernel::Intrinsic::kDot2I16,
                                            {kernel::load(acc, at), a, pairs[static_cast<size_t>(j)]},
                                            {DType::kI32, s_.lanes})));
      }
    }
  }
  return step_loop(kv, depth_, std::move(body), vectors, valid);
}

Stmts Builder::byte_half_loop(const Buffer& acc, const Expr& row_base, const Expr& n, int vectors) const {
  // So many steps, whose sums in 16 bits are added to those in 32.
  const auto steps = [&](const Expr& first, int64_t count) {
    Stmts out;
    std::vector<Expr> sums(static_cast<size_t>(vectors) * kPairParts);
    for (int64_t step = 0; step < count; ++step) {
      const Expr k = kernel::add(first, int_const(step));
      std::vector<Expr> a;
      for (int part = 0; part < kPairParts; ++part) {
        const Expr half = a_words_.pair(row_base, part, k, s_.lanes);
        a.push_back(named("x", kernel::bitcast(half, {DType::kU8, kByteGroup * s_.lanes}), out));
      }
      for (int j = 0; j < vectors; ++j) {
        const Expr b = named("b", b_bytes(n, k, j), out);
        for (int part = 0; part < kPairParts; ++part) {
          const Expr two = kernel::intrinsic(kernel::Intrinsic::kPairsU8I8, {a[static_cast<size_t>(part)], b},
                                             {DType::kI16, 2 * s_.lanes});
          Expr& sum = sums[static_cast<size_t>(j * kPairParts + part)];
          sum = named("pairs", sum ? kernel::add(sum, two) : two, out);
        }
      }
    }
    for (int j = 0; j < vectors; ++j) {
      Expr sum = kernel::load(acc, int_const(j));
      for (int part = 0; part < kPairParts; ++part) {
        const Expr weight = kernel::broadcast(int_const(part == 0 ? 16 : 1, DType::kI16), 2 * s_.lanes);
        sum = kernel::intrinsic(kernel::Intrinsic::kDot2I16,
                                {sum, sums[static_cast<size_t>(j * kPairParts + part)], weight},
                                {DType::kI32, s_.lanes});
      }
      out.push_back(kernel::store(acc, int_const(j), sum));
    }
    return out;
  };
  constexpr int kSteps = WordRows::kHalfSteps;
  const Var kv = kernel::make_var("k");
  const Expr passes = kernel::index_div(depth_, int_const(kSteps)),
             whole = kernel::mul(passes, int_const(kSteps));
  Stmts out{kernel::loop(kv, int_const(0), passes, LoopKind::kSerial,
                         steps(kernel::mul(var_expr(kv), int_const(kSteps)), kSteps))};
  const std::optional<int64_t> depth = kernel::int_value(depth_);
  if (!depth) {
    const Var last = kernel::make_var("k");
    out.push_back(kernel::loop(last, int_const(0), kernel::sub(depth_, whole), LoopKind::kSerial,
                               steps(kernel::add(whole, var_expr(last)), 1)));
  } else if (*depth % kSteps != 0) {
    append(out, steps(whole, *depth % kSteps));
  }
  return out;
}

Stmts Builder::depth_steps(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows,
                           int vectors, const Expr& valid) {
  switch (o_.step) {
    case StepKind::kBytes:
      if (a_words_.halves) return byte_half_loop(acc, row_base[0], n, vectors);
      return o_.words_of_a ? byte_word_loop(acc, row_base, n, rows, vectors, valid)
                           : byte_loop(acc, row_base, n, rows, vectors, valid);
    case StepKind::kBf16Pairs:
      return pair_loop(acc, row_base, n, rows, vectors, valid);
    case StepKind::kOwn:
      if (s_.two_sums) return two_sum_loop(acc, row_base, n, rows, vectors, valid);
      return k_loop(acc, row_base, n, rows, vectors, valid);
    case StepKind::kFloats:
      if (is_quantised_row()) return quantised_row(acc, n, vectors);
      return b_in_words() ? word_loop(acc, row_base, n, rows, vectors, valid)
                          : k_loop(acc, row_base, n, rows, vectors, valid);
  }
  TERN_UNREACHABLE();
}

Expr Builder::words(const Expr& n, const Expr& k, const Expr& k_first, int j) const {
  const Expr column = int_const(int64_t{j} * s_.lanes);
  if (!o_.gather_b)
    return kernel::load(o_.b_buffer, o_.b_index(kernel::add(n, column), kernel::add(k_first, k)), s_.lanes);
  const Expr at = kernel::add(kernel::mul(k, int_const(group_)), column);
  return kernel::bitcast(kernel::load(b_panel_, kernel::mul(at, int_const(2)), 2 * s_.lanes),
                         {DType::kU32, s_.lanes});
}

Stmts Builder::pair_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows,
                         int vectors, const Expr& valid) {
  const Var kv = kernel::make_var("k");
  const Expr k = var_expr(kv);
  Stmts body;
  std::vector<Expr> b;
  for (int j = 0; j < vectors; ++j) {
    const Var bv = kernel::make_var(fmt::format("b{}", j), {DType::kU32, s_.lanes});
    body.push_back(kernel::let(bv, words(n, k, k0_, j)));
    b.push_back(var_expr(bv));
  }
  for (int i = 0; i < rows; ++i) {
    const Expr step = kernel::mul(o_.gather_a ? k : kernel::add(k0_, k), int_const(2));
    const Expr pair = kernel::load(o_.gather_a ? a_block_ : o_.a_buffer,
                                   kernel::add(row_base[static_cast<size_t>(i)], step), 2);
    const Var av = kernel::make_var(fmt::format("x{}", i), {DType::kU32, 1});
    body.push_back(kernel::let(av, kernel::bitcast(pair, {DType::kU32, 1})));
    const Expr a = kernel::broadcast(var_expr(av), s_.lanes);
    for (int j = 0; j < vectors; ++j) {
      const Expr at = int_const(int64_t{i} * vectors + j);
      body.push_back(kernel::store(
          acc, at,
          kernel::intrinsic(kernel::Intrinsic::kDot2BF16,
                            {kernel::load(acc, at), a, b[static_cast<size_t>(j)]}, {DType::kF32, s_.lanes})));
    }
  }
  return step_loop(kv, depth_, std::move(body), vectors, valid);
}

Stmts Builder::word_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows,
                         int vectors, const Expr& valid) {
  const int64_t steps = o_.word_steps, rest = k_dim_.value() % steps;
  TERN_CHECK(one_depth_block_ || s_.block_depth % steps == 0, "a depth block of {} steps splits words of {}",
             s_.block_depth, steps);
  const Expr each = int_const(steps), k_first = kernel::index_div(k0_, each);
  const auto body = [&](const Expr& word, int64_t count) {
    Stmts out;
    for (int j = 0; j < vectors; ++j) {
      const std::vector<Expr> b = o_.widen_words(kernel::add(n, int_const(int64_t{j} * s_.lanes)),
                                                 kernel::add(k_first, word), static_cast<int>(count), out);
      for (int64_t step = 0; step < count; ++step)
        multiply_add(acc, row_base, kernel::add(kernel::mul(word, each), int_const(step)), rows, vectors, j,
                     b[static_cast<size_t>(step)], out);
    }
    return out;
  };
  const Expr words = kernel::index_div(depth_, each);
  const Var kv = kernel::make_var("k");
  Stmts out = step_loop(kv, words, body(var_expr(kv), steps), vectors, valid);
  if (rest == 0) return out;
  Stmts last = body(words, rest);
  if (one_depth_block_) {
    append(out, std::move(last));
  } else {
    out.push_back(kernel::if_then(
        kernel::compare(ScalarOp::kNe, kernel::index_rem(depth_, each), int_const(0)), std::move(last)));
  }
  return out;
}

void Builder::multiply_add(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& k, int rows,
                           int vectors, int j, const Expr& b, Stmts& out) const {
  for (int i = 0; i < rows; ++i) {
    const Expr offset = o_.gather_a ? k : kernel::add(k0_, k);
    const Expr a = kernel::load(o_.gather_a ? a_block_ : o_.a_buffer,
                                kernel::add(row_base[static_cast<size_t>(i)], offset));
    out.push_back(multiply_add_one(acc, i * vectors + j, a, b));
  }
}

Stmt Builder::multiply_add_one(const Buffer& acc, int64_t index, const Expr& a, const Expr& b) const {
  const Expr at = int_const(index), old = kernel::load(acc, at), wide = kernel::broadcast(a, s_.lanes);
  return kernel::store(acc, at,
                       has_fma_ && is_float(sum_) ? kernel::op(ScalarOp::kFma, {wide, b, old})
                                                  : kernel::add(kernel::mul(wide, b), old));
}

Stmts Builder::k_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows,
                      int vectors, const Expr& valid) {
  const Var kv = kernel::make_var("k");
  const auto a = [&](int i, const Expr& k, int lanes) {
    const Expr offset = o_.gather_a ? k : step_of_a(k);
    return kernel::load(o_.gather_a ? a_block_ : o_.a_buffer,
                        kernel::add(row_base[static_cast<size_t>(i)], offset), lanes);
  };
  const int steps = s_.a_elements;
  const Expr whole = kernel::mul(kernel::index_div(depth_, int_const(steps)), int_const(steps));
  const auto depth = kernel::int_value(depth_);
  const bool divides = depth && *depth % steps == 0;
  Stmts out;
  if (steps > 1) {
    const Var block = kernel::make_var("k4");
    Stmts body;
    const Expr first = kernel::mul(var_expr(block), int_const(steps));
    std::vector<Expr> elements;
    for (int i = 0; i < rows; ++i) {
      const Var av = kernel::make_var(fmt::format("x{}", i), {sum_, steps});
      body.push_back(kernel::let(av, a(i, first, steps)));
      elements.push_back(var_expr(av));
    }
    for (int step = 0; step < steps; ++step) {
      append(body, k_step(acc, kernel::add(first, int_const(step)), n, rows, vectors, valid, [&](int i) {
               return kernel::shuffle(elements[static_cast<size_t>(i)], nullptr, {step});
             }));
    }
    append(out, step_loop(block, kernel::index_div(depth_, int_const(steps)), std::move(body), vectors, valid,
                          steps));
    if (divides) return out;
  }
  const Expr k = var_expr(kv);
  Stmts body;
  append(body, k_step(acc, k, n, rows, vectors, valid, [&](int i) { return a(i, k, 1); }));
  if (steps == 1) return step_loop(kv, depth_, std::move(body), vectors, valid);
  out.push_back(kernel::loop(kv, whole, kernel::sub(depth_, whole), LoopKind::kSerial, std::move(body)));
  return out;
}

Expr Builder::b_vector(const Expr& n, const Expr& k, int j, const Expr& valid) const {
  const Expr offset = int_const(int64_t{j} * s_.lanes);
  const Expr value =
      o_.gather_b ? kernel::load(b_panel_, kernel::add(kernel::mul(k, int_const(group_)), offset), s_.lanes)
                  : kernel::load(o_.b_buffer, o_.b_index(kernel::add(n, offset), step_of_b(k)), s_.lanes,
                                 o_.b_padded ? nullptr : lane_count(valid, j));
  return kernel::cast(value, sum_);
}

// Modulo 2^64 a product is low(a) low(b) + 2^32 (low(a) high(b) + high(a) low(b)). The first part is an
// instruction (vpmuludq), the two others are lanes of a product of 32 bits with b's halves exchanged
// (vpmulld), of which only the lower 32 bits count: they are added up as such, and to the sums at the end.
Stmts Builder::two_sum_loop(const Buffer& acc, const std::vector<Expr>& row_base, const Expr& n, int rows,
                            int vectors, const Expr& valid) {
  const VType whole{DType::kU64, s_.lanes}, halves{DType::kU32, 2 * s_.lanes};
  const auto splat = [&](uint64_t v) {
    return kernel::broadcast(int_const(static_cast<int64_t>(v), DType::kU64), s_.lanes);
  };
  const auto low = [&](const Expr& e) { return kernel::op(ScalarOp::kAnd, {e, splat(0xffffffff)}); };
  std::vector<int> exchanged;
  for (int lane = 0; lane < 2 * s_.lanes; ++lane) exchanged.push_back(lane ^ 1);
  const Buffer cross =
      kernel::make_buffer("cross", halves, Scope::kRegister, kernel::Access::kReadWrite, rows * vectors);
  Stmts out{kernel::alloc(cross)};
  for (int i = 0; i < rows * vectors; ++i)
    out.push_back(
        kernel::store(cross, int_const(i), kernel::broadcast(int_const(0, DType::kU32), 2 * s_.lanes)));

  const Var kv = kernel::make_var("k");
  const Expr k = var_expr(kv);
  Stmts body;
  std::vector<Expr> b, b_exchanged;
  for (int j = 0; j < vectors; ++j) {
    b.push_back(named("b", kernel::bitcast(b_vector(n, k, j, valid), whole), body));
    b_exchanged.push_back(
        named("b_exchanged", kernel::shuffle(kernel::bitcast(b.back(), halves), nullptr, exchanged), body));
  }
  for (int i = 0; i < rows; ++i) {
    const Expr at = kernel::add(row_base[static_cast<size_t>(i)], o_.gather_a ? k : step_of_a(k));
    const Expr element = kernel::cast(kernel::load(o_.gather_a ? a_block_ : o_.a_buffer, at), sum_);
    const Expr a = named("x", kernel::bitcast(kernel::broadcast(element, s_.lanes), whole), body);
    for (int j = 0; j < vectors; ++j) {
      const Expr sum = int_const(int64_t{i} * vectors + j);
      const Expr first = kernel::mul(low(a), low(b[static_cast<size_t>(j)]));
      body.push_back(kernel::store(
          acc, sum, kernel::add(kernel::load(acc, sum), kernel::bitcast(first, {sum_, s_.lanes}))));
      const Expr second = kernel::mul(kernel::bitcast(a, halves), b_exchanged[static_cast<size_t>(j)]);
      body.push_back(kernel::store(cross, sum, kernel::add(kernel::load(cross, sum), second)));
    }
  }
  append(out, step_loop(kv, depth_, std::move(body), vectors, valid));
  for (int i = 0; i < rows * vectors; ++i) {
    const Expr two = named("two", kernel::bitcast(kernel::load(cross, int_const(i)), whole), out);
    const Expr sum = kernel::add(two, kernel::op(ScalarOp::kShl, {two, splat(32)}));  // in the upper half
    const Expr upper = kernel::op(ScalarOp::kAnd, {sum, splat(0xffffffff00000000)});
    out.push_back(kernel::store(
        acc, int_const(i),
        kernel::add(kernel::load(acc, int_const(i)), kernel::bitcast(upper, {sum_, s_.lanes}))));
  }
  return out;
}

Stmts Builder::k_step(const Buffer& acc, const Expr& k, const Expr& n, int rows, int vectors,
                      const Expr& valid, const std::function<Expr(int)>& a) {
  Stmts body;
  std::vector<Expr> b;
  for (int j = 0; j < vectors; ++j) {
    const Var bv = kernel::make_var(fmt::format("b{}", j), {sum_, s_.lanes});
    body.push_back(kernel::let(bv, b_vector(n, k, j, valid)));
    b.push_back(var_expr(bv));
  }
  for (int i = 0; i < rows; ++i) {
    const Var av = kernel::make_var(fmt::format("x{}", i), {sum_, 1});
    body.push_back(kernel::let(av, a(i)));
    for (int j = 0; j < vectors; ++j)
      body.push_back(multiply_add_one(acc, i * vectors + j, var_expr(av), b[static_cast<size_t>(j)]));
  }
  return body;
}

}  // namespace tern::lower::contraction
