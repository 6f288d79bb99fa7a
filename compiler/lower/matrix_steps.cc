// Weights for matrix units from panels, and panels from pairs of bf16.
#include "compiler/lower/encoding_steps.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::int_const;
using kernel::ScalarOp;

constexpr int64_t kMatrixChunks = 8;  // of a row of a block (pack_matrix)

}  // namespace

// A unit is a chunk of steps of one column; neighbouring units have neighbouring columns, as panels do.
Step matrix_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program, int from,
                 int to, bool from_pairs) {
  TERN_CHECK(dtype_bits(e.dtype) == 16 || e.dtype == DType::kF32 || e.dtype == DType::kI8,
             "matrix units read {}", dtype_name(e.dtype));
  const bool rounds = e.dtype == DType::kF32;  // to TF32; else bits move, whatever they mean
  const DType element = rounds ? DType::kF32 : e.dtype == DType::kI8 ? DType::kU8 : DType::kU16;
  UnitKernel k(target, program, from, to, element);
  const int64_t chunk_steps = 128 / dtype_bits(e.dtype), width = kMatrixChunks * chunk_steps;
  const int64_t padded = e.k / e.channels * e.spread;
  const int64_t row_count = (e.n + 7) / 8 * 8, block_count = (padded + width - 1) / width;
  const Expr steps = k.size("steps", e.k), columns = k.size("columns", e.n),
             panels = k.size("panels", panel_count(e.n)), rows = k.size("rows", row_count),
             blocks = k.size("blocks", block_count), channels = k.size("channels", e.channels),
             spread = k.size("spread", e.spread);
  const Expr n = k.named("n", kernel::index_rem(k.unit(), rows)),
             rest = k.named("rest", kernel::index_div(k.unit(), rows)),
             chunk = k.named("chunk", kernel::index_rem(rest, int_const(kMatrixChunks))),
             block = k.named("block", kernel::index_div(rest, int_const(kMatrixChunks))),
             batch = k.named("batch", kernel::index_div(block, blocks));
  const Expr first =
      k.named("first", kernel::add(kernel::mul(kernel::index_rem(block, blocks), int_const(width)),
                                   kernel::mul(chunk, int_const(chunk_steps))));
  const Expr panel = k.named(
      "panel", kernel::add(kernel::mul(batch, panels), kernel::index_div(n, int_const(kPanelColumns))));
  const Expr swizzled = kernel::op(ScalarOp::kXor, {chunk, kernel::index_rem(n, int_const(kMatrixChunks))});
  const Expr out =
      k.named("out", kernel::add(kernel::mul(kernel::add(kernel::mul(block, rows), n), int_const(width)),
                                 kernel::mul(swizzled, int_const(chunk_steps))));
  const kernel::Var i = kernel::make_var("i");
  const Expr step = kernel::add(first, var_expr(i)), channel = kernel::index_rem(step, spread);
  const Expr from_step = kernel::add(kernel::mul(kernel::index_div(step, spread), channels), channel);
  const Expr there = kernel::op(
      ScalarOp::kAnd, {kernel::compare(ScalarOp::kLt, n, columns),
                       kernel::op(ScalarOp::kAnd, {kernel::compare(ScalarOp::kLt, channel, channels),
                                                   kernel::compare(ScalarOp::kLt, from_step, steps)})});
  // A word of a pair has two elements of 16 bits, a step of bytes four.
  const int64_t group = e.dtype == DType::kI8 ? kByteGroup : from_pairs ? 2 : 1;
  const Expr groups = group > 1 ? k.size("groups", (e.k + group - 1) / group) : steps;
  const Expr row = kernel::add(kernel::mul(panel, groups), kernel::index_div(from_step, int_const(group)));
  const Expr cell =
      kernel::add(kernel::mul(row, int_const(kPanelColumns)), kernel::index_rem(n, int_const(kPanelColumns)));
  const Expr at =
      kernel::add(kernel::mul(cell, int_const(group)), kernel::index_rem(from_step, int_const(group)));
  Expr value = kernel::select(there, kernel::load(k.source, at),
                              rounds ? kernel::float_const(0.0) : int_const(0, element));
  if (rounds) value = kernel::intrinsic(kernel::Intrinsic::kRoundTf32, {value}, {element, 1});
  k.body.push_back(kernel::loop(i, int_const(0), int_const(chunk_steps), kernel::LoopKind::kUnroll,
                                {kernel::store(k.result, kernel::add(out, var_expr(i)), value)}));
  return k.finish(from_pairs ? "matrix_weights_from_pairs" : "weights_for_matrix_units",
                  e.batch * block_count * row_count * kMatrixChunks);
}

// A unit is a word: two neighbouring columns of one step.
Step panels_from_pairs_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program,
                            int from, int to) {
  UnitKernel k(target, program, from, to, DType::kU32);
  constexpr int64_t kWords = kPanelColumns / 2;
  const Expr steps = k.size("steps", e.k), pairs = k.size("pairs", (e.k + 1) / 2);
  const Expr row = k.named("row", kernel::index_div(k.unit(), int_const(kWords))),
             step = k.named("step", kernel::index_rem(row, steps)),
             panel = k.named("panel", kernel::index_div(row, steps));
  const Expr pair = kernel::add(kernel::mul(panel, pairs), kernel::index_div(step, int_const(2)));
  const Expr column = kernel::mul(kernel::index_rem(k.unit(), int_const(kWords)), int_const(2));
  const Expr at = k.named("at", kernel::add(kernel::mul(pair, int_const(kPanelColumns)), column));
  const Expr down = k.named(
      "down", kernel::cast(kernel::mul(kernel::index_rem(step, int_const(2)), int_const(16)), DType::kU32));
  const auto half = [&](int64_t i) {
    const Expr word = kernel::load(k.source, kernel::add(at, int_const(i)));
    return kernel::op(ScalarOp::kAnd,
                      {kernel::op(ScalarOp::kShr, {word, down}), int_const(0xffff, DType::kU32)});
  };
  const Expr high = kernel::op(ScalarOp::kShl, {half(1), int_const(16, DType::kU32)});
  k.body.push_back(kernel::store(k.result, k.unit(), kernel::op(ScalarOp::kOr, {half(0), high})));
  return k.finish("panels_from_pairs", e.batch * panel_count(e.n) * e.k * kWords);
}

}  // namespace tern::lower
