#include "compiler/lower/winograd_bytes.h"

#include <algorithm>
#include <array>

#include "compiler/lower/byte_product.h"
#include "compiler/lower/loop_writer.h"
#include "compiler/lower/winograd_transform.h"
#include "compiler/support/rounding.h"

namespace tern::lower {
namespace {

using kernel::Expr;
using kernel::Stmt;
using Stmts = std::vector<Stmt>;

Expr splat(int64_t value, const Expr& like) {
  return kernel::broadcast(kernel::int_const(value, like->type.dtype), like->type.lanes);
}

Expr twice(const Expr& x) {
  return kernel::add(x, x);
}

Expr shifted(const Expr& x, int64_t by) {
  return kernel::op(kernel::ScalarOp::kShl, {x, splat(by, x)});
}

// A point of three taps: 2 G g of F(2 x 2), with the signs that winograd_input asks for; of F(4 x 4) 6 g0,
// g0 +- g1 + g2, g0 +- 2 g1 + 4 g2, 6 g2.
bool is_first(int point) {
  return point == 0;
}
bool is_last(int outputs, int point) {
  return point == outputs + 1;
}
Expr weight_point(int outputs, int point, const std::array<Expr, 3>& g) {
  if (is_first(point))
    return outputs == 2 ? kernel::sub(kernel::sub(splat(0, g[0]), g[0]), g[0])
                        : kernel::mul(g[0], splat(6, g[0]));
  if (is_last(outputs, point)) return outputs == 2 ? twice(g[2]) : kernel::mul(g[2], splat(6, g[2]));
  const bool inner = point <= 2;
  const Expr even = kernel::add(g[0], inner ? g[2] : shifted(g[2], 2)), odd = inner ? g[1] : twice(g[1]);
  return point % 2 == 1 ? kernel::add(even, odd) : kernel::sub(even, odd);
}

// One part (even or odd bytes) of i8 x 4 * lanes as words.
Expr part_of(const Expr& bytes, int part) {
  const int words = bytes->type.lanes / 2;
  const Expr all = kernel::bitcast(bytes, {DType::kI16, words}),
             eight = kernel::broadcast(kernel::int_const(8, DType::kI16), words);
  const Expr high = part == 0 ? kernel::op(kernel::ScalarOp::kShl, {all, eight}) : all;
  return kernel::op(kernel::ScalarOp::kShr, {high, eight});
}

// Measured on Zen 5 held to AVX2, in cycles.
constexpr double kWordStep = 1.1;  // a vector and step of the products, four instructions
constexpr double kDotStep = 1.02;  // with vpdpwssd, two instructions
// A vector of words of a patch, one direction, and of weights.
double transform_cycles(int outputs) {
  return outputs == 2 ? 40 : 90;
}
// L2 bounds it: by bytes.
double weight_cycles(int outputs, const MachineModel& machine) {
  return (outputs == 2 ? 30.0 : 50.0) * machine.vector_bits / 256;
}
constexpr double kRegisterTile = 30;  // besides its steps
constexpr double kGridTile = 2000;
constexpr double kLeastGain = 0.93;

double cycles_of(const WinogradShape& shape, const WinogradSchedule& schedule, int64_t patches,
                 const MachineModel& machine) {
  const ContractionSchedule& p = schedule.product;
  const auto columns = static_cast<double>(ceil_div(shape.columns, p.lanes)),
             blocks = static_cast<double>(ceil_div(patches, p.block_rows)),
             column_blocks = static_cast<double>(ceil_div(shape.columns, p.block_columns)),
             all = static_cast<double>(patches), steps = static_cast<double>(shape.channels) / kByteGroup,
             points = static_cast<double>((schedule.outputs + 2) * (schedule.outputs + 2));
  const double transform = transform_cycles(schedule.outputs),
               step = machine.byte_products == ByteProducts::kDot4 ? kDotStep : kWordStep;
  const double input = all * 2 * static_cast<double>(ceil_div(shape.channels, 4 * p.lanes)) * transform;
  const double output = all * columns * transform;
  const double weights = blocks * steps * columns * 2 * weight_cycles(schedule.outputs, machine);
  const double products = points * all * columns * steps * step;
  const double tiles = points * blocks * static_cast<double>(ceil_div(p.block_rows, p.rows)) *
                       static_cast<double>(ceil_div(shape.columns, int64_t{p.vectors} * p.lanes));
  return input * column_blocks + output + weights + products + tiles * kRegisterTile +
         blocks * column_blocks * kGridTile;
}

// The best blocks of patches of one side; nullopt when none fits the caches or is faster than `most` cycles.
std::optional<WinogradSchedule> best_blocks(const WinogradShape& shape, int outputs, double most,
                                            const MachineModel& machine) {
  const int64_t points = int64_t{outputs + 2} * (outputs + 2);
  const int64_t patches = shape.patches(outputs);
  std::optional<WinogradSchedule> best;
  for (int64_t blocks = 1; blocks <= patches; blocks += std::max<int64_t>(1, blocks / 8)) {
    ContractionShape product;
    product.m = ceil_div(patches, blocks);
    product.n = shape.columns;
    product.k = shape.channels / kByteGroup;
    product.bytes = product.words = true;
    WinogradSchedule s;
    s.outputs = outputs;
    ContractionSchedule& p = s.product;
    choose_register_tile(product, machine, p);
    p.rows = static_cast<int>(ceil_div(product.m, ceil_div(product.m, p.rows)));
    p.block_rows = blocks == 1 ? patches : round_up(product.m, p.rows);
    p.block_depth = product.k;
    const int64_t group = int64_t{p.vectors} * p.lanes, groups = ceil_div(shape.columns, group);
    const int64_t weights = int64_t{outputs + 2} * 2 * shape.channels * group,
                  scratch = points * p.block_rows * (2 * shape.channels + 4 * group) + weights;
    if (scratch > machine.l2_bytes * 5 / 8) continue;
    // Some sixteen tiles of the grid, or as many as there are.
    const int64_t column_blocks = std::min(groups, ceil_div(16, blocks));
    for (const int64_t count : {column_blocks, groups}) {
      p.block_columns = ceil_div(groups, count) * group;
      s.cycles = cycles_of(shape, s, patches, machine);
      if (s.cycles < most && (!best || s.cycles < best->cycles)) best = s;
    }
  }
  return best;
}

}  // namespace

bool byte_winograd_fits(const TensorData& weights, int outputs) {
  const int64_t most_multiple = outputs == 2 ? 4 : 64, columns = weights.shape()[0],
                depth = weights.count() / std::max<int64_t>(columns, 1);
  const auto* w = weights.as<int8_t>();
  for (int64_t n = 0; n < columns; ++n) {
    int64_t positive = 0, negative = 0;
    for (int64_t k = 0; k < depth; ++k) {
      const int64_t v = w[n * depth + k];
      (v > 0 ? positive : negative) += v;
    }
    if (255 * std::max(positive, -negative) * most_multiple > INT32_MAX) return false;
  }
  return true;
}

std::optional<WinogradSchedule> winograd_bytes_schedule(const WinogradShape& shape, int most_outputs,
                                                        double direct_step, const MachineModel& machine) {
  const int lanes = machine.vector_bits / 32;
  if (machine.arch != Arch::kX86_64 || shape.stride != 1 || !shape.is_static ||
      shape.channels % kByteGroup != 0 || shape.channels < 4 * lanes || shape.columns % kPanelColumns != 0)
    return std::nullopt;
  const double direct = direct_step * shape.multiplied *
                        static_cast<double>(shape.images * shape.out_height * shape.out_width) *
                        static_cast<double>(ceil_div(shape.columns, lanes)) *
                        static_cast<double>(9 * shape.channels / kByteGroup);
  double most = kLeastGain * direct;
  std::optional<WinogradSchedule> best;
  for (int outputs = 2; outputs <= most_outputs; outputs += 2) {
    if (const auto s = best_blocks(shape, outputs, most, machine)) {
      best = s;
      most = s->cycles;
    }
  }
  return best;
}

std::vector<Expr> byte_winograd_input(int outputs, const std::vector<Expr>& d, Stmts& out) {
  if (outputs == 2) return winograd_input(winograd_transform(2, 1), false, d, out);
  const auto less = [&](size_t a, size_t b) { return kernel::sub(d[a], d[b]); };
  const auto four = [](const Expr& x) { return shifted(x, 2); };
  const Expr even = named("even", less(4, 2), out), odd = named("odd", less(3, 1), out),
             odd_twice = named("odd", twice(odd), out),
             outer_even = named("even", kernel::sub(d[4], four(d[2])), out),
             outer_odd = named("odd", kernel::sub(d[3], four(d[1])), out);
  return {named("v", kernel::add(even, four(less(0, 2))), out),
          named("v", kernel::add(outer_even, outer_odd), out),
          named("v", kernel::sub(outer_even, outer_odd), out),
          named("v", kernel::add(even, odd_twice), out),
          named("v", kernel::sub(even, odd_twice), out),
          named("v", kernel::sub(less(5, 3), twice(odd_twice)), out)};
}

// 24, 12, 6 and 6 times the outputs of F(4 x 4).
std::vector<Expr> byte_winograd_output(int outputs, const std::vector<Expr>& m, Stmts& out) {
  if (outputs == 2) return winograd_output(winograd_transform(2, 1), false, m, out);
  const Expr s1 = named("sum", kernel::add(m[1], m[2]), out), s2 = named("sum", kernel::add(m[3], m[4]), out),
             d1 = named("difference", kernel::sub(m[1], m[2]), out),
             d2 = named("difference", kernel::sub(m[3], m[4]), out);
  return {named("y", kernel::sub(kernel::add(m[0], s2), shifted(s1, 2)), out),
          named("y", kernel::sub(d2, twice(d1)), out), named("y", kernel::sub(s2, s1), out),
          named("y", kernel::add(kernel::sub(twice(d2), d1), m[5]), out)};
}

Expr byte_winograd_sum(int outputs, int y, int x, const Expr& value) {
  if (outputs == 2) return kernel::op(kernel::ScalarOp::kShr, {value, splat(2, value)});
  constexpr int64_t kInverseOf9 = 954437177;  // modulo 2^32
  constexpr std::array<int, 4> kTwos = {3, 2, 1, 1};
  const int64_t twos = kTwos[static_cast<size_t>(y)] + kTwos[static_cast<size_t>(x)];
  return kernel::op(kernel::ScalarOp::kShr,
                    {kernel::mul(value, splat(kInverseOf9, value)), splat(twos, value)});
}

Stmts byte_winograd_weights(int outputs, int row, int64_t steps, int vectors,
                            const std::function<WordPanel(int64_t column)>& panel,
                            const std::function<Expr(int64_t tap, const Expr& step, int vector)>& weight) {
  const kernel::Var sv = kernel::make_var("step");
  const Expr step = kernel::var_expr(sv);
  Stmts body;
  for (int vector = 0; vector < vectors; ++vector) {
    std::array<Expr, 9> taps;
    for (int tap = 0; tap < 9; ++tap) {
      const bool meets = is_first(row) ? tap < 3 : !is_last(outputs, row) || tap >= 6;
      if (meets) taps[static_cast<size_t>(tap)] = named("taps", weight(tap, step, vector), body);
    }
    for (int part = 0; part < kPairParts; ++part) {
      std::array<Expr, 3> half;  // along y, for each x
      for (size_t x = 0; x < 3; ++x) {
        std::array<Expr, 3> g;
        for (size_t y = 0; y < 3; ++y) {
          if (const Expr& all = taps[3 * y + x]) g[y] = named("w", part_of(all, part), body);
        }
        half[x] = named("half", weight_point(outputs, row, g), body);
      }
      for (int column = 0; column < outputs + 2; ++column) {
        const WordPanel to = panel(column);
        body.push_back(
            kernel::store(to.words, to.at(step, vector, part), weight_point(outputs, column, half)));
      }
    }
  }
  return {kernel::loop(sv, kernel::int_const(0), kernel::int_const(steps), kernel::LoopKind::kSerial,
                       std::move(body))};
}

}  // namespace tern::lower
